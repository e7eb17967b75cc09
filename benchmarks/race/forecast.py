"""Predicts the final loss of trials that have paused earlier, from all the trials together.

A search algorithm compares numbers, and a loss after a ninth of a training cannot be compared with one at the end.
So the loss at a trial's last rung is moved to the next rung by the straight line through the trials that were seen
at both, and so on to the top. Nothing here knows curves, seconds or Hyperopt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from minilm.tuner.rungs import Ladder, Standing

FEWEST_PAIRS = 4  # of losses at two rungs for a slope; fewer tell only how far losses fall on average
SLOPES = (0.2, 1.2)  # least and greatest; the pairs are promoted trials, too alike to fit a slope well


def predicted(standings: Sequence[Standing], ladder: Ladder) -> dict[int, float]:
    """The loss to expect at the end, of every trial that has reached a rung and not failed.

    A fully trained trial keeps its own. Above the highest rung seen so far nothing is known, and nothing is added.

    >>> seen = [Standing(0, (3.0, 2.0, 1.5)), Standing(1, (2.9,))]
    >>> {tid: round(loss, 3) for tid, loss in predicted(seen, Ladder()).items()}
    {0: 1.5, 1: 1.4}
    """
    found = {t.tid: t.losses[-1] for t in standings if t.losses and not t.failed}
    for rung in range(ladder.top):
        climb = _climb(standings, rung)
        for trial in standings:
            if trial.tid in found and len(trial.losses) <= rung + 1:
                found[trial.tid] = climb(found[trial.tid])
    return found


def _climb(standings: Sequence[Standing], rung: int) -> Callable[[float], float]:
    """From a loss at the rung to the loss to expect at the next one."""
    pairs = [t.losses[rung : rung + 2] for t in standings if len(t.losses) > rung + 1]
    if not pairs:
        return lambda loss: loss
    low, high = np.array(pairs).T
    slope = _slope(low, high) if len(pairs) >= FEWEST_PAIRS else 1.0
    return lambda loss: float(high.mean() + slope * (loss - low.mean()))


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    """Of the least-squares line, kept within SLOPES; 1 where the points lie on top of each other."""
    squares = float(((x - x.mean()) ** 2).sum())
    if squares == 0.0:
        return 1.0
    return float(np.clip(((x - x.mean()) * (y - y.mean())).sum() / squares, *SLOPES))
