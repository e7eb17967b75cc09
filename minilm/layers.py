"""The small parts of a decoder: norms, MLPs and rotary positions.

Each is a function of one tensor's last axes. This file knows nothing of attention, tokens or depth.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from minilm.config import ModelConfig


class Linear(nn.Linear):
    """torch's linear map, computed in the number format of its weight, whatever format its input has."""

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(self.weight.dtype)
        return F.linear(x.to(self.weight.dtype), self.weight, bias)


class RmsByHand(torch.autograd.Function):
    """x / rms(x) * gain with its gradient: on a CPU autograd's own takes twice as long, through many small passes.

    With h = x / rms(x) and G = gain * dy the chain rule gives dx = (G - h mean(G h)) / rms(x), dgain = sum(dy h).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        squares = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        inverse = squares.div_(x.size(-1)).add_(eps).rsqrt_()  # (..., 1)
        h = x * inverse
        ctx.save_for_backward(h, inverse, gain)
        return h * gain

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None]:
        h, inverse, gain = ctx.saved_tensors
        dy_h = dy * h
        mean = (dy_h @ gain).unsqueeze(-1).div_(-gain.numel())  # (..., 1)
        dx = torch.addcmul(dy * gain, h, mean).mul_(inverse)
        return dx, dy_h.flatten(0, -2).sum(0) if dy_h.dim() > 1 else dy_h, None


class RMSNorm(nn.Module):
    """x / rms(x) * gain over the last axis (Zhang and Sennrich, 2019): LayerNorm without mean and shift.

    >>> RMSNorm(2, 1e-6)(torch.tensor([3.0, 4.0])).pow(2).mean().round(decimals=3).item()
    1.0
    """

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu":  # in float32 or wider: half precision would round the sum of squares
            wide = torch.promote_types(x.dtype, torch.float32)
            return RmsByHand.apply(x.to(wide), self.weight.to(wide), self.eps).to(x.dtype)
        # one type for both, or torch warns and takes its slow path; the kernel sums in float32 by itself
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


def make_norm(config: ModelConfig) -> nn.Module:
    """The norm that the configuration names; LayerNorm has a shift only where the model has biases."""
    if config.norm == "rmsnorm":
        return RMSNorm(config.n_embd, config.norm_eps)
    return nn.LayerNorm(config.n_embd, config.norm_eps, bias=config.bias)


class GeluMLP(nn.Module):
    """GPT-2's MLP: down(gelu(up(x))), with the tanh form of GELU; (B, T, C) -> (B, T, C)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = Linear(config.n_embd, config.mlp_width, bias=config.bias)
        self.down = Linear(config.mlp_width, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))


class GeluErfMLP(GeluMLP):
    """The same with the exact form, x Phi(x), which nanoGPT has; on a CPU it is quicker than the tanh form."""

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class SwigluMLP(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer, 2020, "GLU Variants Improve Transformer", eq. 6)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up = Linear(config.n_embd, 2 * config.mlp_width, bias=config.bias)  # one product for both
        self.down = Linear(config.mlp_width, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)  # each (B, T, width)
        return self.down(F.silu(gate) * up)


MIXER = 1_000_003  # a prime, so that neighbouring tokens fall on distant rows


def pair_rows(first: Tensor, second: Tensor, vocab_size: int, rows: int) -> Tensor:
    """The row of each pair of tokens: its own where `rows` suffice, otherwise one that it shares."""
    if rows >= vocab_size**2:
        return first * vocab_size + second
    return (first * MIXER + second) % rows


class BigramTable(nn.Module):
    """One row per pair (previous token, token), (B, T) -> (B, T, C): what counting pairs knows, without a layer.

    With at least V^2 rows every pair has its own; with fewer, pairs share rows by a hash (in the spirit of Svenstrup
    et al., 2017, "Hash Embeddings"). The first token of a text has no pair and gets zeros.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.vocab_size, self.rows = config.vocab_size, config.bigram_rows
        self.table = nn.Embedding(self.rows, config.n_embd)

    def forward(self, ids: Tensor, before: Tensor | None = None) -> Tensor:
        """`before` (B,) are the tokens in front of ids (B, T), where there are any."""
        if before is None:
            return F.pad(self.table(self.row(ids[:, :-1], ids[:, 1:])), (0, 0, 1, 0))  # (B, T, C)
        return self.table(self.row(torch.cat((before[:, None], ids[:, :-1]), dim=1), ids))

    def row(self, first: Tensor, second: Tensor) -> Tensor:
        """The row of each pair."""
        return pair_rows(first, second, self.vocab_size, self.rows)


MLPS: dict[str, type[nn.Module]] = {
    "swiglu": SwigluMLP,
    "gelu": GeluMLP,
    "gelu_erf": GeluErfMLP,
}


def rotary_tables(block_size: int, head_size: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of position * base^(-2i/D), each (block_size, D/2) (Su et al., 2021, eq. 15).

    Channel pair i turns once in 2 pi base^(2i/D) positions: fast pairs tell near places apart, slow ones far.
    """
    frequencies = base ** -(torch.arange(0, head_size, 2, dtype=torch.float32) / head_size)  # (D/2,)
    angles = torch.outer(torch.arange(block_size, dtype=torch.float32), frequencies)  # (block_size, D/2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns each channel pair (i, i + D/2) by its angle, (..., T, D) -> (..., T, D).

    A product of two turned vectors depends on their distance only. (The paper pairs the neighbours 2i and
    2i + 1; checkpoints of the Llama and Qwen families pair the halves, and so do we.)

    >>> cos, sin = rotary_tables(8, 4, 10_000.0)
    >>> x, y = torch.randn(4), torch.randn(4)
    >>> near = rotate(x, cos[2], sin[2]) @ rotate(y, cos[1], sin[1])
    >>> torch.allclose(near, rotate(x, cos[7], sin[7]) @ rotate(y, cos[6], sin[6]), atol=1e-5)
    True
    """
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    left, right = x.chunk(2, dim=-1)  # (..., T, D/2)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)
