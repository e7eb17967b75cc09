"""What students try first in an empty notebook works as they first write it."""

from __future__ import annotations

import matplotlib
import pytest
import torch
from torch import nn

import minilm
from minilm import GPT, ModelConfig, TrainConfig, attention, load_corpus, load_run
from minilm.attention import BACKENDS
from minilm.errors import ConfigError, RunError
from minilm.train import train

matplotlib.use("agg")
TEXT = "".join(f"{k} green bottles hanging on the wall, and {k * 7 % 13} fell.\n" for k in range(120))
SHORT = {"batch_size": 4, "threads": 1, "device": "cpu", "evaluations": 2}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "bottles.txt"
    path.write_text(TEXT)
    return load_corpus(path)


def shape(corpus, **changes):
    return ModelConfig(corpus.tokenizer.vocab_size, n_layer=2, n_head=2, n_embd=16, block_size=16, **changes)


def test_training_in_five_lines_and_a_plot(corpus):
    import matplotlib.pyplot as plt

    run = train(corpus, shape(corpus), TrainConfig(steps=30, **SHORT))
    (line,) = plt.plot([r["step"] for r in run.metrics], [r["train_loss"] for r in run.metrics])
    losses = line.get_ydata()
    assert len(losses) == 30 and losses[-1] < losses[0]
    shown = repr(run)
    assert "30 steps" in shown and "val" in shown and "it writes" in shown and len(shown.splitlines()) <= 4


def test_attention_of_ones_own(corpus, monkeypatch):
    def uniform(q, k, v, mask=None, *, is_causal=False):
        weights = torch.ones(q.size(-2), k.size(-2)).tril(k.size(-2) - q.size(-2))
        return (weights / weights.sum(-1, keepdim=True)) @ v

    monkeypatch.setitem(BACKENDS, "mine", uniform)
    config = TrainConfig(steps=12, **SHORT)
    losses = [
        train(corpus, shape(corpus, attention=name), config).result["val_loss"] for name in ("auto", "mine")
    ]
    monkeypatch.setattr(attention, "scaled_dot_product_attention", uniform)  # as a cell that defines it anew
    losses.append(train(corpus, shape(corpus), config).result["val_loss"])
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[2], abs=1e-5)


def test_attention_weights_of_a_sentence(corpus):
    from minilm.taps import record

    model = GPT(shape(corpus))
    ids = corpus.tokenizer.encode("green bottles", return_tensors="pt")
    patterns = record(model, ids, "blocks.*.attn.hook_pattern")
    assert [tuple(p.shape) for p in patterns.values()] == [(1, 2, 13, 13)] * 2
    assert torch.allclose(patterns["blocks.0.attn.hook_pattern"].sum(-1), torch.ones(1, 2, 13))


class MyMLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(16, 24), nn.Linear(24, 16)

    def forward(self, x):
        return self.down(self.up(x).relu())


def mine(corpus) -> GPT:
    torch.manual_seed(1)
    model = GPT(shape(corpus))
    for block in model.blocks:
        block.mlp = MyMLP()
    return model


def test_an_mlp_of_ones_own(corpus, tmp_path):
    run = train(corpus, mine(corpus), TrainConfig(steps=20, **SHORT), out=tmp_path / "mine")
    ids = corpus.tokenizer.encode("green", return_tensors="pt")
    assert run.model.generate(ids, 20, temperature=0).shape == (1, 25)
    with pytest.raises(RunError, match=r"blocks\.0\.mlp is a .*MyMLP.*give it as model="):
        load_run(tmp_path / "mine")
    back = load_run(tmp_path / "mine", model=mine(corpus))
    assert torch.equal(back.model(ids).logits, run.model(ids).logits)


