"""Maps the loss over two settings at once. The numbers, then the picture.

A map between trials is a guess: a smooth surface through the trials' losses, shown only where trials are near.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from minilm.plots.dots import mark_special, plain_dots
from minilm.plots.legs import equal_loss
from minilm.plots.scales import Scale, value_of
from minilm.plots.style import COLOR, FONT_SIZE, Picture, canvas, name_axes, save_png
from minilm.plots.trials import (
    NAMES,
    Dot,
    Trial,
    best_trial,
    default_trial,
    hovers_of,
    loss_window,
    succeeded,
)

FEWEST = 8  # trials; a map through fewer would be invented
GRID = 41
REACH = 0.15  # of a scale: how far a trial's loss is believed to hold
NEAR = 1.5 * REACH  # further from every trial than this, the map stays empty
LEVELS = 7
Place = tuple[int, float, float]  # trial, x, y


class Contour(NamedTuple):
    """`loss[j, i]` at (`x[i]`, `y[j]`) on unit scales, NaN where no trial is near."""

    scales: tuple[Scale, Scale]
    x: np.ndarray  # (GRID,)
    y: np.ndarray  # (GRID,)
    loss: np.ndarray  # (GRID, GRID)
    dots: list[Place]
    best: Place | None
    default: Place | None
    hovers: dict[str, str]


def contour_numbers(trials: Sequence[Trial], x: Scale, y: Scale) -> Contour | None:
    """The map over the settings of two numeric scales; None where fewer than FEWEST trials have both."""
    done = [t for t in trials if succeeded(t) and equal_loss(t) is not None and not (x.named or y.named)]
    done = [t for t in done if value_of(t, x) is not None and value_of(t, y) is not None]
    if len(done) < FEWEST:
        return None
    places = np.array([(x.unit(value_of(t, x)), y.unit(value_of(t, y))) for t in done])  # (N, 2)
    losses = np.array([equal_loss(t) for t in done])  # (N,)
    line = np.linspace(-0.04, 1.04, GRID)
    dots = [(t["tid"], px, py) for t, (px, py) in zip(done, places.tolist(), strict=True)]
    high = loss_window(losses.tolist())[1]
    surface = smooth(places, np.minimum(losses, high), line, line)
    return Contour((x, y), line, line, surface, dots, *_marked(dots, done), hovers_of(done))


def _marked(dots: Sequence[Place], trials: Sequence[Trial]) -> tuple[Place | None, Place | None]:
    """The dots of the best trial and of the default recipe."""
    places = {dot[0]: dot for dot in dots}
    best, default = best_trial(trials), default_trial(trials)
    return places.get(best["tid"]) if best else None, places.get(default["tid"]) if default else None


def smooth(places: np.ndarray, losses: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The mean of the losses around each point of the grid, weighted by nearness (Nadaraya 1964, Watson 1964).

    `places` (N, 2), `losses` (N,); returns (len(y), len(x)), NaN further than NEAR from every trial.
    """
    grid = np.stack(np.meshgrid(x, y), axis=-1)  # (Y, X, 2)
    distance = np.linalg.norm(grid[:, :, None] - places, axis=-1)  # (Y, X, N)
    weights = np.exp(-0.5 * (distance / REACH) ** 2)
    surface = (weights * losses).sum(axis=-1) / np.maximum(weights.sum(axis=-1), 1e-300)  # (Y, X)
    return np.where(distance.min(axis=-1) > NEAR, np.nan, surface)


def draw_contour(numbers: Contour, path_png: str | Path | None = None) -> Picture:
    """Darker is better; the best trial ringed in blue, the default recipe in orange."""
    figure, axes = canvas(5.6, 4.2, left=0.75, right=0.25)
    figure.hovers = numbers.hovers
    low, high = np.nanmin(numbers.loss), np.nanmax(numbers.loss)
    levels = np.linspace(low, high if high > low else low + 0.01, LEVELS + 1)
    shades = [to_rgba(COLOR["model"], 0.62 * (1 - i / LEVELS)) for i in range(LEVELS)]
    axes.contourf(numbers.x, numbers.y, numbers.loss, levels=levels, colors=shades)
    lines = axes.contour(
        numbers.x, numbers.y, numbers.loss, levels=levels[1:-1], colors=COLOR["muted"], linewidths=0.5
    )
    axes.clabel(lines, fmt="%.2f", fontsize=FONT_SIZE - 2)
    dots, best, default = _as_dots(numbers)
    plain_dots(axes, dots, high=np.inf)
    axes.set_ylim(-0.06, 1.06)
    axes.set_xlim(-0.06, 1.06)
    axes.grid(False)
    mark_special(axes, best, default, words=False)
    _ticks(axes, numbers.scales)
    name_axes(axes, *(NAMES.get(scale.name, scale.name) for scale in numbers.scales))
    return save_png(figure, path_png)


def _as_dots(numbers: Contour) -> tuple[list[Dot], Dot | None, Dot | None]:
    """The trials as dots whose height is the second setting."""
    best, default = (None if one is None else Dot(*one) for one in (numbers.best, numbers.default))
    return [Dot(*one) for one in numbers.dots], best, default


def _ticks(axes: Axes, both: tuple[Scale, Scale]) -> None:
    for scale, set_ticks in zip(both, (axes.set_xticks, axes.set_yticks), strict=True):
        set_ticks(*zip(*scale.ticks(), strict=True))
