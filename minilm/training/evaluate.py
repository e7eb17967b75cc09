"""Measures the number that counts: the mean loss of a model on a split, every token scored once.

It knows windows and a model that gives (loss, logits); no training, no random numbers, no texts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from minilm.errors import CorpusError
from minilm.sampling import reading

TOKENS_PER_BATCH = 2048  # enough to fill a core's matrix product, small enough for its cache
LOGITS_PER_BATCH = 2**25  # numbers, 128 MiB of float32: large vocabularies get smaller batches


def bits_per_character(nats: float) -> float:
    """
    >>> round(bits_per_character(1.5), 3)
    2.164
    """
    return nats / math.log(2)


def perplexity(nats: float) -> float:
    """
    >>> round(perplexity(math.log(65)), 6)
    65.0
    """
    return math.exp(nats)


def exact_loss(
    model: nn.Module,
    tokens: np.ndarray,
    *,
    before: int | None = None,
    stride: int | None = None,
    chars: int | None = None,
) -> float:
    """Mean loss of `model` on `tokens` in nats per character. Draws no random number.

    `exact` (stride None): non-overlapping windows of block_size. `sliding`: windows start `stride` apart and
    each scores only what the one before did not reach, so that all but the first block_size characters see at
    least block_size - stride characters of context. `before` is the token in front of the split; without it
    the split's first character has no context and is not scored. `chars` scores only about that many
    characters, in evenly spaced windows. Raises CorpusError where there is nothing to score.

    >>> from minilm.config import ModelConfig
    >>> class Uniform(nn.Module):
    ...     config = ModelConfig(vocab_size=4, block_size=8)
    ...     def forward(self, ids):
    ...         return None, torch.zeros(*ids.shape, 4)
    >>> round(exact_loss(Uniform(), np.zeros(21, dtype=np.uint8)) / math.log(4), 6)
    1.0
    """
    sequence = np.asarray(tokens)
    if before is not None:
        sequence = np.concatenate([np.array([before], dtype=sequence.dtype), sequence])
    if len(sequence) < 2:
        raise CorpusError(
            f"a loss needs at least 2 characters, one to see and one to predict, got {len(sequence)}; "
            "use a longer text"
        )
    config: Any = model.config
    parameter = next(model.parameters(), torch.empty(0))
    batch = TOKENS_PER_BATCH * (1 if parameter.device.type == "cpu" else 8)  # on a GPU each call costs
    batch = min(batch, LOGITS_PER_BATCH // config.vocab_size)  # tokens
    total, count, T = 0.0, 0, int(config.block_size)
    with reading(model):
        for starts, length, scored in windows(len(sequence) - 1, T, stride or T, chars):
            rows = max(1, batch // length)
            for group in np.split(starts, range(rows, len(starts), rows)):
                spots = group[:, None] + np.arange(length + 1)  # (B, length + 1)
                ids = torch.from_numpy(sequence[spots].astype(np.int64)).to(parameter.device)
                logits = model(ids[:, :-1])[1][:, -scored:]  # (B, scored, V)
                flat = logits.flatten(0, 1).float()  # (B scored, V)
                total += F.cross_entropy(flat, ids[:, -scored:].flatten(), reduction="sum").item()
                count += len(group) * scored
    return total / count


def windows(n: int, T: int, stride: int, chars: int | None) -> Iterator[tuple[np.ndarray, int, int]]:
    """Groups of windows over n predictions: (starts, length, how many predictions at each end are scored)."""
    assert 1 <= stride <= T, f"stride must be from 1 to block_size, got {stride} and {T}"
    starts = np.arange(0, n - T + 1, stride)
    keep = len(starts) if chars is None else max(1, chars // stride)
    if keep < len(starts):
        yield starts[np.linspace(0, len(starts) - 1, keep).round().astype(int)], T, stride
        return
    if len(starts):
        yield starts[:1], T, T
        yield starts[1:], T, stride
    covered = int(starts[-1]) + T if len(starts) else 0
    if covered < n:  # the last window is cut short by the end of the split
        start = int(starts[-1]) + stride if len(starts) else 0
        yield np.array([start]), n - start, n - covered
