"""Turns a text into what a model sees: tokens in one compact array, cut into training, validation and test.

The text is split by characters, whatever the tokens are; byte pairs are learnt from the training split alone, and
each split is encoded by itself. Passes over a source: the first learns its characters, length and sha256, the
last fills the array. A large one goes to a file in the cache and is memory-mapped, so that memory never holds the
text. Knows nothing of models, and of files only where the tokens are kept.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from itertools import chain, groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from minilm import disk, files
from minilm.errors import ConfigError, CorpusError, MinilmError, UnknownCharacterError, note
from minilm.text.characters import CharTokenizer
from minilm.text.sources import CORPORA as CORPORA
from minilm.text.sources import Source, cache_folder, own_files
from minilm.text.tokenizers import (
    AUTO,
    CHARACTERS,
    Tokenizer,
    auto_tokens,
    character_lengths,
    in_words,
    learn_pieces,
    piece_count,
)

SPLIT = (0.9, 0.05, 0.05)  # shares of train, val and test, in this order
MINIMUM = 200  # characters: below this, 5% are too few to say anything
MAPPED_ABOVE = 64 * 2**20  # bytes of tokens
CACHE_BYTES = 4 * 2**30  # of the tokens of large texts that are kept
LEARNT_FROM = 10_000_000  # characters: byte pairs of a larger text are learnt from stretches all over it,
STRETCHES = 100  # so many
GIVEN = "given"  # how a tokenizer that the caller brought is described


@dataclass(frozen=True)
class Corpus:
    """Tokens (N,) of a whole text, and where its splits end. Made by `load_corpus`."""

    name: str
    tokenizer: Tokenizer
    tokens: np.ndarray
    bounds: tuple[int, int]  # (end of train, end of val), token indexes; test is the rest
    source: dict[str, Any]  # JSON-able: "path" finds it again, "sha256" is the identity of its text
    floors: dict[str, float] | None  # entropy of each split in nats per character, where it is known
    character_bounds: tuple[int, int]  # `bounds` in characters
    choice: str = CHARACTERS  # what was asked for: "characters", "bpe:N", or a tokenizer was given

    @property
    def train(self) -> np.ndarray:
        return self.tokens[: self.bounds[0]]

    @property
    def val(self) -> np.ndarray:
        return self.tokens[self.bounds[0] : self.bounds[1]]

    @property
    def test(self) -> np.ndarray:
        return self.tokens[self.bounds[1] :]

    @property
    def characters(self) -> dict[str, int]:
        """How many each split has: its loss per character is the nats of all its tokens by this."""
        val, test = self.character_bounds
        return {"train": val, "val": test - val, "test": self.source["characters"] - test}

    def scored(self, split: str) -> dict[str, Any]:
        """What `exact_loss` takes of the split "val" or "test": its tokens, the one before, the characters of each."""
        tokens, start = {"val": (self.val, self.bounds[0]), "test": (self.test, self.bounds[1])}[split]
        lengths = character_lengths(self.tokenizer)
        return {"tokens": tokens, "before": int(self.tokens[start - 1]), "lengths": lengths}

    def in_characters(self, most: int) -> tuple[list[np.ndarray], int]:
        """The three splits as characters whatever the tokens are, of train the last `most`; how many are different."""
        parts, tokenizer = [self.train[-most:], self.val, self.test], self.tokenizer
        if not isinstance(tokenizer, CharTokenizer):
            texts = [tokenizer.decode(part) for part in parts]
            tokenizer = CharTokenizer.from_text("".join(texts))
            parts = [tokenizer.encode_array(text)[-most:] for text in texts]
        return parts, tokenizer.vocab_size

    def beginning(self, most: int) -> str:
        """The first `most` tokens of the training split as text."""
        return self.tokenizer.decode(self.train[:most])

    def first_part(self, most: int) -> Corpus:
        """The same with the first `most` tokens of val and test, and the last three times as many of train; or itself,
        where neither has more."""
        if max(len(self.val), len(self.test)) <= most:
            return self
        parts = [self.train[-3 * most :], self.val[:most], self.test[:most]]
        first, second, _ = np.cumsum([len(part) for part in parts]).tolist()
        characters = np.cumsum([character_lengths(self.tokenizer)[part].sum() for part in parts]).tolist()
        return replace(
            self,
            tokens=np.concatenate(parts),
            bounds=(first, second),
            character_bounds=(characters[0], characters[1]),
            source={**self.source, "characters": characters[2]},
        )

    @property
    def text(self) -> str:
        """The whole text, decoded at every call."""
        return self.tokenizer.decode(self.tokens)

    @property
    def floor(self) -> float | None:
        """The entropy of the validation split in nats per character: no model can beat it honestly."""
        return self.floors["val"] if self.floors else None

    def line(self) -> str:
        """Name and sizes, for a person."""
        read_as = self.source.get("read_as")
        return self._sizes() + (f"\nread      {read_as}" if read_as else "")

    def _sizes(self) -> str:
        sizes = " / ".join(f"{len(part):,}" for part in (self.train, self.val, self.test))
        length, kinds = self.source["characters"], self.tokenizer.vocab_size
        if self.choice == CHARACTERS:
            return f"{self.name}: {length:,} characters, {kinds} different; train / val / test {sizes}"
        tokens = f"{len(self.tokens):,} tokens, {self.in_words()}"
        return f"{self.name}: {length:,} characters; {tokens}; train / val / test {sizes} tokens"

    def in_words(self) -> str:
        """What the tokens are, how long on average, and whether fewer were found than asked for."""
        words, each = in_words(self.tokenizer), self.source["characters"] / len(self.tokens)
        asked = piece_count(self.choice) if self.choice not in (AUTO, GIVEN) else None
        fewer = " (no others occur twice)" if (asked or 0) > self.tokenizer.vocab_size else ""
        return f"{words}{fewer}, {each:.1f} characters each"

    def describe(self) -> dict[str, Any]:
        """What a run's folder records of its corpus, enough for `load_described`; bounds are in characters."""
        learnt = {"pieces": tokenizer_identity(self.tokenizer), "in_words": self.in_words()}
        return {
            "name": self.name,
            "source": self.source,
            "bounds": list(self.character_bounds),
            "characters": self.source["characters"],
            "tokens": self.choice,
            **({} if self.choice == CHARACTERS else learnt),
            "vocab_size": self.tokenizer.vocab_size,
            "floors": self.floors,
        }


