"""Training batches: windows of a token array, shuffled anew each epoch; two integers hold the position.

An epoch cuts the array into windows of `block_size` that do not overlap, from a random offset. So it sees
every token once (but for the two ragged ends), and the next epoch sees it with other neighbours in view.
With a device the whole text lives there. Knows nothing of models or files.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from minilm.errors import CorpusError, RunError


class Batches:
    """An endless stream of batches from `tokens` (N,); the order depends on `seed` and the epoch alone.

    >>> batches = Batches(np.arange(100), block_size=8, batch_size=4, seed=0)
    >>> ids, targets = batches.next()
    >>> ids.shape, bool((targets == ids + 1).all())
    (torch.Size([4, 8]), True)
    >>> batches.state()
    {'epoch': 0, 'index': 4}
    """

    def __init__(
        self, tokens: np.ndarray, block_size: int, batch_size: int, seed: int, device: str | None = None
    ) -> None:
        if len(tokens) < block_size + 1:
            raise CorpusError(
                f"the split must hold at least block_size + 1 = {block_size + 1} tokens, got {len(tokens)}; "
                "use a longer text or a smaller context"
            )
        self.tokens, self.block_size, self.batch_size, self.seed = tokens, block_size, batch_size, seed
        self._on_device = None if device is None else _tensor(tokens).to(device)
        self._epoch, self._index = 0, 0
        self._drawn = (0, self._draw_starts(0))

    def next(self) -> tuple[Tensor, Tensor]:
        """`(ids, targets)`, both (B, T) int64; `targets` is `ids` one token later."""
        starts = self._take(self.batch_size)
        spots = starts[:, None] + np.arange(self.block_size + 1)  # (B, T + 1)
        window = self._gathered(spots)  # (B, T + 1)
        return window[:, :-1].contiguous(), window[:, 1:].contiguous()

    def _gathered(self, spots: np.ndarray) -> Tensor:
        """The tokens at `spots`, in one gather; only the places travel to a device that holds the text."""
        if self._on_device is None:
            return torch.from_numpy(self.tokens[spots].astype(np.int64))
        places = torch.from_numpy(spots).to(self._on_device.device, non_blocking=True)
        return self._on_device[places].long()

    def state(self) -> dict[str, int]:
        """The whole position: the epoch and how many of its windows are used."""
        return {"epoch": self._epoch, "index": self._index}

    def restore(self, state: dict[str, int]) -> None:
        """Continues where `state()` was taken; `RunError` for a position that this text does not have."""
        epoch, index = int(state["epoch"]), int(state["index"])
        if epoch < 0 or not 0 <= index <= len(self._starts(max(epoch, 0))):
            raise RunError(f"the position {state} is not in this text; was it saved for another one?")
        self._epoch, self._index = epoch, index

    def _starts(self, epoch: int) -> np.ndarray:
        if self._drawn[0] != epoch:
            self._drawn = (epoch, self._draw_starts(epoch))
        return self._drawn[1]

    def _draw_starts(self, epoch: int) -> np.ndarray:
        """Where the windows of an epoch begin, in their order."""
        generator = np.random.default_rng([self.seed, epoch])
        spare = len(self.tokens) - 1 - self.block_size  # how far the first window can move
        offset = generator.integers(min(self.block_size, spare + 1))
        windows = (len(self.tokens) - 1 - offset) // self.block_size
        return offset + self.block_size * generator.permutation(windows)

    def _take(self, count: int) -> np.ndarray:
        """The next `count` window starts; a batch may reach into the next epochs."""
        parts = []
        while count:
            starts = self._starts(self._epoch)
            part = starts[self._index : self._index + count]
            parts.append(part)
            count -= len(part)
            self._index += len(part)
            if self._index == len(starts):
                self._epoch, self._index = self._epoch + 1, 0
        return np.concatenate(parts)


def _tensor(tokens: np.ndarray) -> Tensor:
    """As few bytes per token as torch can gather: it has no gather of wider unsigned numbers than uint8."""
    tokens = np.asarray(tokens)
    return torch.from_numpy(tokens.copy() if tokens.dtype == np.uint8 else tokens.astype(np.int32))
