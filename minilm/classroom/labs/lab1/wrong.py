"""Known mistakes of lab 1. Each docstring is what a student who made it is told."""

from __future__ import annotations

import math
from collections import Counter

import torch
from torch import Tensor


def vocabulary__order_of_appearance(text: str) -> str:
    """The characters stand in the order in which they appear; sort them, so that equal texts in another order have
    equal vocabularies."""
    return "".join(dict.fromkeys(text))


def vocabulary__by_frequency(text: str) -> str:
    """The most frequent characters come first here; the order asked for is that of the code points."""
    return "".join(character for character, _ in Counter(text).most_common())


def vocabulary__repeated(text: str) -> str:
    """Characters occur more than once; a set keeps each once."""
    return "".join(sorted(text))


def vocabulary__lower_case(text: str) -> str:
    """Capital letters are lost: A and a are two characters to the model."""
    return "".join(sorted(set(text.lower())))


def encode__code_points(text: str, characters: str) -> list[int]:
    """These are code points (ord); an id is the place in `characters`."""
    return [ord(character) for character in text]


def encode__from_one(text: str, characters: str) -> list[int]:
    """Off by one: places are counted from 0."""
    return [characters.index(character) + 1 for character in text]


def encode__unique(text: str, characters: str) -> list[int]:
    """Repeated characters are encoded once only; every character of the text has its own id."""
    return [characters.index(character) for character in dict.fromkeys(text)]


def decode__spaces(ids: list[int], characters: str) -> str:
    """The characters are joined with spaces between them; join them with nothing."""
    return " ".join(characters[i] for i in ids)


def decode__code_points(ids: list[int], characters: str) -> str:
    """chr turns a code point into a character; here an id is a place in `characters`."""
    return "".join(chr(i) for i in ids)


def decode__list(ids: list[int], characters: str) -> list[str]:
    """You return a list of characters; join it to one text."""
    return [characters[i] for i in ids]


def split__val_first(ids: list[int], share: float) -> tuple[list[int], list[int]]:
    """Validation is the beginning of the text here; it should be the end."""
    cut = int(share * len(ids))
    return ids[cut:], ids[:cut]


def split__swapped(ids: list[int], share: float) -> tuple[list[int], list[int]]:
    """The two parts are right but swapped: train comes first."""
    cut = len(ids) - int(share * len(ids))
    return ids[cut:], ids[:cut]


def split__every_nth(ids: list[int], share: float) -> tuple[list[int], list[int]]:
    """You pick single tokens out of the text; validation must be one contiguous piece at the end."""
    step = round(1 / share)
    return [i for n, i in enumerate(ids) if n % step], ids[::step]


def split__rounded_up(ids: list[int], share: float) -> tuple[list[int], list[int]]:
    """The size of val is rounded up; int(share * N) rounds down."""
    cut = len(ids) - math.ceil(share * len(ids))
    return ids[:cut], ids[cut:]


def split__leaking(ids: list[int], share: float) -> tuple[list[int], list[int]]:
    """train is the whole text, so it holds the validation part too."""
    return ids, ids[len(ids) - int(share * len(ids)) :]


def batch__not_shifted(tokens: Tensor, starts: list[int], block_size: int) -> tuple[Tensor, Tensor]:
    """The targets equal the inputs; the model would learn to copy. They begin one token later."""
    x = torch.stack([tokens[s : s + block_size] for s in starts])
    return x, x


