"""What counting says about the next token at every position of a batch: log probabilities for a decoder to begin from.

The model is `ngram.py`'s interpolated modified Kneser-Ney, with two things that training needs. It is computed for
whole batches of windows and looks no further back than the window does, so that it sees what the decoder sees. And
on its own text it can leave a block out: a text that was counted predicts itself far too well, and a decoder that
trusted those predictions would be lost on any other text.

Leaving out one occurrence is not enough, since a text is bursty: a rare name comes ten times on one page, so the
other nine still give it away. Hence the text is cut into BLOCKS long blocks, and inside a block the counts are those
of the others: all k-grams whose last token lies in the block are not counted, as if it had never been seen.

U_k distinct k-grams; axes B, T, V as everywhere, N = B T. Knows nothing of decoders, files or characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilm.errors import CorpusError
from minilm.text.ngram import Grams, discounts_of, distinct_grams

BLOCKS = 8
COUNTED = 4_000_000  # tokens at most, the last ones: nine counts of each gram must fit into two gigabytes
DENSE = 2**24  # numbers at most in a table with a row of V for each context; larger levels are sparse


@dataclass(frozen=True)
class Counts:
    """How often the k-grams of a text occur, for one k. Row 0 counts the whole text, row b leaves block b out."""

    keys: np.ndarray  # (U_k,) rank of the first k - 1 tokens times V, plus the last token; ascending
    counts: np.ndarray  # (1 + blocks, U_k) occurrences
    follows: np.ndarray  # (1 + blocks, U_k) different tokens each follows; zeros at the highest order


def block_numbers(length: int, blocks: int) -> np.ndarray:
    """The block, from 1 on, of each of `length` tokens; 0 for the first ones of a text too long to be counted.

    >>> block_numbers(7, 2).tolist()
    [1, 1, 1, 1, 2, 2, 2]
    """
    counted = min(length, COUNTED)
    numbers = np.arange(counted) * blocks // max(1, counted) + 1
    return np.concatenate([np.zeros(length - counted, np.int64), numbers])


def count(tokens: np.ndarray, vocab_size: int, order: int, blocks: int = 0) -> list[Counts]:
    """The k-grams of `tokens` (N,), of a long text of the last COUNTED ones, for k from 1 to `order`.

    >>> [level.counts.tolist() for level in count(np.array([0, 1, 0, 1, 1]), vocab_size=2, order=2)]
    [[[2, 3]], [[2, 1, 1]]]
    """
    if len(tokens) == 0:
        raise CorpusError("the counting prior needs at least one token to count, got none")
    tokens = tokens[-COUNTED:].astype(np.int64)
    numbers = block_numbers(len(tokens), blocks)
    levels: list[Counts] = []
    for grams in distinct_grams(tokens, vocab_size, min(order, len(tokens))):  # longer ones do not occur
        counts = _counts(grams, numbers, blocks)
        if levels:
            shorter = levels[-1]
            found = [np.bincount(grams.suffixes[row > 0], minlength=len(shorter.keys)) for row in counts]
            levels[-1] = replace(shorter, follows=np.stack(found))
        levels.append(Counts(grams.keys, counts, np.zeros_like(counts)))
    return levels


def _counts(grams: Grams, numbers: np.ndarray, blocks: int) -> np.ndarray:
    """(1 + blocks, U_k) occurrences in the whole text, and without each of the blocks; `numbers` (N,)."""
    last = numbers[len(numbers) - len(grams.ranks) :]  # (N - k + 1,) the block in which each gram ends
    U = len(grams.keys)
    inside = [np.bincount(grams.ranks[last == b], minlength=U) for b in range(1, blocks + 1)]
    return grams.counts - np.stack([np.zeros(U, np.int64), *inside])


class Level(nn.Module):
    """The numbers of one order k: a table for each row of its Counts, one made from `follows`, one from `counts`.

    Plain counts serve where k is the highest order that the context reaches. All tables lie in a row, so that each
    position finds its own by adding an offset: table 2 b without block b, table 2 b + 1 the same from plain counts.
    """

    keys: Tensor  # (U_k,)
    starts: Tensor  # (U_k-1 + 1,) where the successors of each context begin among the keys
    kept: Tensor  # (tables x U_k,) a(hw) - D(a(hw)) with a, what the gram counts for
    totals: Tensor  # (tables x U_k-1,) sum over w of a(hw)
    freed: Tensor  # (tables x U_k-1,) sum over w of D(a(hw))
    rows: Tensor | None  # (tables x U_k-1, V) `kept`, and zeros where nothing occurred; only if that is small

    def __init__(self, level: Counts, n_contexts: int, vocab_size: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.vocab_size, self.n_contexts = vocab_size, n_contexts
        contexts = level.keys // vocab_size  # (U_k,)
        counts = np.stack([level.follows, level.counts], axis=1).reshape(-1, len(level.keys))  # (tables, U_k)
        freed = np.stack([discounts_of(row)[np.minimum(row, 3)] for row in counts])  # (tables, U_k)
        self._keep("keys", level.keys)
        self._keep("starts", np.searchsorted(contexts, np.arange(n_contexts + 1)))
        self._keep("kept", (counts - freed).ravel(), dtype)
        for name, numbers in (("totals", counts), ("freed", freed)):
            sums = [np.bincount(contexts, row, n_contexts) for row in numbers]
            self._keep(name, np.concatenate(sums), dtype)
        self._keep("rows", self._rows(level.keys, counts - freed), dtype)

    def _rows(self, keys: np.ndarray, kept: np.ndarray) -> np.ndarray | None:
        size = self.n_contexts * self.vocab_size
        if len(kept) * size > DENSE:
            return None
        rows = np.zeros((len(kept), size))
        rows[:, keys] = kept
        return rows.reshape(-1, self.vocab_size)

    def _keep(self, name: str, array: np.ndarray | None, dtype: torch.dtype = torch.int64) -> None:
        """As a buffer, which moves to a device with the module, and is never stored with the weights."""
        tensor = None if array is None else torch.from_numpy(array).to(dtype)
        self.register_buffer(name, tensor, persistent=False)

    def find(self, contexts: Tensor, tokens: Tensor) -> Tensor:
        """The rank of each gram (context, token) among this level's; -1 where it, or its context, is unknown."""
        wanted = contexts * self.vocab_size + tokens
        ranks = torch.searchsorted(self.keys, wanted).clamp_max(len(self.keys) - 1)
        return torch.where((self.keys.take(ranks) == wanted) & (contexts >= 0), ranks, -1)

    def place(self, contexts: Tensor, tables: Tensor) -> Tensor:
        """Where the numbers of each context stand, (N,); an unknown context gets those of the first."""
        return tables * self.n_contexts + contexts.clamp_min(0)

    def shares(self, contexts: Tensor, tables: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Of `weight` (N,) what one count is worth here, and what is left for the orders below, (N,) each."""
        places = self.place(contexts, tables)
        total = self.totals.take(places)
        usable = (contexts >= 0) & (total > 0)  # nothing came after a context that only a left-out block has
        worth = torch.where(usable, weight / total.clamp_min(1), 0)
        return worth, torch.where(usable, worth * self.freed.take(places), weight)

    def successors(self, contexts: Tensor, tables: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All grams that begin with each of the contexts (N,): (row, token, what of it is kept), (M,) each."""
        known = contexts.clamp_min(0)
        starts = self.starts.take(known)  # (N,)
        lengths = torch.where(contexts >= 0, self.starts.take(known + 1) - starts, 0)  # (N,)
        rows = torch.repeat_interleave(torch.arange(len(contexts), device=contexts.device), lengths)  # (M,)
        before = lengths.cumsum(0) - lengths  # (N,) how many successors the earlier rows have
        places = torch.arange(len(rows), device=rows.device) + (starts - before).take(rows)  # (M,)
        tokens = self.keys.take(places) - (contexts * self.vocab_size).take(rows)  # (M,)
        return rows, tokens, self.kept.take((tables * len(self.keys)).take(rows) + places)


class CountingPrior(nn.Module):
    """Log probabilities of the next token, counted in a text; nothing in it is trained.

    >>> prior = CountingPrior(count(np.array([0, 1] * 50), vocab_size=2, order=3), vocab_size=2)
    >>> prior(torch.tensor([[0, 1, 0]])).exp().round(decimals=2)
    tensor([[[0.0200, 0.9800],
             [0.9900, 0.0100],
             [0.0100, 0.9900]]])
    """

    def __init__(self, counts: list[Counts], vocab_size: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.vocab_size, self.order, self.dtype = vocab_size, len(counts), dtype
        whole = [(level.counts[:1].copy(), level.follows[:1].copy()) for level in counts]
        self.counts = [Counts(level.keys, *rows) for level, rows in zip(counts, whole, strict=True)]
        contexts = [1, *(len(level.keys) for level in counts)]
        self.levels = [Level(level, n, vocab_size, dtype) for level, n in zip(counts, contexts, strict=False)]
        for k, level in enumerate(self.levels, start=1):
            self.add_module(f"order_{k}", level)

    @torch.no_grad()
    def forward(self, ids: Tensor, blocks: Tensor | None = None, before: Tensor | None = None) -> Tensor:
        """(B, T, V) after each of the ids (B, T), of which `before` (B, S) are the ones that precede them.

        `blocks` (B, T) says which block of the text each next token belongs to and is left out of the counts;
        0 or nothing: none.
        """
        B, T = ids.shape
        window = (ids if before is None else torch.cat((before, ids), dim=1)).long()
        needed = T + self.order - 1
        window = window[:, -needed:]  # (B, S + T)
        reach = torch.arange(window.size(1) - T, window.size(1), device=ids.device) + 2  # (T,)
        top = reach.clamp_max(self.order).repeat(B)  # (N,) the highest order that the window reaches
        first = torch.zeros_like(top) if blocks is None else 2 * blocks.flatten().long()  # (N,) table
        contexts = [ranks[:, -T:].flatten() for ranks in self._ranks(window)]  # (N,) for each order
        return self._interpolated(contexts, top, first).log().view(B, T, self.vocab_size)

    def _ranks(self, window: Tensor) -> Iterator[Tensor]:
        """For every order the rank of the context that ends at each place, (B, S); -1 where it never occurred."""
        ranks = torch.zeros_like(window)  # of the empty context
        yield ranks
        for level in self.levels[:-1]:
            longer = level.find(ranks, window)
            yield longer
            ranks = F.pad(longer[:, :-1], (1, 0), value=-1)  # before the window nothing is known

    def _interpolated(self, contexts: list[Tensor], top: Tensor, first: Tensor) -> Tensor:
        """Every order's own part, times what the orders above it have left; (N,) -> (N, V)."""
        weight = torch.ones_like(top, dtype=self.dtype)  # (N,)
        result = weight.new_zeros(len(top), self.vocab_size)  # (N, V)
        spots, values = [], []
        for k in range(self.order, 0, -1):
            level, ranks, tables = self.levels[k - 1], contexts[k - 1], first + (top == k)
            worth, weight = level.shares(ranks, tables, weight)
            if level.rows is not None:
                result.addcmul_(level.rows.index_select(0, level.place(ranks, tables)), worth[:, None])
            else:
                rows, tokens, kept = level.successors(ranks, tables)
                spots.append(rows * self.vocab_size + tokens)
                values.append(kept * worth.take(rows))
        result += (weight / self.vocab_size)[:, None]  # below the first order all tokens are alike
        if spots:
            result.view(-1).index_add_(0, torch.cat(spots), torch.cat(values))
        return result
