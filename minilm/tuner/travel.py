"""Sends a leg of a trial to a machine that shares no disk with this one: its files go along as bytes.

A leg is a function of one task that reads the checkpoint `task.start`, a file or a folder, and writes the folder
`task.out`. On the other machine it finds the one and fills the other in a temporary folder, so that the function
itself knows nothing of the journey. This file knows neither the engine that carries the bytes nor what a leg computes.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import minilm
from minilm import files
from minilm.text.corpora import load_described
from minilm.text.sources import CORPORA, cache_folder

Luggage = dict[str, bytes]  # path below a folder -> content


@dataclass(frozen=True)
class Parcel:
    """A call's arguments, the first of which is the task, and what they need on the way."""

    task: Any
    others: tuple[Any, ...] = ()
    start: Luggage = field(default_factory=dict)
    text: bytes | None = None  # where the machine does not have it


def version() -> str:
    """What every machine must have; also shows that it can import this package at all."""
    return minilm.__version__


def luggage(path: Path) -> Luggage:
    """A file, or all files in a folder and below; nothing where there is neither. Locks stay at home.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.txt").write_text("once")
    ...     luggage(Path(folder)), luggage(Path(folder, "a.txt")), luggage(Path(folder, "b"))
    ({'a.txt': b'once'}, {'a.txt': b'once'}, {})
    """
    if path.is_file():
        return {path.name: path.read_bytes()}
    found = sorted(inner for inner in path.rglob("*") if inner.is_file() and inner.name != files.LOCK)
    return {inner.relative_to(path).as_posix(): inner.read_bytes() for inner in found}


def unpack(packed: Luggage, folder: Path) -> None:
    """Writes the files into `folder`, each of them whole or not at all."""
    for name, data in packed.items():
        path = folder / name
        files.make_folder(path.parent)
        files.write_bytes(path, data)


def pack(task: Any, *others: Any, with_text: bool) -> Parcel:
    """The call as it leaves. `with_text` for a machine that may not have the text of its corpus yet."""
    start = getattr(task, "start", None)
    files_of_start = {} if start is None else luggage(Path(start))
    return Parcel(task, others, files_of_start, text_of(task) if with_text else None)


def text_of(task: Any) -> bytes | None:
    """The user's own text, if the task is about one; a corpus with a name comes with the package."""
    description = _corpus(task)
    if description is None or description["source"]["path"] in CORPORA:
        return None
    return _text(json.dumps(description, sort_keys=True))


def _corpus(task: Any) -> dict[str, Any] | None:
    """The description of a task's corpus; what prepares a worker is given the description itself."""
    found = task if isinstance(task, Mapping) else getattr(task, "corpus", None)
    return dict(found) if isinstance(found, Mapping) and "source" in found else None


@lru_cache(maxsize=1)  # a study has one text
def _text(description: str) -> bytes:
    return load_described(json.loads(description)).text.encode("utf-8")


def run_there(function: Callable[..., Any], parcel: Parcel) -> tuple[Any, Luggage]:
    """On the other machine: the function's answer, and the files that it left in `out`."""
    with tempfile.TemporaryDirectory(prefix="minilm-") as home:
        task = _with_text(_at_home(parcel.task, parcel.start, Path(home)), parcel.text)
        answer = function(task, *parcel.others)
        out = getattr(task, "out", None)
        return answer, {} if out is None else luggage(Path(out))


def _at_home(task: Any, start: Luggage, home: Path) -> Any:
    """The task with this machine's folders in place of the sender's."""
    if getattr(task, "start", None) is not None:
        unpack(start, home / "start")
        inside = home / "start" / Path(task.start).name
        task = dataclasses.replace(task, start=str(inside if inside.is_file() else home / "start"))
    if getattr(task, "out", None) is not None:
        task = dataclasses.replace(task, out=str(home / "out"))
    return task


def _with_text(task: Any, text: bytes | None) -> Any:
    """The task with the path at which its text is here: the user's own is kept in the cache, by its sha256."""
    description = _corpus(task)
    if description is None or description["source"]["path"] in CORPORA:
        return task
    source = description["source"]
    path = cache_folder() / "texts" / f"{source['sha256']}.txt"
    if text is not None and not path.is_file():
        unpack({path.name: text}, path.parent)
    if not path.is_file():
        return task  # the loader's own sentence says what is missing, unless the disk is shared after all
    here = {**description, "source": {**source, "path": str(path)}}
    return here if isinstance(task, Mapping) else dataclasses.replace(task, corpus=here)
