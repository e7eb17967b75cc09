"""Evaluations of a part of a large text: how far off they are, and that they say so wherever their number stands."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from minilm import evaluate, train
from minilm.config import ModelConfig, TrainConfig
from minilm.plots.run_page import run_page
from minilm.text import corpora, ngram
from minilm.text.corpora import load_corpus
from minilm.training import session
from minilm.training.evaluate import exact_loss, token_losses
from minilm.training.scores import loss_of
from minilm.training.session import run_training

SAYS = "sampled, 3,000 characters of each split, standard error 0."


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A file whose parts are of unequal difficulty."""
    path = tmp_path_factory.mktemp("text") / "t.txt"
    fables, draw = load_corpus("fables").text, np.random.default_rng(0)
    parts = [
        fables[k : k + 500] if k % 1000 else "".join(draw.permutation([*fables[k : k + 500]]))
        for k in range(0, 400_000, 500)
    ]
    path.write_text("".join(parts))
    return path


@pytest.fixture(scope="module", params=["characters", "bpe:300"])
def corpus(request, text):
    """In pieces it is encoded where it is read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpora, "LARGE", 100_000)
        return load_corpus(text, request.param)


@pytest.fixture(scope="module")
def model(corpus):
    torch.manual_seed(0)
    shape = ModelConfig.modern(
        vocab_size=corpus.tokenizer.vocab_size, n_layer=1, n_head=1, n_embd=16, block_size=16
    )
    return run_training(
        corpus, shape, TrainConfig(steps=40, batch_size=8, evaluations=1, eval_chars=2000)
    ).model


def test_the_standard_error_is_that_of_many_samples(model, corpus):
    """Drawn a thousand times from all windows, so many of them spread as one sample says of itself."""
    scored = corpus.scored("test")
    parts = [(n.sum(-1).numpy(), c.sum(-1)) for _, n, c in token_losses(model, **scored)]
    nats, lengths = (np.concatenate(column) for column in zip(*parts, strict=True))
    exact = nats.sum() / lengths.sum()
    assert exact == pytest.approx(exact_loss(model, **scored), rel=1e-6)
    assert loss_of(model, None, **scored) == (exact_loss(model, **scored), None)
    loss, error = loss_of(model, 6000, **scored)
    windows, draw = round(6000 / lengths.mean()), np.random.default_rng(0)
    drawn = [draw.integers(len(nats), size=windows) for _ in range(1000)]
    spread = np.std([nats[places].sum() / lengths[places].sum() for places in drawn])
    assert error == pytest.approx(spread, rel=0.3) and 0 < abs(loss - exact) < 4 * error


def test_more_characters_make_it_surer(model, corpus):
    errors = [loss_of(model, chars, **corpus.scored("test"))[1] for chars in (1500, 6000)]
    assert 1.3 < errors[0] / errors[1] < 3, "about as one to the square root of four"
    assert loss_of(model, 1, **corpus.scored("test"))[1] is None, "of one window nothing is known"


def test_every_number_says_that_it_is_sampled(corpus, text, tmp_path, monkeypatch, capsys):
    """In the table of `train` and of `evaluate`, in result.json and on the page; `--exact` scores all."""
    for module, name, value in ((corpora, "LARGE", 100_000), (session, "LARGE_SPLIT", 5000)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(session, "LEAST_SAMPLE", 3000)
    monkeypatch.setattr(ngram, "SCORED_ON", 3000)
    out = tmp_path / "run"
    given = {
        "steps": 3,
        "evaluations": 2,
        "batch": 2,
        "context": 16,
        "layers": 1,
        "hidden": 16,
        "heads": 1,
        "lr": 0.01,
    }
    flags = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    assert train.main([str(text), "--tokens", corpus.choice, "--out", str(out), *flags]) == 0
    told = capsys.readouterr().out
    assert f"loss ({SAYS}" in told
    result = json.loads((out / "result.json").read_text())
    assert result["protocol"].startswith(SAYS) and result["eval_chars"] == 3000
    assert result["protocol"].endswith(f"{result['standard_error']:.4f}")
    assert SAYS in run_page(out).read_text()
    assert evaluate.main([str(out)]) == 0
    assert f"loss ({SAYS.replace('3,000', '5,000')}" in capsys.readouterr().out
    assert evaluate.main([str(out), "--exact", "--json"]) == 0
    exact = json.loads(capsys.readouterr().out)
    assert exact["protocol"] == "exact"
    (row,) = (row for row in exact["rows"] if row["name"] == "model")
    assert row["test"] != result["test_loss"]
    assert row["test"] == pytest.approx(result["test_loss"], abs=5 * result["standard_error"])


def test_a_small_split_is_scored_whole(model, corpus):
    shape, config = model.config, TrainConfig(steps=10)
    assert session.sampled_chars(corpus, shape, config) is None
