"""A whole study: a corpus and a budget go in; a search, a final model, its numbers and a page come out.

It joins the parts and keeps the deadline; what to try and when to stop is decided in `propose` and
`decide`, what a trial computes in `objective`. It prints nothing: `Watch` tells a verb or a notebook what
happens.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from minilm import files
from minilm.errors import AllTrialsFailedError, ConfigError, DivergenceError, RunError, did_you_mean
from minilm.plots.page import study_page
from minilm.text.corpora import Corpus, load_described
from minilm.training.run import Run, load_run
from minilm.tuner import objective
from minilm.tuner.baseline import counting
from minilm.tuner.decide import SEARCH_SHARE, Plan, Rules, plan, worker_count
from minilm.tuner.propose import ALGORITHMS, Proposer, SearchSpace, Told, difference, hyperopt_trials
from minilm.tuner.records import (
    BEST,
    MODELS,
    RESULT,
    Journal,
    Trial,
    TrialState,
    create_study,
    held,
    read_study,
)
from minilm.tuner.search import LATE, Search, best_trial
from minilm.tuner.space import Limits, Point, default_point, dimensions, limits_for
from minilm.tuner.workers import Workers

MARGIN = 0.005  # nats per character; a trial that beats the default recipe by less may owe it to luck
FINAL_STEPS = 4  # times a trial's steps, for the final model of a study without a clock
SAMPLE_CHARS = 600
EXIT_SECONDS = 1.0  # for ending the processes and the interpreter
PAGE_WAIT = 60.0  # seconds that a study without a clock waits for its page
COUNTING_WAIT = 600.0  # and for its counting baseline


@dataclass(frozen=True)
class Settings:
    """What study.json holds: all that decides which trials there are, fixed when the study begins."""

    corpus: dict[str, Any]
    space: str
    limits: Limits
    budget: objective.Budget
    algo: str
    seed: int
    workers: int
    device: str
    minutes: float | None = None
    trials: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            **vars(self),
            "limits": dict(vars(self.limits)),
            "budget": {key: value for key, value in vars(self.budget).items() if value is not None},
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Settings:
        kept = {name: values[name] for name in cls.__dataclass_fields__}
        budget = objective.Budget(**values["budget"])
        return cls(**{**kept, "limits": Limits(**values["limits"]), "budget": budget})


@dataclass
class Watch:
    """What a spectator is told.

    `start(line, trials, done)`: the search begins; with what and why, how many trials there will be if that
    is known, and those of earlier sittings. `tick(seconds_left)` comes twice a second while it goes on.
    `final(trial)`: this one is trained at length now, with `record` told of each metrics record.
    """

    start: Callable[[str, int | None, list[Trial]], None] = lambda line, trials, done: None
    trial: Callable[[Trial], None] = lambda trial: None
    tick: Callable[[float | None], None] = lambda seconds_left: None
    final: Callable[[Trial], None] = lambda chosen: None
    record: Callable[[dict[str, Any]], None] | None = None


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
        return study_page(self.folder)


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
    helper: Workers = field(default_factory=lambda: Workers(1))

    def clock(self) -> float:
        """Seconds since the study began, sittings strung together."""
        return self.offset + time.monotonic() - self.begun

    def left(self) -> float | None:
        """Seconds until the whole command ends."""
        return None if self.plan is None else self.begun + self.plan.total - time.monotonic()

    def deadline(self, of: float | None) -> float | None:
        """A plan's second as a moment of `time.monotonic()`."""
        return None if of is None else self.begun + of


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
    _check(minutes, trials, algo, workers)
    found, cores = objective.machine()
    wide = found.device != "cpu"
    limits = limits_for(len(corpus.train), wide)
    count = worker_count(cores, found.device, trials) if workers is None else workers
    spread = None if minutes is None else plan(minutes, count, time.monotonic() - begun)
    searched = search_space(space, limits, wide)
    budget = (
        objective.Budget(seconds=spread.trial) if spread else objective.Budget(steps=objective.trial_steps())
    )
    settings = Settings(
        corpus.describe(), searched.text, limits, budget, algo, seed, count, found.device, minutes, trials
    )
    folder = files.new_folder(tempfile.mkdtemp(prefix="minilm-study-") if out is None else out)
    with held(folder):
        create_study(folder, settings.to_dict())
        watch = watch or Watch()
        sitting = _Sitting(corpus, settings, searched, folder, Journal(folder), watch, begun, spread)
        study = _run(sitting)
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
    """Continues a study from its records. A finished one is only loaded, unless more `trials` or `minutes`
    are given.

    `corpus` and `space` are refused with a RunError where they are not the study's own.
    """
    begun, folder = time.monotonic() if begun is None else begun, Path(folder)
    settings = Settings.from_dict(read_study(folder))
    _check(
        minutes or settings.minutes,
        None if minutes or settings.minutes else settings.trials,
        settings.algo,
        1,
    )
    if corpus is not None and corpus.source["sha256"] != settings.corpus["source"]["sha256"]:
        raise RunError(
            f"the study {folder} searches for another text, {settings.corpus['name']}, not {corpus.name}; "
            "leave the text out, or start a new study"
        )
    corpus = corpus or load_described(settings.corpus)
    searched = search_space(space, settings.limits, settings.device != "cpu")
    if searched.text != settings.space:
        changed = difference(searched.text, settings.space)
        raise RunError(f"the study {folder} searches another space ({changed}); start a new study")
    with held(folder):
        sitting = _resumed(folder, settings, searched, corpus, minutes, trials, watch or Watch(), begun)
        if (folder / RESULT).exists() and minutes is None and trials is None:
            result = files.read_json(folder / RESULT)
            return Study(load_run(folder / BEST), sitting.journal.trials, result, folder, searched, settings)
        return _run(sitting)


