"""Changes the disk: every file of the package is made, filled, renamed and deleted here, one small operation at a time.

A whole file goes to a temporary neighbour, is flushed and renamed over the old one; a log grows at its end. Nothing is
written through a symbolic link, whoever has put it there. Tests watch the operations, and fail or crash at any single
one (WATCHERS). This file knows bytes and paths; what the bytes mean, `files` knows.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from minilm.errors import ConfigError, RunError, StorageError

TEMPORARY = ".partial"  # suffix of files being written
LOCK = ".lock"
BEGUN = ("tokenizer.json", "held_out.safetensors", "place.json")  # written before what makes a folder a run
TAIL = 2**16  # bytes at the end of a log in which its last line end is looked for at first
# Called before each operation with its kind, its path and what it brings (bytes, or the new name). Empty but in tests.
WATCHERS: list[Callable[[str, Path, Any], None]] = []
HELD: dict[Path, os.stat_result] = {}  # the folders that this process writes in, with their locks
KEPT: dict[Path, set[str]] = {}  # and the names of ours in them without which they would be worth little
NEEDED = {
    "config.json",
    "model.safetensors",
    "metrics.jsonl",
    "study.json",
    "trials.jsonl",
    "marks.jsonl",
    *BEGUN,
}


def announce(kind: str, path: Path, more: Any = b"") -> None:
    for watcher in WATCHERS:
        watcher(kind, path, more)


@contextmanager
def storage(path: Path, size: int = 0) -> Iterator[None]:
    """Turns the system's refusal to write into one sentence about `path`."""
    try:
        yield
    except OSError as error:
        raise _refusal(path, size, error) from error
    except ValueError as error:  # a NUL in the path
        if isinstance(error, (ConfigError, RunError, StorageError)):
            raise
        raise ConfigError(
            f"a path must be one that the system takes, got {str(path)!r} ({error}); choose another"
        ) from error


def _refusal(path: Path, size: int, error: OSError) -> ConfigError | StorageError:
    number = error.errno
    if number == errno.ENAMETOOLONG:
        name = f"{path.name[:40]}... of {len(path.name)} characters, in a path of {len(str(path))}"
        return ConfigError(
            f"a name must be one that this disk can hold, 255 bytes as a rule, got {name}; choose a shorter one"
        )
    if number == errno.EISDIR:
        return ConfigError(
            f"the file to write must not be a folder, got {path}, which is one; give another name"
        )
    if number in (errno.ENOTDIR, errno.EEXIST):
        return ConfigError(
            f"{path} must be made in a folder, and something else has its name or one above it; choose another"
        )
    why, advice = (
        f"{error.strerror or error}",
        "choose another folder, or mend this one and run the command again",
    )
    if number == errno.ENOENT:
        why = "its folder is gone, or takes no files"
        advice = "put it back and run the command again, or choose another"
    elif number == errno.EFBIG:
        why = f"{size:,} bytes are more than a file may have here"
        advice = "raise the limit of this shell (ulimit -f) or take another disk; what was there is untouched"
    elif number in (errno.ENOSPC, errno.EDQUOT):
        full = "the disk is full" if number == errno.ENOSPC else "your share of the disk is full"
        why = f"{full}, {size:,} bytes needed and {_free(path):,} free"
        advice = "free some space and run the command again, or resume; what was there is untouched"
    elif number == errno.ELOOP:
        why, advice = "it is a symbolic link, and none is followed", "delete the link"
    return StorageError(f"cannot write {path}: {why}; {advice}")


def _free(path: Path) -> int:
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return 0


