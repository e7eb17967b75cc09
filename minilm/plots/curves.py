"""Draws the learning curves of one training run: the numbers first, then the picture.

It reads the records of `metrics.jsonl` as plain dicts and does not know how they came about. Losses are in
nats per character; a record without a validation loss is a training record only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from minilm.plots.style import (
    COLOR,
    LOSS_LABEL,
    Label,
    Picture,
    bits_axis,
    canvas,
    label_lines,
    name_axes,
    note,
    save_png,
)
from minilm.plots.verdict import is_number

Point = tuple[float, float]

# what a horizontal line is called -> (its colour, its words on the picture)
LINES: dict[str, tuple[str, str]] = {
    "counting": ("counting", "counting"),
    "floor": ("floor", "entropy floor"),
}
ROOM_FOR_LABELS = 0.32  # share of the width
LATE = 0.05  # share of the steps at the end whose training losses are averaged: each is one noisy batch


class CurveNumbers(NamedTuple):
    """What the picture shows: (step, nats per character) points, and the best evaluation."""

    train: list[Point]
    val: list[Point]
    learning_rate: list[Point]
    best: Point | None  # the evaluation with the lowest validation loss, the earliest among equals
    gap: float | None  # validation minus late training loss: how much was learned by heart
    lines: dict[str, float]


def curve_numbers(
    metrics: Sequence[Mapping[str, Any]], lines: Mapping[str, float | None] | None = None
) -> CurveNumbers:
    """The points of the curves in `metrics`; `lines` are horizontal references, keyed as in `LINES`.

    >>> records = [{"step": 1, "train_loss": 3.0}, {"step": 2, "train_loss": 2.0, "val_loss": 2.5}]
    >>> numbers = curve_numbers(records, {"floor": 1.0})
    >>> numbers.best, numbers.gap
    ((2, 2.5), 0.5)
    """
    train, val = points(metrics, "train_loss"), points(metrics, "val_loss")
    late = [y for x, y in train if x >= (1 - LATE) * train[-1][0]]
    return CurveNumbers(
        train=train,
        val=val,
        learning_rate=points(metrics, "learning_rate"),
        best=min(val, key=lambda point: point[1]) if val else None,
        gap=val[-1][1] - sum(late) / len(late) if late and val else None,
        lines={
            name: y for name, y in (lines or {}).items() if name in LINES and y is not None and is_number(y)
        },
    )


def points(metrics: Sequence[Mapping[str, Any]], key: str) -> list[Point]:
    """(step, value) of every record that has a finite value under `key`."""
    return [(r["step"], r[key]) for r in metrics if is_number(r.get(key)) and is_number(r.get("step"))]


def draw_curves(numbers: CurveNumbers, path_png: str | Path | None = None) -> Picture:
    """Training and validation loss over the steps, with the counting baseline and the entropy floor."""
    figure, axes = canvas()
    last = max([x for x, _ in numbers.train + numbers.val], default=1)
    labels = _draw_losses(axes, numbers)
    for name, value in numbers.lines.items():
        color, words = LINES[name]
        axes.plot([0, last], [value, value], color=COLOR[color], linewidth=1.3, linestyle=(0, (5, 3)))
        labels.append(Label(value, f"{words} {value:.3f}", COLOR[color]))
    axes.set_xlim(0, last * (1 + ROOM_FOR_LABELS / (1 - ROOM_FOR_LABELS)))
    axes.set_ylim(*loss_limits(numbers))
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= last])
    name_axes(axes, "training step", LOSS_LABEL)
    label_lines(axes, labels, x=last * 1.03)
    bits_axis(axes)
    return save_png(figure, path_png)


def _draw_losses(axes: Axes, numbers: CurveNumbers) -> list[Label]:
    labels = []
    if numbers.train:
        axes.plot(*zip(*numbers.train, strict=True), color=COLOR["train"], linewidth=1.4)
        labels.append(Label(numbers.train[-1][1], f"training {numbers.train[-1][1]:.3f}", COLOR["train"]))
    if numbers.val:
        marker = "o" if len(numbers.val) < 40 else ""
        axes.plot(
            *zip(*numbers.val, strict=True), color=COLOR["model"], linewidth=2, marker=marker, markersize=3
        )
        labels.append(Label(numbers.val[-1][1], f"validation {numbers.val[-1][1]:.3f}", COLOR["model"]))
    if numbers.best:
        _mark_best(axes, numbers.best, named=numbers.best != numbers.val[-1])
    _shade_gap(axes, numbers)
    return labels


def _shade_gap(axes: Axes, numbers: CurveNumbers) -> None:
    """The area between the two curves: what was learned by heart."""
    if len(numbers.train) < 2 or len(numbers.val) < 2:
        return
    steps, val = zip(*numbers.val, strict=True)
    at, losses = zip(*numbers.train, strict=True)
    train = np.interp(steps, at, losses)
    axes.fill_between(
        steps, train, val, where=list(train < np.array(val)), color=COLOR["model"], alpha=0.12, linewidth=0
    )


def _mark_best(axes: Axes, best: Point, named: bool) -> None:
    """A ring, and words unless it is the last point, whose label says the same."""
    style = {"markersize": 9, "markerfacecolor": COLOR["paper"], "markeredgecolor": COLOR["model"]}
    axes.plot(*best, marker="o", markeredgewidth=2, linestyle="", zorder=5, **style)  # type: ignore[arg-type]
    if named:
        words = f"best {best[1]:.3f}\nat step {best[0]:,.0f}"
        paper = {"facecolor": COLOR["paper"], "edgecolor": "none", "pad": 1.5}
        note(axes, words, best, (0, 13), COLOR["model"], ha="center", bbox=paper, zorder=4)


def loss_limits(numbers: CurveNumbers) -> tuple[float, float]:
    """Limits that give the room to where something happens: the first steep drop may leave the picture.

    The top is the loss after an eighth of the training or the highest reference line, whichever is higher.
    """
    values = [y for _, y in numbers.train + numbers.val] + list(numbers.lines.values())
    if not values:
        return 0.0, 1.0
    late = [curve[len(curve) // 8 :] for curve in (numbers.train, numbers.val)]
    tops = [y for curve in late for _, y in curve] + list(numbers.lines.values())
    low, high = min(values), max(tops)
    room = 0.08 * (high - low) or 0.1
    return low - room, high + room


def draw_learning_rate(numbers: CurveNumbers, path_png: str | Path | None = None) -> Picture:
    """The learning rate over the steps."""
    figure, axes = canvas(5.6, 2.4)
    if numbers.learning_rate:
        steps, rates = zip(*numbers.learning_rate, strict=True)
        axes.plot(steps, rates, color=COLOR["model"], linewidth=2)
        axes.fill_between(steps, rates, color=COLOR["model"], alpha=0.1, linewidth=0)
        peak = max(numbers.learning_rate, key=lambda point: point[1])
        note(axes, f"highest {peak[1]:.2g}", peak, (8, 5), COLOR["model"])
        axes.set_ylim(0, peak[1] * 1.2)
        axes.set_xlim(0, max(steps))
    name_axes(axes, "training step", "learning rate")
    return save_png(figure, path_png)
