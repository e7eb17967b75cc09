"""Schedules, optimizer groups and the exact loss, each against something written another way."""

from __future__ import annotations

import copy
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from minilm.config import CHOICES, ModelConfig, TrainConfig
from minilm.errors import CorpusError
from minilm.model import GPT
from minilm.training.evaluate import bits_per_character, exact_loss, perplexity
from minilm.training.optim import SCHEDULES, build_optimizer, orthogonalised


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_rises_then_never_rises_again(schedule):
    config = TrainConfig(schedule=schedule, warmup=0.1)
    values = [factor(config, k / 1000) for k in range(1001)]
    top = values.index(max(values))
    assert values[0] == 0.0 and max(values) == pytest.approx(1.0) and top == 100
    assert all(a < b for a, b in zip(values[:100], values[1:101], strict=True))
    assert all(a >= b - 1e-12 for a, b in zip(values[top:-1], values[top + 1 :], strict=True))
    assert values[-1] == pytest.approx(1.0 if schedule == "constant" else 0.0, abs=1e-9)


def test_wsd_is_flat_until_its_decay():
    config = TrainConfig(schedule="wsd", warmup=0.1, decay=0.2)
    assert [round(factor(config, p), 6) for p in (0.1, 0.5, 0.8, 0.9, 1.0)] == [1, 1, 1, 0.5, 0]


def test_cosine_is_half_a_wave():
    config = TrainConfig(schedule="cosine", warmup=0.0)
    for p in (0.0, 0.2, 0.7):
        assert factor(config, p) == pytest.approx((math.cos(math.pi * p) + 1) / 2)


def test_every_named_schedule_exists():
    assert set(SCHEDULES) == set(CHOICES["schedule"])


def test_no_update_is_wasted_at_zero():
    config = TrainConfig()
    rates = [factor(config, update_progress(k, 50)) for k in range(50)]
    assert min(rates) > 0


@pytest.fixture
def model():
    torch.manual_seed(0)
    return GPT(ModelConfig.gpt2(7, n_layer=2, n_head=2, n_embd=8, block_size=6))


