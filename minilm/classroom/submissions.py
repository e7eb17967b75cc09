"""Students' files as text, and which of them lie in a pile. Nothing of theirs is run here.

A pile is a folder or a zip as a learning platform hands it out: files, folders and zips, named by students or by
Moodle and Canvas. A notebook becomes a module: of its cells only imports, definitions and assignments are kept, so that
what a student tried out on the way is not marked. This file knows no tasks and no points.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import stat
import struct
import tokenize
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from minilm.errors import ConfigError

LARGEST_FILE = 1 << 20  # bytes of a submission
LARGEST_ZIP = 64 << 20
MOST_FILES, MOST_FOLDERS, DEEPEST = 500, 1000, 8  # of one student; more is no homework
SUFFIXES = (".py", ".ipynb")
TOOLS = {"check", "otter"}  # what only a notebook's own cells need
MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)_?(?P<file>.*)")
CANVAS = re.compile(r"(?P<name>[^_]+?)(?P<late>_LATE)?_(?P<id>\d+)_\d+_(?P<file>.+)")
COPY = re.compile(
    r"[ _-]*(?:\((\d+)\)|copy|kopie|final|-?\d+)$", re.IGNORECASE
)  # `lab2 (1)`, Canvas's `lab2-1`


# What a damaged zip raises, besides its own error: an impossible date or place, a name, a compression it lacks.
UNREADABLE = (
    OSError,
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
    EOFError,
    IndexError,  # an entry without a name
)


@dataclass(frozen=True)
class Submission:
    """What one student handed in: the file that counts, or the reason why none could be read."""

    student: str
    file: str = ""  # its name, without the teacher's folders
    data: Callable[[], bytes] = field(default=bytes, compare=False)
    notes: tuple[str, ...] = ()
    problem: str = ""
    id: str = ""  # the platform's number of the student
    late: bool = False  # as Canvas says in the file's name


@dataclass(frozen=True)
class _File:
    """A file somewhere in a pile: the names that lead to it, and how to read it."""

    parts: tuple[str, ...]
    data: Callable[[], bytes]
    problem: str = ""

    @property
    def name(self) -> str:
        return self.parts[-1]

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix.lower()


def read_submission(path: Path) -> str:
    """The text of a student's file in UTF-8. Links, pipes, huge and undecodable files: `ConfigError`."""
    data = _read(path, str(path))
    try:
        return _module(data, str(path)) if path.suffix == ".ipynb" else data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {path} as UTF-8 text; save it as UTF-8") from error


def read_noted(found: Path | Submission) -> tuple[str, tuple[str, ...]]:
    """(text, what the student should know about the file); other encodings are read, too, where nothing is lost."""
    found = of_path(found, found.stem) if isinstance(found, Path) else found
    if found.problem:
        raise ConfigError(found.problem)
    data = found.data()
    if len(data) > LARGEST_FILE:
        raise ConfigError(f"{found.file} is {len(data):,} bytes; a submission may have {LARGEST_FILE:,}")
    if found.file.lower().endswith(".ipynb"):
        return _module(data, found.file), found.notes
    text, note = _decoded(data, found.file)
    return text, (*found.notes, *([note] if note else []))


def _read(path: Path, shown: str) -> bytes:
    try:
        kind = path.lstat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read {shown}: {reason}; give the student's file") from error
    if not stat.S_ISREG(kind.st_mode):
        raise ConfigError(
            f"a submission must be a plain file, got {shown}, which is none; give the file itself"
        )
    if kind.st_size > LARGEST_FILE:
        raise ConfigError(f"{shown} is {kind.st_size:,} bytes; a submission may have {LARGEST_FILE:,}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {shown}: {error.strerror}; give the student's file") from error


def _decoded(data: bytes, name: str) -> tuple[str, str]:
    """(text, a remark): UTF-8, UTF-16, what the file itself declares, or Windows-1252."""
    sixteen = data[:2] in (b"\xff\xfe", b"\xfe\xff") and len(data) > 2 and len(data) % 2 == 0
    if sixteen or data[1:64:2] and not any(data[1:64:2]):
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode("utf-16" if sixteen else "utf-16-le")
            return text, f"{name} is UTF-16, as PowerShell writes it; save it as UTF-8"
    with contextlib.suppress(UnicodeDecodeError):
        return data.decode("utf-8-sig"), ""
    with contextlib.suppress(SyntaxError, UnicodeDecodeError, LookupError):
        declared = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
        return data.decode(declared), ""
    text = data.decode("cp1252", "replace")
    if not _plain_code(text):
        raise ConfigError(f"cannot read {name} as UTF-8 text; save it as UTF-8")
    return text, f"{name} was read as Windows-1252, since it is not UTF-8; save it as UTF-8"


