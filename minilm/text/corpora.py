"""Turns a text into what a model sees: tokens in one compact array, cut into training, validation and test.

Two passes over a source: the first learns its characters, length and sha256, the second fills the array. A large one
goes to a file in the cache and is memory-mapped, so that memory never holds the text. The text is split by characters,
whatever the tokens are; byte pairs are learnt from the training split alone, and each split is encoded by itself, in a
large text where it is read. Knows nothing of models, and of files only where the characters are kept.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from minilm import disk, files
from minilm.errors import ConfigError, CorpusError, MinilmError, UnknownCharacterError, note
from minilm.text.bpe import BPETokenizer
from minilm.text.characters import CharTokenizer, code_points
from minilm.text.long import LongText, encoded
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
MAPPED_ABOVE = 64 * 2**20  # bytes of a text's characters
CACHE_BYTES = 4 * 2**30  # of large texts that are kept
LARGE = 10_000_000  # characters of a training split: of a larger one byte pairs are learnt from so many, in
STRETCHES = 100  # stretches all over it, and its tokens are made where they are read
SAMPLE = 1_000_000  # characters of these stretches that tell the average length of a token
LONGEST_WORD = 200  # tokens: the last of so many is the last of a whole text
GIVEN = "given"  # how a tokenizer that the caller brought is described


@dataclass(frozen=True)
class Corpus:
    """Tokens (N,) of a whole text, and where its splits end. Made by `load_corpus`."""

    name: str
    tokenizer: Tokenizer
    tokens: np.ndarray | LongText
    bounds: tuple[int, int]  # (end of train, end of val), token indexes; test is the rest
    source: dict[str, Any]  # JSON-able: "path" finds it again, "sha256" is the identity of its text
    floors: dict[str, float] | None  # entropy of each split in nats per character, where it is known
    character_bounds: tuple[int, int]  # `bounds` in characters
    choice: str = CHARACTERS  # what was asked for: "characters", "bpe:N", or a tokenizer was given

    @property
    def train(self) -> Any:
        """Tokens (N_train,), as `val` and `test`; of a large text in pieces, what makes them where they are read."""
        return self._split(0)

    @property
    def val(self) -> Any:
        return self._split(1)

    @property
    def test(self) -> Any:
        return self._split(2)

    def _split(self, number: int) -> np.ndarray | LongText:
        if isinstance(self.tokens, LongText):
            ends = (0, *self.character_bounds, self.source["characters"])
            return self.tokens.part(ends[number], ends[number + 1])
        ends = (0, *self.bounds, len(self.tokens))
        return self.tokens[ends[number] : ends[number + 1]]

    @property
    def characters(self) -> dict[str, int]:
        """How many each split has: its loss per character is the nats of all its tokens by this."""
        val, test = self.character_bounds
        return {"train": val, "val": test - val, "test": self.source["characters"] - test}

    def scored(self, split: str) -> dict[str, Any]:
        """What `exact_loss` takes of the split "val" or "test": its tokens, the one before, the characters of each."""
        tokens, earlier = {"val": (self.val, self.train), "test": (self.test, self.val)}[split]
        before = int(earlier[-LONGEST_WORD:][-1])
        # narrow, since as many of them are taken as there are tokens
        lengths = character_lengths(self.tokenizer).astype(np.uint16)
        return {"tokens": tokens, "before": before, "lengths": lengths}

    def in_characters(self, most: int) -> tuple[list[np.ndarray], int]:
        """The three splits as characters whatever the tokens are, of train the last `most`; how many are different."""
        if isinstance(self.tokens, LongText):
            train, val, test = (part.ids for part in (self.train, self.val, self.test))
            return [train[-most:], val, test], self.tokens.letters.vocab_size
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
        """The same with about the first `most` characters of val and test, and three times as many, the last ones, of
        train; or itself, where its tokens are an array and neither has twice as many."""
        sizes = self.characters
        if isinstance(self.tokens, np.ndarray) and max(sizes["val"], sizes["test"]) <= 2 * most:
            return self
        most = round(most * len(self.val) / sizes["val"])  # tokens
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
        if isinstance(self.tokens, LongText):
            return self.tokens.letters.decode(self.tokens.ids)
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
        about = "about " if isinstance(self.tokens, LongText) else ""
        tokens = f"{about}{len(self.tokens):,} tokens, {self.in_words()}"
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

    `tokens` are its "characters", or "bpe:N": byte pairs in a vocabulary of N pieces (see `learn_pieces`), or "auto":
    what `auto_tokens` chooses, or those of a tokenizer that is given. `split` gives the shares of train, val and test
    in characters, contiguous in this order; a corpus that brings its own (`fables`, at document ends) keeps it unless
    another is asked for. Tokens that may take more than `mapped_above` bytes live in a memory-mapped file in the cache
    folder. Raises `CorpusError` for whatever is wrong with the text and `ConfigError` for an impossible choice or
    split.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "tale.txt").write_text("once upon a time\\n" * 20)
    ...     corpus = load_corpus(folder)
    >>> len(corpus.train), len(corpus.val), len(corpus.test), corpus.tokenizer.characters
    (306, 17, 17, '\\n aceimnoptu')
    """
    if isinstance(tokens, str) and tokens != AUTO:
        piece_count(tokens)  # an impossible choice is told before the text is read
    name = str(name_or_path)
    entry = CORPORA.get(name)
    if entry and Path(name).exists():
        note(f"{name!r} means the corpus of that name; write {os.path.join('.', name)!r} for what is here")
    source = entry.load() if entry else own_files(name, raw)
    survey = _survey(source)
    own_split = source.bounds if tuple(split) == SPLIT else None
    ends = own_split or _bounds(survey.length, split)
    letters = tokens if isinstance(tokens, CharTokenizer) else CharTokenizer(survey.characters)
    corpus = Corpus(
        name=source.name,
        tokenizer=letters,
        tokens=_characters(source, letters, survey, mapped_above),
        bounds=ends,
        character_bounds=ends,
        choice=GIVEN if isinstance(tokens, CharTokenizer) else CHARACTERS,
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
    if tokens == AUTO:
        tokens = auto_tokens(ends[0], len(survey.characters))
    if tokens == CHARACTERS or isinstance(tokens, CharTokenizer):
        return corpus
    return in_pieces(corpus, tokens)


def in_pieces(corpus: Corpus, tokens: str | BPETokenizer) -> Corpus:
    """A corpus of characters in other tokens: "bpe:N", learnt from its training split, or those that are given.

    >>> in_pieces(load_corpus("fables"), "bpe:300").tokenizer
    BPETokenizer(vocab_size=300, base=62 characters)
    """
    letters, ids, ends = corpus.tokenizer, corpus.tokens, corpus.character_bounds
    assert isinstance(letters, CharTokenizer) and isinstance(ids, np.ndarray)
    large = ends[0] > LARGE
    starts = [ends[0] * k // STRETCHES for k in range(STRETCHES)] if large else [0]
    size = LARGE // STRETCHES if large else ends[0]
    texts = [letters.decode(ids[start : start + size]) for start in starts]
    if isinstance(tokens, str):
        tokenizer = learn_pieces(texts, piece_count(tokens) or 0, letters)
    elif (tokenizer := tokens).base is not None:
        tokenizer.base.encode(letters.characters)  # raises for what it does not know
    if large:
        sample = "".join(text[: SAMPLE // STRETCHES] for text in texts)
        per_token = len(sample) / len(tokenizer.encode_array(sample))
        made: Any = LongText(letters, ids, tokenizer, per_token)
        bounds = int(ends[0] / per_token), int(ends[1] / per_token)
    else:
        parts = [encoded(letters, part, tokenizer) for part in (corpus.train, corpus.val, corpus.test)]
        made, bounds = np.concatenate(parts), (len(parts[0]), len(parts[0]) + len(parts[1]))
        made.flags.writeable = False
    choice = tokens if isinstance(tokens, str) else GIVEN
    return replace(corpus, tokenizer=tokenizer, tokens=made, bounds=bounds, choice=choice)


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
    seen = np.zeros(sys.maxunicode + 1, bool)  # several times as quick as a set
    digest, length = hashlib.sha256(), 0
    for piece in source.pieces():
        seen[code_points(piece)] = True
        length += len(piece)
        digest.update(piece.encode("utf-8"))
    characters = "".join(map(chr, np.flatnonzero(seen)))
    if length < MINIMUM:
        raise CorpusError(
            f"{source.path} is too short: a text must have at least {MINIMUM} characters, got {length}; "
            "choose a longer one"
        )
    if len(characters) == 1:
        raise CorpusError(
            f"{source.path} only repeats the character {characters!r}: there is nothing to learn in it; "
            "choose another text"
        )
    if source.sha256 not in (None, digest.hexdigest()):
        raise CorpusError(
            f"{source.path} is damaged: its sha256 must be {source.sha256}, got {digest.hexdigest()}; "
            "delete it, to fetch it again"
        )
    return _Survey(characters, length, digest.hexdigest())


def _bounds(length: int, split: tuple[float, float, float]) -> tuple[int, int]:
    if len(split) != 3 or not (min(split) >= 0 and split[0] * split[1] > 0 and abs(sum(split) - 1) < 1e-9):
        raise ConfigError(
            f"split must be three shares that sum to 1, of which only test may be 0, got {tuple(split)}; "
            "try (0.9, 0.05, 0.05)"
        )
    train, val, test = split
    train_end = int(length * train)
    return train_end, (int(length * (train + val)) if test else length)


def _characters(source: Source, letters: CharTokenizer, survey: _Survey, mapped_above: int) -> np.ndarray:
    """The characters of a text (N,). Its sha256 and the tokenizer fix those of a large one and name their file."""

    def read() -> Iterator[np.ndarray]:
        length = 0
        for text in source.pieces():
            try:
                yield letters.encode_array(text)
            except UnknownCharacterError as error:
                if letters.characters == survey.characters:
                    raise CorpusError(_changed(source)) from error
                raise
            if (length := length + len(text)) > survey.length:
                break
        if length != survey.length:  # grown or shortened since the first pass
            raise CorpusError(_changed(source))

    size = survey.length * letters.dtype.itemsize
    if size <= mapped_above:
        ids = np.concatenate([*read()])
        ids.flags.writeable = False  # as the memory-mapped ones
        return ids
    path = _cached(f"{survey.sha256}.{tokenizer_identity(letters)}")
    if not path.is_file() or path.stat().st_size != size:
        files.write_chunks(path, (ids.tobytes() for ids in read()), size)
        bound_cache(path.parent, CACHE_BYTES)
        note(
            f"the characters of {source.name} are kept in {path.parent}, for the next time; it may be deleted"
        )
    return np.memmap(path, letters.dtype, mode="r", shape=(survey.length,))


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


def bound_cache(folder: Path, most: int) -> None:
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


def _changed(source: Source) -> str:
    return f"{source.path} changed while it was read; try again when nothing writes to it"
