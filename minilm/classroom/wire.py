"""Values of a student's process as plain data and back: tensors, numbers, texts, lists, and Hyperopt's expressions.

It runs on the students' side of the wall, so whatever it makes is checked again on ours (`plain.py`). This file knows
no labs, no tasks and no processes.
"""

from __future__ import annotations

import json
import numbers
from typing import Any

DEEPEST = 20  # levels of lists in an answer
LONGEST_TEXT = 100_000
# what an expression of Hyperopt's may consist of when it is built again: draws, choices and arithmetic
DRAWS = "uniform quniform uniformint loguniform qloguniform normal qnormal lognormal qlognormal randint categorical"
SAFE = set(
    f"{DRAWS} hyperopt_param switch dict pos_args float int add sub mul truediv pow exp log round".split()
)


def to_torch(value: Any, scratch: str) -> Any:
    """Plain data as a student's function receives it; a text "{scratch}/x" names a file in the scratch folder."""
    import torch

    if isinstance(value, dict) and "tensor" in value:
        return torch.tensor(value["values"], dtype=getattr(torch, value["tensor"]))
    if isinstance(value, dict) and "expression" in value:
        return _expression(value["expression"])
    if isinstance(value, dict) and "tuple" in value:
        return tuple(to_torch(item, scratch) for item in value["tuple"])
    if isinstance(value, dict):
        return {key: to_torch(item, scratch) for key, item in value.items()}
    if isinstance(value, list):
        return [to_torch(item, scratch) for item in value]
    return value.replace("{scratch}", scratch) if isinstance(value, str) else value


def to_plain(value: Any, depth: int = 0, exact: bool = False) -> Any:
    """A student's answer as plain data; TypeError for what is neither tensor, number, text, list nor dictionary.

    `exact` tells a tuple from a list, for values that a function of another process will receive.
    """
    import torch

    if depth > DEEPEST:
        raise TypeError(f"the answer is nested more than {DEEPEST} levels deep")
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
        return {"tensor": str(value.dtype).removeprefix("torch."), "values": value.tolist()}
    if isinstance(value, (list, tuple, range)):
        inner = [to_plain(item, depth + 1, exact) for item in value]
        return {"tuple": inner} if exact and isinstance(value, tuple) else inner
    if isinstance(value, dict):
        return {str(key): to_plain(item, depth + 1, exact) for key, item in value.items()}
    if hasattr(value, "tolist"):  # numpy
        return (
            {"tensor": str(getattr(value, "dtype", "")), "values": value.tolist()}
            if getattr(value, "ndim", 1)
            else value.tolist()
        )
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return value[:LONGEST_TEXT]
    if isinstance(value, numbers.Real):  # fractions and the like
        return float(value)
    if hasattr(value, "pos_args") and hasattr(value, "named_args"):
        return {"expression": _nodes(value)}
    raise TypeError(f"the answer is a {type(value).__name__}, not a tensor, number, text, list or dictionary")


def _nodes(expression: Any) -> list[dict[str, Any]]:
    """Hyperopt's graph as a list in which every node names the places of those that it needs, all before it."""
    from hyperopt.pyll import dfs

    nodes = dfs(expression)
    places = {id(node): place for place, node in enumerate(nodes)}
    return [
        {"literal": to_plain(node.obj, DEEPEST - 2)}
        if node.name == "literal"
        else {
            "name": node.name,
            "inputs": [places[id(item)] for item in node.pos_args],
            "named": [[name, places[id(item)]] for name, item in node.named_args],
            "length": node.o_len,
            "pure": node.pure,
        }
        for node in nodes
    ]


def _expression(nodes: list[dict[str, Any]]) -> Any:
    """The graph built again, from draws and arithmetic only: an expression of a stranger's could call anything."""
    from hyperopt.pyll.base import Apply, Literal

    made: list[Any] = []
    for node in nodes:
        if "literal" in node:
            made.append(Literal(node["literal"]))
            continue
        if node["name"] not in SAFE:
            raise TypeError(
                f"the space uses {str(node['name'])[:40]!r}, which is no distribution of Hyperopt's"
            )
        inputs = [made[place] for place in node["inputs"]]
        named = [[name, made[place]] for name, place in node["named"]]
        made.append(Apply(node["name"], inputs, named, o_len=node["length"], pure=node["pure"]))
    return made[-1]


def fault(error: BaseException, where: str = "") -> dict[str, Any]:
    """An exception of a student's as data; it may refuse to be shown."""
    try:
        text = str(error)
    except BaseException:
        text = ""
    return {"error": type(error).__name__[:80], "message": (where + text)[:500]}


def line(value: dict[str, Any]) -> bytes:
    """One line of JSON; what cannot be written becomes the error that it raises."""
    try:
        return json.dumps(value).encode() + b"\n"
    except BaseException as error:
        return json.dumps(fault(error)).encode() + b"\n"
