"""Predicts characters by counting: interpolated modified Kneser-Ney, the baseline that every neural model must beat.

After Chen & Goodman, "An empirical study of smoothing techniques for language modeling", Computer Speech and
Language 13 (1999), the section on modified Kneser-Ney. With c(hw) the count of token w after context h and h' the
context without its first token,

    p(w | h) = (c(hw) - D(c(hw))) / c(h.) + backoff(h) p(w | h'),   backoff(h) = sum over w of D(c(hw)) / c(h.)

A k-gram is known by its rank among the distinct k-grams of the text, so that a longer one is a pair (rank of its
first k - 1 tokens, last token) and fits an integer however large the vocabulary. Everything is whole arrays: U_k
distinct k-grams, V tokens in the vocabulary. Knows nothing of characters, files or torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from minilm.errors import ConfigError, CorpusError, note
from minilm.text.characters import CharTokenizer

if TYPE_CHECKING:
    from minilm.text.corpora import Corpus

ORDERS = range(2, 10)
COUNTED = 10_000_000  # tokens at most, the last ones: keeps nine orders within a minute and two gigabytes
SCORED_ON = 500_000  # characters of a larger split: counting is not to need more memory than its text
CHOSEN_ON = 1_000_000  # validation tokens at most, for the choice of the order alone
PIECE = 1_000_000  # tokens scored at a time
TABLE = 2**25  # the largest range of keys that is ranked by a table of that size rather than by sorting


@dataclass(frozen=True)
class Grams:
    """The distinct k-grams of a text, in the order of their keys."""

    keys: np.ndarray  # (U_k,) rank of the first k - 1 tokens times V, plus the last token; ascending
    counts: np.ndarray  # (U_k,) how often each occurs
    suffixes: np.ndarray  # (U_k,) rank of its last k - 1 tokens
    ranks: np.ndarray  # (N - k + 1,) of the k-gram at each place of the text


@dataclass(frozen=True)
class _Level:
    """The smoothed distribution that k-grams give."""

    keys: np.ndarray  # (U_k,) as in Grams
    probabilities: np.ndarray  # (U_k,) of the last token after the first k - 1, already interpolated
    backoffs: (
        np.ndarray
    )  # (U_k-1,) the weight of the level below after each context; 1 where nothing followed


class KneserNey:
    """An n-gram model of `order` tokens over a vocabulary of `vocab_size`.

    >>> model = KneserNey(order=3, vocab_size=2).fit(np.array([0, 1] * 50))
    >>> model.probabilities([0, 1]).round(2)
    array([0.99, 0.01])
    >>> round(model.loss(np.array([0, 1] * 5)), 1)
    0.1
    """

    def __init__(self, order: int, vocab_size: int) -> None:
        if order < 1 or vocab_size < 1:
            raise ConfigError(
                f"order and vocab_size must be at least 1, got {order} and {vocab_size}; raise them"
            )
        self.order, self.vocab_size = order, vocab_size
        self._levels: list[_Level] = []

    def fit(self, tokens: np.ndarray) -> KneserNey:
        """Counts `tokens` (N,), of a long text the last COUNTED ones. Returns itself."""
        self._levels = dict(_fit(tokens, self.vocab_size, [self.order]))[self.order]
        return self

    def loss(self, tokens: np.ndarray, before: np.ndarray | None = None) -> float:
        """Mean negative log probability of `tokens` (T,) in nats; `before` holds what precedes them, if anything."""
        if len(tokens) == 0:
            raise CorpusError(
                "a split must hold at least one token to have a loss, got none; use a longer text"
            )
        return -float(np.log(self.chances(tokens, before)).mean())

    def chances(self, tokens: np.ndarray, before: np.ndarray | None = None) -> np.ndarray:
        """The probability of each of `tokens` after those before it, (T,)."""
        reach = self.order - 1
        start = np.asarray([] if before is None else before[max(0, len(before) - reach) :], np.int64)
        found = np.empty(len(tokens))
        for at in range(0, len(tokens), PIECE):
            piece = np.concatenate([start, tokens[at : at + PIECE]]).astype(np.int64)
            found[at : at + PIECE] = _score(self._levels, self.vocab_size, piece)[len(start) :]
            start = piece[max(0, len(piece) - reach) :]
        return found

    def probabilities(self, context: Iterable[int]) -> np.ndarray:
        """The distribution (V,) of the token that follows `context`, of which the last order - 1 tokens count."""
        tokens = list(context)[-(self.order - 1) :] if self.order > 1 else []
        result = self._levels[0].probabilities.copy()
        for k, level in enumerate(self._levels[1 : len(tokens) + 1], start=1):
            rank = self._rank(tokens[-k:])
            if rank < 0:
                break
            seen = slice(*np.searchsorted(level.keys, [rank * self.vocab_size, (rank + 1) * self.vocab_size]))
            result *= level.backoffs[rank]
            result[level.keys[seen] - rank * self.vocab_size] = level.probabilities[seen]
        return result

    def _rank(self, gram: list[int]) -> int:
        rank = gram[0]
        for level, token in zip(self._levels[1:], gram[1:], strict=False):
            rank = int(find(level.keys, np.array([rank * self.vocab_size + token]))[0])
            if rank < 0:
                break
        return rank


def best_order(train: np.ndarray, val: np.ndarray, orders: Iterable[int] = ORDERS) -> int:
    """The order whose model of `train` has the lowest loss on `val`, or on its first CHOSEN_ON tokens."""
    vocab_size = int(max(train.max(), val.max())) + 1
    return _best(_models(train, vocab_size, orders), train, val).order


@dataclass(frozen=True)
class Counted:
    """What counting a training split says of the splits after it."""

    order: int  # chosen on val
    counted: int  # tokens of train
    val: np.ndarray  # (T,) the probability of each token after those before it
    test: np.ndarray  # (T,), none where the split is empty


def countable(corpus: Corpus) -> Corpus:
    """The corpus, or of a large one a part, which a line then says."""
    part = corpus.first_part(SCORED_ON)
    if part is not corpus:
        note(
            f"counting, alone and with the model, is scored on the first {SCORED_ON:,} characters of each split, and "
            "counts three times as many"
        )
    return part


def count(corpus: Corpus) -> Counted:
    """Counts the corpus's own tokens."""
    return _count(corpus.train[-COUNTED:], corpus.val, corpus.test, corpus.tokenizer.vocab_size)


