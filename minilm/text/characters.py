"""One token per character: the vocabulary is the set of characters in the text, in code point order.

Encoding and decoding are table look-ups over whole arrays. This file refuses to know where texts come from,
and it imports torch only when a tensor is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from minilm.errors import ConfigError, CorpusError, RunError, UnknownCharacterError
from minilm.text.tokenizer_file import FILE, read_kind, write_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 1 << 20  # characters converted at a time: UTF-32 needs four bytes for each, whatever the text's size
STAND_INS = "? "  # what an unknown character becomes with errors="replace", the first of these that is known


@dataclass(frozen=True)
class CharTokenizer:
    """Characters <-> ids; `characters` in code point order, its position is its id.

    >>> tokenizer = CharTokenizer.from_text("hello")
    >>> tokenizer.characters, tokenizer.encode("hole")
    ('ehlo', [1, 3, 2, 0])
    >>> tokenizer.decode([1, 3, 2, 0])
    'hole'
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
        """The tokenizer that knows exactly the characters of `text`; an empty text raises `CorpusError`."""
        return cls("".join(sorted(set(text))))

    @property
    def vocab_size(self) -> int:
        return len(self.characters)

    @property
    def dtype(self) -> np.dtype:
        """The smallest unsigned type that holds every id."""
        return np.min_scalar_type(self.vocab_size - 1)

    def encode(
        self,
        text: str,
        errors: Literal["strict", "replace"] = "strict",
        return_tensors: Literal["pt"] | None = None,
    ) -> Any:
        """The ids of `text`: a list, or an int64 tensor of shape (1, T) with `return_tensors="pt"`.

        An unknown character raises `UnknownCharacterError`; with `errors="replace"` it becomes "?" (where
        that is unknown too a space, else id 0).

        >>> CharTokenizer.from_text("why?").encode("how", errors="replace")
        [1, 0, 2]
        """
        ids = self.encode_array(text, errors)
        if return_tensors is None:
            return ids.tolist()
        if return_tensors != "pt":
            raise ConfigError(f'return_tensors must be None or "pt", got {return_tensors!r}')
        import torch

        return torch.from_numpy(ids.astype(np.int64))[None]  # (1, T)

    def encode_array(self, text: str, errors: Literal["strict", "replace"] = "strict") -> np.ndarray:
        """The ids of `text` as an array (T,) of `dtype`; needs little memory beside it."""
        if errors not in ("strict", "replace"):
            raise ConfigError(f'errors must be "strict" or "replace", got {errors!r}')
        ids = np.empty(len(text), self.dtype)
        for start in range(0, len(text), CHUNK):
            ids[start : start + CHUNK] = self._encode_chunk(text[start : start + CHUNK], errors)
        return ids

    def decode(self, ids: list[int] | np.ndarray | Tensor) -> str:
        """The text of `ids` (T,), a list, array or tensor; an id outside the vocabulary raises
        `UnknownCharacterError`."""
        array = np.asarray(
            ids.tolist() if hasattr(ids, "tolist") and not isinstance(ids, np.ndarray) else ids
        )
        if array.size == 0:
            return ""
        if array.min() < 0 or array.max() >= self.vocab_size:
            wrong = array.max() if array.min() >= 0 else array.min()
            raise UnknownCharacterError(
                f"an id must be between 0 and {self.vocab_size - 1}, got {wrong}; was this text encoded by "
                "another tokenizer?"
            )
        flat = array.ravel()
        chunks = (self._points[flat[at : at + CHUNK]] for at in range(0, len(flat), CHUNK))
        return "".join(points.tobytes().decode("utf-32-le", "surrogatepass") for points in chunks)

    def save(self, folder: str | Path) -> None:
        """Writes `folder/tokenizer.json`."""
        write_tokenizer(folder, "char", {"characters": self.characters})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> CharTokenizer:
        """The tokenizer that `save` wrote; `RunError` where it is missing, damaged or of another kind."""
        characters = read_kind(folder, "char").get("characters")
        try:
            return cls(characters if isinstance(characters, str) else "")
        except CorpusError as error:
            raise RunError(f"{Path(folder) / FILE} is damaged: {error}") from error

    @cached_property
    def _points(self) -> np.ndarray:
        """id -> code point, (V,)."""
        return _code_points(self.characters)

    @cached_property
    def _ids(self) -> np.ndarray:
        """code point -> id, or -1; the last entry stands for every code point above the vocabulary's."""
        table = np.full(int(self._points[-1]) + 2, -1, np.int32)
        table[self._points] = np.arange(self.vocab_size)
        return table

    def _encode_chunk(self, text: str, errors: str) -> np.ndarray:
        ids = self._ids[np.minimum(_code_points(text), len(self._ids) - 1)]
        if ids.size and ids.min() < 0:
            if errors == "strict":
                raise UnknownCharacterError(self._unknown(text))
            ids[ids < 0] = self._stand_in
        return ids

    @property
    def _stand_in(self) -> int:
        return next((self.characters.index(c) for c in STAND_INS if c in self.characters), 0)

    def _unknown(self, text: str) -> str:
        unknown = sorted(set(text) - set(self.characters))
        shown = " ".join(map(repr, unknown[:10])) + (" ..." if len(unknown) > 10 else "")
        known = repr(self.characters[:200]) + (" ..." if self.vocab_size > 200 else "")
        return (
            f"the text has characters that the vocabulary lacks: {shown}; the {self.vocab_size} known are"
            f' {known}; leave the others out, or encode with errors="replace"'
        )


def _code_points(text: str) -> np.ndarray:
    """(T,) uint32; lone surrogates pass, they are characters to Python."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
