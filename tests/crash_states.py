"""Replays the operations of a disk up to a crash, and gives every state that a file system may be found in afterwards.

A system that loses its power keeps what was flushed. Of the rest it may keep names without their content (*reordered*),
half of a write (*torn*) or nothing (*lost*); a process that is killed loses nothing that was handed over (*killed*).
Names become lasting by a flush of their folder, content by a flush of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minilm import disk

KINDS = ("killed", "lost", "torn", "reordered")


@dataclass
class File:
    """One file: its content as written, and as flushed."""

    written: bytes = b""
    flushed: bytes = b""

    def after(self, kind: str) -> bytes:
        if kind == "killed" or self.written == self.flushed:
            return self.written
        if kind == "torn" and self.written.startswith(self.flushed):  # half of what came since
            return self.written[: (len(self.flushed) + len(self.written) + 1) // 2]
        return self.flushed


@dataclass
class Disk:
    """Names and files of one folder and below, as they are and as they last."""

    now: dict[Path, File] = field(default_factory=dict)
    lasting: dict[Path, File] = field(default_factory=dict)

    def apply(self, kind: str, path: Path, more: Any) -> None:
        if kind == "create":
            self.now[path] = File()
        elif kind == "append":
            self.now.setdefault(path, File())
        elif kind == "write":
            self.now[path].written += bytes(more)
        elif kind == "truncate":
            self.now[path].written = self.now[path].written[:more]
        elif kind == "sync":
            self.now[path].flushed = self.now[path].written
        elif kind == "rename":
            for name in [name for name in self.now if name == path or path in name.parents]:
                self.now[more / name.relative_to(path)] = self.now.pop(name)
        elif kind == "delete":
            self.now.pop(path, None)
        elif kind == "sync folder":
            kept = {name: file for name, file in self.lasting.items() if name.parent != path}
            self.lasting = {**kept, **{name: file for name, file in self.now.items() if name.parent == path}}

    def after(self, kind: str) -> dict[Path, bytes]:
        names = self.lasting if kind == "lost" else self.now
        return {name: file.after(kind) for name, file in names.items()}


class Recorder:
    """A watcher that keeps what happens below a folder; `acknowledged` is what the program knew to be kept by then."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.operations, self.acknowledged = folder, list[tuple[str, Path, Any]](), list[Any]()
        self.known_at: list[int] = []

    def __call__(self, kind: str, path: Path, more: Any) -> None:
        if self.folder in path.parents or path == self.folder:
            more = bytes(more) if isinstance(more, memoryview) else more
            self.operations.append((kind, path, more))
            self.known_at.append(len(self.acknowledged))


def states(recorder: Recorder, every: int = 1) -> Iterator[tuple[int, str, dict[Path, bytes], list[Any]]]:
    """(operations done, kind, files by their path below the folder, what was acknowledged) of each different state."""
    disk_now, seen = Disk(), set()
    known = [*recorder.known_at, len(recorder.acknowledged)]
    for done in range(len(recorder.operations) + 1):
        if done:
            disk_now.apply(*recorder.operations[done - 1])
        if done % every:
            continue
        for kind in KINDS:
            found = disk_now.after(kind)
            key = (tuple(sorted((str(p), d) for p, d in found.items())), known[done])
            if key not in seen:
                seen.add(key)
                files = {path.relative_to(recorder.folder): data for path, data in found.items()}
                yield done, kind, files, recorder.acknowledged[: known[done]]


def lay_out(files: dict[Path, bytes], folder: Path) -> None:
    """Writes a state as a real folder."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    if files and not (folder / disk.LOCK).exists():
        (folder / disk.LOCK).touch()  # the lock is made before all else


def naive_replace(path: Any, chunks: Any, size: int) -> None:
    """What most programs do: open, write, close. It must not pass."""
    path = Path(path)
    disk.announce("create", path)
    with path.open("wb") as file:
        for chunk in chunks:
            disk.announce("write", path, chunk)
            file.write(chunk)


def careless_replace(path: Any, chunks: Any, size: int) -> None:
    """The better known mistake: a rename without a flush before it."""
    path = Path(path)
    temporary = path.with_name(path.name + disk.TEMPORARY)
    disk.announce("create", temporary)
    with temporary.open("wb") as file:
        for chunk in chunks:
            disk.announce("write", temporary, chunk)
            file.write(chunk)
    disk.announce("rename", temporary, path)
    temporary.replace(path)
    disk.sync_folder(path.parent)
