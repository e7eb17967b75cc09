"""Chooses the configuration for the final training.

The search comes first; its best trials are confirmed with fresh seeds, and the winner may race the incumbent. The
arithmetic of each step is in `decide`, `finalists` and `race`; here they follow one another on workers, within the
clock of a sitting.
"""

from __future__ import annotations

import dataclasses
import math
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from minilm.errors import AllTrialsFailedError
from minilm.tuner import objective
from minilm.tuner.decide import SHORTEST_RACE, Rules, searchers, seconds_needed
from minilm.tuner.engines import Engine, pool_for
from minilm.tuner.finalists import Finalist, Outcome, batches, choose, finalists, rounds
from minilm.tuner.legs import HOLD, LONG, long_part
from minilm.tuner.propose import Proposer, is_loss
from minilm.tuner.race import (
    CHECKPOINT,
    INCUMBENT,
    Curve,
    LongTraining,
    RaceOutcome,
    answered_curve,
    compare_curves,
    continued,
    gain,
)
from minilm.tuner.records import MODELS, Trial, TrialState
from minilm.tuner.search import LATE, Search, best_trial
from minilm.tuner.sitting import FLAT_SHARE, Sitting
from minilm.tuner.space import DEFAULT_TID
from minilm.tuner.tasks import base_task, leg_task, prune, seed_task
from minilm.tuner.workers import Workers

RACE = "race"  # the folder of a model that trains longer than a trial
MARGIN = 0.005  # nats per character; a trial that beats the default recipe by less may owe it to luck
FEWEST_CONFIRMED = 8  # trials of a study by count; with fewer, to confirm takes longer than the search


@dataclass(frozen=True)
class Chosen:
    """The configuration of the final training; `folder` holds the model so far where it is not the trial's own."""

    trial: Trial
    folder: Path | None = None
    race: RaceOutcome | None = None
    trained: float = 0.0  # seconds of training that the folder's model has behind it
    legs: tuple[dict[str, Any], ...] = ()  # trainings longer than a trial, for the page: trial, times, curve
    finalists: tuple[Finalist, ...] = ()
    outcome: Outcome | None = None


def select(sitting: Sitting) -> Chosen:
    """The search, and beside it the incumbent's long training, where a worker can be spared for it."""
    settings = sitting.settings
    # a cluster leaves this machine free for the incumbent
    spared = settings.races and settings.engine is None
    count = searchers(settings.workers) if spared else settings.workers
    with ExitStack() as stack:
        pool = pool_for(settings.engine or count, settings.threads)
        stack.callback(pool.close)
        pool.warm_up(objective.prepare, settings.corpus, settings.threads)
        sitting.watch.start(settings.text(), settings.trials, sitting.journal.trials)
        if not settings.races:
            _search(sitting, pool)
            return _unraced(sitting, _confirmed(sitting, pool))
        began = sitting.clock()
        incumbent = _long_training(sitting, stack.enter_context(Workers(1)))
        _search(sitting, pool)
        chosen = _raced(sitting, pool, incumbent, _confirmed(sitting, pool))
        leg = _record(sitting, settings.incumbent, INCUMBENT, began, incumbent.curve())
        return dataclasses.replace(chosen, legs=(leg, *chosen.legs))


def _search(sitting: Sitting, pool: Engine) -> None:
    settings, by_clock = sitting.settings, sitting.plan is not None
    end = None if sitting.plan is None else sitting.offset + sitting.plan.search_end
    # a study of whole trainings by count does not depend on which worker was faster
    in_order = not by_clock and settings.ladder.top == 0
    search = Search(
        Proposer(sitting.space, settings.algo, settings.seed),
        pool,
        sitting.journal,
        Rules(pool.count, settings.trials, in_order, end, settings.scheduler, settings.ladder),
        objective.run_leg,
        partial(leg_task, settings, sitting.folder),
        clock=sitting.clock,
        trial_seconds=settings.budget.seconds,
        on_tick=sitting.tick,
    )
    search.on_trial = partial(_ended, sitting, search)
    search.run()


def _long_training(sitting: Sitting, pool: Workers) -> LongTraining:
    seconds = max(min(sitting.race_end() - time.monotonic(), FLAT_SHARE * sitting.useful_seconds), 1.0)
    folder = sitting.folder / MODELS / INCUMBENT
    task = base_task(sitting.settings, sitting.incumbent.point, folder)
    task = dataclasses.replace(task, parts=(long_part(sitting.settings.budget, seconds),))
    return LongTraining(pool, folder / LONG, objective.run_leg, task)


