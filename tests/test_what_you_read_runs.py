"""What a student reads and changes is what trains, is measured and writes: in memory, and in the source."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from minilm import attention
from minilm import model as decoder
from minilm.attention import BACKENDS, choose_backend
from minilm.config import ModelConfig, TrainConfig
from minilm.errors import ConfigError
from minilm.fast.decoder import QuickWindow, quick_window
from minilm.model import GPT, Block
from minilm.text.corpora import load_corpus
from minilm.training import optim
from minilm.training.evaluate import exact_loss
from minilm.training.session import run_training

ROOT = Path(__file__).parent.parent
TEXT = "".join(f"{k} green bottles hanging on the wall, and {k * 7 % 13} fell.\n" for k in range(120))
CONFIG = TrainConfig(steps=8, batch_size=4, evaluations=2, threads=1, device="cpu")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "bottles.txt"
    path.write_text(TEXT)
    return load_corpus(path)


def built(corpus, **changes) -> GPT:
    torch.manual_seed(0)
    shape = {
        "n_layer": 2,
        "n_head": 2,
        "n_embd": 16,
        "block_size": 16,
        "init": "gpt2",
        "bigrams": True,
        **changes,
    }
    model = GPT(ModelConfig(corpus.tokenizer.vocab_size, **shape))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def answers(corpus, model: GPT) -> dict[str, object]:
    """All that is said of a model: its training loss, its exact loss, a text, and what comes of training it."""
    ids = torch.tensor(corpus.train[:64].astype(np.int64)).view(4, 16)
    found = {
        "loss": model(ids, labels=ids).loss.item(),
        "exact loss": exact_loss(model, corpus.val[:200]),
        "text": model.generate(ids[:1, :5], 40, temperature=0, keep=0.5).tolist(),
        "sampled text": model.generate(ids[:1, :5], 40, generator=torch.Generator().manual_seed(1)).tolist(),
    }
    run = run_training(corpus, model, CONFIG)
    found["training"] = [record["train_loss"] for record in run.metrics]
    found["validation"] = run.result["val_loss"]
    return found


@pytest.fixture(scope="module")
def before(corpus) -> dict[str, object]:
    """What is said of the model as it is."""
    return answers(corpus, built(corpus))


class Halved(nn.Module):
    """An MLP of a student's own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(16, 16)

    def forward(self, x):
        return 0.5 * self.inner(x).relu()


def every_block(change):
    def apply(model):
        for block in model.blocks:
            change(block)

    return apply


def no_scale(q, k, v, mask=None, *, is_causal=False, **options):
    """Attention without the division."""
    return attention.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal, scale=1.0)


STAND_INS = {
    "a block": lambda model: model.blocks.__setitem__(1, nn.Identity()),
    "a block of torch's": lambda model: model.blocks.__setitem__(
        0, nn.Sequential(nn.LayerNorm(16), nn.Tanh())
    ),
    "an MLP": every_block(lambda block: setattr(block, "mlp", Halved())),
    "a norm": every_block(lambda block: setattr(block, "norm_1", nn.LayerNorm(16))),
    "the last norm": lambda model: setattr(model, "norm_f", nn.Identity()),
    "an attention layer": every_block(lambda block: setattr(block, "attention", nn.Linear(16, 16))),
    "what attends": every_block(lambda block: setattr(block.attention, "attend", no_scale)),
    "one forward": lambda model: setattr(model.blocks[0].mlp, "forward", lambda x: 0 * x),
}


@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_changes_loss_text_and_training(corpus, before, name):
    model = built(corpus)
    STAND_INS[name](model)
    slow = model.generate(torch.tensor([[1, 2, 3]]), 30, temperature=0, keep=0.5, use_cache=False)
    assert torch.equal(model.generate(torch.tensor([[1, 2, 3]]), 30, temperature=0, keep=0.5), slow)
    after = answers(corpus, model)
    assert all(before[what] != after[what] for what in before), (before, after)


@pytest.mark.parametrize(
    ("place", "name", "new"),
    [
        (Block, "forward", lambda self, x, *rest: x),
        (Block, "forward", lambda self, x, rotary=None, cache=None: x + self.mlp(x)),
        (attention, "scaled_dot_product_attention", lambda q, k, v, *rest, **named: v[..., -q.size(-2) :, :]),
        (attention, "attention_scores", lambda q, k, scale=None: q @ k.mT),
        (
            attention,
            "attention_weights",
            lambda scores, mask=None: mask.float() if mask is not None else scores * 0,
        ),
        (decoder.RMSNorm, "forward", lambda self, x: x * self.weight),
        (decoder, "rotate", lambda x, cos, sin: x),
    ],
)
def test_a_new_definition_in_a_notebook_is_used(corpus, before, monkeypatch, capfd, place, name, new):
    monkeypatch.setattr(place, name, new)
    after = answers(corpus, built(corpus))
    assert all(before[what] != after[what] for what in before), (before, after)
    quick = quick_window(built(corpus))
    assert not isinstance(quick, QuickWindow)


