"""The notebooks that the labs become: marked by nbgrader and otter as a course marks them, and read by `grade`."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minilm.classroom import notebooks
from minilm.classroom.book import Book, public_part, write_book
from minilm.classroom.builders import build, notebook_check
from minilm.classroom.lab import lab_names, load_lab, part, variants
from minilm.classroom.marking import mark, reached
from minilm.classroom.submissions import read_submission
from minilm.errors import ConfigError

ONLY = {
    name: f"{name} is not installed (a notebook tool, not needed by minilm)" for name in ("nbgrader", "otter")
}


def needs(tool: str):
    return pytest.mark.skipif(importlib.util.find_spec(tool) is None, reason=ONLY[tool])


def texts(notebook: dict[str, Any], kind: str = "code") -> list[str]:
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def filled(notebook: dict[str, Any], source: str) -> dict[str, Any]:
    """A student's notebook with the functions of `source`, which go into the first cell that defines nothing."""
    notebook = json.loads(json.dumps(notebook))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and cell["metadata"].get("nbgrader", {}).get("solution"):
            cell["source"] = ["# " + cell["source"][0]]
            last = cell
    last["source"] = source.replace("from __future__ import annotations\n", "").splitlines(keepends=True)
    notebook["cells"].remove(last)  # all functions at once, before anything is checked
    notebook["cells"].insert(1, last)
    return notebook


def wrong(task: str, name: str) -> str:
    lab = load_lab("lab2")
    variant = next(v for v in variants(lab, "wrong.py") if (v.task, v.name) == (task, name))
    return variant.module(part(lab, "solution.py"))


WARNS = "import sys, warnings\nwarnings.warn('careful')\n"
SUBMITTED = {  # what a student hands in -> points of 20
    "anna": (part(load_lab("lab2"), "solution.py"), 20),
    "bert": (wrong("causal_mask", "strict"), 18),
    "carl": (None, 0),  # the notebook as it was given
    "dora": (
        part(load_lab("lab2"), "solution.py").replace(
            "return q @", f"{'import sys; print(1, file=sys.stderr)'}\n    return q @"
        ),
        20,
    ),
}


def run(folder: Path, *command: str) -> str:
    """A tool of the interpreter's own environment; its whole output where it fails."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment |= {"JUPYTER_PLATFORM_DIRS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def submitted(book: Book, name: str) -> dict[str, Any]:
    source, _ = SUBMITTED[name]
    return filled(notebooks.student(book.lab), source) if source else notebooks.student(book.lab)


@pytest.mark.parametrize("name", lab_names())
def test_notebooks_hold_what_the_lab_holds(name):
    lab = load_lab(name)
    given = "\n".join(texts(notebooks.student(lab)))
    assert "SOLUTION" not in given and given.count("NotImplementedError") == len(lab.tasks)
    solved = "\n".join(texts(notebooks.nbgrader(lab)))
    for task in lab.tasks:
        assert f"def {task.name}(" in given and f'check.points("{task.name}"' in solved
    assert compile(given, name, "exec") and compile(solved, name, "exec")
    assert all(compile(text, name, "exec") for text in texts(notebooks.otter(lab)))


def test_the_check_of_a_notebook_marks_as_we_do(book, runner, tmp_path, capsys):
    (tmp_path / "check.py").write_text(notebook_check(book))
    write_book(book, tmp_path / "cases.json")
    spec = importlib.util.spec_from_file_location("check_in_a_notebook", tmp_path / "check.py")
    assert spec and spec.loader
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    solved: dict[str, Any] = {}
    exec(part(book.lab, "solution.py"), solved)
    assert all(check.points(task.name, solved) == task.points for task in book.lab.tasks)
    for variant in variants(book.lab, "wrong.py"):
        source = variant.module(part(book.lab, "solution.py"))
        names: dict[str, Any] = {}
        exec(source, names)
        pages = [p for p in book.pages if variant.task in (p.task.name, *reached(source, p.task.name))]
        marked = mark(
            replace(book, pages=tuple(pages)), source, "s", runner
        )  # the others are the reference's
        ours = {task.name: task for task in marked.tasks}
        for name, task in ours.items():
            assert check.points(name, names) == task.points, (variant.name, name)
        assert f"hint: {ours[variant.task].hint}" in capsys.readouterr().out, variant.name
        with pytest.raises(AssertionError):
            check.demand(variant.task, names)
            for edge in range(sum(case.edge for case in book.lab.task(variant.task).cases)):
                check.demand(variant.task, names, edge=edge)


OFTEN = "lab5"  # the one with a table beside it; the others are marked slow, each needs a book of its own
NAMES = [name if name == OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in lab_names()]


@pytest.mark.parametrize("name", NAMES)
def test_the_solved_notebook_of_a_lab_gets_all_points(name, books, tmp_path, monkeypatch):
    """Its cells in one process, without Jupyter; the students' one fails with the names of its tasks."""
    build(books(name), "nbgrader", tmp_path / "x")
    course = tmp_path / "x" / "teacher" / "course"
    folder = course / "autograded" / "s" / name
    shutil.copytree(course / "source" / name, folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "check", raising=False)
    points, names = [], {"__name__": "notebook"}
    for text in texts(json.loads((folder / f"{name}.ipynb").read_text())):
        if "check.points" in text:
            before, _, call = text.rpartition("\n")
            exec(f"{before}\nfound = {call}", names)
            points.append(names["found"])
        else:
            exec(text, names)
    assert points == [task.points for task in load_lab(name).tasks]
    sys.modules.pop("check")


