"""Runs a study: a text and a budget go in; a model, its numbers and a page come out.

By minutes the law chooses within the first seconds, and the recipe trains for all of them. By count, or in a space of
the user's own, which no law knows, real trials choose. Then the same `finish`.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minilm import files
from minilm.text.corpora import Corpus
from minilm.training.run import Run
from minilm.training.scores import baseline_rows, table
from minilm.tuner import chores, outcome
from minilm.tuner.budget import Minutes
from minilm.tuner.choose import without_tokens
from minilm.tuner.finish import Finish
from minilm.tuner.plan import by_law
from minilm.tuner.propose import SearchSpace, Told, hyperopt_trials
from minilm.tuner.records import MODELS, RESULT, Journal, Trial, create_study
from minilm.tuner.second import second_model
from minilm.tuner.settings import Request, Settings
from minilm.tuner.summary import result_rows
from minilm.tuner.trial import best_folder
from minilm.tuner.trials import searched, with_trials
from minilm.tuner.watch import Watch, default_watch
from minilm.tuner.workers import Workers


@dataclass(repr=False)
class Study:
    """A finished study: `best` is the final model's run, `records` the trials as they ended."""

    best: Run
    records: list[Trial]
    result: dict[str, Any]
    folder: Path
    space: SearchSpace
    settings: Settings

    def __repr__(self) -> str:
        failed = sum(trial.loss is None for trial in self.records)
        trials = "chosen by the law, no trials"
        if self.settings.budget is not None:
            trials = f"{len(self.records)} trials, {failed} failed"
        return (
            f"Study of {self.best.config['corpus']['name']}: {trials}\n"
            f"  folder: {self.folder}; see .best, .trials, .result, .table(), .report()\nbest: {self.best!r}"
        )

    @property
    def trials(self) -> Any:
        """A `hyperopt.Trials` for Hyperopt's own functions: of the real trials, or, in a study that had none, of the
        imagined trainings that `fmin` looked at, with what it minimised. A default recipe that lies
        outside the space is not in it; `records` has it."""
        looked = (self.settings.chosen or {}).get("looked") or []
        told = {tid: Told(draw, loss) for tid, (draw, loss) in enumerate(looked)}
        told |= {trial.tid: Told(trial.draw, trial.loss) for trial in self.records if trial.draw}
        return hyperopt_trials(self.space, told)

    def report(self) -> Path:
        """(Re)builds the page of the study and returns its path."""
        return chores.draw_page(self.folder)

    def table(self) -> str:
        """The final model beside the counting baseline and the entropy floor, as text."""
        result = self.result
        references = baseline_rows(result["counting"], result["floors"], result.get("mixture"))
        return table([*result_rows(result), *references], result["protocol"])


@dataclass
class Sitting:
    """A study being run by this process; `minutes` is None where no clock ends it."""

    corpus: Corpus
    settings: Settings
    space: SearchSpace
    folder: Path
    journal: Journal
    watch: Watch
    minutes: Minutes | None
    begun: float  # a moment of `time.monotonic()`; earlier sittings are strung together before it

    def moment(self, share: float) -> float | None:
        return None if self.minutes is None else self.minutes.moment(share)


def run_sitting(s: Sitting) -> Study:
    """The whole of it: search where there are trials, finish, look at the model, write, draw."""
    files.delete(s.folder / RESULT)  # of an earlier sitting
    moments = None if s.minutes is None else {share: s.minutes.moment(share) for share in outcome.MOMENTS}
    with Workers(2, background=True) as helper, Workers(1, background=True) as painter:
        trials = (s.settings, s.space, s.folder, s.journal, s.watch, s.begun, s.minutes)
        best = None if s.settings.budget is None else searched(*trials)
        s.watch.phase("starting to train")
        counting = outcome.Counting(helper, s.corpus)
        sketch = outcome.Job(painter, chores.draw_page, s.folder)  # empty, to load what pages need in time
        chosen = s.settings.chosen or {}
        finish = Finish(
            s.corpus, s.settings, s.folder, s.moment(1.0), s.watch.record, chosen.get("most_steps")
        )
        if best is None:
            run = finish.run(without_tokens(chosen["point"]))
        else:
            run = finish.run(best.point, best_folder(s.folder / MODELS, best), best.loss)
        run = second_model(finish, run, s.watch) or run
        s.watch.phase("writing samples and comparing them with the text")
        found = outcome.looked_at(run, s.corpus, s.settings.seed, counting, moments)
        result = outcome.result_of(s.settings, run, best, s.journal.trials, found)
        files.write_json(s.folder / RESULT, result, sealed=True)
        files.delete_folder(s.folder / MODELS)
        s.watch.phase("drawing the page")
        sketch.answer(s.moment(outcome.DRAWN))
        outcome.Job(painter, chores.draw_page, s.folder).answer(s.moment(outcome.DRAWN))
    return Study(run, s.journal.trials, result, s.folder, s.space, s.settings)


def run_study(
    corpus: Corpus,
    request: Request,
    out: str | Path | None = None,
    *,
    watch: Watch | None = None,
    begun: float | None = None,
    open_tokens: bool = False,
) -> Study:
    """Chooses and trains; see `minilm.tune.tune`. With `open_tokens` the tokens of `corpus` are chosen, too.

    `begun` is the moment of `time.monotonic()` from which the minutes count, now by default. Raises the
    MinilmError family, `AllTrialsFailedError` where no trial succeeded; after an interruption
    `resume_study(out)` goes on.
    """
    begun, request = time.monotonic() if begun is None else begun, request.checked()
    watch = watch or default_watch(begun, None if request.minutes is None else 60 * request.minutes)
    minutes = None if request.minutes is None else Minutes(request.minutes, begun)
    try:
        if request.has_trials:
            settings, space = with_trials(corpus, request)
        else:
            assert minutes is not None
            settings, space, corpus = by_law(corpus, request, minutes, watch, open_tokens)
        folder = files.new_folder(tempfile.mkdtemp(prefix="minilm-study-") if out is None else out)
        with files.held(folder):
            create_study(folder, settings.to_dict())
            sitting = Sitting(corpus, settings, space, folder, Journal(folder), watch, minutes, begun)
            study = run_sitting(sitting)
    finally:
        watch.close()
    if out is None:
        weakref.finalize(study, shutil.rmtree, folder, True)
    return study
