"""Other right ways through lab 1; all must get full points."""

from __future__ import annotations

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
