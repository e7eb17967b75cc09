"""Attention against an explicit loop: every backend, values and gradients, every kind of mask."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from minilm.attention import BACKENDS, choose_backend, scaled_dot_product_attention
from minilm.config import ModelConfig
from minilm.errors import ConfigError
from minilm.model import CausalSelfAttention

SHAPES = [
    (1, 1, 1, 1, 2),
    (2, 3, 5, 5, 4),
    (1, 2, 1, 7, 3),
    (2, 1, 4, 9, 5),
    (1, 1, 6, 6, 1),
    (1, 2, 5, 3, 2),  # more queries than keys: causal leaves the first two blind
]  # B, H, T, S, D


def loop_attention(q, k, v, mask=None, is_causal=False):
    """softmax(QK^T / sqrt(d_k)) V, one number at a time; a query that may see nothing gives zeros."""
    B, H, T, D = q.shape
    S = k.shape[2]
    mask = None if mask is None else mask.expand(B, H, T, S)
    rows = []
    for b in range(B):
        for h in range(H):
            for t in range(T):
                seen = [
                    s
                    for s in range(S)
                    if (mask is None or mask[b, h, t, s]) and (not is_causal or s <= t + S - T)
                ]
                scores = [sum(q[b, h, t, d] * k[b, h, s, d] for d in range(D)) / math.sqrt(D) for s in seen]
                exps = [torch.exp(score - max(scores)) for score in scores]
                total = sum(exps)
                row = (
                    sum((e / total) * v[b, h, s] for e, s in zip(exps, seen, strict=True))
                    if seen
                    else 0 * v[b, h, 0]
                )
                rows.append(row)
    return torch.stack(rows).view(B, H, T, -1)


def some_mask(kind, B, H, T, S):
    torch.manual_seed(1)
    mask = torch.rand(B, H, T, S) < 0.6
    if kind == "padding":
        mask = (torch.arange(S) < max(1, S - 2)).view(1, 1, 1, S)
    elif kind == "blind row":
        mask = mask.clone()
        mask[:, :, T // 2] = False
    elif kind == "all blind":
        mask = torch.zeros(B, H, T, S, dtype=torch.bool)
    return mask if kind != "none" else None


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("kind", ["none", "random", "padding", "blind row", "all blind"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_equal_the_loop(backend, shape, kind, is_causal):
    B, H, T, S, D = shape
    torch.manual_seed(0)
    q, k, v = (torch.randn(B, H, n, D, dtype=torch.float64, requires_grad=True) for n in (T, S, S))
    mask = some_mask(kind, B, H, T, S)
    expected = loop_attention(q, k, v, mask, is_causal)
    weight = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * weight).sum(), (q, k, v), allow_unused=True)
    output = BACKENDS[backend](q, k, v, mask, is_causal=is_causal)
    grads = torch.autograd.grad((output * weight).sum(), (q, k, v), allow_unused=True)
    torch.testing.assert_close(output, expected, rtol=1e-10, atol=1e-12)
    for one, two in zip(grads, wanted, strict=True):
        zeros = torch.zeros(())
        a, b = (zeros if g is None else g for g in (one, two))
        torch.testing.assert_close(
            a.expand(torch.broadcast_shapes(a.shape, b.shape)).double(),
            b.expand(torch.broadcast_shapes(a.shape, b.shape)).double(),
            rtol=1e-9,
            atol=1e-11,
        )


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_by_finite_differences(backend):
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 1, 3, 2, dtype=torch.float64, requires_grad=True) for _ in range(3))
    mask = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])
    assert torch.autograd.gradcheck(lambda *x: BACKENDS[backend](*x, mask), (q, k, v))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("backend", BACKENDS)
def test_huge_scores_stay_finite(backend, dtype):
    """Scores of several hundred: exp() of them overflows unless the largest is subtracted first."""
    torch.manual_seed(0)
    q, k, v = ((30 * torch.randn(1, 2, 8, 16)).to(dtype) for _ in range(3))
    output = BACKENDS[backend](q, k, v, is_causal=True)
    assert output.dtype == dtype and output.isfinite().all()
    exact = BACKENDS[backend](q.double(), k.double(), v.double(), is_causal=True)
    assert (output.double() - exact).abs().max() < {torch.float32: 1e-3}.get(dtype, 1.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_scores_beyond_float16_stay_finite(backend):
    """200 x 200 x 64 / 8 is 320,000, and float16 ends at 65,504; equal scores give the mean."""
    q, v = torch.full((1, 1, 3, 64), 200.0).half(), torch.randn(1, 1, 3, 64).half()
    expected = v.mean(-2, keepdim=True).expand_as(v)
    torch.testing.assert_close(BACKENDS[backend](q, q, v), expected, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_inputs_still_sum_to_one(dtype):
    torch.manual_seed(0)
    q, k = torch.randn(4, 8).to(dtype), torch.randn(1000, 8).to(dtype)
    weights = scaled_dot_product_attention(q, k, k, return_weights=True)[1]
    torch.testing.assert_close(weights.double().sum(-1), torch.ones(4).double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_future_has_no_influence(backend):
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 6, 4) for _ in range(3))
    before = BACKENDS[backend](q, k, v, is_causal=True)
    k2, v2 = k.clone(), v.clone()
    k2[:, :, 4:], v2[:, :, 4:] = 9.0, -9.0
    after = BACKENDS[backend](q, k2, v2, is_causal=True)
    torch.testing.assert_close(before[:, :, :4], after[:, :, :4])
    assert not torch.allclose(before[:, :, 4:], after[:, :, 4:])


def test_weights_are_probabilities_and_scaled_by_the_head_size():
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 4, 9) for _ in range(3))
    output, weights = scaled_dot_product_attention(q, k, v, return_weights=True)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 4))
    torch.testing.assert_close(weights, (q @ k.transpose(-1, -2) / 3.0).softmax(-1))
    torch.testing.assert_close(output, weights @ v)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_blind_query_has_no_weights(backend):
    q, k = torch.randn(4, 2), torch.randn(3, 2)  # no batch, no heads; the first query is before every key
    output, weights = BACKENDS[backend](q, k, k, is_causal=True, return_weights=True)
    torch.testing.assert_close(weights.sum(-1), torch.tensor([0.0, 1.0, 1.0, 1.0]))
    torch.testing.assert_close(output, weights @ k)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_mask_of_keys_alone_equals_leaving_them_out(backend):
    q, k = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 6, 5)
    kept = torch.tensor([True, False, True, True, False, True])
    without = k[:, :, kept]
    torch.testing.assert_close(BACKENDS[backend](q, k, k, kept), BACKENDS[backend](q, without, without))


@pytest.mark.parametrize("backend", BACKENDS)
def test_dropout_keeps_the_mean_and_zero_keeps_everything(backend):
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 1, 4, 8), torch.randn(1, 1, 6, 8), torch.rand(1, 1, 6, 8)
    exact = BACKENDS[backend](q, k, v, dropout_p=0.0)
    mean = torch.stack([BACKENDS[backend](q, k, v, dropout_p=0.3) for _ in range(4000)]).mean(0)
    assert (mean - exact).abs().max() < 0.03
    assert not torch.equal(BACKENDS[backend](q, k, v, dropout_p=0.3), exact)


def test_a_mask_of_numbers_is_refused():
    q = torch.randn(1, 1, 2, 2)
    for attend in BACKENDS.values():
        with pytest.raises(ConfigError, match="mask must be boolean"):
            attend(q, q, q, torch.zeros(2, 2))


@pytest.mark.parametrize(
    "T", [1, 63, 100, 200]
)  # less than a block, a whole and a part, blocks of the other length
@pytest.mark.parametrize("scale", [None, 0.7])
def test_blocks_equal_torchs_kernel_and_its_gradients(T, scale):
    torch.manual_seed(0)
    inputs = [torch.randn(2, 3, T, 8, dtype=torch.float64).requires_grad_() for _ in range(3)]
    output = BACKENDS["blocked"](*inputs, is_causal=True, scale=scale)
    expected = F.scaled_dot_product_attention(*inputs, is_causal=True, scale=scale)
    torch.testing.assert_close(output, expected)
    slope = torch.randn_like(output)
    mine, theirs = (torch.autograd.grad(o, inputs, slope) for o in (output, expected))
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("attention", BACKENDS)
def test_dropout_leaves_attention_weights_alone(monkeypatch, attention):
    """What is dropped is the layer's output, (B, T, C), whichever backend computes."""
    layer = CausalSelfAttention(ModelConfig(7, n_embd=8, n_head=2, dropout=0.5, attention=attention))
    x, dropped = torch.randn(2, 5, 8), []
    monkeypatch.setattr(F, "dropout", lambda x, p, training: dropped.append((x.shape, p, training)) or x)
    torch.testing.assert_close(layer.train()(x), layer.eval()(x))
    assert dropped == [((2, 5, 8), 0.5, True), ((2, 5, 8), 0.5, False)]


