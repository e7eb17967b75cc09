"""Turns a text into what a model sees: tokens in one compact array, cut into training, validation and test.

Two passes over a source: the first learns its characters, length and sha256, the second fills the array. A
large one goes to a file in the cache and is memory-mapped, so that memory never holds the text. Knows nothing
of models, and of files only where the tokens are kept.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minilm import files
from minilm.errors import ConfigError, CorpusError, StorageError, UnknownCharacterError
from minilm.text.characters import CharTokenizer
from minilm.text.sources import CORPORA as CORPORA
from minilm.text.sources import Source, cache_folder, own_files

SPLIT = (0.9, 0.05, 0.05)  # shares of train, val and test, in this order
MINIMUM = 200  # characters: below this, 5% are too few to say anything
MAPPED_ABOVE = 64 * 2**20  # bytes of tokens


@dataclass(frozen=True)
class Corpus:
    """Tokens (N,) of a whole text, and where its splits end. Made by `load_corpus`."""

    name: str
    tokenizer: CharTokenizer
    tokens: np.ndarray
    bounds: tuple[int, int]  # (end of train, end of val), token indexes; test is the rest
    source: dict[str, Any]  # JSON-able: "path" finds it again, "sha256" is the identity of its text
    floors: dict[str, float] | None  # entropy of each split in nats per character, where it is known

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
    def text(self) -> str:
        """The whole text, decoded at every call."""
        return self.tokenizer.decode(self.tokens)

    @property
    def floor(self) -> float | None:
        """The entropy of the validation split in nats per character: no model can beat it honestly."""
        return self.floors["val"] if self.floors else None

    def line(self) -> str:
        """Name and sizes, for a person."""
        sizes = " / ".join(f"{len(part):,}" for part in (self.train, self.val, self.test))
        size, kinds = len(self.tokens), self.tokenizer.vocab_size
        return f"{self.name}: {size:,} characters, {kinds} different; train / val / test {sizes}"

    def describe(self) -> dict[str, Any]:
        """What a run's folder records of its corpus, enough for `load_described`."""
        return {
            "name": self.name,
            "source": self.source,
            "bounds": list(self.bounds),
            "characters": len(self.tokens),
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
    *,
    split: tuple[float, float, float] = SPLIT,
    mapped_above: int = MAPPED_ABOVE,
) -> Corpus:
    """The corpus of that name (see CORPORA), or the text of a file, a folder (*.txt, *.md) or a glob.

    `split` gives the shares of train, val and test, contiguous in this order; a corpus that brings its own
    (`fables`, at document ends) keeps it unless another is asked for. Tokens that take more than
    `mapped_above` bytes live in a memory-mapped file in the cache folder. Raises `CorpusError` for whatever
    is wrong with the text and `ConfigError` for an impossible split.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "tale.txt").write_text("once upon a time\\n" * 20)
    ...     corpus = load_corpus(folder)
    >>> len(corpus.train), len(corpus.val), len(corpus.test), corpus.tokenizer.characters
    (306, 17, 17, '\\n aceimnoptu')
    """
    name = str(name_or_path)
    entry = CORPORA.get(name)
    source = entry.load() if entry else own_files(name)
    survey = _survey(source)
    own_split = source.bounds if tuple(split) == SPLIT else None
    bounds = own_split or _bounds(survey.length, split)
    tokenizer = CharTokenizer(survey.characters)
    return Corpus(
        name=source.name,
        tokenizer=tokenizer,
        tokens=_tokens(source, tokenizer, survey, mapped_above),
        bounds=bounds,
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


def load_described(description: dict[str, Any]) -> Corpus:
    """The corpus that `Corpus.describe` described; `CorpusError` where its text has changed since."""
    try:
        was = description["source"]
        path, split, sha256 = str(was["path"]), tuple(was["split"]), str(was["sha256"])
    except (KeyError, TypeError) as error:
        raise CorpusError(
            "the description of a corpus is damaged: it must hold a source with path, split and sha256; "
            "restore the run's config.json"
        ) from error
    corpus = load_corpus(path, split=split)
    if corpus.source["sha256"] != sha256:
        python = f" (Python {was['python']} then, {platform.python_version()} now)" if "python" in was else ""
        raise CorpusError(
            f"the text {path} has changed{python}: sha256 must begin with {sha256[:12]}, got "
            f"{corpus.source['sha256'][:12]}; restore the text or start a new run"
        )
    return corpus


def _survey(source: Source) -> _Survey:
    characters: set[str] = set()
    digest, length = hashlib.sha256(), 0
    for piece in source.pieces():
        characters |= set(piece)
        length += len(piece)
        digest.update(piece.encode("utf-8"))
    if length < MINIMUM:
        raise CorpusError(
            f"{source.path} is too short: a text must have at least {MINIMUM} characters, got {length}"
        )
    if len(characters) == 1:
        raise CorpusError(
            f"{source.path} only repeats the character {characters.pop()!r}: there is nothing to learn in it"
        )
    if source.sha256 not in (None, digest.hexdigest()):
        raise CorpusError(f"{source.path} is damaged: its sha256 must be {source.sha256}")
    return _Survey("".join(sorted(characters)), length, digest.hexdigest())


def _bounds(length: int, split: tuple[float, float, float]) -> tuple[int, int]:
    if len(split) != 3 or not (min(split) >= 0 and split[0] * split[1] > 0 and abs(sum(split) - 1) < 1e-9):
        raise ConfigError(
            f"split must be three shares that sum to 1, of which only test may be 0, got {tuple(split)}"
        )
    train, val, test = split
    train_end = int(length * train)
    return train_end, (int(length * (train + val)) if test else length)


def _tokens(source: Source, tokenizer: CharTokenizer, survey: _Survey, mapped_above: int) -> np.ndarray:
    size = survey.length * tokenizer.dtype.itemsize
    if size > mapped_above:
        return _mapped(source, tokenizer, survey, size)
    tokens, end = np.empty(survey.length, tokenizer.dtype), 0
    for ids in _encoded(source, tokenizer, survey):
        tokens[end : end + len(ids)] = ids
        end += len(ids)
    tokens.flags.writeable = False  # as the memory-mapped ones
    return tokens


def _mapped(source: Source, tokenizer: CharTokenizer, survey: _Survey, size: int) -> np.ndarray:
    """The sha256 of a text fixes its characters, hence its tokens: it names their file in the cache."""
    path = cache_folder() / "tokens" / f"{survey.sha256}.{tokenizer.dtype.name}"
    if not path.is_file() or path.stat().st_size != size:
        try:
            files.make_folder(path.parent)
        except StorageError as error:
            raise CorpusError(
                f"cannot keep the tokens of a large text ({error}); name a folder that you may write to in "
                "XDG_CACHE_HOME"
            ) from error
        chunks = (ids.tobytes() for ids in _encoded(source, tokenizer, survey))
        files.write_chunks(path, chunks, size)
    return np.memmap(path, tokenizer.dtype, mode="r", shape=(survey.length,))


def _encoded(source: Source, tokenizer: CharTokenizer, survey: _Survey) -> Iterator[np.ndarray]:
    """The second pass. A file that grows or changes between the passes would leave the array half filled."""
    length, changed = 0, f"{source.path} changed while it was read; try again when nothing writes to it"
    try:
        for piece in source.pieces():
            length += len(piece)
            if length > survey.length:
                break
            yield tokenizer.encode_array(piece)
    except UnknownCharacterError as error:
        raise CorpusError(changed) from error
    if length != survey.length:
        raise CorpusError(changed)
