"""Reads a trial's legs: the stretches of training after which it waited at a rung, was promoted, or failed.

Numbers only, from records as plain dicts; a record without legs, as older studies wrote it, is one leg.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from minilm.plots.reading import number
from minilm.plots.trials import Trial, succeeded
from minilm.plots.verdict import is_number


class Leg(NamedTuple):
    """One training of a trial; times in seconds since the study began, None where unknown."""

    tid: int
    rung: int
    worker: str
    started: float | None
    ended: float | None
    seconds: float | None  # of training, in this leg alone
    loss: float | None  # at its end, validation, nats per character; None where it failed
    reason: str | None


def legs_of(trial: Trial) -> list[Leg]:
    """
    >>> [(leg.rung, leg.loss) for leg in legs_of({"tid": 3, "state": "ok", "loss": 2.0, "seconds": 9.0})]
    [(0, 2.0)]
    """
    recorded = [leg for leg in trial.get("legs") or [] if isinstance(leg, dict)]
    if not recorded:
        return [_leg(trial["tid"], trial, trial["loss"] if succeeded(trial) else None)]
    return [_leg(trial["tid"], leg, leg.get("loss")) for leg in recorded]


def _leg(tid: int, record: Trial, loss: float | None) -> Leg:
    started, ended, seconds = (number(record, key) for key in ("started", "ended", "seconds"))
    rung, reason = record.get("rung"), record.get("reason")
    return Leg(
        tid,
        rung if isinstance(rung, int) else 0,
        str(record.get("worker")),
        started,
        ended,
        seconds,
        loss if is_number(loss) else None,
        None if reason is None else str(reason),
    )


def seconds_trained(trial: Trial) -> float:
    """Seconds of training in all its legs."""
    return sum(leg.seconds or 0.0 for leg in legs_of(trial))


def last_rung(trial: Trial) -> int:
    """The highest rung at which the trial arrived with a loss."""
    return max((leg.rung for leg in legs_of(trial) if leg.loss is not None), default=0)


def loss_at_rung(trial: Trial, rung: int) -> float | None:
    """None where it did not arrive; a leg whose worker died may have been trained once more."""
    return next((leg.loss for leg in legs_of(trial) if leg.rung == rung and leg.loss is not None), None)


def equal_loss(trial: Trial) -> float | None:
    """The loss after as much training as every trial had: that of the first rung. It outlives a later failure.

    >>> two = [{"rung": 0, "loss": 3.0}, {"rung": 1, "loss": 2.0}]
    >>> equal_loss({"tid": 1, "state": "paused", "loss": 2.0, "legs": two})
    3.0
    """
    return loss_at_rung(trial, 0)


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Trials from best to worst: one that came further stands before one that did not, failures last.

    Losses of different rungs do not compare, as the trainings were not equally long; within one they do. A trial
    that was promoted was among the best of the rung below, so the order is the search's own.
    """
    return sorted(trials, key=_rank)


def _rank(trial: Trial) -> tuple[bool, int, float, int]:
    failed = not succeeded(trial)
    rung = last_rung(trial)
    loss = None if failed else loss_at_rung(trial, rung)
    return failed, -rung, float("inf") if loss is None else loss, trial["tid"]


def promoted(trial: Trial, leg: Leg) -> bool:
    """Whether the trial was sent on after this leg."""
    return leg.loss is not None and any(other.rung > leg.rung for other in legs_of(trial))
