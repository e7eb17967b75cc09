"""Writes and reads what the package keeps on the disk, JSON, logs and tensors, so that a crash leaves no half of one.

A reader gets the old content or the new, or a `RunError` that names the file; it writes nothing and never unpickles.
How bytes get to the disk is `disk`'s; this file knows nothing of what they mean.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minilm import disk
from minilm.disk import LOCK as LOCK
from minilm.disk import TEMPORARY as TEMPORARY
from minilm.disk import copy_folder as copy_folder
from minilm.disk import delete as delete
from minilm.disk import delete_folder as delete_folder
from minilm.disk import held as held
from minilm.disk import make_folder as make_folder
from minilm.disk import new_folder as new_folder
from minilm.disk import refuse_replacing as refuse_replacing
from minilm.disk import refuse_used as refuse_used
from minilm.errors import MinilmError, RunError, shortened

if TYPE_CHECKING:
    from torch import Tensor

JSON_LIMIT = 2**24  # bytes; no file of ours comes near, so a larger one is not ours
VOCABULARY_LIMIT = 2**26  # bytes of a tokenizer, with up to a million pieces
LOG_LIMIT = 2**28
TENSOR_LIMIT = 2**36
SEAL = "sha256"  # the key under which a JSON file of ours, or the header of tensors, holds its own checksum


def write_bytes(path: str | Path, data: bytes) -> None:
    """Replaces `path` by `data` at once: after a crash the file is wholly old or wholly new."""
    disk.replace(path, [data], len(data))


def write_chunks(path: str | Path, chunks: Iterable[bytes], size: int) -> None:
    """`write_bytes` for what does not fit in memory: `chunks` in a row, `size` bytes in all."""
    disk.replace(path, chunks, size)


def write_text(path: str | Path, text: str) -> None:
    """UTF-8; what no UTF-8 can be, as parts of a path that is none, becomes its number."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | Path, value: Any, sealed: bool = False) -> None:
    """Readable JSON; NaN and infinity are refused, since other readers would refuse them.

    A `sealed` dict also holds a checksum of itself, so that `read_json` notices a changed digit.
    """
    if sealed:
        value = {**value, SEAL: seal(json.loads(_dumped(value)))}
    write_bytes(path, f"{_dumped(value, indent=2)}\n".encode())


