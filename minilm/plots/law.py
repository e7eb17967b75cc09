"""Draws what the law expects around the choice: other sizes, other tokens in the same minutes. Numbers, then picture.

Differences to the choice, in nats per character; a law knows these much better than it knows a text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from minilm.plots.style import COLOR, Picture, canvas, name_axes, note, save_png
from minilm.plots.verdict import is_number

COVERED = 1.645  # standard deviations of a 90 % interval
FEWEST = 2  # things to compare


class Expected(NamedTuple):
    """One alternative: its place on the axis, its name, how much higher than the choice it is expected to end."""

    x: float
    name: str
    above: float
    sd: float
    chosen: bool = False


def size_numbers(law: Mapping[str, Any], point: Mapping[str, Any]) -> list[Expected]:
    """The shapes that were compared, by parameters of their layers; nothing where there are fewer than FEWEST.

    >>> law = {"prospects": {"sizes": [[9, 2, 64, 0.1, 0.01], [20, 3, 96, 0.0, 0.0]]}}
    >>> [(one.name, one.chosen) for one in size_numbers(law, {"num_layers": 3, "hidden_size": 96})]
    [('2 x 64', False), ('3 x 96', True)]
    """
    rows = _rows(law, "sizes", 5)
    chosen = (point.get("num_layers"), point.get("hidden_size"))
    return _enough([Expected(x, f"{n} x {w}", above, sd, (n, w) == chosen) for x, n, w, above, sd in rows])


def token_numbers(law: Mapping[str, Any], point: Mapping[str, Any]) -> list[Expected]:
    """The tokens that were compared, in the order given."""
    rows = enumerate(_rows(law, "tokens", 3))
    mine = point.get("tokens")
    return _enough([Expected(x, str(name), above, sd, name == mine) for x, (name, above, sd) in rows])


def more_numbers(law: Mapping[str, Any]) -> list[Expected]:
    """What more minutes would have bought, below the choice; nothing where the text is used up."""
    if law.get("most_steps"):
        return []
    rows = [Expected(minutes, f"+{minutes:g}", -gain, sd) for minutes, gain, sd in _rows(law, "more", 3)]
    return _enough([Expected(0, "now", 0.0, 0.0, True), *rows]) if rows else []


def _rows(law: Mapping[str, Any], key: str, width: int) -> list[list[Any]]:
    found = (law.get("prospects") or {}).get(key) or []
    rows = [row for row in found if isinstance(row, list) and len(row) == width]
    return [row for row in rows if is_number(row[-1]) and is_number(row[-2])]


def _enough(found: list[Expected]) -> list[Expected]:
    return found if len(found) >= FEWEST else []


def default_of(law: Mapping[str, Any]) -> tuple[float, float] | None:
    """How much higher than the choice the default recipe is expected to end, and the deviation of that."""
    found = (law.get("prospects") or {}).get("default")
    return (found[0], found[1]) if isinstance(found, list) and len(found) == 2 else None


def draw_expected(
    numbers: Sequence[Expected],
    x_label: str,
    default: tuple[float, float] | None = None,
    path_png: str | Path | None = None,
    against: str = "the choice",
) -> Picture:
    """A dot and the 90 % band of each alternative over its place, the choice ringed at 0; the default a dashed line."""
    figure, axes = canvas(5.6, 3.2, left=0.75, right=0.25)
    numbers = sorted(numbers)
    places = list(range(len(numbers)))
    bands = [COVERED * one.sd for one in numbers]
    above = [one.above for one in numbers]
    axes.vlines(
        places,
        [a - b for a, b in zip(above, bands, strict=True)],
        [a + b for a, b in zip(above, bands, strict=True)],
        color=COLOR["model"],
        linewidth=7,
        alpha=0.3,
    )
    axes.plot(places, above, "o-", color=COLOR["model"], linewidth=1.4, markersize=5)
    for place, one in zip(places, numbers, strict=True):
        if one.chosen:
            axes.plot(
                place, one.above, "o", markersize=11, markerfacecolor="none", markeredgecolor=COLOR["model"]
            )
            if against == "the choice":
                note(axes, "chosen", (place, one.above), (0, -16), COLOR["model"], ha="center")
    if default is not None:
        axes.axhline(default[0], color=COLOR["default"], linewidth=1.2, linestyle=(0, (5, 3)))
        note(
            axes,
            f"default recipe {default[0]:+.3f}",
            (places[-1], default[0]),
            (0, 4),
            COLOR["default"],
            ha="right",
        )
    axes.set_xticks(places, [one.name for one in numbers])
    axes.margins(x=0.08, y=0.18)
    name_axes(axes, x_label, f"expected loss, against {against} (nats)")
    return save_png(figure, path_png)


def words_of(numbers: Sequence[Expected], default: tuple[float, float] | None = None) -> str:
    """The picture in words."""
    words = [
        f"{one.name} {one.above:+.3f} ± {COVERED * one.sd:.3f}{' (chosen)' * one.chosen}" for one in numbers
    ]
    if default is not None:
        words.append(f"default recipe {default[0]:+.3f} ± {COVERED * default[1]:.3f}")
    return "; ".join(words)