def _plain_code(text: str) -> bool:
    """Whether all that is not ASCII stands in comments and strings, where a wrong guess changes no name."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return False
    words = {tokenize.COMMENT, tokenize.STRING} | {getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    return all(token.string.isascii() or token.type in words for token in tokens)


def _module(notebook: bytes, name: str) -> str:
    """The definitions in a notebook's code cells, one cell after another; cells that are no Python are left out."""
    try:
        cells = json.loads(notebook)["cells"]
        texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"cannot read {name} as a notebook; save it again as .ipynb") from error
    kept = [part for text in texts for part in _kept(text)]
    first = [part for part in kept if part.startswith("from __future__")]  # Python wants them at the top
    return "\n\n".join(dict.fromkeys([*first, *kept]) if first else kept)


def _kept(cell: str) -> list[str]:
    lines = [
        "pass" if line.lstrip()[:1] in ("%", "!") and line[:1] != " " else line for line in cell.splitlines()
    ]
    text = "\n".join(lines)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [_text(text, node) for node in tree.body if _defines(node)]


def _text(text: str, node: ast.stmt) -> str:
    """The statement as the student wrote it; a deep one could not be written anew from its tree."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.decorator_list:
        return "\n".join(text.split("\n")[node.decorator_list[0].lineno - 1 : node.end_lineno])
    return str(ast.get_source_segment(text, node))


def _defines(node: ast.stmt) -> bool:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)]
        return not TOOLS & {name.split(".")[0] for name in names}
    if isinstance(node, (ast.Try, ast.If)):  # `try: import x except ImportError: x = None`
        inner = [*node.body, *node.orelse]
        return any(isinstance(one, (ast.Import, ast.ImportFrom)) for one in inner) and all(
            map(_defines, inner)
        )
    kinds = (ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.Pass)
    return isinstance(node, kinds) and not isinstance(node, ast.Pass) and not _asks_a_tool(node)


def _asks_a_tool(node: Any) -> bool:
    """`grader = otter.Notebook(...)` and the like."""
    return isinstance(node, ast.Assign) and any(
        isinstance(part, ast.Name) and part.id in TOOLS for part in ast.walk(node.value)
    )


def collect(pile: Path, lab: str = "lab") -> dict[str, Submission]:
    """Students and what they handed in, from a folder or a zip: `NAME.py`, `NAME.zip`, `NAME/` with such a file in it
    at any depth, or names of Moodle's and Canvas's; .ipynb too. Whatever lies there appears, if only as a problem."""
    if not pile.exists():
        raise ConfigError(f"{pile} does not exist; give the file or the folder with the submissions")
    if not pile.is_dir() and not zipfile.is_zipfile(pile):
        raise ConfigError(f"{pile} is not a folder; give the folder that holds the submissions")
    groups: dict[str, list[_File]] = {}
    ids: dict[str, str] = {}
    late: set[str] = set()
    for file in _top(pile):
        student, platform, name, is_late = _student(file)
        if platform and ids.setdefault(student, platform) != platform:  # two of one name
            student = f"{student} ({platform})"
            ids[student] = platform
        if is_late:
            late.add(student)
        groups.setdefault(student, []).append(replace(file, parts=(*file.parts[:-1], name)))
    found = {}
    for student in sorted(groups):
        one = _chosen(student, groups[student], lab)
        if one:
            found[student] = replace(one, id=ids.get(student, ""), late=student in late)
    if not found:
        raise ConfigError(
            f"a pile must hold NAME.py files or NAME folders with one, got {pile}, which holds no submissions; "
            "give another"
        )
    return found


def collect_one(folder: Path, lab: str = "lab") -> dict[str, Submission]:
    """A folder that is one student's, as Gradescope gives it: the file that counts, whatever it is called."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; give the folder with one student's files")
    parts = [
        list(_of_one(Path(entry.path), ("",), entry.is_dir(follow_symlinks=False)))
        for entry in _listed(folder)
    ]
    inside = [file for files in parts for file in files if file.name]
    if not inside:
        raise ConfigError(f"{folder} holds no files; expected one student's")
    found = _chosen("the student", inside, lab) or Submission("student", problem="nothing was handed in")
    return {"student": replace(found, student="student")}


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    return [entry for entry in entries if not entry.name.startswith((".", "_"))]


