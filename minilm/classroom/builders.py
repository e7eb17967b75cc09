"""Writes a lab's packages: what students get, and what the teacher or the teacher's server gets.

Both come from the lab's one folder. The student's part holds no line of a solution and none of the hidden cases.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from minilm import files
from minilm.classroom import notebooks
from minilm.classroom.book import FILE, Book, public_part, write_book
from minilm.classroom.handout import handout
from minilm.classroom.lab import DATA, part, stub
from minilm.classroom.marking import CORE_SHARE
from minilm.classroom.runner import ROOT

SETUP = """#!/usr/bin/env bash
# Once per image: Python and what the marking needs, in versions that were tested. The marking itself needs no network.
set -euo pipefail
home="${HOME_OF_GRADER:-/autograder}"
if ! python3 -c 'import venv, ensurepip, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-pip python3-venv
fi
python3 -m venv "$home/venv"
pip=("$home/venv/bin/python" -m pip install --no-cache-dir -c "$home/source/constraints.txt")
"${pip[@]}" ${TORCH_INDEX---index-url https://download.pytorch.org/whl/cpu} torch
"${pip[@]}" numpy hyperopt matplotlib jinja2
chmod -R go-rwx "$home/source" # where a kernel has no Landlock, too, the cases are root's alone
"""
RUN = """#!/usr/bin/env bash
# Marks the one submission in $HOME_OF_GRADER/submission and writes results/results.json.
set -euo pipefail
home="${{HOME_OF_GRADER:-/autograder}}"
python="$home/venv/bin/python"
[ -x "$python" ] || python=python3
cd "$home/source"
PYTHONPATH="$home/source" "${{PYTHON:-$python}}" -m minilm.classroom grade "$home/submission" --single \\
    --cases "$home/source/{file}" --gradescope "$home/results/results.json"
"""
DOCKERFILE = """# The marking as an image. It was never built by us, who have no Docker; its steps were run by hand.
#   docker build -t marking .
#   docker run --rm --network none -v "$PWD/submissions:/submissions:ro" -v "$PWD/marks:/marks" \\
#       marking grade /submissions --cases {file} --out /marks/first
FROM python:3.12-slim
ENV HOME_OF_GRADER=/autograder PYTHONPATH=/autograder/source PYTHONDONTWRITEBYTECODE=1
ADD autograder.zip /tmp/
RUN python3 -m zipfile -e /tmp/autograder.zip /autograder/source && bash /autograder/source/setup.sh
WORKDIR /autograder/source
ENTRYPOINT ["/autograder/venv/bin/python", "-m", "minilm.classroom"]
"""
NEEDED = ("torch", "numpy", "hyperopt", "matplotlib", "jinja2")

NBGRADER = """c = get_config()
c.CourseDirectory.course_id = "minilm"
c.ExecutePreprocessor.timeout = 60
"""
CAUTION = """
The tool runs students' cells in a process that can do whatever you can. Where you cannot trust them, mark the same
notebooks with `python -m minilm.classroom grade FOLDER --cases cases.json`, which confines them.
"""
HOW_NBGRADER = f"""# nbgrader

```sh
nbgrader generate_assignment {{lab}}
nbgrader autograde {{lab}}
nbgrader generate_feedback {{lab}}
nbgrader export
```

Run them in this folder. `release/{{lab}}/` then holds what students get (or give them the `student` folder, whose gaps
name the tasks); put their notebooks into `submitted/NAME/{{lab}}/{{lab}}.ipynb` before the second line. `hidden.json`
has all cases and stays here: a release does not show it, feedback tells the titles of its cases and how answers differ.
{CAUTION}"""
HOW_OTTER = f"""# otter

```sh
otter assign {{lab}}.ipynb dist
otter run -a dist/autograder/*.zip NOTEBOOK
```

`dist/student` holds what students get (or give them the `student` folder); the zip in `dist/autograder` goes to
Gradescope, or marks one notebook here. otter-grader needs its extra `grading`.
{CAUTION}"""


def build(book: Book, format_: str, out: Path) -> list[Path]:
    """Writes `out/student` and `out/teacher` in one of FORMATS; `out` must be new or empty. Returns all files."""
    files.new_folder(out)
    student, teacher = files.make_folder(out / "student"), files.make_folder(out / "teacher")
    write_book(public_part(book), student / FILE)
    _data(book, student)
    _teacher(book, teacher)
    FORMATS[format_](book, student, teacher)
    return sorted(path for path in out.rglob("*") if path.is_file())


def _data(book: Book, folder: Path) -> None:
    if book.lab.data is not None:
        files.write_text(folder / DATA, json.dumps(book.lab.data) + "\n")


def _student_files(book: Book, folder: Path) -> None:
    files.write_text(folder / "handout.md", handout(book.lab))
    files.write_text(folder / f"{book.lab.name}.py", stub(book.lab))
    files.write_text(folder / f"test_{book.lab.name}.py", public_test(book))


def _teacher(book: Book, folder: Path) -> None:
    lab = book.lab
    for name in ("solution.py", "wrong.py", "alternatives.py"):
        files.write_text(folder / name, part(lab, name))
    files.write_text(folder / "notes.md", notes(book))
    write_book(book, folder / FILE)


def public_test(book: Book) -> str:
    """The student's test file. It can be run in the teacher's folder too, where cases.json has all cases."""
    lab = book.lab
    names = {"module": lab.name, "test_file": f"test_{lab.name}.py", "first_task": lab.tasks[0].name}
    return _template("student_test").format(comparing=_template("comparing"), **names)


def notebook_check(book: Book) -> str:
    """What the cells of a notebook ask for points."""
    first = book.lab.tasks[0].name
    return _template("notebook_check").format(
        comparing=_template("comparing"), first_task=first, core=CORE_SHARE
    )


def _template(name: str) -> str:
    return (Path(__file__).parent / f"{name}.py.txt").read_text(encoding="utf-8")


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


def _pytest(book: Book, student: Path, teacher: Path) -> None:
    """All cases as tests of the reference: rename a submission over it, and they are tests of the submission."""
    _student_files(book, student)
    files.write_text(teacher / f"{book.lab.name}.py", part(book.lab, "solution.py"))
    files.write_text(teacher / f"test_{book.lab.name}.py", public_test(book))


def _gradescope(book: Book, student: Path, teacher: Path) -> None:
    """autograder.zip: the marking program itself without any lab, the cases, the two scripts that are
    asked for and a Dockerfile for the same image elsewhere."""
    _student_files(book, student)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "setup.sh", SETUP, executable=True)
        _add(archive, "constraints.txt", _tested_versions())
        _add(archive, "run_autograder", RUN.format(file=FILE, lab=book.lab.name), executable=True)
        _add(archive, FILE, (teacher / FILE).read_text(encoding="utf-8"))
        for path in sorted((ROOT / "minilm").rglob("*")):
            if path.suffix in (".py", ".j2", ".txt") and "labs" not in path.parts:
                _add(archive, path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    files.write_bytes(teacher / "autograder.zip", buffer.getvalue())

    files.write_text(teacher / "Dockerfile", DOCKERFILE.format(file=FILE))


def _tested_versions() -> str:
    """The versions that the tests ran with: the checkout's list, or what is installed here."""
    listed = ROOT / "constraints.txt"
    if listed.is_file():
        return listed.read_text(encoding="utf-8")
    return "".join(f"{name}=={version(name).partition('+')[0]}\n" for name in NEEDED)


def _notebook(book: Book, student: Path) -> None:
    files.write_text(student / "handout.md", handout(book.lab, notebook=True))
    files.write_json(student / f"{book.lab.name}.ipynb", notebooks.student(book.lab))
    files.write_text(student / "check.py", notebook_check(book))


def _nbgrader(book: Book, student: Path, teacher: Path) -> None:
    """A course folder: `nbgrader generate_assignment` and `nbgrader autograde` run in it as it is."""
    _notebook(book, student)
    name = book.lab.name
    source = files.make_folder(teacher / "course" / "source" / name)
    files.write_json(source / f"{name}.ipynb", notebooks.nbgrader(book.lab))
    files.write_text(source / "check.py", notebook_check(book))
    write_book(public_part(book), source / FILE)
    _data(book, source)
    write_book(book, teacher / "course" / notebooks.HIDDEN)
    files.write_text(teacher / "course" / "nbgrader_config.py", NBGRADER)
    files.write_text(teacher / "course" / "README.md", HOW_NBGRADER.format(lab=name))


def _otter(book: Book, student: Path, teacher: Path) -> None:
    """The master notebook with what it needs beside it, for `otter assign`."""
    _notebook(book, student)
    folder = files.make_folder(teacher / "otter")
    files.write_json(folder / f"{book.lab.name}.ipynb", notebooks.otter(book.lab))
    files.write_text(folder / "check.py", notebook_check(book))
    write_book(public_part(book), folder / FILE)
    _data(book, folder)
    write_book(book, folder / notebooks.HIDDEN)
    files.write_text(folder / "README.md", HOW_OTTER.format(lab=book.lab.name))


def _add(archive: zipfile.ZipFile, name: str, text: str, executable: bool = False) -> None:
    entry = zipfile.ZipInfo(name)  # with a fixed date, so that the same lab gives the same bytes
    entry.external_attr = (0o755 if executable else 0o644) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, text)


FORMATS: dict[str, Callable[[Book, Path, Path], None]] = {
    "pytest": _pytest,
    "nbgrader": _nbgrader,
    "otter": _otter,
    "gradescope": _gradescope,
}
