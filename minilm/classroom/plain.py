"""Values as plain data: what may cross the wall between a student's process and ours, and when two are equal.

A tensor is `{"tensor": dtype, "values": nested lists}`; beside it there are numbers, texts, None, lists and
dictionaries. Whatever arrives is data of ours by then: no object of a student's is ever asked anything. This file
refuses to know torch, tasks and points.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

RTOL, ATOL = (
    1e-4,
    1e-5,
)  # float32 in another order of operations stays far inside, every known mistake outside
NUMBERS = (bool, int, float)


def tensor(values: Any, dtype: str = "float32") -> dict[str, Any]:
    """The plain form of a tensor.

    >>> tensor([[1, 2]], "int64")
    {'tensor': 'int64', 'values': [[1, 2]]}
    """
    return {"tensor": dtype, "values": np.asarray(values, dtype=dtype).tolist()}


def numbers(*shape: int, seed: int, scale: float = 1.0) -> dict[str, Any]:
    """A float32 tensor of that shape, in (-2 scale, 2 scale), the same on every machine and in every version.

    Made of integer arithmetic (a multiplicative hash), since streams of random generators differ between versions.

    >>> numbers(2, seed=1)["values"] == numbers(2, seed=1)["values"] != numbers(2, seed=2)["values"]
    True
    """
    steps = np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * np.uint64(2654435761) + np.uint64(
        seed * 40503
    )
    steps = (steps ^ (steps >> np.uint64(13))) * np.uint64(2246822519) % np.uint64(4093)
    return tensor((steps.astype(np.float64) / 4093 * 4 - 2).reshape(shape) * scale)


def plain(value: Any) -> Any:
    """The value without the difference between a tuple and a list, which only functions care for."""
    if isinstance(value, dict) and set(value) == {"tuple"}:
        return [plain(item) for item in value["tuple"]]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def parse(line: bytes) -> Any:
    """The value in one line of JSON; None where the line is not JSON or too deep to read."""
    try:
        value = json.loads(line)
        return _writable(value) if rb"\ud" in line.lower() else value
    except (ValueError, RecursionError, MemoryError):
        return None


def _writable(value: Any) -> Any:
    """The value without lone surrogates, which no file of text can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_writable(key): _writable(item) for key, item in value.items()}
    return [_writable(item) for item in value] if isinstance(value, list) else value


def difference(answer: Any, expected: Any, whole: bool = False) -> str:
    """In which way `answer` is not `expected`, as the end of a sentence; "" where they agree.

    Kinds of numbers are kept apart (whole, real, boolean), widths are not: float64 may answer float32. A list may
    stand for a tensor of the same shape, and with `whole` whole numbers for real ones.

    >>> difference(tensor([1.0, 2.0]), tensor([1.0, 2.0], "float64"))
    ''
    >>> difference(tensor([1.0]), tensor([1.0, 2.0]))
    'shape (1,), expected (2,)'
    """
    where, found = _found(answer, expected, whole)
    return f"{', '.join(where)}: {found}" if where else found


def _found(answer: Any, expected: Any, whole: bool) -> tuple[list[str], str]:
    """(the way to the first difference, what it is)."""
    numeric = isinstance(expected, NUMBERS) or isinstance(expected, dict) and "tensor" in expected
    if numeric or isinstance(expected, list) and all(isinstance(item, NUMBERS) for item in expected):
        return _array_difference(_array(answer), _array(expected), whole)
    if isinstance(expected, list):
        return _list_difference(answer, expected, whole)
    if isinstance(expected, dict):
        return _table_difference(answer, expected, whole)
    if type(answer) is type(expected) and answer == expected:
        return [], ""
    return [], f"{_shown(answer)}, expected {_shown(expected)}"


def _list_difference(answer: Any, expected: list[Any], whole: bool) -> tuple[list[str], str]:
    if isinstance(answer, dict) and isinstance(answer.get("values"), list):
        answer = answer["values"]  # a tensor in the place of a list
    if not isinstance(answer, list) or len(answer) != len(expected):
        count = f"{len(answer)} of them" if isinstance(answer, list) else _shown(answer)
        return [], f"{count}, expected {len(expected)} values"
    for place, (one, other) in enumerate(zip(answer, expected, strict=True)):
        where, found = _found(one, other, whole)
        if found:
            return [f"in value {place + 1}", *where], found
    return [], ""


def _table_difference(answer: Any, expected: dict[str, Any], whole: bool) -> tuple[list[str], str]:
    if not isinstance(answer, dict) or set(answer) != set(expected):
        names = sorted(answer) if isinstance(answer, dict) else _shown(answer)
        return [], f"{names}, expected a dictionary with the keys {sorted(expected)}"
    for key, value in expected.items():
        where, found = _found(answer[key], value, whole)
        if found:
            return [f"in {key!r}", *where], found
    return [], ""


def _array(value: Any) -> np.ndarray | None:
    """The numbers of a plain tensor, number or nested list; None for anything else, ragged lists included."""
    try:
        array = np.asarray(_bare(value))
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    if array.size == 0:
        array = array.astype(np.float64)
    return array if array.dtype.kind in "biuf" else None


def _bare(value: Any) -> Any:
    """The numbers of tensors, which may stand in lists; None in the place of what has none."""
    if isinstance(value, list):
        return [_bare(item) for item in value]
    return value.get("values") if isinstance(value, dict) else value


def _array_difference(
    answer: np.ndarray | None, expected: np.ndarray | None, whole: bool
) -> tuple[list[str], str]:
    assert expected is not None, "an answer of ours is always plain"
    if answer is None:
        return [], f"not a tensor of numbers, expected one of shape {expected.shape}"
    if answer.shape != expected.shape:
        return [], f"shape {answer.shape}, expected {expected.shape}"
    kinds = _kind(answer), _kind(expected)
    if answer.size and kinds[0] != kinds[1] and not (whole and kinds == ("whole", "real")):
        return [], f"{kinds[0]} numbers, expected {kinds[1]} ones"
    near = np.isclose(answer, expected, rtol=RTOL, atol=ATOL, equal_nan=True)
    if near.all():
        return [], ""
    place = tuple(int(i) for i in np.argwhere(~near)[0])
    counted = f" ({(~near).sum()} of {near.size} differ)" if near.size > 1 else ""
    found = f"{answer[place]:.6g}, expected {expected[place]:.6g}{counted}"
    if len(place) < 2:
        return [], f"at {list(place)} {found}" if place else found
    front = [f"in {list(place[:-2])}"] if len(place) > 2 else []
    return [*front, f"row {place[-2]}", f"column {place[-1]}"], found


def _kind(array: np.ndarray) -> str:
    return {"b": "boolean", "f": "real"}.get(array.dtype.kind, "whole")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
