"""Draws the dots that stand for trials, alike in every picture: a link to the trial's row, a ring where it matters."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from minilm.plots.style import COLOR, note
from minilm.plots.trials import ROLE_COLOR, Dot, address

LEAST_ROOM = 0.01  # nats above and below the dots, where there is only one or all are equal
DOT = 34  # area of a trial's dot, in points squared; a rung more makes it larger by a half
RING = {"facecolor": "none", "linewidth": 2.0, "s": 95, "zorder": 5}


def plain_dots(axes: Axes, dots: Sequence[Dot], high: float) -> None:
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
                s=[DOT * (1 + 0.5 * d.rung) for d in chosen],
                color=COLOR["train"],
                edgecolor=COLOR["paper"],
                linewidth=0.6,
                zorder=3,
            )
            marks.set_urls([address(d.tid) for d in chosen])


def mark_special(axes: Axes, best: Dot | None, default: Dot | None, words: bool = True) -> None:
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
    sides = {"ha": "right" if late else "left", "va": "bottom" if above else "top"}
    paper = {"facecolor": COLOR["paper"], "edgecolor": "none", "pad": 1.0, "alpha": 0.75}
    offset = (0 if late else 9, 8 if above else -8)
    note(axes, text, at, offset, color, annotation_clip=False, bbox=paper, **sides)
