"""The counting prior against KneserNey itself, and against a dictionary version that counts the rest anew."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from minilm.text.ngram import KneserNey, discounts_of
from minilm.text.prior import CountingPrior, block_numbers, count

V = 7  # the letters of the text are 0 to 5; 6 is never seen


@pytest.fixture
def tokens():
    """A text with structure: a Markov chain over six letters."""
    draw, state, text = np.random.default_rng(0), 0, []
    for _ in range(400):
        state = int((state * 2 + draw.choice([0, 1, 3], p=[0.6, 0.3, 0.1])) % 6)
        text.append(state)
    return np.array(text, dtype=np.uint8)


def exact(tokens, order, blocks=0):
    return CountingPrior(count(tokens, V, order, blocks), V, torch.float64)


def occurrences(text, order, left_out):
    """{k: Counter of k-grams} for k up to order, of those whose last token is not at a place that is left out."""
    places = {
        k: [i for i in range(len(text) - k + 1) if i + k - 1 not in left_out] for k in range(1, order + 1)
    }
    return {k: Counter(tuple(text[i : i + k]) for i in starts) for k, starts in places.items()}


def by_dictionaries(grams, context, order):
    """p(. | context) from occurrences, one order at a time; all that the context allows count."""
    top = min(order, len(context) + 1)
    p = np.full(V, 1 / V)
    for k in range(1, top + 1):
        counted = grams[k] if k == top else Counter(gram[1:] for gram in grams[k + 1])
        discounts = discounts_of(np.array([*counted.values(), 0]))
        row = np.array([counted[(*context[len(context) - (k - 1) :], w)] for w in range(V)])
        if row.sum():
            given = discounts[np.minimum(row, 3)]
            p = (row - given + given.sum() * p) / row.sum()
    return p


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("dense", [0, 10**6])
def test_leaving_a_block_out_equals_counting_without_it(tokens, order, dense, monkeypatch):
    """Every position of windows inside and across blocks, every entry of V, and the whole text as block 0."""
    monkeypatch.setattr("minilm.text.prior.DENSE", dense)
    text, T, blocks = [int(t) for t in tokens[:160]], 9, 3
    prior, numbers = exact(tokens[:160], order, blocks), np.array([0, *block_numbers(160, blocks)])
    grams = [occurrences(text, order, set(np.flatnonzero(numbers[1:] == b))) for b in (99, 1, 2, 3)]
    for start in (0, 1, 50, 105, 160 - T - 1):
        ids = torch.tensor([text[start : start + T]])
        own = torch.from_numpy(numbers[start + 2 : start + T + 2])[None]  # the block of each next token
        for given in (own, torch.zeros_like(own)):
            found = prior(ids, given).exp().numpy()[0]
            for t in range(T):
                context = tuple(text[max(start, start + t - order + 2) : start + t + 1])
                expected = by_dictionaries(grams[int(given[0, t])], context, order)
                np.testing.assert_allclose(found[t], expected, atol=1e-12)
                assert found[t].sum() == pytest.approx(1, abs=1e-12)


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


@pytest.mark.parametrize("length", [1, 2, 5])
def test_very_short_texts(length):
    prior = CountingPrior(count(np.zeros(length, dtype=np.uint8), 3, 5, blocks=4), 3)
    ids = torch.zeros(1, 6, dtype=torch.long)
    for blocks in (None, ids, ids + 4):
        found = prior(ids, blocks).exp()
        assert found.min() > 0 and found.sum(-1).allclose(torch.ones(6))


def test_of_a_long_text_the_end_is_counted(tokens, monkeypatch):
    monkeypatch.setattr("minilm.text.prior.COUNTED", 100)
    assert block_numbers(160, 2).tolist() == [0] * 60 + [1] * 50 + [2] * 50
    ids = torch.from_numpy(tokens[:20].astype(np.int64))[None]
    assert torch.equal(exact(tokens[:160], 4)(ids), exact(tokens[60:160], 4)(ids))


def test_large_vocabularies():
    tokens = np.random.default_rng(0).integers(0, 50_000, 3000).astype(np.uint16)
    prior = CountingPrior(count(tokens, 50_000, order=9, blocks=2), 50_000)
    ids = torch.from_numpy(tokens[:9].astype(np.int64))[None]
    for blocks in (None, torch.ones_like(ids)):
        assert prior(ids, blocks).exp().sum(-1).allclose(torch.ones(9))


def test_a_text_does_not_predict_itself_where_its_block_is_left_out(tokens):
    """Counted, it is far more likely than any other text of its kind; left out, no longer."""
    text, other = tokens[:200], tokens[200:]
    prior = CountingPrior(count(text, V, 5, blocks=8), V)
    numbers = torch.from_numpy(block_numbers(200, 8))[None]

    def loss(of, blocks):
        ids, targets = (torch.from_numpy(part.astype(np.int64))[None] for part in (of[:-1], of[1:]))
        return -float(prior(ids, blocks).gather(-1, targets[..., None]).mean())

    assert loss(text, None) < loss(other, None) - 0.2
    assert abs(loss(text, numbers[:, 1:]) - loss(other, None)) < 0.15
