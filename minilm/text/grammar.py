"""A probabilistic grammar of texts that always knows how much information it has told.

A grammar is a set of named lists. A *rule* lists templates, a *pool* lists words with their forms. To tell a text
is to expand the rule `story`: plain characters are written, `{slots}` are filled. Each draw from a list adds
-ln p to the text's information, and that sum is the whole truth, because no text has two derivations:
`Grammar.faults` proves it from the lists alone, `derivations` finds it out for a given text by trying everything.

    {animal}          draw a word from the pool (or a template from the rule) `animal`
    {animal.many:x}   write its form `many`, and remember the word as `x`
    {x} {x.many}      what is remembered, again: certain, so it carries no information
    {a x} {X}         with the fitting article; with a capital letter (`{A x}` has both)
    {ending@fate}     draw from the list `ending@kept` if the decision `fate` is `kept`
    [fate=kept]       remember a decision; only at the very end of a template

A list is dealt like a pack of cards: nothing comes twice in one text before the pack is used up.
This file knows nothing of foxes, of files, or of who reads the text.
"""

from __future__ import annotations

import itertools
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol, cast

from minilm.errors import CorpusError

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
    """A list with its weights. The order is the frequency: the r-th option weighs 1 / (r + 30), Zipf's law."""

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
    """Who decides at each draw. `look(i)` is what option i is known to begin with, before any further draw."""

    def pick(self, deck: Deck, used: set[int], position: int, look: Callable[[int], str]) -> int: ...


class Dice:
    """Draws with the deck's probabilities; needs nothing but `random()`, the method no Python version changes."""

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
    >>> toy.tell(Dice(Random(1))).text
    'An owl sang. Sing, owl!'
    >>> round(toy.information("A fox sang. Sing, fox!"), 3), toy.faults()
    (0.754, [])
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

    def information(self, text: str) -> float:
        """Nats of one told text, found from the text alone; `CorpusError` where no derivation tells it."""
        for document in derivations(self, text):
            return document.information
        raise CorpusError(f"the grammar cannot tell this text: {text[:60]!r}; give one whole told text")

    def faults(self) -> list[str]:
        """Why texts might be ambiguous; empty is a proof that they are not.

        By induction each list is an instantaneous code: reading from the left, the text itself says which option
        was drawn. For words: none is another plus a non-letter, and a non-letter follows. For templates: where
        two of them first differ, both have plain characters.
        """
        checks = (_repeated, _misplaced, _open_ends, _clashes)
        return [fault for deck in self.decks.values() for check in checks for fault in check(self, deck)]

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
    pool = []
    for entry in text.split():
        first, *others = entry.replace("_", " ").split("|")
        assert len(others) == len(forms), f"{entry} needs the forms {forms}"
        pool.append({"": first, **dict(zip(forms, others, strict=True))})
    return pool


class _DeadEnd(Exception):
    """No option of a list fits the text."""


class _Explorer:
    """Follows a script of choices, then always takes the first that fits, leaving the others for later."""

    def __init__(self, script: list[int], waiting: list[list[int]], text: str | None) -> None:
        self.script, self.waiting, self.text = script, waiting, text
        self.depth = 0

    def pick(self, deck: Deck, used: set[int], position: int, look: Callable[[int], str]) -> int:
        if self.depth == len(self.script):
            self.script.append(self.explore(deck, used, position, look))
        self.depth += 1
        return self.script[self.depth - 1]

    def explore(self, deck: Deck, used: set[int], position: int, look: Callable[[int], str]) -> int:
        free = [i for i in range(len(deck.options)) if i not in used]
        fitting = [i for i in free if self.text is None or self.text.startswith(look(i), position)]
        if not fitting:
            raise _DeadEnd
        self.waiting += [[*self.script, i] for i in fitting[1:]]
        return fitting[0]


