"""Chooses the paused trial to continue, by pure functions of what every trial has reached. No clock, no worker.

A trial pauses at rungs, fixed shares of a full training, and its last validation loss at a rung is compared with
those of the others at the same rung. A scheduler takes all that is known and names the paused trial to continue, or
none, where a new trial should begin. `asha` is the promotion type of asynchronous successive halving (Li et al.,
"A system for massively parallel hyperparameter tuning", 2020, algorithm 2): no trial waits for a rung to fill, and one
that is overtaken stays paused, not lost.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minilm.errors import ConfigError


@dataclass(frozen=True)
class Standing:
    """What a scheduler knows of a trial: the loss at each rung it has reached, in order, and whether it is running
    towards the next one, or failed on the way there."""

    tid: int
    losses: tuple[float, ...] = ()
    running: bool = False
    failed: bool = False

    def at(self, rung: int) -> float | None:
        """The loss at the rung: infinite where it failed on the way there, None where it has not come so far."""
        if len(self.losses) > rung:
            return self.losses[rung]
        return math.inf if self.failed and len(self.losses) == rung else None

    def waits_at(self, rung: int) -> bool:
        """Whether it is paused at this rung."""
        return len(self.losses) == rung + 1 and not self.running and not self.failed


@dataclass(frozen=True)
class Ladder:
    """The rungs: shares of a full training, rising to 1. One of `eta` trials at a rung climbs on.

    >>> Ladder((0.25, 0.5, 1.0)).leg(1)
    0.25
    """

    shares: tuple[float, ...] = (1 / 9, 1 / 3, 1.0)
    eta: int = 3

    def __post_init__(self) -> None:
        steps = zip((0.0, *self.shares), self.shares, strict=False)
        if not self.shares or self.shares[-1] != 1.0 or not all(low < high for low, high in steps):
            raise ConfigError(
                f"rungs must rise from above 0 to 1, got {self.shares}; take (1/9, 1/3, 1) or the like"
            )
        if self.eta < 2:
            raise ConfigError(f"eta must be at least 2, got {self.eta}; 3 lets a third of each rung climb")

    @property
    def top(self) -> int:
        """The last rung, at which a trial is fully trained."""
        return len(self.shares) - 1

    def leg(self, reached: int) -> float:
        """The share of a full training from the last of `reached` rungs to the next one."""
        return self.shares[reached] - (self.shares[reached - 1] if reached else 0.0)


def asha(standings: Sequence[Standing], ladder: Ladder) -> int | None:
    """The best paused trial among the top 1/eta of its rung, of the highest rung that has one.

    A failed trial counts as a member of the rung it did not reach, behind all others: a space that fails often is no
    reason to promote less.

    >>> asha([Standing(0, (2.0,)), Standing(1, (1.9,)), Standing(2, failed=True)], Ladder())
    1
    """
    for rung in reversed(range(ladder.top)):
        members = _members(standings, rung)
        for _, trial in members[: len(members) // ladder.eta]:
            if trial.waits_at(rung):
                return trial.tid
    return None


def straight(standings: Sequence[Standing], ladder: Ladder) -> int | None:
    """Every trial trains to the end, before a new one begins.

    >>> straight([Standing(0, (2.0, 1.8, 1.7)), Standing(1, (2.9,))], Ladder())
    1
    """
    paused = [t for t in standings if any(t.waits_at(rung) for rung in range(ladder.top))]
    return min(paused, key=lambda t: (-len(t.losses), t.tid)).tid if paused else None


def _members(standings: Sequence[Standing], rung: int) -> list[tuple[float, Standing]]:
    """The trials that came to the rung or failed on the way there, the best first; equal losses in the order of ids."""
    found = [(loss, trial) for trial in standings if (loss := trial.at(rung)) is not None]
    return sorted(found, key=lambda member: (member[0], member[1].tid))


SCHEDULERS: dict[str, Callable[[Sequence[Standing], Ladder], int | None]] = {
    "asha": asha,
    "none": straight,
}


def levelled(standings: Sequence[Standing], ladder: Ladder) -> dict[int, float]:
    """The loss of every trial that has one and has not failed, as if all had come to the top: losses of different rungs
    do not compare, so what those that climbed have gained on average is taken off those that wait.

    >>> levelled([Standing(0, (3.0, 2.0, 1.5)), Standing(1, (2.9,))], Ladder())
    {0: 1.5, 1: 1.4}
    """
    found = {trial.tid: trial.losses[-1] for trial in standings if trial.losses and not trial.failed}
    for rung in range(ladder.top):
        falls = [t.losses[rung] - t.losses[rung + 1] for t in standings if len(t.losses) > rung + 1]
        for trial in standings:
            if falls and trial.tid in found and len(trial.losses) <= rung + 1:
                found[trial.tid] -= statistics.fmean(falls)
    return {tid: round(loss, 12) for tid, loss in found.items()}
