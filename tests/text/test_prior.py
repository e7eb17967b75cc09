"""The counting prior against KneserNey itself, and against a dictionary version that counts everything anew."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from minilm.text.ngram import KneserNey, discounts_of
from minilm.text.prior import CountingPrior, count

V = 7  # the letters of the text are 0 to 5; 6 is never seen


@pytest.fixture
def tokens():
    """A text with structure: a Markov chain over six letters."""
    draw, state, text = np.random.default_rng(0), 0, []
    for _ in range(400):
        state = int((state * 2 + draw.choice([0, 1, 3], p=[0.6, 0.3, 0.1])) % 6)
        text.append(state)
    return np.array(text, dtype=np.uint8)


def exact(tokens, order):
    return CountingPrior(count(tokens, V, order), V, torch.float64)


def occurrences(text, order):
    """{k: Counter of k-grams} for k up to order."""
    return {
        k: Counter(tuple(text[i : i + k]) for i in range(len(text) - k + 1)) for k in range(1, order + 1)
    }


def by_dictionaries(grams, full, context, order):
    """p(. | context), context no longer than order - 1, from `grams` anew; discounts from `full`, the whole text's."""

    def counted(plain, k, top):
        if k == top:
            return Counter({gram: c for gram, c in plain[k].items() if c > 0})
        return Counter(gram[1:] for gram, c in plain[k + 1].items() if c > 0)

    top = min(order, len(context) + 1)
    p = np.full(V, 1 / V)
    for k in range(1, top + 1):
        before = tuple(context[len(context) - (k - 1) :])
        of_text = counted(full, k, top)
        discounts = discounts_of(np.array(list(of_text.values())))
        row = np.array([counted(grams, k, top)[(*before, w)] for w in range(V)])
        if row.sum() == 0:
            continue
        given = discounts[np.minimum(row, 3)]
        p = (row - given + given.sum() * p) / row.sum()
    return p


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("dense", [0, 10**6])
def test_leaving_one_out_equals_counting_without_it(tokens, order, dense, monkeypatch):
    """Every position of every window, every entry of V: the counts of a text without that one occurrence."""
    monkeypatch.setattr("minilm.text.prior.DENSE", dense)
    text, T = [int(t) for t in tokens[:160]], 9
    full, prior = occurrences(text, order), exact(tokens[:160], order)
    starts = [0, 1, 17, 80, 160 - T - 1]
    ids = torch.tensor([text[s : s + T] for s in starts])
    targets = torch.tensor([text[s + 1 : s + T + 1] for s in starts])
    found = prior(ids, targets).exp().numpy()
    for row, start in enumerate(starts):
        for t in range(T):
            end = start + t + 1  # where the target stands
            reach = min(order, t + 2)
            grams = {k: Counter(counter) for k, counter in full.items()}
            for k in range(1, reach + 1):
                grams[k][tuple(text[end - k + 1 : end + 1])] -= 1
            expected = by_dictionaries(grams, full, text[max(start, end - order + 1) : end], order)
            np.testing.assert_allclose(found[row, t], expected, atol=1e-12)
            assert found[row, t].sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_equals_the_baseline_where_the_context_is_long_enough(tokens, order):
    model, prior = KneserNey(order, V).fit(tokens), exact(tokens, order)
    for text in (tokens[:20].tolist(), [6, 0, 1, 5, 5, 5, 2, 6, 6, 0]):
        found = prior(torch.tensor([text])).exp()[0].numpy()
        for t in range(order - 1, len(text)):
            np.testing.assert_allclose(found[t], model.probabilities(text[: t + 1]), atol=1e-12)


def test_a_short_context_is_served_by_the_model_of_its_own_order(tokens):
    prior, text = exact(tokens, 5), tokens[30:34].tolist()
    for reach in (1, 2, 3):
        model = KneserNey(reach + 1, V).fit(tokens)
        found = prior(torch.tensor([text[:reach]])).exp()[0, -1].numpy()
        np.testing.assert_allclose(found, model.probabilities(text[:reach]), atol=1e-12)


def test_what_came_before_is_seen(tokens):
    prior, window = exact(tokens, 4), torch.from_numpy(tokens[:60].astype(np.int64)).view(3, 20)
    for cut in (1, 2, 3, 10, 19):
        found = prior(window[:, cut:], before=window[:, :cut])
        torch.testing.assert_close(found, prior(window)[:, cut:], atol=0, rtol=0)


def test_what_was_not_counted_is_not_left_out(tokens):
    """Ignored targets, a letter that never came, and a gram that only another text has."""
    prior = exact(tokens, 4)
    unseen = np.argwhere(prior(torch.tensor([[0, 1, 2, 3]]))[0, -1].exp().numpy() < 1)[:, 0]
    ids = torch.tensor([[0, 1, 6, 6, 0]])
    for targets in (torch.full_like(ids, -100), torch.tensor([[6, 6, 6, 0, 6]])):
        torch.testing.assert_close(prior(ids, targets), prior(ids), atol=0, rtol=0)
    assert len(unseen)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_very_short_texts(length):
    prior = CountingPrior.of(np.zeros(length, dtype=np.uint8), vocab_size=3, order=5)
    ids = torch.zeros(1, 6, dtype=torch.long)
    for targets in (None, ids):
        found = prior(ids, targets).exp()
        assert found.min() > 0 and found.sum(-1).allclose(torch.ones(6))


def test_large_vocabularies():
    tokens = np.random.default_rng(0).integers(0, 50_000, 3000).astype(np.uint16)
    prior = CountingPrior.of(tokens, vocab_size=50_000, order=9)
    ids = torch.from_numpy(tokens[:9].astype(np.int64))[None]
    for targets in (None, ids):
        assert prior(ids[:, :8], None if targets is None else ids[:, 1:]).exp().sum(-1).allclose(torch.ones(8))


def test_leaving_one_out_takes_away_what_only_the_text_itself_knows(tokens):
    """Without it a counted text predicts itself better than any other of its kind; with it, not."""
    text, other = tokens[:200], tokens[200:]
    prior = CountingPrior.of(text, V, 5)

    def loss(of, leave_out):
        ids, targets = (torch.from_numpy(part.astype(np.int64))[None] for part in (of[:-1], of[1:]))
        found = prior(ids, targets if leave_out else None)
        return -float(found.gather(-1, targets[..., None]).mean())

    assert loss(text, False) < loss(other, False) - 0.2
    assert abs(loss(text, True) - loss(other, False)) < 0.1 and math.isfinite(loss(text, True))
