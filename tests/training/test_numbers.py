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

from minilm.config import ModelConfig, TrainConfig
from minilm.errors import CorpusError, note, rules
from minilm.fast import step as fast
from minilm.model import GPT
from minilm.training.checkpoint import load_checkpoint, save_checkpoint
from minilm.training.clock import Clock
from minilm.training.evaluate import exact_loss
from minilm.training.optim import (
    NEWTON_SCHULZ,
    SCHEDULES,
    Optimizer,
    adamw,
    build_optimizer,
    orthogonalised,
    schedule,
)
from minilm.training.scores import bits_per_character, perplexity


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_rises_then_never_rises_again(name):
    config = TrainConfig(schedule=name, warmup=0.1)
    values = [schedule(config, k / 1000) for k in range(1001)]
    top = values.index(max(values))
    assert values[0] == 0.0 and max(values) == pytest.approx(1.0) and top == 100
    assert all(a < b for a, b in zip(values[:100], values[1:101], strict=True))
    assert all(a >= b - 1e-12 for a, b in zip(values[top:-1], values[top + 1 :], strict=True))
    assert values[-1] == pytest.approx(1.0 if name == "constant" else 0.0, abs=1e-9)


def test_wsd_is_flat_until_its_decay():
    config = TrainConfig(schedule="wsd", warmup=0.1, decay=0.2)
    assert [round(schedule(config, p), 6) for p in (0.1, 0.5, 0.8, 0.9, 1.0)] == [1, 1, 1, 0.5, 0]


def test_cosine_is_half_a_wave():
    config = TrainConfig(schedule="cosine", warmup=0.0)
    for p in (0.0, 0.2, 0.7):
        assert schedule(config, p) == pytest.approx((math.cos(math.pi * p) + 1) / 2)


def test_every_named_schedule_exists():
    assert set(SCHEDULES) == set(rules(TrainConfig)["schedule"].choices)


def test_no_update_is_wasted_at_zero():
    config = TrainConfig(steps=50)
    clock = Clock(config, (1, 1), 65)
    assert [clock.progress(k, ahead=1.0) for k in (0, 24, 49)] == [1 / 51, 25 / 51, 50 / 51]
    rates = [schedule(config, clock.progress(k, ahead=1.0)) for k in range(50)]
    assert min(rates) > 0


@pytest.fixture
def model():
    torch.manual_seed(0)
    return GPT(ModelConfig.gpt2(7, n_layer=2, n_head=2, n_embd=8, block_size=6))


@pytest.mark.parametrize("name", rules(TrainConfig)["optimizer"].choices)
def test_groups_are_a_partition_and_only_matrices_decay(model, name):
    groups = build_optimizer(model, TrainConfig(optimizer=name, weight_decay=0.3)).groups
    names = {id(p): name for name, p in model.named_parameters()}
    decayed = {names[id(p)] for group in groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {
        n for n, p in model.named_parameters() if p.ndim == 2 and not n.startswith(("wte", "wpe", "lm_head"))
    }
    found = [names[id(p)] for group in groups for p in group["params"]]
    assert sorted(found) == sorted(names.values())
    assert {group["weight_decay"] for group in groups} == {0.3, 0.0}


@pytest.mark.parametrize("turn", [orthogonalised, fast.turned])
@pytest.mark.parametrize("size", [(3, 7, 12), (3, 7, 14), (1, 5, 40), (2, 6, 6)])
def test_orthogonalised_bends_each_singular_value_and_turns_nothing(turn, size):
    matrices = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for G in (matrices, matrices.mT):
        U, S, Vh = torch.linalg.svd(G / G.norm(dim=(-2, -1), keepdim=True), full_matrices=False)
        for _ in range(5):
            S = 3.4445 * S - 4.7750 * S**3 + 2.0315 * S**5
        torch.testing.assert_close(turn(G), U @ torch.diag_embed(S) @ Vh, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(3, 8, 32), (1, 7, 14), (4, 16, 16), (2, 5, 9)])
