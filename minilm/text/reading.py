"""Reads text files carefully: looks before it opens, decodes piece by piece, and says exactly what is wrong.

Text is UTF-8 without a byte order mark, its lines end in "\\n", whatever the file had. A folder means its
files of text and code, however deep, in sorted order. Refuses to know tokens, splits and corpora.
"""

from __future__ import annotations

import codecs
import difflib
import errno
import glob
import io
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from minilm.errors import CorpusError, did_you_mean, note, shortened

# What counts as text in a folder; a file named by itself or by a glob may have any.
PROSE = (".txt", ".md", ".markdown", ".rst", ".tex", ".org")
CODE: tuple[str, ...] = (
    ".py",
    ".js",
    ".ts",
    ".jsx",
    ".tsx",
    ".java",
    ".kt",
    ".c",
    ".h",
    ".cc",
    ".cpp",
    ".hpp",
    ".cs",
    ".go",
    ".rs",
)
CODE += (
    ".rb",
    ".php",
    ".swift",
    ".scala",
    ".jl",
    ".r",
    ".lua",
    ".hs",
    ".sql",
    ".sh",
    ".css",
    ".html",
    ".vue",
)
WRAPPED = (
    ".json",
    ".jsonl",
    ".ndjson",
    ".csv",
    ".tsv",
    ".srt",
    ".vtt",
    ".parquet",
)  # minilm.text.formats opens these
SUFFIXES = PROSE + CODE + WRAPPED
TOOLS = ("node_modules", "__pycache__", "venv")  # folders that no person writes, besides those with a dot
CHUNK = 1 << 20  # bytes read at a time
LARGEST = 4 * 2**30  # bytes; a sparse file claims terabytes, and no training here would see the end of it

# the longer ones first: UTF-32 begins as UTF-16 does
MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}

NOT_A_FILE = {
    stat.S_ISFIFO: "a pipe",  # opening one would wait for ever
    stat.S_ISCHR: "a device",  # reading /dev/zero would fill the memory
    stat.S_ISBLK: "a device",
    stat.S_ISSOCK: "a socket",
    stat.S_ISDIR: "a folder",
}


def find_files(where: str, names: Iterable[str] = ()) -> list[Path]:
    """The text files that `where` (a file, a folder or a glob) stands for, sorted and checked.

    `names` are corpus names, which a misspelt path may have meant. `CorpusError` says what is wrong.
    """
    if not where:
        raise CorpusError("a text must have a name, got ''; give a corpus, a file, a folder or a glob")
    path = Path(os.path.expanduser(where))  # Path's own raises where there is no such user
    if _exists(path):
        found = _in_folder(path) if path.is_dir() else [path]
    elif glob.has_magic(where):
        found = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
        found = [match for match in found if not match.is_dir()]
        if not found:
            raise CorpusError(
                f"a pattern must match at least one text file, got {shortened(where)!r}, and no file matches; mend it"
            )
    else:
        told = repr(shortened(where))
        if os.path.islink(path):
            goal = shortened(os.readlink(path))
            raise CorpusError(
                f"a text must be there, got {told}, a symbolic link to {goal!r}, which does not exist; "
                "name the file itself"
            )
        raise CorpusError(
            f"the data must be a file, folder or corpus, got {told}, and none is there; {_suggest(path, names)}"
        )
    for file in found:
        _check(file)
    return found


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except ValueError as error:
        raise CorpusError(f"{str(path)!r} cannot be a path: {error}; give the name of a file") from error
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ENAMETOOLONG):
            return False
        raise CorpusError(_refused(path, error)) from error
    return True


