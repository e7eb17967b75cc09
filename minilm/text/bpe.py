"""Byte-pair encoding as GPT-2 does it: text -> bytes -> ever longer pieces, learned by counting.

Sennrich et al. (2016), "Neural Machine Translation of Rare Words with Subword Units", on bytes as in Radford
et al. (2019). Small functions first: cut, count, merge; the class joins them. No text is unknown to it, since
every text is bytes. This file knows nothing of models.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minilm.errors import ConfigError, RunError, UnknownCharacterError
from minilm.files import read_tokenizer, write_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

KIND = "bpe"
Pair = tuple[str, str]

# Unicode's white space; the stdlib's `\s` adds U+001C to U+001F
SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


@functools.cache
def _words() -> re.Pattern[str]:
    """GPT-2's pattern in the stdlib's terms: there `\\w` is letters, numbers and "_", `\\d` decimal digits only."""
    points = map(chr, range(0x20000))  # no number stands above
    numerals = "".join(c for c in points if unicodedata.category(c) in ("Nl", "No"))  # Roman, fractions, ...
    letter, number = rf"[^\W\d_{numerals}]", rf"[\d{numerals}]"
    other = rf"(?:[^\w{SPACE}]|_)"
    return re.compile(
        rf"'(?:s|t|re|ve|m|ll|d)| ?{letter}+| ?{number}+| ?{other}+|[{SPACE}]+(?![^{SPACE}])|[{SPACE}]+"
    )


def cut(text: str) -> list[str]:
    """The words between which no merge may reach; joined they are the text.

    >>> cut("I'll take 2 pears  now")
    ['I', "'ll", ' take', ' 2', ' pears', ' ', ' now']
    """
    return _words().findall(text)


@functools.cache
def byte_characters() -> dict[int, str]:
    """A visible character for each of the 256 bytes: itself where it has one, else one from 256 on.

    >>> table = byte_characters()
    >>> table[ord("a")], table[ord(" ")], len(set(table.values()))
    ('a', 'Ġ', 256)
    """
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in set(visible)]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + k) for k, byte in enumerate(hidden)}


@functools.cache
def character_bytes() -> dict[str, int]:
    return {character: byte for byte, character in byte_characters().items()}


def visible(text: str) -> str:
    """The text's bytes as visible characters."""
    table = byte_characters()
    return "".join(table[byte] for byte in text.encode("utf-8", errors="surrogatepass"))


def pairs_of(pieces: Sequence[str]) -> list[Pair]:
    """
    >>> pairs_of(["a", "b", "c"])
    [('a', 'b'), ('b', 'c')]
    """
    return list(itertools.pairwise(pieces))


def merge(pieces: Sequence[str], pair: Pair) -> list[str]:
    """Joins every occurrence of `pair`, from the left.

    >>> merge(["a", "a", "a", "b"], ("a", "a"))
    ['aa', 'a', 'b']
    """
    merged: list[str] = []
    position = 0
    while position < len(pieces):
        if tuple(pieces[position : position + 2]) == pair:
            merged.append(pair[0] + pair[1])
            position += 2
        else:
            merged.append(pieces[position])
            position += 1
    return merged


