"""Writes all files of the package, so that a crash can never leave half of one behind.

A whole file goes to a temporary neighbour, is flushed to the disk and renamed over the old one; a log grows
by one checksummed line at a time. A reader gets the old content or the new, or a `RunError` that names
the file. This file knows nothing of what the bytes mean, and it never unpickles.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minilm.errors import RunError, StorageError

if TYPE_CHECKING:
    from torch import Tensor

TEMPORARY = ".partial"  # suffix of files being written
LOCK = ".lock"
JSON_LIMIT = 64 * 2**20  # bytes; no file of ours comes near, so a larger one is not ours


@contextmanager
def _storage_errors(path: Path, size: int) -> Iterator[None]:
    """Turns the system's refusal to write into one sentence about `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageError(
                f"cannot write {path}: the disk is full or the file too large, {size:,} bytes needed and "
                f"{_free(path):,} free; the previous file is untouched, free some space and resume"
            ) from error
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; choose another folder"
        ) from error


def _free(path: Path) -> int:
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return 0


def write_bytes(path: str | Path, data: bytes) -> None:
    """Replaces `path` by `data` at once: after a crash the file is wholly old or wholly new."""
    write_chunks(path, [data], len(data))


def write_chunks(path: str | Path, chunks: Iterable[bytes], size: int) -> None:
    """`write_bytes` for what does not fit in memory: `chunks` in a row, `size` bytes in all."""
    path = Path(path)
    temporary = path.with_name(path.name + TEMPORARY)
    with _storage_errors(path, size):
        try:
            with temporary.open("wb") as file:
                file.writelines(chunks)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """A rename survives a power cut once its folder is on the disk too. Windows has no such call."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: str | Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Readable JSON; NaN and infinity are refused, since other readers would refuse them."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """The value in a JSON file of ours; a damaged or foreign file raises `RunError`."""
    path = Path(path)
    try:
        if path.stat().st_size > JSON_LIMIT:
            raise RunError(f"{path} is not a file of ours: JSON is at most {JSON_LIMIT:,} bytes here")
        return _parse(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, RunError):
            raise
        reason = error.strerror if isinstance(error, OSError) else "damaged, not valid JSON"
        raise RunError(f"cannot read {path}: {reason}; restore it or choose another folder") from error


def _parse(data: bytes) -> Any:
    return json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def append_record(path: str | Path, record: dict[str, Any]) -> None:
    """Adds one record to a log, on the disk before this returns. The line ends with its own CRC-32."""
    path = Path(path)
    body = json.dumps(record, ensure_ascii=False, allow_nan=False)
    line = f"{body}\t{zlib.crc32(body.encode('utf-8')):08x}\n".encode()
    with _storage_errors(path, len(line)), path.open("ab") as file:
        before = file.tell()
        try:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        except OSError:  # half a line must not stand in front of the next one
            os.truncate(path, before)
            raise


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """The records of a log. A torn last line (a crash in mid-write) is cut off; other damage is an error."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; choose another folder") from error
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    return [_record(path, number, line) for number, line in enumerate(whole.splitlines(), start=1)]


def _record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    body, _, checksum = line.rpartition(b"\t")
    try:
        if int(checksum, 16) == zlib.crc32(body):
            return _parse(body)
    except (ValueError, RecursionError):
        pass
    raise RunError(f"{path} is damaged in line {number}: its checksum does not match; restore it from a copy")


def write_tensors(path: str | Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """A safetensors file whose header also holds a checksum of names, shapes, bytes and the header itself.

    safetensors alone does not notice a flipped bit; ours do, and other readers see one more header key.
    """
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"format": "pt", **header}
    write_bytes(path, save(plain, metadata={**header, "sha256": _tensor_digest(plain, header)}))


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """`(tensors, header)` of a safetensors file; a checksum, where there is one, must match.

    The bytes are read once: a training beside this may rename a new file into the place of the old one at any moment.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = Path(path).read_bytes()
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing; choose a folder with a finished run") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(
            f"cannot read {path}: not a whole safetensors file ({error}); restore it from a copy"
        ) from error
    checksum = header.pop("sha256", None)
    if checksum is not None and checksum != _tensor_digest(tensors, header):
        raise RunError(f"{path} is damaged: its checksum does not match; restore it from a copy")
    return tensors, header


def _tensor_digest(tensors: dict[str, Tensor], header: dict[str, str]) -> str:
    import torch

    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def new_folder(path: str | Path) -> Path:
    """An empty folder for a run, created with its parents; a folder that holds anything is refused."""
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise StorageError(
            f"cannot make the folder {path}: a file of that name is there; choose another --out"
        )
    if path.is_dir() and any(path.iterdir()):
        raise StorageError(f"the folder {path} is not empty; choose another --out, or --resume it")
    make_folder(path)
    with _storage_errors(path, 0):
        probe = path / f"write-test{TEMPORARY}"  # a read-only folder should fail now, not after the training
        probe.touch()
        probe.unlink()
    return path


def make_folder(path: str | Path) -> Path:
    """The folder, made with its parents where it is missing."""
    path = Path(path)
    with _storage_errors(path, 0):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps a second process out of a folder of ours. The system frees the lock of a process that died."""
    if os.name != "posix":  # no flock there; two processes in one folder are on their own
        yield
        return
    import fcntl

    with _storage_errors(folder / LOCK, 0):
        lock = (folder / LOCK).open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(f"{folder} is being written by another process; wait for it or stop it") from error
        yield
