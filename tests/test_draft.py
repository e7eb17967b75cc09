"""The counting draft against a loop over the text."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from minilm.errors import ConfigError, CorpusError
from minilm.fast.draft import NGramDraft


def by_hand(text: list[int], context: list[int], longest: int) -> Counter[int]:
    for k in range(min(longest, len(context)), -1, -1):
        end = context[len(context) - k :]
        found = Counter(text[i + k] for i in range(len(text) - k) if text[i : i + k] == end)
        if found:
            return found
    raise AssertionError


@pytest.mark.parametrize("longest", [1, 3, 6])
def test_successors_against_a_loop(longest):
    random = np.random.default_rng(0)
    text = random.integers(0, 4, 300)
    draft = NGramDraft(vocab_size=5, longest=longest).fit(text)
    for _ in range(300):
        context = random.integers(0, 5, random.integers(0, 9)).tolist()  # token 4 was never seen
        tokens, counts = draft.successors(context)
        assert dict(zip(tokens.tolist(), counts.tolist(), strict=True)) == by_hand(
            text.tolist(), context, longest
        )


def test_short_texts_and_large_vocabularies():
    draft = NGramDraft(vocab_size=100_000).fit(np.array([99_999, 7, 99_999], dtype=np.int32))
    assert draft.longest == 2
    assert draft.successors([1, 99_999])[0].tolist() == [7]
    assert NGramDraft(vocab_size=2).fit(np.array([1])).successors([0, 0])[0].tolist() == [1]


def test_impossible_drafts():
    with pytest.raises(ConfigError, match="at least 1"):
        NGramDraft(vocab_size=0)
    with pytest.raises(CorpusError, match="at least one token"):
        NGramDraft(vocab_size=3).fit(np.array([], dtype=np.uint8))
