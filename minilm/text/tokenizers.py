"""Finds the right tokenizer for a folder or a text, and counts the characters that its tokens stand for.

To add a kind: write its class, list it in KINDS, and its choice in `piece_count`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minilm.errors import ConfigError, RunError, did_you_mean
from minilm.text.bpe import BPETokenizer
from minilm.text.characters import CharTokenizer
from minilm.text.tokenizer_file import FILE, huggingface_characters, is_huggingface, read_tokenizer

Tokenizer = CharTokenizer | BPETokenizer

KINDS: dict[str, type[CharTokenizer] | type[BPETokenizer]] = {"char": CharTokenizer, "bpe": BPETokenizer}
CHARACTERS, AUTO = "characters", "auto"
# Measured, benchmarks/RESULTS.md: a short text's pieces are learnt by heart (letters won at 60,000 characters, 512
# pieces at 200,000, more at a million); where a letter is a word, letters win.
LEAST_TEXT, LARGE_TEXT, LARGEST_ALPHABET = 120_000, 400_000, 1000  # characters of a text, and different ones
COMPARED = 10  # texts, evenly spaced, are encoded to compare two bases: more would take seconds
HALF_SAMPLE, SAMPLED_AT = 200_000, 10  # characters, and at how many places of the text


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer saved in `folder`, whatever its kind, or Hugging Face's; `RunError` where there is none.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     CharTokenizer.from_text("abc").save(folder)
    ...     load_tokenizer(folder)
    CharTokenizer(characters='abc')
    """
    if is_huggingface(folder):
        characters = huggingface_characters(folder)
        return BPETokenizer.from_pretrained(folder) if characters is None else CharTokenizer(characters)
    kind = str(read_tokenizer(folder).get("kind"))
    if kind not in KINDS:
        raise RunError(f"{Path(folder) / FILE} has an unknown kind {kind!r}, {did_you_mean(kind, KINDS)}")
    return KINDS[kind].from_pretrained(folder)


def auto_tokens(characters: int, different: int) -> str:
    """What a token should be, for a training split of so many characters, so many of them different, where no law is
    asked.

    >>> [auto_tokens(characters, 65) for characters in (100_000, 200_000, 1_000_000)], auto_tokens(1_000_000, 4000)
    (['characters', 'bpe:512', 'bpe:1024'], 'characters')
    """
    if characters < LEAST_TEXT or different > LARGEST_ALPHABET:
        return CHARACTERS
    return "bpe:512" if characters < LARGE_TEXT else "bpe:1024"


def piece_count(tokens: str) -> int | None:
    """The N of the choice "bpe:N", None for "characters"; `ConfigError` for any other.

    >>> piece_count("bpe:1024"), piece_count("characters")
    (1024, None)
    """
    if tokens == CHARACTERS:
        return None
    if match := re.fullmatch(r"bpe:([0-9]{1,7})", tokens):
        return int(match[1])
    raise ConfigError(
        "tokens must be 'auto', 'characters' or 'bpe:N' with a vocabulary of N pieces, at most 9,999,999, got "
        f"{tokens!r}; try tokens='bpe:1024'"
    )


