"""Makes the tokens of a long text where they are read, so that training begins before the text is encoded.

Places are counted in tokens of average length: a window is found without the tokens before it. It is a stretch of the
tokens that the whole text has, wherever spaces or line ends part the words. Knows nothing of models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from minilm.text.bpe import BPETokenizer
from minilm.text.characters import CharTokenizer

CHUNK = 1_000_000  # characters that are encoded at a time
REACH = 1.5  # times the average length of a window is encoded for it, since some pieces are longer


def encoded(letters: CharTokenizer, ids: np.ndarray, tokenizer: BPETokenizer) -> np.ndarray:
    """The tokens (T,) of a text, of which `ids` (N,) are the characters."""
    texts = (letters.decode(ids[at : at + CHUNK]) for at in range(0, len(ids), CHUNK))
    parts = [tokenizer.encode_array(text) for text in whole_words(texts)]
    return np.concatenate([np.empty(0, tokenizer.dtype), *parts])


def whole_words(texts: Iterable[str]) -> Iterator[str]:
    """The same text, divided only where a word begins with a space or a line end: there its pieces are the same.

    >>> list(whole_words(["one t", "wo\\n", " three"]))
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


@dataclass(frozen=True)
class LongText:
    """Stands for the tokens (T,) of a text. `ids` (N,) are its characters, `per_token` of them a token on average.

    >>> text, letters = "low lower lowest " * 50, CharTokenizer(" elorstw")
    >>> tokenizer = BPETokenizer.train(text, 12, base=letters)
    >>> long = LongText(letters, letters.encode_array(text), tokenizer, per_token=2.5)
    >>> len(long), [tokenizer.decode(window) for window in long[np.array([[0, 1, 2, 3], [100, 101, 102, 103]])]]
    (340, ['low lower lowe', ' low lower lowe'])
    """

    letters: CharTokenizer
    ids: np.ndarray
    tokenizer: BPETokenizer
    per_token: float

    def __len__(self) -> int:
        return int(len(self.ids) / self.per_token)

    @property
    def nbytes(self) -> int:
        return self.ids.nbytes

    def part(self, start: int, end: int) -> LongText:
        """The text from one character to another."""
        return replace(self, ids=self.ids[start:end])

    def __getitem__(self, places: slice | np.ndarray) -> np.ndarray:
        """The tokens of the text between two places, about as many as there are places; or (B, T) tokens, in each row
        so many from the first of its places on, or from a little before the end."""
        if isinstance(places, np.ndarray):
            return np.stack([self._window(start, places.shape[1]) for start in places[:, 0].tolist()])
        start, end, _ = places.indices(len(self))
        last = len(self.ids) if end == len(self) else int(end * self.per_token)
        return encoded(self.letters, self.ids[int(start * self.per_token) : last], self.tokenizer)

    def _window(self, start: int, length: int) -> np.ndarray:
        reach = int(REACH * length * self.per_token)  # characters
        while True:
            first = max(0, min(int(start * self.per_token), len(self.ids) - reach))
            text = self.letters.decode(self.ids[first : first + reach])
            whole = re.search(r"(?s)(?<=\S)[ \n].*\S(?=[ \n])", text)  # words; none where spaces are rare
            if reach < len(self.ids) and whole and 2 * len(whole[0]) > reach:
                text = whole[0]
            tokens = self.tokenizer.encode_array(text)
            if len(tokens) >= length or reach >= len(self.ids):
                return tokens[:length]
            reach *= 2

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All tokens: the text is encoded, once."""
        return self._whole.astype(dtype or self._whole.dtype, copy=bool(copy))

    @cached_property
    def _whole(self) -> np.ndarray:
        return encoded(self.letters, self.ids, self.tokenizer)
