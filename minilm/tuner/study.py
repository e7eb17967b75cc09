"""Runs a whole study: a corpus and a budget go in; a search, a final model, its numbers and a page come out.

A new study fixes its settings and its folder, a continued one reads them and refuses others. `course` runs what
happens in between.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minilm import files
from minilm.errors import ConfigError, RunError
from minilm.text.corpora import Corpus, load_described
from minilm.training.run import Run, load_run
from minilm.training.scores import baseline_rows, table
from minilm.tuner.chores import draw_page
from minilm.tuner.course import run_sitting
from minilm.tuner.decide import Plan, plan, rest_of
from minilm.tuner.opening import open_study, search_space
from minilm.tuner.propose import SearchSpace, Told, difference, hyperopt_trials
from minilm.tuner.records import BEST, RESULT, Journal, Trial, create_study, read_study
from minilm.tuner.settings import Request, Settings, check_request
from minilm.tuner.sitting import Sitting
from minilm.tuner.summary import result_rows
from minilm.tuner.watch import Watch, default_watch


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
        return (
            f"Study of {self.best.config['corpus']['name']}: {len(self.records)} trials, {failed} failed\n"
            f"  folder: {self.folder}; see .best, .trials, .result, .table(), .report()\nbest: {self.best!r}"
        )

    @property
    def trials(self) -> Any:
        """The search as a `hyperopt.Trials`, for Hyperopt's own functions."""
        told = {trial.tid: Told(trial.draw, trial.loss) for trial in self.records if trial.draw}
        return hyperopt_trials(self.space, told)

    def report(self) -> Path:
        """(Re)builds the page of the study and returns its path."""
        return draw_page(self.folder)

    def table(self) -> str:
        """The final model beside the default recipe, the counting baseline and the entropy floor, as text."""
        result = self.result
        references = baseline_rows(result["counting"], result["floors"], result.get("mixture"))
        rows = table([*result_rows(result), *references], result["protocol"])
        late = result.get("mixture", {}) is None  # older studies do not have it
        return f"{rows}\nmodel and counting: left out, there was no time to score it" if late else rows


def run_study(
    corpus: Corpus,
    request: Request,
    out: str | Path | None = None,
    *,
    watch: Watch | None = None,
    begun: float | None = None,
) -> Study:
    """Searches and trains the best configuration found; see `minilm.tune.tune`.

    `begun` is the moment of `time.monotonic()` from which the minutes count, now by default. Raises the
    MinilmError family, `AllTrialsFailedError` where no trial succeeded; after an interruption
    `resume_study(out)` goes on.
    """
    begun = time.monotonic() if begun is None else begun
    settings, searched, planned = open_study(corpus, request.checked(), begun)
    folder = files.new_folder(tempfile.mkdtemp(prefix="minilm-study-") if out is None else out)
    with files.held(folder):
        create_study(folder, settings.to_dict())
        watch = watch or default_watch()
        study = _study(Sitting(corpus, settings, searched, folder, Journal(folder), watch, begun, planned))
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
    """Continues a study from its records. A finished one is only loaded, unless new `minutes` or `trials`
    are given.

    Trials that were running when it stopped run again. `corpus` and `space` are refused with a RunError where
    they are not the study's own.
    """
    begun, folder = time.monotonic() if begun is None else begun, Path(folder)
    settings = _settings(folder, minutes, trials)
    corpus = _same_corpus(folder, settings, corpus)
    searched = _same_space(folder, settings, space, corpus.tokenizer.vocab_size)
    with files.held(folder):
        journal = Journal(folder)
        if (folder / RESULT).exists() and minutes is None and trials is None:
            result = files.read_json(folder / RESULT)
            return Study(load_run(folder / BEST), journal.trials, result, folder, searched, settings)
        offset = max((trial.ended or 0.0 for trial in journal.trials), default=0.0)
        planned = _rest(settings, minutes, offset, time.monotonic() - begun)
        watch = watch or default_watch()
        return _study(Sitting(corpus, settings, searched, folder, journal, watch, begun, planned, offset))


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
    searched = search_space(space, settings.limits, settings.device, vocab_size, settings.fitted)
    if searched.text != settings.space:
        changed = difference(searched.text, settings.space)
        raise RunError(f"the study {folder} searches another space ({changed}); start a new study")
    return searched


def _rest(settings: Settings, minutes: float | None, offset: float, started: float) -> Plan | None:
    if settings.minutes is None:
        return None
    if minutes is not None:
        return plan(minutes, settings.workers, started, settings.enough)
    return rest_of(settings.minutes, settings.workers, offset, started, settings.enough)


def _study(sitting: Sitting) -> Study:
    try:
        run, result = run_sitting(sitting)
    finally:
        sitting.watch.close()
    return Study(run, sitting.journal.trials, result, sitting.folder, sitting.space, sitting.settings)
