"""Lab 6: generation and looking inside. Fill the gaps; `python -m minilm.classroom check lab6.py` tells how far you
are.

Axes: B batch, T time, S earlier positions, L layers, H heads, D head size, C channels, V vocabulary. You may use torch
and the standard library, and call your own earlier functions. `model` is given.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def model(ids: Tensor, table: Tensor) -> Tensor:
    """Given: a small model with a memory, ids (B, T) and table (V, V) -> logits (B, T, V): each position adds up the
    rows of all tokens so far, the older the weaker."""
    T = ids.size(1)
    age = (torch.arange(T)[:, None] - torch.arange(T)[None, :]).float()
    weight = torch.where(age >= 0, 0.7 ** age.clamp(min=0), torch.zeros(()))  # (T, T)
    return weight @ table[ids]  # (B, T, V)


def probabilities(logits: Tensor, temperature: float) -> Tensor:
    """softmax(logits / temperature) over the last axis, (B, V) -> (B, V); at temperature 0 the most likely token has
    probability 1."""
    if temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(dim=-1), logits.size(-1)).float()
    return (logits / temperature).softmax(dim=-1)


def top_k(logits: Tensor, k: int) -> Tensor:
    """The k largest logits of each row as they are, the others -inf; (B, V) -> (B, V). k may exceed V."""
    best = logits.topk(min(k, logits.size(-1)), dim=-1).indices
    return torch.full_like(logits, -math.inf).scatter(-1, best, logits.gather(-1, best))


def top_p(logits: Tensor, p: float) -> Tensor:
    """The logits of the smallest set of most likely tokens whose probability is at least p, the others -inf; each row
    by itself, (B, V) -> (B, V). At least one token stays."""
    ordered, order = logits.sort(dim=-1, descending=True)
    shares = ordered.softmax(dim=-1)
    before = shares.cumsum(dim=-1) - shares  # what the more likely tokens hold already
    ordered = ordered.masked_fill((before >= p) & (before > 0), -math.inf)
    return torch.full_like(logits, -math.inf).scatter(-1, order, ordered)


def draw(shares: Tensor, u: Tensor) -> Tensor:
    """One token for each row: the first whose cumulative probability exceeds u; (B, V) and (B,) -> (B,)."""
    return (shares.cumsum(dim=-1) > u[:, None]).int().argmax(dim=-1)


def generate(ids: Tensor, table: Tensor, u: Tensor, block_size: int, temperature: float) -> Tensor:
    """Goes on with the texts, (B, T) -> (B, T + n): token j is drawn with u[:, j], u being (B, n). The model sees the
    last block_size tokens; what it says at its last position counts."""
    for j in range(u.size(1)):
        logits = model(ids[:, -block_size:], table)[:, -1]  # (B, V)
        new = draw(probabilities(logits, temperature), u[:, j])
        ids = torch.cat([ids, new[:, None]], dim=1)
    return ids


def attend_cached(
    q: Tensor, k: Tensor, v: Tensor, past_k: Tensor, past_v: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(output, keys, values) of one new position: q, k, v (H, 1, D), the past (H, S, D) -> (H, 1, D) and twice
    (H, S + 1, D). The new position attends to the past and to itself, with scores divided by sqrt(D)."""
    keys, values = torch.cat([past_k, k], dim=1), torch.cat([past_v, v], dim=1)
    weights = (q @ keys.transpose(-2, -1) / math.sqrt(q.size(-1))).softmax(dim=-1)  # (H, 1, S + 1)
    return weights @ values, keys, values


def surprisal(logits: Tensor, ids: Tensor) -> Tensor:
    """-log p in nats of every token but the first, given those before: logits (B, T, V), ids (B, T) -> (B, T - 1)."""
    logs = logits[:, :-1].log_softmax(dim=-1)
    return -logs.gather(-1, ids[:, 1:, None])[..., 0]


def logit_lens(residuals: Tensor, gain: Tensor, table: Tensor) -> Tensor:
    """What each layer would say: residuals (L, T, C) through the final norm and the output table (V, C) -> logits
    (L, T, V). The norm is RMSNorm: x / sqrt(mean(x^2) + 1e-5) * gain, gain (C,)."""
    normed = residuals / (residuals.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt() * gain
    return normed @ table.T


def ablate(heads: Tensor, proj: Tensor, removed: int) -> Tensor:
    """The layer's output without one head: heads (H, T, D) side by side, times proj (H D, C) -> (T, C); the removed
    head gives zeros, the others stay as they are."""
    H, T, D = heads.shape
    kept = heads.clone()
    kept[removed] = 0.0
    return kept.transpose(0, 1).reshape(T, H * D) @ proj
