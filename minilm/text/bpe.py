"""Byte-pair encoding: a text becomes pieces, learnt by counting which neighbours stand together most often.

Sennrich et al. (2016), "Neural Machine Translation of Rare Words with Subword Units"; on bytes as in GPT-2,
Radford et al. (2019), or on the characters of a text. Read top down: merge, learn, apply; the class joins them.
These functions say what is right; long texts take `fast/pieces.py`, once it has agreed with them on a part of the
very text. This file knows nothing of models.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from minilm.errors import ConfigError, RunError, UnknownCharacterError, note
from minilm.text import tokenizer_file as layout
from minilm.text.characters import CharTokenizer
from minilm.text.words import cut, split_special

if TYPE_CHECKING:
    from torch import Tensor

KIND = "bpe"
CHUNK = 1 << 20  # ids that are Python's numbers at a time
PROBES, PROBE = 100, 40  # on so many words, up to so many letters of each, must the quick way agree
REMEMBERED = 1_000_000  # words whose ids are kept; some 200 MB
SLOW = "byte pairs are {} as it is written: the quick version of `minilm.fast` computes something else here"
Pair = tuple[bytes, bytes]


def base_pieces(text: str, base: CharTokenizer | None = None) -> list[bytes]:
    """What merging starts from: the bytes of a text, or where the base are characters those.

    >>> base_pieces("né"), base_pieces("né", CharTokenizer.from_text("né"))
    ([b'n', b'\\xc3', b'\\xa9'], [b'n', b'\\xc3\\xa9'])
    """
    return [bytes([byte]) for byte in _utf8(text)] if base is None else [_utf8(c) for c in text]


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # to Python half a surrogate pair is a character


def merge(pieces: Sequence[bytes], pair: Pair) -> list[bytes]:
    """Joins every occurrence of `pair`, from the left.

    >>> merge([b"a", b"a", b"a", b"b"], (b"a", b"a"))
    [b'aa', b'a', b'b']
    """
    merged: list[bytes] = []
    for piece in pieces:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def learn_merges(words: Mapping[str, int], count: int, base: CharTokenizer | None = None) -> list[Pair]:
    """The merges that make `count` new pieces, in the order of learning; `words` says how often each occurs.

    Each joins the most frequent pair of neighbours; of equally frequent pairs the larger one, compared as (bytes,
    bytes), as in Stanford's CS336. A pair that occurs once is no pattern: a short text may give fewer.

    >>> learn_merges(Counter(cut("low lower lowest")), 2)
    [(b'o', b'w'), (b'l', b'ow')]
    """
    split = {word: base_pieces(word, base) for word in words}
    merges: dict[Pair, bytes] = {}
    while len(set(merges.values())) < count:  # two merges can make the same piece
        counts: Counter[Pair] = Counter()
        for word, pieces in split.items():
            for pair in itertools.pairwise(pieces):
                counts[pair] += words[word]
        best = max(counts, key=lambda pair: (counts[pair], pair), default=None)
        if best is None or counts[best] < 2:
            break
        merges[best] = best[0] + best[1]
        split = {word: merge(pieces, best) for word, pieces in split.items()}
    return list(merges)


def apply_merges(pieces: list[bytes], ranks: Mapping[Pair, int]) -> list[bytes]:
    """The pieces after all merges, in the order in which they were learnt.

    >>> apply_merges([b"s", b"l", b"o", b"w"], {(b"o", b"w"): 0, (b"l", b"ow"): 1})
    [b's', b'low']
    """
    while len(pieces) > 1:
        first = min(itertools.pairwise(pieces), key=lambda pair: ranks.get(pair, len(ranks)))
        if first not in ranks:
            break
        pieces = merge(pieces, first)
    return pieces


@dataclass(frozen=True, repr=False)
class BPETokenizer:
    """Text to ids and back, without loss; `pieces[id]` are the bytes that an id stands for.

    The base is the 256 bytes, so that no text is unknown, or the characters of a CharTokenizer, to which others
    are unknown.

    >>> tokenizer = BPETokenizer.train("low lower lowest low", vocab_size=259)
    >>> [tokenizer.decode([i]) for i in tokenizer.encode("slowest")]
    ['s', 'low', 'e', 's', 't']
    """

    pieces: tuple[bytes, ...]
    merges: tuple[Pair, ...] = ()
    special_tokens: tuple[str, ...] = ()
    base: CharTokenizer | None = None

    def __post_init__(self) -> None:
        needed = {piece for a, b in self.merges for piece in (a, b, a + b)}
        needed |= {*_alphabet(self.base), *map(_utf8, self.special_tokens)}
        if missing := sorted(needed - set(self.ids)):
            raise RunError(
                f"a vocabulary must hold every byte or character and every merge, it lacks {len(missing)} of them, "
                f"{missing[0]!r} first; take the right files"
            )
        if len(self.ids) != len(self.pieces):
            raise RunError("a vocabulary must hold each piece once, one stands twice; take the right files")

    @classmethod
    def train(
        cls,
        text: str | Iterable[str],
        vocab_size: int,
        special_tokens: Sequence[str] = (),
        base: CharTokenizer | None = None,
    ) -> BPETokenizer:
        """Learns merges until there are `vocab_size` tokens: special ones, the base, the merges.

        `text` may come in parts; special tokens are cut out of it first. `base` must know its characters. The
        vocabulary stays smaller where no pair is left that occurs twice.
        """
        fixed = list(dict.fromkeys([*map(_utf8, special_tokens), *_alphabet(base)]))
        if vocab_size < len(fixed):
            raise ConfigError(
                f"vocab_size must be at least {len(fixed)}, the {'bytes' if base is None else 'characters'} and "
                f"special tokens, got {vocab_size}; ask for more"
            )
        words: Counter[str] = Counter()
        for part in [text] if isinstance(text, str) else text:
            words.update(cut(part, special_tokens))
        for token in special_tokens:
            words.pop(token, None)
        if base is not None:
            base.encode_array("".join(words))  # an unknown character would raise here
        merges = _learn_quickly(words, vocab_size - len(fixed), base)
        pieces = dict.fromkeys([*fixed, *(a + b for a, b in merges)])
        return cls(tuple(pieces), tuple(merges), tuple(special_tokens), base)

    @property
    def vocab_size(self) -> int:
        return len(self.pieces)

    @property
    def dtype(self) -> np.dtype:
        """The smallest unsigned type that holds every id."""
        return np.min_scalar_type(self.vocab_size - 1)

    @cached_property
    def ids(self) -> dict[bytes, int]:
        return {piece: number for number, piece in enumerate(self.pieces)}

    @cached_property
    def lengths(self) -> np.ndarray:
        """How many characters begin in each piece, (V,); over a whole text they sum to its length."""
        return np.array([sum(byte & 0xC0 != 0x80 for byte in piece) for piece in self.pieces])

    def encode(
        self,
        text: str,
        errors: Literal["strict", "replace"] = "strict",
        return_tensors: Literal["pt"] | None = None,
    ) -> Any:
        """The ids of `text`: a list, or with `return_tensors="pt"` an int64 tensor (1, T).

        A character that the base lacks raises `UnknownCharacterError`; with `errors="replace"` it becomes what
        CharTokenizer makes of it.
        """
        ids = self.encode_array(text, errors)
        if return_tensors is None:
            return ids.tolist()
        if return_tensors != "pt":
            raise ConfigError(
                f'return_tensors must be None or "pt", got {return_tensors!r}; leave it out for a list'
            )
        import torch

        return torch.from_numpy(ids.astype(np.int64))[None]  # (1, T)

    def encode_array(self, text: str, errors: Literal["strict", "replace"] = "strict") -> np.ndarray:
        """The ids of `text` as an array (T,) of `dtype`."""
        if self.base is not None:
            parts = split_special(text, self.special_tokens)
            parts[::2] = [self.base.decode(self.base.encode_array(part, errors)) for part in parts[::2]]
            text = "".join(parts)
        words = cut(text, self.special_tokens, None if self.base is None else self.base.characters)
        if len(self._known) > REMEMBERED:
            self._known.clear()
        self._known.update((token, [self.ids[_utf8(token)]]) for token in self.special_tokens)
        if new := [word for word in dict.fromkeys(words) if word not in self._known]:
            self._known.update(zip(new, self._encode_words(new), strict=True))
        return np.fromiter(itertools.chain.from_iterable(map(self._known.__getitem__, words)), self.dtype)

    @cached_property
    def _known(self) -> dict[str, list[int]]:
        """Words repeat, so each is merged once."""
        return {}

    @cached_property
    def _ranks(self) -> dict[Pair, int]:
        return {pair: rank for rank, pair in enumerate(self.merges)}

    def _encode_words(self, words: list[str]) -> list[list[int]]:
        """The ids of each of these words, which are all different."""
        probes = [word[:PROBE] for word in words[:: len(words) // PROBES or 1]]
        plain = [self._encode_word(word) for word in probes]
        if probes == words:
            return plain
        if self._quick(probes) == plain:
            return self._quick(words)
        note(SLOW.format("applied"))
        return [self._encode_word(word) for word in words]

    def _encode_word(self, word: str) -> list[int]:
        return [self.ids[piece] for piece in apply_merges(base_pieces(word, self.base), self._ranks)]

    def _quick(self, words: list[str]) -> list[list[int]]:
        return self._merges.apply([base_pieces(word, self.base) for word in words])

    @cached_property
    def _merges(self) -> Any:
        from minilm.fast.pieces import Merges

        return Merges(self.ids, self.merges)

    def decode(self, ids: Sequence[int] | np.ndarray | Tensor) -> str:
        """The text of ids (T,); bytes that are no UTF-8, half a character, become U+FFFD."""
        array = np.asarray(ids if isinstance(ids, Sequence | np.ndarray) else ids.tolist()).reshape(-1)
        wrong = array[(array < 0) | (array >= self.vocab_size)]
        if len(wrong):
            raise UnknownCharacterError(
                f"an id must be between 0 and {self.vocab_size - 1}, got {wrong[0]}; was this text encoded by "
                "another tokenizer?"
            )
        parts = np.array_split(array, len(array) // CHUNK + 1)  # Python's numbers take much more room
        data = b"".join(b"".join(map(self.pieces.__getitem__, part.tolist())) for part in parts)
        try:
            return data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return data.decode("utf-8", "replace")

    def save(self, folder: str | Path) -> None:
        """Writes `folder/tokenizer.json`."""
        characters = None if self.base is None else self.base.characters
        fields = layout.pieces_to_json(self.pieces, self.merges, self.special_tokens, characters)
        layout.write_tokenizer(folder, KIND, fields)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> BPETokenizer:
        """The tokenizer in a folder of ours or of Hugging Face's; no token is put before or after a text."""
        if layout.is_huggingface(folder):
            return cls._from_json(layout.read_huggingface(folder), folder)
        return cls._from_json(layout.read_tokenizer(folder, KIND), folder)

    @classmethod
    def from_files(cls, vocab_json: str | Path, merges_txt: str | Path) -> BPETokenizer:
        """GPT-2's two files: `{"piece": id}` and one merge per line; they give GPT-2's own ids."""
        return cls._from_json(layout.read_gpt2(vocab_json, merges_txt), vocab_json)

    @classmethod
    def _from_json(cls, fields: Mapping[str, Any], where: str | Path) -> BPETokenizer:
        characters = fields.get("characters")
        base = None if characters is None else CharTokenizer.from_text(characters)
        return cls(**layout.pieces_from_json(fields, where), base=base)

    def __repr__(self) -> str:
        base = "bytes" if self.base is None else f"{self.base.vocab_size} characters"
        return f"BPETokenizer(vocab_size={self.vocab_size}, base={base})"


def _alphabet(base: CharTokenizer | None) -> list[bytes]:
    return [bytes([byte]) for byte in range(256)] if base is None else base_pieces(base.characters, base)


def _learn_quickly(words: Mapping[str, int], count: int, base: CharTokenizer | None) -> list[Pair]:
    """`learn_merges`, by arrays where both ways learn the same from the first words."""
    from minilm.fast.pieces import learn

    def quick(words: Mapping[str, int], count: int) -> list[Pair]:
        return learn([base_pieces(word, base) for word in words], list(words.values()), count)

    few = {word[:PROBE]: number for word, number in itertools.islice(words.items(), PROBES)}
    if quick(few, PROBE) == learn_merges(few, PROBE, base):
        return quick(words, count)
    note(SLOW.format("learnt"))
    return learn_merges(words, count, base)
