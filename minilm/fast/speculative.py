"""Speeds generation up by guesses: a cheap draft guesses some tokens, the model judges them all in one reading.

A model reads five tokens in little more time than one. What comes out is distributed exactly as if the model had
drawn every token itself, whatever the draft is worth: a bad one only wastes time. After Leviathan, Kalman and Matias
(2023), "Fast Inference from Transformers via Speculative Decoding", algorithm 1, and Chen et al. (2023),
"Accelerating Large Language Model Decoding with Speculative Sampling". Knows nothing of how model or draft compute.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from minilm.errors import ConfigError
from minilm.sampling import Window, check_options, filter_logits

REACH = 4  # tokens guessed at most before the model is asked


class Draft(Protocol):
    """What guesses."""

    def successors(self, context: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The tokens that may follow and their weights, (n,) each; any positive weights, none for no idea."""
        ...


class Guess(NamedTuple):
    """A guessed token, and the distribution it was drawn from: tokens and their probabilities, (n,) each."""

    token: int
    tokens: np.ndarray
    q: np.ndarray


def guess(draft: Draft, context: Sequence[int], temperature: float, chance: float) -> Guess | None:
    """Draws from the draft at the model's temperature, with `chance` in [0, 1) as the draw; None for no idea."""
    tokens, weights = draft.successors(context)
    if len(tokens) == 0:
        return None
    if temperature == 0:
        best = int(weights.argmax())
        return Guess(int(tokens[best]), tokens[best : best + 1], np.ones(1))
    q = (weights / weights.max()) ** (1 / temperature)
    q = q / q.sum()
    drawn = min(bisect_right(q.cumsum().tolist(), chance), len(q) - 1)
    return Guess(int(tokens[drawn]), tokens, q)


def guesses(
    draft: Draft, context: Sequence[int], temperature: float, chances: Sequence[float]
) -> list[Guess]:
    """Up to as many guesses as there are chances, each following those before it."""
    trail, found = list(context), []
    for chance in chances:
        new = guess(draft, trail, temperature, chance)
        if new is None:
            break
        found.append(new)
        trail.append(new.token)
    return found


def judge_greedily(logits: Tensor, found: list[Guess]) -> tuple[int, int]:
    """(how many guesses are what the model would have taken, the token it takes after those); logits (k + 1, V)."""
    best = logits.argmax(dim=-1).tolist()
    right = next((i for i, guess in enumerate(found) if guess.token != best[i]), len(found))
    return right, best[right]


def judge(
    p: Tensor, found: list[Guess], chances: Sequence[float], generator: torch.Generator | None
) -> tuple[int, int]:
    """(how many guesses are accepted, the token drawn after those); p (k + 1, V) are the model's probabilities.

    A guess x is accepted with probability min(1, p(x) / q(x)). The first one that is not is replaced by a draw from
    max(0, p - q), normalised: just what the guesses would give too rarely. After the last one comes a draw from p.
    """
    for i, (token, tokens, q) in enumerate(found):
        if chances[i] * float(q[tokens == token][0]) >= float(p[i, token]):
            return i, draw(left_over(p[i], tokens, q), generator)
    return len(found), draw(p[-1], generator)


def left_over(p: Tensor, tokens: np.ndarray, q: np.ndarray) -> Tensor:
    """max(0, p - q) up to a factor, (V,); p itself should rounding leave nothing."""
    minus_q = torch.as_tensor(-q, dtype=p.dtype, device=p.device)
    rest = p.index_add(0, torch.as_tensor(tokens, device=p.device), minus_q).clamp_(min=0)
    return rest if rest.sum() > 0 else p


def draw(weights: Tensor, generator: torch.Generator | None) -> int:
    """A token with probability in proportion to its weight, (V,)."""
    return int(torch.multinomial(weights, 1, generator=generator))


def speculate(
    window: Window,
    draft: Draft,
    ids: Tensor,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Yields one (1,) tensor of a new token at a time; ids is (1, T), one text. Options as in `sampling.stream`.

    The distribution of the text is the same as without a draft, the draws are others.
    """
    check_options(max_new_tokens, temperature, top_k, top_p)
    if ids.size(0) != 1:
        raise ConfigError(f"a draft is for one text at a time, got {ids.size(0)}; leave it out for several")
    return _speculate(window, draft, ids, max_new_tokens, temperature, top_k, top_p, generator)


def _speculate(
    window: Window,
    draft: Draft,
    ids: Tensor,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    generator: torch.Generator | None,
) -> Iterator[Tensor]:
    # where probabilities meet chances
    device = torch.device("cpu") if generator is None else generator.device
    context, made = ids[0].tolist(), 0
    while made < max_new_tokens:
        reach = max(0, min(REACH, max_new_tokens - made - 1, window.block_size - window.length - ids.size(1)))
        chances = (
            torch.rand(2 * reach, generator=generator, device=device).tolist()
            if temperature
            else [0.0] * reach
        )
        found = guesses(draft, context, temperature, chances[:reach])
        guessed = torch.tensor([[guess.token for guess in found]], dtype=ids.dtype, device=ids.device)
        logits = window.read(torch.cat((ids, guessed), dim=1), wanted=len(found) + 1)[0]  # (k + 1, V)
        if temperature == 0:
            right, token = judge_greedily(logits, found)
        else:
            p = filter_logits(logits, temperature, top_k, top_p).softmax(dim=-1).to(device)  # (k + 1, V)
            right, token = judge(p, found, chances[reach:], generator)
        window.forget(len(found) - right)
        new = torch.tensor([guess.token for guess in found[:right]] + [token], device=ids.device)
        yield from new.split(1)
        context, made, ids = context + new.tolist(), made + len(new), new[None, -1:]
