"""Lab 2: attention. Fill the gaps; `python -m minilm.classroom check lab2.py` tells how far you are.

Axes: B batch, H heads, T queries, S keys, D head size, C channels. You may use torch and the standard library, and
call your own earlier functions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def scores(q: Tensor, k: Tensor) -> Tensor:
    """How well each query fits each key, QK^T / sqrt(D): q (..., T, D) and k (..., S, D) -> (..., T, S)."""
    return q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))


def softmax(x: Tensor) -> Tensor:
    """exp(x) / sum(exp(x)) over the last axis, (..., S) -> (..., S), also where exp(x) would overflow.

    Write it with exp and sum. A score of -inf gets the share 0; every row holds at least one finite number.
    """
    shifted = (x - x.max(dim=-1, keepdim=True).values).exp()
    return shifted / shifted.sum(dim=-1, keepdim=True)


def causal_mask(T: int, S: int) -> Tensor:
    """Who may see whom, boolean (T, S), True = may attend. The queries are the last T of S moments, T <= S."""
    return torch.ones(T, S, dtype=torch.bool).tril(S - T)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(QK^T / sqrt(D)) V over the keys that the mask allows; q (..., T, D), k and v (..., S, D), mask
    boolean (T, S) or None -> (..., T, D). Every query may attend to at least one key."""
    fit = scores(q, k)  # (..., T, S)
    if mask is not None:
        fit = fit.masked_fill(~mask, -math.inf)
    return softmax(fit) @ v  # (..., T, D)


def split_heads(x: Tensor, n_head: int) -> Tensor:
    """Cuts the channels into heads of neighbouring channels, (B, T, C) -> (B, H, T, D) with D = C / H."""
    B, T, C = x.shape
    return x.view(B, T, n_head, C // n_head).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """Lays the heads side by side again, (B, H, T, D) -> (B, T, C) with C = H D."""
    B, H, T, D = x.shape
    return x.transpose(1, 2).reshape(B, T, H * D)


def self_attention(x: Tensor, qkv: Tensor, proj: Tensor, n_head: int) -> Tensor:
    """Causal self-attention with H heads, (B, T, C) -> (B, T, C).

    qkv is (C, 3 C): x @ qkv holds queries, keys and values side by side, C channels each. proj is (C, C) and comes
    last, as heads @ proj.
    """
    T = x.size(1)
    q, k, v = (split_heads(part, n_head) for part in (x @ qkv).chunk(3, dim=-1))  # each (B, H, T, D)
    return merge_heads(attention(q, k, v, causal_mask(T, T))) @ proj  # (B, T, C)
