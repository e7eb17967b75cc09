"""Decides whether a free worker starts a trial, continues one, waits or stops: functions of plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from minilm.tuner.rungs import SCHEDULERS, Ladder, Standing
from minilm.tuner.space import DEFAULT_TID

STEP_TRIAL_LIMIT = 1800.0  # seconds after which a trial with a step budget counts as hung
OVERHEAD = 0.15  # share of a trial's time for its evaluations and for building the model
GPU_WORKERS = 4  # that share one GPU: a small model leaves it idle
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


def seconds_needed(trial_seconds: float, measured: Collection[float]) -> float:
    """How long a trial takes from start to end: as the slowest of late, or a guess before there is one."""
    return max(measured, default=(1 + OVERHEAD) * trial_seconds + 1.0)


def seconds_allowed(trial_seconds: float | None, warm: bool) -> float:
    """After this a trial counts as hung: twice its time and what starting takes. A worker that is not `warm` first
    loads torch and the text."""
    if trial_seconds is None:
        return STEP_TRIAL_LIMIT
    return 2.0 * trial_seconds + 3.0 + (0.0 if warm else START_GRACE)
