"""Repeats the decoder of `minilm.model` for generation: no modules, no gradients, no checks per token.

`GPT.forward` is the version to read, to train and to look inside. The same steps stand here in the same order, prepared
once per text, so that a token costs its matrix products and little more. The verbs `sample` and `chat` read with it
after it has agreed with the model's own modules on their very weights. Knows nothing of sampling or words.

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
from minilm.errors import note
from minilm.fast.agreement import TOLERANCE
from minilm.model import GPT, pair_vectors, rotary_tables
from minilm.sampling import Window, reading

Weights = Mapping[str, Tensor]
Function = Callable[[Tensor], Tensor]


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
    """The cosines and sines of `model.rotate` for whole heads, (2, block_size, D): x cos + swapped(x) sin, where
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


class Decoder:
    """The weights of a GPT, by name, prepared to read B texts. Matrices are not copied, so a decoder is made in no
    time; one whose weights change should be made anew.

    >>> model = GPT(ModelConfig(vocab_size=5, n_layer=1, n_head=1, n_embd=2, block_size=4))
    >>> decoder = Decoder(model.config, weights_of(model), batch_size=1)
    >>> tuple(decoder.read(torch.tensor([[1, 2, 3]]), start=0, wanted=1).shape)
    (1, 1, 5)
    """

    @torch.no_grad()
    def __init__(self, config: ModelConfig, weights: Weights, batch_size: int) -> None:
        self.config = config
        self.wte, self.wpe = weights["wte.weight"], weights.get("wpe.weight")
        self.layers = [prepare_layer(config, weights, f"blocks.{i}") for i in range(config.n_layer)]
        self.norm_f = norm(config, weights, "norm_f")
        self.head = weights.get("lm_head.weight", self.wte)
        self.pairs, self.keys = weights.get("bigrams.table.weight"), weights.get("bigrams.keys")
        self.turns = turning_tables(config, self.wte) if config.position == "rope" else None
        shape = (config.n_layer, batch_size, config.n_head, 2, config.block_size, config.head_size)
        self.cache = torch.zeros(shape, device=self.wte.device, dtype=self.wte.dtype)  # 2: keys and values

    @torch.inference_mode()
    def read(self, ids: Tensor, start: int, wanted: int) -> Tensor:
        """Logits (B, wanted, V) after the last `wanted` of ids (B, S), of which the first `start` are read."""
        B, S = ids.shape
        x = self._embed(ids, start)  # (N, C)
        x = self._blocks(x, start, S, wanted)  # (B wanted, C)
        return F.linear(self.norm_f(x), self.head).view(B, wanted, -1)  # (B, wanted, V)

    def _embed(self, ids: Tensor, start: int) -> Tensor:
        x = F.embedding(ids[:, start:], self.wte)  # (B, T, C)
        if self.wpe is not None:
            x = x + self.wpe[start : ids.size(1)]
        if self.pairs is not None:  # as in `model.BigramTable`: the first token of a text has no pair
            first = max(start, 1)
            pairs = ids[:, first - 1 : -1] * self.config.vocab_size + ids[:, first:]
            x = x + F.pad(pair_vectors(pairs, self.pairs, self.keys), (0, 0, first - start, 0))
        return x.flatten(0, 1)  # (N, C)

    def _blocks(self, x: Tensor, start: int, end: int, wanted: int) -> Tensor:
        """The residual stream of T positions, (N, C), after the last block, where they are wanted: (B wanted, C)."""
        T, C = end - start, self.config.n_embd
        H, D = self.config.n_head, self.config.head_size
        # per layer, the place of the new keys and values and all so far: (B, H, 2, T, D) and (B, H, 2, S, D)
        slots, seen = self.cache[..., start:end, :].unbind(0), self.cache[..., :end, :].unbind(0)
        turn = None if self.turns is None else self.turns[:, start:end].unbind(0)  # (T, D) each
        for layer, slot, known in zip(self.layers, slots, seen, strict=True):
            qkv = layer.qkv(layer.norm_1(x)).view(-1, T, 3, H, D).transpose(1, 3)  # (B, H, 3, T, D)
            if layer.qk_norm is not None or turn is not None:
                qkv[:, :, :2] = placed(qkv[:, :, :2], layer.qk_norm, turn)
            slot.copy_(qkv[:, :, 1:])
            q = qkv[:, :, 0]  # (B, H, T, D)
            if layer is self.layers[-1] and wanted < T:  # nobody will look at the other positions again
                q, x = q[:, :, -wanted:], x.view(-1, T, C)[:, -wanted:].flatten(0, 1)
            mixed = attend(q, *known.unbind(2))  # (B, H, T, D)
            x = x + layer.proj(mixed.transpose(1, 2).reshape(len(x), -1))  # (N, C)
            x = x + layer.mlp(layer.norm_2(x))
        return x


class QuickWindow(Window):
    """A window that a `Decoder` reads. Its weights must stay as they are while it is used."""

    def __init__(self, model: GPT, batch_size: int, keep: float = 1.0) -> None:
        super().__init__(model, batch_size, keep, use_cache=False)
        self.decoder = Decoder(model.config, weights_of(model), batch_size)

    def logits(self, start: int, wanted: int) -> Tensor:
        assert self.ids is not None
        threads = torch.get_num_threads()
        if (
            len(self.ids) * (self.ids.size(1) - start) == 1
        ):  # threads would wait for each other longer than they work
            torch.set_num_threads(1)
        try:
            return self.decoder.read(self.ids, start, wanted)
        finally:
            torch.set_num_threads(threads)


def probe(model: GPT, T: int) -> Tensor:
    """T tokens drawn at random, (1, T); among many pairs every other one is a pair that has a row."""
    generator, V = torch.Generator().manual_seed(0), model.config.vocab_size
    ids = torch.randint(V, (1, T), generator=generator)
    keys = getattr(model.bigrams, "keys", None)
    if keys is not None:
        known = keys[keys < V * V].cpu()
        pairs = known[torch.randint(len(known), (T // 2,), generator=generator)]  # (T / 2,)
        ids[0, : T // 2 * 2] = torch.stack((pairs // V, pairs % V), dim=1).flatten()
    return ids


def weights_of(model: GPT) -> Weights:
    """Parameters, and which pairs have rows."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def quick_window(model: GPT, batch_size: int = 1, keep: float = 1.0) -> Window:
    """A window read by a `Decoder` where it gives this model's own logits, otherwise by the model; a line says so.

    The two are compared on a few tokens drawn at random: all of them at once, then one more from the cache.
    """
    window = Window(model, batch_size, keep)
    T = min(model.config.block_size, 33)
    ids = probe(model, T).to(next(model.parameters()).device)  # (1, T)
    with reading(model):
        expected = model(ids).logits  # (1, T, V)
    try:
        decoder = Decoder(model.config, weights_of(model), batch_size=1)
        parts = [
            decoder.read(ids[:, :end], start, end - start) for start, end in ((0, T - 1), (T - 1, T)) if end
        ]
        difference = float(
            (torch.cat(parts, dim=1) - expected).abs().max() / expected.abs().max().clamp(min=1)
        )
    except (KeyError, IndexError, RuntimeError, AttributeError):  # the weights of another architecture
        difference = math.nan
    if difference <= TOLERANCE:
        return QuickWindow(model, batch_size, keep)
    note(
        "this text is written by the model's own modules, which take longer: the quick decoder computes another model"
    )
    return window
