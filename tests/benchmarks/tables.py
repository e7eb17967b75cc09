"""Makes up small tables of trainings."""

from __future__ import annotations

import itertools
import math

import numpy as np

from benchmarks.race.table import Table

MARKS = 27


def made_up(grid, loss_of, seeds=1, diverges=lambda point: None):
    """A table in which a training falls from 4 to `loss_of(point)`, or diverges after the share that is told."""
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    finals, ends = np.full((len(points), seeds), np.nan), np.ones((len(points), seeds))
    curves = np.full((len(points), seeds, MARKS), np.nan)
    shares = np.arange(1, MARKS + 1) / MARKS
    for index, point in enumerate(points):
        end = diverges(point)
        curves[index] = loss_of(point) + (4 - loss_of(point)) * (1 - shares) ** 2
        finals[index] = loss_of(point)
        if end is not None:
            ends[index], finals[index] = end, np.nan
            curves[index][:, shares >= end] = np.nan
    return Table(grid, curves, finals, ends, np.full(len(points), 100), {"made": "up"})


def bowl(point):
    """The least loss, 2, at a learning rate of 0.02 and a width of 96."""
    return (
        2
        + 0.1 * math.log(point["learning_rate"] / 0.02) ** 2
        + 0.1 * math.log(point["hidden_size"] / 96) ** 2
    )


GRID = {"hidden_size": (64, 96, 128), "learning_rate": (0.005, 0.01, 0.02, 0.04, 0.08)}
RATES = tuple(0.001 * 2**power for power in range(8))


def half_diverging():
    """A line of learning rates; the upper half of them diverges at once."""
    return made_up(
        {"learning_rate": RATES},
        lambda point: 2 + 0.1 * math.log(point["learning_rate"] / 0.003) ** 2,
        diverges=lambda point: 0.02 if point["learning_rate"] > RATES[3] else None,
    )
