"""One sitting of a study: search, race, final training, page, one after the other and within the deadline.

It joins the parts; what to try and when to stop is decided in `propose`, `decide` and `race`, what a trial computes
in `objective`. It prints nothing: a `Watch` tells a verb or a notebook what happens.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from concurrent.futures import Future, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from minilm import files
from minilm.errors import AllTrialsFailedError
from minilm.text.corpora import Corpus
from minilm.training.run import Run
from minilm.tuner import objective
from minilm.tuner.chores import counting, draw_page
from minilm.tuner.decide import Plan, Rules, searchers
from minilm.tuner.final import Finish
from minilm.tuner.propose import Proposer, SearchSpace
from minilm.tuner.race import CHECKPOINT, Curve, LongDefault, Verdict, answered_curve, continued, judge
from minilm.tuner.records import BEST, MODELS, RESULT, Journal, Trial
from minilm.tuner.search import LATE, Search, best_trial
from minilm.tuner.settings import Settings
from minilm.tuner.space import Point
from minilm.tuner.summary import result_of
from minilm.tuner.watch import Watch
from minilm.tuner.workers import Workers

DEFAULT, RACE = "default", "race"  # folders of models that train longer than a trial
MARGIN = 0.005  # nats per character; a trial that beats the default recipe by less may owe it to luck
SAMPLE_CHARS = 600
PAGE_SHARE = 0.6  # of the reserve at the end, what the page gets; the sample has what comes before
EXIT_SHARE = 0.15  # and what is kept for ending the processes
PATIENCE = 600.0  # seconds that a study without a clock waits for its counting baseline and its page


@dataclass(frozen=True)
class Chosen:
    """What is trained to the end; `folder` holds the model so far where it is not the trial's own."""

    trial: Trial
    folder: Path | None = None
    race: Verdict | None = None
    legs: tuple[dict[str, Any], ...] = ()  # trainings longer than a trial, for the page: who, when, the curve


@dataclass
class Sitting:
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

    def race_end(self) -> float:
        """The moment of `time.monotonic()` at which a race is over."""
        assert self.plan is not None
        return self.begun + self.plan.race_end

    def moment(self, share: float) -> float | None:
        """When this share of the plan's reserve is left, as `time.monotonic()`; None where nothing ends."""
        return None if self.plan is None else self.begun + self.plan.total - share * self.plan.reserve


def run_sitting(sitting: Sitting) -> tuple[Run, dict[str, Any]]:
    """The final model's run and the content of result.json; both are in the study's folder too."""
    (sitting.folder / RESULT).unlink(missing_ok=True)  # of an earlier sitting
    shutil.rmtree(sitting.folder / BEST, ignore_errors=True)  # or half of one
    with Workers(1, background=True) as counter, Workers(1) as painter:
        counted = counter.submit(counting, sitting.settings.corpus)
        # an empty page, to load what pages need while others load torch: later it would disturb the final training
        sketch = painter.submit(draw_page, sitting.folder)
        chosen = _searched(sitting)
        sitting.watch.final(chosen.trial)
        run = _finished(sitting, chosen)
        sample = objective.sample_text(run, SAMPLE_CHARS, sitting.settings.seed, sitting.moment(PAGE_SHARE))
        baseline = _answer(counter, counted, sitting.moment(PAGE_SHARE))
        result = result_of(chosen.trial, sitting.journal.trials, run.config, run.result, baseline, sample)
        result["race"] = None if chosen.race is None else dataclasses.asdict(chosen.race)
        result["legs"] = list(chosen.legs)
        files.write_json(sitting.folder / RESULT, result)
        shutil.rmtree(sitting.folder / MODELS, ignore_errors=True)
        _answer(painter, sketch, sitting.moment(PAGE_SHARE))
        _answer(painter, painter.submit(draw_page, sitting.folder), sitting.moment(EXIT_SHARE))
    return run, result


def _finished(sitting: Sitting, chosen: Chosen) -> Run:
    end, tell = sitting.moment(1.0), sitting.watch.record
    finish = Finish(sitting.corpus, sitting.settings, sitting.folder, end, tell)
    return finish.run(chosen.trial, chosen.folder)


def _searched(sitting: Sitting) -> Chosen:
    """The search, and beside it the default recipe's long training, where a worker can be spared for it."""
    settings = sitting.settings
    count = searchers(settings.workers) if settings.races else settings.workers
    with ExitStack() as stack:
        pool = stack.enter_context(Workers(count))
        pool.warm_up(objective.prepare, settings.corpus)
        sitting.watch.start(settings.text(), settings.trials, sitting.journal.trials)
        if not settings.races:
            _search(sitting, pool)
            return Chosen(_chosen(sitting))
        began = sitting.clock()
        default = _long_default(sitting, stack.enter_context(Workers(1)))
        _search(sitting, pool)
        chosen = _raced(sitting, pool, default)
        whole = _leg_record(sitting, 0, "default", began, default.curve())
        return dataclasses.replace(chosen, legs=(whole, *chosen.legs))