def _confirmed(sitting: Sitting, pool: Engine) -> Chosen:
    """The best trials and the default recipe once more with fresh seeds, as far as there is time, and the choice."""
    settings, plan = sitting.settings, sitting.plan
    end = None if plan is None else sitting.offset + plan.confirm_end
    candidates = finalists(sitting.journal.trials, settings.seed)
    if plan is None and len(sitting.journal.trials) < FEWEST_CONFIRMED:
        return Chosen(_chosen(sitting))
    candidates = confirmed(sitting, pool, candidates, end)
    outcome = choose(candidates)
    if outcome is None:
        return Chosen(_chosen(sitting))
    trial = next(trial for trial in sitting.journal.trials if trial.tid == outcome.tid)
    return Chosen(trial, finalists=tuple(candidates), outcome=outcome)


def _raced(sitting: Sitting, pool: Engine, incumbent: LongTraining, chosen: Chosen) -> Chosen:
    """The chosen trial against the incumbent; without a challenger, or time for a race, the incumbent. Trials that
    nearly used the text up have shown more than a race could."""
    best, budget = chosen.trial, sitting.settings.budget
    seconds_left = sitting.race_end() - time.monotonic()
    is_incumbent = best.tid == sitting.settings.incumbent
    if sitting.trials_are_whole and not is_incumbent:
        incumbent.stop()
        return chosen
    settled = is_incumbent or _is_smaller(sitting, best)
    too_short = seconds_left < 0.5 * max(SHORTEST_RACE, budget.seconds or 0.0)
    if settled or best.state is not TrialState.OK or too_short:
        incumbent.stop()
        return _incumbent_or(sitting, incumbent, chosen)
    sitting.watch.race(best)
    began = sitting.clock()
    leg = _race_leg(sitting, pool, best, seconds_left)
    incumbent.stop()
    curve = continued(best, leg) if leg else []
    ahead = min(max((sitting.moment(1.0) or 0.0) - time.monotonic(), 0.0), sitting.useful_seconds)
    gains = gain(best), gain(sitting.incumbent)
    gains = gains if all(gains) else (0.0, 0.0)  # where only one of them is known it would favour that one
    race = compare_curves((best.tid, sitting.settings.incumbent), curve, incumbent.curve(), ahead, gains)
    record = _record(sitting, best.tid, best.worker, began, curve)
    if race.won:
        folder = sitting.folder / MODELS / RACE / LONG
        return dataclasses.replace(chosen, folder=folder, race=race, trained=curve[-1][0], legs=(record,))
    return dataclasses.replace(_incumbent_or(sitting, incumbent, chosen), race=race, legs=(record,))


def _is_smaller(sitting: Sitting, trial: Trial) -> bool:
    """Whether it has fewer parameters than the fitted recipe: it leads early, and a forecast from there misleads."""
    if sitting.settings.fitted is None:
        return False
    return (trial.n_parameters or 0) < (sitting.incumbent.n_parameters or 0)


def _record(sitting: Sitting, tid: int, worker: Any, began: float, curve: Curve) -> dict[str, Any]:
    times = {"started": round(began, 3), "ended": round(sitting.clock(), 3)}
    return {"tid": tid, "worker": worker, **times, "curve": [[round(x, 3), y] for x, y in curve]}


def _race_leg(sitting: Sitting, pool: Engine, trial: Trial, seconds: float) -> Curve:
    """Continues the trial for so long and returns its curve there, empty where that came to nothing."""
    models, budget = sitting.folder / MODELS, sitting.settings.budget
    task = dataclasses.replace(
        base_task(sitting.settings, trial.point, models / RACE),
        parts=(dataclasses.replace(long_part(budget, seconds), warmup=0.0),),
        start=str(models / str(trial.tid) / HOLD / CHECKPOINT),
    )
    end = sitting.race_end() + (budget.seconds or 0.0)
    return answered_curve(pool, pool.submit(objective.run_leg, task), end, sitting.tick)