@pytest.mark.parametrize("name", ["adamw", "muon", "orthogonalised"])
def test_a_new_rule_of_the_optimizer_is_used(corpus, monkeypatch, name):
    before = run_training(corpus, built(corpus), CONFIG).result["val_loss"]
    honest = getattr(optim, name)

    def half(first, *rest):
        if rest:
            return honest(first, rest[0], {**rest[1], "lr": rest[1]["lr"] / 2})
        return 0.5 * honest(first)

    monkeypatch.setattr(optim, name, half)
    assert run_training(corpus, built(corpus), CONFIG).result["val_loss"] != before


def test_a_backend_of_ones_own(corpus, before, monkeypatch):
    monkeypatch.setitem(BACKENDS, "mine", no_scale)
    after = answers(corpus, built(corpus, attention="mine"))
    assert all(before[what] != after[what] for what in before)
    with pytest.raises(ConfigError, match="did you mean 'mine'"):
        built(corpus, attention="mien")(torch.tensor([[1]]))


def test_a_quick_backend_runs_only_where_it_agrees(monkeypatch, capfd):
    assert choose_backend("auto", "cpu") == "blocked" and choose_backend("fused", "cpu") == "fused"
    monkeypatch.setattr(attention, "mix", lambda weights, v: 1.001 * weights @ v)
    assert choose_backend("auto", "cpu") == choose_backend("fused", "cpu") == "manual"
    assert "attention (fused_attention differs by" in capfd.readouterr().err
    monkeypatch.undo()
    assert choose_backend("auto", "cpu") == "blocked"
    monkeypatch.setitem(BACKENDS, "blocked", lambda q, k, v, *rest, **named: v * float("nan"))
    assert choose_backend("auto", "cpu") == "manual"


PROGRAM = """
import sys
from minilm import load_corpus
from minilm.config import ModelConfig, TrainConfig
from minilm.training.session import run_training

corpus = load_corpus(sys.argv[1])
shape = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "init": "gpt2"}
config = TrainConfig(steps=60, batch_size=4, evaluations=2, threads=1, device="cpu", patience=None)
run = run_training(corpus, ModelConfig(corpus.tokenizer.vocab_size, **shape), config, sys.argv[2])
print([record["train_loss"] for record in run.metrics], run.result["val_loss"])
"""
EDITS = {
    "nothing": ("model.py", "", ""),
    "attention": (
        "attention.py",
        "    scores = attention_scores(q, k, scale)  # (..., T, S)\n",
        "    scores = 3 * attention_scores(q, k, scale)\n",
    ),
    "a block": (
        "model.py",
        "        return x + F.dropout(self.mlp(self.norm_2(x)), self.dropout, self.training)\n",
        "        return x - 2 * F.dropout(self.mlp(self.norm_2(x)), self.dropout, self.training)\n",
    ),
}


def test_an_edit_of_the_source_changes_training_loss_and_samples(tmp_path):
    """In a copy of the package: the formula and a block are edited, then a training and the verb `sample` run."""
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    found = {}
    for name, (file, old, new) in EDITS.items():
        home = tmp_path / name.replace(" ", "-")
        shutil.copytree(
            ROOT / "minilm", home / "minilm", ignore=shutil.ignore_patterns("__pycache__", "classroom")
        )
        source = (home / "minilm" / file).read_text()
        assert old in source, f"the line to edit has changed: {old}"
        (home / "minilm" / file).write_text(source.replace(old, new, 1) if old else source)
        environment = {**os.environ, "PYTHONPATH": str(home), "OMP_NUM_THREADS": "1"}

        def output(*command, environment=environment, home=home):
            done = subprocess.run(
                [sys.executable, *command],
                env=environment,
                cwd=home,
                capture_output=True,
                text=True,
                check=True,
            )
            return done.stdout, done.stderr

        trained = output("-c", PROGRAM, str(text), "run")
        sample = [sys.executable, "-m", "minilm.sample", "run", "--prompt", "1", "--chars", "60"]
        found[name] = trained[0], output(*sample[1:])
    plain = found.pop("nothing")
    assert "minilm:" not in plain[1][1], "the quick decoder agrees with the model it was written for"
    for name, (losses, (written, said)) in found.items():
        assert losses != plain[0] and written != plain[1][0], name
        assert "written by the model's own modules" in said, name
