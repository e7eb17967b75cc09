"""When to start a trial, wait, or stop: pure functions of what has happened and of the clock's reading.

The plan of a study in minutes is made here too: how long a trial may train, when the search ends, what is
left for the final model. Nothing here starts, measures or waits; every answer can be tested by a table of
numbers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from minilm.errors import ConfigError

SEARCH_SHARE = 0.15  # of the minutes, for trials; the final model gets the most of the rest
RACE_SHARE = 0.08  # for the best trial against the default recipe
FINAL_SHARE = 0.25  # for the final training at least, however slow the start was
WARM_UP = 4.0  # seconds until workers are ready
TRIALS_WANTED = 8  # few enough that each one learns something
SHORTEST, LONGEST = 3.5, 60.0  # seconds of training in a trial
STEP_TRIAL_LIMIT = 1800.0  # seconds after which a trial with a step budget counts as hung
OVERHEAD = 0.15  # share of a trial's time for its evaluations and for building the model
GPU_WORKERS = 4
MOST_WORKERS = 64  # TPE learns little from trials that all run at once
START_GRACE = 15.0  # seconds in which a worker must have loaded torch and the text


class Act(Enum):
    START = "start"
    WAIT = "wait"
    STOP = "stop"


@dataclass(frozen=True)
class Decision:
    """What to do next; START names the trial."""

    act: Act
    tid: int = -1


@dataclass(frozen=True)
class Rules:
    """What bounds a search. Times are seconds since the study began.

    `trials`: how many there are at most. `in_order`: a proposal sees only trials that are `workers` older
    than it, so that it does not depend on which worker was faster. `search_end`: no trial ends later.
    """

    workers: int
    trials: int | None = None
    in_order: bool = False
    search_end: float | None = None


def decide(
    ended: Collection[int], running: Collection[int], rules: Rules, now: float, needed: float
) -> Decision:
    """What a free worker should do. `needed`: seconds that a trial started now would take.

    >>> decide({0}, {1}, Rules(workers=2, trials=9, in_order=True), now=0, needed=0)
    Decision(act=<Act.START: 'start'>, tid=2)
    >>> decide({1}, {0}, Rules(workers=2, trials=9, in_order=True), now=0, needed=0)
    Decision(act=<Act.WAIT: 'wait'>, tid=-1)
    """
    nothing_new = Decision(Act.WAIT if running else Act.STOP)
    taken = {*ended, *running}
    tid = next(number for number in range(len(taken) + 1) if number not in taken)
    if rules.trials is not None and tid >= rules.trials:
        return nothing_new
    if rules.search_end is not None and now + needed > rules.search_end:
        return nothing_new
    if rules.in_order and not set(known_to(tid, rules.workers)) <= set(ended):
        return nothing_new
    return Decision(Act.START, tid)


def known_to(tid: int, workers: int) -> range:
    """The trials that a proposal made in order may know.

    >>> list(known_to(4, workers=2))
    [0, 1, 2]
    """
    return range(max(0, tid - workers + 1))


def worker_count(cores: int, device: str, trials: int | None = None) -> int:
    """One worker per core, but no more than trials; a GPU is shared by a few, because small models leave it
    idle.

    >>> worker_count(16, "cpu"), worker_count(16, "cpu", trials=3), worker_count(16, "cuda")
    (16, 3, 4)
    """
    most = cores if device == "cpu" else min(cores, GPU_WORKERS)
    return max(1, min(most, MOST_WORKERS, trials or most))


@dataclass(frozen=True)
class Plan:
    """How the minutes are spent. All in seconds; ends are counted from the start of the command."""

    total: float
    trial: float  # training time of one trial
    search_end: float
    race_end: float
    final_end: float  # the final training is over
    reserve: float  # from there to the end: test split, sample, page


def plan(minutes: float, workers: int, started: float = 0.0) -> Plan:
    """The plan for a command of `minutes`, of which `started` seconds are gone when the first trial can
    start.

    >>> plan(10, workers=2, started=8).trial
    11.2
    """
    if not minutes > 0:
        raise ConfigError(f"minutes must be above 0, got {minutes}; 3 is the default")
    total = 60.0 * minutes
    reserve = min(0.25 * total, 6.0 + 0.02 * total)
    latest = total - reserve - FINAL_SHARE * total
    search_end = min(started + WARM_UP + SEARCH_SHARE * total, latest)
    race_end = min(search_end + RACE_SHARE * total, latest)
    trial = min(max(SEARCH_SHARE * total * searchers(workers) / TRIALS_WANTED, SHORTEST), LONGEST)
    return Plan(total, round(trial, 1), search_end, race_end, total - reserve, reserve)


def searchers(workers: int) -> int:
    """How many of the workers run trials in a study by the clock: one, if it can be spared, trains the default.

    >>> searchers(1), searchers(2), searchers(16)
    (1, 1, 15)
    """
    return max(1, workers - 1)


def rest_of(minutes: float, workers: int, spent: float, started: float = 0.0) -> Plan:
    """The plan of a later sitting of a study of `minutes`, `spent` seconds of which earlier ones have used.

    The final model keeps its share even where they have used everything.
    """
    total = 60.0 * minutes
    left = plan(max(total - spent, (1 - SEARCH_SHARE) * total) / 60, workers, started)
    search_end = min(left.search_end, max(SEARCH_SHARE * total - spent, 0.0))
    return replace(left, search_end=search_end, race_end=min(left.race_end, search_end + RACE_SHARE * total))


def seconds_needed(trial_seconds: float, measured: Collection[float]) -> float:
    """How long a trial takes from start to end: as the slowest of late, or a guess before there is one."""
    return max(measured, default=(1 + OVERHEAD) * trial_seconds + 1.0)


def seconds_allowed(trial_seconds: float | None, warm: bool) -> float:
    """After this a trial counts as hung. A worker that is not `warm` first loads torch and the text."""
    if trial_seconds is None:
        return STEP_TRIAL_LIMIT
    return 2.0 * trial_seconds + 3.0 + (0.0 if warm else START_GRACE)


def process_age() -> float:
    """Seconds since this process was started: the interpreter's own start-up counts for a deadline too.

    0 where the system does not tell (it does on Linux).
    """
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        age = uptime - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0
    return age if 0.0 <= age < 3600.0 else 0.0


def process_started() -> float:
    """The moment of `time.monotonic()` at which this process was started."""
    return time.monotonic() - process_age()
