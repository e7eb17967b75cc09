"""Students' files as text, and which of them lie in a pile. Nothing of theirs is run here.

A notebook becomes a module: of its cells only imports, definitions and assignments are kept, so that what a student
tried out on the way is not marked. This file knows no tasks and no points.
"""

from __future__ import annotations

import ast
import json
import stat
from pathlib import Path
from typing import Any

from minilm.errors import ConfigError

LARGEST_FILE = 1 << 20  # bytes of a submission
SUFFIXES = (".py", ".ipynb")
TOOLS = {"check", "otter"}  # what only a notebook's own cells need


def read_noted(path: Path) -> tuple[str, tuple[str, ...]]:
    """`read_submission`, and what the student should know about the file."""
    return read_submission(path), ()


def read_submission(path: Path) -> str:
    """The text of a student's file. Links, pipes, huge and undecodable files: `ConfigError`."""
    try:
        kind = path.lstat()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; give the student's file") from error
    if not stat.S_ISREG(kind.st_mode):
        raise ConfigError(f"{path} is not a plain file; give the student's file itself")
    if kind.st_size > LARGEST_FILE:
        raise ConfigError(f"{path} is {kind.st_size:,} bytes; a submission may have {LARGEST_FILE:,}")
    try:
        data = path.read_bytes()
        return _module(data, path) if path.suffix == ".ipynb" else data.decode("utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"cannot read {path} as UTF-8 text; save it as UTF-8") from error


def _module(notebook: bytes, path: Path) -> str:
    """The definitions in a notebook's code cells, one cell after another; cells that are no Python are left out."""
    try:
        cells = json.loads(notebook)["cells"]
        texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"cannot read {path} as a notebook; save it again as .ipynb") from error
    return "\n\n".join(filter(None, map(_kept, texts)))


def _kept(cell: str) -> str:
    lines = [
        "pass" if line.lstrip()[:1] in ("%", "!") and line[:1] != " " else line for line in cell.splitlines()
    ]
    try:
        tree = ast.parse("\n".join(lines))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    return "\n\n".join(ast.unparse(node) for node in tree.body if _defines(node))


def _defines(node: ast.stmt) -> bool:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)]
        return not TOOLS & {name.split(".")[0] for name in names}
    kinds = (ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    return isinstance(node, kinds) and not _asks_a_tool(node)


def _asks_a_tool(node: Any) -> bool:
    """`grader = otter.Notebook(...)` and the like."""
    return isinstance(node, ast.Assign) and any(
        isinstance(part, ast.Name) and part.id in TOOLS for part in ast.walk(node.value)
    )


def collect(folder: Path) -> dict[str, Path]:
    """Students and their files in a pile: `NAME.py`, or `NAME/` with one such file in it; .ipynb too."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; give the folder that holds the submissions")
    found: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith((".", "_")) or entry.is_symlink():
            continue
        if entry.is_dir():
            found[entry.name] = _only_file(entry)
        elif entry.suffix in SUFFIXES:
            found[entry.stem] = entry
    if not found:
        raise ConfigError(f"{folder} holds no submissions; expected NAME.py files or NAME folders with one")
    return found


def _only_file(folder: Path) -> Path:
    """A student's one file; the folder itself where there are several or none, which then cannot be read."""
    inside = [
        path
        for path in folder.iterdir()
        if path.suffix in SUFFIXES and path.stem not in TOOLS and path.stem[:5] != "test_"
    ]
    named = [path for path in inside if path.name.startswith("lab")] if len(inside) > 1 else inside
    return named[0] if len(named) == 1 else folder
