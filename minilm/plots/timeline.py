"""Draws what each worker did when: one row per worker, one bar per training. The numbers, then the picture.

It shows how busy the workers were and knows nothing of losses beyond which trial was best.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes

from minilm.plots.legs import Leg, legs_of
from minilm.plots.style import COLOR, Picture, canvas, name_axes, save_png, style_axes
from minilm.plots.trials import ROLE_COLOR, Trial, address, best_trial, hovers_of, role_of

SHADES = (0.45, 0.7, 1.0)  # how strong the colour is at the first, the second and every further rung


class Bar(NamedTuple):
    """One training on the time line: its worker's row, start and end in minutes."""

    tid: int
    row: int
    start: float
    end: float
    role: str  # a key of ROLE_COLOR
    rung: int = 0


class Timeline(NamedTuple):
    workers: list[str]
    bars: list[Bar]
    busy: float  # the share of the workers' time that was spent in trainings
    hovers: dict[str, str]


def timeline_numbers(trials: Sequence[Trial], longer: Sequence[Trial] = ()) -> Timeline:
    """Bars of all legs whose times are known, one row per worker; `longer` are trainings beside the trials."""
    owners = {trial["tid"]: trial for trial in trials}
    legs = [leg for trial in (*trials, *longer) for leg in legs_of(trial)]
    timed = [leg for leg in legs if leg.started is not None and leg.ended is not None]
    workers = sorted({leg.worker for leg in timed}, key=lambda name: (len(name), name))
    best = best_trial(trials)
    bars = [_bar(leg, workers, owners.get(leg.tid, {"tid": leg.tid}), best) for leg in timed]
    return Timeline(workers, bars, _busy(bars, len(workers)), hovers_of(trials))


def _bar(leg: Leg, workers: Sequence[str], trial: Trial, best: Trial | None) -> Bar:
    start, end = leg.started or 0.0, leg.ended or 0.0
    return Bar(leg.tid, workers.index(leg.worker), start / 60, end / 60, role_of(trial, best), leg.rung)


def _busy(bars: Sequence[Bar], rows: int) -> float:
    whole = max((bar.end for bar in bars), default=0.0) * rows
    return sum(bar.end - bar.start for bar in bars) / whole if whole else 0.0


def draw_timeline(numbers: Timeline, path_png: str | Path | None = None) -> Picture:
    """One row per worker, one bar per training, as long as it took; the further a trial came, the stronger."""
    rows = max(1, len(numbers.workers))
    figure, axes = canvas(5.6, 0.85 + 0.38 * rows, left=0.95, right=0.2)
    figure.hovers = numbers.hovers
    style_axes(axes, grid="x")
    _draw_bars(axes, numbers.bars)
    labels = [f"worker {name}" if name.isdecimal() else name for name in numbers.workers]
    axes.set_yticks(range(len(numbers.workers)), labels)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xlim(0, max((bar.end for bar in numbers.bars), default=1) or 1)
    name_axes(axes, "minutes since the search began", "")
    return save_png(figure, path_png)


def _draw_bars(axes: Axes, bars: Sequence[Bar]) -> None:
    """One collection per look: hundreds of bars drawn one by one would take seconds."""
    several = any(bar.rung for bar in bars)
    for row, role, rung in dict.fromkeys((bar.row, bar.role, bar.rung) for bar in bars):
        alike = [bar for bar in bars if (bar.row, bar.role, bar.rung) == (row, role, rung)]
        drawn = axes.broken_barh(
            [(bar.start, bar.end - bar.start) for bar in alike],
            (row - 0.31, 0.62),
            facecolor=COLOR[ROLE_COLOR[role]],
            alpha=SHADES[min(rung, len(SHADES) - 1)] if several else 1.0,
            edgecolor=COLOR["paper"],
            linewidth=0.6,
        )
        drawn.set_urls([address(bar.tid) for bar in alike])
