"""Defines the look that all pictures share: a palette, a canvas, direct labels instead of legends, PNG and SVG.

Colours have one meaning everywhere: blue is the model, grey-blue its training loss and other trials, orange
the default recipe, grey the counting baseline, green the entropy floor, red a failure. They stay apart for
colour-blind eyes (they also differ in lightness) and turn into CSS variables in the SVG, so that a page can
be light or dark. This file knows nothing of losses or trials, and never touches pyplot: a Figure here is a
plain object, safe in any thread.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from minilm import files

# name -> (light, dark); the page's style sheet is made from this table too
PALETTE: dict[str, tuple[str, str]] = {
    "ink": ("#1b1c1f", "#ececee"),
    "muted": ("#6b6e76", "#a2a5ad"),
    "grid": ("#e4e5e9", "#33363d"),
    "paper": ("#fffffe", "#17181c"),
    "model": ("#0b62a8", "#62b3f5"),
    "train": ("#50789a", "#5a94c4"),
    "default": ("#bd5208", "#ff9d4d"),
    "counting": ("#736c60", "#b5ab9b"),
    "floor": ("#0a7d6b", "#3ccbb2"),
    "failed": ("#b3243a", "#ff7085"),
}
COLOR = {name: light for name, (light, _) in PALETTE.items()}

LOSS_LABEL = "loss (nats per character)"
NATS_PER_BIT = math.log(2)
PNG_DPI = 110
FONT_SIZE = 10


class Picture(Figure):
    """A matplotlib Figure that shows itself in any notebook and turns into PNG or SVG bytes.

    `hovers` maps the address of a clickable mark (its url) to the words shown when a pointer rests on it.
    """

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), facecolor=COLOR["paper"])
        FigureCanvasAgg(self)  # a user's backend must not decide what our files look like
        self.hovers: dict[str, str] = {}

    def png(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
        return buffer.getvalue()

    def svg(self, alt: str = "") -> str:
        """The picture as one inline `<svg>`: text stays text, the same numbers give the same bytes.

        `alt` is what a screen reader says instead; marks that are links stay within its reach.
        """
        buffer = io.StringIO()
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "minilm"}):
            self.savefig(buffer, format="svg", facecolor="none", metadata={"Date": None, "Creator": None})
        role = f' role="{"group" if self.hovers else "img"}" aria-label="{html.escape(alt)}"' if alt else ""
        return _inline(buffer.getvalue(), self.hovers).replace("<svg", f"<svg{role}", 1)

    def _repr_png_(self) -> bytes:
        return self.png()


class Label(NamedTuple):
    """Words at the right end of a line."""

    y: float
    text: str
    color: str


def _inline(svg: str, hovers: dict[str, str]) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    # the page decides how large a picture is and which font it speaks
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"font: [^;\"]*?([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    for name, light in COLOR.items():
        svg = svg.replace(light, f"var(--{name})")
    return re.sub(r'<a xlink:href="([^"]*)">', lambda link: _with_hover(link, hovers), svg)


def _with_hover(link: re.Match[str], hovers: dict[str, str]) -> str:
    words = hovers.get(link[1])
    return link[0] + (f"<title>{html.escape(words)}</title>" if words else "")


def save_png(figure: Picture, path: str | Path | None) -> Picture:
    """Writes the picture where asked; returns it, so that a drawing function can end with this."""
    if path is not None:
        files.write_bytes(path, figure.png())
    return figure


# inches around the axes: left for the loss, right for its twin in bits, bottom for two lines of text. Fixed,
# not fitted: axes of neighbouring pictures line up, and matplotlib's fitting would double the drawing time.
MARGINS = {"left": 0.62, "right": 0.6, "bottom": 0.52, "top": 0.16}


def canvas(width: float = 5.6, height: float = 3.6, **margins: float) -> tuple[Picture, Axes]:
    """An empty picture with one styled pair of axes; sizes in inches, `margins` replace those of MARGINS."""
    figure = Picture(width, height)
    inches = {**MARGINS, **margins}
    figure.subplots_adjust(
        left=inches["left"] / width,
        right=1 - inches["right"] / width,
        bottom=inches["bottom"] / height,
        top=1 - inches["top"] / height,
    )
    return figure, style_axes(figure.add_subplot())


def style_axes(axes: Axes, grid: Literal["x", "y"] = "y") -> Axes:
    """Two thin spines, a light grid behind the data, quiet ticks."""
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set(color=COLOR["grid"], linewidth=0.8)
    axes.grid(False)
    axes.grid(True, axis=grid, color=COLOR["grid"], linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(
        which="both",
        length=0,
        pad=5,
        color=COLOR["grid"],
        labelcolor=COLOR["muted"],
        labelsize=FONT_SIZE - 0.5,
    )
    return axes


def note(
    axes: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], color: str, **look: Any
) -> None:
    """Writes a few words beside a point, `offset` from it in points."""
    look = {"fontsize": FONT_SIZE, **look}
    axes.annotate(text, at, xytext=offset, textcoords="offset points", color=color, **look)


def name_axes(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, color=COLOR["muted"], fontsize=FONT_SIZE)
    axes.set_ylabel(y, color=COLOR["muted"], fontsize=FONT_SIZE)


def _to_bits(nats: Any) -> Any:
    return nats / NATS_PER_BIT


def _to_nats(bits: Any) -> Any:
    return bits * NATS_PER_BIT


def bits_axis(axes: Axes) -> None:
    """The same loss in bits per character on the right; needs the limits of `axes` to be final."""
    right = axes.secondary_yaxis("right", functions=(_to_bits, _to_nats))
    right.spines["right"].set_visible(False)
    right.tick_params(length=0, pad=5, labelcolor=COLOR["muted"], labelsize=FONT_SIZE - 0.5)
    right.set_ylabel("bits per character", color=COLOR["muted"], fontsize=FONT_SIZE)


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Positions as near as can be to the wanted ones, in the same order, at least `gap` apart.

    Neighbours that touch are merged into a block that sits at the mean of what its members want.

    >>> spread([1.0, 1.0, 5.0], gap=1.0)
    [0.5, 1.5, 5.0]
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[list[int]] = []
    for index in order:
        blocks.append([index])
        while len(blocks) > 1 and _start(blocks[-1], wanted, gap) - _end(blocks[-2], wanted, gap) < gap:
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    placed = {i: _start(block, wanted, gap) + k * gap for block in blocks for k, i in enumerate(block)}
    return [placed[i] for i in range(len(wanted))]


def _start(block: list[int], wanted: Sequence[float], gap: float) -> float:
    return sum(wanted[i] for i in block) / len(block) - gap * (len(block) - 1) / 2


def _end(block: list[int], wanted: Sequence[float], gap: float) -> float:
    return _start(block, wanted, gap) + gap * (len(block) - 1)


def label_lines(axes: Axes, labels: Sequence[Label], x: float) -> None:
    """Writes each label at its line's height, moved apart where they would overlap; `x` in data units."""
    low, high = axes.get_ylim()
    height = axes.figure.get_size_inches()[1] * 72  # type: ignore[union-attr]
    gap = (high - low) * 1.35 * FONT_SIZE / (0.8 * height)  # one line of text, in data units
    places = spread([label.y for label in labels], gap)
    for label, y in zip(labels, places, strict=True):
        axes.text(x, y, label.text, color=label.color, fontsize=FONT_SIZE, va="center", ha="left")


def style_sheet_colors() -> dict[str, Any]:
    """`{"light": {name: hex}, "dark": {name: hex}}` for the page."""
    return {
        "light": {name: light for name, (light, _) in PALETTE.items()},
        "dark": {name: dark for name, (_, dark) in PALETTE.items()},
    }