def learn_pieces(texts: Sequence[str], vocab_size: int, characters: CharTokenizer) -> BPETokenizer:
    """Byte pairs of the better base: that of `characters`, all that may come, or the 256 bytes.

    The characters, where they are at most a quarter of the vocabulary (measured on eight texts:
    benchmarks/pieces.py); the bytes, where there are more characters than that; in between what needs fewer tokens
    for these texts, and the characters where that is the same, since no piece then is half of one.

    >>> learn_pieces(["low lower lowest low"], 12, CharTokenizer.from_text("low lower lowest"))
    BPETokenizer(vocab_size=12, base=8 characters)
    """
    least = min(characters.vocab_size, 256)
    if vocab_size < least:
        raise ConfigError(
            f"tokens='bpe:{vocab_size}' must hold the base at least, here {characters.vocab_size} characters or 256 "
            f"bytes; ask for tokens='bpe:{least}' or more"
        )
    bases: list[CharTokenizer | None] = [characters, None]
    if 4 * characters.vocab_size <= vocab_size or vocab_size < 256:
        bases = [characters]
    elif vocab_size < characters.vocab_size:
        bases = [None]
    learnt = [BPETokenizer.train(texts, vocab_size, base=base) for base in bases]
    if len(learnt) == 1:
        return learnt[0]
    some = texts[:: max(1, len(texts) // COMPARED)]
    return min(learnt, key=lambda tokenizer: sum(len(tokenizer.encode_array(text)) for text in some))


def with_characters(tokenizer: Tokenizer, characters: str) -> tuple[Tokenizer, str]:
    """The tokenizer that also knows these characters, and those that it lacked. To pieces they are added at the end.

    >>> with_characters(CharTokenizer.from_text("ac"), "abc")
    (CharTokenizer(characters='abc'), 'b')
    """
    base = tokenizer if isinstance(tokenizer, CharTokenizer) else tokenizer.base
    added = "" if base is None else "".join(sorted(set(characters) - set(base.characters)))
    if base is None or not added:
        return tokenizer, ""
    wider = CharTokenizer.from_text(base.characters + added)
    if isinstance(tokenizer, CharTokenizer):
        return wider, added
    pieces = dict.fromkeys([*tokenizer.pieces, *(c.encode("utf-8", "surrogatepass") for c in added)])
    return BPETokenizer(tuple(pieces), tokenizer.merges, tokenizer.special_tokens, wider), added


def characters_per_token(text: str, characters: CharTokenizer, counts: Sequence[int]) -> dict[str, float]:
    """How many characters a token would have, on average, for "characters" and for each "bpe:N" of `counts`, by a
    sample of `text` (T,).

    Pieces are learnt from one half of the sample and counted on the other, since they fit best where they were learnt.
    An N that is too small for the base is left out, and so is one that the text has no so many pieces for.

    >>> text = "the quick brown fox and the lazy dog. " * 300
    >>> characters_per_token(text, CharTokenizer.from_text(text), [40, 5000])
    {'characters': 1.0, 'bpe:40': 2.103}
    """
    stretch = min(len(text), 2 * HALF_SAMPLE) // (2 * SAMPLED_AT)
    starts = [len(text) * place // SAMPLED_AT for place in range(SAMPLED_AT)]
    learnt_from = [text[start : start + stretch] for start in starts]
    counted_on = [text[start + stretch : start + 2 * stretch] for start in starts]
    found = {CHARACTERS: 1.0}
    for count in counts:
        if count < min(characters.vocab_size, 256):
            continue
        tokenizer = learn_pieces(learnt_from, count, characters)
        if tokenizer.vocab_size == count:
            tokens = sum(len(tokenizer.encode_array(part)) for part in counted_on)
            found[f"bpe:{count}"] = round(SAMPLED_AT * stretch / tokens, 3)
    return found


def in_words(tokenizer: Tokenizer) -> str:
    """What its tokens are.

    >>> in_words(CharTokenizer.from_text("abc")), in_words(BPETokenizer.train("low low", 258))
    ('3 different characters', '258 byte pairs of 256 bytes')
    """
    if isinstance(tokenizer, CharTokenizer):
        return f"{tokenizer.vocab_size:,} different characters"
    base = "256 bytes" if tokenizer.base is None else f"{tokenizer.base.vocab_size:,} characters"
    return f"{tokenizer.vocab_size:,} byte pairs of {base}"


def character_lengths(tokenizer: Tokenizer) -> np.ndarray:
    """How many characters begin in each token of the vocabulary, (V,).

    >>> character_lengths(CharTokenizer.from_text("abc"))
    array([1, 1, 1])
    """
    if isinstance(tokenizer, CharTokenizer):
        return np.ones(tokenizer.vocab_size, np.int64)
    return tokenizer.lengths


def count_characters(tokenizer: Tokenizer, ids: Sequence[int] | np.ndarray) -> int:
    """The characters that begin in the tokens `ids` (T,); of an encoded text its length, exactly.

    The loss per character is the nats of all tokens by this number.

    >>> pieces = BPETokenizer.train("low lower lowest low", vocab_size=259)
    >>> ids = pieces.encode("é, slowest")
    >>> len(ids), count_characters(pieces, ids), count_characters(pieces, ids[:1])
    (9, 10, 1)
    """
    return int(character_lengths(tokenizer)[np.asarray(ids, np.int64).reshape(-1)].sum())