@pytest.mark.slow
@needs("nbgrader")
def test_nbgrader_marks_a_class(book, tmp_path):
    build(book, "nbgrader", tmp_path / "lab2")
    course = tmp_path / "lab2" / "teacher" / "course"
    run(course, "nbgrader", "generate_assignment", "lab2", "--create")
    released = json.loads((course / "release" / "lab2" / "lab2.ipynb").read_text())
    ours = notebooks.student(book.lab)
    assert "SOLUTION" not in json.dumps(released) and "hidden" not in json.dumps(released).lower()
    assert texts(released, "markdown") == texts(ours, "markdown") and len(released["cells"]) == len(
        ours["cells"]
    )
    assert sorted(path.name for path in (course / "release" / "lab2").iterdir()) == [
        "cases.json",
        "check.py",
        "lab2.ipynb",
    ]
    for name in SUBMITTED:
        folder = course / "submitted" / name / "lab2"
        folder.mkdir(parents=True)
        (folder / "lab2.ipynb").write_text(json.dumps(submitted(book, name)))
    run(course, "nbgrader", "autograde", "lab2", "--create")
    run(course, "nbgrader", "export", "--to", "grades.csv")
    run(course, "nbgrader", "generate_feedback", "lab2")
    header, *rows = [line.split(",") for line in (course / "grades.csv").read_text().splitlines()]
    points = {row[header.index("student_id")]: float(row[header.index("score")]) for row in rows}
    assert points == {name: worth for name, (_, worth) in SUBMITTED.items()}
    feedback = (course / "feedback" / "bert" / "lab2" / "lab2.html").read_text()
    assert "Off by one" in feedback and "more axes" in feedback  # titles of hidden cases, never their numbers


@pytest.mark.slow
@needs("otter")
def test_otter_marks_a_notebook(book, tmp_path):
    build(book, "otter", tmp_path / "lab2")
    folder = tmp_path / "lab2" / "teacher" / "otter"
    run(folder, "otter", "assign", "lab2.ipynb", "dist")  # runs its tests on the solution, too
    given = (folder / "dist" / "student" / "lab2.ipynb").read_text()
    assert "task 2.1, scores" in given and "hidden.json" not in given and "math.sqrt" not in given
    (archive,) = (folder / "dist" / "autograder").glob("*.zip")
    for name in ("anna", "bert", "carl"):
        (tmp_path / "lab2.ipynb").write_text(json.dumps(submitted(book, name)))
        (tmp_path / name).mkdir()
        run(tmp_path, "otter", "run", "-a", str(archive), "-o", str(tmp_path / name), "lab2.ipynb")
        results = json.loads((tmp_path / name / "results.json").read_text())
        assert sum(test.get("score", 0) for test in results["tests"]) == pytest.approx(SUBMITTED[name][1]), (
            name
        )


def test_grade_reads_notebooks(book, runner, tmp_path):
    for name, (_, worth) in SUBMITTED.items():
        path = tmp_path / f"{name}.ipynb"
        path.write_text(json.dumps(submitted(book, name)))
        assert mark(book, read_submission(path), name, runner).points == worth
    cell = {
        "cell_type": "code",
        "source": ["%time 1\n", "!ls\n", "import check, math\n", "import math\n", "x = 1\n", "1 / 0\n"],
    }
    odd = {
        "cells": [
            cell,
            {"cell_type": "code", "source": ["this is no Python"]},
            {"cell_type": "markdown", "source": ["#"]},
        ]
    }
    (tmp_path / "odd.ipynb").write_text(json.dumps(odd))
    assert read_submission(tmp_path / "odd.ipynb") == "import math\n\nx = 1"
    for damaged in ("{", "[]", '{"cells": [1]}', "[" * 100_000):
        (tmp_path / "odd.ipynb").write_text(damaged)
        with pytest.raises(ConfigError, match="as a notebook"):
            read_submission(tmp_path / "odd.ipynb")


def test_a_notebook_for_students_has_public_cases_only(book, tmp_path):
    for format_ in ("nbgrader", "otter"):
        build(book, format_, tmp_path / format_)
        assert {path.name for path in (tmp_path / format_ / "student").iterdir()} == {
            "cases.json",
            "check.py",
            "handout.md",
            "lab2.ipynb",
        }
        text = "".join(path.read_text() for path in (tmp_path / format_ / "student").iterdir())
        assert "more axes" not in text and public_part(book).lab.name in text