def _resumed(
    folder: Path,
    settings: Settings,
    space: SearchSpace,
    corpus: Corpus,
    minutes: float | None,
    trials: int | None,
    watch: Watch,
    begun: float,
) -> _Sitting:
    if trials is not None and settings.minutes is not None:
        raise ConfigError(f"the study {folder} runs by the clock; continue it with --minutes, not --trials")
    if minutes is not None and settings.minutes is None:
        raise ConfigError(f"the study {folder} counts trials; continue it with --trials, not --minutes")
    journal = Journal(folder)
    offset = max((trial.ended or 0.0 for trial in journal.trials), default=0.0)
    if trials is not None:
        settings = Settings(**{**vars(settings), "trials": trials})
    spread = _rest(settings, minutes, offset, time.monotonic() - begun)
    return _Sitting(corpus, settings, space, folder, journal, watch, begun, spread, offset)


def _rest(settings: Settings, minutes: float | None, offset: float, started: float) -> Plan | None:
    """The plan of a later sitting: new minutes, or what is left; the final model keeps its share."""
    if settings.minutes is None:
        return None
    if minutes is not None:
        return plan(minutes, settings.workers, started)
    total = 60 * settings.minutes
    left = plan(max(total - offset, (1 - SEARCH_SHARE) * total) / 60, settings.workers, started)
    search = min(left.search_end, max(SEARCH_SHARE * total - offset, 0.0))
    return Plan(**{**vars(left), "search_end": search})


def _check(minutes: float | None, trials: int | None, algo: str, workers: int | None) -> None:
    if (minutes is None) == (trials is None):
        raise ConfigError(f"give minutes or trials, one of them, got minutes={minutes} and trials={trials}")
    if minutes is not None and not 0 < minutes < float("inf"):
        raise ConfigError(f"minutes must be a number above 0, got {minutes}; 3 is the default")
    if trials is not None and trials < 1:
        raise ConfigError(f"trials must be at least 1, got {trials}; 20 is a start")
    if workers is not None and not 1 <= workers <= 1024:
        raise ConfigError(f"workers must be between 1 and 1024, got {workers}; leave it out for one per core")
    if algo not in ALGORITHMS:
        raise ConfigError(f"unknown search algorithm {algo!r}, {did_you_mean(algo, ALGORITHMS)}")


