"""The number that counts: the mean loss of a model on a split, every character scored once.

Knows windows and logits; refuses to know training, random numbers and where the tokens come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from minilm.errors import CorpusError
from minilm.window import Readable, reading

if TYPE_CHECKING:
    from torch import Tensor

TOKENS_PER_BATCH = 2048  # enough to fill a core's matrix product, small enough for its cache
FOR_A_GPU = 8  # times as many, since there each call costs and caches do not count
LOGITS_PER_BATCH = 2**25  # 128 MiB of float32: large vocabularies get smaller batches


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
    T = int(getattr(model, "config").block_size)  # noqa: B009 (nn.Module hides the attribute from mypy)
    total, count = 0.0, 0
    with reading(model):
        for starts, length, scored in _windows(len(sequence) - 1, T, stride or T, chars):
            total += _summed_loss(model, sequence, starts, length, scored)
            count += len(starts) * scored
    return total / count


def _windows(n: int, T: int, stride: int, chars: int | None) -> Iterator[tuple[np.ndarray, int, int]]:
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


def _summed_loss(
    model: nn.Module, sequence: np.ndarray, starts: np.ndarray, length: int, scored: int
) -> float:
    parameter = next(model.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    vocab_size = int(getattr(model, "config").vocab_size)  # noqa: B009
    tokens = TOKENS_PER_BATCH * (1 if device.type == "cpu" else FOR_A_GPU)
    rows = max(1, min(tokens, LOGITS_PER_BATCH // vocab_size) // length)
    total = 0.0
    for first in range(0, len(starts), rows):
        index = starts[first : first + rows, None] + np.arange(length + 1)  # (B, T + 1)
        window = torch.from_numpy(sequence[index].astype(np.int64)).to(device)  # (B, T + 1)
        logits = _logits(model, window[:, :-1], scored)  # (B, scored, V)
        losses = F.cross_entropy(logits.flatten(0, 1).float(), window[:, -scored:].flatten(), reduction="sum")
        total += losses.item()
    return total


def _logits(model: nn.Module, ids: Tensor, scored: int) -> Tensor:
    """Of the last `scored` positions of ids (B, T), as generation reads them where the model has a reader: the same
    numbers (a test says so), without what only training needs. (B, scored, V)"""
    if isinstance(model, Readable):
        return model.reader(len(ids)).read(ids, wanted=scored)
    logits: Tensor = model(ids)[1]
    return logits[:, -scored:]
