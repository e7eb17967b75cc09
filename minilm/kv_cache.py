"""Keys and values of the positions already read, so that a new token costs one position instead of all.

All room is taken once, at the start. The cache knows nothing of positions or of the window: who fills it up
resets it and starts again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from minilm.config import ModelConfig
from minilm.errors import ConfigError


class KVCache:
    """Room for `block_size` keys and values of every layer, filled from the left.

    >>> config = ModelConfig(vocab_size=5, n_layer=1, n_head=1, n_embd=2, block_size=4)
    >>> cache, k = KVCache(config, batch_size=1), torch.ones(1, 1, 3, 2)
    >>> keys, values = cache.extend(0, k, k)
    >>> cache.advance(torch.tensor([[0, 1, 2]]))
    >>> cache.length, cache.room
    (3, 1)
    """

    def __init__(
        self,
        config: ModelConfig,
        batch_size: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        shape = (config.n_layer, batch_size, config.n_head, config.block_size, config.head_size)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)  # (layers, B, H, block_size, D)
        self.values = torch.zeros_like(self.keys)
        self.length = 0
        self.last: Tensor | None = None  # (B,) the last token read

    @property
    def room(self) -> int:
        """How many positions still fit."""
        return self.keys.size(3) - self.length

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Writes the (B, H, T, D) keys and values of new positions and returns all so far, (B, H, S, D).

        Every layer writes at the same place; `advance` moves it once the last layer is done.
        """
        S = self.length + k.size(2)
        if self.keys.size(3) < S or k.size(0) != self.keys.size(1):
            raise ConfigError(
                f"the cache holds {self.keys.size(3)} positions of {self.keys.size(1)} texts, "
                f"got {S} of {k.size(0)}; reset it or make another"
            )
        self.keys[layer, :, :, self.length : S] = k
        self.values[layer, :, :, self.length : S] = v
        return self.keys[layer, :, :, :S], self.values[layer, :, :, :S]

    def advance(self, ids: Tensor) -> None:
        """Counts the tokens (B, T) as read."""
        self.length += ids.size(1)
        self.last = ids[:, -1]

    def reset(self) -> None:
        """Forgets everything and keeps the room."""
        self.length, self.last = 0, None
