"""Proves that a grammar is unambiguous: every text has one derivation, so its information is what was drawn.

Two witnesses that know nothing of each other. `faults` reads the lists only and never tells a text;
`derivations` reads a text and tries every choice that could have told it. This file draws nothing at random.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import cast

from minilm.errors import CorpusError
from minilm.text.grammar import START, Decision, Deck, Document, Grammar, Slot, Template, Word, shown


def information(grammar: Grammar, text: str) -> float:
    """Nats of one told text, found from the text alone; `CorpusError` where no derivation tells it.

    >>> from minilm.text.grammar import words
    >>> toy = Grammar({"story": ["{A animal:x} sang. Sing, {x}!"]}, {"animal": words("owl fox")})
    >>> round(information(toy, "A fox sang. Sing, fox!"), 2), faults(toy)
    (0.71, [])
    """
    for document in derivations(grammar, text):
        return document.information
    raise CorpusError(f"the grammar cannot tell this text: {text[:60]!r}; give one whole told text")


def faults(grammar: Grammar) -> list[str]:
    """Why texts might be ambiguous; an empty list is a proof that they are not.

    By induction every list is an instantaneous code: reading from the left, the text itself says which
    option was drawn. For words: none is another plus a non-letter, and a non-letter follows. For templates:
    where two of them first differ, both have plain characters.
    """
    checks = (_repeated, _misplaced, _open_ends, _clashes)
    found = [fault for deck in grammar.decks.values() for check in checks for fault in check(grammar, deck)]
    return list(dict.fromkeys(found))


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
    """Every derivation of `text`, by trying all choices; of everything the grammar can tell where it is
    None."""
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
    """What would escape the other checks: early decisions, articles on whole rules, memories named like
    lists."""
    faults = []
    for template in deck.options if deck.is_rule else ():
        template = cast(Template, template)
        body = list(itertools.dropwhile(lambda piece: isinstance(piece, Decision), reversed(template)))
        faults += [f"{deck.name}: {piece} is not at the end" for piece in body if isinstance(piece, Decision)]
        faults += [f"{deck.name}: {s.name} is a list" for s in _slots(template) if s.name in grammar.decks]
        faults += [
            f"{deck.name}: {slot.spec} dresses up a rule"
            for slot in _slots(template)
            if (slot.article or slot.capital or slot.form) and any(d.is_rule for d in grammar.sources(slot))
        ]
    return faults


def _is_open(grammar: Grammar, slot: Slot, above: tuple[str, ...] = ()) -> bool:
    """Whether what fills the slot may end with a word, so that only the next character closes it.

    `above` names the rules already being asked, where a rule ends with itself.
    """
    for deck in grammar.sources(slot):
        if not deck.is_rule or (deck.name not in above and _ends_open(grammar, deck, (*above, deck.name))):
            return True
    return False


def _ends_open(grammar: Grammar, rule: Deck, above: tuple[str, ...] = ()) -> bool:
    ends = [template[-1] for template in _bodies(rule) if template]
    return any(_is_open(grammar, end, above) for end in ends if isinstance(end, Slot))


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
            if isinstance(follower, Slot) or cast(str, follower)[0].isalpha():
                faults.append(f"{deck.name}: {slot.spec} needs a non-letter after it")
            for pool in grammar.sources(slot):
                faults += [] if pool.is_rule else _prefixes(slot, pool)
    if deck.name == START and _ends_open(grammar, deck):
        faults.append(f"{START} must end with plain characters")
    return faults


def _prefixes(slot: Slot, pool: Deck) -> list[str]:
    texts = sorted(shown(slot, cast(Word, word)) for word in pool.options)
    known = set(texts)
    faults = [
        f"{slot.spec}: {text!r} stands for two words"
        for text, after in itertools.pairwise(texts)
        if text == after
    ]
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
