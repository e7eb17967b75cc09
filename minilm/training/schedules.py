"""The learning rate over a run, as pure functions of progress.

Progress runs from 0 to 1 and is a share of the budget, whatever the budget counts. This file knows no steps,
no seconds and no optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from minilm.config import TrainConfig


def linear(x: float, tail: float) -> float:
    """Straight to zero (Defazio et al., 2023, arXiv:2310.07831: the shape to beat when nothing is known)."""
    return 1 - x


def cosine(x: float, tail: float) -> float:
    """Half a cosine to zero (Loshchilov & Hutter, 2016, arXiv:1608.03983, eq. 5 with one cycle)."""
    return 0.5 * (1 + math.cos(math.pi * x))


def constant(x: float, tail: float) -> float:
    return 1.0


def wsd(x: float, tail: float) -> float:
    """Warmup-stable-decay: flat, then straight to zero in the last `tail` (Hu et al., arXiv:2404.06395)."""
    return min(1.0, (1 - x) / tail)


# name -> f(x, tail): x = share of the time after warm-up that is over, tail = share of it that wsd decays in
SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "linear": linear,
    "cosine": cosine,
    "constant": constant,
    "wsd": wsd,
}


def factor(config: TrainConfig, progress: float) -> float:
    """What the highest learning rate is multiplied by at `progress`: a straight rise first, then the shape.

    >>> config = TrainConfig(warmup=0.1, schedule="linear")
    >>> [round(factor(config, p), 3) for p in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    progress = min(max(progress, 0.0), 1.0)
    if progress < config.warmup:
        return progress / config.warmup
    after = 1 - config.warmup
    return SCHEDULES[config.schedule]((progress - config.warmup) / after, min(1.0, config.decay / after))


def update_progress(done: float, budget: float, step: float = 1.0) -> float:
    """Progress at which the next update takes its learning rate: (done + step) / (budget + step).

    `done` and `budget` are counted in steps, or in seconds with `step` the seconds of one update. The detour
    by one step keeps the first update (progress 0) and the last one (progress 1) from a rate of zero.

    >>> [update_progress(k, 3) for k in range(3)]
    [0.25, 0.5, 0.75]
    """
    return min(1.0, (done + step) / (budget + step))
