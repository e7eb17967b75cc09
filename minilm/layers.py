"""The small parts of a decoder: norms, MLPs and rotary positions.

Each is a function of one tensor's last axes. This file knows nothing of attention, tokens or depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilm.config import ModelConfig


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
        self.up = nn.Linear(config.n_embd, config.mlp_width, bias=config.bias)
        self.down = nn.Linear(config.mlp_width, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))


class SwigluMLP(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer, 2020, "GLU Variants Improve Transformer", eq. 6)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(
            config.n_embd, 2 * config.mlp_width, bias=config.bias
        )  # one product for both
        self.down = nn.Linear(config.mlp_width, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)  # each (B, T, width)
        return self.down(F.silu(gate) * up)


class ReluSquaredMLP(nn.Module):
    """down(relu(up(x))^2) (So et al., 2021, "Primer", section 3): cheap, and its zeros are exact."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.n_embd, config.mlp_width, bias=config.bias)
        self.down = nn.Linear(config.mlp_width, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.relu(self.up(x)).square())


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


@dataclass
class Skips:
    """What every block may look back at: the embedding (B, T, C) and the first block's values (B, H, T, D)."""

    embedding: Tensor
    values: Tensor | None = None


MLPS: dict[str, type[nn.Module]] = {"gelu": GeluMLP, "swiglu": SwigluMLP, "relu2": ReluSquaredMLP}


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
