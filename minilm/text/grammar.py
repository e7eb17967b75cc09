"""Tells texts by a probabilistic grammar that always knows how much information it has told.

A grammar is a set of named lists. A *rule* lists templates, a *pool* lists words with their forms. To tell a
text is to expand the rule `story`: plain characters are written, `{slots}` are filled. Each draw from a list
adds -ln p to the text's information, and that sum is the whole truth where no text has two derivations
(ambiguity.py proves it).

    {animal}          draw a word from the pool (or a template from the rule) `animal`
    {animal.many:x}   write its form `many`, and remember the word as `x`
    {x} {x.many}      what is remembered, again: certain, so it carries no information
    {a x} {X}         with the fitting article; with a capital letter (`{A x}` has both)
    {ending@fate}     draw from the list `ending@kept` if the decision `fate` is `kept`
    [fate=kept]       remember a decision; only at the very end of a template

A list is dealt like a pack of cards: nothing comes twice in one text before the pack is used up.
This file knows nothing of foxes, files or readers.
"""

from __future__ import annotations

import itertools
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol, cast

Word = Mapping[str, str]  # form -> text; a slot that names no form writes the form ""
START = "story"
SLOT = re.compile(r"\{(?:([aA]) )?(\w+)(?:@(\w+))?(?:\.(\w+))?(?::(\w+))?\}")
DECISION = re.compile(r"\[(\w+)=(\w+)\]")
ZIPF_SCALE = 10**9  # weights are whole numbers, so that a draw is exact on every machine
ZIPF_SHIFT = 30  # Mandelbrot's shift: without it the first word of a list would drown the others


@dataclass(frozen=True)
class Slot:
    """One `{...}` of a template, taken apart."""

    spec: str  # as written: after the same past, the same spec is filled by the same code
    article: bool
    capital: bool
    source: str  # a list to draw from, or the name of something remembered
    switch: str | None  # the decision that completes the list's name
    form: str
    name: str | None  # remember it under this name


@dataclass(frozen=True)
class Decision:
    name: str
    value: str


Template = tuple[str | Slot | Decision, ...]


