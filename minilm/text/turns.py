"""Recognises the way a text writes dialogue: its speakers, how a turn begins, where it ends.

It knows nothing of models.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from minilm.errors import RunError

NAME = r"[^\W_][\w'’.&() -]{0,29}"
EXCHANGES = 3  # fewer may be chance: a heading with a colon, an address
KEPT, MEETINGS = 100, 1000  # pairs of speakers in a run's folder, and how often each pair counts at most
MEND = "restore its config.json from a copy"
CHARACTERS = 5000  # for each exchange at most; a manual's rare "Note:" is no dialogue


@dataclass(frozen=True)
class Layout:
    """A turn is a name, a colon, the gap, the words, the end.

    >>> Layout(" ", "\\n").turn("Fox", "Good evening.")
    'Fox: Good evening.\\n'
    """

    gap: str
    end: str

    def turn(self, name: str, words: str) -> str:
        return f"{name}:{self.gap}{words}{self.end}"

    def stops(self, names: tuple[str, str]) -> tuple[str, ...]:
        """What ends a turn: its end, or the name of the next speaker on a new line."""
        return (self.end, *(f"\n{name}:" for name in names))


LAYOUTS = (Layout(" ", "\n"), Layout(" ", "\n\n"), Layout("\n", "\n\n"))  # fables, transcripts, plays


@dataclass(frozen=True)
class Dialogue:
    """The layout of a text's dialogue, and every exchange in it: (who speaks, who answers)."""

    layout: Layout = LAYOUTS[0]
    exchanges: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """What a run keeps of it: the layout, and how often each pair of speakers meets."""
        pairs = [[a, b, count] for (a, b), count in Counter(self.exchanges).most_common(KEPT)]
        return {"gap": self.layout.gap, "end": self.layout.end, "exchanges": pairs}

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> Dialogue:
        """
        >>> talk = Dialogue(exchanges=(("Fox", "Owl"), ("Owl", "Fox")))
        >>> Dialogue.from_dict(talk.to_dict()) == talk
        True
        """
        try:
            told = [(str(a), str(b), min(int(count), MEETINGS)) for a, b, count in kept["exchanges"][:KEPT]]
            layout = Layout(kept["gap"], kept["end"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise RunError(
                f"the dialogue of a run must be as training wrote it, got {kept!r:.80}; {MEND}"
            ) from error
        if layout not in LAYOUTS:
            raise RunError(f"turns must end and begin in a way that is known, got {layout!r:.80}; {MEND}")
        return cls(layout, tuple((a, b) for a, b, count in told for _ in range(count)))

    def __bool__(self) -> bool:
        return bool(self.exchanges)

    def speakers(self, me: str | None = None, it: str | None = None) -> tuple[str, str]:
        """The two speakers of which one most often answers the other, among those that are given or else among all.

        >>> talk = Dialogue(exchanges=(("Fox", "Owl"), ("Owl", "Fox"), ("Fox", "Owl"), ("Hen", "Fox")))
        >>> talk.speakers(), talk.speakers(me="Hen"), talk.speakers(it="Cat")
        (('Fox', 'Owl'), ('Hen', 'Fox'), ('Fox', 'Cat'))
        """
        fitting = (pair for pair in self.exchanges if me in (None, pair[0]) and it in (None, pair[1]))
        if most := Counter(fitting).most_common(1):
            return most[0][0]
        if me is None and it is None:
            return "You", "It"
        first, second = self.speakers()  # somebody is given who never appears so
        me = me or (first if first != it else second)
        return me, it or (second if second != me else first)


def find_dialogue(text: str) -> Dialogue:
    """The dialogue of a text, in the layout that has most of it; without exchanges where it has hardly any.

    >>> find_dialogue("Fox: A plum?\\nOwl: No.\\n" * 3).speakers()
    ('Fox', 'Owl')
    >>> bool(find_dialogue("Note: no dialogue here.\\nNot one: word."))
    False
    """
    found = max((Dialogue(layout, _exchanges(text, layout)) for layout in LAYOUTS), key=_size)
    return found if _size(found) >= max(EXCHANGES, len(text) / CHARACTERS) else Dialogue()


def _size(dialogue: Dialogue) -> int:
    return len(dialogue.exchanges)


def _exchanges(text: str, layout: Layout) -> tuple[tuple[str, str], ...]:
    """Turns that follow each other directly; cut at the ends first, since one pattern for all would backtrack."""
    head = re.compile(rf"({NAME}):{layout.gap}(?=\S)")
    heads = (head.match(part.lstrip("\n")) for part in text.split(layout.end))
    heads = (
        m if m and m[1].count("(") == m[1].count(")") else None for m in heads
    )  # `def f(x: int` is no name
    return tuple((a[1], b[1]) for a, b in pairwise(heads) if a and b and a[1] != b[1])
