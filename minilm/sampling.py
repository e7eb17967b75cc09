"""Generates tokens: filters a model's logits, draws one, reads it, and so on. It knows nothing of text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from minilm.errors import ConfigError, note, number_fault


def filter_logits(
    logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Logits (B, V) divided by the temperature, -inf outside the top_k most likely tokens and the nucleus: the smallest
    set of most likely tokens whose probability reaches top_p (Holtzman et al., 2020, eq. 2). One stays at least."""
    logits = logits.float() - logits.max(dim=-1, keepdim=True).values  # the best is 0 at any temperature
    top_k = 1 if temperature == 0 else top_k
    logits = logits / max(temperature, 1e-30)  # smaller ones have no float32 reciprocal
    if top_k is not None:
        best = logits.topk(min(top_k, logits.size(-1)), dim=-1)
        logits = torch.full_like(logits, -math.inf).scatter(-1, best.indices, best.values)
    if top_p is not None and (top_p := max(top_p, 1e-30)) < 1:  # the likeliest always stays
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
    if training := model.training:  # else no walk through all modules for each token
        model.train(False)
    try:
        with torch.no_grad():  # not inference mode, whose tensors no later training may use
            yield
    finally:
        if training:
            model.train(True)


class Window:
    """The last tokens of B texts, as many as a model sees, and the model's answers to them.

    A cache leaves only new tokens to compute. But positions count from the start of the window: dropping the oldest of
    `block_size` tokens moves the others, and no key or value is true any more. So a share `keep` is read again: with 1
    all but the oldest, for each new token; with 0.5 the newer half, once in block_size / 2 tokens."""

    def __init__(self, model: Any, batch_size: int, keep: float = 1.0, use_cache: bool = True) -> None:
        if fault := number_fault("keep", keep, "> 0, <= 1"):
            raise ConfigError(f"{fault}; it is a share of the window")
        self.model, self.block_size = model, int(model.config.block_size)
        self.kept = max(1, round(keep * self.block_size))
        self.ids: Tensor | None = None  # (B, S) the tokens in view
        self.length = 0  # how many of them are read
        self.cache = model.new_cache(batch_size) if use_cache and hasattr(model, "new_cache") else None
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
        if not start or self.proven:
            return logits
        expected = self.model(self.ids).logits[:, -wanted:]  # a module of the user's own may need all tokens
        self.proven = torch.allclose(logits, expected, rtol=1e-2, atol=1e-2)
        if not self.proven:
            note("generation reads all tokens for each new one: with a cache this model gives other logits")
            self.cache = None
        return expected

    def forget(self, T: int) -> None:  # unreads the last T tokens
        self.length -= T
        self.ids = None if self.ids is None else self.ids[:, : self.ids.size(1) - T]
        if self.cache is not None:
            self.cache.ids = self.cache.ids[:, : self.length]


def stream(window: Window, ids: Tensor, max_new_tokens: int, **choice: Any) -> Iterator[Tensor]:
    """Yields one (B,) tensor of new tokens at a time after ids (B, T); `choice` is for `next_token`."""
    for _ in range(max_new_tokens):
        token = next_token(window.read(ids)[:, -1], **choice)  # (B,)
        yield token
        ids = token[:, None]


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
    """The prompts (B, T) with up to n = `max_new_tokens` more, (B, T + n). `stop` is a token, a sequence of tokens, or
    several; generation ends when every text has written one of them, which stays at its end. `keep` as in `Window`."""
    stops, prompt, window = stop_sequences(stop), ids.size(-1), Window(model, ids.size(0), keep, use_cache)
    choice = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "generator": generator}
    check_options(max_new_tokens, **choice)
    stopped = torch.zeros(ids.size(0), dtype=torch.bool, device=ids.device)
    for token in stream(window, ids, max_new_tokens, **choice):
        ids = torch.cat((ids, token[:, None]), dim=1)
        for end in stops:
            if ids.size(1) - prompt >= len(end):
                stopped |= (ids[:, -len(end) :] == ids.new_tensor(end)).all(dim=1)
        if stops and stopped.all():
            break
    return ids


def stop_sequences(stop: Any) -> list[list[int]]:
    """A token, a sequence or several of them, as several; text is a ConfigError, a model knows only tokens."""
    items: Any = stop.tolist() if isinstance(stop, Tensor) else stop
    items = [items] if isinstance(items, (int, str)) else list(items)
    items = [items] if items and isinstance(items[0], int) else items
    if wrong := [item for item in items if isinstance(item, str) or not len(item)]:
        raise ConfigError(f"stop must be tokens, at least one, got {wrong[0]!r}; give tokenizer.encode(text)")
    return items


def check_options(max_new_tokens: int, **choice: Any) -> None:
    """Reports every impossible option at once, as one ConfigError; temperature 0 is greedy."""
    bounds = {"max_new_tokens": ">= 0", "temperature": ">= 0", "top_k": ">= 1", "top_p": "> 0, <= 1"}
    given, whole = {"max_new_tokens": max_new_tokens, **choice}, ("max_new_tokens", "top_k")
    given = {name: given[name] for name in bounds if given.get(name) is not None}
    faults = [number_fault(name, value, bounds[name], name in whole) for name, value in given.items()]
    if any(faults):
        raise ConfigError("; ".join([*filter(None, faults), "leave out what need not be set"]))
