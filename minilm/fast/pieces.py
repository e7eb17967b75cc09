"""Learns and applies byte-pair merges on whole arrays, with the results of `text/bpe.py`, which says what they mean.

All distinct words stand in one array. Learning counts pairs once and then changes only the counts around the
places where it merges (Sennrich et al. 2016, section 3.2, mention the idea); applying merges all words a step
at a time. Knows numbers and bytes, nothing of texts, files or models.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

END = -1  # stands before the first word and after each; no pair has it
SHIFT = 32  # a pair (x, y) of symbols is one number, x * 2**32 + y
LOW = (1 << SHIFT) - 1
LONG = 1_000  # pieces in a word
NEVER = np.iinfo(np.int32).max  # the rank of a pair that does not merge


class _Pairs:
    """How often each pair occurs, and which comes first; of equals the larger, compared as (bytes, bytes)."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.orders = [_descending(piece) for piece in pieces]
        self.counts: dict[int, int] = {}
        self.heap: list[tuple] = []

    def change(self, keys: np.ndarray, weights: np.ndarray) -> None:
        """Adds `weights` (K,) to the counts of the pairs `keys` (K,)."""
        different, where = np.unique(keys, return_inverse=True)
        sums = np.bincount(where, weights, len(different)).astype(np.int64)  # exact below 2**53
        for key, change in zip(different.tolist(), sums.tolist(), strict=True):
            if change:
                self.counts[key] = count = self.counts.get(key, 0) + change
                if change > 0:  # a smaller count is put right when its entry comes up
                    self._push(key, count)

    def _push(self, key: int, count: int) -> None:
        heapq.heappush(self.heap, (-count, self.orders[key >> SHIFT], self.orders[key & LOW], key))

    def most_frequent(self) -> int | None:
        """The pair to merge next, or None where none occurs twice."""
        while self.heap:
            entry = heapq.heappop(self.heap)
            count = self.counts[entry[-1]]
            if count == -entry[0]:
                return entry[-1] if count > 1 else None
            if count:
                self._push(entry[-1], count)
        return None