def seal(value: Any) -> str:
    """The checksum of what JSON holds, however it is laid out.

    >>> seal({"a": 1, "b": [2.5]}) == seal({"b": [2.5], "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _dumped(value: Any, **options: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, **options)
    if text.isascii():
        return text
    try:
        text.encode()
        return text
    except UnicodeEncodeError:  # a path that is not UTF-8; escaped, it comes back as it was
        return json.dumps(value, allow_nan=False, **options)


def read_json(path: str | Path, most: int = JSON_LIMIT, sealed_with: str | None = None) -> Any:
    """The value in a JSON file of ours, without its seal; a damaged or foreign file raises `RunError`.

    `sealed_with` is a key that has never been written without a seal; older files may be without both.
    """
    try:
        value = _parse(disk.read(path, most))
    except (ValueError, RecursionError) as error:
        if isinstance(error, MinilmError):
            raise
        raise RunError(f"cannot read {path}: damaged, not valid JSON; restore it from a copy") from error
    checksum = value.pop(SEAL, None) if isinstance(value, dict) else None
    lost = checksum is None and isinstance(value, dict) and sealed_with in value
    if checksum is not None and checksum != seal(value) or lost or _has_lost_its_seal(value):
        raise RunError(
            f"{path} must be as it was written, and was changed or is damaged: its checksum does not match; "
            "restore it from a copy"
        )
    return value


def _has_lost_its_seal(value: Any) -> bool:
    """Whether a checksum of all the rest stands under another key, as one flipped bit makes it."""
    found = value.items() if isinstance(value, dict) else ()
    suspects = [key for key, inner in found if isinstance(inner, str) and len(inner) == 64]
    return any(value[key] == seal({k: v for k, v in found if k != key}) for key in suspects)


def _parse(data: bytes) -> Any:
    return json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def append_record(path: str | Path, record: dict[str, Any]) -> None:
    """Adds one record to a log, on the disk before this returns.

    The line ends with the CRC-32 of itself and, by that one's checksum, of all lines before it: none can be lost.
    """
    body = _dumped(record).encode()
    disk.append(path, lambda last: b"%b\t%08x\n" % (body, zlib.crc32(body, _checksum(last))))


def _checksum(line: bytes) -> int:
    """The one at the end of a line; 0 without one, where a chain begins."""
    try:
        return int(line.rstrip(b"\n").rpartition(b"\t")[2], 16) & 0xFFFFFFFF
    except ValueError:
        return 0


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """The records of a log. Half a line at its end (a crash) does not count; other damage is a RunError."""
    data = disk.read(path, LOG_LIMIT)
    records, before, chained = [], 0, False
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), start=1):
        body, checksum = line.rpartition(b"\t")[0], _checksum(line)
        linked = checksum == zlib.crc32(body, before)
        # older logs have lines that know nothing of each other; one that begins a chain ends that
        if not body or not (linked or (not chained and checksum == zlib.crc32(body))):
            raise RunError(
                f"{path} is damaged in line {number}, or has lost lines before it: its checksum does not match; "
                "restore it from a copy"
            )
        chained, before = chained or (linked and before != 0), checksum
        try:
            records.append(_parse(body))
        except (ValueError, RecursionError) as error:
            raise RunError(f"{path} is damaged in line {number}: no JSON; restore it from a copy") from error
        if not isinstance(records[-1], dict):
            raise RunError(
                f"{path} must hold a record in line {number}, got something else; restore it from a copy"
            )
    return records


def log_mark(path: str | Path, count: int | None = None) -> list[Any]:
    """How many lines a log has, or as many of them as `count`, and the checksum of the last one, which covers all.

    Whoever keeps it can tell later that none was lost.
    """
    lines = disk.read(path, LOG_LIMIT).splitlines() if Path(path).exists() else []
    lines = lines if count is None else lines[:count]
    return [len(lines), f"{_checksum(lines[-1]):08x}" if lines else ""]


def first_records(path: str | Path, count: int) -> None:
    """Keeps so many records of a log and drops the others."""
    lines = disk.read(path, LOG_LIMIT).splitlines(keepends=True)
    write_bytes(path, b"".join(lines[:count]))


def write_tensors(path: str | Path, tensors: dict[str, Tensor], header: dict[str, str]) -> str:
    """A safetensors file whose header also holds a checksum of names, shapes, bytes and the header itself; returns it.

    safetensors alone does not notice a flipped bit; ours do, and other readers see one more header key. The same
    tensors and header make the same file: the library would write the header's keys in another order each time.
    """
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"format": "pt", **header}
    checksum = _tensor_digest(plain, header)
    data = memoryview(save(plain, metadata={**header, SEAL: checksum}))
    start = 8 + int.from_bytes(data[:8], "little")
    contents = json.loads(bytes(data[8:start]))
    contents["__metadata__"] = dict(sorted(contents["__metadata__"].items()))
    text = json.dumps(contents, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # what follows must lie at a multiple of eight
    disk.replace(
        path, [len(text).to_bytes(8, "little"), text, data[start:]], 8 + len(text) + len(data) - start
    )
    return checksum


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """`(tensors, header)` of a safetensors file; a checksum, where there is one, must match.

    The bytes are read once: a training beside this may rename a new file into the place of the old one at any moment.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = disk.read(path, TENSOR_LIMIT)
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
    except (
        SafetensorError,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
        RecursionError,
        MemoryError,
    ) as error:
        raise RunError(
            f"cannot read {path}: not a whole safetensors file ({error}); restore it from a copy"
        ) from error
    checksum = header.pop(SEAL, None)
    if checksum is not None and checksum != _tensor_digest(tensors, header):
        raise RunError(f"{path} is damaged: its checksum does not match; restore it from a copy")
    return tensors, header


def read_header(path: str | Path) -> dict[str, str]:
    """The header of a safetensors file, without the tensors."""
    length = int.from_bytes(disk.read(path, TENSOR_LIMIT, 8), "little")
    try:
        header = json.loads(disk.read(path, TENSOR_LIMIT, 8 + min(length, JSON_LIMIT))[8:]).get(
            "__metadata__", {}
        )
    except (ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, MinilmError):
            raise
        raise RunError(f"cannot read {path}: not a whole safetensors file; restore it from a copy") from error
    return header if isinstance(header, dict) else {}


def _tensor_digest(tensors: dict[str, Tensor], header: dict[str, str]) -> str:
    import torch

    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


LARGEST = 1e300  # no number of ours comes near


