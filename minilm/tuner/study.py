"""Runs a study: a text and a budget go in; a model, its numbers and a page come out.

By minutes the law chooses within the first seconds, and the recipe trains for all of them. By count, or in a space of
the user's own, which no law knows, real trials choose. Then the same `finish`.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
import weakref
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from minilm import files
from minilm.errors import AllTrialsFailedError, ConfigError, RunError
from minilm.text.corpora import Corpus, load_described
from minilm.training.run import Run, load_run
from minilm.training.scores import baseline_rows, table
from minilm.training.session import resume_training
from minilm.tuner import chores, outcome
from minilm.tuner.budget import SEARCH_SHARE, Minutes
from minilm.tuner.choose import space_for
from minilm.tuner.decide import Rules
from minilm.tuner.engines import pool_for
from minilm.tuner.finish import Finish
from minilm.tuner.plan import by_law, search_space, with_trials
from minilm.tuner.propose import Proposer, SearchSpace, Told, difference, hyperopt_trials
from minilm.tuner.records import BEST, MODELS, RESULT, Journal, Trial, create_study, read_study
from minilm.tuner.search import LATE, Search, best_trial
from minilm.tuner.settings import Request, Settings, check_request
from minilm.tuner.summary import result_rows
from minilm.tuner.trial import best_folder, leg_task, prepare, prune, run_leg
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
        trials = (
            f"{len(self.records)} trials, {failed} failed" if self.records else "chosen by the law, no trials"
        )
        return (
            f"Study of {self.best.config['corpus']['name']}: {trials}\n"
            f"  folder: {self.folder}; see .best, .trials, .result, .table(), .report()\nbest: {self.best!r}"
        )

    @property
    def trials(self) -> Any:
        """A `hyperopt.Trials` for Hyperopt's own functions: of the real trials, or, in a study that had none, of the
        imagined trainings that `fmin` looked at, with the losses that the law expected. A default recipe that lies
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
    (s.folder / RESULT).unlink(missing_ok=True)  # of an earlier sitting
    moments = (
        None if s.minutes is None else {m: s.minutes.moment(m) for m in (outcome.WRITTEN, outcome.SCORED)}
    )
    with Workers(2, background=True) as helper, Workers(1, background=True) as painter:
        best = None if s.settings.budget is None else searched(s)
        s.watch.phase("starting to train")
        counting = outcome.Counting(helper, s.corpus)
        # an empty page, to load what pages need: later that would take from the end
        sketch = painter.submit(chores.draw_page, s.folder)
        finish = Finish(s.corpus, s.settings, s.folder, s.moment(1.0), s.watch.record, _most_steps(s))
        kept = None if best is None else best_folder(s.folder / MODELS, best)
        run = finish.run(_point(s, best), kept, None if best is None else best.loss)
        s.watch.phase("writing samples and comparing them with the text")
        found = outcome.looked_at(run, s.corpus, s.settings.seed, counting, moments)
        result = outcome.result_of(s.settings, run, best, s.journal.trials, found)
        files.write_json(s.folder / RESULT, result)
        shutil.rmtree(s.folder / MODELS, ignore_errors=True)
        s.watch.phase("drawing the page")
        outcome.answer(painter, sketch, s.moment(outcome.DRAWN))
        outcome.answer(painter, painter.submit(chores.draw_page, s.folder), s.moment(outcome.DRAWN))
    return Study(run, s.journal.trials, result, s.folder, s.space, s.settings)


def searched(s: Sitting) -> Trial:
    """The trial with the lowest loss, after real ones; the default recipe where time was too short for any to end."""
    settings, seen = s.settings, s.journal.trials
    assert settings.budget is not None
    s.watch.say(f"search    {settings.text()}")
    s.watch.phase("starting the workers")
    with pool_for(settings.engine or settings.workers, settings.threads) as pool:
        pool.warm_up(prepare, settings.corpus, settings.threads)
        end = None if s.minutes is None else SEARCH_SHARE * s.minutes.total
        # a search of whole trainings by count does not depend on which worker was faster
        in_order = settings.minutes is None and settings.ladder.top == 0
        search = Search(
            Proposer(s.space, settings.algo, settings.seed),
            pool,
            s.journal,
            Rules(pool.count, settings.trials, in_order, end, settings.scheduler, settings.ladder),
            run_leg,
            partial(leg_task, settings, s.folder),
            clock=lambda: time.monotonic() - s.begun,
            trial_seconds=settings.budget.seconds,
        )

        def ended(trial: Trial) -> None:
            busy = {running.tid for running in search.running.values()}
            prune(s.folder / MODELS, s.journal.trials, settings.ladder, busy)
            s.watch.trial(trial)

        search.on_trial = ended
        for trial in seen:
            s.watch.trial(trial)
        search.run()
    return best_or_default(s.journal.trials, s.space, s.folder)


def best_or_default(trials: list[Trial], space: SearchSpace, folder: Path) -> Trial:
    if (best := best_trial(trials)) is not None:
        return best
    if {trial.reason for trial in trials} <= {LATE}:
        return Trial(0, space.default, {}, reason="no trial could end in the time given")
    told = "; ".join(f"trial {trial.tid}: {trial.reason}" for trial in trials[:5])
    raise AllTrialsFailedError(f"all {len(trials)} trials failed ({told}); the records are in {folder}")


def _point(s: Sitting, best: Trial | None) -> dict[str, Any]:
    """What the final model is trained with."""
    point = best.point if best is not None else (s.settings.chosen or {})["point"]
    return {name: value for name, value in point.items() if name != "tokens"}


