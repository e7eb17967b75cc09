"""Draws a race between search algorithms: mean regret over the budget, a line and a band for each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minilm.plots.style import COLOR, Label, Picture, canvas, label_lines, name_axes, save_png

# line styles tell the others apart, since their colour says that they are not ours
OTHERS = ("default", "counting", "floor", "failed", "train", "muted", "ink")
ROOM = 0.42  # share of the width, for the names
TICKS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
LEAST = 1e-4  # nats per character; a logarithmic axis has no zero


class RaceLine(NamedTuple):
    """One searcher: (budget spent, mean regret) from where all seeds have a model, and a standard error's band."""

    name: str
    x: list[float]
    y: list[float]
    low: list[float]
    high: list[float]


def race_numbers(regrets: Mapping[str, np.ndarray], at: Sequence[float]) -> list[RaceLine]:
    """The lines of `regrets`, (seeds, moments) each, at the moments `at`.

    >>> (line,) = race_numbers({"random": np.array([[np.nan, 0.5, 0.25], [0.5, 0.25, 0.25]])}, [1, 2, 3])
    >>> line.x, line.y
    ([2.0, 3.0], [0.375, 0.25])
    """
    lines = []
    for name, values in regrets.items():
        whole = ~np.isnan(values).any(0)
        known, error = values[:, whole], np.zeros(int(whole.sum()))
        if len(known) > 1:
            error = known.std(0, ddof=1) / np.sqrt(len(known))
        mean = known.mean(0)
        x = np.asarray(at, dtype=float)[whole]
        low, high = np.maximum(mean - error, LEAST), mean + error
        lines.append(RaceLine(name, x.tolist(), mean.tolist(), low.tolist(), high.tolist()))
    return lines


def draw_race(lines: Sequence[RaceLine], ours: str, path_png: str | Path | None = None) -> Picture:
    """Regret on a logarithmic axis; `ours` in the model's colour."""
    figure, axes = canvas(7.2, 4.2, left=0.8, right=0.2)
    others, labels = iter(OTHERS * len(lines)), []
    for line in lines:
        color = COLOR["model"] if line.name == ours else COLOR[next(others)]
        wide = 2.4 if line.name == ours else 1.3
        y, low, high = (_log(values) for values in (line.y, line.low, line.high))
        axes.plot(line.x, y, color=color, linewidth=wide, drawstyle="steps-post")
        axes.fill_between(line.x, low, high, color=color, alpha=0.12, linewidth=0, step="post")
        labels += [Label(float(y[-1]), f"{line.name} {line.y[-1]:.4f}", color)] if line.y else []
    last = max((line.x[-1] for line in lines if line.x), default=1.0)
    axes.set_xlim(0, last / (1 - ROOM))
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= last])
    bottom, top = axes.get_ylim()
    ticks = [tick for tick in TICKS if bottom <= math.log10(tick) <= top]
    axes.set_yticks(_log(ticks), [f"{tick:g}" for tick in ticks])
    name_axes(axes, "budget (full trainings)", "mean regret (nats per character)")
    label_lines(axes, labels, x=last * 1.02)
    return save_png(figure, path_png)


def _log(values: Sequence[float]) -> np.ndarray:
    # labels are moved apart in the units of the axis, so the numbers are logarithms and the axis is not
    return np.log10(np.maximum(np.asarray(values, dtype=float), LEAST))
