"""Draws a few named losses on one line, the ladder, so that their distances can be seen at a glance.

Losses are in nats per character; what they mean is the caller's business.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from minilm.plots.style import COLOR, FONT_SIZE, Picture, canvas, name_axes, note, save_png, style_axes


class Rung(NamedTuple):
    """One line of the ladder: a name, a loss, and the palette's colour."""

    name: str
    loss: float
    role: str


def ladder_numbers(rungs: Sequence[tuple[str, float | None, str]]) -> list[Rung]:
    """The known losses, best first.

    >>> [rung.name for rung in ladder_numbers([("counting", 1.7, "counting"), ("model", 1.5, "model")])]
    ['model', 'counting']
    """
    known = [Rung(name, loss, role) for name, loss, role in rungs if loss is not None and math.isfinite(loss)]
    return sorted(known, key=lambda rung: rung.loss)


def draw_ladder(rungs: Sequence[Rung], path_png: str | Path | None = None) -> Picture:
    """One row per loss, best on top; its dot stands on the axis, its name and number beside it."""
    figure, axes = canvas(5.6, 0.9 + 0.42 * max(1, len(rungs)), left=1.6, right=0.2)
    style_axes(axes, grid="x")
    most = max([rung.loss for rung in rungs], default=1.0) or 1.0
    axes.set_xlim(0, 1.1 * most)  # from zero, or small differences would look large
    for row, rung in enumerate(rungs):
        color = COLOR[rung.role]
        ours = rung.role == "model"
        axes.plot([0, rung.loss], [row, row], color=color, linewidth=1.2, alpha=0.5)
        axes.plot(
            rung.loss, row, marker="o", markersize=11 if ours else 8, color=color, clip_on=False, zorder=4
        )
        look = {"fontsize": FONT_SIZE + 2, "fontweight": "bold"} if ours else {}
        note(axes, f"{rung.loss:.3f}", (rung.loss, row), (0, 8), color, ha="center", **look)
    axes.set_yticks(range(len(rungs)), [rung.name for rung in rungs])
    for text, rung in zip(axes.get_yticklabels(), rungs, strict=True):
        text.set(color=COLOR[rung.role], fontsize=FONT_SIZE + 0.5)
    axes.set_ylim(max(1, len(rungs)) - 0.5, -0.75)
    axes.spines["left"].set_visible(False)
    name_axes(axes, "nats per character, lower is better", "")
    return save_png(figure, path_png)
