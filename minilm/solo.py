"""The decoder once more, for one text on a CPU: numpy alone, float32, as few steps as will do.

One row times a matrix is all that a token of one text asks for. There a call of numpy costs a fraction of torch's, and
its product reads the weights faster; benchmarks/generation.py measures both. A test holds this file to `GPT.forward`,
option by option. Knows nothing of batches, devices, sampling, windows or words.

Axes: T new positions, S positions so far, C channels, H heads, D head size, V vocabulary. Everything is (T, C) or
(H, T, D); T is 1 but for a prompt, a full window and a draft.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from minilm.config import ModelConfig
from minilm.decoding import Reader
from minilm.layers import MIXER, rotary_tables

Arrays = Mapping[str, np.ndarray]
Function = Callable[[np.ndarray], np.ndarray]


def linear(weights: Arrays, name: str) -> Function:
    """x W^T + b, (T, in) -> (T, out).

    OpenBLAS reads a matrix up to twice as fast along its longer side, so one that is wider than its input is copied
    to lie that way in memory, and one that is not is used as it is, in (W x^T)^T.
    """
    weight, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
    if len(weight) < weight.shape[1]:
        return added(lambda x: weight.dot(x.T).T, bias)
    turned = np.ascontiguousarray(weight.T)
    return added(lambda x: x.dot(turned), bias)


def added(product: Function, bias: np.ndarray | None) -> Function:
    return product if bias is None else lambda x: product(x) + bias


def rms_norm(gain: np.ndarray, eps: float) -> Function:
    """x / sqrt(mean(x^2) + eps) * gain over the last axis; the mean as a product, since numpy's own is slow."""
    mean = np.full(gain.shape[-1], 1 / gain.shape[-1], np.float32)
    return lambda x: x / np.sqrt((x * x).dot(mean) + eps)[..., None] * gain


def layer_norm(gain: np.ndarray, shift: np.ndarray | None, eps: float) -> Function:
    """LayerNorm is RMSNorm of what differs from the mean, and a shift."""
    mean, scale = np.full(len(gain), 1 / len(gain), np.float32), rms_norm(gain, eps)
    if shift is None:
        return lambda x: scale(x - x.dot(mean)[:, None])
    return lambda x: scale(x - x.dot(mean)[:, None]) + shift


def norm(config: ModelConfig, weights: Arrays, name: str) -> Function:
    """The norm that the configuration names, (T, C) -> (T, C)."""
    gain, shift = weights[f"{name}.weight"], weights.get(f"{name}.bias")
    eps = config.norm_eps
    return rms_norm(gain, eps) if config.norm == "rmsnorm" else layer_norm(gain, shift, eps)


def gelu(x: np.ndarray) -> np.ndarray:
    """x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) in the array of one intermediate result."""
    inner = x * x
    inner *= 0.044715 * math.sqrt(2 / math.pi)
    inner += math.sqrt(2 / math.pi)
    inner *= x
    np.tanh(inner, inner)
    inner += 1
    inner *= x
    inner *= 0.5
    return inner


def gelu_erf(x: np.ndarray) -> np.ndarray:
    """x/2 (1 + erf(x/sqrt(2))), the error function to 1.5e-7 (Abramowitz and Stegun, 1964, formula 7.1.26)."""
    size = np.abs(x) * np.float32(math.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * size)
    tail = np.float32(1.061405429) * t
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail = (tail + np.float32(coefficient)) * t
    tail *= np.exp(-size * size)
    return 0.5 * x * (1 + np.sign(x) * (1 - tail))


def swiglu(x: np.ndarray) -> np.ndarray:
    """silu(gate) * up with silu(x) = x/2 (1 + tanh(x/2)), which never overflows: (T, 2 width) -> (T, width)."""
    width = x.shape[-1] // 2
    half = 0.5 * x[:, :width]
    return (np.tanh(half) + 1) * half * x[:, width:]


ACTIVATIONS: dict[str, Function] = {
    "gelu": gelu,
    "gelu_erf": gelu_erf,
    "swiglu": swiglu,
}


def softmax(scores: np.ndarray) -> np.ndarray:
    """Over the last axis, in place."""
    scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
    np.exp(scores, scores)
    scores /= np.add.reduce(scores, axis=-1, keepdims=True)
    return scores


