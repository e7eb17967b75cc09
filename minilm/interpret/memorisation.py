"""Finds what a text repeats from another word for word: the longest pieces that may be learned by heart.

A suffix array sorts every ending of the source, so that whatever a piece could be copied from stands beside the place
where the piece itself would be sorted in. Numpy sorts a megabyte in a few seconds. This file knows characters only,
neither models nor tokens.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minilm.errors import ConfigError


class Span(NamedTuple):
    """`length` characters from `start` of the text that stand at `where` of the source."""

    start: int
    length: int
    where: int


def suffix_array(text: str) -> np.ndarray:
    """Where the endings of `text` begin, in alphabetical order, (n,) (Manber and Myers, 1993).

    Prefix doubling: ordered by their first k characters, endings are ordered by 2k when each is compared by two
    ranks, its own and that of the ending k further on.

    >>> suffix_array("banana").tolist()
    [5, 3, 1, 0, 4, 2]
    """
    n, k = len(text), 1
    rank = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.int64) + 1
    rank = np.unique(rank, return_inverse=True)[1] + 1  # (n,) small numbers, so that two fit into one
    while True:
        later = np.zeros(n, dtype=np.int64)  # nothing sorts before everything: 0
        later[: n - k] = rank[k:]
        both = rank * (n + 1) + later
        order = np.argsort(both, kind="stable")
        steps = np.diff(both[order], prepend=-1) != 0
        rank = np.empty(n, dtype=np.int64)
        rank[order] = np.cumsum(steps)
        k *= 2
        if steps.all() or k >= n:
            return order


class Source:
    """A text made ready to be searched for copies; sorting it takes a few seconds a megabyte, asking is quick.

    >>> Source("the cat sat on the mat").spans("a cat sat here", at_least=3)
    [Span(start=1, length=9, where=3)]
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.order = suffix_array(text)

    def longest_at(self, text: str, start: int) -> Span:
        """The longest piece of `text` from `start` on that the source contains; its first place among equals of
        the neighbours in the sorted endings."""
        rest = text[start:]
        place = bisect_left(self.order, rest, key=lambda at: self.text[at : at + len(rest)])
        neighbours = self.order[max(0, place - 1) : place + 1].tolist()
        found = [Span(start, _common(rest, self.text, at), at) for at in neighbours]
        return max(found, key=lambda span: span.length, default=Span(start, 0, 0))

    def matches(self, text: str) -> list[Span]:
        """The longest piece at every position of `text`."""
        return [self.longest_at(text, start) for start in range(len(text))]

    def spans(self, text: str, at_least: int = 1) -> list[Span]:
        """The copied pieces of `text`, longest first, without those that lie inside a longer one."""
        if at_least < 1:
            raise ConfigError(f"at_least must be at least 1, got {at_least}; try 20")
        found, reach = [], 0
        for span in self.matches(text):
            if span.length >= at_least and span.start + span.length > reach:
                found.append(span)
            reach = max(reach, span.start + span.length)
        return sorted(found, key=lambda span: (-span.length, span.start))

    def copied_share(self, text: str, at_least: int) -> float:
        """The share of `text` that lies in copied pieces of at least so many characters.

        >>> Source("once upon a time").copied_share("once upon my soul", at_least=9)
        0.5882352941176471
        """
        inside = np.zeros(len(text), dtype=bool)
        for span in self.spans(text, at_least):
            inside[span.start : span.start + span.length] = True
        return float(inside.mean()) if text else 0.0


def shared_with(texts: Sequence[str], source: str, at_least: int) -> float:
    """The share of the characters of `texts` that lie in pieces of at least so many characters which the source holds
    too; without sorting the source, for texts that are short.

    >>> shared_with(["once upon my soul"], "once upon a time", at_least=9)
    0.5882352941176471
    """
    inside = 0
    for text in texts:
        covered = np.zeros(len(text), dtype=bool)
        for start in range(len(text) - at_least + 1):
            if not covered[start : start + at_least].all() and text[start : start + at_least] in source:
                covered[start : start + at_least] = True
        inside += int(covered.sum())
    return inside / max(1, sum(map(len, texts)))


def _common(piece: str, text: str, at: int) -> int:
    """How many characters `piece` and the text from `at` on have in common, found by halving."""
    low, high = 0, min(len(piece), len(text) - at)
    while low < high:
        middle = (low + high + 1) // 2
        if piece[:middle] == text[at : at + middle]:
            low = middle
        else:
            high = middle - 1
    return low
