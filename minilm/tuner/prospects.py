"""Asks the law about the choice's neighbours, for the page: other sizes and tokens, the default recipe, more minutes.

Arithmetic only. Every number is a difference to the choice with its standard deviation, in nats per character, since a
law knows differences much better than it knows a text.
"""

from __future__ import annotations

from typing import Any

from minilm.tuner.budget import parameters
from minilm.tuner.choose import Choice, Outlook, default_of, ranges, space_for, without_tokens
from minilm.tuner.propose import SearchSpace
from minilm.tuner.space import DEFAULT_POINT, Point, to_configs

SHAPES = ((2, 64), (2, 96), (2, 128), (3, 128), (3, 192), (4, 256), (4, 384))  # layers, hidden size
MORE_MINUTES = (1, 3, 10, 30)


def prospects(
    outlook: Outlook, choice: Choice, seconds: float, looked_among: tuple[str, ...]
) -> dict[str, Any]:
    """For result.json: "sizes", "tokens", "default" and "more", each what would be different and by how much."""

    def above(point: Point) -> list[float]:
        """How much higher than the choice it is expected to end, and the deviation of that."""
        gain, sd = outlook.difference(point, choice.point, seconds)
        return [round(gain, 5), round(sd, 5)]

    chosen, sizes = choice.point, []
    own = (chosen["num_layers"], chosen["hidden_size"])
    widest = ranges(outlook.text.characters)["hidden_size"][1]  # of those that were looked at
    for layers, width in {one for one in (*SHAPES, own) if one[1] <= widest}:
        point = {**chosen, "num_layers": layers, "hidden_size": width}
        sizes.append([_size(outlook, point), layers, width, *above(point)])
    tokens = [[kind, *above({**chosen, "tokens": kind})] for kind in outlook.text.tokens]
    default = default_of(outlook)
    space = space_for(outlook.limits, outlook.text.characters, looked_among, outlook.fixed)
    return {
        "sizes": sorted(sizes),
        "tokens": tokens,
        "default": above(default),
        "more": _more(outlook, choice, seconds, space),
    }


def _more(outlook: Outlook, choice: Choice, seconds: float, space: SearchSpace) -> list[list[float]]:
    """[minutes more, what they would have bought, the deviation of that], with the best of the recipes that were looked
    at for them."""
    found = []
    points = [choice.point]
    for draw, loss in choice.looked:
        if loss is not None:
            points.append({**DEFAULT_POINT, **choice.point, **space.point(draw)})
    for minutes in MORE_MINUTES:
        longer = seconds + 60 * minutes
        best = min(points, key=lambda point: outlook.at(point, longer)[0])
        gain, sd = outlook.gain_of_time(choice.point, seconds, best, longer)
        found.append([minutes, round(max(gain, 0.0), 5), round(sd, 5)])
    return found


def _size(outlook: Outlook, point: Point) -> int:
    model, _ = to_configs(without_tokens(point), 2, outlook.limits)
    return parameters(model)
