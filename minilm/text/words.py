"""Cuts a text into words as GPT-2 does, spaces with the word that follows; byte-pair encoding merges only inside them.

Radford et al. (2019), section 2.2: else pieces such as "dog.", "dog!" and "dog?" would fill the vocabulary. Knows
nothing of pieces.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache


def cut(text: str, special_tokens: Sequence[str] = (), characters: str | None = None) -> list[str]:
    """The words between which no merge may reach, special tokens whole; joined they are the text.

    `characters` are the text's, and maybe others: many short texts with the same ones are cut more quickly.

    >>> cut("I'll take 2 pears  now<end>", ["<end>"])
    ['I', "'ll", ' take', ' 2', ' pears', ' ', ' now', '<end>']
    """
    words = _pattern("".join(sorted(set(text))) if characters is None else characters)
    parts = enumerate(split_special(text, special_tokens))
    return [word for k, part in parts for word in ([part] if k % 2 else words.findall(part))]


def split_special(text: str, special_tokens: Sequence[str]) -> list[str]:
    """Ordinary text and special tokens in turns, ordinary first; where one token begins another the longer wins.

    >>> split_special("a<end>b<end>", ["<end>"])
    ['a', '<end>', 'b', '<end>', '']
    """
    if not special_tokens:
        return [text]
    return re.split(f"({'|'.join(map(re.escape, sorted(special_tokens, key=len, reverse=True)))})", text)


@lru_cache(maxsize=64)
def _pattern(characters: str) -> re.Pattern[str]:
    """GPT-2's, for texts of these characters: the stdlib lacks \\p{L}, \\p{N} and Unicode's \\s, so it lists them."""
    letters = [c for c in characters if unicodedata.category(c).startswith("L")]
    numbers = [c for c in characters if unicodedata.category(c).startswith("N")]
    spaces = [c for c in characters if c.isspace() and not "\x1c" <= c <= "\x1f"]  # those four only to Python
    letter, number, space = (
        f"[{re.escape(''.join(c))}]" if c else "(?!)" for c in (letters, numbers, spaces)
    )
    other, black = (
        f"[^{re.escape(''.join(c))}]" if c else "(?s:.)" for c in (letters + numbers + spaces, spaces)
    )
    return re.compile(
        f"'(?:s|t|re|ve|m|ll|d)| ?{letter}+| ?{number}+| ?{other}+|{space}+(?!{black})|{space}+"
    )
