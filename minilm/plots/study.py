"""Pictures of a search: loss over time, loss against each hyperparameter, learning curves of the trials.

The numbers come from `trials.py`; this file only draws them and decides nothing about trials.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from minilm.plots.style import (
    COLOR,
    FONT_SIZE,
    LOSS_LABEL,
    Label,
    Picture,
    bits_axis,
    canvas,
    label_lines,
    name_axes,
    save_png,
    style_axes,
)
from minilm.plots.trials import (
    NAMES,
    ROLE_COLOR,
    Dot,
    SearchNumbers,
    Slice,
    TrialCurves,
    address,
    curve_window,
    loss_window,
    plain,
    search_numbers,
    slice_numbers,
    trial_curve_numbers,
)

__all__ = [
    "draw_search",
    "draw_slice",
    "draw_slices",
    "draw_trial_curves",
    "search_numbers",
    "slice_numbers",
    "trial_curve_numbers",
]

LEAST_ROOM = 0.01  # nats above and below the dots, where there is only one or all are equal
DOT = 34  # area of a trial's dot, in points squared
RING = {"facecolor": "none", "linewidth": 2.0, "s": 95, "zorder": 5}


def draw_search(numbers: SearchNumbers, path_png: str | Path | None = None) -> Picture:
    """Every trial a dot, the best so far a staircase, the default in orange, failures on the top edge."""
    figure, axes = canvas(top=0.32)
    figure.hovers = numbers.hovers
    low, high = loss_window([dot.loss for dot in numbers.dots])
    _plain_dots(axes, numbers.dots, high)
    if numbers.best_so_far:
        _staircase(axes, numbers)
    room = max(0.1 * (high - low), LEAST_ROOM)
    axes.set_ylim(low - room, high + 1.6 * room)
    _x_limits(axes, numbers)
    _mark_special(axes, numbers.best, numbers.default)
    _failures(axes, numbers)
    name_axes(axes, numbers.x_label, LOSS_LABEL)
    bits_axis(axes)
    return save_png(figure, path_png)


def _plain_dots(axes: Axes, dots: Sequence[Dot], high: float) -> None:
    """Dots; those above `high` become triangles at that height, neither lost nor in the way."""
    for marker, chosen in (
        ("o", [d for d in dots if d.loss <= high]),
        ("^", [d for d in dots if d.loss > high]),
    ):
        if chosen:
            marks = axes.scatter(
                [d.x for d in chosen],
                [min(d.loss, high) for d in chosen],
                marker=marker,
                s=DOT,
                color=COLOR["train"],
                edgecolor=COLOR["paper"],
                linewidth=0.6,
                zorder=3,
            )
            marks.set_urls([address(d.tid) for d in chosen])


def _staircase(axes: Axes, numbers: SearchNumbers) -> None:
    steps = list(numbers.best_so_far)
    steps.append((_last_x(numbers), steps[-1][1]))
    axes.step(*zip(*steps, strict=True), where="post", color=COLOR["model"], linewidth=1.8, zorder=2)


def _last_x(numbers: SearchNumbers) -> float:
    return max([dot.x for dot in numbers.dots] + [x for _, x, _ in numbers.failures], default=1) or 1


def _x_limits(axes: Axes, numbers: SearchNumbers) -> None:
    last = _last_x(numbers)
    axes.set_xlim(0 if numbers.x_label != "trial" else -0.04 * last, last * 1.04)


def _mark_special(axes: Axes, best: Dot | None, default: Dot | None, words: bool = True) -> None:
    """Ring, colour and name for the two trials that matter."""
    top = axes.get_ylim()[1]
    for dot, role in ((default, "default"), (best, "best")):
        if dot is None or (role == "default" and best is not None and dot.tid == best.tid):
            continue
        color = COLOR[ROLE_COLOR[role]]
        x, y = dot.x, min(dot.loss, top)
        axes.scatter([x], [y], s=DOT + 8, color=color, zorder=6).set_urls([address(dot.tid)])
        axes.scatter([x], [y], edgecolor=color, **RING)  # type: ignore[arg-type]
        if words:
            same = best is not None and default is not None and best.tid == default.tid
            name = "best = default recipe" if same else "default recipe" if role == "default" else "best"
            _name_dot(axes, f"{name} {dot.loss:.3f}", (x, y), color, above=role == "default")


def _name_dot(axes: Axes, text: str, at: tuple[float, float], color: str, above: bool) -> None:
    left, right = axes.get_xlim()
    late = at[0] > left + 0.6 * (right - left)
    axes.annotate(
        text,
        at,
        xytext=(0 if late else 9, 8 if above else -8),
        textcoords="offset points",
        ha="right" if late else "left",
        va="bottom" if above else "top",
        color=color,
        fontsize=FONT_SIZE,
        annotation_clip=False,
    )


def _failures(axes: Axes, numbers: SearchNumbers) -> None:
    if not numbers.failures:
        return
    top = axes.get_ylim()[1]
    marks = axes.scatter(
        [x for _, x, _ in numbers.failures],
        [top] * len(numbers.failures),
        marker="X",
        s=46,
        color=COLOR["failed"],
        edgecolor=COLOR["paper"],
        linewidth=0.5,
        clip_on=False,
        zorder=6,
    )
    marks.set_urls([address(tid) for tid, _, _ in numbers.failures])
    count = len(numbers.failures)
    axes.set_title(
        f"{count} failed trial{'s' * (count > 1)} on the top edge",
        loc="right",
        fontsize=FONT_SIZE,
        color=COLOR["failed"],
        pad=9,
    )


def draw_slice(one: Slice, hovers: dict[str, str] | None = None) -> Picture:
    """Loss against one hyperparameter, small enough to stand beside its siblings."""
    figure, axes = canvas(3.1, 2.4, right=0.12, top=0.12)
    figure.hovers = hovers or {}
    _slice_axes(axes, one)
    axes.set_ylabel("nats per character", color=COLOR["muted"], fontsize=FONT_SIZE)
    return figure


def draw_slices(slices: Sequence[Slice], path_png: str | Path | None = None) -> Picture:
    """All hyperparameters in one picture, a panel each; words where there is nothing to compare yet."""
    if not slices:
        figure = Picture(5.6, 0.6)
        figure.text(
            0.02, 0.4, "Too few trials to compare settings.", color=COLOR["muted"], fontsize=FONT_SIZE
        )
        return save_png(figure, path_png)
    columns = min(4, len(slices))
    rows = math.ceil(len(slices) / columns)
    figure = Picture(2.9 * columns, 2.4 * rows)
    figure.subplots_adjust(
        left=0.6 / (2.9 * columns),
        right=1 - 0.1 / (2.9 * columns),
        bottom=0.5 / (2.4 * rows),
        top=1 - 0.12 / (2.4 * rows),
        wspace=0.25,
        hspace=0.38,
    )
    for number, one in enumerate(slices, start=1):
        axes = style_axes(figure.add_subplot(rows, columns, number))
        _slice_axes(axes, one)
        if number % columns == 1 or columns == 1:
            axes.set_ylabel("nats per character", color=COLOR["muted"], fontsize=FONT_SIZE)
    return save_png(figure, path_png)


def _slice_axes(axes: Axes, one: Slice) -> None:
    low, high = loss_window([dot.loss for dot in one.dots])
    _plain_dots(axes, one.dots, high)
    room = max(0.12 * (high - low), LEAST_ROOM)
    axes.set_ylim(low - room, high + room)
    _mark_special(axes, one.best, one.default, words=False)
    if one.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: plain(x)))
        axes.xaxis.set_minor_locator(NullLocator())
    if one.ticks:
        axes.set_xticks(one.ticks, [plain(tick) for tick in one.ticks])
    axes.margins(x=0.1)
    axes.set_xlabel(NAMES.get(one.name, one.name), color=COLOR["ink"], fontsize=FONT_SIZE)


def draw_trial_curves(numbers: TrialCurves, path_png: str | Path | None = None) -> Picture:
    """Validation loss on the way, every trial a line; the best and the default recipe stand out."""
    figure, axes = canvas()
    special = {numbers.default: "default", numbers.best: "best"}
    labels = []
    for tid, curve in sorted(numbers.curves.items(), key=lambda item: item[0] in special):
        role = special.get(tid, "other")
        color = COLOR[ROLE_COLOR[role]]
        thick = role != "other"
        axes.plot(
            *zip(*curve, strict=True),
            color=color,
            linewidth=2.2 if thick else 1,
            alpha=1 if thick else 0.55,
            marker="o",
            markersize=3.5 if thick else 1.5,
        )
        if thick:
            labels.append(Label(curve[-1][1], f"{role} {curve[-1][1]:.3f}", color))
    low, high = curve_window(numbers)
    axes.set_ylim(low - 0.08 * (high - low), high)
    last = max((curve[-1][0] for curve in numbers.curves.values()), default=0) or 1
    axes.set_xlim(0, last * 1.28)
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= last])
    name_axes(axes, "seconds of training", LOSS_LABEL)
    label_lines(axes, labels, x=last * 1.03)
    bits_axis(axes)
    return save_png(figure, path_png)