def _student(file: _File) -> tuple[str, str, str, bool]:
    """(student, the platform's number, the file's name, whether it is late) by the first name on the way to it."""
    top, alone = file.parts[0], len(file.parts) == 1
    for pattern in (MOODLE, CANVAS):
        if match := pattern.fullmatch(top):
            name = match["file"] if alone and match["file"] else file.name
            return match["name"], match["id"], name, bool(match.groupdict().get("late"))
    return (file.stem or file.name) if alone else top, "", file.name, False


def _top(pile: Path) -> Iterator[_File]:
    """All files of a pile. A zip at its top is a student's own folder, unless the pile itself is that zip."""
    if not pile.is_dir():
        try:
            yield from _in_zip(lambda: pile, ())
        except UNREADABLE as error:
            raise ConfigError(
                f"the submissions must be a folder or a whole zip, got {pile}, which cannot be read ({error}); "
                "download it again"
            ) from error
        return
    for entry in _listed(pile):
        files = list(_of_one(Path(entry.path), (), entry.is_dir(follow_symlinks=False)))
        yield from files
        if not files:
            yield _File((_readable(entry.name), ""), bytes, "it is an empty folder, no plain file is in it")


def _readable(name: str) -> str:
    """A file's name as text: bytes that are no UTF-8 come from an old Windows; composed as one types it (NFC)."""
    try:
        text = name.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError:
        text = name.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    except UnicodeEncodeError:
        text = name.encode("utf-8", "replace").decode()
    return unicodedata.normalize("NFC", text)


def _of_one(path: Path, parts: tuple[str, ...], folder: bool) -> Iterator[_File]:
    """The files of one student, no more than a homework has."""
    return islice(_below(path, parts, folder, iter(range(MOST_FOLDERS))), MOST_FILES)


def _below(path: Path, parts: tuple[str, ...], folder: bool, steps: Iterator[int]) -> Iterator[_File]:
    parts = (*parts, _readable(path.name))
    if path.is_symlink():
        yield _File(parts, bytes, "it is a link and not a plain file")
    elif folder and len(parts) > DEEPEST:
        yield _File(parts, bytes, f"its folders are more than {DEEPEST} deep")
    elif folder and next(steps, None) is None:
        yield _File(parts, bytes, f"it has more than {MOST_FOLDERS:,} folders")
    elif folder:
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError as error:
            yield _File(parts, bytes, f"its folder cannot be read: {error.strerror}")
            return
        for entry in entries[:MOST_FILES]:
            if not entry.name.startswith((".", "__")):
                yield from _below(Path(entry.path), parts, entry.is_dir(follow_symlinks=False), steps)
    elif path.suffix.lower() == ".zip" and path.is_file():
        yield from _zip_of(path, (*parts[:-1], parts[-1][:-4]))
    else:
        yield _File(parts, lambda: _read(path, _readable(path.name)))


def _zip_of(path: Path, parts: tuple[str, ...]) -> Iterator[_File]:
    try:
        size = path.lstat().st_size
        inside = list(islice(_in_zip(lambda: path, parts), MOST_FILES)) if size <= LARGEST_ZIP else []
        problem = "the zip is too large" if size > LARGEST_ZIP else "the zip is empty, no plain file is in it"
    except UNREADABLE as error:
        inside, problem = [], f"the zip cannot be read ({error}); make it again"
    yield from inside
    if not inside:
        yield _File((*parts, path.name), bytes, problem)


def _in_zip(source: Callable[[], Path | bytes], parts: tuple[str, ...], depth: int = 0) -> Iterator[_File]:
    """The files in a zip and in zips in it. Nothing of it is kept: whoever reads a file opens the zip again."""
    with _opened(source) as archive:
        entries = archive.infolist()[: MOST_FILES if parts else None]
    unpacked = 0  # bytes of zips in it
    for entry in entries:
        name = entry.filename if entry.flag_bits & 0x800 else _old_name(entry.filename)
        inner = tuple(_readable(part) for part in name.split("/") if part not in ("", ".", ".."))
        hidden = any(part.startswith((".", "__")) for part in inner)  # __MACOSX and the like
        if entry.is_dir() or hidden or not inner:
            continue
        whole, packed = (*parts, *inner), inner[-1].lower().endswith(".zip") and depth < 2
        unpacked = (unpacked if parts else 0) + entry.file_size * packed
        if entry.flag_bits & 1:
            yield _File(whole, bytes, "the zip has a password; make it without one")
        elif stat.S_ISLNK(entry.external_attr >> 16):
            yield _File(whole, bytes, "it is a link and not a plain file")
        elif packed and unpacked > LARGEST_ZIP:
            yield _File(whole, bytes, "the zips in the zip are too large")
        elif packed:
            with contextlib.suppress(*UNREADABLE, ConfigError):
                again = partial(_unzipped, source, entry, LARGEST_ZIP)
                yield from islice(_in_zip(again, (*whole[:-1], inner[-1][:-4]), depth + 1), MOST_FILES)
        elif entry.file_size > LARGEST_FILE:
            text = f"{inner[-1]} is {entry.file_size:,} bytes; a submission may have {LARGEST_FILE:,}"
            yield _File(whole, bytes, text)
        else:
            yield _File(whole, partial(_unzipped, source, entry, LARGEST_FILE + 1))


