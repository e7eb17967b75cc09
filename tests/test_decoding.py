"""What generation reads with, against the module's own forward pass: every option, windows, rollback."""

from __future__ import annotations

import itertools

import pytest
import torch
from minilm.solo import SoloDecoder
from minilm.window import Recomputing, Window

from minilm.config import PRESETS, ModelConfig
from minilm.errors import ConfigError
from minilm.fast.decoder import Decoder
from minilm.model import GPT

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
    "many": (3, lambda model: Decoder(model.config, dict(model.named_parameters()), 3)),
    "many, of one": (1, lambda model: Decoder(model.config, dict(model.named_parameters()), 1)),
    "solo": (1, lambda model: SoloDecoder(model.config, dict(model.named_parameters()))),
    "definition": (2, lambda model: Recomputing(model, 2)),
}


@pytest.mark.parametrize("reader", READERS)
def test_every_option_gives_the_modules_logits(reader):
    """A prompt, a later piece, single tokens: together the logits that the module gives all at once."""
    B, make = READERS[reader]
    ids = some_ids(B)
    for number, values in enumerate(itertools.product(*OPTIONS.values())):
        options = dict(zip(OPTIONS, values, strict=True))
        options |= {name: bool(number >> place & 1) for place, name in enumerate(TOGETHER)}
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
    assert (made.length, made.room) == (5, 7)
    torch.testing.assert_close(made.read(ids[:, 5:], 4), model(ids).logits[:, 5:], atol=1e-5, rtol=1e-4)
    made.reset()
    torch.testing.assert_close(made.read(ids, 9), model(ids).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("reader", READERS)
def test_more_than_fits_is_refused(reader):
    B, make = READERS[reader]
    made = make(model_of())
    made.read(some_ids(B))
    with pytest.raises(ConfigError, match=f"room for 3 tokens of {B} texts, got 4 of {B}"):
        made.read(some_ids(B, 4))
    with pytest.raises(ConfigError, match=f"got 1 of {B + 1}"):
        made.read(some_ids(B + 1, 1))


def test_half_precision_stays_near():
    for options in ({}, PRESETS["gpt2"].model, {"mlp": "gelu_erf", "bigrams": True}):
        model, ids = model_of(**{**options, **SMALL}), some_ids(3)
        exact = model(ids).logits
        model = model.bfloat16()
        made = Decoder(model.config, dict(model.named_parameters()), 3)
        got = torch.cat([made.read(part, part.size(1)) for part in ids.split([5, 1, 3], dim=1)], dim=1)
        assert got.dtype == torch.bfloat16
        module = (model(ids).logits.float() - exact).abs().mean()
        assert (got.float() - exact).abs().mean() < 2 * module + 1e-3, "as exact as the module in bfloat16"


@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("preset", PRESETS)
def test_autocast_does_no_harm(preset, B):
    """Whoever generates or evaluates in the middle of a training in mixed precision."""
    model, ids = model_of(**{**PRESETS[preset].model, **SMALL}), some_ids(B)
    exact = model(ids).logits
    with torch.autocast("cpu", torch.bfloat16):
        made = model.reader(B)
        got = torch.cat([made.read(part, part.size(1)) for part in ids.split([5, 1, 3], dim=1)], dim=1)
    assert (got.float() - exact).abs().mean() < 0.1


def test_who_reads_for_whom():
    model = model_of()
    assert isinstance(model.reader(1), SoloDecoder)
    assert isinstance(model.reader(2), Decoder)
    assert isinstance(model.bfloat16().reader(1), Decoder)


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
def test_what_a_window_has_in_view(prompt_length, keep):
    """Token by token: how many of the latest tokens each prediction sees, counted by hand."""
    model, ids = model_of(), some_ids(2, 40)
    window = Window(model.reader(2), keep)
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