def misfit(value: Any, shape: Any, name: str = "") -> str | None:
    """Where a value from a JSON file is not of the shape that it must have, in words; None where it fits.

    A shape is int, float, str, None, a tuple of alternatives, a list with the shape of every item, or a dict with the
    shapes of its keys, of which those with a question mark may be missing; other keys may hold anything.

    >>> misfit({"a": 1, "c": [2.5, True]}, {"a": int, "b?": str, "c": [float]}, "it")
    'it.c[1] must be a number, got True'
    """
    if isinstance(shape, tuple):
        faults = [misfit(value, one, name) for one in shape]
        return None if None in faults else faults[-1]
    got = f"got {shortened(repr(value), 40)}"
    if isinstance(shape, dict) and isinstance(value, dict):
        for key, inner in shape.items():
            bare = key.removesuffix("?")
            if bare not in value and bare == key:
                return f"{name}.{bare} must be there, and is missing"
            if bare in value and (fault := misfit(value[bare], inner, f"{name}.{bare}")):
                return fault
        return None
    if isinstance(shape, list) and isinstance(value, list):
        return next(filter(None, (misfit(v, shape[0], f"{name}[{k}]") for k, v in enumerate(value))), None)
    if shape in (int, float):
        kind, words = (int, "a whole number") if shape is int else ((int, float), "a number")
        good = isinstance(value, kind) and not isinstance(value, bool) and abs(value) < LARGEST
        return None if good else f"{name} must be {words}, {got}"
    if shape is str:
        return None if isinstance(value, str) else f"{name} must be a text, {got}"
    if shape is None:
        return None if value is None else f"{name} must be null, {got}"
    return f"{name} must be {'an object' if isinstance(shape, dict) else 'a list'}, {got}"


def check_shape(path: str | Path, value: Any, shape: Any) -> None:
    """RunError where the content of a file is not of this shape, see `misfit`."""
    if fault := misfit(value, shape, "its content"):
        raise RunError(f"{path} is not as this package writes it: {fault}; restore it from a copy")


CONFIG, METRICS = "config.json", "metrics.jsonl"  # of a run
BEST = "best"  # a study's folder holds its best run under this name
TOKENIZER, TOKENIZER_FORMAT = "tokenizer.json", "minilm-tokenizer"  # says in a folder how text became numbers


def write_tokenizer(folder: str | Path, kind: str, fields: dict[str, Any]) -> None:
    """Writes `folder/tokenizer.json`, making the folder where needed."""
    content = {"format": TOKENIZER_FORMAT, "kind": kind, **fields}
    write_json(make_folder(folder) / TOKENIZER, content, sealed=True)


def read_tokenizer(folder: str | Path, kind: str | None = None) -> dict[str, Any]:
    """The fields of `folder/tokenizer.json`, "kind" among them; RunError where it is not of ours or of that kind."""
    path = Path(folder) / TOKENIZER
    fields = read_json(path, VOCABULARY_LIMIT)
    if not isinstance(fields, dict) or fields.get("format") != TOKENIZER_FORMAT:
        got = fields.get("format") if isinstance(fields, dict) else type(fields).__name__
        raise RunError(
            f'{path} must be a tokenizer of ours, of "format" "{TOKENIZER_FORMAT}", got {got!r}; restore it from a copy'
        )
    if kind is not None and fields.get("kind") != kind:
        raise RunError(
            f"{path} must be of kind {kind!r}, got {fields.get('kind')!r}; "
            "minilm.text.tokenizers.load_tokenizer reads every kind"
        )
    return fields


def is_there(path: str | Path, name: str = "") -> bool:
    """Whether there is something at `path`, or the file `name` in it; of a name that no system takes there is not."""
    try:
        return (Path(path) / name).is_file() if name else Path(path).exists()
    except (OSError, ValueError):
        return False


def run_folder(path: str | Path) -> Path:
    """The folder of the run at `path`: itself, or the best run of the study that it is."""
    path, advice = (
        Path(path) if str(path) else Path("''"),
        "give the folder that a training printed at its end",
    )
    try:
        if path.exists() and not path.is_dir():
            raise RunError(f"a run must be a folder, got {path}, which is a file; {advice}")
        if not path.is_dir():
            raise RunError(
                f"a run must be a folder, got {shortened(str(path))}, which does not exist; {advice}"
            )
        for folder in (path, path / BEST):
            if (folder / CONFIG).is_file():
                if folder != path and folder.is_symlink():
                    raise RunError(
                        f"{folder} must be a folder of its own, and is a symbolic link; give what it links to"
                    )
                return folder
    except OSError as error:
        raise RunError(
            f"a run must be a folder that one can look into, got {shortened(str(path))}: {error.strerror}; {advice}"
        ) from error
    except ValueError as error:
        if isinstance(error, RunError):
            raise
        raise RunError(
            f"a run must be a folder with a possible name, got {str(path)!r} ({error}); {advice}"
        ) from error
    raise RunError(f"a run must hold {CONFIG}, got {shortened(str(path))}, which is not a run; {advice}")