def test_auto_is_the_quickest_of_each_device():
    assert choose_backend("auto", "cuda") == "fused" and choose_backend("auto", "cpu") == "blocked"
    assert choose_backend("auto", "mps") == "manual"
    assert choose_backend("fused", "cpu") == "fused"
    with pytest.raises(ConfigError, match="did you mean 'fused'"):
        choose_backend("fuse", "cpu")


@pytest.mark.parametrize("attention", BACKENDS)
def test_the_layer_equals_torchs_own(attention):
    """torch.nn.MultiheadAttention is the independent witness of the projections and the heads."""
    torch.manual_seed(0)
    config = ModelConfig.gpt2(10, n_embd=12, n_head=3, attention=attention)
    layer, theirs = CausalSelfAttention(config), torch.nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = layer.qkv.weight.data, layer.qkv.bias.data
    theirs.out_proj.weight.data, theirs.out_proj.bias.data = layer.proj.weight.data, layer.proj.bias.data
    x = torch.randn(2, 7, 12)
    blocked = torch.ones(7, 7, dtype=torch.bool).triu(1)
    torch.testing.assert_close(
        layer(x), theirs(x, x, x, attn_mask=blocked, need_weights=False)[0], atol=1e-5, rtol=1e-4
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_fused_on_cuda_equals_the_hand_written_path():
    q, k, v = (torch.randn(2, 4, 33, 32, device="cuda") for _ in range(3))
    torch.testing.assert_close(
        BACKENDS["fused"](q, k, v, is_causal=True),
        BACKENDS["manual"](q, k, v, is_causal=True),
        atol=1e-4,
        rtol=1e-3,
    )
