"""Attention: softmax(QK^T / sqrt(d_k)) V, by hand and by torch's fused kernel, and the layer around it.

The first half is mathematics: small pure functions, each one term of the formula. The second half is the
layer that makes queries, keys and values out of the residual stream. This file knows nothing of tokens, of
training or of the rest of the decoder.

Axes: B batch, H heads, T queries, S keys, D head size, C channels. A mask is boolean, True = may attend.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilm.causal import blocked_causal
from minilm.config import ModelConfig
from minilm.errors import ConfigError, did_you_mean
from minilm.kv_cache import KVCache
from minilm.layers import Linear, RMSNorm, rotate


def attention_scores(q: Tensor, k: Tensor, scale: float | None = None) -> Tensor:
    """QK^T / sqrt(d_k): how well each query fits each key, (..., T, D) and (..., S, D) -> (..., T, S).

    Without the division the variance of a score would grow with D, and softmax would saturate.
    """
    if q.dtype == torch.float16:  # its largest number is 65504, which a score can pass
        q, k = q.float(), k.float()
    scale = 1 / math.sqrt(q.size(-1)) if scale is None else scale
    return (q * scale) @ k.transpose(-2, -1)  # scaling q is cheaper than scaling the larger scores


def causal_mask(T: int, S: int, device: torch.device | str | None = None) -> Tensor:
    """Who may see whom when time runs forward: query t sees the keys up to its own moment, (T, S).

    The queries are the last T of S moments, as they are when earlier keys come from a cache.

    >>> causal_mask(2, 3).int().tolist()
    [[1, 1, 0], [1, 1, 1]]
    """
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)


def attention_weights(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax over the keys that the mask allows, (..., T, S) -> (..., T, S); rows sum to 1.

    In float32 or wider: rounded to half precision, a thousand small weights would no longer sum to 1.
    """
    scores = scores if scores.dtype == torch.float64 else scores.float()
    if mask is not None:  # added, since a sum passes its gradient on for free and masked_fill copies it
        scores = scores + torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, -math.inf)
    return scores.softmax(dim=-1)


def mix(weights: Tensor, v: Tensor) -> Tensor:
    """Each query's weighted mean of the values, (..., T, S) and (..., S, D) -> (..., T, D)."""
    return weights.to(v.dtype) @ v


def joint_mask(
    q: Tensor, k: Tensor, mask: Tensor | None, is_causal: bool
) -> tuple[Tensor | None, Tensor | None]:
    """(allowed, blind): who may see whom, (..., T, S), and which queries may see nothing, (..., T, 1).

    A softmax over nothing would be 0/0, so blind queries are allowed everything here; the caller forgets what
    they saw. None stands for "all may see all" and for "nobody is blind".
    """
    T, S = q.size(-2), k.size(-2)
    if mask is not None and mask.dtype != torch.bool:
        raise ConfigError(f"mask must be boolean, True = may attend, got {mask.dtype}; compare it with 0")
    if is_causal and T > 1:  # a single query is the last moment, and sees every key
        causal = causal_mask(T, S, q.device)
        if mask is None and T <= S:
            return causal, None
        mask = causal if mask is None else mask & causal
    if mask is None:
        return None, None
    mask = torch.atleast_2d(mask)
    blind = ~mask.any(dim=-1, keepdim=True)
    return mask | blind, blind


def scaled_dot_product_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    is_causal: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
    return_weights: bool = False,
) -> Any:
    """softmax(QK^T / sqrt(d_k)) V, written out (Vaswani et al., 2017, "Attention Is All You Need", eq. 1).

    q is (..., T, D), k and v are (..., S, D), mask is boolean and broadcastable to (..., T, S); the result is
    (..., T, D), with `return_weights` a pair whose second part is the weights (..., T, S) before dropout.
    With `is_causal` the queries are the last T of the S moments. A query that may attend to nothing gives
    zeros, and gradients of zero. A mask that is not boolean is a ConfigError.

    >>> import torch
    >>> q, k = torch.tensor([[0.0]]), torch.tensor([[1.0], [2.0]])
    >>> scaled_dot_product_attention(q, k, torch.tensor([[10.0], [20.0]]))  # no preference: the mean
    tensor([[15.]])
    """
    allowed, blind = joint_mask(q, k, mask, is_causal)
    scores = attention_scores(q, k, scale)  # (..., T, S)
    weights = attention_weights(scores, allowed)  # (..., T, S)
    if blind is not None:
        weights = weights.masked_fill(blind, 0.0)
    output = mix(F.dropout(weights, dropout_p) if dropout_p else weights, v)  # (..., T, D)
    return (output, weights) if return_weights else output


