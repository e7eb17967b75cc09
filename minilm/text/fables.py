"""Writes the corpus `fables`: short tales of promises, whose exact information is known, hence a floor for every
model.

    python -m minilm.text.fables > data/fables.txt     # writes the checked-in file again, byte for byte

The tales are told by the grammar in fables_rules.py and fables_words.py. The floor of a split is the
information of its tales divided by their characters: on average no model can do better, and the gap to it is
the distance to perfection. Nothing else is unknown to a perfect reader, not even where a tale ends. This
file knows the seed and the sums; how a tale is told, and why its information is exact, stands in grammar.py
and ambiguity.py.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from minilm.text import ambiguity
from minilm.text.fables_rules import RULES
from minilm.text.fables_words import pools
from minilm.text.grammar import Dice, Document, Grammar

FABLES_SEED = 1668  # the year of La Fontaine's first fables
FABLES_CHARACTERS = 1_000_000  # the last tale is told to its end, so the text is a little longer
FABLES_SHA256 = "a0369f7b6ccf8d58fffca5d90edf16444354663ae43d6dbe83c572027dd0cc36"
FABLES_BOUNDS = (901427, 953305)  # characters: the first tales that begin at or after 90 and 95 % of them
FABLES_FLOORS = {
    "train": 0.24750049359102752,
    "val": 0.24780322746999725,
    "test": 0.24388647529258115,
}  # nats per character
FABLES_FILE = Path(__file__).parents[2] / "data" / "fables.txt"
END = "\n\n"  # what every tale ends with, and no tale contains earlier


@dataclass(frozen=True)
class FablesText:
    """The corpus as text; `bounds` are the first characters of val and of test, `floors` in nats per
    character."""

    text: str
    bounds: tuple[int, int]
    floors: dict[str, float]


def grammar() -> Grammar:
    return Grammar(RULES, pools())


def generate(seed: int, characters: int) -> list[Document]:
    """Tales, independent of each other, until they have `characters` characters or a few more.

    >>> tale = generate(seed=1, characters=1)[0]
    >>> print(tale.text.splitlines()[0], round(tale.information))
    The Humble Walrus and the Clay Goblet 485
    """
    teller, dice, told, length = grammar(), Dice(Random(seed)), [], 0
    while length < characters:
        told.append(teller.tell(dice))
        length += len(told[-1].text)
    return told


def information(text: str) -> float:
    """Nats of any number of whole tales, found from the text alone; slow, about 20 tales a second.

    >>> tale = generate(seed=1, characters=1)[0]
    >>> math.isclose(information(tale.text), tale.information)
    True
    """
    teller = grammar()
    return math.fsum(ambiguity.information(teller, tale + END) for tale in text.split(END)[:-1])


def floors(documents: Sequence[Document], bounds: tuple[int, int]) -> dict[str, float]:
    """Nats per character of each split: its information over its characters."""
    ends = {"train": (0, bounds[0]), "val": bounds, "test": (bounds[1], sum(len(d.text) for d in documents))}
    found, start = dict.fromkeys(ends, 0.0), 0
    for document in documents:
        name = next(name for name, (low, high) in ends.items() if low <= start < high)
        found[name] += document.information
        start += len(document.text)
    return {name: found[name] / (high - low) for name, (low, high) in ends.items()}


def load() -> FablesText:
    """The checked-in file; where it is absent or altered (an installed package, changed line ends), the same
    text again."""
    data = FABLES_FILE.read_bytes() if FABLES_FILE.is_file() else b""
    if hashlib.sha256(data).hexdigest() != FABLES_SHA256:
        data = shipped_text().encode("ascii")
    return FablesText(data.decode("ascii"), FABLES_BOUNDS, dict(FABLES_FLOORS))


def shipped_text() -> str:
    return "".join(document.text for document in generate(FABLES_SEED, FABLES_CHARACTERS))


if __name__ == "__main__":
    sys.stdout.buffer.write(shipped_text().encode("ascii"))  # bytes: no platform may change the line ends