@pytest.mark.parametrize("name", CHOICES["optimizer"])
def test_groups_are_a_partition_and_only_matrices_decay(model, name):
    groups = build_optimizer(model, TrainConfig(optimizer=name, weight_decay=0.3)).param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    decayed = {names[id(p)] for group in groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {
        n for n, p in model.named_parameters() if p.ndim == 2 and not n.startswith(("wte", "wpe", "lm_head"))
    }
    found = [names[id(p)] for group in groups for p in group["params"]]
    assert sorted(found) == sorted(names.values())
    assert {group["weight_decay"] for group in groups} == {0.3, 0.0}


def test_orthogonalised_bends_each_singular_value_and_turns_nothing():
    matrices = torch.randn(3, 7, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for G in (matrices, matrices.mT):
        U, S, Vh = torch.linalg.svd(G / G.norm(dim=(-2, -1), keepdim=True), full_matrices=False)
        for _ in range(5):
            S = 3.4445 * S - 4.7750 * S**3 + 2.0315 * S**5
        torch.testing.assert_close(orthogonalised(G), U @ torch.diag_embed(S) @ Vh, atol=1e-6, rtol=0)


def test_muon_is_torchs_muon(model):
    """On a matrix that stands alone; torch turns in bfloat16, hence the tolerance."""
    config = TrainConfig(optimizer="muon", learning_rate=0.02, weight_decay=0.1, momentum=0.9)
    mine = build_optimizer(model, config)
    parameter = model.blocks[0].mlp.up.weight
    theirs = parameter.detach().clone().requires_grad_()
    muon = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, momentum=0.9, adjust_lr_fn="original")
    for _ in range(4):
        parameter.grad = torch.randn_like(parameter)
        theirs.grad = parameter.grad.clone()
        mine.step(), muon.step()
        torch.testing.assert_close(parameter, theirs, atol=1e-3, rtol=0)


def test_stacked_matrices_are_turned_one_by_one(model):
    """Queries, keys and values lie in one weight; a huge gradient for one must not slow the others down."""
    optimizer = build_optimizer(model, TrainConfig(optimizer="muon", weight_decay=0.0))
    weight = model.blocks[0].attention.qkv.weight
    before = weight.detach().clone()
    weight.grad = torch.randn_like(weight)
    weight.grad[:8] *= 1000
    optimizer.step()
    moved = (weight - before).detach().view(3, 8, 8).norm(dim=(-2, -1))
    assert float(moved.max() / moved.min()) < 1.3


def test_the_optimizer_follows_the_papers_equations(model):
    """AdamW by hand (Loshchilov & Hutter, 2017, algorithm 2), three steps on one matrix."""
    config = TrainConfig(optimizer="adamw", learning_rate=0.01, weight_decay=0.1)
    optimizer = build_optimizer(model, config)
    parameter = model.blocks[0].mlp.up.weight
    theta, m, v = parameter.detach().clone().double(), 0.0, 0.0
    for t in range(1, 4):
        gradient = torch.randn_like(parameter)
        optimizer.zero_grad()
        parameter.grad = gradient.clone()
        optimizer.step()
        g = gradient.double()
        m, v = config.beta1 * m + (1 - config.beta1) * g, config.beta2 * v + (1 - config.beta2) * g * g
        m_hat, v_hat = m / (1 - config.beta1**t), v / (1 - config.beta2**t)
        theta = theta - 0.01 * (m_hat / (v_hat.sqrt() + 1e-8) + 0.1 * theta)
    torch.testing.assert_close(parameter.double(), theta, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
def test_adamw_is_torchs_adamw(monkeypatch, fused):
    """Fused to the bit, since both call one kernel; written out up to rounding. One parameter starts a step late."""
    if not fused:
        monkeypatch.setattr("minilm.training.optim.FUSED_ON", ())
    torch.manual_seed(0)
    mine = [torch.randn(shape, requires_grad=True) for shape in ((5, 3), (4,), (2, 2))]
    theirs = [parameter.detach().clone().requires_grad_() for parameter in mine]

    def groups(parameters):
        return [
            {"params": parameters[:1], "weight_decay": 0.3},
            {"params": parameters[1:], "weight_decay": 0.0},
        ]

    ours = Joined(AdamW(groups(mine), 0.01, (0.8, 0.95)))
    torchs = torch.optim.AdamW(groups(theirs), lr=0.01, betas=(0.8, 0.95), fused=True)
    for step in range(6):
        for group in (*ours.param_groups, *torchs.param_groups):
            group["lr"] = 0.01 / (1 + step)
        ours.zero_grad()
        assert all(parameter.grad is None for parameter in mine)
        for one, other in zip(mine[step == 0 :], theirs[step == 0 :], strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        ours.step(), torchs.step()
        bounds = {"atol": 0, "rtol": 0} if fused else {"atol": 1e-6, "rtol": 1e-5}
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other, **bounds)
    assert [float(kept["step"]) for kept in ours.state().values()] == [5.0, 6.0, 6.0]
    kept = torchs.state_dict()["state"]
    for number, tensors in ours.state().items():  # the names of checkpoints written before it was by hand
        assert tensors.keys() == kept[number].keys()


@pytest.mark.parametrize("name", CHOICES["optimizer"])
def test_an_optimizers_state_goes_to_the_parameters_it_came_from(model, name):
    config, twin = TrainConfig(optimizer=name), copy.deepcopy(model)
    first, second = build_optimizer(model, config), build_optimizer(twin, config)

    def step(*optimizers):
        gradients = [torch.randn_like(parameter) for parameter in first.parameters]
        for optimizer in optimizers:
            for parameter, gradient in zip(optimizer.parameters, gradients, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()

    assert first.state() == {}
    step(first)
    twin.load_state_dict(model.state_dict())
    second.load_state({n: {k: t.clone() for k, t in kept.items()} for n, kept in first.state().items()})
    step(first, second)
    for one, other in zip(first.parameters, second.parameters, strict=True):
        assert torch.equal(one, other)


def test_a_training_does_not_load_torchs_compiler(tmp_path):
    """torch's own optimizers do; it takes every process, and so every worker of a study, a second or more."""
    code = """
import sys
from minilm.config import ModelConfig, TrainConfig
from minilm.text.corpora import load_corpus
from minilm.training.session import run_training

corpus = load_corpus(sys.argv[1])
shape = ModelConfig(corpus.tokenizer.vocab_size, block_size=8, n_layer=1, n_head=1, n_embd=8)
print(run_training(corpus, shape, TrainConfig(steps=2, batch_size=2)).result["steps"])
print("torch._dynamo" in sys.modules)
"""
    text = tmp_path / "text.txt"
    text.write_text("a short text, again and again. " * 200)
    command = [sys.executable, "-c", code, str(text)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]


def loss_by_loop(model, tokens, before, stride):
    """One character at a time, its context cut by the protocol's windows."""
    sequence = ([] if before is None else [before]) + tokens.tolist()
    n, T = len(sequence) - 1, model.config.block_size
    losses = []
    for target in range(n):  # predicts sequence[target + 1]
        start = 0 if target < T else ((target - T) // stride + 1) * stride
        logits = model(torch.tensor([sequence[start : target + 1]])).logits[0, -1]
        losses.append(F.cross_entropy(logits, torch.tensor(sequence[target + 1])).item())
    return sum(losses) / len(losses)


@pytest.mark.parametrize("before", [None, 3])
@pytest.mark.parametrize("stride", [None, 1, 2, 6])
@pytest.mark.parametrize("length", [2, 5, 6, 7, 12, 13, 31])
def test_exact_loss_equals_a_loop(model, length, stride, before):
    tokens = np.random.default_rng(0).integers(0, 7, length).astype(np.uint8)
    expected = loss_by_loop(model.eval(), tokens, before, stride or model.config.block_size)
    assert exact_loss(model, tokens, before=before, stride=stride) == pytest.approx(expected, abs=1e-5)


def test_evaluation_leaves_no_trace(model):
    model.train()
    state = torch.get_rng_state()
    exact_loss(model, np.arange(30, dtype=np.uint8) % 7)
    assert model.training and torch.equal(torch.get_rng_state(), state)


def test_fewer_characters_are_spread_over_the_split(model):
    tokens = np.random.default_rng(0).integers(0, 7, 6000).astype(np.uint8)
    assert exact_loss(model, tokens, chars=3000) == pytest.approx(exact_loss(model, tokens), abs=0.05)


def test_nothing_to_score_is_an_error(model):
    with pytest.raises(CorpusError, match="at least 2 characters"):
        exact_loss(model, np.zeros(1, dtype=np.uint8))


def test_units():
    assert bits_per_character(math.log(2)) == pytest.approx(1.0)
    assert perplexity(math.log(7)) == pytest.approx(7.0)
