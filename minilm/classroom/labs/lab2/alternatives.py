"""Other right ways through lab 2; all must get full points."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from minilm.classroom.labs.lab2.solution import (
    causal_mask,
    merge_heads,
    scores,
)


def scores__einsum(q: Tensor, k: Tensor) -> Tensor:
    return torch.einsum("...td,...sd->...ts", q, k) * q.shape[-1] ** -0.5


def scores__double(q: Tensor, k: Tensor) -> Tensor:
    return (q.double() / math.sqrt(q.size(-1))) @ k.double().mT


def scores__loops(q: Tensor, k: Tensor) -> Tensor:
    rows = [(q[..., t : t + 1, :] * k).sum(-1) / math.sqrt(q.size(-1)) for t in range(q.size(-2))]
    return torch.stack(rows, dim=-2)


def softmax__library(x: Tensor) -> Tensor:
    return F.softmax(x, dim=-1)


def softmax__logsumexp(x: Tensor) -> Tensor:
    return torch.exp(x - torch.logsumexp(x, dim=-1, keepdim=True))


def causal_mask__compared(T: int, S: int) -> Tensor:
    return torch.arange(S)[None, :] <= torch.arange(S - T, S)[:, None]


def causal_mask__loops(T: int, S: int) -> list[list[bool]]:
    return [[s <= t + S - T for s in range(S)] for t in range(T)]


def attention__fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, mask)


def attention__large_negative(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    fit = scores(q, k)
    if mask is not None:
        fit = torch.where(mask, fit, torch.tensor(-1e9))
    return torch.einsum("...ts,...sd->...td", fit.softmax(-1), v)


def attention__renormalised(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    weights = scores(q, k).softmax(-1)
    if mask is not None:
        weights = weights * mask
    return (weights / weights.sum(-1, keepdim=True)) @ v


def split_heads__stacked(x: Tensor, n_head: int) -> Tensor:
    return torch.stack(x.chunk(n_head, dim=-1), dim=1)


def split_heads__unflatten(x: Tensor, n_head: int) -> Tensor:
    return x.unflatten(-1, (n_head, -1)).permute(0, 2, 1, 3)


def merge_heads__concatenated(x: Tensor) -> Tensor:
    return torch.cat(x.unbind(dim=1), dim=-1)


def merge_heads__flatten(x: Tensor) -> Tensor:
    return x.permute(0, 2, 1, 3).flatten(2)


def self_attention__fused(x: Tensor, qkv: Tensor, proj: Tensor, n_head: int) -> Tensor:
    B, T, C = x.shape
    q, k, v = (x @ qkv).view(B, T, 3, n_head, C // n_head).permute(2, 0, 3, 1, 4)
    return merge_heads(F.scaled_dot_product_attention(q, k, v, is_causal=True)) @ proj


def self_attention__head_by_head(x: Tensor, qkv: Tensor, proj: Tensor, n_head: int) -> Tensor:
    T, C = x.shape[1:]
    D, outputs = C // n_head, []
    for h in range(n_head):
        q, k, v = (x @ qkv[:, part * C + h * D : part * C + (h + 1) * D] for part in range(3))
        fit = (q @ k.mT / math.sqrt(D)).masked_fill(~causal_mask(T, T), -math.inf)
        outputs.append(fit.softmax(-1) @ v)
    return torch.cat(outputs, dim=-1) @ proj


def scores__numpy(q: Tensor, k: Tensor) -> Any:
    return np.matmul(q.numpy(), np.swapaxes(k.numpy(), -1, -2)) / np.sqrt(q.shape[-1])


def scores__scaled_before(q: Tensor, k: Tensor) -> Tensor:
    return (q * q.shape[-1] ** -0.5) @ k.mT


def softmax__double_lists(x: Tensor) -> Any:
    return (
        (x.double() - x.double().amax(-1, keepdim=True))
        .exp()
        .div_((x.double() - x.double().amax(-1, keepdim=True)).exp().sum(-1, keepdim=True))
        .tolist()
    )


def softmax__numpy(x: Tensor) -> Any:
    values = np.exp(x.numpy() - x.numpy().max(axis=-1, keepdims=True))
    return values / values.sum(axis=-1, keepdims=True)


def causal_mask__numpy(T: int, S: int) -> Any:
    return np.tri(T, S, S - T, dtype=bool)


def causal_mask__lists(T: int, S: int) -> Any:
    return [[s <= t + S - T for s in range(S)] for t in range(T)]


def attention__query_by_query(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    rows = []
    for t in range(q.size(-2)):
        fit = scores(q[..., t : t + 1, :], k)
        fit = fit if mask is None else torch.where(mask[..., t : t + 1, :], fit, -torch.inf)
        rows.append(fit.softmax(-1) @ v)
    return torch.cat(rows, dim=-2)


def attention__einsum(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    fit = torch.einsum("...td,...sd->...ts", q, k) / math.sqrt(q.size(-1))
    fit = fit if mask is None else fit + torch.zeros(mask.shape).masked_fill(mask.logical_not(), -math.inf)
    return torch.einsum("...ts,...sd->...td", fit.softmax(-1), v)


def split_heads__permuted(x: Tensor, n_head: int) -> Tensor:
    return x.reshape(*x.shape[:2], n_head, -1).permute(0, 2, 1, 3)


def merge_heads__permuted(x: Tensor) -> Tensor:
    return x.permute(0, 2, 1, 3).contiguous().view(x.size(0), x.size(2), -1)


def self_attention__split_at_once(x: Tensor, qkv: Tensor, proj: Tensor, n_head: int) -> Tensor:
    q, k, v = (x @ qkv).unflatten(-1, (3, n_head, -1)).permute(2, 0, 3, 1, 4)
    fit = (q @ k.mT / math.sqrt(q.size(-1))).masked_fill(~causal_mask(x.size(1), x.size(1)), -math.inf)
    return (fit.softmax(-1) @ v).transpose(1, 2).flatten(2) @ proj
