"""Lab 1: tokens and batches. Fill the gaps; `python -m minilm.classroom check lab1.py` tells how far you are.

Axes: B batch, T positions, V vocabulary. You may use torch and the standard library, and call your own earlier
functions.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor


def vocabulary(text: str) -> str:
    """Every character of the text once, in the order of their code points."""
    return "".join(sorted(set(text)))


def encode(text: str, characters: str) -> list[int]:
    """The place of every character of the text in `characters`, counted from 0; all of them are in it."""
    places = {character: place for place, character in enumerate(characters)}
    return [places[character] for character in text]


def decode(ids: list[int], characters: str) -> str:
    """The text of the ids: what `encode` has undone."""
    return "".join(characters[i] for i in ids)


def split(ids: list[int], share: float) -> tuple[list[int], list[int]]:
    """(train, val): val is the last int(share * N) of the N ids, train is all that comes before."""
    cut = len(ids) - int(share * len(ids))
    return ids[:cut], ids[cut:]


def batch(tokens: Tensor, starts: list[int], block_size: int) -> tuple[Tensor, Tensor]:
    """(inputs, targets), both (B, T) with T = block_size: row b of the inputs begins at starts[b], the targets are the
    same window one token later. tokens is (N,), whole numbers."""
    windows = torch.stack([tokens[start : start + block_size + 1] for start in starts])  # (B, T + 1)
    return windows[:, :-1], windows[:, 1:]


def window_starts(count: int, block_size: int, offset: int) -> list[int]:
    """Where the windows of an epoch begin: at `offset` and then every `block_size` tokens, so that no input is seen
    twice. All windows that fit into `count` tokens, the target of their last position included."""
    return list(range(offset, count - block_size, block_size))


def most_frequent_pair(ids: list[int]) -> tuple[int, int]:
    """The pair of neighbours (a, b) that occurs most often; of equally frequent ones the smallest. At least 2 ids."""
    counts = Counter(zip(ids, ids[1:], strict=False))
    return min(counts, key=lambda pair: (-counts[pair], pair))


def merge(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """The ids with every occurrence of the pair replaced by `new`, from left to right."""
    merged, place = [], 0
    while place < len(ids):
        here = tuple(ids[place : place + 2]) == tuple(pair)
        merged.append(new if here else ids[place])
        place += 2 if here else 1
    return merged
