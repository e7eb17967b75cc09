"""The decoder of `model.py` once more, written for generation: no modules, no gradients, no checks per token.

`GPT.forward` is the version to read, to train and to look inside; a test holds this one to it, option by option. The
same steps stand here in the same order, prepared once per text, so that a token costs its matrix products and
little more. Any number of texts, any device and precision; `solo.py` is the quickest way for one text on a CPU.
Knows nothing of sampling, windows or words.

Axes: B texts, T new positions, S positions so far, C channels, H heads, D head size, V vocabulary. The residual
stream is (N, C) with N = B T, since torch multiplies two axes with less ado than three.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from minilm.config import ModelConfig
from minilm.errors import ConfigError
from minilm.layers import pair_rows, rotary_tables

Weights = Mapping[str, Tensor]
Function = Callable[[Tensor], Tensor]


class Reader:
    """What reads tokens of B texts, gives the logits of what comes next, and remembers what it read.

    There is room for `block_size` tokens; who fills it up resets it and reads again what should stay.
    """

    def __init__(self, config: ModelConfig, batch_size: int) -> None:
        self.config, self.batch_size = config, batch_size
        self.length = 0

    @property
    def room(self) -> int:
        """How many tokens still fit."""
        return self.config.block_size - self.length

    def forget(self, T: int) -> None:
        """Unreads the last T tokens."""
        assert 0 <= T <= self.length
        self.length -= T

    def reset(self) -> None:
        """Forgets everything and keeps the room."""
        self.length = 0

    def read(self, ids: Tensor, wanted: int = 1) -> Tensor:
        """Logits of what follows each of the last `wanted` tokens of ids (B, T), as (B, wanted, V).

        They may be memory that the next call writes to again.
        """
        (B, T), start = ids.shape, self.length
        if self.room < T or self.batch_size != B:
            raise ConfigError(
                f"this reader has room for {self.room} tokens of {self.batch_size} texts, got {T} of {B}; "
                "reset it or make another"
            )
        self.length = start + T
        return self._logits(ids, start, wanted)

    def _logits(self, ids: Tensor, start: int, wanted: int) -> Tensor:
        raise NotImplementedError


class Layer(NamedTuple):
    """One block: whatever is a function of one tensor is prepared as one."""

    norm_1: Function
    qkv: Function
    qk_norm: Function | None
    proj: Function
    norm_2: Function
    mlp: Function


def prepare_layer(config: ModelConfig, weights: Weights, name: str) -> Layer:
    return Layer(
        norm(config, weights, f"{name}.norm_1"),
        linear(weights, f"{name}.attention.qkv"),
        qk_norm(config, weights, f"{name}.attention") if config.qk_norm else None,
        linear(weights, f"{name}.attention.proj"),
        norm(config, weights, f"{name}.norm_2"),
        mlp(config, weights, f"{name}.mlp"),
    )


def linear(weights: Weights, name: str) -> Function:
    """x W^T + b, (N, in) -> (N, out)."""
    weight, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
    return lambda x: F.linear(x, weight, bias)


def norm(config: ModelConfig, weights: Weights, name: str) -> Function:
    """The norm that the configuration names, (N, C) -> (N, C)."""
    gain, shift = weights[f"{name}.weight"], weights.get(f"{name}.bias")
    if config.norm == "rmsnorm":
        return rms_norm(gain, config.norm_eps)
    return lambda x: F.layer_norm(x, gain.shape, gain, shift, config.norm_eps)


def rms_norm(gain: Tensor, eps: float) -> Function:
    """x / sqrt(mean(x^2) + eps) * gain over the last axis, `gain` being anything that broadcasts.

    A CPU has no kernel for it, and a hypotenuse saves half of the operations: with n channels the divisor is
    hypot(|x|, sqrt(n eps)) / sqrt(n).
    """
    n = gain.size(-1)
    if gain.device.type != "cpu" or gain.dtype != torch.float32:
        return lambda x: F.rms_norm(x, (n,), None, eps) * gain
    floor, scaled = torch.tensor(math.sqrt(n * eps)), gain * math.sqrt(n)
    return lambda x: x / torch.hypot(torch.linalg.vector_norm(x, 2, -1, True), floor) * scaled


def qk_norm(config: ModelConfig, weights: Weights, name: str) -> Function:
    """The norms of queries and keys, both at once: (B, H, 2, T, D) -> (B, H, 2, T, D)."""
    gains = torch.stack((weights[f"{name}.q_norm.weight"], weights[f"{name}.k_norm.weight"]))  # (2, D)
    return rms_norm(gains[:, None], config.norm_eps)


def mlp(config: ModelConfig, weights: Weights, name: str) -> Function:
    """The MLP that the configuration names, (N, C) -> (N, C)."""
    down = linear(weights, f"{name}.down")
    if config.mlp == "swiglu":
        gate_up = linear(weights, f"{name}.gate_up")
        return lambda x: down(swiglu(gate_up(x)))
    up = linear(weights, f"{name}.up")
    form = "none" if config.mlp == "gelu_erf" else "tanh"
    return lambda x: down(F.gelu(up(x), approximate=form))


def swiglu(x: Tensor) -> Tensor:
    """silu(gate) * up, (N, 2 width) -> (N, width)."""
    gate, up = x.chunk(2, dim=-1)
    return F.silu(gate) * up


def turning_tables(config: ModelConfig, like: Tensor) -> Tensor:
    """The cosines and sines of `layers.rotate` for whole heads, (2, block_size, D): x cos + swapped(x) sin, where
    swapping the halves of x is a roll and the sign of the first half's sine is minus."""
    cos, sin = rotary_tables(config.block_size, config.head_size, config.rope_base)  # (block_size, D/2) each
    return torch.stack((torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1))).to(like)


