"""Who did what when: one row per worker, one bar per trial. The numbers, then the picture.

It shows how busy the workers were and knows nothing of losses beyond which trial was best.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from minilm.plots.style import COLOR, Picture, canvas, name_axes, save_png, style_axes
from minilm.plots.trials import (
    DEFAULT_TID,
    ROLE_COLOR,
    Trial,
    address,
    best_trial,
    succeeded,
)
from minilm.plots.verdict import is_number


class Bar(NamedTuple):
    """One trial on the time line: its worker's row, start and end in minutes."""

    tid: int
    row: int
    start: float
    end: float
    role: str  # "best", "default", "failed" or "other"


class Timeline(NamedTuple):
    workers: list[str]
    bars: list[Bar]


def timeline_numbers(trials: Sequence[Trial], legs: Sequence[Trial] = ()) -> Timeline:
    """Bars of all trials whose times are known, and of their longer legs, one row per worker."""
    timed = [t for t in (*trials, *legs) if is_number(t.get("started")) and is_number(t.get("ended"))]
    workers = sorted({str(t.get("worker")) for t in timed}, key=lambda name: (len(name), name))
    bars = [
        Bar(
            t["tid"],
            workers.index(str(t.get("worker"))),
            t["started"] / 60,
            t["ended"] / 60,
            _role(next((trial for trial in trials if trial["tid"] == t["tid"]), t), trials),
        )
        for t in timed
    ]
    return Timeline(workers, bars)


def _role(trial: Trial, trials: Sequence[Trial]) -> str:
    if not succeeded(trial):
        return "failed"
    best = best_trial(trials)
    if best and trial["tid"] == best["tid"]:
        return "best"
    return "default" if trial["tid"] == DEFAULT_TID else "other"


def draw_timeline(numbers: Timeline, path_png: str | Path | None = None) -> Picture:
    """One row per worker, one bar per trial, as long as it took."""
    rows = max(1, len(numbers.workers))
    figure, axes = canvas(5.6, 0.85 + 0.38 * rows, left=0.8, right=0.2)
    style_axes(axes, grid="x")
    for bar in numbers.bars:
        drawn = axes.barh(
            bar.row,
            bar.end - bar.start,
            left=bar.start,
            height=0.62,
            color=COLOR[ROLE_COLOR[bar.role]],
            edgecolor=COLOR["paper"],
            linewidth=0.8,
        )
        drawn[0].set_url(address(bar.tid))
    labels = [f"worker {name}" if name.isdecimal() else name for name in numbers.workers]
    axes.set_yticks(range(len(numbers.workers)), labels)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xlim(0, max((bar.end for bar in numbers.bars), default=1) or 1)
    name_axes(axes, "minutes since the search began", "")
    return save_png(figure, path_png)
