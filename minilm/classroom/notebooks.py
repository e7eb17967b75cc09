"""A lab as a notebook: the student's with gaps, nbgrader's and otter's with the solutions that those tools take out.

What is given is one cell, and each task is three: a text, the function and a check.
Notebooks are plain JSON here; this file knows neither nbgrader nor otter, only what they read, and starts nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, NamedTuple

from minilm.classroom.book import FILE
from minilm.classroom.handout import dots, theory
from minilm.classroom.lab import DATA, Lab, Task, gap, part
from minilm.classroom.marking import CORE_SHARE

HIDDEN = "hidden.json"  # all cases, never beside a student's notebook
FAR = f"../../../{HIDDEN}"  # from where nbgrader runs a notebook: autograded/STUDENT/LAB in the course
Cell = dict[str, Any]


class Piece(NamedTuple):
    """A part of the reference: given code, or a task's function in two halves."""

    task: Task | None
    head: str  # what students see: the given code, or signature and docstring
    body: str = ""  # what they write


def pieces(lab: Lab) -> list[Piece]:
    """The reference cut up: what is given, since checks may need any of it, the tasks, and what runs at the end."""
    source = part(lab, "solution.py")
    tasks = {task.name: task for task in lab.tasks}
    given, found, last = "", [], ""
    for node in ast.parse(source).body[1:]:
        text = str(ast.get_source_segment(source, node))
        if isinstance(node, ast.FunctionDef) and node.name in tasks:
            found.append(_halves(tasks[node.name], text))
        elif isinstance(node, ast.FunctionDef):
            assert not node.name.startswith("_"), f"{node.name}: a notebook has no cell for a private helper"
            given += f"\n\n{text}\n"
        elif isinstance(node, ast.If):
            last += f"{text}\n"
        elif "__future__" not in text:
            given += f"{text}\n"
    return [Piece(None, given.strip()), *found, *([Piece(None, last.strip())] if last else [])]


def _halves(task: Task, text: str) -> Piece:
    node = ast.parse(text).body[0]
    assert isinstance(node, ast.FunctionDef) and isinstance(node.body[0], ast.Expr)
    lines, end = text.splitlines(), int(node.body[0].end_lineno or 0)
    return Piece(task, "\n".join(lines[:end]), "\n".join(lines[end:]))


def student(lab: Lab) -> dict[str, Any]:
    """The notebook that students fill in. It is what nbgrader collects, and what otter marks."""
    return _notebook(lab, _plain(lab, solved=False))


def nbgrader(lab: Lab) -> dict[str, Any]:
    """The source notebook for `nbgrader generate_assignment`."""
    return _notebook(lab, _plain(lab, solved=True))


def _plain(lab: Lab, solved: bool) -> Iterator[Cell]:
    yield _markdown(opening(lab), "opening")
    yield _code("import check", "check", grade=False)
    for place, piece in enumerate(pieces(lab)):
        if piece.task is None:
            yield _code(piece.head, f"given-{place}", grade=False)
            continue
        name = piece.task.name
        yield _markdown(_about(lab, piece.task), f"{name}-about")
        solution = f"    ### BEGIN SOLUTION\n{piece.body}\n    ### END SOLUTION"
        inside = solution if solved else gap(lab, piece.task)
        yield _code(f"{piece.head}\n{inside}", name, solution=True)
        hidden = f'\n### BEGIN HIDDEN TESTS\ncases = "{FAR}"\n### END HIDDEN TESTS' if solved else ""
        text = f'cases = "{FILE}"{hidden}\ncheck.points("{name}", globals(), cases)'
        yield _code(text, f"{name}-points", points=piece.task.points)


def otter(lab: Lab) -> dict[str, Any]:
    """The master notebook for `otter assign`."""
    return _notebook(lab, _for_otter(lab))