@pytest.mark.parametrize("format", [torch.float64, torch.float32, torch.bfloat16])
def test_the_short_cut_turns_like_the_paper(size, format):
    """Long matrices through the product of all rounds; others, and all in bfloat16, step by step to the bit."""
    matrices = torch.randn(size, generator=torch.Generator().manual_seed(0)).to(format)
    short_cut = size[-1] >= 2 * size[-2] and format is not torch.bfloat16
    bounds = {"atol": 1e-9 if format is torch.float64 else 2e-4, "rtol": 0} if short_cut else {}
    for G in (matrices, matrices.mT):
        mine, paper = fast.turned(G), orthogonalised(G)
        torch.testing.assert_close(mine, paper, **bounds)
        assert torch.equal(mine, paper) is not short_cut


def test_muon_is_torchs_muon(model):
    """On a matrix that stands alone; torch turns in bfloat16, hence the tolerance."""
    config = TrainConfig(optimizer="muon", weight_decay=0.1, momentum=0.9)
    mine = build_optimizer(model, config)
    parameter = model.blocks[0].mlp.up.weight
    theirs = parameter.detach().clone().requires_grad_()
    muon = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, momentum=0.9, adjust_lr_fn="original")
    for _ in range(4):
        parameter.grad = torch.randn_like(parameter)
        theirs.grad = parameter.grad.clone()
        mine.step(0.02), muon.step()
        torch.testing.assert_close(parameter, theirs, atol=1e-3, rtol=0)


def test_stacked_matrices_are_turned_one_by_one(model):
    """Queries, keys and values lie in one weight; a huge gradient for one must not slow the others down."""
    optimizer = build_optimizer(model, TrainConfig(optimizer="muon", weight_decay=0.0))
    weight = model.blocks[0].attention.qkv.weight
    before = weight.detach().clone()
    weight.grad = torch.randn_like(weight)
    weight.grad[:8] *= 1000
    optimizer.step(0.03)
    moved = (weight - before).detach().view(3, 8, 8).norm(dim=(-2, -1))
    assert float(moved.max() / moved.min()) < 1.3


