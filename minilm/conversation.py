"""Keeps a conversation of two speakers: it holds what was said and tells when a turn is over.

A speaker is a function from a prompt to the pieces of its continuation; how it writes them is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from minilm.errors import ConfigError, UnknownCharacterError
from minilm.text.turns import Layout
from minilm.writing import Tokenizer, until_stop


class Conversation:
    """Remembers the last `memory` characters that were said, and lets `speak` answer as the second of `names`.

    >>> talk = Conversation(lambda prompt: iter([" No", ".\\nFox", ": Oh!"]), Layout(" ", "\\n"), ("Fox", "Owl"), 99)
    >>> list(talk.answer("A plum?"))
    ['No', '.']
    >>> talk.said
    '\\nFox: A plum?\\nOwl: No.\\n'
    """

    def __init__(
        self, speak: Callable[[str], Iterator[str]], layout: Layout, names: tuple[str, str], memory: int
    ) -> None:
        self.speak, self.layout, self.names, self.memory = speak, layout, names, memory
        self.said = layout.end  # as if a turn had gone before: models have hardly seen a text begin

    def answer(self, line: str) -> Iterator[str]:
        """The turn that answers `line` in pieces, remembered after the last; an empty line is no turn."""
        me, it = self.names
        if line:
            self.said += self.layout.turn(me, line)
        words = ""
        pieces = without_margin(self.speak(f"{self.said}{it}:"))
        for piece in until_stop(pieces, self.layout.stops(self.names)):
            words += piece
            yield piece
        self.said = (self.said + self.layout.turn(it, words.strip()))[-self.memory :]


def without_margin(pieces: Iterator[str]) -> Iterator[str]:
    """The pieces from the first that shows something: a turn is not over before it has begun.

    >>> list(without_margin(iter(["\\n", " ", " a", " ", "b"])))
    ['a', ' ', 'b']
    """
    for piece in pieces:
        if piece.strip():
            yield from chain([piece.lstrip()], pieces)


def unknown_characters(tokenizer: Tokenizer, text: str) -> list[str]:
    """Each character of the text that the tokenizer has never seen, once."""
    return [character for character in dict.fromkeys(text) if not _knows(tokenizer, character)]


def _knows(tokenizer: Tokenizer, character: str) -> bool:
    try:
        tokenizer.encode(character)
    except UnknownCharacterError:
        return False
    return True


def known_part(tokenizer: Any, text: str) -> tuple[str, str]:
    """The text as the model can read it, other characters in the place of unknown ones; and a sentence about those."""
    unknown = unknown_characters(tokenizer, text)
    if not unknown:
        return text, ""
    shown = " ".join(map(repr, unknown[:10])) + (
        f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
    )
    known = tokenizer.decode(tokenizer.encode(text, errors="replace"))
    return known, f"the model has never seen {shown} and reads something else instead"


def check_name(tokenizer: Tokenizer, flag: str, name: str) -> None:
    """A speaker's name stands before a colon on one line and can be read by the model; else a ConfigError."""
    if not name.strip() or ":" in name or not name.isprintable():
        raise ConfigError(f"{flag} must be a name on one line without a colon, got {name!r}; try {flag} Fox")
    if unknown := unknown_characters(tokenizer, name):
        raise ConfigError(
            f"{flag} must be made of characters that the model has seen, got {name!r} with "
            f"{' '.join(map(repr, unknown))}; choose another name"
        )