def _incumbent_or(sitting: Sitting, incumbent: LongTraining, chosen: Chosen) -> Chosen:
    """The incumbent as far as it is trained. Where it has no checkpoint, from nothing if there is time for more than a
    trial; else the best trial, as where it failed."""
    if incumbent.checkpoint is None and (incumbent.failed or _little_time(sitting)):
        return chosen
    trained = max((seconds for seconds, _ in incumbent.curve()), default=0.0)
    return dataclasses.replace(chosen, trial=sitting.incumbent, folder=incumbent.folder, trained=trained)


def _little_time(sitting: Sitting) -> bool:
    """Whether a training from nothing would hardly be longer than a trial was."""
    end = sitting.moment(1.0)
    return end is not None and end - time.monotonic() < 2 * (sitting.settings.budget.seconds or 0.0)


def _unraced(sitting: Sitting, chosen: Chosen) -> Chosen:
    """Without a race, what a trial of seconds prefers is trusted only where it is no smaller than the fitted recipe:
    small models lead early, and the law behind the recipe knows which lead late. A trial that nearly uses the text up
    is no early one."""
    fitted, trial = sitting.incumbent, chosen.trial
    if (
        sitting.trials_are_whole
        or sitting.settings.fitted is None
        or trial.tid == fitted.tid
        or fitted.state is TrialState.FAILED
    ):
        return chosen
    if not fitted.losses and _little_time(sitting):
        return chosen
    no_smaller = (trial.n_parameters or 0) >= (fitted.n_parameters or math.inf)
    return chosen if no_smaller and trial.tid != DEFAULT_TID else dataclasses.replace(chosen, trial=fitted)


def _ended(sitting: Sitting, search: Search, trial: Trial) -> None:
    busy = {running.tid for running in search.running.values()}
    prune(sitting.folder / MODELS, sitting.journal.trials, sitting.settings.ladder, busy)
    sitting.watch.trial(trial)


def _chosen(sitting: Sitting) -> Trial:
    """The best trial; the default recipe where time was too short for any to end."""
    trials = sitting.journal.trials
    best = best_trial(trials, MARGIN)
    if best is not None:
        return best
    if {trial.reason for trial in trials} <= {LATE}:
        return Trial(DEFAULT_TID, sitting.space.default, {}, reason="no trial could end in the time given")
    told = "; ".join(f"trial {trial.tid}: {trial.reason}" for trial in trials[:5])
    raise AllTrialsFailedError(
        f"all {len(trials)} trials failed ({told}); the records are in {sitting.folder}"
    )


def confirmed(
    sitting: Sitting, pool: Engine, candidates: list[Finalist], end: float | None
) -> list[Finalist]:
    """The finalists with the losses of their further seeds; by the clock only of rounds that end by `end`."""
    settings, points = sitting.settings, {trial.tid: trial.point for trial in sitting.journal.trials}
    found = {one.tid: dict(one.losses) for one in candidates}
    needed = 0.0 if settings.budget.seconds is None else seconds_needed(settings.budget.seconds, ())
    for batch in batches(rounds(candidates, settings.seed), pool.count):
        seconds = needed * math.ceil(len(batch) / pool.count)
        if end is not None and sitting.clock() + seconds > end:
            break
        tasks = {
            (tid, seed): seed_task(settings, sitting.folder, points[tid], tid, seed) for tid, seed in batch
        }
        limit = None if end is None else sitting.clock() + 2 * seconds
        for (tid, seed), loss in _losses(sitting, pool, tasks, limit).items():
            found[tid][seed] = loss
    return [dataclasses.replace(one, losses=found[one.tid]) for one in candidates]


def _losses(
    sitting: Sitting, pool: Engine, tasks: dict[tuple[int, int], objective.Task], limit: float | None
) -> dict[tuple[int, int], float]:
    """What the tasks' trainings come to, as far as they do before the clock reads `limit`."""
    waiting, running = list(tasks), dict[Future, tuple[int, int]]()
    found: dict[tuple[int, int], float] = {}
    while waiting or running:
        while waiting and pool.free:
            key = waiting.pop(0)
            running[pool.submit(objective.run_leg, tasks[key])] = key
        if limit is not None and sitting.clock() > limit:
            for future in running:
                pool.kill(future)
            waiting.clear()
        for future in wait(running, timeout=0.5, return_when=FIRST_COMPLETED).done:
            key, answer = running.pop(future), None if future.exception() else future.result()
            if answer is not None and is_loss(answer["loss"]):
                found[key] = answer["loss"]
        sitting.tick()
    return found
