"""Counts what followed each context of a text, as a draft for `minilm.fast.speculative`.

Plain counts without smoothing: a draft need not be right about what never happened, it has to answer in
microseconds. A k-gram is one integer, its tokens the digits, so that a context and all that followed it lie side by
side in a sorted table. Knows nothing of models or torch.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from minilm.errors import ConfigError, CorpusError

LONGEST = 4  # tokens of context at most: longer ones are surer of themselves than they are right
COUNTED = 10_000_000  # tokens at most, the last ones
LARGEST = 2**62  # of an integer that stands for a k-gram


class NGramDraft:
    """Counts of up to LONGEST tokens of context, as `speculative.Draft` asks for them.

    >>> draft = NGramDraft(vocab_size=3).fit(np.array([0, 1, 2, 0, 1, 2, 0, 1, 0]))
    >>> draft.successors([2, 0])
    (array([1]), array([2]))
    >>> draft.successors([0, 1])
    (array([0, 2]), array([1, 2]))
    """

    def __init__(self, vocab_size: int, longest: int = LONGEST) -> None:
        if vocab_size < 1 or longest < 1:
            raise ConfigError(
                f"vocab_size and longest must be at least 1, got {vocab_size} and {longest}; raise them"
            )
        self.vocab_size = vocab_size
        while (
            longest and vocab_size ** (longest + 1) > LARGEST
        ):  # a large vocabulary has room for shorter contexts
            longest -= 1
        self.longest = longest
        self._grams: list[tuple[memoryview, np.ndarray, np.ndarray]] = []

    def fit(self, tokens: np.ndarray) -> NGramDraft:
        """Counts `tokens` (N,), of a long text the last ones. Returns itself."""
        if len(tokens) == 0:
            raise CorpusError("a draft needs at least one token to count, got none; give it a longer text")
        tokens = np.asarray(tokens[-COUNTED:]).astype(np.int64)
        self._grams, grams = [], tokens
        for k in range(
            min(self.longest, len(tokens) - 1) + 1
        ):  # grams[i] is the (k + 1)-gram that starts at i
            if k:
                grams = grams[:-1] * self.vocab_size + tokens[k:]
            distinct, counts = np.unique(grams, return_counts=True)
            self._grams.append((distinct.data, distinct % self.vocab_size, counts))
        return self

    def successors(self, context: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The tokens that followed the longest known end of `context`, and how often: (n,) each."""
        for k in range(min(self.longest, len(context), len(self._grams) - 1), -1, -1):
            first = 0
            for token in context[len(context) - k :]:
                first = first * self.vocab_size + token
            grams, last, counts = self._grams[k]
            start = bisect_left(grams, first * self.vocab_size)
            end = bisect_left(grams, (first + 1) * self.vocab_size, start)
            if start < end:
                return last[start:end], counts[start:end]
        raise AssertionError("without context every token of the text is known")
