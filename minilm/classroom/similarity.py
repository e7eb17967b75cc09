"""Finds submissions that share more code than chance would have it, by winnowing.

The method is that of MOSS (Schleimer, Wilkerson and Aiken, "Winnowing: local algorithms for document
fingerprinting", SIGMOD 2003) with the sizes of Dolos (https://dolos.ugent.be): names, numbers and texts are made
alike, all K tokens in a row are hashed, and of every WINDOW hashes the lowest is a fingerprint. Fingerprints of what
was handed out do not count. A high share is a reason to look, never a proof: short functions have few ways to be right.
This file knows texts only.
"""

from __future__ import annotations

import hashlib
import io
import keyword
import tokenize
from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

K, WINDOW = 23, 17  # tokens in a fingerprint, hashes in a window: Dolos's defaults
LEAST = 10  # fingerprints below which a file says nothing
COMMON = 0.5  # of the class: what more than this share has is the task's doing
SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENCODING, tokenize.ENDMARKER}


class Pair(NamedTuple):
    """Two submissions, the share of their fingerprints that both have, and how many these are."""

    first: str
    second: str
    share: float
    fingerprints: int


def fingerprints(source: str) -> set[int]:
    """The winnowed hashes of a text; of one that is no Python, as far as it can be read.

    >>> a = fingerprints("def f(x):\\n    return x + 1\\n" * 9)
    >>> a == fingerprints("def longer(name):  # a remark\\n    return name + 2\\n" * 9) != set()
    True
    """
    tokens = _tokens(source)
    hashes = [
        int.from_bytes(hashlib.blake2b(" ".join(tokens[n : n + K]).encode(), digest_size=8).digest(), "big")
        for n in range(len(tokens) - K + 1)
    ]
    if len(hashes) <= WINDOW:
        return {min(hashes)} if hashes else set()
    return {min(hashes[n : n + WINDOW]) for n in range(len(hashes) - WINDOW + 1)}


def _tokens(source: str) -> list[str]:
    """Keywords and signs as they are, every name N, every number or text V; no comments and docstrings."""
    found, fresh = [], True  # fresh: at the beginning of a statement, where a text is a docstring
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
                fresh = True
            if token.type in SKIPPED or (token.type == tokenize.STRING and fresh):
                continue
            fresh = token.type in (tokenize.INDENT, tokenize.DEDENT)
            if token.type == tokenize.NAME:
                found.append(token.string if keyword.iskeyword(token.string) else "N")
            else:
                found.append(
                    "V" if token.type in (tokenize.NUMBER, tokenize.STRING) else token.string.strip() or ";"
                )
    except (tokenize.TokenError, SyntaxError):
        pass
    return found


def similar(sources: Mapping[str, str], given: str = "", least: float = 0.0) -> list[Pair]:
    """All pairs whose share (Dice: 2 common / both) is at least `least`, the highest first."""
    known = fingerprints(given)
    prints = {name: fingerprints(source) - known for name, source in sources.items()}
    counts: dict[int, int] = {}
    for one in prints.values():
        for value in one:
            counts[value] = counts.get(value, 0) + 1
    if len(prints) > 3:  # with fewer, half of the class is a pair
        common = {value for value, count in counts.items() if count > COMMON * len(prints)}
        prints = {name: one - common for name, one in prints.items()}
    pairs = []
    for first, second in combinations(sorted(name for name, one in prints.items() if len(one) >= LEAST), 2):
        both = len(prints[first] & prints[second])
        share = 2 * both / (len(prints[first]) + len(prints[second]))
        if both and share >= least:
            pairs.append(Pair(first, second, share, both))
    return sorted(pairs, key=lambda pair: (-pair.share, pair.first, pair.second))