def _search(sitting: Sitting, pool: Workers) -> None:
    settings, by_clock = sitting.settings, sitting.plan is not None
    end = None if sitting.plan is None else sitting.offset + sitting.plan.search_end
    Search(
        Proposer(sitting.space, settings.algo, settings.seed),
        pool,
        sitting.journal,
        Rules(pool.count, settings.trials, in_order=not by_clock, search_end=end),
        objective.run_trial,
        partial(_task, settings, sitting.folder),
        clock=sitting.clock,
        trial_seconds=settings.budget.seconds,
        on_trial=partial(_ended, sitting),
        on_tick=partial(_tick, sitting),
    ).run()


def _long_default(sitting: Sitting, pool: Workers) -> LongDefault:
    folder = sitting.folder / MODELS / DEFAULT
    seconds = max(sitting.race_end() - time.monotonic(), 1.0)
    task = _task(sitting.settings, sitting.folder, 0, sitting.space.default)
    leg = dataclasses.replace(task, budget=sitting.settings.budget.leg(seconds), out=str(folder))
    return LongDefault(pool, folder, objective.run_trial, leg)


def _raced(sitting: Sitting, pool: Workers, default: LongDefault) -> Chosen:
    """The best trial against the default recipe; without a challenger, or time for a race, the default."""
    best = best_trial(sitting.journal.trials, MARGIN)
    left = sitting.race_end() - time.monotonic()
    if best is None or best.tid == 0 or left < 0.5 * (sitting.settings.budget.seconds or 0.0):
        default.stop()
        return _default_or(sitting, default)
    sitting.watch.race(best)
    began = sitting.clock()
    leg = _leg(sitting, pool, best, left)
    default.stop()
    curve = continued(best, leg) if leg else []
    end = sitting.moment(1.0) or 0.0
    verdict = judge(best.tid, curve, default.curve(), max(end - time.monotonic(), 0.0))
    record = _leg_record(sitting, best.tid, best.worker, began, curve)
    if verdict.won:
        return Chosen(best, sitting.folder / MODELS / RACE, verdict, (record,))
    return dataclasses.replace(_default_or(sitting, default), race=verdict, legs=(record,))


def _leg_record(sitting: Sitting, tid: int, worker: Any, began: float, curve: Curve) -> dict[str, Any]:
    times = {"started": round(began, 3), "ended": round(sitting.clock(), 3)}
    return {"tid": tid, "worker": worker, **times, "curve": [[round(x, 3), y] for x, y in curve]}


def _leg(sitting: Sitting, pool: Workers, trial: Trial, seconds: float) -> Curve:
    """The trial trained on for so long: its curve there, empty where that came to nothing."""
    models, budget = sitting.folder / MODELS, sitting.settings.budget
    task = dataclasses.replace(
        _task(sitting.settings, sitting.folder, trial.tid, trial.point),
        budget=budget.leg(seconds),
        out=str(models / RACE),
        start=str(models / str(trial.tid) / CHECKPOINT),
    )
    end = sitting.race_end() + (budget.seconds or 0.0)
    return answered_curve(pool, pool.submit(objective.run_trial, task), end, partial(_tick, sitting))


def _default_or(sitting: Sitting, default: LongDefault) -> Chosen:
    """The default recipe as far as it is trained; the best trial where its long training came to nothing."""
    if default.checkpoint is None:
        return Chosen(_chosen(sitting))
    recipe = next((trial for trial in sitting.journal.trials if trial.tid == 0), None)
    return Chosen(recipe or Trial(0, sitting.space.default, {}), default.folder)


def _task(settings: Settings, folder: Path, tid: int, point: Point) -> objective.Task:
    return objective.Task(
        point=point,
        corpus=settings.corpus,
        limits=settings.limits,
        budget=settings.budget,
        seed=settings.seed,
        out=str(folder / MODELS / str(tid)),
    )


def _ended(sitting: Sitting, trial: Trial) -> None:
    """Throws away the models of the trials that ended, but for the one that would be chosen now."""
    best = best_trial(sitting.journal.trials, MARGIN)
    for ended in sitting.journal.trials:
        if best is None or ended.tid != best.tid:
            shutil.rmtree(sitting.folder / MODELS / str(ended.tid), ignore_errors=True)
    sitting.watch.trial(trial)


def _tick(sitting: Sitting) -> None:
    end = sitting.moment(0.0)
    sitting.watch.tick(None if end is None else end - time.monotonic())


def _chosen(sitting: Sitting) -> Trial:
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