def placed(qk: Tensor, qk_norm: Function | None, turn: tuple[Tensor, ...] | None) -> Tensor:
    """Queries and keys normed and turned to their positions, (B, H, 2, T, D) -> (B, H, 2, T, D)."""
    if qk_norm is not None:
        qk = qk_norm(qk)
    if turn is not None:
        qk = torch.addcmul(qk * turn[0], qk.roll(qk.size(-1) // 2, -1), turn[1])
    return qk


def attend(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention of the last T of S moments, (B, H, T, D) and twice (B, H, S, D) -> (B, H, T, D)."""
    T, S = q.size(2), keys.size(2)
    if T in (1, S):  # a single query is the last moment, and sees every key
        return F.scaled_dot_product_attention(q, keys, values, is_causal=T > 1)
    later = torch.full((T, S), -math.inf, device=q.device, dtype=q.dtype).triu(S - T + 1)
    return F.scaled_dot_product_attention(q, keys, values, later)


class Decoder(Reader):
    """A reader of B texts at once. `weights` are a GPT's own tensors by name; matrices are not copied, so a decoder is
    made in no time. One whose weights change should be made anew.

    >>> from minilm.model import GPT
    >>> model = GPT(ModelConfig(vocab_size=5, n_layer=1, n_head=1, n_embd=2, block_size=4))
    >>> decoder = Decoder(model.config, dict(model.named_parameters()), batch_size=1)
    >>> tuple(decoder.read(torch.tensor([[1, 2, 3]])).shape), decoder.room
    ((1, 1, 5), 1)
    """

    @torch.no_grad()
    def __init__(self, config: ModelConfig, weights: Weights, batch_size: int) -> None:
        super().__init__(config, batch_size)
        self.wte, self.wpe = weights["wte.weight"], weights.get("wpe.weight")
        self.layers = [prepare_layer(config, weights, f"blocks.{i}") for i in range(config.n_layer)]
        self.norm_f = norm(config, weights, "norm_f")
        self.head = weights.get("lm_head.weight", self.wte)
        self.pairs = weights.get("bigrams.table.weight")
        self.turns = turning_tables(config, self.wte) if config.position == "rope" else None
        shape = (config.n_layer, batch_size, config.n_head, 2, config.block_size, config.head_size)
        self.cache = torch.zeros(shape, device=self.wte.device, dtype=self.wte.dtype)  # 2: keys and values
        self.ids = torch.zeros(batch_size, config.block_size, dtype=torch.int64, device=self.wte.device)

    @torch.inference_mode()
    def _logits(self, ids: Tensor, start: int, wanted: int) -> Tensor:
        B, T = ids.shape
        x = self._embed(ids, start, start + T)  # (N, C)
        x = self._blocks(x, start, start + T, wanted)  # (B wanted, C)
        return F.linear(self.norm_f(x), self.head).view(B, wanted, -1)  # (B, wanted, V)

    def _embed(self, ids: Tensor, start: int, end: int) -> Tensor:
        x = F.embedding(ids, self.wte)  # (B, T, C)
        if self.wpe is not None:
            x = x + self.wpe[start:end]
        if self.pairs is not None:
            x = x + self._pairs(self.pairs, ids, start, end)
        return x.flatten(0, 1)  # (N, C)

    def _pairs(self, table: Tensor, ids: Tensor, start: int, end: int) -> Tensor:
        """As in `layers.BigramTable`: the first token of a text has no pair and gets zeros. (B, T, C)"""
        self.ids[:, start:end] = ids
        before = self.ids[:, max(start - 1, 0) : end - 1]  # (B, T), at the beginning (B, T - 1)
        missing = ids.size(1) - before.size(1)
        rows = pair_rows(before, ids[:, missing:], self.config.vocab_size, len(table))
        return F.pad(F.embedding(rows, table), (0, 0, missing, 0))

    def _blocks(self, x: Tensor, start: int, end: int, wanted: int) -> Tensor:
        """The residual stream of T positions, (N, C), after the last block, where they are wanted: (B wanted, C)."""
        T, C = end - start, self.config.n_embd
        # per layer, the place of the new keys and values and all so far: (B, H, 2, T, D) and (B, H, 2, S, D)
        slots, seen = self.cache[..., start:end, :].unbind(0), self.cache[..., :end, :].unbind(0)
        turn = None if self.turns is None else self.turns[:, start:end].unbind(0)  # (T, D) each
        for layer, slot, known in zip(self.layers, slots, seen, strict=True):
            qkv = self._qkv(layer, x, T, turn)  # (B, H, 3, T, D)
            slot.copy_(qkv[:, :, 1:])
            q = qkv[:, :, 0]  # (B, H, T, D)
            if layer is self.layers[-1] and wanted < T:  # nobody will look at the other positions again
                q, x = q[:, :, -wanted:], x.view(-1, T, C)[:, -wanted:].flatten(0, 1)
            mixed = attend(q, *known.unbind(2))  # (B, H, T, D)
            x = x + layer.proj(mixed.transpose(1, 2).reshape(x.shape))  # (N, C)
            x = x + layer.mlp(layer.norm_2(x))
        return x

    def _qkv(self, layer: Layer, x: Tensor, T: int, turn: tuple[Tensor, ...] | None) -> Tensor:
        """Queries, keys and values, (N, C) -> (B, H, 3, T, D), all that happens to them included."""
        H, D = self.config.n_head, self.config.head_size
        qkv = layer.qkv(layer.norm_1(x)).view(-1, T, 3, H, D).transpose(1, 3)
        if layer.qk_norm is not None or turn is not None:
            qkv[:, :, :2] = placed(qkv[:, :, :2], layer.qk_norm, turn)
        return qkv
