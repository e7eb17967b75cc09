"""Draws the pictures of the notebooks, one call each: lines, layers, rotary positions, changes of a recipe.

Each picture has an alternative text, made from its numbers. These come in as sequences or arrays: this file knows no
model and no torch.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from minilm.plots.curves import curve_numbers, draw_curves
from minilm.plots.lens import draw_map
from minilm.plots.search import draw_search, search_numbers
from minilm.plots.slices import draw_slices, slice_numbers
from minilm.plots.style import COLOR, FONT_SIZE, Picture, canvas, name_axes, note, spread, style_axes
from minilm.plots.trials import Trial

COLORS = ("model", "default", "floor", "counting", "failed")  # of the first line, the second, ...
LETTER = 0.077  # inches, the width of one in the font of the labels
MOST_TICKS = 7
NAMED_INSIDE = 0.1  # a layer with at least this share somewhere has its name in it


class Line(NamedTuple):
    """A line of a picture; a guide is dotted and only there to compare with."""

    name: str
    x: list[float]
    y: list[float]
    color: str  # a key of COLOR
    guide: bool = False


def line_numbers(
    lines: Mapping[str, tuple[Any, Any]], guides: Mapping[str, Any] | None = None, colors: Sequence[str] = ()
) -> list[Line]:
    """Lines from name -> (x, y), then guides from name -> (x, y), or name -> y for a horizontal one.

    >>> line_numbers({"ours": ([0, 1], [2.0, 1.0])}, {"floor": 0.5})[1].y
    [0.5, 0.5]
    """
    colors = [*colors, *(color for color in COLORS if color not in colors)]
    assert len(lines) <= len(colors), f"there are {len(colors)} colours, got {len(lines)} lines"
    found = [
        Line(name, _floats(x), _floats(y), color)
        for (name, (x, y)), color in zip(lines.items(), colors, strict=False)
    ]
    ends = [min(min(line.x) for line in found), max(max(line.x) for line in found)]
    for name, guide in (guides or {}).items():
        x, y = guide if isinstance(guide, tuple) else (ends, [guide, guide])
        found.append(Line(name, _floats(x), _floats(y), "muted", guide=True))
    return found


def lines_in_words(lines: Sequence[Line], x_label: str, y_label: str) -> str:
    """What a screen reader says of a picture of lines."""
    ends = [f"{one.name}: from {_said(one, 0)} to {_said(one, -1)}" for one in lines]
    return f"Lines of {y_label} over {x_label}. {'; '.join(ends)}."


def _said(line: Line, place: int) -> str:
    x, y = line.x[place], line.y[place]
    at = f"{x:,g}" if x == int(x) or abs(x) < 1 else f"{x:,.1f}"
    return f"{y:,.0f} at {at}" if abs(y) >= 1000 else f"{y:.3g} at {at}"


def draw_lines(
    lines: Mapping[str, tuple[Any, Any]],
    x_label: str,
    y_label: str,
    *,
    guides: Mapping[str, Any] | None = None,
    colors: Sequence[str] = (),
    log: str = "",
    dots: bool = False,
    y_limits: tuple[float, float] | None = None,
    height: float = 3.4,
) -> Picture:
    """Each line's name stands at its end. `log` names the logarithmic axes, "x", "y" or "xy"; `dots` marks points."""
    numbers = line_numbers(lines, guides, colors)
    figure, axes = canvas(
        7.6,
        height,
        left=0.95 if "y" in log else 0.7,
        right=0.25 + LETTER * max(len(one.name) for one in numbers),
    )
    for one in numbers:
        marker, dash = "o" if dots and not one.guide else "", ":" if one.guide else "-"
        look = {"color": COLOR[one.color], "linestyle": dash, "linewidth": 1.8, "marker": marker}
        axes.plot(one.x, one.y, markersize=5, clip_on=not dots, zorder=3, **look)  # type: ignore[arg-type]
    drawn = [x for one in numbers for x in one.x]
    if "x" in log:
        axes.set_xscale("log")
        ticks = sorted({x for one in numbers if not one.guide for x in one.x})
        ticks = ticks[:: -(-len(ticks) // MOST_TICKS)]
        axes.set_xticks(ticks, [f"{x:,g}" for x in ticks])
    if "y" in log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:,.0f}" if y >= 1 else f"{y:g}")
    axes.minorticks_off()
    axes.set_xlim(min(drawn) if "x" in log else min(0, *drawn), max(drawn))
    axes.set_ylim(y_limits)
    name_axes(axes, x_label, y_label)
    name_ends(axes, [(one.y[-1], one.name, COLOR[one.color]) for one in numbers])
    return described(figure, lines_in_words(numbers, x_label, y_label))


def name_ends(axes: Axes, names: Sequence[tuple[float, str, str]]) -> None:
    """Writes (y, name, colour) to the right of the axes, moved apart where they would overlap; limits must be final."""
    heights = axes.transAxes.inverted().transform(axes.transData.transform([(1.0, y) for y, _, _ in names]))[
        :, 1
    ]
    inches = axes.get_position().height * axes.figure.get_size_inches()[1]  # type: ignore[union-attr]
    gap = 1.35 * FONT_SIZE / (72 * inches)
    places = spread([float(y) for y in np.clip(heights, 0, 1)], gap)
    order = sorted(range(len(names)), key=lambda i: places[i])
    for rank, i in enumerate(order):  # none below the axes, where the ticks are, and none cut off above
        lowest, highest = rank * gap, 1 - (len(names) - 1 - rank) * gap
        places[i] = min(max(places[i], lowest), max(lowest, highest))
    for place, (_, name, color) in zip(places, names, strict=True):
        axes.text(1.02, place, name, color=color, fontsize=FONT_SIZE, va="center", transform=axes.transAxes)


def draw_layers(x: Any, layers: Mapping[str, Any], x_label: str, y_label: str) -> Picture:
    """Shares of a whole, 0 to 1, one layer on the other over a logarithmic axis."""
    shares = {name: np.array(_floats(values)) for name, values in layers.items()}
    figure, axes = canvas(7.6, 3.6, right=1.0)
    colors = [COLOR[name] for name in ("counting", "model", "floor", "default")]
    axes.stackplot(_floats(x), [100 * values for values in shares.values()], colors=colors, alpha=0.85)
    axes.set(xscale="log", xlim=(x[0], x[-1]), ylim=(0, 100))
    axes.set_xticks(x[::2], [f"{T:,}" for T in x[::2]])
    axes.minorticks_off()
    name_axes(axes, x_label, y_label)
    floor = np.zeros(len(x))
    for (name, values), color in zip(shares.items(), colors, strict=True):
        middle, place = 100 * (floor + values / 2), int(values.argmax())
        if values[place] < NAMED_INSIDE:
            name_ends(axes, [(middle[-1], name, color)])
        else:
            left = place < len(x) / 2
            at = (x[place], middle[place])
            note(axes, name, at, (9 if left else -9, 0), "white", ha="left" if left else "right", va="center")
        floor = floor + values
    said = [
        f"{name} {values[0]:.0%} at {x[0]:,} and {values[-1]:.0%} at {x[-1]:,}"
        for name, values in shares.items()
    ]
    return described(figure, f"{y_label} over {x_label}: {', '.join(said)}.")


def draw_rotary(cos: Any, products: Mapping[int, Any]) -> Picture:
    """Left the cosines (T, D/2) by which channel pairs turn; right products of one turned vector with itself: place of
    the query -> one number per place of the key."""
    figure = Picture(9, 2.9)
    figure.subplots_adjust(left=0.07, right=0.99, top=0.97, bottom=0.17, wspace=0.25)
    left, right = (style_axes(axes) for axes in figure.subplots(1, 2))
    left.imshow(np.asarray(cos).T, cmap="PuOr", vmin=-1.2, vmax=1.2, aspect="auto")
    left.grid(False)
    name_axes(left, "position", "pair of channels")
    for (place, values), color in zip(products.items(), ("default", "model", "floor"), strict=False):
        right.plot(range(len(values)), _floats(values), color=COLOR[color], linewidth=1.8)
        right.text(place, 1.04, f"query at {place}", ha="center", color=COLOR[color], fontsize=FONT_SIZE - 1)
    right.set_ylim(top=1.17)
    name_axes(right, "position of the key", "query times key, divided by D")
    words = (
        "Left: cosines of the angles, the first pairs of channels turn fast, the last ones hardly at all. "
    )
    return described(
        figure, f"{words}Right: curves of one shape, each with its maximum at the position of its query."
    )


class Changes(NamedTuple):
    """What changes of a recipe did to its loss, each measured with several seeds, the best last."""

    loss: float  # of the unchanged recipe, a mean
    noise: float  # largest difference between two of its seeds
    rows: list[tuple[str, float, list[float]]]  # (name, mean difference, the difference of each seed)


def change_numbers(losses: Mapping[str, Sequence[float]], base: str) -> Changes:
    """The numbers of the picture, from name -> a loss per seed; `base` names the unchanged recipe.

    >>> change_numbers({"as it is": [2.0, 2.25], "wider": [2.0, 2.0]}, "as it is")
    Changes(loss=2.125, noise=0.25, rows=[('wider', -0.125, [-0.125, -0.125])])
    """
    mean = {name: sum(values) / len(values) for name, values in losses.items()}
    names = sorted((name for name in losses if name != base), key=lambda name: mean[name], reverse=True)
    rows = [(name, mean[name] - mean[base], [loss - mean[base] for loss in losses[name]]) for name in names]
    return Changes(mean[base], max(losses[base]) - min(losses[base]), rows)


def draw_changes(changes: Changes) -> Picture:
    """A bar per change, from the unchanged recipe; the seeds are dots, and the band is what a seed alone does."""
    figure, axes = canvas(8.6, 0.9 + 0.27 * len(changes.rows), left=2.9, right=0.75)
    axes.axvspan(-changes.noise, changes.noise, color=COLOR["grid"])
    for row, (_, mean, seeds) in enumerate(changes.rows):
        axes.barh(row, mean, color=COLOR["failed" if mean > 0 else "floor"], height=0.62, alpha=0.85)
        axes.plot(seeds, [row] * len(seeds), ".", color=COLOR["ink"], markersize=4)
    axes.set_yticks(range(len(changes.rows)), [name for name, _, _ in changes.rows])
    axes.set_ylim(-0.7, len(changes.rows) - 0.3)
    axes.grid(False)
    axes.axvline(0, color=COLOR["ink"], linewidth=0.8)
    name_axes(axes, "difference of the loss (left of 0: better); grey band: difference between seeds", "")
    said = [f"{name} {mean:+.3f}" for name, mean, _ in changes.rows]
    return described(
        figure, f"Bars, the difference of the loss for each change of the recipe: {', '.join(said)}."
    )


def draw_weights(tokens: Sequence[str], weights: Any) -> Picture:
    """A map of attention weights (T, T): a row is a query, a column a key."""
    weights = np.asarray(weights)
    future = "none" if not np.triu(weights, 1).any() else "some"
    words = f"Map of the attention weights between {len(tokens)} tokens, {future} above the diagonal."
    return described(draw_map(tokens, weights), words)


def draw_metrics(metrics: Sequence[Mapping[str, Any]], **lines: float | None) -> Picture:
    """The learning curves in `run.metrics`; `lines` are horizontal, `floor` and `counting`."""
    numbers = curve_numbers(metrics, lines)
    said = [
        f"{name} from {points[0][1]:.3f} to {points[-1][1]:.3f}"
        for name, points in (("training loss", numbers.train), ("validation loss", numbers.val))
        if points
    ]
    said += [f"{name} at {value:.3f}" for name, value in numbers.lines.items()]
    return described(draw_curves(numbers), f"Learning curves over the steps: {', '.join(said)}.")


def draw_trials(trials: Sequence[Trial]) -> Picture:
    """The losses of a search over its time; a sentence where there is none yet."""
    numbers = search_numbers(trials)
    if not numbers.dots and not numbers.failures:
        words = "No trial has ended in this time."
        figure = Picture(5.6, 0.6)
        figure.text(0.02, 0.4, words, color=COLOR["muted"], fontsize=FONT_SIZE)
        return described(figure, words)
    best = f", the lowest {numbers.best.loss:.3f}" if numbers.best else ""
    words = f"{len(numbers.dots)} losses of trials{best}; {len(numbers.failures)} trials failed."
    return described(draw_search(numbers), words)


def draw_settings(trials: Sequence[Trial]) -> Picture:
    """The losses of a search against each of its settings; a sentence where there are too few."""
    slices = slice_numbers(trials)
    words = (
        f"Losses against {', '.join(one.name for one in slices)}." if slices else "Too few trials to compare."
    )
    return described(draw_slices(slices), words)


def described(figure: Picture, alt: str) -> Picture:
    """The picture with words for those who cannot see it: a notebook keeps them beside the image."""

    def bundle(**_: Any) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        return {"image/png": base64.b64encode(figure.png()).decode()}, {"image/png": {"alt": alt}}

    figure.__dict__["_repr_mimebundle_"] = bundle  # what Jupyter asks an object for
    return figure


def _floats(values: Any) -> list[float]:
    return [float(value) for value in values]