def attend(q: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Attention of the last T of S moments, (H, T, D) and twice (H, S, D) -> (H, T, D); q is already scaled."""
    scores, (T, S) = np.matmul(q, keys.transpose(0, 2, 1)), (q.shape[1], keys.shape[1])  # (H, T, S)
    if T > 1:  # a single query is the last moment, and sees every key
        scores += np.triu(np.full((T, S), -np.inf, np.float32), S - T + 1)
    return np.matmul(softmax(scores), values)


class Layer(NamedTuple):
    """One block, and the keys and values that it has seen, (2, H, block_size, D)."""

    norm_1: Function
    qkv: Function
    qk_norm: Function | None
    proj: Function
    norm_2: Function
    into_mlp: Function
    activation: Function
    out_of_mlp: Function
    cache: np.ndarray


def prepare_layer(config: ModelConfig, weights: Arrays, name: str) -> Layer:
    return Layer(
        norm(config, weights, f"{name}.norm_1"),
        linear(weights, f"{name}.attention.qkv"),
        qk_norm(config, weights, f"{name}.attention") if config.qk_norm else None,
        linear(weights, f"{name}.attention.proj"),
        norm(config, weights, f"{name}.norm_2"),
        linear(weights, f"{name}.mlp.{'gate_up' if config.mlp == 'swiglu' else 'up'}"),
        ACTIVATIONS[config.mlp],
        linear(weights, f"{name}.mlp.down"),
        np.zeros((2, config.n_head, config.block_size, config.head_size), np.float32),
    )


def qk_norm(config: ModelConfig, weights: Arrays, name: str) -> Function:
    """The norms of queries and keys, both at once: (2, H, T, D) -> (2, H, T, D)."""
    gains = np.stack((weights[f"{name}.q_norm.weight"], weights[f"{name}.k_norm.weight"]))  # (2, D)
    return rms_norm(gains[:, None, None], config.norm_eps)


class SoloDecoder(Reader):
    """A reader of one text. `weights` are a GPT's own tensors by name, float32 on a CPU; most
    matrices are copied once. A reader whose weights change should be made anew.

    >>> from minilm.model import GPT
    >>> model = GPT(ModelConfig(vocab_size=5, n_layer=1, n_head=1, n_embd=2, block_size=4))
    >>> decoder = SoloDecoder(model.config, dict(model.named_parameters()))
    >>> tuple(decoder.read(torch.tensor([[1, 2, 3]])).shape), decoder.room
    ((1, 1, 5), 1)
    """

    def __init__(self, config: ModelConfig, weights: Mapping[str, Tensor]) -> None:
        super().__init__(config, batch_size=1)
        arrays = {name: tensor.detach().numpy() for name, tensor in weights.items()}
        self.wte, self.wpe = arrays["wte.weight"], arrays.get("wpe.weight")
        self.pairs, self.ids = arrays.get("bigrams.table.weight"), np.zeros(config.block_size, np.int64)
        self.layers = [prepare_layer(config, arrays, f"blocks.{i}") for i in range(config.n_layer)]
        self.norm_f = norm(config, arrays, "norm_f")
        self.head = arrays.get("lm_head.weight", self.wte).T
        cos, sin = rotary_tables(config.block_size, config.head_size, config.rope_base)
        self.cos = torch.cat((cos, cos), dim=-1).numpy()  # (block_size, D): for whole heads, see `_turned`
        self.sin = torch.cat((-sin, sin), dim=-1).numpy()
        self.scale = 1 / math.sqrt(config.head_size)

    def _logits(self, ids: Tensor, start: int, wanted: int) -> Tensor:
        end = start + ids.size(1)
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # a model that diverged has infinite logits, as in torch
            x = self._blocks(self._embed(ids.numpy()[0], start, end), start, end, wanted)  # (wanted, C)
            return torch.from_numpy(self.norm_f(x).dot(self.head))[None]  # (1, wanted, V)

    def _embed(self, ids: np.ndarray, start: int, end: int) -> np.ndarray:
        x = self.wte[ids]  # (T, C)
        if self.wpe is not None:
            x = x + self.wpe[start:end]
        if self.pairs is not None:
            self.ids[start:end] = ids
            x[start == 0 :] += self.pairs[self._rows(max(start, 1), end)]  # the first token has no pair
        return x

    def _rows(self, start: int, end: int) -> np.ndarray:
        """As `layers.pair_rows`."""
        first, second = self.ids[start - 1 : end - 1], self.ids[start:end]
        rows, V = self.config.bigram_rows, self.config.vocab_size
        return first * V + second if rows >= V * V else (first * MIXER + second) % rows

    def _blocks(self, x: np.ndarray, start: int, end: int, wanted: int) -> np.ndarray:
        """The residual stream of T positions, (T, C), after the last block, where it is wanted: (wanted, C)."""
        T = end - start
        for layer in self.layers:
            qk, v = self._qkv(layer, x, start, end)
            keys, values = layer.cache
            keys[:, start:end], values[:, start:end] = qk[1], v
            q = qk[0] * self.scale
            if layer is self.layers[-1] and wanted < T:  # nobody will look at the other positions again
                q, x = q[:, -wanted:], x[-wanted:]
            mixed = attend(q, keys[:, :end], values[:, :end])  # (H, T, D)
            x = x + layer.proj(mixed.transpose(1, 0, 2).reshape(x.shape))  # (T, C)
            x = x + layer.out_of_mlp(layer.activation(layer.into_mlp(layer.norm_2(x))))
        return x

    def _qkv(self, layer: Layer, x: np.ndarray, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Queries and keys (2, H, T, D) and values (H, T, D), all that happens to them included."""
        H, D = self.config.n_head, self.config.head_size
        qkv = layer.qkv(layer.norm_1(x)).reshape(-1, 3, H, D).transpose(1, 2, 0, 3)  # (3, H, T, D)
        return self._placed(qkv[:2], layer.qk_norm, start, end), qkv[2]

    def _placed(self, qk: np.ndarray, qk_norm: Function | None, start: int, end: int) -> np.ndarray:
        """Queries and keys normed and turned to their positions, (2, H, T, D) -> (2, H, T, D)."""
        if qk_norm is not None:
            qk = qk_norm(qk)
        if self.wpe is None:  # `layers.rotate`: swapping the halves, the first half's sine is minus
            half = qk.shape[-1] // 2
            swapped = np.concatenate((qk[..., half:], qk[..., :half]), axis=-1)
            qk = qk * self.cos[start:end] + swapped * self.sin[start:end]
        return qk