def batch__shifted_back(tokens: Tensor, starts: list[int], block_size: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets are swapped: this predicts the token before. The targets come one token later."""
    x = torch.stack([tokens[s : s + block_size] for s in starts])
    return torch.stack([tokens[s + 1 : s + block_size + 1] for s in starts]), x


def batch__shifted_by_two(tokens: Tensor, starts: list[int], block_size: int) -> tuple[Tensor, Tensor]:
    """The targets come two tokens later; the next token is one later."""
    x = torch.stack([tokens[s : s + block_size] for s in starts])
    return x, torch.stack([tokens[s + 2 : s + block_size + 2] for s in starts])


def batch__too_long(tokens: Tensor, starts: list[int], block_size: int) -> tuple[Tensor, Tensor]:
    """The inputs have block_size + 1 columns; the last token of the window is a target only."""
    windows = torch.stack([tokens[s : s + block_size + 1] for s in starts])
    return windows, windows[:, 1:]


def batch__time_first(tokens: Tensor, starts: list[int], block_size: int) -> tuple[Tensor, Tensor]:
    """Rows and columns are swapped: (B, T) has one row per start."""
    windows = torch.stack([tokens[s : s + block_size + 1] for s in starts], dim=1)
    return windows[:-1], windows[1:]


def window_starts__overlapping(count: int, block_size: int, offset: int) -> list[int]:
    """The windows overlap; go on by block_size, not by 1."""
    return list(range(offset, count - block_size))


def window_starts__no_room_for_target(count: int, block_size: int, offset: int) -> list[int]:
    """The last window may have no token left for its last target: it needs block_size + 1 tokens."""
    return list(range(offset, count - block_size + 1, block_size))


def window_starts__last_one_lost(count: int, block_size: int, offset: int) -> list[int]:
    """Off by one at the end: a window that ends exactly with the last token still fits."""
    return list(range(offset, count - block_size - 1, block_size))


def window_starts__from_zero(count: int, block_size: int, offset: int) -> list[int]:
    """The offset has no effect; the first window begins there."""
    return list(range(0, count - block_size, block_size))


def window_starts__stride_plus_one(count: int, block_size: int, offset: int) -> list[int]:
    """You go on by block_size + 1 and lose an input between two windows. The last target of one window is the first
    input of the next."""
    return list(range(offset, count - block_size, block_size + 1))


def most_frequent_pair__first_of_equals(ids: list[int]) -> tuple[int, int]:
    """Right but for ties: of equally frequent pairs you take the one met first, asked for is the smallest."""
    return Counter(zip(ids, ids[1:], strict=False)).most_common(1)[0][0]


def most_frequent_pair__largest_of_equals(ids: list[int]) -> tuple[int, int]:
    """Right but for ties: of equally frequent pairs take the smallest, not the largest."""
    counts = Counter(zip(ids, ids[1:], strict=False))
    return max(counts, key=lambda pair: (counts[pair], pair))


def most_frequent_pair__disjoint(ids: list[int]) -> tuple[int, int]:
    """You look at places 0, 2, 4, ... only; a pair may begin at every place."""
    counts = Counter(zip(ids[::2], ids[1::2], strict=False))
    return min(counts, key=lambda pair: (-counts[pair], pair))


def most_frequent_pair__single_tokens(ids: list[int]) -> tuple[int, int]:
    """These are the two most frequent tokens; they need not be neighbours. Count pairs."""
    (a, _), (b, _) = (Counter(ids).most_common(2) * 2)[:2]
    return a, b


def most_frequent_pair__unordered(ids: list[int]) -> tuple[int, int]:
    """(a, b) and (b, a) are different pairs; you count them as one."""
    counts = Counter((min(p), max(p)) for p in zip(ids, ids[1:], strict=False))
    return min(counts, key=lambda pair: (-counts[pair], pair))


def merge__first_only(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """Only the first occurrence is replaced; go on until the end."""
    for n in range(len(ids) - 1):
        if tuple(ids[n : n + 2]) == tuple(pair):
            return [*ids[:n], new, *ids[n + 2 :]]
    return ids


def merge__second_token_kept(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """After a replacement the second token of the pair is still there; skip both."""
    return [new if tuple(ids[n : n + 2]) == tuple(pair) else i for n, i in enumerate(ids)]


def merge__right_to_left(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """You replace from right to left; in a row of equal tokens that gives another result."""
    a, b = pair
    flipped, merged, n = ids[::-1], [], 0
    while n < len(flipped):
        here = flipped[n : n + 2] == [b, a]
        merged.append(new if here else flipped[n])
        n += 2 if here else 1
    return merged[::-1]


def merge__last_token_lost(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """The last token is lost when it is not part of a pair; the loop must reach the end."""
    merged, n = [], 0
    while n < len(ids) - 1:
        here = tuple(ids[n : n + 2]) == tuple(pair)
        merged.append(new if here else ids[n])
        n += 2 if here else 1
    return merged


def vocabulary__no_spaces(text: str) -> str:
    """Spaces and line ends are characters, too: the model has to predict them like any other."""
    return "".join(sorted(set("".join(text.split()))))


def vocabulary__descending(text: str) -> str:
    """Your order is the right one backwards; the lowest code point comes first."""
    return "".join(sorted(set(text), reverse=True))


def encode__place_in_the_text(text: str, characters: str) -> list[int]:
    """You look for the character in the text; its id is its place in the vocabulary."""
    return [text.index(character) for character in text]


def decode__from_one(ids: list[int], characters: str) -> str:
    """You count the vocabulary from 1; id 0 is its first character."""
    return "".join(characters[i - 1] for i in ids)


def split__nothing_left(ids: list[int], share: float) -> tuple[list[int], list[int]]:
    """Right until val is empty: ids[:-0] is ids[:0], which is nothing, and ids[-0:] is everything. Count the cut from
    the front, len(ids) - n."""
    n = int(share * len(ids))
    return ids[:-n], ids[-n:]


def split__rounded_to_nearest(ids: list[int], share: float) -> tuple[list[int], list[int]]:
    """round goes to the nearest whole number; the size of val is rounded down, which is int."""
    cut = len(ids) - round(share * len(ids))
    return ids[:cut], ids[cut:]


def split__share_is_train(ids: list[int], share: float) -> tuple[list[int], list[int]]:
    """The share is that of val, at the end; you give it to train."""
    cut = int(share * len(ids))
    return ids[:cut], ids[cut:]


def batch__rolled(tokens: Tensor, starts: list[int], block_size: int) -> tuple[Tensor, Tensor]:
    """Your last target is the row's own first token: roll goes round. The last target is the token after the window."""
    inputs = torch.stack([tokens[start : start + block_size] for start in starts])
    return inputs, inputs.roll(-1, dims=1)


def window_starts__beyond_the_end(count: int, block_size: int, offset: int) -> list[int]:
    """Your last windows reach beyond the last token; each needs block_size tokens and one more as target."""
    return list(range(offset, count, block_size))


def window_starts__offset_added_late(count: int, block_size: int, offset: int) -> list[int]:
    """You add the offset to windows that were counted from 0, so that the last one may not fit any more."""
    return [offset + start for start in range(0, count - block_size, block_size)]


def most_frequent_pair__least(ids: list[int]) -> tuple[int, int]:
    """This is the least frequent pair; with min the count needs a minus sign."""
    counts = Counter(zip(ids, ids[1:], strict=False))
    return min(counts, key=lambda pair: (counts[pair], pair))


def most_frequent_pair__around_the_end(ids: list[int]) -> tuple[int, int]:
    """You count the last token and the first as neighbours; N tokens have N - 1 pairs."""
    counts = Counter(zip(ids, ids[1:] + ids[:1], strict=False))
    return min(counts, key=lambda pair: (-counts[pair], pair))


def merge__as_text(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """In a text of numbers 1 2 is also found in 11 2 and in 1 21; compare whole ids."""
    text = " ".join(map(str, ids)).replace(f"{pair[0]} {pair[1]}", f"{new}")
    return [int(word) for word in text.split()]


def merge__either_order(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """You replace (b, a) as well; the order of the pair counts."""
    merged, place = [], 0
    while place < len(ids):
        here = sorted(ids[place : place + 2]) == sorted(pair)
        merged.append(new if here else ids[place])
        place += 2 if here else 1
    return merged
