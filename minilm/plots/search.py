"""Draws the search over time: every loss a dot, the best so far a staircase. The numbers, then the picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes

from minilm.plots.dots import LEAST_ROOM, mark_special, plain_dots
from minilm.plots.legs import legs_of
from minilm.plots.style import COLOR, FONT_SIZE, LOSS_LABEL, Picture, bits_axis, canvas, name_axes, save_png
from minilm.plots.trials import (
    Dot,
    Point,
    Trial,
    address,
    best_trial,
    default_trial,
    hovers_of,
    loss_window,
    reason_of,
    succeeded,
)
from minilm.plots.verdict import is_number


class SearchNumbers(NamedTuple):
    """The search over time; x is minutes since its start, or the trial's number where times are unknown."""

    dots: list[Dot]  # in the order of time; a trial that was promoted has several
    failures: list[tuple[int, float, str]]  # (trial, x, reason)
    best_so_far: list[Point]
    best: Dot | None
    default: Dot | None
    x_label: str
    hovers: dict[str, str]  # "#trial-7" -> what to say about trial 7


def search_numbers(trials: Sequence[Trial]) -> SearchNumbers:
    """Dots, failures and the staircase of the best loss so far.

    >>> done = [{"tid": 0, "state": "ok", "loss": 2.0}, {"tid": 1, "state": "ok", "loss": 2.5}]
    >>> numbers = search_numbers(done)
    >>> numbers.best.tid, numbers.best_so_far, numbers.x_label
    (0, [(0, 2.0), (1, 2.0)], 'trial')
    """
    timed = bool(trials) and all(is_number(t.get("ended")) for t in trials)
    dots = sorted((dot for t in trials for dot in _dots(t, timed)), key=lambda dot: dot.x)
    failures = [(t["tid"], _x(t.get("ended"), t, timed), reason_of(t)) for t in trials if not succeeded(t)]
    return SearchNumbers(
        dots=dots,
        failures=failures,
        best_so_far=_stairs(dots),
        best=_last_dot(dots, best_trial(trials)),
        default=_last_dot(dots, default_trial(trials)),
        x_label="minutes since the search began" if timed else "trial",
        hovers=hovers_of(trials),
    )


def _dots(trial: Trial, timed: bool) -> list[Dot]:
    legs = [leg for leg in legs_of(trial) if leg.loss is not None]
    return [Dot(leg.tid, _x(leg.ended, trial, timed), leg.loss or 0.0, leg.rung) for leg in legs]


def _x(ended: float | None, trial: Trial, timed: bool) -> float:
    if not timed:
        return trial["tid"]
    return (trial["ended"] if ended is None else ended) / 60


def _stairs(dots: Sequence[Dot]) -> list[Point]:
    stairs: list[Point] = []
    for dot in dots:
        stairs.append((dot.x, min(dot.loss, stairs[-1][1] if stairs else dot.loss)))
    return stairs


def _last_dot(dots: Sequence[Dot], trial: Trial | None) -> Dot | None:
    mine = [dot for dot in dots if trial is not None and dot.tid == trial["tid"] and succeeded(trial)]
    return mine[-1] if mine else None


def draw_search(numbers: SearchNumbers, path_png: str | Path | None = None) -> Picture:
    """Every loss a dot, larger after longer training; the best so far a staircase, failures on the top edge."""
    figure, axes = canvas(top=0.32)
    figure.hovers = numbers.hovers
    low, high = loss_window([dot.loss for dot in numbers.dots])
    _paths(axes, numbers.dots, high)
    plain_dots(axes, numbers.dots, high)
    if numbers.best_so_far:
        _staircase(axes, numbers)
    room = max(0.1 * (high - low), LEAST_ROOM)
    axes.set_ylim(low - room, high + 1.6 * room)
    _x_limits(axes, numbers)
    mark_special(axes, numbers.best, numbers.default)
    _failures(axes, numbers)
    name_axes(axes, numbers.x_label, LOSS_LABEL)
    bits_axis(axes)
    return save_png(figure, path_png)


def _paths(axes: Axes, dots: Sequence[Dot], high: float) -> None:
    """A thin line through the losses of one trial, from rung to rung."""
    promoted = list(dict.fromkeys(dot.tid for dot in dots if dot.rung))
    for tid in promoted:
        path = [(dot.x, min(dot.loss, high)) for dot in dots if dot.tid == tid]
        axes.plot(
            *zip(*path, strict=True),
            color=COLOR["train"],
            linewidth=0.7,
            alpha=min(0.6, 12 / len(promoted)),
            zorder=1,
        )


def _staircase(axes: Axes, numbers: SearchNumbers) -> None:
    steps = list(numbers.best_so_far)
    steps.append((_last_x(numbers), steps[-1][1]))
    axes.step(*zip(*steps, strict=True), where="post", color=COLOR["model"], linewidth=1.8, zorder=2)


def _last_x(numbers: SearchNumbers) -> float:
    return max([dot.x for dot in numbers.dots] + [x for _, x, _ in numbers.failures], default=1) or 1


def _x_limits(axes: Axes, numbers: SearchNumbers) -> None:
    last = _last_x(numbers)
    axes.set_xlim(0 if numbers.x_label != "trial" else -0.04 * last, last * 1.04)


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
