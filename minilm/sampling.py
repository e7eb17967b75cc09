"""Generates tokens: filters the logits, draws one, reads it, and so on; the window of tokens that a model sees.

It asks a model for logits and knows nothing of how they are computed, or of text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from minilm.errors import ConfigError, note


def filter_logits(
    logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Logits (B, V) divided by the temperature, -inf outside the top_k most likely tokens and the nucleus.

    top_k is applied first; the nucleus is the smallest set of most likely tokens whose probability reaches
    top_p (Holtzman et al., 2020, eq. 2). At least one token stays; temperature 0 keeps the most likely only.

    >>> filter_logits(torch.tensor([[3.0, 1.0, 2.0]]), top_k=2)
    tensor([[ 0., -inf, -1.]])
    """
    logits = logits.float() - logits.max(dim=-1, keepdim=True).values  # the best is 0 at any temperature
    top_k = 1 if temperature == 0 else top_k
    logits = logits / max(temperature, 1e-30)  # smaller ones have no float32 reciprocal
    if top_k is not None:
        best = logits.topk(min(top_k, logits.size(-1)), dim=-1)
        logits = torch.full_like(logits, -math.inf).scatter(-1, best.indices, best.values)
    if top_p is not None and top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        probabilities = ordered.softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities  # what the more likely tokens already hold
        outside = (before >= top_p).scatter(-1, order, before >= top_p)
        logits = logits.masked_fill(outside, -math.inf)
    return logits


def next_token(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One token per row, (B, V) -> (B,); temperature 0 takes the most likely one and draws nothing."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = filter_logits(logits, temperature, top_k, top_p).softmax(dim=-1)
    if generator is not None:  # a generator lives on one device; drawing there makes runs comparable
        probabilities = probabilities.to(generator.device)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0].to(logits.device)


@contextmanager
def reading(model: Any) -> Iterator[None]:
    """Eval mode without gradients inside; the mode that was, outside again."""
    training = model.training
    model.train(False)
    try:
        with torch.no_grad():  # not inference mode, whose tensors no later training may use
            yield
    finally:
        model.train(training)


class Window:
    """The last tokens of B texts, as many as a model sees, and the model's answers to them.

    A cache leaves only new tokens to compute. But positions are counted from the start of the window: once
    `block_size` tokens are in it, dropping the oldest moves every other one, and no key or value is true any more. So a
    share `keep` of the tokens is read again: with 1 all but the oldest, for each new token; with 0.5 the newer
    half, once in block_size / 2 tokens.
    """

    def __init__(self, model: Any, batch_size: int, keep: float = 1.0, use_cache: bool = True) -> None:
        if not 0 < keep <= 1:
            raise ConfigError(
                f"keep must be above 0 and at most 1, a share of the window, got {keep}; try 0.5"
            )
        self.model, self.block_size = model, int(model.config.block_size)
        self.kept = max(1, round(keep * self.block_size))
        self.ids: Tensor | None = None  # (B, S) the tokens in view
        self.length = 0  # how many of them are in the cache
        has_cache = use_cache and hasattr(model, "new_cache")
        self.cache = model.new_cache(batch_size) if has_cache else None
        self.proven = False  # whether the cache has been seen to change nothing

    def read(self, new: Tensor, wanted: int = 1) -> Tensor:
        """Logits of what follows each of the last `wanted` tokens of new (B, T): (B, wanted, V)."""
        ids = new if self.ids is None else torch.cat((self.ids, new), dim=1)  # (B, S)
        if ids.size(1) > self.block_size:
            ids = ids[:, -(self.block_size if self.ids is None else self.kept) :]
            self.forget(self.length)
        start, self.ids = self.length, ids
        self.length = ids.size(1)
        with reading(self.model):
            return self.logits(start, wanted)

    def logits(self, start: int, wanted: int) -> Tensor:
        """What the model says after the last `wanted` tokens in view, of which it has read the first `start`."""
        assert self.ids is not None
        if self.cache is None:
            return self.model(self.ids).logits[:, -wanted:]  # (B, wanted, V)
        logits = self.model(self.ids[:, start:], cache=self.cache).logits[:, -wanted:]  # (B, wanted, V)
        if start and not self.proven:  # a module of the user's own may need all tokens at once
            expected = self.model(self.ids).logits[:, -wanted:]
            self.proven = torch.allclose(logits, expected, rtol=1e-2, atol=1e-2)
            if not self.proven:
                note(
                    "generation reads the whole text for each token: with a cache this model gives other logits"
                )
                self.cache, logits = None, expected
        return logits

    def forget(self, T: int) -> None:
        """Unreads the last T tokens."""
        self.length -= T
        self.ids = None if self.ids is None else self.ids[:, : self.ids.size(1) - T]
        if self.cache is not None:
            self.cache.cut(self.length)