def derivations(grammar: Grammar, text: str | None = None) -> Iterator[Document]:
    """Every derivation of `text`, by trying all choices; of everything the grammar can tell where it is None."""
    waiting: list[list[int]] = [[]]
    while waiting:
        explorer = _Explorer(waiting.pop(), waiting, text)
        try:
            document = grammar.tell(explorer)
        except _DeadEnd:
            continue
        if text is None or document.text == text:
            yield document


def _slots(template: Template) -> list[Slot]:
    return [piece for piece in template if isinstance(piece, Slot)]


def _repeated(grammar: Grammar, deck: Deck) -> list[str]:
    options = [str(option) for option in deck.options]
    return [f"{deck.name} lists {o} twice" for o in sorted({o for o in options if options.count(o) > 1})]


def _misplaced(grammar: Grammar, deck: Deck) -> list[str]:
    """Decisions before the end of a template, and articles on whole rules, would escape the other checks."""
    faults = []
    for template in deck.options if deck.is_rule else ():
        template = cast(Template, template)
        body = list(itertools.dropwhile(lambda piece: isinstance(piece, Decision), reversed(template)))
        faults += [f"{deck.name}: {piece} is not at the end" for piece in body if isinstance(piece, Decision)]
        faults += [
            f"{deck.name}: {slot.spec} dresses up a rule"
            for slot in _slots(template)
            if (slot.article or slot.capital or slot.form) and any(d.is_rule for d in grammar.sources(slot))
        ]
    return faults


def _is_open(grammar: Grammar, slot: Slot) -> bool:
    """Whether what fills the slot may end with a word, so that only the next character closes it."""
    return any(
        not deck.is_rule or any(t and isinstance(t[-1], Slot) and _is_open(grammar, t[-1]) for t in _bodies(deck))
        for deck in grammar.sources(slot)
    )


def _bodies(deck: Deck) -> list[Template]:
    """The templates without their decisions, which write nothing."""
    templates = cast("tuple[Template, ...]", deck.options)
    return [tuple(piece for piece in t if not isinstance(piece, Decision)) for t in templates]


def _open_ends(grammar: Grammar, deck: Deck) -> list[str]:
    """Words that the text does not close: a letter follows, or one word is another plus a non-letter."""
    faults = []
    for template in _bodies(deck) if deck.is_rule else ():
        for slot, follower in itertools.zip_longest(template, template[1:], fillvalue=" "):
            if not isinstance(slot, Slot) or not _is_open(grammar, slot):
                continue
            if isinstance(follower, Slot) or follower[0].isalpha():
                faults.append(f"{deck.name}: {slot.spec} needs a non-letter after it")
            for pool in grammar.sources(slot):
                faults += [] if pool.is_rule else _prefixes(slot, pool)
    if deck.name == START and any(t and isinstance(t[-1], Slot) and _is_open(grammar, t[-1]) for t in _bodies(deck)):
        faults.append(f"{START} must end with plain characters")
    return faults


def _prefixes(slot: Slot, pool: Deck) -> list[str]:
    texts = sorted(shown(slot, cast(Word, word)) for word in pool.options)
    known = set(texts)
    faults = [f"{slot.spec}: {text!r} stands for two words" for text, next in itertools.pairwise(texts) if text == next]
    for text in texts:
        starts = {text[:i] for i in range(1, len(text)) if not text[i].isalpha()}
        faults += [f"{slot.spec}: {start!r} begins {text!r}" for start in sorted(starts & known)]
    return faults


def _symbols(template: Template) -> list[str]:
    """A template as characters and whole slots."""
    return [s for piece in template for s in ([piece.spec] if isinstance(piece, Slot) else cast(str, piece))]


def _clashes(grammar: Grammar, deck: Deck) -> list[str]:
    """Pairs of templates that do not part at plain characters."""
    faults = []
    for one, two in itertools.combinations(map(_symbols, _bodies(deck)) if deck.is_rule else (), 2):
        parting = next(((a, b) for a, b in zip(one, two, strict=False) if a != b), ("", ""))
        if not all(len(symbol) == 1 for symbol in parting):
            faults.append(f"{deck.name}: {''.join(one)!r} and {''.join(two)!r} part at {parting}")
    return faults
