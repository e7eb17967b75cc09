"""What generation reads with, against the module's own forward pass: every option, windows, rollback."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from minilm.config import PRESETS, ModelConfig
from minilm.fast.decoder import QuickWindow, quick_window
from minilm.model import GPT, BigramTable
from minilm.sampling import Window
from minilm.training.session import give_rows

V, T = 11, 12
SMALL = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": T}
OPTIONS = {
    "position": ("rope", "learned"),
    "norm": ("rmsnorm", "layernorm"),
    "qk_norm": (True, False),
    "mlp": ("swiglu", "gelu", "gelu_erf"),
    "bias": (True, False),
}
TOGETHER = ("tie_embeddings", "bigrams")  # each meets the others on its own
WIDE = 12  # channels of a head, in every third model more than its share


def model_of(**changes) -> GPT:
    torch.manual_seed(0)
    model = GPT(ModelConfig.from_dict({"vocab_size": V, **SMALL, **changes}))
    with torch.no_grad():  # gains of one and residuals of zero would hide mistakes
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def some_ids(B: int, length: int = 9, seed: int = 1) -> torch.Tensor:
    return torch.randint(V, (B, length), generator=torch.Generator().manual_seed(seed))


READERS = {
    "cache": (3, lambda model: Window(model, 3)),
    "whole texts": (2, lambda model: Window(model, 2, use_cache=False)),
    "quick": (3, lambda model: QuickWindow(model, 3)),
    "quick, one text": (1, lambda model: QuickWindow(model, 1)),
}


@pytest.mark.parametrize("reader", READERS)
def test_every_option_gives_the_modules_logits(reader):
    """A prompt, a later piece, single tokens: together the logits that the module gives all at once."""
    B, make = READERS[reader]
    ids = some_ids(B)
    for number, values in enumerate(itertools.product(*OPTIONS.values())):
        options = dict(zip(OPTIONS, values, strict=True))
        options |= {name: bool(number >> place & 1) for place, name in enumerate(TOGETHER)}
        options |= {"head_dim": None if number % 3 else WIDE}
        model = model_of(**options)
        made = make(model)
        parts = [made.read(part, wanted=part.size(1)) for part in ids.split([4, 3, 1, 1], dim=1)]
        with torch.no_grad():
            expected = model(ids).logits
        torch.testing.assert_close(torch.cat(parts, dim=1), expected, atol=1e-5, rtol=1e-4, msg=str(options))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("preset", PRESETS)
def test_only_the_wanted_positions_are_answered(reader, preset):
    B, make = READERS[reader]
    model, ids = model_of(**{**PRESETS[preset].model, **SMALL}), some_ids(B)
    expected = model(ids).logits
    for wanted in (1, 2, 9):
        got = make(model).read(ids, wanted)
        assert got.shape == (B, wanted, V)
        torch.testing.assert_close(got, expected[:, -wanted:], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("bigrams", [True, False])
def test_what_was_unread_leaves_no_trace(reader, bigrams):
    B, make = READERS[reader]
    model, ids = model_of(bigrams=bigrams), some_ids(B)
    made = make(model)
    made.read(ids[:, :5])
    made.read(some_ids(B, 4, seed=2))
    made.forget(4)
    assert made.length == 5
    torch.testing.assert_close(made.read(ids[:, 5:], 4), model(ids).logits[:, 5:], atol=1e-5, rtol=1e-4)
    made.forget(9)
    torch.testing.assert_close(made.read(ids, 9), model(ids).logits, atol=1e-5, rtol=1e-4)


def test_half_precision_stays_near():
    for options in ({}, PRESETS["gpt2"].model, {"mlp": "gelu_erf", "bigrams": True}):
        model, ids = model_of(**{**options, **SMALL}), some_ids(3)
        exact = model(ids).logits
        model = model.bfloat16()
        made = QuickWindow(model, 3)
        got = torch.cat([made.read(part, part.size(1)) for part in ids.split([5, 1, 3], dim=1)], dim=1)
        assert got.dtype == torch.bfloat16
        module = (model(ids).logits.float() - exact).abs().mean()
        assert (got.float() - exact).abs().mean() < 2 * module + 1e-3, "as exact as the module in bfloat16"


@pytest.mark.parametrize("make", [Window, QuickWindow])
@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("preset", PRESETS)
def test_autocast_does_no_harm(preset, B, make):
    """Whoever generates or evaluates in the middle of a training in mixed precision."""
    model, ids = model_of(**{**PRESETS[preset].model, **SMALL}), some_ids(B)
    exact = model(ids).logits
    with torch.autocast("cpu", torch.bfloat16):
        made = make(model, B)
        got = torch.cat([made.read(part, part.size(1)) for part in ids.split([5, 1, 3], dim=1)], dim=1)
    assert (got.float() - exact).abs().mean() < 0.1


def test_an_edit_of_the_table_of_pairs_is_noticed_though_most_pairs_have_no_row(monkeypatch):
    """Of 90,000 pairs 16,384 have rows; tokens drawn at random would hardly ever meet one."""
    model = GPT(ModelConfig(300, n_layer=1, n_head=1, n_embd=8, block_size=40, bigrams=True))
    give_rows(model, np.arange(4000) * 7 % 300)
    model.bigrams.table.weight.data.normal_()
    assert isinstance(quick_window(model), QuickWindow)
    forward = BigramTable.forward
    monkeypatch.setattr(BigramTable, "forward", lambda *inputs: 2 * forward(*inputs))
    assert type(quick_window(model)) is Window


def test_the_quick_window_is_used_only_where_it_agrees(capsys):
    model = model_of()
    assert isinstance(quick_window(model, 2), QuickWindow)
    model.blocks[1].mlp = torch.nn.Linear(16, 16)
    assert type(quick_window(model, 2)) is Window
    model = model_of()
    model.blocks[0].register_forward_hook(lambda module, inputs, output: 1.1 * output)
    assert type(quick_window(model)) is Window
    model = model_of()
    model.blocks[0].attention.attend = lambda q, k, v, is_causal: v[:, :, -q.size(2) :]
    assert type(quick_window(model)) is Window


def test_a_model_for_which_a_cache_is_wrong_is_read_without_one():
    """A block that looks at the token before by itself knows nothing of a cache."""

    class Shift(torch.nn.Module):
        def forward(self, x):
            return x + torch.nn.functional.pad(x[:, :-1], (0, 0, 1, 0))

    model = model_of()
    model.blocks[0] = Shift()
    ids = some_ids(2)
    slow = model.generate(ids, 30, temperature=0, keep=0.5, use_cache=False)
    assert torch.equal(model.generate(ids, 30, temperature=0, keep=0.5), slow)


def test_every_text_is_written_with_the_weights_of_its_time():
    for B in (1, 2):
        model, ids = model_of(), some_ids(B)
        before = model.generate(ids, 20, temperature=0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.5)
        after = model.generate(ids, 20, temperature=0)
        assert not torch.equal(before, after)
        assert torch.equal(after, model.generate(ids, 20, temperature=0, use_cache=False))


@pytest.mark.parametrize("prompt_length", [1, 5, 12, 20])
@pytest.mark.parametrize("keep", [1.0, 0.75, 0.5, 0.01])
@pytest.mark.parametrize("make", [Window, QuickWindow])
def test_what_a_window_has_in_view(prompt_length, keep, make):
    """Token by token: how many of the latest tokens each prediction sees, counted by hand."""
    model, ids = model_of(), some_ids(2, 40)
    window = make(model, 2, keep)
    view, kept = min(prompt_length, T), max(1, round(keep * T))
    logits = window.read(ids[:, :prompt_length])
    for end in range(prompt_length, 40):
        torch.testing.assert_close(
            logits[:, -1], model(ids[:, end - view : end]).logits[:, -1], atol=1e-5, rtol=1e-4
        )
        view = view + 1 if view < T else kept
        logits = window.read(ids[:, end : end + 1])


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("keep", [1.0, 0.5])
def test_greedy_text_is_the_definitions(preset, B, keep):
    model = model_of(**{**PRESETS[preset].model, **SMALL})
    slow, fast = (
        model.generate(some_ids(B), 40, temperature=0, keep=keep, use_cache=use_cache)
        for use_cache in (False, True)
    )
    assert torch.equal(slow, fast)


def test_new_tokens_may_be_trained_on():
    """Generation happens without gradients, but what it yields are tensors like any others."""
    model = model_of()
    for B in (1, 2):
        ids = model.generate(some_ids(B), 3)
        model(ids, labels=ids).loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