@dataclass(frozen=True)
class _Survey:
    """What the first pass over a text learns."""

    characters: str  # distinct, sorted
    length: int
    sha256: str


def load_corpus(
    name_or_path: str | Path = "fables",
    tokens: str | Tokenizer = CHARACTERS,
    *,
    split: tuple[float, float, float] = SPLIT,
    mapped_above: int = MAPPED_ABOVE,
    raw: bool = False,
) -> Corpus:
    """The corpus of that name (see CORPORA), or the text of a file, a folder or a glob.

    Chats, lines of JSON, tables and subtitles are read for their words (see `minilm.text.formats`), with `raw` letter
    by letter.

    `tokens` are its "characters", or "bpe:N": byte pairs in a vocabulary of N pieces (see `learn_pieces`), or
    "auto": what `auto_tokens` chooses, or those of a tokenizer that is
    given. `split` gives the shares of train, val and test in characters, contiguous in this order; a corpus
    that brings its own (`fables`, at document ends) keeps it unless another is asked for. Tokens that may
    take more than `mapped_above` bytes live in a memory-mapped file in the cache folder. Raises `CorpusError`
    for whatever is wrong with the text and `ConfigError` for an impossible choice or split.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "tale.txt").write_text("once upon a time\\n" * 20)
    ...     corpus = load_corpus(folder)
    >>> len(corpus.train), len(corpus.val), len(corpus.test), corpus.tokenizer.characters
    (306, 17, 17, '\\n aceimnoptu')
    """
    count = piece_count(tokens) if isinstance(tokens, str) and tokens != AUTO else None
    name = str(name_or_path)
    entry = CORPORA.get(name)
    if entry and Path(name).exists():
        note(f"{name!r} means the corpus of that name; write {os.path.join('.', name)!r} for what is here")
    source = entry.load() if entry else own_files(name, raw)
    survey = _survey(source)
    own_split = source.bounds if tuple(split) == SPLIT else None
    ends = own_split or _bounds(survey.length, split)
    if tokens == AUTO:
        count = piece_count(tokens := auto_tokens(ends[0], len(survey.characters)))
    tokenizer: Tokenizer = (characters := CharTokenizer(survey.characters))
    if not isinstance(tokens, str):
        tokenizer = tokens
    elif count is not None:
        tokenizer = learn_pieces(_to_learn_from(source, survey, ends), count, characters)
    array, bounds = _tokens(source, tokenizer, survey, ends, mapped_above)
    return Corpus(
        name=source.name,
        tokenizer=tokenizer,
        tokens=array,
        bounds=bounds,
        character_bounds=ends,
        choice=tokens if isinstance(tokens, str) else GIVEN,
        source={
            "path": source.path,
            "sha256": survey.sha256,
            "characters": survey.length,
            "split": list(split),
            "licence": entry.licence if entry else "the user's own text",
            **source.facts,
        },
        floors=source.floors if own_split else None,
    )


