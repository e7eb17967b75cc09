"""Computes attention, softmax(QK^T / sqrt(d_k)) V, as small pure functions, each one term of the formula.

At the end stand quicker ways to compute the same, and the rule that lets one run. Knows nothing of layers or tokens.
Axes: B batch, H heads, T queries, S keys, D head size. A mask is boolean, True = may attend.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from minilm.errors import ConfigError, did_you_mean
from minilm.fast.agreement import backends_agree
from minilm.fast.blocked import blocked_attention


def attention_scores(q: Tensor, k: Tensor, scale: float | None = None) -> Tensor:
    """QK^T / sqrt(d_k): how well each query fits each key, (..., T, D) and (..., S, D) -> (..., T, S). Without the
    division the variance of a score would grow with D, and softmax would saturate."""
    if q.dtype == torch.float16:  # its largest number is 65504, which a score can pass
        q, k = q.float(), k.float()
    scale = 1 / math.sqrt(q.size(-1)) if scale is None else scale
    return (q * scale) @ k.transpose(-2, -1)  # scaling q is cheaper than scaling the larger scores


def causal_mask(T: int, S: int, device: torch.device | str | None = None) -> Tensor:
    """Who may see whom when time runs forward: query t sees the keys up to its own moment, (T, S); the queries are the
    last T of S moments, as they are when earlier keys come from a cache.

    >>> causal_mask(2, 3).int().tolist()
    [[1, 1, 0], [1, 1, 1]]
    """
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)


def attention_weights(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax over the keys that the mask allows, (..., T, S) -> (..., T, S); rows sum to 1. In float32 or wider: in
    half precision, a thousand small weights would not. Where a row allows nothing, all keys weigh the same."""
    scores = scores if scores.dtype == torch.float64 else scores.float()
    if mask is not None:  # added, since a sum passes its gradient on for free and masked_fill copies it
        lowest = torch.finfo(scores.dtype).min  # not -inf: a softmax over nothing would be 0/0
        scores = scores + torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, lowest)
    return scores.softmax(dim=-1)


def mix(weights: Tensor, v: Tensor) -> Tensor:
    """Each query's weighted mean of the values, (..., T, S) and (..., S, D) -> (..., T, D)."""
    return weights.to(v.dtype) @ v


def allowed_pairs(q: Tensor, k: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor | None:
    """Who may see whom, boolean and broadcastable to (..., T, S); None where all may see all."""
    if mask is not None and mask.dtype != torch.bool:
        raise ConfigError(f"mask must be boolean, True = may attend, got {mask.dtype}; compare it with 0")
    if not is_causal or q.size(-2) == 1:  # a single query is the last moment, and sees every key
        return mask
    causal = causal_mask(q.size(-2), k.size(-2), q.device)
    return causal if mask is None else mask & causal


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

    >>> q, k = torch.tensor([[0.0]]), torch.tensor([[1.0], [2.0]])
    >>> scaled_dot_product_attention(q, k, torch.tensor([[10.0], [20.0]]))  # no preference: the mean
    tensor([[15.]])
    """
    allowed = allowed_pairs(q, k, mask, is_causal)  # (..., T, S)
    scores = attention_scores(q, k, scale)  # (..., T, S)
    weights = attention_weights(scores, allowed)  # (..., T, S)
    if allowed is not None and (mask is not None or q.size(-2) > k.size(-2)):  # then a query may see nothing
        weights = weights.masked_fill(~allowed.any(dim=-1, keepdim=True), 0.0)
    output = mix(F.dropout(weights, dropout_p) if dropout_p else weights, v)  # (..., T, D)
    return (output, weights) if return_weights else output


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, is_causal: bool = False, **options: Any
) -> Any:
    """The same through torch's kernels, which never hold all weights at once (Dao et al., 2022, "FlashAttention"). What
    they do otherwise goes to the formula: weights returned, masks, dropout on a CPU, and causal attention of fewer
    queries than keys, where torch aligns the first of both."""
    causal = is_causal and q.size(-2) > 1
    plain = mask is None and not options.get("return_weights") and (not causal or q.size(-2) == k.size(-2))
    if not plain or (options.get("dropout_p") and q.device.type == "cpu"):
        return scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal, **options)
    options.pop("return_weights", None)
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal, **options)


def manual_attention(*tensors: Tensor, **options: Any) -> Any:
    """The formula, looked up at each call: a new definition in a notebook is used from then on."""
    return scaled_dot_product_attention(*tensors, **options)


BACKENDS: dict[str, Callable[..., Any]] = {  # yours: BACKENDS["mine"] = f, then ModelConfig(attention="mine")
    "manual": manual_attention,
    "blocked": functools.partial(blocked_attention, otherwise=fused_attention),
    "fused": fused_attention,
}
AUTO = {"cuda": "fused", "cpu": "blocked"}  # what "auto" means where it agrees with the formula


def choose_backend(name: str, device_type: str) -> str:
    """The key in `BACKENDS` of what runs: a quick backend only where it computes what the formula above computes."""
    name = AUTO.get(device_type, "manual") if name == "auto" else name
    if name not in BACKENDS:
        hint = did_you_mean(name, BACKENDS)
        raise ConfigError(f"attention must be auto or a backend, got {name!r}; {hint}")
    if name not in AUTO.values() or torch.compiler.is_compiling():  # what is exported takes any length
        return name if name not in AUTO.values() or not torch.compiler.is_exporting() else "manual"
    terms: tuple = (allowed_pairs, attention_scores, causal_mask, attention_weights, mix)
    terms += (scaled_dot_product_attention,)
    return name if backends_agree(BACKENDS[name], BACKENDS["manual"], device_type, terms) else "manual"
