"""What counting says about the next token at every position of a batch: log probabilities for a decoder to begin from.

The model is `ngram.py`'s interpolated modified Kneser-Ney, with two things that training needs. It is computed for
whole batches of windows and looks no further back than the window does, so that it sees what the decoder sees. And
on its own text it can leave one occurrence out: a text that was counted predicts itself far too well, and a decoder
that trusted those predictions would be lost on any other text.

Leaving out one occurrence of a token w after its context means p(. | context) as if every k-gram that ends there had
been counted once less. At the highest order that is the count; below, where a k-gram counts by how many different
tokens it follows, one fewer where the (k+1)-gram occurred nowhere else. The discounts D(j) stay those of the whole
text: one occurrence in a million does not move them.

U_k distinct k-grams; axes B, T, V as everywhere, N = B T. Knows nothing of decoders, files or characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilm.errors import CorpusError
from minilm.text.ngram import COUNTED, discounts_of, distinct_grams

DENSE = 2**20  # numbers at most in a table with a row of V for every context; larger levels keep only what occurred


@dataclass(frozen=True)
class Counts:
    """How often the k-grams of a text occur, for one k."""

    keys: np.ndarray  # (U_k,) rank of the first k - 1 tokens times V, plus the last token; ascending
    counts: np.ndarray  # (U_k,) occurrences
    follows: np.ndarray  # (U_k,) how many different tokens each follows; zeros at the highest order


def count(tokens: np.ndarray, vocab_size: int, order: int) -> list[Counts]:
    """The k-grams of `tokens` (N,), of a long text of the last COUNTED ones, for k from 1 to `order`.

    >>> [level.counts.tolist() for level in count(np.array([0, 1, 0, 1, 1]), vocab_size=2, order=2)]
    [[2, 3], [2, 1, 1]]
    """
    if len(tokens) == 0:
        raise CorpusError("the counting prior needs at least one token to count, got none")
    tokens = tokens[-COUNTED:].astype(np.int64)
    grams = distinct_grams(tokens, vocab_size, min(order, len(tokens)))  # longer ones do not occur
    levels = []
    for gram, longer in pairwise(chain(grams, [None])):
        assert gram is not None
        follows = [] if longer is None else longer.suffixes
        levels.append(Counts(gram.keys, gram.counts, np.bincount(follows, minlength=len(gram.keys))))
    return levels


class Level(nn.Module):
    """The numbers of one order k, in two kinds: made from `follows` (0) and from plain counts (1).

    Plain counts serve where k is the highest order that the context reaches. Both kinds lie in one table, kind 1
    after kind 0, so that each position finds its own by adding an offset.
    """

    keys: Tensor  # (U_k,)
    starts: Tensor  # (U_k-1 + 1,) where the successors of each context begin among the keys
    plain: Tensor  # (U_k,) occurrences
    counts: Tensor  # (2 U_k,) a(hw): what each gram counts for
    kept: Tensor  # (2 U_k,) a(hw) - D(a(hw))
    discounts: Tensor  # (2 x 4,) D(0) to D(3 or more)
    totals: Tensor  # (2 U_k-1,) sum over w of a(hw)
    freed: Tensor  # (2 U_k-1,) sum over w of D(a(hw))
    dense: Tensor | None  # (2 U_k-1, V) `kept`, and zeros where nothing occurred; only where that is a small table

    def __init__(self, level: Counts, n_contexts: int, vocab_size: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.vocab_size, self.n_contexts, self.dtype = vocab_size, n_contexts, dtype
        counts = np.stack([level.follows, level.counts])  # (2, U_k)
        discounts = np.stack([discounts_of(row) for row in counts])  # (2, 4)
        freed = np.take_along_axis(discounts, np.minimum(counts, 3), axis=1)  # (2, U_k)
        contexts = level.keys // vocab_size  # (U_k,)
        self._keep("keys", level.keys)
        self._keep("starts", np.searchsorted(contexts, np.arange(n_contexts + 1)))
        self._keep("plain", level.counts)
        self._keep("discounts", discounts)
        for name, rows in (("counts", counts), ("kept", counts - freed)):
            self._keep(name, rows.astype(np.float64))
        for name, rows in (("totals", counts), ("freed", freed)):
            self._keep(name, np.stack([np.bincount(contexts, row, n_contexts) for row in rows]))
        self._keep("dense", self._rows(level.keys, counts - freed))

    def _rows(self, keys: np.ndarray, kept: np.ndarray) -> np.ndarray | None:
        if self.n_contexts * self.vocab_size > DENSE:
            return None
        rows = np.zeros((2, self.n_contexts * self.vocab_size))
        rows[:, keys] = kept
        return rows

    def _keep(self, name: str, array: np.ndarray | None) -> None:
        """As a buffer, which moves to a device with the module, and is never stored with the weights."""
        tensor = None if array is None else torch.from_numpy(array.ravel())
        if tensor is not None and tensor.is_floating_point():
            tensor = tensor.to(self.dtype)
        if name == "dense" and tensor is not None:
            tensor = tensor.view(-1, self.vocab_size)
        self.register_buffer(name, tensor, persistent=False)

    def find(self, contexts: Tensor, tokens: Tensor) -> Tensor:
        """The rank of each gram (context, token) among this level's; -1 where it, or its context, is unknown."""
        wanted = contexts * self.vocab_size + tokens
        ranks = torch.searchsorted(self.keys, wanted).clamp_max(len(self.keys) - 1)
        return torch.where((self.keys[ranks] == wanted) & (contexts >= 0), ranks, -1)

    def sums(self, contexts: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
        """(sum of a(hw), sum of D(a(hw))) over all w, (N,) each."""
        places = kinds * self.n_contexts + contexts.clamp_min(0)
        return self.totals[places], self.freed[places]

    def less(self, grams: Tensor, kinds: Tensor, removed: Tensor) -> tuple[Tensor, Tensor]:
        """(by how much a(hw) falls, how a(hw) - D(a(hw)) changes) where a gram is removed once, (N,) each."""
        counts = self.counts[kinds * len(self.keys) + grams.clamp_min(0)]
        less = removed.to(counts.dtype)
        return less, self._discount(kinds, counts) - self._discount(kinds, counts - less) - less

    def _discount(self, kinds: Tensor, counts: Tensor) -> Tensor:
        return self.discounts[4 * kinds + counts.clamp(0, 3).long()]

    def successors(self, contexts: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All grams that begin with each of the contexts (N,): (row, token, what of it is kept), (M,) each."""
        known = contexts.clamp_min(0)
        starts = self.starts[known]  # (N,)
        lengths = torch.where(contexts >= 0, self.starts[known + 1] - starts, 0)  # (N,)
        rows = torch.repeat_interleave(torch.arange(len(contexts), device=contexts.device), lengths)  # (M,)
        before = lengths.cumsum(0) - lengths  # (N,) how many successors the earlier rows have
        places = torch.arange(len(rows), device=rows.device) + (starts - before)[rows]  # (M,)
        tokens = self.keys[places] - (contexts * self.vocab_size)[rows]  # (M,)
        return rows, tokens, self.kept[(kinds * len(self.keys))[rows] + places]


class Parts:
    """A sum of rows over the vocabulary, (N, V), of which most are almost empty."""

    def __init__(self, vocab_size: int, rest: Tensor) -> None:
        self.vocab_size, self.table = vocab_size, rest[:, None].new_zeros(len(rest), vocab_size)
        self.spots: list[Tensor] = []  # (M,) places in the flat table
        self.values: list[Tensor] = []  # (M,) what is to be added there

    def add(self, level: Level, contexts: Tensor, kinds: Tensor, scale: Tensor) -> None:
        """What a level has kept for each context, times `scale` (N,)."""
        if level.dense is not None:
            rows = level.dense[kinds * level.n_contexts + contexts.clamp_min(0)]  # (N, V)
            self.table.addcmul_(rows, scale[:, None])
            return
        at, tokens, kept = level.successors(contexts, kinds)
        self.spots.append(at * self.vocab_size + tokens)
        self.values.append(kept * scale[at])

    def change(self, tokens: Tensor, values: Tensor) -> None:
        """One token of each row, (N,) each; a token below 0 is none."""
        rows = torch.arange(len(tokens), device=tokens.device) * self.vocab_size
        self.spots.append(rows + tokens.clamp_min(0))
        self.values.append(values)

    def sum(self, everywhere: Tensor) -> Tensor:
        """All of it, and `everywhere` (N,) in all of a row; (N, V)."""
        self.table += everywhere[:, None]
        if self.spots:
            self.table.view(-1).index_add_(0, torch.cat(self.spots), torch.cat(self.values))
        return self.table


class CountingPrior(nn.Module):
    """Log probabilities of the next token, counted in a text; nothing in it is trained.

    >>> prior = CountingPrior.of(np.array([0, 1] * 50), vocab_size=2, order=3)
    >>> ids, targets = torch.tensor([[0, 1, 0]]), torch.tensor([[1, 0, 1]])
    >>> tuple(prior(ids).shape)
    (1, 3, 2)
    >>> bool((prior(ids, targets) < prior(ids)).any())  # each target left out of the counts
    True
    """

    def __init__(self, counts: list[Counts], vocab_size: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.vocab_size, self.order, self.counts, self.dtype = vocab_size, len(counts), counts, dtype
        contexts = [1, *(len(level.keys) for level in counts)]
        self.levels = nn.ModuleList(
            Level(level, n, vocab_size, dtype) for level, n in zip(counts, contexts, strict=False)
        )

    @property
    def _levels(self) -> list[Level]:
        return list(self.levels)  # type: ignore[arg-type]  # a ModuleList forgets what it holds

    @classmethod
    def of(cls, tokens: np.ndarray, vocab_size: int, order: int) -> CountingPrior:
        """Counts `tokens` (N,)."""
        return cls(count(tokens, vocab_size, order), vocab_size)

    def forward(self, ids: Tensor, targets: Tensor | None = None, before: Tensor | None = None) -> Tensor:
        """(B, T, V) after each of the ids (B, T), of which `before` (B, S) are the ones that precede them.

        With `targets` (B, T) one occurrence of each after its context is left out of the counts, if there is one.
        """
        B, T = ids.shape
        window = (ids if before is None else torch.cat((before, ids), dim=1)).long()
        window = window[:, max(0, window.size(1) - T - self.order + 1) :]  # (B, S + T), no S is larger than needed
        contexts = [ranks[:, -T:].flatten() for ranks in self._ranks(window)]  # (N,) for each order
        reach = torch.arange(window.size(1) - T, window.size(1), device=ids.device) + 2  # (T,)
        top = reach.clamp_max(self.order).repeat(B)  # (N,) the highest order that the window reaches
        left_out = None if targets is None else targets.flatten().long()  # (N,)
        return self._interpolated(contexts, top, left_out).log().view(B, T, self.vocab_size)

    def _ranks(self, window: Tensor) -> Iterator[Tensor]:
        """For every order the rank of the context that ends at each place (B, S); -1 where it never occurred."""
        ranks = torch.zeros_like(window)  # of the empty context
        yield ranks
        for level in self._levels[:-1]:
            longer = level.find(ranks, window)
            yield longer
            ranks = F.pad(longer[:, :-1], (1, 0), value=-1)  # before the window nothing is known

    def _interpolated(self, contexts: list[Tensor], top: Tensor, left_out: Tensor | None) -> Tensor:
        """Every order's own part times what the orders above it have left, (N,) -> (N, V)."""
        weight = torch.ones_like(top, dtype=self.dtype)  # (N,)
        parts = Parts(self.vocab_size, weight)
        removed = torch.zeros_like(top, dtype=torch.bool)  # whether the gram of this order is left out, (N,)
        for k, (level, ranks) in reversed(list(enumerate(zip(self._levels, contexts, strict=True), start=1))):
            kinds = (top == k).long()
            total, freed = level.sums(ranks, kinds)
            if left_out is not None:
                grams = level.find(torch.where(left_out >= 0, ranks, -1), left_out)
                removed = torch.where(top == k, grams >= 0, removed)
                less, change = level.less(grams, kinds, removed)
                total, freed = total - less, freed - (change + less)
            usable = (ranks >= 0) & (total > 0)  # after the last context of the text, or the only one, nothing came
            scale = torch.where(usable, weight / total.clamp_min(1), 0)
            parts.add(level, ranks, kinds, scale)
            if left_out is not None:
                parts.change(left_out, scale * change)
                removed = removed & (level.plain[grams] == 1)
            weight = torch.where(usable, scale * freed, weight)
        return parts.sum(weight / self.vocab_size)