def load_described(description: dict[str, Any], tokenizer: Tokenizer | None = None) -> Corpus:
    """The corpus that `Corpus.describe` described; `CorpusError` where its text has changed since.

    With a run's own `tokenizer` byte pairs need not be learnt again.
    """
    if "source" not in description and description.get("tokens") == GIVEN:  # training.run.write_imported
        raise CorpusError(
            f"the text that {description.get('name')} was trained on is not here, the model came from elsewhere; "
            "judge it on another one, as `minilm.evaluate RUN --text FILE` does"
        )
    try:
        was = description["source"]
        path, split, sha256 = str(was["path"]), tuple(was["split"]), str(was["sha256"])
        choice = str(description.get("tokens", CHARACTERS))  # older runs have characters and do not say so
    except (KeyError, TypeError) as error:
        raise CorpusError(
            "the description of a corpus is damaged: it must hold a source with path, split and sha256; "
            "restore the run's config.json"
        ) from error
    if choice == GIVEN and tokenizer is None:
        raise CorpusError(f"the tokens of {path} are those of a tokenizer that was given; give it again")
    tokens = choice if tokenizer is None or choice == CHARACTERS else tokenizer
    corpus = load_corpus(path, tokens, split=split, raw="read_as" not in was)
    if corpus.source["sha256"] != sha256:
        python = f" (Python {was['python']} then, {platform.python_version()} now)" if "python" in was else ""
        raise CorpusError(
            f"the text {path} has changed{python}: sha256 must begin with {sha256[:12]}, got "
            f"{corpus.source['sha256'][:12]}; restore the text or start a new run"
        )
    corpus = replace(corpus, choice=choice)
    if (identity := corpus.describe().get("pieces")) != description.get("pieces"):
        raise CorpusError(
            f"the pieces of {path} are not those of the run: their sha256 must begin with "
            f"{description.get('pieces')}, got {identity}; load the corpus with the run's own tokenizer"
        )
    return corpus


def tokenizer_identity(tokenizer: Tokenizer) -> str:
    """The same for tokenizers that make the same tokens."""
    parts = [getattr(tokenizer, part.name) for part in fields(tokenizer)]
    return hashlib.sha256(ascii(parts).encode()).hexdigest()[:16]


def _survey(source: Source) -> _Survey:
    characters: set[str] = set()
    digest, length = hashlib.sha256(), 0
    for piece in source.pieces():
        data = piece.encode("utf-8")
        if len(data) == len(piece):  # ASCII, counted five times as quickly as by a set
            characters |= set(map(chr, np.flatnonzero(np.bincount(np.frombuffer(data, np.uint8)))))
        else:
            characters |= set(piece)
        length += len(piece)
        digest.update(data)
    if length < MINIMUM:
        raise CorpusError(
            f"{source.path} is too short: a text must have at least {MINIMUM} characters, got {length}; "
            "choose a longer one"
        )
    if len(characters) == 1:
        raise CorpusError(
            f"{source.path} only repeats the character {characters.pop()!r}: there is nothing to learn in it; "
            "choose another text"
        )
    if source.sha256 not in (None, digest.hexdigest()):
        raise CorpusError(
            f"{source.path} is damaged: its sha256 must be {source.sha256}, got {digest.hexdigest()}; "
            "delete it, to fetch it again"
        )
    return _Survey("".join(sorted(characters)), length, digest.hexdigest())


def _bounds(length: int, split: tuple[float, float, float]) -> tuple[int, int]:
    if len(split) != 3 or not (min(split) >= 0 and split[0] * split[1] > 0 and abs(sum(split) - 1) < 1e-9):
        raise ConfigError(
            f"split must be three shares that sum to 1, of which only test may be 0, got {tuple(split)}; "
            "try (0.9, 0.05, 0.05)"
        )
    train, val, test = split
    train_end = int(length * train)
    return train_end, (int(length * (train + val)) if test else length)