def _refused(path: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return f"a text must be readable, got {path}, whose symbolic links lead in a circle; name the file itself"
    why = error.strerror or error
    return (
        f"a text must be a file that you may read, cannot read {path}, got {why}; mend that or give another"
    )


def _in_folder(folder: Path) -> list[Path]:
    walked = list(_walk(folder))
    found = [path for path in walked if path.name.lower().endswith(SUFFIXES) and not _is_empty(path)]
    others = [path for path in walked if not path.name.lower().endswith(SUFFIXES)]
    if not found:
        raise CorpusError(
            f"a folder must hold {' or '.join('*' + s for s in PROSE)} files, or code, got {folder}, which has none "
            "with text in it; "
            f"name the files with a glob such as '{folder / '*.log'}'"
        )
    if empty := len(walked) - len(found) - len(others):
        note(f"of the folder {folder} {empty} files are empty and left out")
    if others:
        first = min(others)
        note(
            f"of the folder {folder} {len(found)} files are read and {len(others)} left out, such as {first.name}; "
            f"a glob such as '{folder / f'*{first.suffix}'}' would take them"
        )
    return sorted(found)


def _is_empty(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size == 0
    except OSError:  # told when it is opened
        return False


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(
        folder
    ):  # does not follow links to folders, so cannot walk in a circle
        folders[:] = [name for name in folders if not name.startswith(".") and name not in TOOLS]
        yield from (Path(parent) / name for name in files)


def kinds(paths: Iterable[Path]) -> str:
    """How many files of each kind.

    >>> kinds([Path("a.py"), Path("b.png"), Path("c.png")])
    '2 png, 1 py'
    """
    counted = Counter(path.suffix.lower().lstrip(".") or "without an ending" for path in paths)
    shown = [
        f"{count:,} {kind}" for kind, count in sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    ]
    return ", ".join(shown[:6]) + (" and others" if len(shown) > 6 else "")


def left_out(folder: Path, taken: Iterable[Path]) -> list[Path]:
    """The files of a folder that are no part of its text."""
    return sorted(set(_walk(folder)) - set(taken))


def _check(path: Path) -> None:
    """Everything that can be known before opening."""
    try:
        status = path.stat()
    except OSError as error:
        raise CorpusError(_refused(path, error)) from error
    for test, what in NOT_A_FILE.items():
        if test(status.st_mode):
            raise CorpusError(f"a text must be a regular file, got {path}, which is {what}; copy it into one")
    if status.st_size == 0:
        raise CorpusError(
            f"a text must not be empty, got 0 bytes, {path} is empty; choose a file with text in it"
        )
    if status.st_size > LARGEST:
        raise CorpusError(
            f"{path} is too large: at most {LARGEST:,} bytes, got {status.st_size:,}; cut a part out of it"
        )


def _suggest(path: Path, names: Iterable[str]) -> str:
    names = list(names)
    try:
        beside = [neighbour.name for neighbour in path.parent.iterdir()]
    except OSError:
        beside = []
    close = difflib.get_close_matches(path.name, names + beside, n=1)
    return did_you_mean(path.name, names + beside if close else names)


def read_files(paths: Iterable[Path], read: Callable[[Path], Iterator[str]] | None = None) -> Iterator[str]:
    """The text of the files one after the other, in pieces; each file but the last ends with a newline.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "a.txt"
    ...     _ = file.write_bytes(b"one\\r\\ntwo")
    ...     list(read_files([file, file]))
    ['one\\ntwo', '\\n', 'one\\ntwo']
    """
    last = "\n"
    for path in paths:
        if last != "\n":
            yield "\n"
        for piece in (read or read_file)(path):
            yield piece
            last = piece[-1]


def read_file(path: Path) -> Iterator[str]:
    """The text of one file in pieces of about a megabyte, none of them empty."""
    lines = io.IncrementalNewlineDecoder(None, translate=True)  # CRLF and lone CR -> \n, also across pieces
    for piece in _decode(path):
        if text := lines.decode(piece):
            yield text
    if text := lines.decode("", final=True):
        yield text


def _decode(path: Path) -> Iterator[str]:
    pending, offset, line = b"", 0, 1  # the bytes of a character cut in two; offset and line of their start
    for piece in _read(path):
        data = pending + piece
        if offset == 0 and data.startswith(codecs.BOM_UTF8):
            data, offset = data.removeprefix(codecs.BOM_UTF8), len(codecs.BOM_UTF8)
        _refuse_nul(path, data, offset)
        try:
            text, used = codecs.utf_8_decode(data, "strict", not piece)
        except UnicodeDecodeError as error:
            raise CorpusError(_not_utf8(path, data, offset, line, error.start)) from error
        pending, offset, line = data[used:], offset + used, line + data.count(b"\n", 0, used)
        yield text


def _read(path: Path) -> Iterator[bytes]:
    """The file's bytes in pieces, then an empty piece."""
    try:
        with path.open("rb") as file:
            piece = file.read(CHUNK)
            if kind := next((kind for mark, kind in MARKS.items() if piece.startswith(mark)), None):
                raise CorpusError(
                    f"a text must be UTF-8, got {path}, which is {kind}; {_convert(path, kind)}"
                )
            while piece:
                yield piece
                piece = file.read(CHUNK)
            yield b""
    except OSError as error:
        raise CorpusError(_refused(path, error)) from error


def _refuse_nul(path: Path, data: bytes, offset: int) -> None:
    if (spot := data.find(b"\0")) >= 0:
        raise CorpusError(
            f"a text must have no NUL, got {path}, which is binary: byte {offset + spot:,} is NUL; "
            "choose a file of text, in UTF-8"
        )


def _not_utf8(path: Path, data: bytes, offset: int, line: int, spot: int) -> str:
    high = sum(byte > 127 for byte in data) / len(data)
    # Western texts in a one-byte encoding have a few accents, other scripts little else.
    guess = "WINDOWS-1252" if high < 0.3 else "GB18030, SHIFT_JIS, WINDOWS-1251 or whatever it is in"
    line += data.count(b"\n", 0, spot)
    return (
        f"a text must be UTF-8, got {path}, in which byte {offset + spot:,} (0x{data[spot]:02x}) in line {line:,} "
        "is not; "
        f"{_convert(path, guess)}"
    )


def _convert(path: Path, encoding: str) -> str:
    return f"convert it, e.g. iconv -f {encoding} -t UTF-8 {path.name}"
