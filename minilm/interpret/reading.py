"""Measures how a model reads a text: its surprise at each token, and what it had expected instead.

Numbers for one text at a time. This file knows logits; it does not know where in the model they come from.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from minilm.errors import ConfigError
from minilm.model import GPT
from minilm.writing import Tokenizer


class Guess(NamedTuple):
    """A token's id and the probability that the model gave it."""

    token: int
    probability: float


def encoded(model: GPT, tokenizer: Tokenizer, text: str) -> Tensor:
    """The ids (1, T) of a text that the model can look at in one piece and be surprised by, T from 2 to block_size.

    ConfigError for a text that is too short or too long, UnknownCharacterError for one with foreign characters.
    """
    tokens = tokenizer.encode(text)
    T = model.config.block_size
    if not 2 <= len(tokens) <= T:
        rule = "a longer" if len(tokens) < 2 else "a shorter"
        raise ConfigError(
            f"the text must have 2 to {T} tokens, the model's context, got {len(tokens)}; give {rule} one"
        )
    return next(model.parameters()).new_tensor(tokens).long()[None]


def surprisal(log_probs: Tensor, ids: Tensor) -> Tensor:
    """-ln p of each token but the first, given those before it, in nats: (..., T, V) and (..., T) -> (..., T - 1).

    Their mean is the loss (Shannon, 1948: surprise is what a message has to say).

    >>> import torch
    >>> evenly = torch.zeros(3, 4).log_softmax(-1)  # four tokens, all alike: ln 4 each
    >>> surprisal(evenly, torch.tensor([0, 1, 2]))
    tensor([1.3863, 1.3863])
    """
    return -log_probs[..., :-1, :].gather(-1, ids[..., 1:, None]).squeeze(-1)


def best_guesses(log_probs: Tensor, k: int = 3) -> list[list[Guess]]:
    """The k likeliest tokens after each token, best first, of (T, V).

    >>> import torch
    >>> best_guesses(torch.tensor([[0.25, 0.75]]).log(), k=1)
    [[Guess(token=1, probability=0.75)]]
    """
    top = log_probs.exp().topk(min(k, log_probs.size(-1)), dim=-1)
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return [[Guess(*pair) for pair in zip(*row, strict=True)] for row in pairs]