class _Words:
    """The distinct words of a text with their counts, and for each pair how often and where it occurs."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.counts = list(counts.values())
        self.pieces = [list(word) for word in counts]
        self.frequency: Counter[Pair] = Counter()
        self.where: defaultdict[Pair, set[int]] = defaultdict(set)
        for index in range(len(self.pieces)):
            self._add(index, 1)
        # the likeliest first; of equals the one that sorts first, so that training is deterministic
        self.heap = [(-count, pair) for pair, count in self.frequency.items()]
        heapq.heapify(self.heap)

    def _add(self, index: int, sign: int) -> set[Pair]:
        pairs = pairs_of(self.pieces[index])
        for pair in pairs:
            self.frequency[pair] += sign * self.counts[index]
            self.where[pair].add(index)
        return set(pairs)

    def most_frequent(self) -> Pair | None:
        """The pair to merge next, or None where no pair is left. Stale entries of the heap are skipped."""
        while self.heap:
            count, pair = heapq.heappop(self.heap)
            if self.frequency[pair] == -count and count:
                return pair
        return None

    def merge(self, pair: Pair) -> None:
        """Merges the pair in the words that hold it; only their counts change."""
        changed: set[Pair] = set()
        for index in self.where.pop(pair):
            changed |= self._add(index, -1)
            self.pieces[index] = merge(self.pieces[index], pair)
            changed |= self._add(index, 1)
        for other in changed - {pair}:
            if self.frequency[other] > 0:
                heapq.heappush(self.heap, (-self.frequency[other], other))


def learn_merges(text: str, count: int) -> list[Pair]:
    """The `count` most useful merges of a text, in the order of learning; fewer for a short text.

    >>> learn_merges("low lower lowest", 2)
    [('l', 'o'), ('lo', 'w')]
    """
    words = _Words(Counter(map(visible, cut(text))))
    merges: list[Pair] = []
    while len(merges) < count and (pair := words.most_frequent()) is not None:
        merges.append(pair)
        words.merge(pair)
    return merges


class BPETokenizer:
    """Text to ids and back, without loss for any text.

    >>> tokenizer = BPETokenizer.train("low lower lowest low", vocab_size=259)
    >>> [tokenizer.decode([i]) for i in tokenizer.encode("slowest")]
    ['s', 'low', 'e', 's', 't']
    """

    def __init__(
        self, vocabulary: Mapping[str, int], merges: Iterable[Pair], special_tokens: Sequence[str] = ()
    ) -> None:
        self.vocabulary = dict(vocabulary)
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.special_tokens = tuple(special_tokens)
        self._texts = {number: piece for piece, number in self.vocabulary.items()}
        _check(self)
        longest_first = sorted(self.special_tokens, key=len, reverse=True)  # one may begin another
        self._special = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")
        self._known: dict[str, list[int]] = {}

    @classmethod
    def train(cls, text: str, vocab_size: int, special_tokens: Sequence[str] = ()) -> BPETokenizer:
        """Learns merges until there are `vocab_size` tokens: special ones, 256 bytes, the merges.

        The vocabulary stays smaller where the text has no pair left to merge.
        """
        least = 256 + len(special_tokens)
        if vocab_size < least:
            raise ConfigError(
                f"vocab_size must be at least {least}, the bytes and specials, got {vocab_size}"
            )
        merges = learn_merges(text, vocab_size - least)
        pieces = [*special_tokens, *byte_characters().values(), *(a + b for a, b in merges)]
        return cls(
            {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}, merges, special_tokens
        )

    @classmethod
    def from_files(cls, vocab_json: str | Path, merges_txt: str | Path) -> BPETokenizer:
        """GPT-2's two files: `{"piece": id}` and one merge per line; they give GPT-2's own ids."""
        try:
            vocabulary = json.loads(Path(vocab_json).read_text(encoding="utf-8"))
            lines = Path(merges_txt).read_text(encoding="utf-8").split("\n")
            merges = [_pair(line) for line in lines if line and not line.startswith("#version")]
        except OSError as error:
            raise RunError(f"cannot read {error.filename}: {error.strerror}; give both files") from error
        except ValueError as error:
            raise RunError(f"{vocab_json} and {merges_txt} are not GPT-2's two files: {error}") from error
        table = character_bytes()
        special = [piece for piece in vocabulary if not set(piece) <= set(table) or piece == "<|endoftext|>"]
        return cls(vocabulary, merges, special)

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str, errors: str = "strict", return_tensors: str | None = None) -> Any:
        """The ids of `text`: a list, or with `return_tensors="pt"` a (1, T) tensor. `errors` is for symmetry
        with CharTokenizer: every text has ids here."""
        if return_tensors not in (None, "pt"):
            raise ConfigError(f'return_tensors must be None or "pt", got {return_tensors!r}')
        ids = [number for part in self._parts(text) for number in self._encode_part(part)]
        return ids if return_tensors is None else _tensor(ids)

    def encode_array(self, text: str) -> np.ndarray:
        """The ids (N,) in the smallest type that holds the vocabulary."""
        return np.array(self.encode(text), dtype=np.min_scalar_type(max(self.vocabulary.values())))

    def _parts(self, text: str) -> list[str]:
        return [part for part in self._special.split(text) if part] if self.special_tokens else [text]

    def _encode_part(self, part: str) -> list[int]:
        if part in self.special_tokens:
            return [self.vocabulary[part]]
        return [number for word in cut(part) for number in self._word(word)]

    def _word(self, word: str) -> list[int]:
        if word not in self._known:  # words repeat, so each is merged once
            self._known[word] = [self.vocabulary[piece] for piece in self._merged(list(visible(word)))]
        return self._known[word]

    def _merged(self, pieces: list[str]) -> list[str]:
        """Applies the merges in the order in which they were learned."""
        while len(pieces) > 1:
            first = min(pairs_of(pieces), key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if first not in self.ranks:
                break
            pieces = merge(pieces, first)
        return pieces

    def decode(self, ids: Any) -> str:
        """The text of ids (list, array, tensor); bytes that are no UTF-8, half a character, become U+FFFD."""
        numbers = [int(number) for number in np.asarray(ids).reshape(-1)]
        if unknown := [number for number in numbers if number not in self._texts]:
            raise UnknownCharacterError(
                f"ids must be below {self.vocab_size}, got {unknown[0]}; check the model"
            )
        table, data = character_bytes(), bytearray()
        for number in numbers:
            piece = self._texts[number]
            special = piece in self.special_tokens
            data += piece.encode() if special else bytes(table[character] for character in piece)
        return data.decode("utf-8", errors="replace")

    def save(self, folder: str | Path) -> None:
        merges = [f"{a} {b}" for a, b in self.ranks]
        fields = {
            "vocabulary": self.vocabulary,
            "merges": merges,
            "special_tokens": list(self.special_tokens),
        }
        write_tokenizer(folder, KIND, fields)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> BPETokenizer:
        fields = read_tokenizer(folder, KIND)
        try:
            return cls(fields["vocabulary"], map(_pair, fields["merges"]), fields["special_tokens"])
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"the tokenizer in {folder} is damaged ({error}); restore it from a copy"
            ) from error

    def __repr__(self) -> str:
        return f"BPETokenizer(vocab_size={self.vocab_size})"


def _pair(line: str) -> Pair:
    first, second = line.split(" ")
    return first, second


def _check(tokenizer: BPETokenizer) -> None:
    """Every byte and every merge must have an id, or some text would have none."""
    needed = {*byte_characters().values(), *tokenizer.special_tokens, *(a + b for a, b in tokenizer.ranks)}
    if missing := sorted(needed - set(tokenizer.vocabulary)):
        raise RunError(
            f"the vocabulary lacks {len(missing)} tokens, {missing[0]!r} first; take the right files"
        )
    if len(tokenizer._texts) != len(tokenizer.vocabulary):
        raise RunError("the vocabulary gives two tokens the same id; take the right files")


def _tensor(ids: list[int]) -> Tensor:
    import torch

    return torch.tensor([ids], dtype=torch.int64)  # (1, T)