def counting_baseline(corpus: Corpus, counted: Counted | None = None) -> dict[str, Any]:
    """The baseline's losses in nats per character, whatever the tokens are: {"order", "val", "test", "counted"}.

    The order is chosen on val and the model counts `counted` characters of train only; "test" is None where the
    split is empty. What `count` has found saves counting again where the tokens are characters.
    """
    if counted is None or not isinstance(corpus.tokenizer, CharTokenizer):
        (train, val, test), vocab_size = corpus.in_characters(COUNTED)
        counted = _count(train, val, test, vocab_size)
    losses = {
        split: -float(np.log(chances).mean()) if len(chances) else None
        for split, chances in (("val", counted.val), ("test", counted.test))
    }
    return {"order": counted.order, **losses, "counted": counted.counted}


def _count(train: np.ndarray, val: np.ndarray, test: np.ndarray, vocab_size: int) -> Counted:
    model = _best(_models(train, vocab_size, ORDERS), train, val)
    chances = (model.chances(val, before=train), model.chances(test, before=val))
    return Counted(model.order, len(train), *chances)


def _models(tokens: np.ndarray, vocab_size: int, orders: Iterable[int]) -> Iterator[KneserNey]:
    for order, levels in _fit(tokens, vocab_size, list(orders)):
        model = KneserNey(order, vocab_size)
        model._levels = levels
        yield model


def _best(models: Iterable[KneserNey], train: np.ndarray, val: np.ndarray) -> KneserNey:
    return min(models, key=lambda model: model.loss(val[:CHOSEN_ON], before=train))


def _fit(tokens: np.ndarray, vocab_size: int, orders: list[int]) -> Iterator[tuple[int, list[_Level]]]:
    """The orders, each with the levels of its model, one after the other to save memory. Models share all but their top
    one: only there do plain counts count, below it a k-gram counts by how many different tokens it follows."""
    if len(tokens) == 0:
        raise CorpusError(
            "the counting baseline needs at least one token to count, got none; use a longer text"
        )
    below = np.array([1 / vocab_size])
    lower: list[_Level] = []
    grams = distinct_grams(tokens[-COUNTED:].astype(np.int64), vocab_size, max(orders))
    for k, (gram, longer) in enumerate(pairwise(chain(grams, [None])), start=1):
        assert gram is not None
        if k in orders:
            yield k, [*lower, _smooth(gram, gram.counts, vocab_size, below)]
        if longer is not None:
            followed = np.bincount(longer.suffixes, minlength=len(gram.keys))
            lower.append(_smooth(gram, followed, vocab_size, below))
            below = lower[-1].probabilities