def opened(path: Path, flags: int) -> int:
    """A descriptor of a file that is no link; pipes and devices are refused without waiting for them."""
    extra = sum(getattr(os, name, 0) for name in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"))
    descriptor = os.open(path, flags | extra, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no plain file")
    return descriptor


def read(path: str | Path, most: int, first: int = -1) -> bytes:
    """The content of a file of ours, `most` bytes at the most, or its `first` ones.

    Raises RunError for what is missing, larger, or no plain file, and StorageError where the disk fails.
    """
    path = Path(path)
    try:
        announce("read", path)
        wait = getattr(os, "O_NONBLOCK", 0) | getattr(
            os, "O_BINARY", 0
        )  # a pipe would wait for its writer for ever
        with os.fdopen(os.open(path, os.O_RDONLY | wait), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise RunError(
                    f"cannot read {path}: it must be a plain file, and is a pipe or a device; remove it"
                )
            if status.st_size > most:
                raise RunError(
                    f"{path} is not a file of ours: it must have at most {most:,} bytes, got {status.st_size:,}; "
                    "restore it from a copy"
                )
            return file.read(first)
    except OSError as error:
        if error.errno == errno.EIO:
            raise StorageError(
                f"cannot read {path}: the disk fails ({error.strerror}); copy what is whole to another disk"
            ) from error
        if isinstance(error, FileNotFoundError):
            raise RunError(f"{path} is missing; restore it from a copy, or choose another folder") from error
        reason = error.strerror or str(error)
        raise RunError(
            f"cannot read {path}: {reason}; restore it from a copy, or choose another folder"
        ) from error
    except ValueError as error:
        if isinstance(error, (RunError, StorageError)):
            raise
        raise RunError(
            f"a path must be one that the system takes, got {str(path)!r} ({error}); choose another"
        ) from error


def replace(path: str | Path, chunks: Iterable[bytes | memoryview], size: int) -> None:
    """Puts `chunks`, `size` bytes in all, in the place of `path`; after a crash it is wholly old or wholly new."""
    path = Path(path)
    still_ours(path)
    _refuse_special(path)
    # a name of its own for each writer, so that two of one file cannot mix
    temporary = path.with_name(f"{path.name[:100]}.{secrets.token_hex(4)}{TEMPORARY}")
    with storage(path, size):
        try:
            announce("create", temporary)
            with os.fdopen(opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
                for chunk in chunks:
                    announce("write", temporary, chunk)
                    file.write(chunk)
                file.flush()
                announce("sync", temporary)
                os.fsync(file.fileno())
            announce("rename", temporary, path)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                announce("delete", temporary)
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
        _remember(path)


def _remember(path: Path) -> None:
    if path.name in NEEDED:
        KEPT.get(path.absolute().parent, set()).add(path.name)


def _refuse_special(path: Path) -> None:
    """A device, a pipe, a link or a folder at that place is somebody's, and would be gone."""
    with storage(path), suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ConfigError(
                f"what is written must be a new file or take the place of a plain one, got {path}, which is none; "
                "choose another name"
            )


def sync_folder(folder: Path) -> None:
    """A new name survives a power cut once its folder is on the disk too. Windows has no such call."""
    announce("sync folder", folder)
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def append(path: str | Path, line_after: Callable[[bytes], bytes]) -> None:
    """Adds a line to a log, on the disk before this returns; half a line at its end, left by a crash, is cut off first.

    `line_after` makes it from the line that is the last one now, b"" where there is none.
    """
    path = Path(path)
    still_ours(path)
    with storage(path):
        new = not path.exists()
        announce("append", path)
        with os.fdopen(opened(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "r+b", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            end, last = _last_line(file.fileno(), size)
            line = line_after(last)
            try:
                if end < size:
                    announce("truncate", path, end)
                    file.truncate(end)
                announce("write", path, line)
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                announce("sync", path)
                os.fsync(file.fileno())
            except OSError as error:  # half a line must not stand in front of the next one
                with suppress(OSError):
                    file.truncate(end)
                raise _refusal(path, len(line), error) from error
        if new:
            sync_folder(path.parent)
            _remember(path)


def _last_line(descriptor: int, size: int) -> tuple[int, bytes]:
    """Where the last whole line of a file ends, and that line."""
    length = min(TAIL, size)
    while True:
        os.lseek(descriptor, size - length, os.SEEK_SET)
        tail = os.read(descriptor, length)
        end = tail.rfind(b"\n") + 1
        start = tail.rfind(b"\n", 0, max(end - 1, 0)) + 1
        if length == size or start:
            return size - length + end, tail[start:end]
        length = min(8 * length, size)


def delete(path: Path) -> None:
    """Deletes a file or a link, never what a link points to; nothing where there is none."""
    with storage(path):
        announce("delete", path)
        KEPT.get(path.absolute().parent, set()).discard(path.name)
        path.unlink(missing_ok=True)


def delete_folder(path: Path) -> None:
    """Deletes a folder of ours and all in it; nothing where there is none. What others hold open on Windows stays."""
    with storage(path):
        for parent, folders, names in os.walk(path, topdown=False):
            for name in (*names, *folders):
                one = Path(parent, name)
                announce("delete", one)
                with suppress(FileNotFoundError, PermissionError):
                    if name in names or one.is_symlink():
                        one.unlink()
                    elif not any(one.iterdir()):
                        one.rmdir()
        with suppress(FileNotFoundError):
            if not any(path.iterdir()):
                path.rmdir()


def copy_folder(source: Path, target: Path) -> Path:
    """Puts a copy of a folder of plain files in the place of `target`; after a crash it is whole or not there."""
    still_ours(target)
    begun = target.with_name(f".{target.name}-copied")
    delete_folder(begun)  # of a copy that a crash has ended
    make_folder(begun)
    for path in sorted(source.iterdir()):
        data = path.read_bytes()
        replace(begun / path.name, [data], len(data))
    delete_folder(target)
    with storage(target):
        announce("rename", begun, target)
        begun.rename(target)
        sync_folder(target.parent)
    return target


def make_folder(path: str | Path) -> Path:
    """The folder, made with its parents where it is missing."""
    path = Path(path)
    with storage(path):
        if not path.is_dir():
            announce("folder", path)
            path.mkdir(parents=True, exist_ok=True)
    return path


def refuse_used(path: str | Path, name: str = "out") -> None:
    """ConfigError for a place where no new folder can be made, since something is there; `name` is what asked for it.

    What a crash has left there before the first file was complete does not count: temporary files, a lock, and beside a
    lock what is written before the configuration, which makes a folder a run (BEGUN).
    """
    if str(path) == "":
        raise ConfigError(f"{name} must have a name, got ''; give the folder that is to be made")
    path = Path(path)
    with storage(path):
        path.is_symlink()  # here a name that is too long is told
        there = path.is_dir()
        if not there and (path.exists() or path.is_symlink()):
            raise ConfigError(
                f"{name} must be a new folder, got {path}, where a file of that name is; choose another"
            )
        if above := next((one for one in path.parents if one.exists() and not one.is_dir()), None):
            raise ConfigError(
                f"{name} must be made in a folder, got {path}, and {above} is none; choose another"
            )
        inside = sorted(path.iterdir()) if there else []
        begun = {LOCK, *BEGUN} if any(one.name == LOCK for one in inside) else set()
        if any(one.name not in begun and one.suffix != TEMPORARY for one in inside):
            ours = any(one.name in ("config.json", "study.json") for one in inside)
            raise ConfigError(
                f"{name} must be a new folder, got {path}, which is not empty; choose another"
                + ", or resume what is there" * (ours and name == "out")
            )


def refuse_replacing(path: str | Path, endings: Sequence[str], name: str) -> None:
    """ConfigError for a place where one file of a kind cannot be written: another kind, or none, is there."""
    path = Path(path)
    _refuse_special(path)
    with storage(path):
        if path.exists() and path.suffix.lower() not in endings:
            raise ConfigError(
                f"{name} must be a new file or end in {endings[0]}, got {path}, which is there; choose another"
            )
        if not path.absolute().parent.is_dir():
            raise ConfigError(f"{name} must be in a folder that is there, got {path}; make the folder first")


def new_folder(path: str | Path) -> Path:
    """An empty folder, made with its parents; one that holds anything is refused, see `refuse_used`."""
    refuse_used(path)
    path = make_folder(path)
    with storage(path):
        probe = path / f"write-test{TEMPORARY}"  # a read-only folder should fail now, not after the training
        delete(probe)
        announce("create", probe)
        os.close(opened(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        delete(probe)
    return path


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps a second process out of a folder of ours, and links out of what is written there.

    The system frees the lock of a process that died. What a crash has left half written is deleted.
    """
    _refuse_links(folder)
    path, key = folder / LOCK, folder.absolute()
    with storage(path):
        announce("lock", path)
        lock = opened(
            path, os.O_RDWR | os.O_CREAT
        )  # not cut to nothing: it could be anything, in a folder from elsewhere
    try:
        _lock(lock, folder)
        HELD[key], KEPT[key] = os.fstat(lock), set()
        try:
            for left in folder.rglob(f"*{TEMPORARY}"):
                delete(left)
            KEPT[key] = {name for name in NEEDED if (folder / name).is_file()}
            yield
        finally:
            HELD.pop(key, None)
            KEPT.pop(key, None)
    finally:
        os.close(lock)


def _lock(lock: int, folder: Path) -> None:
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            raise StorageError(
                f"cannot lock {folder}: {error.strerror}; choose a folder on a disk that has locks"
            ) from error
        raise RunError(f"{folder} is being written by another process; wait for it or stop it") from error


def _refuse_links(folder: Path) -> None:
    """RunError for a folder with links: from elsewhere, they may lead to files of its receiver."""
    with storage(folder):
        for parent, folders, files in os.walk(folder):
            for name in (*folders, *files):
                if (link := Path(parent, name)).is_symlink():
                    raise RunError(
                        f"a folder that is written in must hold no symbolic links, got {link}; put the "
                        "file itself there"
                    )


def still_ours(path: Path) -> None:
    """Ends the work in a folder that was deleted, wholly or in part, or moved away while this process writes there."""
    for folder in path.absolute().parents:
        if (lock := HELD.get(folder)) is None:
            continue
        with suppress(OSError):
            now = os.stat(folder / LOCK)
            whole = all(os.path.lexists(folder / name) for name in tuple(KEPT[folder]))
            if (now.st_dev, now.st_ino) == (lock.st_dev, lock.st_ino) and whole:
                continue
        raise StorageError(
            f"cannot write {path}: {folder} was moved or deleted, wholly or in part, since this began; put it back and "
            "resume, or begin anew"
        )
