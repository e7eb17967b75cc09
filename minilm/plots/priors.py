"""Reads the distributions that a study searches back from the text of its space in study.json.

The text is Hyperopt's own listing of an expression: one node a line, its depth shown by spaces. Reading it needs no
Hyperopt and works for spaces that users wrote. A distribution that it does not understand is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

LINE = re.compile(r"^\d+ (?P<indent> *)(?P<text>.*)$")
LITERAL = re.compile(r"^Literal\{(?P<value>.*)\}$")


class Prior(NamedTuple):
    """What one label is drawn from: Hyperopt's name of the distribution, its numbers, the words of a choice."""

    label: str
    kind: str
    numbers: tuple[float, ...]
    choices: tuple[str, ...] = ()


class Node(NamedTuple):
    depth: int
    text: str


def priors_of(text: str) -> list[Prior]:
    """Every distribution of a space's text, in its order.

    >>> lines = ["0 float", "1  hyperopt_param", "2   Literal{lr}", "3   uniform", "4    Literal{0}", "5    Literal{1}"]
    >>> priors_of("\\n".join(lines))
    [Prior(label='lr', kind='uniform', numbers=(0.0, 1.0), choices=())]
    """
    nodes = [
        Node(len(found["indent"]), found["text"]) for found in map(LINE.match, text.splitlines()) if found
    ]
    places = [index for index, node in enumerate(nodes) if node.text == "hyperopt_param"]
    found = [_prior(nodes, place) for place in places]
    return list({prior.label: prior for prior in found if prior is not None}.values())


def _prior(nodes: Sequence[Node], place: int) -> Prior | None:
    inside = _below(nodes, place)
    if len(inside) < 2:
        return None
    label, kind = _literal(inside[0]), inside[1].text
    numbers = [_number(_literal(node)) for node in inside[2:] if _literal(node) is not None]
    if label is None or not kind.isidentifier() or None in numbers:
        return None
    return Prior(label, kind, tuple(n for n in numbers if n is not None), _choices(nodes, place))


def _below(nodes: Sequence[Node], place: int) -> list[Node]:
    """The nodes inside the one at `place`."""
    inside = []
    for node in nodes[place + 1 :]:
        if node.depth <= nodes[place].depth:
            break
        inside.append(node)
    return inside


def _choices(nodes: Sequence[Node], place: int) -> tuple[str, ...]:
    """The words of a choice: what stands beside its distribution in a `switch`; groups are only numbered."""
    if place == 0 or nodes[place - 1].text != "switch":
        return ()
    depth = nodes[place].depth
    beside = [node for node in _below(nodes, place - 1) if node.depth == depth][1:]
    return tuple(_literal(node) or f"group {number}" for number, node in enumerate(beside, start=1))


def _literal(node: Node) -> str | None:
    found = LITERAL.match(node.text)
    return found["value"] if found else None


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