def distinct_grams(tokens: np.ndarray, vocab_size: int, order: int) -> Iterator[Grams]:
    """The distinct 1-grams (all V, seen or not), 2-grams, ... up to `order`."""
    counts = np.bincount(tokens, minlength=vocab_size)
    yield Grams(np.arange(vocab_size), counts, np.zeros(vocab_size, np.int64), tokens)
    ranks, distinct = tokens, vocab_size  # ranks[i]: of the k-gram that starts at i
    for k in range(2, order + 1):
        keys, longer = _distinct(ranks[:-1] * vocab_size + tokens[k - 1 :], distinct * vocab_size)
        suffixes = np.empty(len(keys), np.int64)
        suffixes[longer] = ranks[1:]
        yield Grams(keys, np.bincount(longer, minlength=len(keys)), suffixes, longer)
        ranks, distinct = longer, len(keys)


def _distinct(keys: np.ndarray, span: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values of `keys` (all below `span`) in ascending order, and the rank of each key among them."""
    if span > TABLE:
        return np.unique(keys, return_inverse=True)
    seen = np.zeros(span, bool)
    seen[keys] = True
    distinct = np.flatnonzero(seen)
    table = np.empty(span, np.int32)  # only the seen places are ever written or read
    table[distinct] = np.arange(len(distinct))
    return distinct, table[keys].astype(np.int64)


def _smooth(grams: Grams, counts: np.ndarray, vocab_size: int, below: np.ndarray) -> _Level:
    """Discounts `counts` (U_k,) and gives what that frees to the level below, `below` (U_k-1,)."""
    contexts = grams.keys // vocab_size  # (U_k,)
    discounts = discounts_of(counts)[np.minimum(counts, 3)]  # (U_k,)
    totals = np.bincount(contexts, counts, len(below))  # (U_k-1,)
    freed = np.bincount(contexts, discounts, len(below))
    followed = totals > 0  # a context at the very end of the text has no successor
    backoffs = np.where(followed, freed / np.where(followed, totals, 1), 1)
    own = (counts - discounts) / np.where(followed, totals, 1)[contexts]
    return _Level(grams.keys, own + backoffs[contexts] * below[grams.suffixes], backoffs)


def discounts_of(counts: np.ndarray) -> np.ndarray:
    """(0, D(1), D(2), D(3 or more)) from n_j, how many k-grams were counted j times.

    D(j) = j - (j + 1) Y n_j+1 / n_j with Y = n_1 / (n_1 + 2 n_2). Where a text is too small or too regular for
    this estimate, half the count, as KenLM falls back to.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6)
    result = np.array([0, 0.5, 1.0, 1.5])
    if n[1:4].all():
        ratio = n[1] / (n[1] + 2 * n[2])
        j = np.arange(1, 4)
        estimate = j - (j + 1) * ratio * n[j + 1] / n[j]
        if (estimate > 0).all():  # and at most j by its form, so that no count becomes negative
            result[1:] = estimate
    return result


def _score(levels: list[_Level], vocab_size: int, tokens: np.ndarray) -> np.ndarray:
    """(T,) the probability of each token after those before it."""
    result, ranks = levels[0].probabilities[tokens], tokens
    for level in levels[1:]:
        contexts = np.concatenate([[-1], ranks[:-1]])  # -1: unknown, or before the beginning
        ranks = find(level.keys, contexts * vocab_size + tokens)
        known, found = contexts >= 0, ranks >= 0
        result[known] *= level.backoffs[contexts[known]]
        result[found] = level.probabilities[ranks[found]]
    return result


def find(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The rank of each wanted key among the ascending `keys`, -1 where it is not there."""
    ranks = np.searchsorted(keys, wanted)
    inside = ranks < len(keys)
    inside[inside] = keys[ranks[inside]] == wanted[inside]
    return np.where(inside, ranks, -1)
