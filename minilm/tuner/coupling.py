"""Couples the learning rate that a trial draws to the other settings, so that the best one hardly depends on them.

An algorithm that looks at one setting at a time could not see that a wider model wants a smaller rate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from minilm.tuner.space import DEFAULT_POINT, EXPRESSIONS, Dimension, Draw, Point, to_hyperopt

# How the best learning rate grows with each setting in trainings of equal steps: as which power of it, measured over
# the grid of benchmarks/record.py. A wider model wants a smaller rate, its embeddings above all.
RATE, PEAK = "learning_rate", "peak_rate"
COUPLED_BY_STEPS = {"hidden_size": -0.5, "batch_size": 0.3, "block_size": 0.3}


def coupled_hyperopt(space: tuple[Dimension, ...], coupled: Mapping[str, float]) -> dict[str, Any]:
    """The space as Hyperopt takes it. What is drawn is PEAK, the rate at the default recipe's size; the point's
    rate is that times `rate_factor`."""
    found = to_hyperopt(space)
    if coupled and RATE in found:
        (drawn,) = (dimension for dimension in space if dimension.name == RATE)
        peak = EXPRESSIONS[drawn.kind](dataclasses.replace(drawn, name=PEAK))
        found[RATE] = peak * rate_factor(found, coupled)
    return found


def rate_factor(settings: Mapping[str, Any], coupled: Mapping[str, float]) -> Any:
    """How many times the default recipe's the learning rate should be; of numbers, or of Hyperopt's expressions.

    >>> rate_factor({"hidden_size": 512}, COUPLED_BY_STEPS)
    0.5
    """
    factor: Any = 1.0
    for name, power in coupled.items():
        if name in settings:
            factor = factor * (settings[name] / DEFAULT_POINT[name]) ** power
    return factor


def draw_of(point: Point, space: tuple[Dimension, ...], coupled: Mapping[str, float]) -> Draw:
    """The raw values that stand for the point in `coupled_hyperopt(space, coupled)`."""
    draw = {dimension.name: float(point[dimension.name]) for dimension in space}
    if coupled and RATE in draw:
        draw[PEAK] = draw.pop(RATE) / rate_factor(draw, coupled)
    return draw