def _for_otter(lab: Lab) -> Iterator[Cell]:
    config = f"name: {lab.name}\nrun_tests: true\nexport_cell:\n  pdf: false\ntests:\n  ok_format: false\n"
    data = "" if lab.data is None else f"  - {DATA}\n"
    config += (
        f"files:\n  - check.py\n  - {FILE}\n{data}autograder_files:\n  - {HIDDEN}\ngenerate:\n  pdf: false\n"
    )
    yield _raw(f"# ASSIGNMENT CONFIG\n{config}")
    yield _markdown(opening(lab))
    yield _code("import check")
    for piece in pieces(lab):
        if piece.task is None:
            yield _code(piece.head)
        else:
            yield from _question(lab, piece.task, piece)


def _question(lab: Lab, task: Task, piece: Piece) -> Iterator[Cell]:
    name, points = task.name, task.points
    yield _raw(f"# BEGIN QUESTION\nname: {name}")  # its points are the sum of those of its tests
    yield _markdown(_about(lab, task))
    yield _raw("# BEGIN SOLUTION")
    prompt = f'    """ # BEGIN PROMPT\n{gap(lab, task)}\n    """; # END PROMPT'
    inside = f"    # BEGIN SOLUTION NO PROMPT\n{piece.body}\n    # END SOLUTION"
    yield _code(f"{piece.head}\n{inside}\n{prompt}")
    yield _raw("# END SOLUTION")
    yield _raw("# BEGIN TESTS")
    yield _code(_test("public", 0, False, f'check.demand("{name}", env)'))
    edges = sum(case.edge for case in task.cases)
    core = CORE_SHARE if edges else 1.0
    yield _code(_test("core", core * points, True, f'check.demand("{name}", env, "{HIDDEN}")'))
    for edge in range(edges):
        worth = (1 - core) * points / edges
        yield _code(_test(f"edge_{edge}", worth, True, f'check.demand("{name}", env, "{HIDDEN}", {edge})'))
    yield _raw("# END TESTS")
    yield _raw("# END QUESTION")


def _test(name: str, points: float, hidden: bool, call: str) -> str:
    config = (
        f'""" # BEGIN TEST CONFIG\npoints: {points:.6g}\nhidden: {str(hidden).lower()}\n""" # END TEST CONFIG'
    )
    return f"{config}\ndef test_{name}(env):\n    import check\n    {call}"


def opening(lab: Lab) -> str:
    """The handout's first half, for the notebook's first cell."""
    how = (
        "Fill the gaps and run the cell after each: it says which cases are right, and names common mistakes."
    )
    return f"# Lab {lab.name.removeprefix('lab')}: {lab.title}\n\n{lab.points} points. {how}\n\n{theory(lab)}"


def _about(lab: Lab, task: Task) -> str:
    worth = f"{task.points} points, about {task.minutes} minutes, {dots(task)}"
    return f"## {lab.number(task)} {task.name}: {task.title}\n\nReturn {task.deliverable}. {worth}"


def _cell(kind: str, text: str, name: str = "", **metadata: Any) -> Cell:
    cell: Cell = {"cell_type": kind, "metadata": metadata, "source": text.splitlines(keepends=True)}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def _raw(text: str) -> Cell:
    return _cell("raw", text)


def _markdown(text: str, name: str = "") -> Cell:
    return _cell("markdown", text, **_nbgrader_metadata(name, grade=False) if name else {})


def _code(
    text: str, name: str = "", grade: bool = False, solution: bool = False, points: int | None = None
) -> Cell:
    metadata = _nbgrader_metadata(name, points is not None, solution, points) if name else {}
    return _cell("code", text, **metadata)


def _nbgrader_metadata(
    name: str, grade: bool, solution: bool = False, points: int | None = None
) -> dict[str, Any]:
    """nbgrader's schema 3: an answer is not locked, everything else is and comes back if it was changed."""
    entry = {"grade_id": name, "grade": grade, "solution": solution, "locked": not solution, "task": False}
    return {"nbgrader": entry | {"schema_version": 3} | ({} if points is None else {"points": points})}


def _notebook(lab: Lab, cells: Iterator[Cell]) -> dict[str, Any]:
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    numbered = [{**cell, "id": f"cell-{number}"} for number, cell in enumerate(cells)]
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    metadata["otter"] = {"assignment_name": lab.name}  # otter marks no notebook of another name
    return {"cells": numbered, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
