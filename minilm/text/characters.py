"""Turns text into numbers and back, one token per character, by table look-ups over whole arrays.

It imports torch only when a tensor is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from minilm import files
from minilm.errors import ConfigError, CorpusError, RunError, UnknownCharacterError


@dataclass(frozen=True)
class CharTokenizer:
    """Characters <-> ids; `characters` in code point order, its position is its id.

    >>> tokenizer = CharTokenizer.from_text("hello")
    >>> tokenizer.characters, tokenizer.encode("hole"), tokenizer.decode([1, 3, 2, 0])
    ('ehlo', [1, 3, 2, 0], 'hole')
    """

    characters: str

    def __post_init__(self) -> None:
        if not self.characters or list(self.characters) != sorted(set(self.characters)):
            raise CorpusError(
                "the characters of a tokenizer must be at least one, each once and in code point order, "
                f"got {self.characters[:20]!r}; CharTokenizer.from_text(text) makes them from a text"
            )

    @classmethod
    def from_text(cls, text: str) -> CharTokenizer:
        """The tokenizer that knows exactly the characters of `text`; CorpusError where it is empty."""
        return cls("".join(sorted(set(text))))

    @property
    def vocab_size(self) -> int:
        return len(self.characters)

    @property
    def dtype(self) -> np.dtype:  # the smallest unsigned one that holds every id
        return np.min_scalar_type(self.vocab_size - 1)

    def encode(self, text: str, errors: str = "strict", return_tensors: str | None = None) -> Any:
        """The ids of `text`: a list, or an int64 tensor of shape (1, T) with `return_tensors="pt"`. An unknown one
        raises `UnknownCharacterError`; with `errors="replace"` it becomes "?", or a space, or id 0."""
        ids = self.encode_array(text, errors)
        if return_tensors is None:
            return ids.tolist()
        if return_tensors != "pt":
            raise ConfigError(f'return_tensors must be None or "pt", got {return_tensors!r}; leave it out')
        import torch

        return torch.from_numpy(ids.astype(np.int64))[None]  # (1, T)

    def encode_array(self, text: str, errors: str = "strict") -> np.ndarray:
        """The ids of `text` as an array (T,) of `dtype`."""
        if errors not in ("strict", "replace"):
            raise ConfigError(f'errors must be "strict" or "replace", got {errors!r}; leave it out')
        ids = self._ids[np.minimum(code_points(text), len(self._ids) - 1)]
        unknown = ids < 0
        if errors == "strict" and unknown.any():
            letters = sorted(set(text) - set(self.characters))
            shown = " ".join(map(repr, letters[:10])) + (" ..." if len(letters) > 10 else "")
            raise UnknownCharacterError(
                f"the text has characters that the vocabulary of {self.vocab_size} lacks: {shown}; leave them out "
                '(in Python, errors="replace" puts something else there)'
            )
        stand_in = next((self.characters.index(c) for c in "? " if c in self.characters), 0)
        return np.where(unknown, stand_in, ids).astype(self.dtype)

    def decode(self, ids: Any) -> str:
        """The text of `ids` (T,), a list, array or tensor; UnknownCharacterError for one outside the vocabulary."""
        array = np.asarray(ids).ravel()
        low, high = (int(array.min()), int(array.max())) if len(array) else (0, 0)
        if low < 0 or high >= self.vocab_size:
            raise UnknownCharacterError(
                f"an id must be between 0 and {self.vocab_size - 1}, got {low if low < 0 else high}; was this text "
                "encoded by another tokenizer?"
            )
        points = code_points(self.characters)  # id -> code point, (V,)
        return points[array.astype(np.int64)].tobytes().decode("utf-32-le", "surrogatepass")

    def save(self, folder: str | Path) -> None:
        """Writes `folder/tokenizer.json`."""
        files.write_tokenizer(folder, "char", {"characters": self.characters})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> CharTokenizer:
        """The tokenizer that `save` wrote; `RunError` where it is missing, damaged or of another kind."""
        characters = files.read_tokenizer(folder, "char").get("characters")
        try:
            return cls(characters if isinstance(characters, str) else "")
        except CorpusError as error:
            raise RunError(f"{Path(folder) / files.TOKENIZER} is damaged: {error}; restore it") from error

    @cached_property
    def _ids(self) -> np.ndarray:
        """code point -> id, or -1; the last entry stands for every code point above the vocabulary's."""
        table = np.full(ord(self.characters[-1]) + 2, -1, np.int32)
        table[code_points(self.characters)] = np.arange(self.vocab_size)
        return table


def code_points(text: str) -> np.ndarray:
    """(T,) uint32; lone surrogates pass, they are characters to Python."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