def fused_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    is_causal: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
    return_weights: bool = False,
) -> Any:
    """The same function through torch's kernels, which never hold all weights at once (Dao et al., 2022).

    Two wishes those kernels cannot meet go to the hand-written path: `return_weights` anywhere, and dropout
    on a CPU, where torch itself would fall back to an unfused formula.

    >>> import torch
    >>> q = torch.randn(2, 4, 3, 8)
    >>> torch.allclose(fused_attention(q, q, q), scaled_dot_product_attention(q, q, q), atol=1e-6)
    True
    """
    if return_weights or (dropout_p and q.device.type == "cpu"):
        return scaled_dot_product_attention(
            q,
            k,
            v,
            mask,
            is_causal=is_causal,
            dropout_p=dropout_p,
            scale=scale,
            return_weights=return_weights,
        )
    if mask is None and is_causal and q.size(-2) == k.size(-2):  # the training path builds no mask
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout_p, scale=scale)
    # Otherwise a mask: torch's is_causal aligns the first query with the first key, wrong where T < S.
    allowed, blind = joint_mask(q, k, mask, is_causal)
    output = F.scaled_dot_product_attention(q, k, v, allowed, dropout_p=dropout_p, scale=scale)
    return output if blind is None else output.masked_fill(blind, 0.0)


def blocked_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    is_causal: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
    return_weights: bool = False,
) -> Any:
    """The same function, computed by blocks of queries where it is plain causal attention, as in a training.

    Everything else goes to the hand-written path.

    >>> q = torch.randn(2, 4, 3, 8)
    >>> expected = scaled_dot_product_attention(q, q, q, is_causal=True)
    >>> torch.allclose(blocked_attention(q, q, q, is_causal=True), expected, atol=1e-6)
    True
    """
    plain = is_causal and mask is None and q.shape == k.shape == v.shape and q.dtype == k.dtype == v.dtype
    if plain and q.dtype != torch.float16 and not (dropout_p or return_weights):
        return blocked_causal(q, k, v, scale)
    return scaled_dot_product_attention(
        q,
        k,
        v,
        mask,
        is_causal=is_causal,
        dropout_p=dropout_p,
        scale=scale,
        return_weights=return_weights,
    )


BACKENDS: dict[str, Callable[..., Any]] = {
    "manual": scaled_dot_product_attention,
    "blocked": blocked_attention,
    "fused": fused_attention,
}
AUTO = {"cuda": "fused", "cpu": "blocked"}  # what "auto" means; hand-written elsewhere


def choose_backend(name: str, device_type: str) -> str:
    """The backend's key in `BACKENDS`; "auto" is the quickest one in a training, by the kind of device.

    >>> choose_backend("auto", "cuda"), choose_backend("auto", "cpu"), choose_backend("auto", "mps")
    ('fused', 'blocked', 'manual')
    """
    if name == "auto":
        return AUTO.get(device_type, "manual")
    if name not in BACKENDS:
        raise ConfigError(
            f"attention must be auto or a backend, got {name!r}; {did_you_mean(name, BACKENDS)}"
        )
    return name


class CausalSelfAttention(nn.Module):
    """Every position asks the positions up to its own, with H questions at once: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: ModelConfig, layer: int = 0) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        C, D = config.n_embd, config.head_size
        self.qkv = Linear(C, 3 * C, bias=config.bias)
        self.proj = Linear(C, C, bias=config.bias)
        self.q_norm = RMSNorm(D, config.norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(D, config.norm_eps) if config.qk_norm else nn.Identity()
        self.attend: Callable[..., Any] | None = None  # in place of the backend, while `taps` look inside

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor] | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """`rotary` are the (T, D/2) cosines and sines of these positions; `cache` brings the earlier keys."""
        B, T, C = x.shape
        H, D = self.config.n_head, self.config.head_size
        qkv = self.qkv(x).view(B, T, 3, H, D).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.contiguous()  # each (B, H, T, D); one copy here saves many slow strided passes
        q, k = self.q_norm(q), self.k_norm(k)
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)  # (B, H, S, D)
        attend = self.attend or BACKENDS[choose_backend(self.config.attention, x.device.type)]
        output = attend(q, k, v, is_causal=True)  # (B, H, T, D)
        output = self.proj(output.transpose(1, 2).reshape(B, T, C))
        # Only what a layer adds to the stream is dropped, never attention weights: that would cost a random number
        # per pair of moments and drive attention off its quick paths.
        return F.dropout(output, self.config.dropout, self.training)
