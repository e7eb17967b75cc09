"""Reads attention maps: they show what each head looks at, and three habits that a head can have.

A head with a habit looks at the first token, at the token before, or, the famous one, at what followed the last time
that the present token stood here: an induction head (Olsson et al., 2022). A habit is a number from 0 to 1, the
share of attention that goes where the habit wants it. This file knows patterns, not what they are good for; that is
`ablation.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from minilm.errors import ConfigError
from minilm.model import GPT
from minilm.taps import record

A_FEW = 8  # tokens said twice


def attention_maps(model: GPT, ids: Tensor) -> Tensor:
    """The attention that each token gives to each, (B, T) -> (layers, B, H, T, T); each row of a map sums to 1.

    >>> from minilm.config import ModelConfig
    >>> model = GPT(ModelConfig(vocab_size=5, n_layer=2, n_head=1, n_embd=4, block_size=4))
    >>> tuple(attention_maps(model, torch.tensor([[1, 2, 3]])).shape)
    (2, 1, 1, 3, 3)
    """
    return torch.stack(list(record(model, ids, "blocks.*.attn.hook_pattern").values()))


def lag_score(pattern: Tensor, lag: int) -> Tensor:
    """The mean attention of the tokens from `lag` on to the token `lag` before them, (..., T, T) -> (...).

    >>> lag_score(torch.eye(4).roll(1, 0), lag=1)  # row t has its one in column t - 1
    tensor(1.)
    """
    return pattern.diagonal(-lag, dim1=-2, dim2=-1).mean(-1)


def first_token_score(pattern: Tensor) -> Tensor:
    """The mean attention to the very first token, where heads go that have nothing to do, (..., T, T) -> (...)."""
    return pattern[..., 1:, 0].mean(-1)


def repeated_tokens(vocab_size: int, length: int, generator: torch.Generator, batch_size: int = 16) -> Tensor:
    """Random tokens, all different, and the same tokens again: (batch_size, 2 * length).

    Nothing in the first half can be predicted and everything in the second, but only by looking back. All different,
    so that each has stood in one place only, and what followed it is no matter of opinion.
    """
    draws = torch.rand(batch_size, vocab_size, generator=generator)  # (batch_size, V)
    half = draws.argsort(dim=1)[:, :length]
    return torch.cat((half, half), dim=1)


def induction_score(pattern: Tensor) -> Tensor:
    """How much a head looks at what followed last time, on `repeated_tokens`, (..., 2n, 2n) -> (...).

    Token t stood at t - n as well, so what followed stands at t - n + 1. Only the second half counts.

    >>> n = 3
    >>> induction_score(torch.eye(2 * n).roll(n - 1, 0))
    tensor(1.)
    """
    n = pattern.size(-1) // 2
    return pattern[..., n:, :].diagonal(1, dim1=-2, dim2=-1).mean(-1)


def induction_scores(
    model: GPT, generator: torch.Generator, length: int | None = None, batch_size: int = 64
) -> Tensor:
    """The induction score of every head on random tokens said twice, (layers, H).

    `length` is how many tokens are repeated, at most half the context and at most all tokens there are. None means
    a few, for in a long row of random characters a model is so far from all it knows that its habits fail it.

    >>> from minilm.config import ModelConfig
    >>> model = GPT(ModelConfig(vocab_size=5, n_layer=2, n_head=1, n_embd=4, block_size=8))
    >>> tuple(induction_scores(model, torch.Generator().manual_seed(0)).shape)
    (2, 1)
    """
    most = min(model.config.block_size // 2, model.config.vocab_size)
    length = min(A_FEW, most) if length is None else length
    if not 2 <= length <= most:
        raise ConfigError(
            f"length must be from 2 to {most}, the smaller of half the context and the vocabulary, got {length}; "
            "choose one between"
        )
    ids = repeated_tokens(model.config.vocab_size, length, generator, batch_size)
    maps = attention_maps(model, ids.to(next(model.parameters()).device))  # (layers, B, H, 2n, 2n)
    return induction_score(maps).mean(1)
