"""The counting baseline against probabilities that sum to one, a dictionary version, and known figures."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from minilm.text.corpora import load_corpus
from minilm.text.ngram import KneserNey, best_order, counting_baseline

FIGURES = {3: 2.038, 4: 1.719, 5: 1.561, 7: 1.5165}  # Tiny Shakespeare, 90/10, nats per character


@pytest.fixture
def tokens():
    """A text with structure: a Markov chain over six letters."""
    draw, state, text = np.random.default_rng(0), 0, []
    for _ in range(400):
        state = int((state * 2 + draw.choice([0, 1, 3], p=[0.6, 0.3, 0.1])) % 6)
        text.append(state)
    return np.array(text, dtype=np.uint8)


@pytest.mark.parametrize("order", [1, 2, 4, 6])
def test_probabilities_sum_to_one(tokens, order):
    model = KneserNey(order, vocab_size=7).fit(tokens)  # letter 6 is never seen
    for context in ([], [0], [6], [6, 6, 6], [1, 2, 3], tokens[:5].tolist(), tokens[-5:].tolist()):
        p = model.probabilities(context)
        assert p.shape == (7,) and p.min() > 0 and p.sum() == pytest.approx(1.0, abs=1e-12)


def by_dictionaries(text, order, vocab_size):
    """Interpolated modified Kneser-Ney (Chen & Goodman, 1999) with dictionaries, one gram at a time."""

    def level_counts(n):
        if n == order:
            return Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))
        return Counter(gram[1:] for gram in {tuple(text[i : i + n + 1]) for i in range(len(text) - n)})

    counts = {n: level_counts(n) for n in range(1, order + 1)}

    def discounts(n):
        n1, n2, n3, n4 = (sum(c == k for c in counts[n].values()) for k in (1, 2, 3, 4))
        if not (n1 and n2 and n3):
            return 0.0, 0.5, 1.0, 1.5
        y = n1 / (n1 + 2 * n2)
        found = 0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
        return found if min(found[1:]) > 0 else (0.0, 0.5, 1.0, 1.5)

    def p(token, context, n):
        if n == 0:
            return 1 / vocab_size
        context = context[len(context) - (n - 1) :]
        row = {gram[-1]: c for gram, c in counts[n].items() if gram[:-1] == context}
        lower = p(token, context[1:], n - 1)
        if not row:
            return lower
        d, total = discounts(n), sum(row.values())
        kept = max(0.0, row[token] - d[min(3, row[token])]) if token in row else 0.0
        return (kept + sum(d[min(3, c)] for c in row.values()) * lower) / total

    return p


@pytest.mark.parametrize("order", [1, 2, 3])
def test_equals_the_dictionary_version(tokens, order):
    text = [int(t) for t in tokens]
    p, model = by_dictionaries(text, order, 7), KneserNey(order, 7).fit(tokens)
    for context in ((0, 1), (2, 4), (5, 5), (6, 0), tuple(text[:2])):
        expected = [p(token, context, order) for token in range(7)]
        assert model.probabilities(context) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("order", [2, 3, 5])
def test_loss_and_probabilities_agree(tokens, order):
    """The vectorised loss is the mean of single look-ups, contexts growing from the left."""
    model = KneserNey(order, vocab_size=7).fit(tokens[:300])
    rest, before = tokens[300:], tokens[:300]
    text = np.concatenate([before, rest]).tolist()
    losses = [-math.log(model.probabilities(text[: 300 + i])[text[300 + i]]) for i in range(len(rest))]
    assert model.loss(rest, before=before) == pytest.approx(sum(losses) / len(losses), abs=1e-10)


def test_continuation_counts_decide_not_frequency():
    """'francisco' is frequent but follows only 'san': as an unknown word's successor it is unlikely."""
    san, francisco, a, b, c = range(5)
    text = [san, francisco] * 30 + [a, c, b, c, san, c, francisco, c, a, b] * 2
    model = KneserNey(2, vocab_size=6).fit(np.array(text, dtype=np.uint8))
    unseen = model.probabilities([5])
    assert unseen[c] > unseen[francisco]


def test_known_figures(shakespeare_folder, monkeypatch):
    monkeypatch.setenv("MINILM_DATA", str(shakespeare_folder))
    corpus = load_corpus("shakespeare", split=(0.9, 0.1, 0.0))
    for order, figure in FIGURES.items():
        model = KneserNey(order, corpus.tokenizer.vocab_size).fit(corpus.train)
        assert model.loss(corpus.val, before=corpus.train[-order:]) == pytest.approx(figure, abs=0.005)
    baseline = counting_baseline(corpus)
    assert baseline["order"] == 7 and baseline["test"] is None


def test_the_order_is_chosen_on_validation(tokens):
    train, val = tokens[:300], tokens[300:]
    losses = {n: KneserNey(n, 6).fit(train).loss(val, before=train) for n in range(2, 6)}
    assert best_order(train, val, range(2, 6)) == min(losses, key=losses.get)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_very_short_texts(length):
    model = KneserNey(5, vocab_size=3).fit(np.zeros(length, dtype=np.uint8))
    assert math.isfinite(model.loss(np.array([0, 1, 2], dtype=np.uint8)))
    assert model.probabilities([0]).sum() == pytest.approx(1.0)


def test_large_vocabularies():
    tokens = np.random.default_rng(0).integers(0, 5000, 3000).astype(np.uint16)
    model = KneserNey(9, vocab_size=5000).fit(tokens)
    assert model.probabilities(tokens[:8].tolist()).sum() == pytest.approx(1.0, abs=1e-9)
