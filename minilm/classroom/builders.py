"""Writes a lab's packages: what students get, and what the teacher or the teacher's server gets.

Both come from the lab's one folder. The student's part holds no line of a solution and none of the hidden cases.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

from minilm import files
from minilm.classroom.book import FILE, Book, public_part, write_book
from minilm.classroom.handout import handout
from minilm.classroom.lab import part, stub
from minilm.classroom.runner import ROOT

SETUP = """#!/usr/bin/env bash
# Once per image: Python and what the marking needs. The marking itself needs no network.
set -euo pipefail
apt-get update && apt-get install -y python3 python3-pip
python3 -m pip install --break-system-packages numpy matplotlib jinja2 torch
"""
RUN = """#!/usr/bin/env bash
# Marks the one submission in $HOME_OF_GRADER/submission and writes results/results.json.
set -euo pipefail
home="${{HOME_OF_GRADER:-/autograder}}"
cd "$home/source"
PYTHONPATH="$home/source" "${{PYTHON:-python3}}" -m minilm.classroom grade "$home/submission/{lab}.py" \\
    --cases "$home/source/{file}" --gradescope "$home/results/results.json"
"""


def build(book: Book, format_: str, out: Path) -> list[Path]:
    """Writes `out/student` and `out/teacher` in one of FORMATS; `out` must be new or empty. Returns all files."""
    files.new_folder(out)
    student, teacher = files.make_folder(out / "student"), files.make_folder(out / "teacher")
    _student(book, student)
    _teacher(book, teacher)
    FORMATS[format_](book, teacher)
    return sorted(path for path in out.rglob("*") if path.is_file())


def _student(book: Book, folder: Path) -> None:
    lab = book.lab
    files.write_text(folder / "handout.md", handout(lab))
    files.write_text(folder / f"{lab.name}.py", stub(lab))
    files.write_text(folder / f"test_{lab.name}.py", public_test(book))
    write_book(public_part(book), folder / FILE)


def _teacher(book: Book, folder: Path) -> None:
    lab = book.lab
    for name in ("solution.py", "wrong.py", "alternatives.py"):
        files.write_text(folder / name, part(lab, name))
    files.write_text(folder / "notes.md", notes(book))
    write_book(book, folder / FILE)


def public_test(book: Book) -> str:
    """The student's test file. It can be run in the teacher's folder too, where cases.json has all cases."""
    lab = book.lab
    template = (Path(__file__).parent / "student_test.py.txt").read_text(encoding="utf-8")
    return template.format(module=lab.name, test_file=f"test_{lab.name}.py", first_task=lab.tasks[0].name)


def notes(book: Book) -> str:
    """For the teacher: hints, cases and the mistakes that are recognised."""
    parts = [f"# {book.lab.title}: teacher's notes"]
    for page in book.pages:
        task = page.task
        parts += ["", f"## {book.lab.number(task)} {task.name}, {task.points} points", "", "Hints:", ""]
        parts += [f"{level}. {hint}" for level, hint in enumerate(task.hints, start=1)]
        parts += ["", "Cases (p public, e edge):", ""]
        parts += [f"- {case.title}{' p' * case.public}{' e' * case.edge}" for case in task.cases]
        parts += ["", "Mistakes recognised:", ""]
        parts += [f"- {mistake.name.replace('_', ' ')}: {mistake.hint}" for mistake in page.mistakes]
    return "\n".join(parts) + "\n"


def _pytest(book: Book, teacher: Path) -> None:
    """All cases as tests of the reference: rename a submission over it, and they are tests of the submission."""
    files.write_text(teacher / f"{book.lab.name}.py", part(book.lab, "solution.py"))
    files.write_text(teacher / f"test_{book.lab.name}.py", public_test(book))


def _gradescope(book: Book, teacher: Path) -> None:
    """autograder.zip: the marking program itself without any lab, the cases, and the two scripts that are asked for."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "setup.sh", SETUP, executable=True)
        _add(archive, "run_autograder", RUN.format(file=FILE, lab=book.lab.name), executable=True)
        _add(archive, FILE, (teacher / FILE).read_text(encoding="utf-8"))
        for path in sorted((ROOT / "minilm").rglob("*")):
            if path.suffix in (".py", ".j2", ".txt") and "labs" not in path.parts:
                _add(archive, path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    files.write_bytes(teacher / "autograder.zip", buffer.getvalue())


def _add(archive: zipfile.ZipFile, name: str, text: str, executable: bool = False) -> None:
    entry = zipfile.ZipInfo(name)  # with a fixed date, so that the same lab gives the same bytes
    entry.external_attr = (0o755 if executable else 0o644) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, text)


FORMATS: dict[str, Callable[[Book, Path], None]] = {"pytest": _pytest, "gradescope": _gradescope}