def _most_steps(s: Sitting) -> int | None:
    return (s.settings.chosen or {}).get("most_steps")


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
            study = run_sitting(
                Sitting(corpus, settings, space, folder, Journal(folder), watch, minutes, begun)
            )
    finally:
        watch.close()
    if out is None:
        weakref.finalize(study, shutil.rmtree, folder, True)
    return study


def resume_study(
    folder: str | Path,
    minutes: float | None = None,
    trials: int | None = None,
    *,
    corpus: Corpus | None = None,
    space: Any = None,
    watch: Watch | None = None,
    begun: float | None = None,
) -> Study:
    """Continues a study from its records. A finished one is only loaded, unless new `minutes`, for which its model
    goes on, or `trials` are given.

    Trials that were running when it stopped run again. `corpus` and `space` are refused with a RunError where
    they are not the study's own.
    """
    begun, folder = time.monotonic() if begun is None else begun, Path(folder)
    settings = _settings(folder, minutes, trials)
    corpus = _same_corpus(folder, settings, corpus)
    searched_space = _same_space(folder, settings, space, corpus.tokenizer.vocab_size)
    watch = watch or default_watch(begun, None if minutes is None else 60 * minutes)
    try:
        with files.held(folder):
            journal, is_done = Journal(folder), (folder / RESULT).exists()
            if is_done and minutes is None and trials is None:
                result = files.read_json(folder / RESULT)
                return Study(
                    load_run(folder / BEST), journal.trials, result, folder, searched_space, settings
                )
            sitting = Sitting(corpus, settings, searched_space, folder, journal, watch, None, begun)
            if is_done and minutes is not None:
                return _longer(sitting, Minutes(minutes, begun))
            if settings.minutes is not None and not (folder / BEST).is_dir():
                spent = max((trial.ended or 0.0 for trial in journal.trials), default=0.0)
                # the final model keeps its share even where the trials have used everything
                sitting.begun = begun - min(spent, SEARCH_SHARE * 60 * settings.minutes)
                sitting.minutes = Minutes(settings.minutes, sitting.begun)
            elif settings.minutes is None:
                shutil.rmtree(folder / BEST, ignore_errors=True)  # half of one, or of fewer trials
                sitting.begun = begun - max((trial.ended or 0.0 for trial in journal.trials), default=0.0)
            return run_sitting(sitting)
    finally:
        watch.close()


def _longer(s: Sitting, minutes: Minutes) -> Study:
    """More minutes for a finished study: its model goes on, its rate rises and falls afresh, the best weights stay."""
    s.minutes = minutes
    if minutes.for_training() <= 0:
        raise ConfigError(
            f"minutes must be enough to train in, got {minutes.minutes:g}; give minutes=1 or more"
        )
    with Workers(2, background=True) as helper, Workers(1, background=True) as painter:
        counting = outcome.Counting(helper, s.corpus)
        s.watch.phase("training goes on")
        changes = {"minutes": minutes.for_training() / 60}
        run = resume_training(
            s.folder / BEST,
            corpus=s.corpus,
            changes=changes,
            deadline=minutes.moment(1.0),
            on_record=s.watch.record,
        )
        s.watch.phase("writing samples and comparing them with the text")
        moments = {share: minutes.moment(share) for share in (outcome.WRITTEN, outcome.SCORED)}
        found = outcome.looked_at(run, s.corpus, s.settings.seed, counting, moments)
        result = {**files.read_json(s.folder / RESULT), **run.result, **found}
        files.write_json(s.folder / RESULT, result)
        s.watch.phase("drawing the page")
        outcome.answer(painter, painter.submit(chores.draw_page, s.folder), s.moment(outcome.DRAWN))
    return Study(run, s.journal.trials, result, s.folder, s.space, s.settings)


def _settings(folder: Path, minutes: float | None, trials: int | None) -> Settings:
    """The study's own settings; `trials` may be raised."""
    try:
        settings = Settings.from_dict(read_study(folder))
    except (KeyError, TypeError) as error:
        raise RunError(f"{folder} holds a damaged study.json ({error}); restore it from a copy") from error
    if trials is not None and settings.minutes is not None:
        raise ConfigError(f"the study {folder} runs by the clock; continue it with minutes, not trials")
    if minutes is not None and settings.minutes is None:
        raise ConfigError(f"the study {folder} counts trials; continue it with trials, not minutes")
    settings = settings if trials is None else dataclasses.replace(settings, trials=trials)
    check_request(
        minutes or settings.minutes, settings.trials, settings.algo, settings.workers, settings.seed
    )
    return settings


def _same_corpus(folder: Path, settings: Settings, corpus: Corpus | None) -> Corpus:
    if corpus is not None and corpus.source["sha256"] != settings.corpus["source"]["sha256"]:
        raise RunError(
            f"the study {folder} is about another text, {settings.corpus['name']}, not {corpus.name}; "
            "leave the text out, or start a new study"
        )
    return corpus or load_described(settings.corpus)


def _same_space(folder: Path, settings: Settings, space: Any, vocab_size: int) -> SearchSpace:
    if settings.budget is None and space is None:
        return space_for(settings.limits)
    found = search_space(space, settings.limits, settings.device, vocab_size)
    if found.text != settings.space:
        changed = difference(found.text, settings.space)
        raise RunError(f"the study {folder} searches another space ({changed}); start a new study")
    return found