def learn(words: Sequence[list[bytes]], counts: Sequence[int], count: int) -> list[tuple[bytes, bytes]]:
    """The merges that make `count` new pieces, in the order of learning, of words already cut into base pieces.

    `counts` (W,) says how often each of the `words` occurs.
    """
    pieces = list(dict.fromkeys(itertools.chain.from_iterable(words)))
    number, base = {piece: symbol for symbol, piece in enumerate(pieces)}, len(pieces)
    symbols, lengths = _in_a_row(words, number)
    ids = np.concatenate([[END], np.insert(symbols, np.cumsum(lengths), END)]).astype(np.int32)  # (L,)
    weight = np.concatenate([[0], np.repeat(counts, lengths + 1)])  # (L,)
    left, right = np.arange(-1, len(ids) - 1), np.arange(1, len(ids) + 1)
    pairs, merges = _Pairs(pieces), []

    def around(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pairs that begin at `places`, and how often each occurs in the text."""
        first, second = ids[places].astype(np.int64), ids[right[places]]
        real = (first != END) & (second != END)
        return (first[real] << SHIFT) + second[real], weight[places[real]]

    pairs.change(*around(np.arange(len(ids) - 1)))
    while len(pieces) < base + count and (key := pairs.most_frequent()) is not None:
        x, y = key >> SHIFT, key & LOW
        merges.append((pieces[x], pieces[y]))
        piece = pieces[x] + pieces[y]
        if piece not in number:  # else another pair has made it before
            number[piece] = len(pieces)
            pieces.append(piece)
            pairs.orders.append(_descending(piece))
        places = np.flatnonzero(ids == x)
        places = places[ids[right[places]] == y]
        if x == y:  # of three in a row the first two merge
            places = _every_other(places, right[places[:-1]] == places[1:])
        seconds, before = right[places], left[places]
        before = before[np.concatenate([[True], before[1:] != seconds[:-1]])]  # each place once
        lost, less = around(np.concatenate([before, places, seconds]))
        ids[places], ids[seconds] = number[piece], END  # nothing points to the second any more
        right[places] = right[seconds]
        left[right[places]] = places
        gained, more = around(np.concatenate([before, places]))
        pairs.change(np.concatenate([lost, gained]), np.concatenate([-less, more]))
    return merges


def _in_a_row(words: Sequence[list[bytes]], number: Mapping[bytes, int]) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of all pieces of all words, (N,), and how many each word has, (W,)."""
    every = itertools.chain.from_iterable(words)
    return np.fromiter(map(number.__getitem__, every), np.int32), np.fromiter(map(len, words), np.int64)


def _every_other(places: np.ndarray, follows: np.ndarray) -> np.ndarray:
    """Of `places` (P,), in each chain the first, third, ...; `follows` (P - 1,) says whether the next goes on."""
    spots = np.arange(len(places))
    begins = np.concatenate([[True], ~follows])[: len(places)]
    return places[(spots - np.maximum.accumulate(np.where(begins, spots, 0))) % 2 == 0]


def _descending(piece: bytes) -> tuple[int, ...]:
    """Sorts before the key of every smaller piece; the end counts as larger than any byte."""
    return (*(-byte for byte in piece), 1)


class Merges:
    """The merges of a vocabulary as sorted arrays, ready for many words at once."""

    def __init__(self, numbers: Mapping[bytes, int], merges: Sequence[tuple[bytes, bytes]]) -> None:
        """`numbers` are the ids of pieces."""
        self.numbers = numbers
        self.merges = [(numbers[a], numbers[b], numbers[a + b]) for a, b in merges]
        pairs = np.array(self.merges, np.int64).reshape(-1, 3)
        keys = (pairs[:, 0] << SHIFT) + pairs[:, 1]
        self.ranks = np.argsort(keys).astype(np.int32)
        self.keys, self.results = keys[self.ranks], pairs[:, 2].astype(np.int32)
        last = np.full(len(numbers), -1)  # the last merge that makes a piece; a later one may use it
        last[pairs[:, 2]] = np.arange(len(pairs))
        self.in_order = bool((last[pairs[:, :2]].max(1) < np.arange(len(pairs))).all())

    def apply(self, words: Sequence[list[bytes]]) -> list[list[int]]:
        """The ids of each word, cut into base pieces, after all merges."""
        if self.in_order and any(len(word) > LONG for word in words):
            return self.by_merge(words)
        return self.by_step(words)

    def by_merge(self, words: Sequence[list[bytes]]) -> list[list[int]]:
        """One merge after the other, everywhere; right where none makes what an earlier one would have used."""
        symbols, lengths = _in_a_row(words, self.numbers)
        ids = np.insert(symbols, np.cumsum(lengths), END)
        for x, y, z in self.merges:
            places = np.flatnonzero(ids == x)  # an END follows, so that there is a next one
            places = places[ids[places + 1] == y]
            if len(places):
                if x == y:
                    places = _every_other(places, places[:-1] + 1 == places[1:])
                ids[places] = z
                ids = np.delete(ids, places + 1)
        ends, every = np.flatnonzero(ids == END).tolist(), ids.tolist()
        return [every[start:end] for start, end in zip([0, *(end + 1 for end in ends)], ends, strict=False)]

    def by_step(self, words: Sequence[list[bytes]]) -> list[list[int]]:
        """In each step every word does the first merge that it can; a long word would need many."""
        ids, lengths = _in_a_row(words, self.numbers)
        word = np.repeat(np.arange(len(lengths)), lengths)
        rank = self._ranks(ids, word, np.arange(len(ids)))
        done_ids, done_words = [ids[:0]], [word[:0]]
        while len(ids):
            first = np.flatnonzero(np.concatenate([[True], word[1:] != word[:-1]]))
            sizes = np.diff(first, append=len(ids))
            best = np.repeat(np.minimum.reduceat(rank, first), sizes)  # the lowest rank in one's own word
            going = best != NEVER
            done_ids.append(ids[~going])
            done_words.append(word[~going])
            ids, word, rank, best = ids[going], word[going], rank[going], best[going]
            places = np.flatnonzero(rank == best)
            places = _every_other(places, places[:-1] + 1 == places[1:])
            ids[places] = self.results[rank[places]]
            keep = np.ones(len(ids), bool)
            keep[places + 1] = False
            places = (np.cumsum(keep) - 1)[places]
            ids, word, rank = ids[keep], word[keep], rank[keep]
            before = places[places > 0] - 1
            rank[places] = self._ranks(ids, word, places)
            rank[before] = self._ranks(ids, word, before)
        word = np.concatenate(done_words)
        merged = np.concatenate(done_ids)[np.argsort(word, kind="stable")].tolist()
        ends = np.cumsum(np.bincount(word, minlength=len(words))).tolist()
        return [merged[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def _ranks(self, ids: np.ndarray, word: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The rank of the pair that begins at each of `places`; NEVER at the end of a word."""
        if not len(self.keys):
            return np.full(len(places), NEVER, np.int32)
        after = np.minimum(places + 1, len(ids) - 1)
        keys = (ids[places].astype(np.int64) << SHIFT) + ids[after]
        spots = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        fits = (self.keys[spots] == keys) & (word[places] == word[after]) & (places < len(ids) - 1)
        return np.where(fits, self.ranks[spots], NEVER).astype(np.int32)
