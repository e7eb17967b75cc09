"""The mixture of decoder and counting against sums, a loop over the text, and a grid of weights."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from minilm import GPT, ModelConfig, load_corpus
from minilm.sampling import Window
from minilm.text.ngram import KneserNey, count, counting_baseline
from minilm.training.evaluate import exact_loss
from minilm.training.mixture import MixtureWindow, best_weight, mixture, mixture_of

TEXT = "".join(f"Fox: I have {k} plums.\nCrow: And I have {k * 5 % 7} pears, dear fox.\n" for k in range(80))
CONTEXT = 16


@pytest.fixture(scope="module", params=["characters", "bpe:64"])
def corpus(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "my.txt"
    path.write_text(TEXT)
    return load_corpus(path, request.param, split=(0.8, 0.1, 0.1))


@pytest.fixture(scope="module")
def model(corpus):
    torch.manual_seed(0)
    shape = ModelConfig(corpus.tokenizer.vocab_size, n_layer=1, n_head=2, n_embd=16, block_size=CONTEXT)
    return GPT(shape).eval()


@pytest.fixture(scope="module")
def counting(corpus):
    return KneserNey(count(corpus).order, corpus.tokenizer.vocab_size).fit(corpus.train)


@pytest.mark.parametrize("weight", [0.0, 0.31, 1.0])
@pytest.mark.parametrize("keep", [0.5, 1.0])
def test_it_sums_to_one_after_every_context(corpus, model, counting, weight, keep):
    """Drawn at random and cut from the text, longer than the model's window too, several at once."""
    dice, V = np.random.default_rng(0), corpus.tokenizer.vocab_size
    drawn = [dice.integers(0, V, (3, length)) for length in (1, 2, CONTEXT, 3 * CONTEXT)]
    places = dice.integers(0, len(corpus.tokens) - 40, 3)
    real = [np.stack([corpus.tokens[at : at + length] for at in places]) for length in (1, 7, 40)]
    for ids in [*drawn, *real]:
        window = MixtureWindow(Window(model, 3, keep), counting, weight)
        for part in (ids, ids[:, -1:], ids[:, :1]):  # read on, as generation does
            logits = window.read(torch.from_numpy(part.astype(np.int64)))
            assert logits.shape == (3, 1, V) and logits.dtype == torch.float64
            assert logits.exp().sum(-1).numpy() == pytest.approx(1.0, abs=1e-9)


def by_loop(model, corpus, counting, split):
    """Decoder's and counting's probability of each token of a split, one position at a time."""
    start = {"val": corpus.bounds[0], "test": corpus.bounds[1]}[split]
    decoder, counted = [], []
    for n, token in enumerate({"val": corpus.val, "test": corpus.test}[split]):
        seen = corpus.tokens[: start + n].astype(np.int64)
        window = torch.from_numpy(seen[start + n - n % CONTEXT - 1 :])[None]
        with torch.no_grad():
            decoder.append(model(window).logits[0, -1].double().softmax(-1)[token].item())
        counted.append(counting.probabilities(seen.tolist())[token])
    return np.array(decoder), np.array(counted)


def test_the_loss_equals_a_loop_over_the_text(model, corpus, counting):
    found = mixture(model, corpus, count(corpus))
    w = found["weight"]
    for split in ("val", "test"):
        p, q = by_loop(model, corpus, counting, split)
        nats = -sum(math.log(w * p[i] + (1 - w) * q[i]) for i in range(len(p)))
        assert found[split] == pytest.approx(nats / corpus.characters[split], abs=1e-6)
    p, q = by_loop(model, corpus, counting, "val")
    grid = np.linspace(0, 1, 2001)
    likeliest = grid[np.argmax([np.log(g * p + (1 - g) * q).sum() for g in grid])]
    assert w == pytest.approx(likeliest, abs=1e-3)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.93, 1.0])
def test_the_weight_is_the_best_of_a_grid(share):
    """Tokens drawn from a mixture of two predictors, with so much of the first."""
    dice = np.random.default_rng(1)
    first, second = dice.dirichlet(np.ones(9), 4000), dice.dirichlet(np.ones(9), 4000)  # (N, V)
    mixed = share * first + (1 - share) * second
    tokens = np.array([dice.choice(9, p=row) for row in mixed])
    p, q = first[np.arange(4000), tokens], second[np.arange(4000), tokens]
    grid = np.linspace(0, 1, 4001)
    likeliest = grid[np.argmax([np.log(np.maximum(g * p + (1 - g) * q, 1e-300)).sum() for g in grid])]
    assert best_weight(p, q) == pytest.approx(likeliest, abs=1e-3)


def test_it_is_ahead_of_both_on_validation_and_leaves_them_alone(model, corpus):
    counted = count(corpus)
    pure = exact_loss(model, **corpus.scored("val"))
    alone = -float(np.log(counted.val).sum()) / corpus.characters["val"]
    found = mixture(model, corpus, counted)
    assert found["val"] <= min(pure, alone) + 1e-6 and 0 <= found["weight"] <= 1
    assert exact_loss(model, **corpus.scored("val")) == pure


@pytest.mark.parametrize("options", [{"stride": 4}, {"chars": 64}])
def test_the_same_tokens_are_scored_as_of_the_model(model, corpus, options, monkeypatch):
    """With all the weight on the model, its loss is the model's."""
    monkeypatch.setattr("minilm.training.mixture.best_weight", lambda decoder, counting: 1.0)
    found = mixture(model, corpus, count(corpus), **options)
    for split in ("val", "test"):
        expected = exact_loss(model, **corpus.scored(split), **options)
        assert found[split] == pytest.approx(expected, abs=1e-6)


def test_no_time_is_no_figure(model, corpus):
    assert mixture(model, corpus, count(corpus), deadline=time.monotonic()) is None


def test_counting_once_is_enough_where_tokens_are_characters(corpus):
    assert counting_baseline(corpus, count(corpus)) == counting_baseline(corpus)


def test_a_run_writes_with_the_weight_that_it_recorded_or_that_validation_asks_for(model, corpus):
    run = SimpleNamespace(
        model=model, tokenizer=corpus.tokenizer, config={"corpus": corpus.describe()}, result={}
    )
    found = mixture(model, corpus, count(corpus))
    counting, weight = mixture_of(run)
    assert (counting.order, weight) == (found["order"], pytest.approx(found["weight"], abs=1e-9))
    run.result = {"mixture": {"order": 3, "weight": 0.25}}
    counting, weight = mixture_of(run)
    assert (counting.order, weight) == (3, 0.25)


def test_the_window_answers_for_each_token_that_is_wanted(model, corpus, counting):
    ids = torch.from_numpy(corpus.val[:12].astype(np.int64))[None]
    together = MixtureWindow(Window(model, 1), counting, 0.5).read(ids, wanted=3)
    window = MixtureWindow(Window(model, 1), counting, 0.5)
    alone = [window.read(ids[:, :10]), window.read(ids[:, 10:11]), window.read(ids[:, 11:])]
    assert torch.allclose(together, torch.cat(alone, dim=1), atol=1e-6)