def search_space(space: Any, limits: Limits, wide: bool) -> SearchSpace:
    """The default space within the limits, or the user's own Hyperopt expression."""
    default = default_point(limits)
    if space is not None:
        return SearchSpace(space, default)
    return SearchSpace.of(dimensions(limits, wide), default)


def _run(sitting: _Sitting) -> Study:
    with sitting.helper:
        for name in (RESULT, BEST):  # of an earlier sitting, or half of one
            path = sitting.folder / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        baseline = sitting.helper.submit(counting, sitting.settings.corpus)
        _search(sitting)
        chosen = _chosen(sitting)
        sitting.watch.final(chosen)
        early_page = (
            _page(sitting) if baseline.done() else None
        )  # loads matplotlib while the final model trains
        run = _final(sitting, chosen)
        result = _result(sitting, chosen, run, _answer(sitting, baseline, COUNTING_WAIT))
        _answer(sitting, early_page, PAGE_WAIT)
        files.write_json(sitting.folder / RESULT, result)
        shutil.rmtree(sitting.folder / MODELS, ignore_errors=True)
        _answer(sitting, _page(sitting), PAGE_WAIT)
    return Study(run, sitting.journal.trials, result, sitting.folder, sitting.space, sitting.settings)


def _search(sitting: _Sitting) -> None:
    settings, by_clock = sitting.settings, sitting.plan is not None
    end = None if sitting.plan is None else sitting.offset + sitting.plan.search_end
    rules = Rules(settings.workers, settings.trials, in_order=not by_clock, search_end=end)
    with Workers(settings.workers) as pool:
        pool.warm_up(objective.prepare, settings.corpus)
        sitting.watch.start(_line(settings), settings.trials, sitting.journal.trials)
        Search(
            Proposer(sitting.space, settings.algo, settings.seed),
            pool,
            sitting.journal,
            rules,
            objective.run_trial,
            partial(_task, settings, sitting.folder),
            clock=sitting.clock,
            trial_seconds=settings.budget.seconds,
            on_trial=partial(_keep_best, sitting),
            on_tick=lambda: sitting.watch.tick(sitting.left()),
        ).run()


def _line(settings: Settings) -> str:
    count, device = settings.workers, settings.device
    each = (
        f"{settings.budget.seconds:g} s"
        if settings.budget.seconds is not None
        else f"{settings.budget.steps} steps"
    )
    many = f"{count} worker{'s' * (count > 1)} x 1 thread on {device}"
    why = (
        "trials side by side on one core each beat one trial on all of them"
        if device == "cpu"
        else "they share it"
    )
    return f"{many}, {each} per trial ({why})"


def _task(settings: Settings, folder: Path, tid: int, point: Point) -> objective.Task:
    return objective.Task(
        tid=tid,
        point=point,
        corpus=settings.corpus,
        limits=settings.limits,
        budget=settings.budget,
        seed=settings.seed,
        out=str(folder / MODELS / str(tid)),
    )


def _keep_best(sitting: _Sitting, trial: Trial) -> None:
    """Throws away the models of the trials that ended, but for the one that would be chosen now."""
    best = best_trial(sitting.journal.trials, MARGIN)
    for ended in sitting.journal.trials:
        if best is None or ended.tid != best.tid:
            shutil.rmtree(sitting.folder / MODELS / str(ended.tid), ignore_errors=True)
    sitting.watch.trial(trial)


def _chosen(sitting: _Sitting) -> Trial:
    """The best trial; the default recipe where time was too short for any to end."""
    best = best_trial(sitting.journal.trials, MARGIN)
    if best is not None:
        return best
    reasons = {trial.reason for trial in sitting.journal.trials} - {LATE}
    if reasons:
        told = "; ".join(f"trial {t.tid}: {t.reason}" for t in sitting.journal.trials[:5])
        raise AllTrialsFailedError(
            f"all {len(sitting.journal.trials)} trials failed ({told}); the records are in {sitting.folder}"
        )
    return Trial(0, sitting.space.default, {}, reason="no trial could end in the time given")


