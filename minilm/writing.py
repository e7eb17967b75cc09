"""Writes text with a model: a prompt goes in, pieces of text come out as they are generated, up to a stop text.

It joins a tokenizer to `minilm.sampling` and knows nothing of how a model computes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice, tee
from operator import itemgetter
from typing import Any, Protocol

import torch
from torch.nn import functional as F

from minilm.errors import ConfigError, UnknownCharacterError, number_fault
from minilm.fast.speculative import Draft, speculate
from minilm.sampling import Window, check_options, next_token, stream

KEEP = 0.5  # of a full window, where text is streamed
NOT_GIVEN = -1  # in the place of a token that no prompt gives
MOST = 4  # tokens that a character may take: it has at most so many bytes, each may be a token


class Tokenizer(Protocol):
    """What writing needs of a tokenizer."""

    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: list[int]) -> str: ...


def stream_text(
    model: Any,
    tokenizer: Tokenizer,
    prompt: str,
    characters: int,
    *,
    stop: Sequence[str] = (),
    keep: float = KEEP,
    window: Window | None = None,
    draft: Draft | None = None,
    **options: Any,
) -> Iterator[str]:
    """Yields so many characters after the prompt in pieces, and ends before the first stop text; `options` as in
    `stream`.

    A piece is held back while it may still become a stop text or is half of a character. An empty prompt
    starts from a newline, or from token 0 where the vocabulary has none; a prompt with characters outside the
    vocabulary raises the tokenizer's UnknownCharacterError. A full window drops its older half. `window` reads in
    another way than by the model itself; a `draft` guesses ahead, see `fast/speculative.py`.
    """
    stops, most = checked_stops(stop), most_tokens(characters)
    check_options(most, **options)
    ids = torch.tensor([prompt_ids(tokenizer, prompt)], device=next(model.parameters()).device)  # (1, T)
    window = window or Window(model, 1, keep)
    if draft is None:
        tokens = stream(window, ids, most, **options)
    else:
        tokens = speculate(window, draft, ids, most, **options)
    return until_stop(first_characters(decode_pieces(tokenizer, map(int, tokens)), characters), stops)


def sample_text(
    model: Any, tokenizer: Tokenizer, characters: int, seed: int, deadline: float | None = None
) -> str:
    """What the model writes from nothing; shorter where a deadline, a moment of `time.monotonic()`, is near."""
    generator = torch.Generator().manual_seed(seed)
    pieces: list[str] = []
    for piece in stream_text(model, tokenizer, "", characters, temperature=0.8, generator=generator):
        pieces.append(piece)
        if deadline is not None and time.monotonic() > deadline:
            break
    return "".join(pieces).strip("\n")


def texts(
    model: Any,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    characters: int,
    *,
    stop: Sequence[str] = (),
    keep: float = KEEP,
    window: Window | None = None,
    **options: Any,
) -> list[str]:
    """The texts after several prompts, written together, which takes little longer than one; as `stream_text`."""
    stops, most = checked_stops(stop), most_tokens(characters)
    ids = [prompt_ids(tokenizer, prompt) for prompt in prompts]
    written = stream_together(model, ids, most, keep=keep, window=window, **options)
    pieces = [first_characters(decode_pieces(tokenizer, tokens), characters) for tokens in written]
    return ["".join(until_stop(text, stops)) for text in pieces]


def most_tokens(characters: int) -> int:
    """How many tokens so many characters take at most; ConfigError where there cannot be so many."""
    if fault := number_fault("characters", characters, ">= 0", whole=True):
        raise ConfigError(f"{fault}; try 500")
    return MOST * characters


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
    """The text of each token; a character of which only some bytes have come waits for the others."""
    waiting: list[int] = []
    told = 0  # characters of what the waiting tokens say
    for token in tokens:
        waiting.append(token)
        text = tokenizer.decode(waiting)
        whole = len(text) - text.endswith("\ufffd")
        if whole > told:
            yield text[told:whole]
        waiting, told = (waiting, max(told, whole)) if whole < len(text) else ([], 0)
    if waiting:
        yield tokenizer.decode(waiting)[told:]


def first_characters(pieces: Iterator[str], count: int) -> Iterator[str]:
    """The pieces up to so many characters; no piece is asked for that is not needed.

    >>> list(first_characters(iter(["ab", "", "cde", "f"]), 4))
    ['ab', '', 'cd']
    """
    while count > 0 and (piece := next(pieces, None)) is not None:
        yield piece[:count]
        count -= len(piece)


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


def stream_together(
    model: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    keep: float = 1.0,
    window: Window | None = None,
) -> list[Iterator[int]]:
    """The new tokens after each of several prompts, which may differ in length; options as in `stream`.

    What one text asks for is computed for all, and no more. All are aligned at their first token, so that no place is
    empty and nothing needs a mask: while one text is already being written, a longer prompt is still being read, one
    token of it at a time.
    """
    check_options(max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p)
    if not prompts:
        raise ConfigError("there must be at least one prompt to continue, got none; give one")
    device = next(model.parameters()).device
    rows = [torch.tensor([list(prompt)], dtype=torch.int64, device=device) for prompt in prompts]  # (1, T)
    for row in rows:
        low, high = (int(row.min()), int(row.max())) if row.numel() else (0, -1)
        if not 0 <= low <= high < model.config.vocab_size:
            raise ConfigError(
                f"a prompt must be ids between 0 and {model.config.vocab_size - 1}, at least one, got "
                f"{row.tolist()[0]}; encode it with the model's tokenizer"
            )
    lengths = [row.size(1) for row in rows]
    shortest, longest = min(lengths), max(lengths)
    padded = [F.pad(row, (0, longest - row.size(1)), value=NOT_GIVEN) for row in rows]
    given = torch.cat(padded)  # (B, longest)

    def columns() -> Iterator[list[int]]:
        ids, reader = given[:, :shortest], window or Window(model, len(rows), keep)
        for place in range(shortest, longest + max_new_tokens):
            token = next_token(reader.read(ids)[:, -1], temperature, top_k, top_p, generator)  # (B,)
            if place < longest:
                token = torch.where(given[:, place] == NOT_GIVEN, token, given[:, place])
            yield token.tolist()
            ids = token[:, None]

    starts = [T - shortest for T in lengths]
    return [
        map(itemgetter(row), islice(column, start, start + max_new_tokens))
        for row, (column, start) in enumerate(zip(tee(columns(), len(rows)), starts, strict=True))
    ]
