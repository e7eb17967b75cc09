"""Decides whether a free worker starts a trial, continues one, waits or stops.

The plan of a study in minutes is made here too: how long a trial may train, when the search ends, how much time
remains for the final model. The decisions are functions of plain numbers; only `process_age`, at the end, reads a
clock.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from minilm.errors import ConfigError
from minilm.tuner.rungs import SCHEDULERS, Ladder, Standing
from minilm.tuner.space import DEFAULT_TID

SEARCH_SHARE = 0.15  # of the minutes, for trials; the final model gets the most of the rest
CONFIRM_SHARE = 0.06  # for the best trials and the default recipe with fresh seeds
RACE_SHARE = 0.08  # for the best trial against the incumbent
SHORTEST_RACE = 8.0  # seconds; what a shorter one shows is only how curves begin
FINAL_SHARE = 0.25  # for the final training at least, however slow the start was
RESERVE_SECONDS = 4.4  # for test split, sample and page; a hundredth of the minutes comes on top
RESERVE_SHARE = 0.25  # of the minutes, at most
WARM_UP = 6.0  # seconds until workers are ready: they load torch, all at once
TRIALS_WANTED = 4.5  # full trainings in a search; most trials stop at a ninth of one
SHORTEST, LONGEST = 3.5, 120.0  # seconds of training in a trial
LONGEST_SHARE = 0.35  # of the search, for one trial: others must have ended before it climbs
STEP_TRIAL_LIMIT = 1800.0  # seconds after which a trial with a step budget counts as hung
OVERHEAD = 0.15  # share of a trial's time for its evaluations and for building the model
GPU_WORKERS = 4  # that share one GPU: a small model leaves it idle
ALL_CORES_LEAD = 1.5  # times the steps of as many single cores; a smaller lead of all cores together is noise
MOST_WORKERS = 64  # TPE learns little from trials that all run at once
START_GRACE = 15.0  # seconds in which a worker must have loaded torch and the text


class Act(Enum):
    START = "start"
    GO_ON = "go on"
    WAIT = "wait"
    STOP = "stop"


@dataclass(frozen=True)
class Decision:
    """What to do next; START and GO_ON name the trial, a new one or one that is paused at a rung."""

    act: Act
    tid: int = -1


@dataclass(frozen=True)
class Rules:
    """What bounds a search. Times are seconds since the study began.

    `trials`: how many there are at most. `in_order`: a proposal sees only trials that are `workers` older
    than it, so that it does not depend on which worker was faster. `search_end`: no leg ends later. `scheduler`: a
    key of SCHEDULERS, which names the trial to climb the `ladder`.
    """

    workers: int
    trials: int | None = None
    in_order: bool = False
    search_end: float | None = None
    scheduler: str = "none"
    ladder: Ladder = Ladder((1.0,))


Needed = Callable[[int], float]  # rungs a trial has reached -> seconds that its next leg would take


def decide(standings: Sequence[Standing], rules: Rules, now: float, needed: Needed) -> Decision:
    """What a free worker should do.

    The default recipe, trial 0, climbs whatever the others do: it is a candidate to the end, and the first to show
    how far losses fall between two rungs. Then the scheduler's choice, then a new trial, if it could reach the top.
    At the end the best of those still paused climb as far as the time allows.

    >>> decide([Standing(0, (2.0,)), Standing(1, running=True)], Rules(2, trials=9), now=0, needed=lambda rung: 0)
    Decision(act=<Act.START: 'start'>, tid=2)
    """
    ladder = rules.ladder
    ends = [needed(rung) for rung in range(ladder.top + 1)]

    def fits(reached: int, rungs: int = 1) -> bool:
        return rules.search_end is None or now + sum(ends[reached : reached + rungs]) <= rules.search_end

    reached = {t.tid: len(t.losses) for t in standings}
    default = [t.tid for t in standings if t.tid == DEFAULT_TID and _is_paused(t, ladder)]
    chosen = default[0] if default else SCHEDULERS[rules.scheduler](standings, ladder)
    if chosen is not None and fits(reached[chosen]):
        return Decision(Act.GO_ON, chosen)
    new = _new(standings, rules)
    if new is not None and fits(0, ladder.top + 1):
        return Decision(Act.START, new)
    if _is_over(standings, rules) and (last := _last_call(standings, rules, fits)) is not None:
        return Decision(Act.GO_ON, last)
    return Decision(Act.WAIT if any(t.running for t in standings) else Act.STOP)


def _is_paused(trial: Standing, ladder: Ladder) -> bool:
    return bool(trial.losses) and not trial.running and not trial.failed and len(trial.losses) <= ladder.top


def _new(standings: Sequence[Standing], rules: Rules) -> int | None:
    """The number of the next new trial, where there may be one."""
    begun = {t.tid for t in standings if t.losses or t.running or t.failed}
    tid = next(number for number in range(len(begun) + 1) if number not in begun)
    if rules.trials is not None and tid >= rules.trials:
        return None
    ended = {t.tid for t in standings if (t.losses or t.failed) and not t.running}
    return tid if not rules.in_order or set(known_to(tid, rules.workers)) <= ended else None


def _is_over(standings: Sequence[Standing], rules: Rules) -> bool:
    """Whether no new trial will begin any more, whatever those that are running reach."""
    begun = sum(bool(t.losses or t.running or t.failed) for t in standings)
    return rules.search_end is not None or (rules.trials is not None and begun >= rules.trials)


def _last_call(standings: Sequence[Standing], rules: Rules, fits: Callable[[int], bool]) -> int | None:
    """The paused trial that is furthest, the best of them first; by count, only until one has reached the top."""
    ladder = rules.ladder
    on_the_way = any(t.running or len(t.losses) > ladder.top for t in standings)
    if rules.search_end is None and on_the_way:
        return None
    paused = [t for t in standings if _is_paused(t, ladder) and fits(len(t.losses))]
    return min(paused, key=lambda t: (-len(t.losses), t.losses[-1], t.tid)).tid if paused else None


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
    limit = cores if device == "cpu" else min(cores, GPU_WORKERS)
    return max(1, min(limit, MOST_WORKERS, trials or limit))


def side_by_side(pace: Mapping[str, float], cores: int) -> bool:
    """Whether trainings on a core each get more steps done together than one training on all cores.

    `pace`: threads -> seconds of a step. Without a measurement they do, as small models do not fill many cores. One
    training on all cores has to do ALL_CORES_LEAD times as many steps: a smaller lead is mostly noise.

    >>> side_by_side({"1": 0.1, "2": 0.07}, 2), side_by_side({"1": 0.1, "2": 0.03}, 2), side_by_side({}, 2)
    (True, False, True)
    """
    if str(cores) not in pace or cores == 1:
        return True
    return ALL_CORES_LEAD * cores / pace["1"] >= 1 / pace[str(cores)]


@dataclass(frozen=True)
class Plan:
    """How the minutes are spent. All in seconds; ends are counted from the start of the command."""

    total: float
    trial: float  # training time of one trial
    search_end: float
    confirm_end: float
    race_end: float
    final_end: float  # the final training is over
    reserve: float  # from there to the end: test split, sample, page


def plan(minutes: float, workers: int, started: float = 0.0, useful_seconds: float | None = None) -> Plan:
    """The plan for a command of `minutes`, of which `started` seconds are gone when the first trial can
    start. After `useful_seconds` of the final training the text has nothing left to tell; search and confirmation get
    what that leaves.

    >>> plan(10, workers=2, started=8).trial, plan(10, workers=2, started=8, useful_seconds=120).trial
    (20.0, 64.7)
    """
    if not minutes > 0:
        raise ConfigError(f"minutes must be above 0, got {minutes}; 3 is the default")
    total = 60.0 * minutes
    reserve = min(RESERVE_SHARE * total, RESERVE_SECONDS + 0.01 * total)
    # without a race the best trials need not be compared
    confirm, race = (CONFIRM_SHARE, RACE_SHARE) if RACE_SHARE * total >= SHORTEST_RACE else (0.0, 0.0)
    useful = math.inf if useful_seconds is None else useful_seconds
    final = (1 - SEARCH_SHARE - confirm - race) * total - reserve - started - WARM_UP
    stretch = 1 + max(0.0, final - useful) / ((SEARCH_SHARE + confirm) * total)
    search = stretch * SEARCH_SHARE * total
    latest = total - reserve - min(FINAL_SHARE * total, useful)
    search_end = min(started + WARM_UP + search, latest)
    confirm_end = min(search_end + stretch * confirm * total, latest)
    race_end = min(confirm_end + race * total, latest)
    longest = min(LONGEST, LONGEST_SHARE * search, useful)
    trial = max(min(search * searchers(workers) / TRIALS_WANTED, longest), SHORTEST)
    return Plan(total, round(trial, 1), search_end, confirm_end, race_end, total - reserve, reserve)


def searchers(workers: int) -> int:
    """How many of the workers run trials in a study by the clock: one, if it can be spared, trains the incumbent.

    >>> searchers(1), searchers(2), searchers(16)
    (1, 1, 15)
    """
    return max(1, workers - 1)


def rest_of(
    minutes: float, workers: int, spent: float, started: float = 0.0, useful_seconds: float | None = None
) -> Plan:
    """The plan of a later sitting of a study of `minutes`, `spent` seconds of which earlier ones have used.

    The final model keeps its share even where they have used everything.
    """
    total = 60.0 * minutes
    full = plan(minutes, workers, 0.0, useful_seconds)
    search = full.search_end - WARM_UP
    rest = plan(max(total - spent, total - search) / 60, workers, started, useful_seconds)
    search_end = min(rest.search_end, max(search - spent, 0.0))
    confirm_end = min(rest.confirm_end, search_end + full.confirm_end - full.search_end)
    race_end = min(rest.race_end, confirm_end + RACE_SHARE * total)
    return replace(rest, search_end=search_end, confirm_end=confirm_end, race_end=race_end)


def seconds_needed(trial_seconds: float, measured: Collection[float]) -> float:
    """How long a trial takes from start to end: as the slowest of late, or a guess before there is one."""
    return max(measured, default=(1 + OVERHEAD) * trial_seconds + 1.0)


def seconds_allowed(trial_seconds: float | None, warm: bool) -> float:
    """After this a trial counts as hung: twice its time and what starting takes. A worker that is not `warm` first
    loads torch and the text."""
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