def _final(sitting: _Sitting, chosen: Trial) -> Run:
    """The chosen configuration trained for the rest of the time, or its trial's model if better."""
    best, kept = sitting.folder / BEST, sitting.folder / MODELS / str(chosen.tid)
    deadline = sitting.deadline(sitting.plan.final_end if sitting.plan else None)
    left = None if deadline is None else deadline - time.monotonic()
    too_short = left is not None and left < (sitting.settings.budget.seconds or 0.0) / 2
    if too_short and (kept / "model.safetensors").is_file():
        return _adopt(kept, best, sitting.corpus, partial_split=True)
    steps = None if left is not None else FINAL_STEPS * (sitting.settings.budget.steps or 0)
    budget = objective.Budget(steps=steps, seconds=None if left is None else max(left, 0.1))
    try:
        run = objective.train_final(
            sitting.corpus,
            chosen.point,
            sitting.settings.limits,
            budget,
            sitting.settings.seed,
            best,
            deadline,
            sitting.watch.record,
        )
    except (
        DivergenceError
    ):  # the longer schedule keeps the high learning rate for more steps than the trial had
        if not (kept / "model.safetensors").is_file():
            raise
        shutil.rmtree(best)
        return _adopt(kept, best, sitting.corpus, partial_split=False)
    return _better(sitting, chosen, run, kept, best)


def _better(sitting: _Sitting, chosen: Trial, run: Run, kept: Path, best: Path) -> Run:
    """`run`, or the trial's model where it has the lower loss on the same characters."""
    if (
        chosen.loss is None
        or run.result["val_loss"] <= chosen.loss - 2 * MARGIN
        or not (kept / "config.json").is_file()
    ):
        return run
    if objective.validation_loss(load_run(kept), sitting.corpus) >= run.result["val_loss"]:
        return run
    shutil.rmtree(best)
    return _adopt(kept, best, sitting.corpus, partial_split=False)


def _adopt(kept: Path, best: Path, corpus: Corpus, partial_split: bool) -> Run:
    """Makes a trial's model the final one."""
    kept.rename(best)
    return objective.finish_trial(best, corpus, objective.FEWEST_CHARS if partial_split else None)


def _result(sitting: _Sitting, chosen: Trial, run: Run, baseline: dict[str, Any] | None) -> dict[str, Any]:
    trials = sitting.journal.trials
    default = next((trial for trial in trials if trial.tid == 0), None)
    stop = sitting.deadline(sitting.plan.total - sitting.plan.reserve / 2 if sitting.plan else None)
    return {
        "best": {"tid": chosen.tid, "point": chosen.point, **{k: run.config[k] for k in ("model", "train")}},
        "best_trial_loss": chosen.loss,
        "default_trial_loss": default.loss if default else None,
        "trials": len(trials),
        "failed": sum(trial.state is TrialState.FAILED for trial in trials),
        **run.result,
        "counting": baseline,
        "floors": sitting.corpus.floors,
        "sample": objective.sample_text(run, SAMPLE_CHARS, sitting.settings.seed, stop),
    }


def _page(sitting: _Sitting) -> Future:
    """The page is drawn by the helper process, which can be stopped at the deadline."""
    return sitting.helper.submit(study_page, sitting.folder)


def _answer(sitting: _Sitting, future: Future | None, patience: float) -> Any:
    """What the helper answered, or None where it failed or is not ready in time."""
    if future is None:
        return None
    if sitting.plan is not None:
        end = sitting.begun + sitting.plan.total - EXIT_SECONDS
        patience = max(0.0, end - time.monotonic())
    wait([future], timeout=patience)
    if not future.done():
        sitting.helper.kill(future)
        return None
    return None if future.exception() else future.result()
