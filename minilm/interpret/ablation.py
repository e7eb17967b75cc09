"""Switches a part of the model off and measures how the loss changes: ablation.

A part is switched off by having it add nothing to the residual stream: a head by zeros in its slice of what `proj`
reads, an MLP by zeros for its output. The loss that is lost is the part's own work only as long as no other part steps
in for it, so this is a measurement, not a verdict. This file knows parts and losses, not reasons.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from minilm.errors import ConfigError
from minilm.model import GPT
from minilm.sampling import reading
from minilm.taps import See, tapped


class Effects(NamedTuple):
    """By how many nats per token the loss rises without a part: heads (layers, H), mlps (layers,)."""

    loss: float
    heads: Tensor
    mlps: Tensor


@contextmanager
def ablated(model: GPT, heads: Iterable[tuple[int, int]] = (), mlps: Iterable[int] = ()) -> Iterator[None]:
    """Inside the `with` block these heads (layer, head) and MLPs (layer) are off; layers and heads count from 0.

    Everything else goes on as usual, `generate` too. A part that the model does not have is a ConfigError.

    >>> from minilm.config import ModelConfig
    >>> model = GPT(ModelConfig(vocab_size=5, n_layer=1, n_head=2, n_embd=4, block_size=4))
    >>> with ablated(model, heads=[(0, 1)]):
    ...     more = model.generate(torch.tensor([[1, 2]]), 2, temperature=0)
    """
    off: dict[int, list[int]] = {}
    for layer, head in heads:
        _check(layer, model.config.n_layer, "layer")
        _check(head, model.config.n_head, "head")
        off.setdefault(layer, []).append(head)
    taps: dict[str, See] = {f"blocks.{layer}.attn.hook_z": _without(which) for layer, which in off.items()}
    for layer in mlps:
        _check(layer, model.config.n_layer, "layer")
        taps[f"blocks.{layer}.hook_mlp_out"] = torch.zeros_like
    with tapped(model, taps):
        yield


def ablation_effects(model: GPT, ids: Tensor) -> Effects:
    """The loss on ids (B, T), and its rise without each head and each MLP, one at a time.

    >>> from minilm.config import ModelConfig
    >>> model = GPT(ModelConfig(vocab_size=5, n_layer=2, n_head=2, n_embd=4, block_size=4))
    >>> effects = ablation_effects(model, torch.tensor([[1, 2, 3]]))
    >>> tuple(effects.heads.shape), tuple(effects.mlps.shape)
    ((2, 2), (2,))
    """
    layers, H = range(model.config.n_layer), range(model.config.n_head)
    with reading(model):
        loss = _loss(model, ids)
        heads = [[_loss(model, ids, heads=[(layer, head)]) - loss for head in H] for layer in layers]
        mlps = [_loss(model, ids, mlps=[layer]) - loss for layer in layers]
    return Effects(loss, torch.tensor(heads), torch.tensor(mlps))


def _loss(model: GPT, ids: Tensor, heads: Iterable[tuple[int, int]] = (), mlps: Iterable[int] = ()) -> float:
    with ablated(model, heads, mlps):
        return float(model(ids, labels=ids).loss)


def _without(heads: list[int]) -> See:
    def see(z: Tensor) -> Tensor:  # (B, T, H, D)
        return z.index_fill(2, torch.tensor(heads, device=z.device), 0.0)

    return see


def _check(number: int, count: int, what: str) -> None:
    if not 0 <= number < count:
        raise ConfigError(f"{what} must be from 0 to {count - 1}, got {number}; they count from 0")