def _opened(source: Callable[[], Path | bytes]) -> zipfile.ZipFile:
    found = source()
    return zipfile.ZipFile(io.BytesIO(found) if isinstance(found, bytes) else found)


def _unzipped(source: Callable[[], Path | bytes], entry: zipfile.ZipInfo, most: int) -> bytes:
    """A file of a zip; what the zip says of its size need not be true."""
    try:
        with _opened(source) as archive, archive.open(entry) as file:
            return file.read(most)
    except Exception as error:
        raise ConfigError(f"{entry.filename} in the zip cannot be read ({error}); make it again") from error


def _old_name(name: str) -> str:
    """A zip's name without the mark of UTF-8 was read as cp437; most such zips hold UTF-8 or Windows-1252 anyway."""
    raw = name.encode("cp437", "replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return name


def _chosen(student: str, files: list[_File], lab: str) -> Submission | None:
    """The file that counts, and a remark where there were several; None where nothing looks like homework at all."""
    able = [file for file in files if file.suffix in SUFFIXES and not file.problem and not _is_tool(file)]
    if not able:
        troubled = [file for file in files if file.problem]
        if troubled:
            return Submission(student, troubled[0].name, problem=f"{student}: {troubled[0].problem}")
        if len(files[0].parts) == 1:  # a text or a picture at the top of the pile is nobody's homework
            return Submission(
                student, files[0].name, problem=f"{files[0].name} is no .py, .ipynb or .zip file"
            )
        names = ", ".join(sorted(file.name for file in files)[:5])
        return Submission(
            student, problem=f"no plain file of {student}'s ends in .py or .ipynb, only {names}; hand in one"
        )
    ranks = sorted((_rank(file, lab), file.parts, place) for place, file in enumerate(able))
    best = able[ranks[0][2]]
    equal = [able[place] for rank, _, place in ranks if rank == ranks[0][0]]
    if len(equal) > 1 and len({file.data() for file in equal}) > 1:
        names = ", ".join("/".join(file.parts[1:]) or file.name for file in equal[:5])
        problem = f"which plain file of {student}'s counts is not clear: {names}; keep one, named {lab}.py"
        return Submission(student, problem=problem)
    others = [file for file in able if file is not best]
    note = f"{_short(best)} was marked, not {', '.join(map(_short, others[:4]))}" if others else ""
    return Submission(student, best.name, best.data, (note,) if note else ())


def _short(file: _File) -> str:
    return "/".join(file.parts[1:]) or file.name


def _is_tool(file: _File) -> bool:
    return file.stem in TOOLS or file.stem[:5] == "test_" or file.stem in ("conftest", "setup")


def _rank(file: _File, lab: str) -> tuple[int, int, int]:
    """The lower, the likelier: the lab's own name, that name with (1) behind it, anything that begins with lab; the
    highest number of a download; and .py before .ipynb, since that is what the handout asks for."""
    copy = COPY.search(file.stem)
    bare = COPY.sub("", file.stem).casefold()
    number = int(copy[1]) if copy and copy[1] else 0
    kind = 0 if file.stem.casefold() == lab else 1 if bare == lab else 2 if bare.startswith("lab") else 3
    return (1 if number and kind == 1 else kind, SUFFIXES.index(file.suffix), -number)


def of_path(path: Path, student: str) -> Submission:
    """One file as a submission; it is read when it is marked."""
    return Submission(student, path.name, lambda: _read(path, path.name))


def by_path(found: Mapping[str, Path]) -> dict[str, Submission]:
    """Students' single files as submissions."""
    return {name: of_path(path, name) for name, path in found.items()}
