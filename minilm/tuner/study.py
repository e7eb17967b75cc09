"""A whole study: a corpus and a budget go in; a search, a final model, its numbers and a page come out.

It joins the parts and keeps the deadline; what to try and when to stop is decided in `propose` and `decide`,
what a trial computes in `objective`. It prints nothing: a `Watch` tells a verb or a notebook what happens.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
import weakref
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from minilm import files
from minilm.errors import AllTrialsFailedError, ConfigError, RunError
from minilm.text.corpora import Corpus, load_described
from minilm.training.run import Run, load_run
from minilm.training.scores import baseline_rows, table
from minilm.tuner import objective
from minilm.tuner.chores import counting, draw_page
from minilm.tuner.decide import Plan, Rules, plan, rest_of, worker_count
from minilm.tuner.final import Finish
from minilm.tuner.propose import Proposer, SearchSpace, Told, difference, hyperopt_trials
from minilm.tuner.records import BEST, MODELS, RESULT, Journal, Trial, create_study, read_study
from minilm.tuner.search import LATE, Search, best_trial
from minilm.tuner.settings import Budget, Settings, check_request, trial_steps
from minilm.tuner.space import Limits, Point, default_point, dimensions, limits_for
from minilm.tuner.summary import result_of, result_rows
from minilm.tuner.watch import Watch
from minilm.tuner.workers import Workers

MARGIN = 0.005  # nats per character; a trial that beats the default recipe by less may owe it to luck
SAMPLE_CHARS = 600
PAGE_SHARE = 0.6  # of the reserve at the end, what the page gets; the sample has what comes before
EXIT_SHARE = 0.15  # and what is kept for ending the processes
PATIENCE = 600.0  # seconds that a study without a clock waits for its counting baseline and its page


@dataclass
class Study:
    """A finished study: `best` is the final model's run, `records` the trials as they ended."""

    best: Run
    records: list[Trial]
    result: dict[str, Any]
    folder: Path
    space: SearchSpace
    settings: Settings

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
        rows = [*result_rows(self.result), *baseline_rows(self.result["counting"], self.result["floors"])]
        return table(rows, self.result["protocol"])


@dataclass
class _Sitting:
    """A study being run by this process: from `begun`, a moment of `time.monotonic()`, to the deadline."""

    corpus: Corpus
    settings: Settings
    space: SearchSpace
    folder: Path
    journal: Journal
    watch: Watch
    begun: float
    plan: Plan | None
    offset: float = 0.0  # seconds that earlier sittings took

    def clock(self) -> float:
        """Seconds since the study began, sittings strung together."""
        return self.offset + time.monotonic() - self.begun

    def moment(self, share: float) -> float | None:
        """When this share of the plan's reserve is left, as `time.monotonic()`; None where nothing ends."""
        return None if self.plan is None else self.begun + self.plan.total - share * self.plan.reserve