@dataclass(frozen=True)
class Deck:
    """A list with its weights. The order is the frequency: the r-th option weighs 1 / (r + 30), Zipf's
    law."""

    name: str
    options: tuple[Template | Word, ...]
    weights: tuple[int, ...]
    starts: tuple[int, ...]  # the sum of the weights before each option
    total: int

    @classmethod
    def of(cls, name: str, options: Sequence[Template | Word]) -> Deck:
        weights = tuple(ZIPF_SCALE // (rank + ZIPF_SHIFT) for rank in range(len(options)))
        sums = [0, *itertools.accumulate(weights)]
        return cls(name, tuple(options), weights, tuple(sums[:-1]), sums[-1])

    @property
    def is_rule(self) -> bool:
        return isinstance(self.options[0], tuple)


@dataclass(frozen=True)
class Document:
    """A text and its information in nats: minus the logarithm of its probability."""

    text: str
    information: float


class Chooser(Protocol):
    """Decides at each draw. `look(i)` is what option i is known to begin with, before any further
    draw."""

    def pick(self, deck: Deck, used: set[int], position: int, look: Callable[[int], str]) -> int: ...


class Dice:
    """Draws with the deck's probabilities; needs nothing but `random()`, the method no Python version
    changes."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def pick(self, deck: Deck, used: set[int], position: int, look: Callable[[int], str]) -> int:
        left = deck.total - sum(deck.weights[i] for i in used)
        point = int(self.random.random() * left)
        for i in sorted(used):  # step over the cards that are gone
            if point < deck.starts[i]:
                break
            point += deck.weights[i]
        return bisect_right(deck.starts, point) - 1


class Grammar:
    """The lists, ready to tell.

    >>> toy = Grammar({"story": ["{A animal:hero} sang. Sing, {hero}!"]}, {"animal": words("owl fox")})
    >>> toy.tell(Dice(Random(1)))
    Document(text='A fox sang. Sing, fox!', information=0.7096764855603362)
    """

    def __init__(self, rules: Mapping[str, Sequence[str]], pools: Mapping[str, Sequence[Word]]) -> None:
        assert not set(rules) & set(pools), "a name is a rule or a pool"
        self.decks = {name: Deck.of(name, [parse(t) for t in rules[name]]) for name in rules}
        self.decks |= {name: Deck.of(name, pool) for name, pool in pools.items()}

    def cut(self, sizes: Mapping[str, int]) -> Grammar:
        """The same grammar with only the first options of each list: one, or as many as `sizes` says."""
        small = Grammar({}, {})
        for name, deck in self.decks.items():
            small.decks[name] = Deck.of(name, deck.options[: sizes.get(name, 1)])
        return small

    def tell(self, chooser: Chooser) -> Document:
        return _Telling(self, chooser).document()

    def sources(self, slot: Slot) -> list[Deck]:
        """The lists that a slot may draw from; none where it repeats what is remembered."""
        if slot.switch is None:
            return [self.decks[slot.source]] if slot.source in self.decks else []
        return [deck for name, deck in self.decks.items() if name.startswith(slot.source + "@")]


class _Telling:
    """One text on its way: what is written, remembered, dealt, and how much information that took."""

    def __init__(self, grammar: Grammar, chooser: Chooser) -> None:
        self.decks, self.chooser = grammar.decks, chooser
        self.parts: list[str] = []
        self.position = 0
        self.memory: dict[str, Word] = {}
        self.used: dict[str, set[int]] = {}
        self.information = 0.0

    def document(self) -> Document:
        self.expand(cast(Template, self.draw(START, lambda option: self.opening(cast(Template, option)))))
        return Document("".join(self.parts), self.information)

    def write(self, text: str) -> None:
        self.parts.append(text)
        self.position += len(text)

    def draw(self, name: str, look: Callable[[Template | Word], str]) -> Template | Word:
        deck, used = self.decks[name], self.used.setdefault(name, set())
        if len(used) == len(deck.options):
            used.clear()
        index = self.chooser.pick(deck, used, self.position, lambda i: look(deck.options[i]))
        left = deck.total - sum(deck.weights[i] for i in used)
        self.information -= math.log(deck.weights[index] / left)
        used.add(index)
        return deck.options[index]

    def expand(self, template: Template) -> None:
        for number, piece in enumerate(template):
            if isinstance(piece, str):
                self.write(piece)
            elif isinstance(piece, Decision):
                self.memory[piece.name] = {"": piece.value}
            else:
                follower = template[number + 1] if number + 1 < len(template) else ""
                self.fill(piece, follower if isinstance(follower, str) else "")

    def fill(self, slot: Slot, follower: str) -> None:
        name = slot.source if slot.switch is None else f"{slot.source}@{self.memory[slot.switch]['']}"
        if name not in self.decks:
            self.write(shown(slot, self.memory[name]))
        elif self.decks[name].is_rule:
            self.tell_rule(slot, name)
        else:
            word = cast(Word, self.draw(name, lambda option: shown(slot, cast(Word, option)) + follower))
            self.write(shown(slot, word))
            if slot.name:
                self.memory[slot.name] = word

    def tell_rule(self, slot: Slot, name: str) -> None:
        before = len(self.parts)
        self.expand(cast(Template, self.draw(name, lambda option: self.opening(cast(Template, option)))))
        if slot.name:
            self.memory[slot.name] = {"": "".join(self.parts[before:])}

    def opening(self, template: Template) -> str:
        """What a template writes before its first draw."""
        known = ""
        for piece in template:
            if isinstance(piece, Slot) and (piece.source not in self.memory or piece.source in self.decks):
                break
            known += piece if isinstance(piece, str) else ""
            known += shown(piece, self.memory[piece.source]) if isinstance(piece, Slot) else ""
        return known


def parse(template: str) -> Template:
    """Takes a template apart.

    >>> [getattr(piece, "source", piece) for piece in parse("{A animal:x} sang.")]
    ['animal', ' sang.']
    """
    pieces: list[str | Slot | Decision] = []
    for text in re.split(r"(\{[^}]*\}|\[[^]]*\])", template):
        if text.startswith("{"):
            match = SLOT.fullmatch(text)
            assert match, f"not a slot: {text}"
            article, source, switch, form, name = match.groups()
            capital = article == "A" or source[0].isupper()
            source = source[0].lower() + source[1:]
            pieces.append(Slot(text, bool(article), capital, source, switch, form or "", name))
        elif text.startswith("["):
            decision = DECISION.fullmatch(text)
            assert decision, f"not a decision: {text}"
            pieces.append(Decision(*decision.groups()))
        elif text:
            pieces.append(text)
    return tuple(pieces)


def shown(slot: Slot, word: Word) -> str:
    """A word as a slot writes it: the form, the article, the capital letter."""
    text = word[slot.form]
    if slot.article:
        text = f"{article(text)} {text}"
    return text[0].upper() + text[1:] if slot.capital else text


def article(word: str) -> str:
    """The indefinite article, by sound rather than by letter.

    >>> [article(word) for word in ("owl", "unicorn", "hour", "onion", "one-eyed owl")]
    ['an', 'a', 'an', 'an', 'a']
    """
    if re.match(r"(?i)eu|one\b|once\b|uni|use|ute|ukulele", word):
        return "a"
    return "an" if re.match(r"(?i)[aeiou]|hour|honest|honour|heir", word) else "a"


def words(text: str, *forms: str) -> list[Word]:
    """A pool from a block of text, one word after the other; with `forms`, word|form|form.

    >>> words("fox|foxes wild_goose|wild_geese", "many")[1]["many"]
    'wild geese'
    """
    pool: list[Word] = []
    for entry in text.split():
        first, *others = entry.replace("_", " ").split("|")
        assert len(others) == len(forms), f"{entry} needs the forms {forms}"
        pool.append({"": first, **dict(zip(forms, others, strict=True))})
    return pool
