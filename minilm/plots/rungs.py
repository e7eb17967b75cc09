"""Draws the learning curves of all trials, with the rungs at which they paused. Numbers, then picture.

The x axis is logarithmic where there are rungs, since each is several times as far as the one before.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from minilm.plots.legs import legs_of, promoted
from minilm.plots.slices import log_axis
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
    note,
    save_png,
)
from minilm.plots.trials import ROLE_COLOR, Point, Trial, best_trial, default_trial, loss_window, succeeded
from minilm.plots.verdict import is_number


class Stop(NamedTuple):
    """Where a trial's leg ended: x seconds of training; `kind` is "promoted", "stopped" or "failed"."""

    tid: int
    rung: int
    x: float
    loss: float
    kind: str


class RungCount(NamedTuple):
    """One rung: seconds of training up to there (the median trial's), how many arrived and were promoted."""

    rung: int
    seconds: float
    arrived: int
    promoted: int


class TrialCurves(NamedTuple):
    """Validation loss of each trial on the way; x is seconds of training."""

    curves: dict[int, list[Point]]
    best: int | None
    default: int | None
    stops: Sequence[Stop] = ()
    rungs: Sequence[RungCount] = ()
    other: str = "default"  # what the line is called that stands out beside the best


def trial_curve_numbers(trials: Sequence[Trial]) -> TrialCurves:
    """Each trial's recorded curve, and the ends of its legs; trials without a curve are left out."""
    curves = {}
    for trial in trials:
        curve = [(x, y) for x, y in trial.get("curve") or [] if is_number(x) and is_number(y)]
        if curve:
            curves[trial["tid"]] = curve
    best, default = best_trial(trials), default_trial(trials)
    stops = [
        stop for trial in trials if trial["tid"] in curves for stop in _stops(trial, curves[trial["tid"]])
    ]
    return TrialCurves(
        curves=curves,
        best=best["tid"] if best and best["tid"] in curves else None,
        default=default["tid"] if default and default["tid"] in curves else None,
        stops=stops,
        rungs=_rungs(stops),
    )


def _stops(trial: Trial, curve: Sequence[Point]) -> list[Stop]:
    """One for each leg that arrived, and for the failure; none for a training in one piece that went well."""
    if not trial.get("legs") and succeeded(trial):
        return []
    found, spent, legs = [], 0.0, legs_of(trial)
    for number, leg in enumerate(legs, start=1):
        spent += leg.seconds or 0.0
        if leg.loss is None and (succeeded(trial) or number < len(legs)):
            continue  # its worker died, or the time was up
        kind = "promoted" if promoted(trial, leg) else "failed" if leg.loss is None else "stopped"
        loss = curve[-1][1] if leg.loss is None else leg.loss
        found.append(Stop(leg.tid, leg.rung, spent, loss, kind))
    return found


def _rungs(stops: Sequence[Stop]) -> list[RungCount]:
    counts = []
    for rung in sorted({stop.rung for stop in stops if stop.kind != "failed"}):
        here = [stop for stop in stops if stop.rung == rung and stop.kind != "failed"]
        seconds = statistics.median(stop.x for stop in here)
        counts.append(RungCount(rung, seconds, len(here), sum(stop.kind == "promoted" for stop in here)))
    return counts