def test_swiglus_two_matrices_are_turned_one_by_one():
    torch.manual_seed(0)
    modern = GPT(ModelConfig(7, n_layer=1, n_head=2, n_embd=8, block_size=6))
    weight = modern.blocks[0].mlp.gate_up.weight
    optimizer, before = build_optimizer(modern, TrainConfig(weight_decay=0.0)), weight.detach().clone()
    weight.grad = torch.randn_like(weight)
    weight.grad[: len(weight) // 2] *= 1000
    optimizer.step(0.03)
    gate, up = (weight - before).detach().chunk(2)
    assert float(gate.norm() / up.norm()) == pytest.approx(1.0, abs=0.3)


def test_the_optimizer_follows_the_papers_equations(model):
    """AdamW by hand (Loshchilov & Hutter, 2017, algorithm 2), three steps on one matrix."""
    config = TrainConfig(optimizer="adamw", weight_decay=0.1)
    optimizer = build_optimizer(model, config)
    parameter = model.blocks[0].mlp.up.weight
    theta, m, v = parameter.detach().clone().double(), 0.0, 0.0
    for t in range(1, 4):
        gradient = torch.randn_like(parameter)
        optimizer.zero_grad()
        parameter.grad = gradient.clone()
        optimizer.step(0.01)
        g = gradient.double()
        m, v = config.beta1 * m + (1 - config.beta1) * g, config.beta2 * v + (1 - config.beta2) * g * g
        m_hat, v_hat = m / (1 - config.beta1**t), v / (1 - config.beta2**t)
        theta = theta - 0.01 * (m_hat / (v_hat.sqrt() + 1e-8) + 0.1 * theta)
    torch.testing.assert_close(parameter.double(), theta, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("rule", [fast.fused_adamw, adamw])
def test_adamw_is_torchs_adamw(rule):
    """Fused to the bit, since both call one kernel; written out up to rounding. One parameter starts a step late."""
    torch.manual_seed(0)
    mine = [torch.randn(shape, requires_grad=True) for shape in ((5, 3), (4,), (2, 2))]
    theirs = [parameter.detach().clone().requires_grad_() for parameter in mine]
    common = {"rule": rule, "betas": (0.8, 0.95), "share": 1.0}
    groups = [{"weight_decay": 0.3}, {"weight_decay": 0.0}]
    ours = Optimizer(
        [{**common, **group, "params": p} for group, p in zip(groups, (mine[:1], mine[1:]), strict=True)]
    )
    torchs = torch.optim.AdamW(
        [{**group, "params": p} for group, p in zip(groups, (theirs[:1], theirs[1:]), strict=True)],
        betas=(0.8, 0.95),
        fused=True,
    )
    for step in range(6):
        rate = 0.01 / (1 + step)
        for group in torchs.param_groups:
            group["lr"] = rate
        ours.zero_grad()
        assert all(parameter.grad is None for parameter in mine)
        for one, other in zip(mine[step == 0 :], theirs[step == 0 :], strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        ours.step(rate), torchs.step()
        bounds = {"atol": 1e-6, "rtol": 1e-5} if rule is adamw else {"atol": 0, "rtol": 0}
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other, **bounds)
    assert [float(ours.kept[p]["step"]) for p in ours.parameters] == [5.0, 6.0, 6.0]
    kept = torchs.state_dict()["state"]
    for number, tensors in enumerate(
        map(ours.kept.get, ours.parameters)
    ):  # the names of checkpoints written before it was by hand
        assert tensors.keys() == kept[number].keys()


@pytest.mark.parametrize("name", rules(TrainConfig)["optimizer"].choices)
def test_a_quick_optimizer_goes_where_the_plain_one_goes(model, name):
    """The rules are swapped, and only these: twenty steps lead to the same weights, from and to the same memory."""
    twin, config = copy.deepcopy(model), TrainConfig(optimizer=name)
    plain, quick = build_optimizer(model, config), fast.speed_up(build_optimizer(twin, config))
    rules = [group["rule"] for group in quick.groups]
    assert rules[-1] is fast.fused_adamw and all(
        g["turn"] is fast.turned for g in quick.groups if "turn" in g
    )
    for _ in range(20):
        for one, other in zip(plain.parameters, quick.parameters, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        plain.step(0.01), quick.step(0.01)
    for one, other in zip(plain.parameters, quick.parameters, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert [list(k) for k in plain.kept.values()] == [list(k) for k in quick.kept.values()]


def test_a_quick_rule_does_not_stand_in_for_another_one(model, monkeypatch, capsys):
    """Where a student has edited the rule, the student's runs, and a line says so."""
    honest = adamw

    def edited(parameters, kept, group):
        honest(parameters, kept, {**group, "weight_decay": 0.5})

    monkeypatch.setattr("minilm.training.optim.adamw", edited)
    monkeypatch.setattr(
        "minilm.training.optim.orthogonalised",
        lambda matrices: matrices / matrices.norm(dim=(-2, -1), keepdim=True),
    )
    note.cache_clear()  # a line is said once per process
    optimizer = fast.speed_up(build_optimizer(model, TrainConfig()))
    assert [group["rule"] for group in optimizer.groups][-1] is edited
    assert all(group.get("turn") is not fast.turned for group in optimizer.groups)
    said = capsys.readouterr().err
    assert "the steps of AdamW computed as it is written" in said and "the turning of Muon" in said


def test_the_numbers_of_newton_and_schulz_are_the_papers():
    assert NEWTON_SCHULZ == (3.4445, -4.7750, 2.0315)


@pytest.mark.parametrize("name", rules(TrainConfig)["optimizer"].choices)
def test_an_optimizers_state_goes_to_the_parameters_it_came_from(model, name, tmp_path):
    config, twin = TrainConfig(optimizer=name), copy.deepcopy(model)
    first, second = build_optimizer(model, config), build_optimizer(twin, config)

    def step(*optimizers):
        gradients = [torch.randn_like(parameter) for parameter in first.parameters]
        for optimizer in optimizers:
            for parameter, gradient in zip(optimizer.parameters, gradients, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step(0.01)

    assert first.kept == {}
    step(first)
    twin.load_state_dict(model.state_dict())
    save_checkpoint(tmp_path / "checkpoint", model, first, {})
    load_checkpoint(tmp_path / "checkpoint", twin, second)
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
    with pytest.raises(CorpusError, match="at least 2 tokens"):
        exact_loss(model, np.zeros(1, dtype=np.uint8))


def test_units():
    assert bits_per_character(math.log(2)) == pytest.approx(1.0)
    assert perplexity(math.log(7)) == pytest.approx(7.0)
