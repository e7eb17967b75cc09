"""Measures the mean loss of a model on a split, every token scored once; it draws no random number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from minilm.errors import CorpusError
from minilm.sampling import reading

TOKENS_PER_BATCH = 2048  # enough to fill a core's matrix product, small enough for its cache
LOGITS_PER_BATCH = 2**25  # numbers, 128 MiB of float32: large vocabularies get smaller batches


def exact_loss(model: Any, tokens: Any, **options: Any) -> float:
    """Mean loss of `model` on `tokens` in nats per character; `options` as in `token_losses`."""
    parts = token_losses(model, tokens, **options)
    total, count = np.sum([(nats.sum().item(), lengths.sum()) for _, nats, lengths in parts], axis=0).tolist()
    return total / max(count, 1)


def token_losses(
    model: Any,
    tokens: Any,
    before: int | None = None,
    lengths: np.ndarray | None = None,
    stride: int | None = None,
    chars: int | None = None,
) -> Iterator[tuple[np.ndarray, torch.Tensor, np.ndarray]]:
    """Some scored `tokens` at a time: their places, their losses in nats, and their characters, (B, scored) each.

    `exact` (stride None): non-overlapping windows of block_size. `sliding`: windows start `stride` apart and each
    scores only what the one before did not reach. `before` is the token before the split; without it the first is not
    scored. `lengths` (V,) are the characters of each token, one without it. `chars` scores about so many characters, in
    evenly spaced windows. Raises CorpusError where there is nothing to score.
    """
    each = chars and getattr(tokens, "per_token", None)  # of a `LongText` the windows alone are encoded
    before = None if each else before
    sequence = tokens if each else np.asarray(tokens) if before is None else np.insert(tokens, 0, before)
    if (n := len(sequence) - 1) < 1:
        raise CorpusError(f"a loss needs at least 2 tokens, one to predict, got {n + 1}; use a longer text")
    config, device = model.config, next(model.parameters(), torch.empty(0)).device
    lengths = np.ones(config.vocab_size, np.uint8) if lengths is None else lengths
    few = None if chars is None else int(chars / (each or lengths[sequence].mean()))  # tokens
    room = TOKENS_PER_BATCH * (1 if device.type == "cpu" else 8)  # on a GPU each call costs
    with reading(model):
        for starts, length, scored in windows(n, config.block_size, stride or config.block_size, few):
            rows = max(1, min(room, LOGITS_PER_BATCH // config.vocab_size) // length)
            for group in np.split(starts, range(rows, len(starts), rows)):
                spots = group[:, None] + np.arange(length + 1)  # (B, length + 1)
                ids = torch.from_numpy(read := sequence[spots].astype(np.int64)).to(device)
                logits = model(ids[:, :-1])[1][:, -scored:].float()  # (B, scored, V)
                nats = -logits.log_softmax(-1).gather(-1, ids[:, -scored:, None])[..., 0]
                yield spots[:, -scored:] - (before is not None), nats, lengths[read[:, -scored:]]


def windows(n: int, T: int, stride: int, few: int | None) -> Iterator[tuple[np.ndarray, int, int]]:
    """Groups of windows over n predictions: (starts, length, how many predictions at each end are scored)."""
    assert 1 <= stride <= T, f"stride must be from 1 to block_size, got {stride} and {T}"
    starts = np.arange(0, n - T + 1, stride)
    keep = len(starts) if few is None else max(1, few // stride)
    if keep < len(starts):
        yield starts[np.linspace(0, len(starts) - 1, keep).round().astype(int)], T, stride
        return
    start = covered = 0
    if len(starts):
        yield starts[:1], T, T
        yield starts[1:], T, stride
        start, covered = int(starts[-1]) + stride, int(starts[-1]) + T
    if covered < n:  # the last window is cut short by the end of the split
        yield np.array([start]), n - start, n - covered