def curve_window(numbers: TrialCurves) -> tuple[float, float]:
    """The range worth showing: the ends of the lines, and where the typical line stood after a quarter."""
    if not numbers.curves:
        return 0.0, 1.0
    curves = numbers.curves.values()
    early = sorted(curve[len(curve) // 4][1] for curve in curves)
    low, high = loss_window([curve[-1][1] for curve in curves])
    return low, max(high, early[len(early) // 2], low + 0.1)


def draw_trial_curves(numbers: TrialCurves, path_png: str | Path | None = None) -> Picture:
    """Validation loss on the way, every trial a line; the best and the default recipe stand out."""
    figure, axes = canvas(top=0.34 if len(numbers.rungs) > 1 else 0.16)
    _many_lines(axes, numbers)
    labels = _special_lines(axes, numbers)
    low, high = curve_window(numbers)
    axes.set_ylim(low - 0.08 * (high - low), high)
    last = max((curve[-1][0] for curve in numbers.curves.values()), default=0) or 1
    x = _log_time(axes, numbers, last) if len(numbers.rungs) > 1 else _linear_time(axes, last)
    _draw_stops(axes, numbers.stops)
    name_axes(axes, "seconds of training", LOSS_LABEL)
    label_lines(axes, labels, x)
    bits_axis(axes)
    return save_png(figure, path_png)


def _many_lines(axes: Axes, numbers: TrialCurves) -> None:
    """The trials of no special interest, at once: a study may hold hundreds."""
    plain_ones = [
        curve for tid, curve in numbers.curves.items() if tid not in (numbers.best, numbers.default)
    ]
    lines = LineCollection(plain_ones, colors=COLOR["train"], linewidths=1, alpha=0.5)
    axes.add_collection(lines, autolim=True)
    starts = [curve[0] for curve in plain_ones if len(curve) == 1]  # a line of one point is none
    if starts:
        axes.plot(*zip(*starts, strict=True), "o", color=COLOR["train"], markersize=2)


def _special_lines(axes: Axes, numbers: TrialCurves) -> list[Label]:
    labels = []
    same = numbers.best == numbers.default
    roles = {} if same else {"default": numbers.default}
    for role, tid in {**roles, "best": numbers.best}.items():
        if tid is None:
            continue
        curve, color = numbers.curves[tid], COLOR[ROLE_COLOR[role]]
        axes.plot(*zip(*curve, strict=True), color=color, linewidth=2.2, marker="o", markersize=3.5, zorder=4)
        name = numbers.other if role == "default" else role
        labels.append(Label(curve[-1][1], f"{name} {curve[-1][1]:.3f}", color))
    return labels


def _linear_time(axes: Axes, last: float) -> float:
    """Limits of the axis with room for the labels; returns where they stand."""
    axes.set_xlim(0, last * 1.28)
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= last])
    return last * 1.03


def _log_time(axes: Axes, numbers: TrialCurves, last: float) -> float:
    """A logarithmic axis with a line at each rung, and above it how many trials came to it."""
    first = min(curve[0][0] for curve in numbers.curves.values())
    first = max(first, last / 1000)
    log_axis(axes, last * 1.01)
    axes.set_xlim(first, last * (last / first) ** 0.32)
    top = axes.get_ylim()[1]
    for count in numbers.rungs:
        axes.axvline(count.seconds, color=COLOR["grid"], linewidth=1.2, zorder=0)
        words = f"{count.arrived} trial{'s' * (count.arrived != 1)}"
        look = {"ha": "center", "fontsize": FONT_SIZE - 1, "annotation_clip": False}
        note(axes, words, (count.seconds, top), (0, 5), COLOR["muted"], **look)
    return last * (last / first) ** 0.03


MARKS: dict[str, dict[str, str]] = {
    "promoted": {"marker": "o", "color": COLOR["train"]},
    "stopped": {"marker": "o", "facecolor": COLOR["paper"], "edgecolor": COLOR["train"]},
    "failed": {"marker": "X", "color": COLOR["failed"]},
}


def _draw_stops(axes: Axes, stops: Sequence[Stop]) -> None:
    """A full dot where a trial was promoted, an empty one where it was left, a cross where it failed."""
    low, high = axes.get_ylim()
    for kind, look in MARKS.items():
        here = [(stop.x, stop.loss) for stop in stops if stop.kind == kind]
        inside = [(x, min(y, high)) for x, y in here if y >= low and (y <= high or kind == "failed")]
        if inside:
            xs, ys = zip(*inside, strict=True)
            axes.scatter(xs, ys, s=22, linewidth=1, zorder=3, **look)  # type: ignore[arg-type]
