"""Draws parallel coordinates, lying on their side: a row per setting, a line through all rows per trial.

The numbers, then the picture. The better a trial, the stronger its line, so good neighbourhoods show as bundles.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba

from minilm.plots.legs import equal_loss, ranked
from minilm.plots.scales import Scale, scales, value_of
from minilm.plots.style import COLOR, FONT_SIZE, Picture, canvas, note, save_png, style_axes
from minilm.plots.trials import ROLE_COLOR, Trial, best_trial, loss_window, role_of, short_name

LOSS_ROW = "loss"
MOST_ROWS = 9  # more would not fit a screen
HALVED = 5  # the trial of this rank is drawn half as strong as the best
FAINT = 6.0  # lines of the least strength that, one over the other, make a full colour


class Thread(NamedTuple):
    """One trial: its place on each row that it has, from 0 to 1; `strength` is 1 for the best, less for the next."""

    tid: int
    points: list[tuple[int, float]]  # (row, place)
    strength: float
    role: str  # a key of ROLE_COLOR


class Parallel(NamedTuple):
    rows: list[str]  # settings, and the loss last
    ticks: list[list[tuple[float, str]]]  # of each row: (place, words)
    threads: list[Thread]  # the worst first, so that the best are drawn on top


def parallel_numbers(trials: Sequence[Trial], order: Sequence[str] = ()) -> Parallel:
    """The rows in the given order, settings not named there behind; nothing where no setting varies."""
    found = scales(trials)
    place = {name: number for number, name in enumerate(order)}
    found = sorted(found, key=lambda scale: place.get(scale.name, len(place)))[:MOST_ROWS]
    losses = [loss for loss in map(equal_loss, trials) if loss is not None]
    if not found or not losses:
        return Parallel([], [], [])
    window = loss_window(losses)
    best = best_trial(trials)
    ordered = ranked(trials)
    threads = [
        Thread(t["tid"], _points(t, found, window), 1 / (1 + rank / HALVED), role_of(t, best))
        for rank, t in enumerate(ordered)
    ]
    ticks = [scale.ticks() for scale in found]
    ticks.append([(0.0, f"{window[0]:.2f}"), (1.0, f"{window[1]:.2f}")])
    return Parallel([scale.name for scale in found] + [LOSS_ROW], ticks, threads[::-1])


def _points(trial: Trial, found: Sequence[Scale], window: tuple[float, float]) -> list[tuple[int, float]]:
    values = [value_of(trial, scale) for scale in found]
    placed = zip(found, values, strict=True)
    points = [(row, scale.unit(value)) for row, (scale, value) in enumerate(placed) if value is not None]
    loss = equal_loss(trial)
    low, high = window
    if loss is not None and high > low:
        points.append((len(found), min(1.0, (loss - low) / (high - low))))
    return points


def draw_parallel(numbers: Parallel, path_png: str | Path | None = None) -> Picture:
    """Rows from the most important setting down to the loss, the best trial in strong blue, the default in orange."""
    rows = max(1, len(numbers.rows))
    figure, axes = canvas(5.6, 0.5 + 0.56 * rows, left=1.3, right=0.3, top=0.1, bottom=0.35)
    style_axes(axes, grid="y")
    _many(axes, [thread for thread in numbers.threads if thread.role in ("other", "failed")])
    for thread in numbers.threads:
        if thread.role in ("default", "best"):
            color = COLOR[ROLE_COLOR[thread.role]]
            axes.plot(*_line(thread), color=color, linewidth=2.4, marker="o", markersize=4, zorder=4)
    for row, ticks in enumerate(numbers.ticks):
        for place, words in ticks:
            _tick(axes, row, place, words)
    axes.set_yticks(range(rows), [short_name(name) for name in numbers.rows] or [""])
    axes.set_ylim(rows - 0.45, -0.3)
    axes.set_xlim(-0.04, 1.04)
    axes.set_xticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return save_png(figure, path_png)


def _line(thread: Thread) -> tuple[list[float], list[int]]:
    return [place for _, place in thread.points], [row for row, _ in thread.points]


def _many(axes: Axes, threads: Sequence[Thread]) -> None:
    lines = [list(zip(*_line(thread), strict=True)) for thread in threads]
    faintest = min(0.2, FAINT / max(1, len(threads)))
    axes.add_collection(
        LineCollection(
            lines,
            colors=[_shade(thread, faintest) for thread in threads],
            linewidths=[1.0 + 0.6 * thread.strength for thread in threads],
            linestyles=["dashed" if thread.role == "failed" else "solid" for thread in threads],
        )
    )


def _shade(thread: Thread, faintest: float) -> tuple[float, float, float, float]:
    if thread.role == "failed":
        return to_rgba(COLOR["failed"], 0.5)
    return to_rgba(COLOR["model"], max(faintest, 0.8 * thread.strength))


def _tick(axes: Axes, row: int, place: float, words: str) -> None:
    paper = {"facecolor": COLOR["paper"], "edgecolor": "none", "pad": 0.6, "alpha": 0.7}
    look = {"ha": "center", "va": "center", "fontsize": FONT_SIZE - 2, "bbox": paper, "zorder": 5}
    note(axes, words, (place, row), (0, -11), COLOR["muted"], **look)
