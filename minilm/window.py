"""What a reader is shown of a text that may be longer than its room, and the reader that remembers nothing but tokens.

Positions are counted from the start of the window, so dropping the oldest token moves every other one, and no key or
value that was computed before is true any more: the window is read again. How much of it stays then decides how
often that happens. Knows nothing of how logits become tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from minilm.config import ModelConfig
from minilm.decoding import Reader


class LanguageModel(Protocol):
    """What generation needs of a model; a fake one with fixed logits will do."""

    config: ModelConfig

    def __call__(self, ids: Tensor) -> Any: ...
    @property
    def training(self) -> bool: ...
    def train(self, mode: bool = True) -> Any: ...
    def parameters(self) -> Iterator[Tensor]: ...


@runtime_checkable
class Readable(LanguageModel, Protocol):
    """A model that knows a faster way to be read than calling it again and again."""

    def reader(self, batch_size: int) -> Reader: ...


@contextmanager
def reading(model: LanguageModel | nn.Module) -> Iterator[None]:
    """Eval mode without gradients inside; the mode that was, outside again.

    Tensors made inside are ordinary ones, unlike those of torch's inference mode, and may be put back into a later
    computation.
    """
    training = model.training
    model.train(False)
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


class Recomputing(Reader):
    """The definition that every other reader must agree with: the model sees all tokens anew, each time."""

    def __init__(self, model: LanguageModel, batch_size: int) -> None:
        super().__init__(model.config, batch_size)
        self.model = model
        self.ids: Tensor | None = None  # (B, S)

    def _logits(self, ids: Tensor, start: int, wanted: int) -> Tensor:
        if self.ids is None or start == 0:
            self.ids = ids
        else:
            self.ids = torch.cat((self.ids[:, :start], ids), dim=1)  # (B, S)
        with reading(self.model):
            logits: Tensor = self.model(self.ids).logits[:, -wanted:]  # (B, wanted, V)
        return logits


class Window:
    """The last tokens of B texts, as many as fit; reads new ones, and starts again from the newest when full.

    `keep` is the share of block_size that stays when it is full. With 1 the window slides by one token and is read
    again for each one. With 1/2 it is read again once in block_size / 2 tokens, and every token has at least so
    many before it.
    """

    def __init__(self, reader: Reader, keep: float = 1.0) -> None:
        self.reader = reader
        self.keep = max(1, round(keep * reader.config.block_size))
        self.past: list[Tensor] = []  # (B, T) each; together what the reader has read

    @property
    def room(self) -> int:
        """How many tokens fit before the window must start again."""
        return self.reader.room

    def read(self, ids: Tensor, wanted: int = 1) -> Tensor:
        """Logits of what follows each of the last `wanted` tokens of ids (B, T): (B, wanted, V)."""
        if not self.past:
            ids = ids[:, -self.reader.config.block_size :]
        self.past.append(ids)
        if ids.size(1) > self.reader.room:
            ids = torch.cat(self.past, dim=1)[:, -self.keep :]  # (B, keep)
            self.past = [ids]
            self.reader.reset()
        return self.reader.read(ids, wanted)

    def forget(self, T: int) -> None:
        """Unreads the last T tokens, fewer than the last call read."""
        if T:
            self.past[-1] = self.past[-1][:, :-T]
            self.reader.forget(T)


def window_of(model: LanguageModel, batch_size: int, keep: float, use_cache: bool = True) -> Window:
    """An empty window of `batch_size` texts, with the fastest reader there is for the model."""
    if use_cache and isinstance(model, Readable):
        return Window(model.reader(batch_size), keep)
    return Window(Recomputing(model, batch_size), keep)