def run_study(
    corpus: Corpus,
    minutes: float | None = None,
    trials: int | None = None,
    space: Any = None,
    algo: str = "tpe",
    workers: int | None = None,
    seed: int = 0,
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
    check_request(minutes, trials, algo, workers, seed)
    found, cores = objective.machine()
    limits = limits_for(len(corpus.train), wide=found.device != "cpu")
    count = worker_count(cores, found.device, trials) if workers is None else workers
    spread = None if minutes is None else plan(minutes, count, time.monotonic() - begun)
    searched = search_space(space, limits, found.device)
    budget = Budget(steps=trial_steps()) if spread is None else Budget(seconds=spread.trial)
    settings = Settings(
        corpus.describe(), searched.text, limits, budget, algo, seed, count, found.device, minutes, trials
    )
    folder = files.new_folder(tempfile.mkdtemp(prefix="minilm-study-") if out is None else out)
    with files.held(folder):
        create_study(folder, settings.to_dict())
        watch = watch or Watch()
        study = _run(_Sitting(corpus, settings, searched, folder, Journal(folder), watch, begun, spread))
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
    searched = _same_space(folder, settings, space)
    corpus = _same_corpus(folder, settings, corpus)
    with files.held(folder):
        journal = Journal(folder)
        if (folder / RESULT).exists() and minutes is None and trials is None:
            result = files.read_json(folder / RESULT)
            return Study(load_run(folder / BEST), journal.trials, result, folder, searched, settings)
        offset = max((trial.ended or 0.0 for trial in journal.trials), default=0.0)
        spread = _rest(settings, minutes, offset, time.monotonic() - begun)
        watch = watch or Watch()
        return _run(_Sitting(corpus, settings, searched, folder, journal, watch, begun, spread, offset))


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


def _same_space(folder: Path, settings: Settings, space: Any) -> SearchSpace:
    searched = search_space(space, settings.limits, settings.device)
    if searched.text != settings.space:
        changed = difference(searched.text, settings.space)
        raise RunError(f"the study {folder} searches another space ({changed}); start a new study")
    return searched


def _rest(settings: Settings, minutes: float | None, offset: float, started: float) -> Plan | None:
    if settings.minutes is None:
        return None
    if minutes is not None:
        return plan(minutes, settings.workers, started)
    return rest_of(settings.minutes, settings.workers, offset, started)


def search_space(space: Any, limits: Limits, device: str) -> SearchSpace:
    """The default space within the limits, or the user's own Hyperopt expression."""
    default = default_point(limits)
    if space is not None:
        return SearchSpace(space, default)
    return SearchSpace.of(dimensions(limits, wide=device != "cpu"), default)


def _run(sitting: _Sitting) -> Study:
    (sitting.folder / RESULT).unlink(missing_ok=True)  # of an earlier sitting
    shutil.rmtree(sitting.folder / BEST, ignore_errors=True)  # or half of one
    with Workers(1, background=True) as counter, Workers(1) as painter:
        counted = counter.submit(counting, sitting.settings.corpus)
        _search(sitting)
        chosen = _chosen(sitting)
        sitting.watch.final(chosen)
        sketch = painter.submit(draw_page, sitting.folder)  # of the search alone; loads what a page needs
        run = _finished(sitting, chosen)
        sample = objective.sample_text(run, SAMPLE_CHARS, sitting.settings.seed, sitting.moment(PAGE_SHARE))
        baseline = _answer(counter, counted, sitting.moment(PAGE_SHARE))
        result = result_of(chosen, sitting.journal.trials, run.config, run.result, baseline, sample)
        files.write_json(sitting.folder / RESULT, result)
        shutil.rmtree(sitting.folder / MODELS, ignore_errors=True)
        _answer(painter, sketch, sitting.moment(PAGE_SHARE))
        _answer(painter, painter.submit(draw_page, sitting.folder), sitting.moment(EXIT_SHARE))
    return Study(run, sitting.journal.trials, result, sitting.folder, sitting.space, sitting.settings)


def _finished(sitting: _Sitting, chosen: Trial) -> Run:
    end, tell = sitting.moment(1.0), sitting.watch.record
    return Finish(sitting.corpus, sitting.settings, sitting.folder, end, tell).run(chosen)


def _search(sitting: _Sitting) -> None:
    settings, by_clock = sitting.settings, sitting.plan is not None
    end = None if sitting.plan is None else sitting.offset + sitting.plan.search_end
    with Workers(settings.workers) as pool:
        pool.warm_up(objective.prepare, settings.corpus)
        sitting.watch.start(settings.text(), settings.trials, sitting.journal.trials)
        Search(
            Proposer(sitting.space, settings.algo, settings.seed),
            pool,
            sitting.journal,
            Rules(settings.workers, settings.trials, in_order=not by_clock, search_end=end),
            objective.run_trial,
            partial(_task, settings, sitting.folder),
            clock=sitting.clock,
            trial_seconds=settings.budget.seconds,
            on_trial=partial(_ended, sitting),
            on_tick=partial(_tick, sitting),
        ).run()


def _task(settings: Settings, folder: Path, tid: int, point: Point) -> objective.Task:
    return objective.Task(
        point=point,
        corpus=settings.corpus,
        limits=settings.limits,
        budget=settings.budget,
        seed=settings.seed,
        out=str(folder / MODELS / str(tid)),
    )


def _ended(sitting: _Sitting, trial: Trial) -> None:
    """Throws away the models of the trials that ended, but for the one that would be chosen now."""
    best = best_trial(sitting.journal.trials, MARGIN)
    for ended in sitting.journal.trials:
        if best is None or ended.tid != best.tid:
            shutil.rmtree(sitting.folder / MODELS / str(ended.tid), ignore_errors=True)
    sitting.watch.trial(trial)


def _tick(sitting: _Sitting) -> None:
    end = sitting.moment(0.0)
    sitting.watch.tick(None if end is None else end - time.monotonic())


def _chosen(sitting: _Sitting) -> Trial:
    """The best trial; the default recipe where time was too short for any to end."""
    trials = sitting.journal.trials
    best = best_trial(trials, MARGIN)
    if best is not None:
        return best
    if {trial.reason for trial in trials} <= {LATE}:
        return Trial(0, sitting.space.default, {}, reason="no trial could end in the time given")
    told = "; ".join(f"trial {trial.tid}: {trial.reason}" for trial in trials[:5])
    raise AllTrialsFailedError(
        f"all {len(trials)} trials failed ({told}); the records are in {sitting.folder}"
    )


def _answer(helper: Workers, future: Future | None, end: float | None) -> Any:
    """What the helper answered, or None where it failed or is not ready by `end`."""
    if future is None:
        return None
    wait([future], timeout=PATIENCE if end is None else max(0.0, end - time.monotonic()))
    if not future.done():
        helper.kill(future)
        return None
    return None if future.exception() else future.result()
