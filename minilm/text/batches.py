"""Cuts a token array into training batches, shuffled anew each epoch; two integers hold the position.

An epoch cuts the array into windows of `block_size` that do not overlap, from a random offset. So it sees every token
once (but for the two ragged ends), and the next epoch sees it with other neighbours. Knows nothing of models.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minilm.errors import CorpusError, RunError


class Batches:
    """An endless stream of batches from `tokens` (N,), an array or a `LongText`; `seed` and epoch fix the order.

    >>> ids, targets = Batches(np.arange(100), block_size=8, batch_size=4, seed=0).next()
    >>> ids.shape, bool((targets == ids + 1).all())
    (torch.Size([4, 8]), True)
    """

    def __init__(self, tokens: Any, block_size: int, batch_size: int, seed: int, device: Any = None) -> None:
        if len(tokens) < block_size + 1:
            got = f"got {len(tokens)}; use a longer text or a smaller context"
            raise CorpusError(f"the split must hold at least block_size + 1 = {block_size + 1} tokens, {got}")
        self.tokens, self.block_size, self.batch_size, self.seed = tokens, block_size, batch_size, seed
        self.epoch, self.index = 0, 0  # how many of the epoch's windows are used
        self.starts = lru_cache(maxsize=2)(self._starts)
        self.device, self.on_device = device, None
        if device is not None and isinstance(tokens, np.ndarray):
            # torch has no gather of wider unsigned numbers than uint8
            compact = tokens if tokens.dtype == np.uint8 else tokens.astype(np.int32)
            self.on_device = torch.from_numpy(compact.copy()).to(device)

    def next(self) -> tuple[Tensor, Tensor]:
        """`(ids, targets)`, both (B, T) int64; `targets` is `ids` one token later, maybe from several epochs."""
        parts, missing = [], self.batch_size
        while missing:
            part = self.starts(self.epoch)[self.index : self.index + missing]
            parts.append(part)
            missing, self.index = missing - len(part), self.index + len(part)
            if self.index == len(self.starts(self.epoch)):
                self.epoch, self.index = self.epoch + 1, 0
        spots = np.concatenate(parts)[:, None] + np.arange(self.block_size + 1)  # (B, T + 1)
        if self.on_device is None:
            window = torch.from_numpy(self.tokens[spots].astype(np.int64)).to(self.device)  # (B, T + 1)
        else:  # only the places travel to a device that holds the text
            window = self.on_device[torch.from_numpy(spots).to(self.device, non_blocking=True)].long()
        return window[:, :-1].contiguous(), window[:, 1:].contiguous()

    def _starts(self, epoch: int) -> np.ndarray:
        """Where the windows of an epoch begin, in their order."""
        generator = np.random.default_rng([self.seed, epoch])
        spare = len(self.tokens) - 1 - self.block_size  # how far the first window can move
        offset = generator.integers(min(self.block_size, spare + 1))
        windows = (len(self.tokens) - 1 - offset) // self.block_size
        return offset + self.block_size * generator.permutation(windows)

    def state(self) -> dict[str, int]:
        """The whole position."""
        return {"epoch": self.epoch, "index": self.index}

    def restore(self, state: dict[str, Any]) -> None:
        """Continues where `state()` was taken; `RunError` for a position that this text does not have."""
        epoch, index = int(state["epoch"]), int(state["index"])
        if epoch < 0 or not 0 <= index <= len(self.starts(max(epoch, 0))):
            raise RunError(f"the position {state} is not in this text; was it saved for another one?")
        self.epoch, self.index = epoch, index
