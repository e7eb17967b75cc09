"""The adapters for CS336 whose tests need weights that are not here, against the decoder written plainly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmarks import cs336_adapters as ours

C, H, W, L, V, T, BASE = 16, 4, 24, 2, 11, 7, 100.0


@pytest.fixture(scope="module")
def weights():
    """A random model by the course's names."""
    torch.manual_seed(0)
    shapes = {f"attn.{name}_proj.weight": (C, C) for name in ("q", "k", "v", "output")}
    shapes |= {"ffn.w1.weight": (W, C), "ffn.w2.weight": (C, W), "ffn.w3.weight": (W, C)}
    shapes |= {"ln1.weight": (C,), "ln2.weight": (C,)}
    shapes = {f"layers.{layer}.{name}": size for layer in range(L) for name, size in shapes.items()}
    shapes |= {"token_embeddings.weight": (V, C), "ln_final.weight": (C,), "lm_head.weight": (V, C)}
    return {name: torch.randn(size) for name, size in shapes.items()}


def turn(x):
    """Neighbouring channels are a complex number each, turned by position times base^(-2i/D)."""
    D = x.size(-1)
    angles = torch.outer(torch.arange(x.size(-2)), BASE ** (-torch.arange(0, D, 2) / D))
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


def attend(w, x, turned=True):
    q, k, v = (F.linear(x, w[f"{n}_proj.weight"]).unflatten(-1, (H, -1)).transpose(1, 2) for n in "qkv")
    q, k = (turn(q), turn(k)) if turned else (q, k)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return F.linear(mixed.transpose(1, 2).flatten(2), w["output_proj.weight"])


def gated(w, x):
    return F.linear(F.silu(F.linear(x, w["w1.weight"])) * F.linear(x, w["w3.weight"]), w["w2.weight"])


def under(start, w):
    return {name.removeprefix(start): tensor for name, tensor in w.items() if name.startswith(start)}


def block(w, x):
    x = x + attend(under("attn.", w), F.rms_norm(x, (C,), w["ln1.weight"], 1e-5))
    return x + gated(under("ffn.", w), F.rms_norm(x, (C,), w["ln2.weight"], 1e-5))


def agree(got, expected):
    np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-4)


def test_attention_and_its_neighbours(weights):
    w, x = under("layers.0.attn.", weights), torch.randn(3, T, C)
    four = {f"{n[0]}_proj_weight": w[f"{n}_proj.weight"] for n in ("q", "k", "v", "output")}
    agree(ours.run_multihead_self_attention(C, H, **four, in_features=x), attend(w, x, turned=False))
    places = torch.arange(T)[None]
    got = ours.run_multihead_self_attention_with_rope(
        C, H, 2 * T, BASE, **four, in_features=x, token_positions=places
    )
    agree(got, attend(w, x))
    agree(ours.run_rope(C, BASE, T, x, torch.arange(T)), turn(x))
    gain, three = weights["ln_final.weight"], under("layers.0.ffn.", weights)
    agree(ours.run_rmsnorm(C, 1e-5, gain, x), F.rms_norm(x, (C,), gain, 1e-5))
    got = ours.run_swiglu(C, W, *(three[f"w{k}.weight"] for k in (1, 2, 3)), x)
    agree(got, gated(three, x))


def test_block_and_model(weights):
    one, x, ids = under("layers.1.", weights), torch.randn(3, T, C), torch.randint(V, (3, T))
    agree(ours.run_transformer_block(C, H, W, 2 * T, BASE, one, x), block(one, x))
    stream = weights["token_embeddings.weight"][ids]
    for layer in range(L):
        stream = block(under(f"layers.{layer}.", weights), stream)
    expected = F.linear(F.rms_norm(stream, (C,), weights["ln_final.weight"], 1e-5), weights["lm_head.weight"])
    agree(ours.run_transformer_lm(V, 2 * T, C, L, H, W, BASE, weights, ids), expected)
    agree(ours.run_transformer_lm(V, T, C, L, H, W, BASE, weights, ids[:, :4]), expected[:, :4])


def test_a_softmax_over_any_axis_and_a_loss():
    x, targets = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    agree(ours.run_softmax(x, 0), x.softmax(0))
    agree(ours.run_silu(x), F.silu(x))
    agree(ours.run_cross_entropy(x, targets), F.cross_entropy(x, targets))