def _tokens(
    source: Source, tokenizer: Tokenizer, survey: _Survey, ends: tuple[int, int], mapped_above: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """The tokens of the three splits in a row, each encoded by itself, and where the first two end.

    What fixes the tokens of a large text names their file: its sha256, the ends of its splits, the tokenizer. How
    many each split has stands at the end of the file, since it is known only then.
    """
    counts = np.zeros(3, np.int64)

    def encoded() -> Iterator[np.ndarray]:
        for split, texts in groupby(_texts(source, survey, ends), itemgetter(0)):
            for ids in _encoded(source, tokenizer, survey, (text for _, text in texts)):
                counts[split] += len(ids)
                yield ids

    dtype, most = tokenizer.dtype, survey.length * tokenizer.dtype.itemsize
    if most <= mapped_above:
        tokens = np.concatenate([np.empty(0, dtype), *encoded()])
        tokens.flags.writeable = False  # as the memory-mapped ones
    else:
        path = _cached(f"{survey.sha256}.{ends[0]}.{ends[1]}.{tokenizer_identity(tokenizer)}")
        if (kept := _counts(path, dtype)) is None:
            end = (counts.tobytes() for _ in range(1))  # asked for last, when all are counted
            files.write_chunks(path, chain((ids.tobytes() for ids in encoded()), end), most)
            bound_cache(path.parent)
            note(
                f"the tokens of {source.name} are kept in {path.parent}, for the next time; it may be deleted"
            )
        else:
            counts = kept
        tokens = np.memmap(path, dtype, mode="r", shape=(int(counts.sum()),))
    return tokens, (int(counts[0]), int(counts[:2].sum()))


def _cached(name: str) -> Path:
    """The file of that name in the cache, whose folder exists."""
    path = cache_folder() / "tokens" / name
    try:
        files.make_folder(path.parent)
    except MinilmError as error:
        raise CorpusError(
            f"cannot keep the tokens of a large text ({error}); name a folder that you may write to in "
            "XDG_CACHE_HOME"
        ) from error
    return path


def bound_cache(folder: Path, most: int = CACHE_BYTES) -> None:
    """Deletes the oldest files of a folder of the cache until it holds at most so many bytes; the newest one stays."""
    with suppress(OSError):
        found = sorted(
            (path.stat().st_mtime, path.stat().st_size, path) for path in folder.iterdir() if path.is_file()
        )
        total = sum(size for _, size, _ in found)
        for _, size, path in found[:-1]:
            if total > most:
                disk.delete(path)
                total -= size


def _counts(path: Path, dtype: np.dtype) -> np.ndarray | None:
    """How many tokens each split has in a file of the cache; None where it is missing or not whole."""
    if not path.is_file() or (size := path.stat().st_size - 24) < 0:
        return None
    counts = np.fromfile(path, np.int64, offset=size)
    return counts if int(counts.sum()) * dtype.itemsize == size else None


def _texts(source: Source, survey: _Survey, ends: tuple[int, int]) -> Iterator[tuple[int, str]]:
    """The text some at a time, each with the number of its split."""
    position = 0
    for piece in source.pieces():
        for split, (start, end) in enumerate(pairwise((0, *ends, survey.length))):
            if text := piece[max(start - position, 0) : max(end - position, 0)]:
                yield split, text
        position += len(piece)
        if position > survey.length:
            break
    if position != survey.length:  # grown or shortened since the first pass
        raise CorpusError(_changed(source))


def _to_learn_from(source: Source, survey: _Survey, ends: tuple[int, int]) -> list[str]:
    """The training split, or of a large one stretches spread evenly over it."""
    texts = (text for split, text in _texts(source, survey, ends) if split == 0)
    if ends[0] <= LEARNT_FROM:
        return ["".join(texts)]
    size, found, position = LEARNT_FROM // STRETCHES, [], 0
    for text in texts:
        for start in (ends[0] * k // STRETCHES - position for k in range(STRETCHES)):
            found.append(text[max(start, 0) : max(start + size, 0)])
        position += len(text)
    return list(filter(None, found))


def _encoded(
    source: Source, tokenizer: Tokenizer, survey: _Survey, texts: Iterable[str]
) -> Iterator[np.ndarray]:
    """The tokens of `texts`, which are one text, some at a time."""
    base = tokenizer if isinstance(tokenizer, CharTokenizer) else tokenizer.base
    try:
        for text in texts if isinstance(tokenizer, CharTokenizer) else _whole_words(texts):
            yield tokenizer.encode_array(text)
    except UnknownCharacterError as error:
        if base is not None and base.characters == survey.characters:
            raise CorpusError(_changed(source)) from error
        raise


def _changed(source: Source) -> str:
    return f"{source.path} changed while it was read; try again when nothing writes to it"


def _whole_words(texts: Iterable[str]) -> Iterator[str]:
    """The same text, divided only where a word begins with a space or a line end: there its pieces are the same.

    >>> list(_whole_words(["one t", "wo\\n", " three"]))
    ['one', ' two', '\\n three']
    """
    rest = ""
    for text in texts:
        rest += text
        if whole := re.match(r"(?s:.*)\S(?=[ \n])", rest):
            yield whole[0]
            rest = rest[whole.end() :]
    if rest:
        yield rest
