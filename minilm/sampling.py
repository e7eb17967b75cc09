"""From a model to tokens, from tokens to text as it is generated. Knows nothing of how a model computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from minilm.choice import check_options, check_prompt, next_token
from minilm.errors import ConfigError, UnknownCharacterError
from minilm.speculative import Draft, speculate
from minilm.window import LanguageModel, Window, window_of

KEEP = 0.5  # of a full window, where text is streamed
NOT_GIVEN = -1  # in the place of a token that no prompt gives


class Tokenizer(Protocol):
    """What `stream_text` needs of a tokenizer."""

    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: list[int]) -> str: ...


def stream(
    model: LanguageModel,
    ids: Tensor,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
    keep: float = 1.0,
    draft: Draft | None = None,
) -> Iterator[Tensor]:
    """Yields one (B,) tensor of new tokens at a time; ids is (B, T), prompts of one length.

    The model sees the last `block_size` tokens. While they fit, a cache leaves only the new token to compute. Once the
    window is full, `keep` says how much of it stays and is read again: 1.0 slides by one token and recomputes all
    for each one, exactly what a model without a cache would do; 0.5 drops the older half and goes on with the
    cache. A `draft` guesses ahead and the model judges several tokens at once: the distribution of the text is the
    same, the draws are others (see `speculative.py`); it is for one text at a time. The options are checked at the
    call, before the first token is asked for.
    """
    check_options(max_new_tokens, temperature, top_k, top_p, keep)
    check_prompt(ids, model.config.vocab_size)
    if draft is not None and ids.size(0) != 1:
        raise ConfigError(f"a draft is for one text at a time, got {ids.size(0)}; leave it out for several")
    window, options = window_of(model, ids.size(0), keep, use_cache), (temperature, top_k, top_p, generator)
    if draft is not None:
        return speculate(window, draft, ids, max_new_tokens, *options)
    return _stream(window, ids, max_new_tokens, options)


def stream_together(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    keep: float = 1.0,
) -> list[list[int]]:
    """The new tokens after each of several prompts, which may differ in length; options as in `stream`.

    All are aligned at their first token, so that no place is empty and nothing needs a mask: while one text is already
    being written, a longer prompt is still being read, one token of it at a time.
    """
    check_options(max_new_tokens, temperature, top_k, top_p, keep)
    if not prompts:
        raise ConfigError("there must be at least one prompt to continue, got none")
    device = next(model.parameters()).device
    rows = [
        torch.tensor([list(prompt)], dtype=torch.int64, device=device) for prompt in prompts
    ]  # (1, T) each
    for row in rows:
        check_prompt(row, model.config.vocab_size)
    lengths = [row.size(1) for row in rows]
    shortest, longest = min(lengths), max(lengths)
    given = torch.cat(
        [F.pad(row, (0, longest - row.size(1)), value=NOT_GIVEN) for row in rows]
    )  # (B, longest)
    ids, window = given[:, :shortest], window_of(model, len(rows), keep)
    written = [ids]
    for place in range(shortest, longest + max_new_tokens):
        token = next_token(window.read(ids)[:, -1], temperature, top_k, top_p, generator)  # (B,)
        if place < longest:
            token = torch.where(given[:, place] == NOT_GIVEN, token, given[:, place])
        ids = token[:, None]
        written.append(ids)
    texts = torch.cat(written, dim=1).tolist()
    return [text[T : T + max_new_tokens] for text, T in zip(texts, lengths, strict=True)]


def _stream(window: Window, ids: Tensor, max_new_tokens: int, options: tuple) -> Iterator[Tensor]:
    for _ in range(max_new_tokens):
        token = next_token(window.read(ids)[:, -1], *options)  # (B,)
        yield token
        ids = token[:, None]


class Generates:
    """What gives a model its `generate`."""

    def generate(
        self: Any,
        ids: Tensor,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        generator: torch.Generator | None = None,
        use_cache: bool = True,
        keep: float = 1.0,
        draft: Draft | None = None,
    ) -> Tensor:
        """The prompts (B, T) with n = `max_new_tokens` more, (B, T + n); options as in `stream`."""
        options = (temperature, top_k, top_p, generator, use_cache, keep, draft)
        return torch.cat(
            (ids, *(token[:, None] for token in stream(self, ids, max_new_tokens, *options))), dim=1
        )


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
    keep: float = KEEP,
    draft: Draft | None = None,
) -> Iterator[str]:
    """Yields the text after the prompt in pieces, and ends before the first stop text.

    A piece is held back while it may still become a stop text or is half of a character. An empty prompt
    starts from a newline, or from token 0 where the vocabulary has none; a prompt with characters outside the
    vocabulary raises the tokenizer's UnknownCharacterError. `keep` and `draft` as in `stream`, but a full window
    drops its older half.
    """
    stops = checked_stops(stop)
    ids = torch.tensor([prompt_ids(tokenizer, prompt)], device=next(model.parameters()).device)
    tokens = stream(model, ids, max_new_tokens, temperature, top_k, top_p, generator, keep=keep, draft=draft)
    return until_stop(decode_pieces(tokenizer, (int(token) for token in tokens)), stops)


def texts(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Sequence[str] = (),
    generator: torch.Generator | None = None,
    keep: float = KEEP,
) -> list[str]:
    """The texts after several prompts, written together, which takes little longer than one; as `stream_text`."""
    stops = checked_stops(stop)
    ids = [prompt_ids(tokenizer, prompt) for prompt in prompts]
    written = stream_together(model, ids, max_new_tokens, temperature, top_k, top_p, generator, keep)
    return ["".join(until_stop(decode_pieces(tokenizer, iter(tokens)), stops)) for tokens in written]


def checked_stops(stop: Sequence[str]) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    if "" in stops:
        raise ConfigError("a stop text must have at least one character, got ''; leave it out instead")
    return stops


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