def test_a_hyperopt_search_of_ones_own(corpus, monkeypatch):
    from hyperopt import Trials, fmin, hp, tpe

    def objective(point):
        run = train(
            corpus,
            shape(corpus).replace(n_layer=point["layers"]),
            TrainConfig(steps=5, **SHORT, **point["train"]),
        )
        return run.result["val_loss"]

    space = {"layers": hp.choice("layers", [1, 2]), "train": {"learning_rate": hp.loguniform("rate", -5, -2)}}
    trials = Trials()
    fmin(objective, space, algo=tpe.suggest, max_evals=5, trials=trials, show_progressbar=False)
    assert len(trials.losses()) == 5 and min(trials.losses()) > 0


def test_a_run_goes_on_where_it_was_and_beyond_its_end(corpus, tmp_path, capsys):
    out = tmp_path / "run"
    first = train(
        corpus, shape(corpus), TrainConfig(steps=20, **SHORT), out=out, resume=True
    )  # nothing there yet
    again = train(corpus, config=TrainConfig(steps=20, **SHORT), out=out, resume=True)
    assert again.result["val_loss"] == first.result["val_loss"]
    more = train(corpus, config=TrainConfig(steps=40, **SHORT), out=out, resume=True)
    assert more.result["steps"] == 40 and [leg["steps"] for leg in more.result["legs"]] == [20, 40]
    assert more.result["val_loss"] <= first.result["val_loss"]
    with pytest.raises(RunError, match="learning_rate was 0.03, now 0.5"):
        train(corpus, config=TrainConfig(steps=60, learning_rate=0.5, **SHORT), out=out, resume=True)
    with pytest.raises(ConfigError, match="give out="):
        train(corpus, resume=True)


def test_an_interrupted_training_returns_its_run(corpus, tmp_path, monkeypatch, capsys):
    import os
    import signal

    from minilm.training import loop

    steps, honest = [], loop.schedule

    def interrupting(config, progress):
        steps.append(progress)
        if len(steps) == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return honest(config, progress)

    monkeypatch.setattr(loop, "schedule", interrupting)
    run = train(corpus, shape(corpus), TrainConfig(steps=20, **SHORT), out=tmp_path / "run")
    assert run.result["stopped"] == "interrupted" and run.result["steps"] == 7
    assert "interrupted after 7 steps" in capsys.readouterr().out
    assert load_run(tmp_path / "run").model.n_parameters == run.model.n_parameters
    whole = train(corpus, config=TrainConfig(steps=20, **SHORT), out=tmp_path / "run", resume=True)
    assert whole.result["steps"] == 20 and whole.result["stopped"] == "finished"


def test_names_at_the_root():
    assert dir(minilm) == sorted(minilm.__all__) or set(dir(minilm)) == set(minilm.__all__)
    with pytest.raises(AttributeError, match=r"from minilm\.train import train"):
        minilm.train_nothing if not hasattr(minilm, "train") else minilm.__getattr__("train")
    with pytest.raises(AttributeError, match="did you mean 'GPT'"):
        minilm.__getattr__("GTP")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: GPT(), r"GPT needs a ModelConfig, got None; try GPT\(ModelConfig\(vocab_size=65\)\)"),
        (lambda: GPT(65), "GPT needs a ModelConfig, got 65"),
        (lambda: ModelConfig(vocab=50), "unknown key 'vocab', did you mean 'vocab_size'"),
        (lambda: ModelConfig(), "vocab_size must be given"),
        (lambda: TrainConfig(step=5), "did you mean 'steps'"),
        (lambda: GPT(ModelConfig(5, n_embd=8))(torch.tensor([[7]])), "ids must be between 0 and 4, got 7"),
    ],
)
def test_a_slip_gets_a_sentence(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_tune_says_what_does_not_reach_its_workers(monkeypatch):
    from minilm.model import Block
    from minilm.tune import edited_in_memory

    assert edited_in_memory() == []
    monkeypatch.setattr(Block, "forward", lambda self, x, *rest: x)
    monkeypatch.setitem(BACKENDS, "mine", print)
    assert edited_in_memory() == ["Block.forward", "BACKENDS['mine']"]
