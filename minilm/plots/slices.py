"""Draws the loss against each setting by itself, one small panel each. The numbers, then the pictures.

Where trials were trained from rung to rung, the loss is that of the first rung: only there have all had as much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from minilm.plots.dots import LEAST_ROOM, mark_special, plain_dots
from minilm.plots.legs import equal_loss, last_rung
from minilm.plots.scales import Scale, scales, value_of
from minilm.plots.style import COLOR, FONT_SIZE, Picture, canvas, save_png, style_axes
from minilm.plots.trials import NAMES, Dot, Trial, best_trial, default_trial, loss_window, plain, succeeded


class Slice(NamedTuple):
    """Loss against one setting; x is the value itself, or the place of a name."""

    name: str
    dots: list[Dot]
    log: bool
    ticks: list[float] | None  # every value that was tried, where they are few and whole
    best: Dot | None
    default: Dot | None
    names: tuple[str, ...] = ()  # the words at 0, 1, 2, ... where the values are words


def slice_numbers(trials: Sequence[Trial]) -> list[Slice]:
    """One `Slice` per setting with several values among successful trials, in the order of NAMES."""
    done = [trial for trial in trials if succeeded(trial) and equal_loss(trial) is not None]
    return [_slice(scale, done) for scale in scales(done)]


def _slice(scale: Scale, trials: Sequence[Trial]) -> Slice:
    having = [trial for trial in trials if value_of(trial, scale) is not None]
    dots = [_dot(trial, scale) for trial in having]
    whole = not scale.named and len(scale.values) <= 6 and all(value == int(value) for value in scale.values)
    return Slice(
        name=scale.name,
        dots=dots,
        log=scale.log,
        ticks=list(scale.values) if whole else None,
        best=_find(dots, best_trial(trials)),
        default=_find(dots, default_trial(trials)),
        names=scale.values if scale.named else (),
    )


def _dot(trial: Trial, scale: Scale) -> Dot:
    value: Any = value_of(trial, scale)
    return Dot(
        trial["tid"], scale.place(value) if scale.named else value, equal_loss(trial) or 0.0, last_rung(trial)
    )


def _find(dots: Sequence[Dot], trial: Trial | None) -> Dot | None:
    return next((dot for dot in dots if trial is not None and dot.tid == trial["tid"]), None)


def draw_slice(one: Slice, hovers: dict[str, str] | None = None) -> Picture:
    """Loss against one setting, small enough to stand beside its siblings."""
    figure, axes = canvas(3.1, 2.4, right=0.12, top=0.12)
    figure.hovers = hovers or {}
    _slice_axes(axes, one)
    axes.set_ylabel("nats per character", color=COLOR["muted"], fontsize=FONT_SIZE)
    return figure


def draw_slices(slices: Sequence[Slice], path_png: str | Path | None = None) -> Picture:
    """All settings in one picture, a panel each; words where there is nothing to compare yet."""
    if not slices:
        figure = Picture(5.6, 0.6)
        figure.text(
            0.02, 0.4, "Too few trials to compare settings.", color=COLOR["muted"], fontsize=FONT_SIZE
        )
        return save_png(figure, path_png)
    return save_png(panels(slices, _slice_axes, "nats per character"), path_png)


def panels(numbers: Sequence[Any], draw: Callable[[Axes, Any], None], y_label: str) -> Picture:
    """One picture of many small panels, four in a row, each drawn by `draw`."""
    columns = min(4, len(numbers))
    rows = math.ceil(len(numbers) / columns)
    figure = Picture(2.9 * columns, 2.4 * rows)
    figure.subplots_adjust(
        left=0.6 / (2.9 * columns),
        right=1 - 0.1 / (2.9 * columns),
        bottom=0.5 / (2.4 * rows),
        top=1 - 0.12 / (2.4 * rows),
        wspace=0.25,
        hspace=0.38,
    )
    for number, one in enumerate(numbers, start=1):
        axes = style_axes(figure.add_subplot(rows, columns, number))
        draw(axes, one)
        if number % columns == 1 or columns == 1:
            axes.set_ylabel(y_label, color=COLOR["muted"], fontsize=FONT_SIZE)
    return figure


def _slice_axes(axes: Axes, one: Slice) -> None:
    low, high = loss_window([dot.loss for dot in one.dots])
    plain_dots(axes, one.dots, high)
    room = max(0.12 * (high - low), LEAST_ROOM)
    axes.set_ylim(low - room, high + room)
    mark_special(axes, one.best, one.default, words=False)
    if one.log:
        log_axis(axes)
    if one.ticks:
        axes.set_xticks(one.ticks, [plain(tick) for tick in one.ticks])
    if one.names:
        axes.set_xticks(range(len(one.names)), one.names)
    axes.margins(x=0.1)
    axes.set_xlabel(NAMES.get(one.name, one.name), color=COLOR["ink"], fontsize=FONT_SIZE)


def log_axis(axes: Axes, last: float = math.inf) -> None:
    """A logarithmic x axis with plain numbers at 1 and 3 times the powers of ten, up to `last`."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: plain(x) if x <= last else ""))
    axes.xaxis.set_minor_locator(NullLocator())
