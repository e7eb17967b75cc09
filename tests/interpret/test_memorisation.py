"""Copies against brute force, and a megabyte that must be bearable."""

from __future__ import annotations

import random

import pytest

from minilm.errors import ConfigError
from minilm.interpret.memorisation import Source, Span, suffix_array

GENERATOR = random.Random(0)
TEXTS = [
    "",
    "a",
    "aaaaaaaa",
    "abcabcabc",
    "mississippi",
    "zyx",
    "\u4f60\u597d\u4f60\u597d",
    "\U0001f40d a \x00\x01 a",
]
TEXTS += ["".join(GENERATOR.choices("ab", k=n)) for n in (5, 50, 333)]
TEXTS += ["".join(GENERATOR.choices("abcd e", k=200))]


@pytest.mark.parametrize("text", TEXTS)
def test_endings_are_sorted(text):
    assert suffix_array(text).tolist() == sorted(range(len(text)), key=lambda at: text[at:])


def longest(text: str, start: int, source: str) -> int:
    return max(n for n in range(len(text) - start + 1) if text[start : start + n] in source)


@pytest.mark.parametrize(("source", "text"), [(a, b) for a in TEXTS for b in TEXTS if len(a + b) < 500])
def test_matches_equal_brute_force(source, text):
    for start, span in enumerate(Source(source).matches(text)):
        assert span.start == start and span.length == longest(text, start, source)
        assert source[span.where : span.where + span.length] == text[start : start + span.length]


def test_spans_are_the_pieces_that_no_other_contains():
    source, text = "the cat sat on the mat", "on the cat, the mat sat on"
    lengths = [longest(text, start, source) for start in range(len(text))]
    pieces = {(start, start + n) for start, n in enumerate(lengths) if n}
    whole = {
        (a, b) for a, b in pieces if not any((c <= a and b <= d) and (a, b) != (c, d) for c, d in pieces)
    }
    spans = Source(source).spans(text)
    assert {(span.start, span.start + span.length) for span in spans} == whole
    assert [span.length for span in spans] == sorted((b - a for a, b in whole), reverse=True)
    assert all(span.length >= 4 for span in Source(source).spans(text, at_least=4))


def test_the_share_counts_characters_once():
    source = Source("abcdef")
    assert source.copied_share("abcdxcdef", at_least=4) == pytest.approx(8 / 9)
    assert source.copied_share("abcdxcdef", at_least=5) == 0.0
    assert source.copied_share("", at_least=1) == 0.0
    assert Source("").spans("abc") == [] and Source("abc").spans("") == []
    with pytest.raises(ConfigError, match="got 0"):
        source.spans("abc", at_least=0)


def test_a_megabyte_with_long_repeats():
    """A planted copy is found again; half of the source is a repetition of the other half."""
    half = "".join(GENERATOR.choices("abcdefgh \n", k=500_000))
    source = Source(half + half)
    text = "xyz" + half[1234:2234] + "xyz"
    assert source.spans(text, at_least=20) == [Span(3, 1000, source.spans(text, 20)[0].where)]
    assert source.spans(text, 20)[0].where in (1234, 501_234)
