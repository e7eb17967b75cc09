"""From logits to a token: temperature, top-k, the nucleus, one draw; and what of these is impossible.

Knows nothing of models, texts or what was chosen before.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from minilm.errors import ConfigError


def filter_logits(
    logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Logits (B, V) divided by the temperature, -inf outside the top_k most likely tokens and the nucleus.

    top_k is applied first; the nucleus is the smallest set of most likely tokens whose probability reaches
    top_p (Holtzman et al., 2020, eq. 2). At least one token stays; temperature 0 keeps the most likely only.

    >>> filter_logits(torch.tensor([[3.0, 1.0, 2.0]]), top_k=2)
    tensor([[ 0., -inf, -1.]])
    """
    logits = logits.float() - logits.max(dim=-1, keepdim=True).values  # the best is 0 at any temperature
    if temperature == 0:
        return _keep(logits, logits.argmax(dim=-1, keepdim=True))
    logits = logits / max(temperature, 1e-30)  # smaller ones have no float32 reciprocal
    if top_k is not None:
        logits = _keep(logits, logits.topk(min(top_k, logits.size(-1)), dim=-1).indices)
    if top_p is not None and top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        probabilities = ordered.softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities  # what the more likely tokens already hold
        outside = (before >= top_p).scatter(-1, order, before >= top_p)
        logits = logits.masked_fill(outside, -math.inf)
    return logits


def _keep(logits: Tensor, indices: Tensor) -> Tensor:
    return torch.full_like(logits, -math.inf).scatter(-1, indices, logits.gather(-1, indices))


def next_token(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One token per row, (B, V) -> (B,); temperature 0 takes the most likely one and draws nothing."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = filter_logits(logits, temperature, top_k, top_p).softmax(dim=-1)
    if generator is not None:  # a generator lives on one device; drawing there makes runs comparable
        probabilities = probabilities.to(generator.device)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0].to(logits.device)


def check_options(
    max_new_tokens: int, temperature: float, top_k: int | None, top_p: float | None, keep: float
) -> None:
    """Reports every impossible option at once, as one ConfigError."""
    faults = []
    if not isinstance(max_new_tokens, int) or max_new_tokens < 0:
        faults.append(f"max_new_tokens must be a whole number, at least 0, got {max_new_tokens}")
    if not 0 <= temperature < math.inf:  # written so that NaN fails too
        faults.append(f"temperature must be 0 (greedy) or a positive number, got {temperature}")
    if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
        faults.append(f"top_k must be a whole number, at least 1, or None, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        faults.append(f"top_p must be above 0 and at most 1, or None, got {top_p}")
    if not 0 < keep <= 1:
        faults.append(f"keep must be above 0 and at most 1, a share of the window, got {keep}")
    if faults:
        raise ConfigError("; ".join(faults))


def check_prompt(ids: Tensor, vocab_size: int) -> None:
    """A prompt is (B, T) token ids of the vocabulary, T at least 1; else a ConfigError."""
    if ids.dim() != 2 or ids.dtype not in (torch.int64, torch.int32) or ids.numel() == 0:
        raise ConfigError(
            f"a prompt must be (B, T) whole numbers, T > 0, got shape {tuple(ids.shape)} of {ids.dtype}"
        )
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocab_size:
        wrong = low if low < 0 else high
        raise ConfigError(
            f"ids must be between 0 and {vocab_size - 1}, got {wrong}; encode with the model's tokenizer"
        )
