"""Other right ways through lab 1; all must get full points."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor


def vocabulary__list(text: str) -> str:
    found = ""
    for character in sorted(text):
        if character not in found:
            found += character
    return found


def encode__index(text: str, characters: str) -> list[int]:
    return list(map(characters.index, text))


def encode__tensor(text: str, characters: str) -> Tensor:
    return torch.tensor([characters.find(character) for character in text])


def decode__loop(ids: list[int], characters: str) -> str:
    text = ""
    for i in ids:
        text = text + characters[int(i)]
    return text


def split__tensors(ids: list[int], share: float) -> list[Tensor]:
    size = int(len(ids) * share)
    whole = torch.tensor(ids)
    return [whole[: len(ids) - size], whole[len(ids) - size :]]


def batch__gather(tokens: Tensor, starts: list[int], block_size: int) -> tuple[Tensor, Tensor]:
    spots = torch.tensor(starts)[:, None] + torch.arange(block_size)
    return tokens[spots], tokens[spots + 1]


def batch__unfold(tokens: Tensor, starts: list[int], block_size: int) -> list[Tensor]:
    windows = tokens.unfold(0, block_size + 1, 1)[starts]
    return [windows[:, :block_size].int(), windows[:, 1:].int()]


def window_starts__while(count: int, block_size: int, offset: int) -> list[int]:
    starts = []
    while offset + block_size + 1 <= count:
        starts.append(offset)
        offset += block_size
    return starts


def most_frequent_pair__sorted(ids: list[int]) -> list[int]:
    pairs = [[ids[n], ids[n + 1]] for n in range(len(ids) - 1)]
    return max(sorted(pairs), key=pairs.count)


def merge__recursive(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    if len(ids) < 2:
        return list(ids)
    if (ids[0], ids[1]) == tuple(pair):
        return [new, *merge__recursive(ids[2:], pair, new)]
    return [ids[0], *merge__recursive(ids[1:], pair, new)]


def vocabulary__from_a_dictionary(text: str) -> str:
    return "".join(sorted(dict.fromkeys(text)))


def vocabulary__numpy(text: str) -> str:
    return "".join(np.unique(list(text)).tolist()) if text else ""


def encode__find(text: str, characters: str) -> list[int]:
    return [characters.find(character) for character in text]


def encode__numpy(text: str, characters: str) -> Any:
    return np.array([characters.index(character) for character in text], dtype=np.int64)


def decode__mapped(ids: list[int], characters: str) -> str:
    return "".join(map(characters.__getitem__, ids))


def split__lists(ids: list[int], share: float) -> Any:
    n = math.floor(share * len(ids))
    return [list(ids[: len(ids) - n]), list(ids[len(ids) - n :])]


def split__numpy(ids: list[int], share: float) -> Any:
    return np.split(np.array(ids), [len(ids) - int(share * len(ids))])


def batch__positions(tokens: Tensor, starts: list[int], block_size: int) -> tuple[Tensor, Tensor]:
    places = torch.tensor(starts)[:, None] + torch.arange(block_size)
    return tokens[places], tokens[places + 1]


def batch__lists(tokens: Tensor, starts: list[int], block_size: int) -> Any:
    ids = tokens.tolist()
    return [ids[s : s + block_size] for s in starts], [ids[s + 1 : s + 1 + block_size] for s in starts]


def window_starts__range(count: int, block_size: int, offset: int) -> Any:
    return range(offset, count - block_size, block_size)


def window_starts__tensor(count: int, block_size: int, offset: int) -> Tensor:
    return torch.arange(offset, count - block_size, block_size)


def most_frequent_pair__counted(ids: list[int]) -> Any:
    pairs = [(ids[n], ids[n + 1]) for n in range(len(ids) - 1)]
    best = max(pairs.count(pair) for pair in pairs)
    return list(min(pair for pair in pairs if pairs.count(pair) == best))


def most_frequent_pair__tensor(ids: list[int]) -> Any:
    pairs, counts = torch.tensor(list(zip(ids, ids[1:], strict=False))).unique(dim=0, return_counts=True)
    return pairs[counts.argmax()]


def merge__from_a_stack(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    left, merged = list(reversed(ids)), []
    while left:
        first = left.pop()
        if left and (first, left[-1]) == tuple(pair):
            left.pop()
            first = new
        merged.append(first)
    return merged