def stream(
    window: Window,
    ids: Tensor,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Yields one (B,) tensor of new tokens at a time; ids is (B, T), prompts of one length.

    The options are checked at the call, before the first token is asked for.
    """
    check_options(max_new_tokens, temperature, top_k, top_p)

    def tokens(ids: Tensor) -> Iterator[Tensor]:
        for _ in range(max_new_tokens):
            token = next_token(window.read(ids)[:, -1], temperature, top_k, top_p, generator)  # (B,)
            yield token
            ids = token[:, None]

    return tokens(ids)


def generate(
    model: Any,
    ids: Tensor,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    stop: Any = (),
    keep: float = 1.0,
    use_cache: bool = True,
) -> Tensor:
    """The prompts (B, T) with up to n = `max_new_tokens` more, (B, T + n).

    `stop` is a token, a sequence of tokens, or several sequences; generation ends when every text has written one of
    them, which stays at its end. `tokenizer.encode("\n")` makes one of a text. `keep` as in `Window`.
    """
    stops, prompt = stop_sequences(stop), ids.size(-1)
    window = Window(model, ids.size(0), keep, use_cache)
    stopped = torch.zeros(ids.size(0), dtype=torch.bool, device=ids.device)
    for token in stream(window, ids, max_new_tokens, temperature, top_k, top_p, generator):
        ids = torch.cat((ids, token[:, None]), dim=1)
        for sequence in stops:
            if ids.size(1) - prompt >= len(sequence):
                stopped |= (ids[:, -len(sequence) :] == ids.new_tensor(sequence)).all(dim=1)
        if stops and stopped.all():
            break
    return ids


def stop_sequences(stop: Any) -> list[list[int]]:
    """A token, a sequence or several of them, as several; text is a ConfigError, a model knows only tokens.

    >>> stop_sequences(3), stop_sequences([3, 4]), stop_sequences([[3], [4]])
    ([[3]], [[3, 4]], [[3], [4]])
    """
    items = stop.tolist() if isinstance(stop, Tensor) else stop
    items = [items] if isinstance(items, (int, str)) else list(items)
    items = [items] if items and isinstance(items[0], int) else items
    for item in items:
        if isinstance(item, str) or not len(item):
            raise ConfigError(f"stop must be tokens, at least one, got {item!r}; give tokenizer.encode(text)")
    return items


def check_options(max_new_tokens: int, temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Reports every impossible option at once, as one ConfigError."""
    faults = []
    if not isinstance(max_new_tokens, int) or max_new_tokens < 0:
        faults.append(f"max_new_tokens must be a whole number, at least 0, got {max_new_tokens}")
    if not 0 <= temperature < math.inf:  # written so that NaN fails too
        faults.append(f"temperature must be 0 (greedy) or a positive number, got {temperature}")
    if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
        faults.append(f"top_k must be a whole number, at least 1, or None, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        faults.append(f"top_p must be above 0 and at most 1, or None, got {top_p}")
    if faults:
        raise ConfigError("; ".join(faults))
