"""From logits to tokens, from tokens to text as it is generated. Knows nothing of how a model computes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from minilm.config import ModelConfig
from minilm.errors import ConfigError, UnknownCharacterError
from minilm.kv_cache import KVCache


class LanguageModel(Protocol):
    """What sampling needs of a model; a fake one with fixed logits will do."""

    config: ModelConfig

    def __call__(self, ids: Tensor, *, cache: KVCache | None = None) -> Any: ...
    @property
    def training(self) -> bool: ...
    def train(self, mode: bool = True) -> Any: ...
    def parameters(self) -> Iterator[Tensor]: ...


class Tokenizer(Protocol):
    """What `stream_text` needs of a tokenizer."""

    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: list[int]) -> str: ...


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
    if temperature == 0:
        return _keep(logits, logits.argmax(dim=-1, keepdim=True))
    logits = logits / max(temperature, 1e-30)  # smaller ones have no float32 reciprocal
    if top_k is not None:
        logits = _keep(logits, logits.topk(min(top_k, logits.size(-1)), dim=-1).indices)
    if top_p is not None and top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        probabilities = ordered.softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities  # what the more likely tokens already hold
        outside = (before >= top_p).scatter(-1, order, before >= top_p)
        logits = logits.masked_fill(outside, -math.inf)
    return logits


def _keep(logits: Tensor, indices: Tensor) -> Tensor:
    return torch.full_like(logits, -math.inf).scatter(-1, indices, logits.gather(-1, indices))


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


def check_prompt(ids: Tensor, vocab_size: int) -> None:
    """A prompt is (B, T) token ids of the vocabulary, T at least 1; else a ConfigError."""
    if ids.dim() != 2 or ids.dtype not in (torch.int64, torch.int32) or ids.numel() == 0:
        raise ConfigError(
            f"a prompt must be (B, T) whole numbers, T > 0, got shape {tuple(ids.shape)} of {ids.dtype}"
        )
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocab_size:
        wrong = low if low < 0 else high
        raise ConfigError(
            f"ids must be between 0 and {vocab_size - 1}, got {wrong}; encode with the model's tokenizer"
        )


def stream(
    model: LanguageModel,
    ids: Tensor,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
) -> Iterator[Tensor]:
    """Yields one (B,) tensor of new tokens at a time; ids is (B, T), prompts of one length.

    The model sees the last `block_size` tokens. While they fit, a cache leaves only the new token to compute;
    once the window slides every position shifts, so nothing cached is true any more and all is recomputed.
    The options are checked at the call, before the first token is asked for.
    """
    check_options(max_new_tokens, temperature, top_k, top_p)
    check_prompt(ids, model.config.vocab_size)
    return _stream(model, ids, max_new_tokens, (temperature, top_k, top_p, generator), use_cache)


@torch.no_grad()
def _stream(
    model: LanguageModel, ids: Tensor, max_new_tokens: int, options: tuple, use_cache: bool
) -> Iterator[Tensor]:
    was_training, block_size = model.training, model.config.block_size
    cache = None
    if use_cache:
        weight = next(model.parameters())
        cache = KVCache(model.config, ids.size(0), weight.device, weight.dtype)
    model.train(False)
    try:
        new = ids = ids[:, -block_size:]
        for _ in range(max_new_tokens):
            if cache is not None and cache.room >= new.size(1):
                logits = model(new, cache=cache).logits[:, -1]  # (B, V)
            else:
                logits = model(ids).logits[:, -1]
            token = next_token(logits, *options)  # (B,)
            yield token
            new = token[:, None]
            ids = torch.cat((ids, new), dim=1)[:, -block_size:]
    finally:
        model.train(was_training)


def stream_text(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: str,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Sequence[str] = (),
    generator: torch.Generator | None = None,
) -> Iterator[str]:
    """Yields the text after the prompt in pieces, and ends before the first stop text.

    A piece is held back while it may still become a stop text or is half of a character. An empty prompt
    starts from a newline, or from token 0 where the vocabulary has none; a prompt with characters outside the
    vocabulary raises the tokenizer's UnknownCharacterError.
    """
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    if "" in stops:
        raise ConfigError("a stop text must have at least one character, got ''; leave it out instead")
    ids = torch.tensor([prompt_ids(tokenizer, prompt)], device=next(model.parameters()).device)
    tokens = stream(model, ids, max_new_tokens, temperature, top_k, top_p, generator)
    return until_stop(decode_pieces(tokenizer, (int(token) for token in tokens)), stops)


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The tokens of a prompt, never none: a model needs something to continue."""
    if prompt:
        return list(tokenizer.encode(prompt))
    try:
        return list(tokenizer.encode("\n")) or [0]
    except UnknownCharacterError:
        return [0]


def decode_pieces(tokenizer: Tokenizer, tokens: Iterator[int]) -> Iterator[str]:
    """The text of each token; a token that ends inside a character waits for the rest of it."""
    waiting: list[int] = []
    for token in tokens:
        waiting.append(token)
        text = tokenizer.decode(waiting)
        if text.endswith("\ufffd") and len(waiting) < 4:  # a UTF-8 character has at most four bytes
            continue
        yield text
        waiting = []
    if waiting:
        yield tokenizer.decode(waiting)


def until_stop(pieces: Iterator[str], stops: Sequence[str]) -> Iterator[str]:
    """The pieces up to the first stop text, which may begin in one piece and end in another.

    >>> list(until_stop(iter(["ab", "c", "-", "-", "d"]), ["--"]))
    ['ab', 'c']
    """
    held = ""
    for piece in pieces:
        held += piece
        found = [(place + len(text), place) for text in stops if (place := held.find(text)) >= 0]
        if found:  # the one that is complete first, though a longer one may have begun before it
            held = held[: min(found)[1]]
            break
        keep = max((_overlap(held, text) for text in stops), default=0)
        ready, held = held[: len(held) - keep], held[len(held) - keep :]
        if ready:
            yield ready
    if held:
        yield held


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` may be the beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
