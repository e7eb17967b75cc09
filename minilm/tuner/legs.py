"""Cuts a trial's training into legs that end at rungs: pure arithmetic on shares of a full training.

Inside a search the learning rate rises, stays high, and falls to zero only in the last fifth of a full training
(warmup-stable-decay, Hu et al., 2024, arXiv:2404.06395). Two trials at the same rung then compare, whatever becomes of
them, and either can go on from where it paused. The end of the flat part is kept apart: a long training goes on from
there, not from weights whose rate has fallen. This file trains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from minilm.config import TrainConfig
from minilm.tuner.rungs import Ladder
from minilm.tuner.settings import EVALUATIONS, Budget

HOLD_SHARE = 0.8  # share of a full training after which the learning rate falls
HOLD, LONG = (
    "hold",
    "long",
)  # folders: of a trial's training up to that share, of a training longer than a trial
SHORTEST_LEG = 2.0  # seconds; what starting a leg takes is then little of it
FINAL_CHARS = 3  # times an evaluation's characters, to score the end of a full training: that loss decides
LADDERS = ((1 / 9, 1 / 3, 1.0), (1 / 3, 1.0))  # the first whose legs are not too short is taken


@dataclass(frozen=True)
class Part:
    """A stretch of one training; `folder` is where it ends up within the trial's own."""

    folder: str
    steps: int | None
    seconds: float | None
    schedule: str
    warmup: float  # share of this part
    evaluations: int
    chars: int  # per evaluation

    def config(self, train: TrainConfig, seed: int, threads: int | None) -> TrainConfig:
        """The training that this part is: evaluated on a part of the split, never stopped early."""
        return train.replace(
            steps=self.steps,
            minutes=None if self.seconds is None else self.seconds / 60,
            schedule=self.schedule,
            warmup=self.warmup,
            evaluations=min(self.evaluations, self.steps or self.evaluations),
            eval_chars=self.chars,
            patience=None,
            seed=seed,
            threads=threads,
        )


def rung_folder(rung: int) -> str:
    return f"rung{rung}"


def ladder_for(scheduler: str, budget: Budget) -> Ladder:
    """The rungs of a search: none of its legs is shorter than SHORTEST_LEG, or than a step.

    >>> [len(ladder_for("asha", Budget(seconds=seconds)).shares) for seconds in (4, 9, 20)]
    [1, 2, 3]
    >>> [len(ladder_for("asha", Budget(steps=steps)).shares) for steps in (1, 3, 9)]
    [1, 2, 3]
    """
    ladders = () if scheduler == "none" else LADDERS
    return Ladder(next((shares for shares in ladders if _is_worth_it(shares, budget)), (1.0,)))


def _is_worth_it(shares: tuple[float, ...], budget: Budget) -> bool:
    if budget.seconds is not None:
        return shares[0] * budget.seconds >= SHORTEST_LEG
    steps = [round(share * (budget.steps or 0)) for share in (0.0, *shares)]
    return all(low < high for low, high in zip(steps, steps[1:], strict=False))


def leg_parts(
    budget: Budget, ladder: Ladder, rung: int, train: TrainConfig, begin: float | None = None
) -> tuple[Part, ...]:
    """The leg that ends at `rung`, from the rung before, or from `begin` where that is lost or another seed starts
    anew.

    A training by count that does not pause keeps the recipe's own schedule, as nothing has to compare with its middle.

    >>> [(p.folder, p.steps, p.schedule) for p in leg_parts(Budget(steps=90), Ladder(), 2, TrainConfig())]
    [('hold', 42, 'constant'), ('rung2', 18, 'linear')]
    """
    if budget.seconds is None and ladder.top == 0:
        return (_part(budget, rung_folder(0), 0.0, 1.0, train.schedule, train.warmup),)
    begin = (ladder.shares[rung - 1] if rung else 0.0) if begin is None else begin
    end, parts = ladder.shares[rung], []
    if rung < ladder.top:
        parts.append(_part(budget, rung_folder(rung), begin, end, "constant", train.warmup))
    else:
        parts.append(_part(budget, HOLD, begin, HOLD_SHARE, "constant", train.warmup))
        parts.append(_part(budget, rung_folder(rung), HOLD_SHARE, end, "linear", 0.0))
    return tuple(part for part in parts if part.steps != 0)


def long_part(budget: Budget, seconds: float) -> Part:
    """A training beside the trials, longer than they are: at the high rate, evaluated as often."""
    assert budget.seconds is not None
    count = max(1, round(EVALUATIONS * seconds / budget.seconds))
    return Part(
        LONG, None, seconds, "constant", min(1.0, 1.0 / seconds), count, FINAL_CHARS * budget.eval_chars
    )


def _part(budget: Budget, folder: str, begin: float, end: float, schedule: str, warmup: float) -> Part:
    """From share to share of a full training; only what starts from nothing warms up."""
    steps = None if budget.steps is None else round(end * budget.steps) - round(begin * budget.steps)
    seconds = None if budget.seconds is None else (end - begin) * budget.seconds
    rise = 0.0 if begin else min(1.0, warmup / (end - begin))
    last = end == 1.0 and begin > 0
    count = 1 if last else max(1, round(EVALUATIONS * (end - begin)))
    return Part(
        folder, steps, seconds, schedule, rise, count, (FINAL_CHARS if last else 1) * budget.eval_chars
    )
