"""Measures the mean loss of a model on a split, every token scored once; it draws no random number."""

from __future__ import annotations

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


def exact_loss(
    model: nn.Module,
    tokens: np.ndarray,
    *,
    before: int | None = None,
    lengths: np.ndarray | None = None,
    stride: int | None = None,
    chars: int | None = None,
) -> float:
    """Mean loss of `model` on `tokens` in nats per character.

    `exact` (stride None): non-overlapping windows of block_size. `sliding`: windows start `stride` apart and each
    scores only what the one before did not reach. `before` is the token in front of the split; without it the first one
    has no context and is not scored. `lengths` (V,) are the characters of each token, one without it. `chars` scores
    about so many characters, in evenly spaced windows. Raises CorpusError where there is nothing to score.
    """
    sequence = np.asarray(tokens) if before is None else np.insert(tokens, 0, before)
    if len(sequence) < 2:
        got = f"got {len(sequence)}; use a longer text"
        raise CorpusError(f"a loss needs at least 2 tokens, one to see and one to predict, {got}")
    config: Any = model.config
    parameter, T = next(model.parameters(), torch.empty(0)), int(config.block_size)
    total, count, lengths = 0.0, 0, np.ones(config.vocab_size, np.uint8) if lengths is None else lengths
    few = None if chars is None else int(chars / lengths[sequence].mean())  # tokens
    room = TOKENS_PER_BATCH * (1 if parameter.device.type == "cpu" else 8)  # on a GPU each call costs
    with reading(model):
        for starts, length, scored in windows(len(sequence) - 1, T, stride or T, few):
            rows = max(1, min(room, LOGITS_PER_BATCH // config.vocab_size) // length)
            for group in np.split(starts, range(rows, len(starts), rows)):
                spots = group[:, None] + np.arange(length + 1)  # (B, length + 1)
                ids = torch.from_numpy(sequence[spots].astype(np.int64)).to(parameter.device)
                logits = model(ids[:, :-1])[1][:, -scored:]  # (B, scored, V)
                logits = logits.flatten(0, 1).float()  # (B scored, V)
                total += F.cross_entropy(logits, ids[:, -scored:].flatten(), reduction="sum").item()
                count += int(lengths[sequence[spots[:, -scored:]]].sum())
    return total / max(count, 1)


def windows(n: int, T: int, stride: int, few: int | None) -> Iterator[tuple[np.ndarray, int, int]]:
    """Groups of windows over n predictions: (starts, length, how many predictions at each end are scored)."""
    assert 1 <= stride <= T, f"stride must be from 1 to block_size, got {stride} and {T}"
    starts = np.arange(0, n - T + 1, stride)
    keep = len(starts) if few is None else max(1, few // stride)
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
