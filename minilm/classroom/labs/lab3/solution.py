"""Lab 3: the decoder. Fill the gaps; `python -m minilm.classroom check lab3.py` tells how far you are.

Axes: B batch, T time, C channels, V vocabulary. You may use torch and the standard library, and call your own earlier
functions. `self_attention` is given: it is lab 2.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def self_attention(x: Tensor, qkv: Tensor, proj: Tensor, n_head: int) -> Tensor:
    """Given: causal self-attention, (B, T, C) -> (B, T, C), with qkv (C, 3 C) and proj (C, C)."""
    B, T, C = x.shape
    q, k, v = (x @ qkv).view(B, T, 3, n_head, C // n_head).permute(2, 0, 3, 1, 4)
    heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, D)
    return heads.transpose(1, 2).reshape(B, T, C) @ proj


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(x - mean) / sqrt(var + 1e-5) * weight + bias, mean and variance over the last axis; (..., C) -> (..., C)."""
    mean = x.mean(dim=-1, keepdim=True)
    var = (x - mean).square().mean(dim=-1, keepdim=True)
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def gelu(x: Tensor) -> Tensor:
    """0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), of any shape."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def mlp(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """To 4 C channels, gelu, and back: x (..., C), up (C, 4 C), down (4 C, C) -> (..., C). Products as x @ up."""
    return gelu(x @ up) @ down


def block(x: Tensor, weights: dict[str, Tensor], n_head: int) -> Tensor:
    """One decoder block, (B, T, C) -> (B, T, C).

    weights: norm_1, norm_1_bias, qkv, proj, norm_2, norm_2_bias, up, down.
    """
    normed = layer_norm(x, weights["norm_1"], weights["norm_1_bias"])
    x = x + self_attention(normed, weights["qkv"], weights["proj"], n_head)
    normed = layer_norm(x, weights["norm_2"], weights["norm_2_bias"])
    return x + mlp(normed, weights["up"], weights["down"])


def embed(ids: Tensor, wte: Tensor, wpe: Tensor) -> Tensor:
    """Token plus position: ids (B, T), wte (V, C), wpe (longest T, C) -> (B, T, C)."""
    return wte[ids] + wpe[: ids.size(1)]


def gpt(ids: Tensor, weights: dict[str, Any], n_head: int) -> Tensor:
    """Logits of the whole decoder, (B, T) -> (B, T, V).

    weights: wte, wpe, blocks (a list of the dictionaries that `block` takes), norm_f, norm_f_bias.
    """
    x = embed(ids, weights["wte"], weights["wpe"])
    for each in weights["blocks"]:
        x = block(x, each, n_head)
    return layer_norm(x, weights["norm_f"], weights["norm_f_bias"]) @ weights["wte"].T


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log p(next label) over the labels that are not -100, in nats: logits (B, T, V), labels (B, T), not yet
    shifted -> a number."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
