"""Other right ways through lab 6; all must get full points."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from minilm.classroom.labs.lab6.solution import (
    draw,
    model,
    probabilities,
)


def probabilities__double(logits: Tensor, temperature: float) -> Tensor:
    if temperature == 0:
        return (logits == logits.max(-1, keepdim=True).values).double()
    scaled = logits.double() / temperature
    return (scaled - scaled.logsumexp(-1, keepdim=True)).exp()


def top_k__threshold(logits: Tensor, k: int) -> Tensor:
    edge = logits.sort(-1, descending=True).values[..., min(k, logits.shape[-1]) - 1, None]
    return torch.where(logits < edge, -math.inf, logits)


def top_k__loops(logits: Tensor, k: int) -> list[list[float]]:
    rows = []
    for row in logits.tolist():
        best = sorted(range(len(row)), key=lambda i: -row[i])[:k]
        rows.append([x if i in best else -math.inf for i, x in enumerate(row)])
    return rows


def top_p__loops(logits: Tensor, p: float) -> Tensor:
    result = torch.full_like(logits, -math.inf)
    for b, row in enumerate(logits.softmax(-1)):
        total = 0.0
        for i in row.argsort(descending=True).tolist():
            result[b, i] = logits[b, i]
            total += float(row[i])
            if total >= p:
                break
    return result


def top_p__threshold(logits: Tensor, p: float) -> Tensor:
    shares = logits.softmax(-1)
    larger = (shares[..., None, :] * (shares[..., None, :] > shares[..., :, None])).sum(-1)
    return logits.masked_fill((larger >= p) & (larger > 0), -math.inf)


def draw__search(shares: Tensor, u: Tensor) -> Tensor:
    return torch.searchsorted(shares.cumsum(-1).contiguous(), u[:, None].contiguous(), right=True)[:, 0]


def draw__count(shares: Tensor, u: Tensor) -> Tensor:
    return (shares.cumsum(-1) <= u[:, None]).sum(-1)


def generate__rows(
    ids: Tensor, table: Tensor, u: Tensor, block_size: int, temperature: float
) -> list[list[int]]:
    texts = ids.tolist()
    for text, numbers in zip(texts, u, strict=True):
        for number in numbers:
            logits = model(torch.tensor([text[-block_size:]]), table)[:, -1]
            text.append(int(draw(probabilities(logits, temperature), number[None])))
    return texts


def attend_cached__fused(q: Tensor, k: Tensor, v: Tensor, past_k: Tensor, past_v: Tensor) -> list[Any]:
    keys, values = torch.hstack((past_k, k)), torch.hstack((past_v, v))
    return [F.scaled_dot_product_attention(q[None], keys[None], values[None])[0], keys, values]


def surprisal__cross_entropy(logits: Tensor, ids: Tensor) -> Tensor:
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")


def surprisal__loops(logits: Tensor, ids: Tensor) -> list[list[float]]:
    logs = logits.double().log_softmax(-1)
    return [[-float(logs[b, t, ids[b, t + 1]]) for t in range(ids.shape[1] - 1)] for b in range(len(ids))]


def logit_lens__library(residuals: Tensor, gain: Tensor, table: Tensor) -> Tensor:
    return F.linear(F.rms_norm(residuals, (len(gain),), gain, eps=1e-5), table)


def logit_lens__by_layer(residuals: Tensor, gain: Tensor, table: Tensor) -> Tensor:
    return torch.stack([x * gain * (x.pow(2).mean(-1, True) + 1e-5).rsqrt() @ table.mT for x in residuals])


def ablate__sum_of_heads(heads: Tensor, proj: Tensor, removed: int) -> Tensor:
    parts = proj.view(len(heads), -1, proj.size(1))
    return sum(h @ w for n, (h, w) in enumerate(zip(heads, parts, strict=True)) if n != removed)


def ablate__subtracted(heads: Tensor, proj: Tensor, removed: int) -> Tensor:
    D = heads.size(-1)
    whole = torch.einsum("htd,hdc->tc", heads, proj.view(len(heads), D, -1))
    return whole - heads[removed] @ proj[removed * D : (removed + 1) * D]


def probabilities__whole_at_zero(logits: Tensor, temperature: float) -> Tensor:
    if not temperature:
        return F.one_hot(logits.argmax(-1), logits.size(-1))
    return logits.div(temperature).softmax(-1)


def probabilities__numpy(logits: Tensor, temperature: float) -> Any:
    a = logits.numpy().astype(np.float64)
    if temperature == 0:
        return np.eye(a.shape[-1])[a.argmax(-1)]
    e = np.exp((a - a.max(-1, keepdims=True)) / temperature)
    return e / e.sum(-1, keepdims=True)


def top_k__ranked(logits: Tensor, k: int) -> Tensor:
    ranks = logits.argsort(-1, descending=True).argsort(-1)
    return torch.where(ranks < k, logits, -torch.inf)


def top_k__numpy(logits: Tensor, k: int) -> Any:
    a, kept = logits.numpy(), np.full(tuple(logits.shape), -np.inf)
    best = np.argsort(-a, axis=-1)[:, :k]
    np.put_along_axis(kept, best, np.take_along_axis(a, best, -1), -1)
    return kept


def top_p__summed(logits: Tensor, p: float) -> Tensor:
    order = logits.argsort(-1, descending=True)
    sums = logits.softmax(-1).gather(-1, order).cumsum(-1)
    count = (sums < p).sum(-1, keepdim=True) + 1
    return logits.masked_fill(order.argsort(-1) >= count, -math.inf)


def draw__loops(shares: Tensor, u: Tensor) -> list[int]:
    found = []
    for row, number in zip(shares.tolist(), u.tolist(), strict=True):
        end, token = 0.0, -1
        while end <= number and token < len(row) - 1:
            token += 1
            end += row[token]
        found.append(token)
    return found


def draw__numpy(shares: Tensor, u: Tensor) -> Any:
    ends = shares.numpy().cumsum(-1)
    return np.array(
        [np.searchsorted(row, number, side="right") for row, number in zip(ends, u.numpy(), strict=True)]
    )


def attend_cached__einsum(
    q: Tensor, k: Tensor, v: Tensor, past_k: Tensor, past_v: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    keys, values = torch.hstack((past_k, k)), torch.hstack((past_v, v))
    shares = torch.einsum("htd,hsd->hts", q / math.sqrt(q.shape[-1]), keys).softmax(-1)
    return torch.einsum("hts,hsd->htd", shares, values), keys, values


def logit_lens__einsum(residuals: Tensor, gain: Tensor, table: Tensor) -> Tensor:
    scale = (residuals.pow(2).mean(-1) + 1e-5).rsqrt()
    return torch.einsum("ltc,lt,c,vc->ltv", residuals, scale, gain, table)


def ablate__masked(heads: Tensor, proj: Tensor, removed: int) -> Tensor:
    kept = (torch.arange(heads.size(0)) != removed).float()
    return torch.einsum("htd,h,hdc->tc", heads, kept, proj.view(heads.size(0), heads.size(2), -1))
