"""Reads a lab: tasks with points, hints and cases, from one folder in `minilm/classroom/labs/`.

    lab.py           LAB: the tasks with their cases
    theory.md        the text of the handout
    solution.py      the reference; the student's file is this one with the bodies cut out
    wrong.py         known mistakes, functions TASK__NAME whose docstring is the hint that they deserve
    alternatives.py  other right ways, functions TASK__NAME

Solutions are read as text and run in the student's kind of process, never imported here. This file knows nothing of
processes and marks. Wheels leave `labs` out, so that whoever installs one to check homework has no solutions.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minilm.errors import ConfigError, did_you_mean, shortened

VARIABLE = "MINILM_LABS"  # names the folder of the labs where an installation has none
FOLDER = Path(os.environ.get(VARIABLE) or Path(__file__).parent / "labs")
DATA = "recorded.json"


@dataclass(frozen=True)
class Case:
    """Calls whose answers are compared: each is (function, arguments), the arguments plain data.

    `public` cases go to the students. An `edge` case is worth a share of the points; without the other cases, the
    core of a task, there are none. Where `whole`, whole numbers may answer real ones.
    """

    title: str
    calls: Sequence[tuple[str, Sequence[Any]]]
    public: bool = False
    edge: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Task:
    """One function that the student writes."""

    name: str
    title: str
    points: int
    minutes: int
    difficulty: int  # 1 to 5
    deliverable: str
    hints: tuple[str, str, str]  # a question, a direction, nearly the answer
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Lab:
    """A lab as its `lab.py` states it; tasks in an order in which later ones may call earlier ones."""

    name: str
    title: str
    tasks: tuple[Task, ...]
    needs: str = "torch"  # beside the standard library
    data: Any = None  # what students get as DATA, where the lab has it

    @property
    def points(self) -> int:
        return sum(task.points for task in self.tasks)

    def task(self, name: str) -> Task:
        """The task of that name; a misspelt one raises `ConfigError`."""
        known = {task.name: task for task in self.tasks}
        if name not in known:
            raise ConfigError(f"{self.name} has no task {name!r}; {did_you_mean(name, known)}")
        return known[name]

    def number(self, task: Task) -> str:
        """Its number in the handout, such as 2.3."""
        return f"{self.name.removeprefix('lab')}.{self.tasks.index(task) + 1}"


@dataclass(frozen=True)
class Variant:
    """A known wrong or an alternative right way to do a task; `hint` is its docstring."""

    task: str
    name: str
    hint: str
    source: str  # its file's imports and one function, called TASK__NAME

    def module(self, solution: str) -> str:
        """The whole reference with this one function in place of its own.

        Where the variant calls the function that it replaces, the reference's is meant.
        """
        source = re.sub(rf"(?<![\w.]){self.task}\(", f"_right_{self.task}(", self.source)
        right = f"_right_{self.task} = {self.task}"
        return f"{solution}\n\n{right}\n\n{source}\n\n{self.task} = {self.task}__{self.name}\n"


def case(
    title: str,
    *calls: tuple[str, Sequence[Any]],
    public: bool = False,
    edge: bool = False,
    whole: bool = False,
) -> Case:
    """A `Case`, in the order in which one writes it."""
    return Case(title, calls, public, edge, whole)


def lab_names() -> list[str]:
    """The labs that exist, in order."""
    return sorted(path.parent.name for path in FOLDER.glob("*/lab.py"))


def load_lab(name: str) -> Lab:
    """The lab of that name; an unknown one raises `ConfigError`, as does a wheel without labs."""
    known = lab_names()
    if not known:
        raise ConfigError(
            "labs are not part of this installation, since they hold solutions; teachers take the folder "
            f"minilm/classroom/labs of the source and name it in the variable {VARIABLE}"
        )
    if name not in known:
        raise ConfigError(
            f"a lab must be one that there is, got {shortened(repr(name))}; {did_you_mean(name, known)}"
        )
    if "minilm.classroom.labs" not in sys.modules:  # wherever the folder is
        package = types.ModuleType("minilm.classroom.labs")
        package.__path__ = [str(FOLDER)]
        sys.modules[package.__name__] = package
    return importlib.import_module(f"minilm.classroom.labs.{name}.lab").LAB


def part(lab: Lab, file: str) -> str:
    """The text of one of the lab's files."""
    return (FOLDER / lab.name / file).read_text(encoding="utf-8")


def variants(lab: Lab, file: str) -> list[Variant]:
    """The functions TASK__NAME in wrong.py or alternatives.py."""
    source = part(lab, file)
    found, imports = [], ""
    for node in ast.parse(source).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)) and "minilm" not in ast.unparse(node):
            imports += "" if "__future__" in ast.unparse(node) else ast.unparse(node) + "\n"
        if isinstance(node, ast.FunctionDef):
            task, _, name = node.name.partition("__")
            assert name and lab.task(task), f"{file}: {node.name} is not TASK__NAME"
            hint = " ".join((ast.get_docstring(node) or "").split())
            found.append(Variant(task, name, hint, imports + str(ast.get_source_segment(source, node))))
    return found


def stub(lab: Lab) -> str:
    """The student's file: the reference with every task's body cut out and without private helpers."""
    source = part(lab, "solution.py")
    lines = source.splitlines()
    tasks = {task.name: task for task in lab.tasks}
    for node in reversed(ast.parse(source).body):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno
            kept = [] if node.name.startswith("_") else lines[node.lineno - 1 : node.end_lineno]
            if node.name in tasks:
                first = node.body[0]
                assert isinstance(first, ast.Expr) and first.end_lineno, f"{node.name} needs a docstring"
                kept = [*lines[node.lineno - 1 : first.end_lineno], gap(lab, tasks[node.name])]
            lines[node.lineno - 1 : node.end_lineno] = kept
    return _three_at_most("\n".join(lines)) + "\n"


def given(lab: Lab) -> str:
    """What the lab gives beside the tasks: its imports and the functions that students find written."""
    tree = ast.parse(part(lab, "solution.py"))
    tasks = {task.name for task in lab.tasks}
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef)
    kept = [node for node in tree.body if isinstance(node, kinds)]
    tree.body = [
        node
        for node in kept
        if not (isinstance(node, ast.FunctionDef) and (node.name in tasks or node.name.startswith("_")))
    ]
    return ast.unparse(tree) if any(isinstance(node, ast.FunctionDef) for node in tree.body) else ""


def gap(lab: Lab, task: Task) -> str:
    """The line in the place of a task's body."""
    return f'    raise NotImplementedError("task {lab.number(task)}, {task.name}: {task.title}")'


def _three_at_most(text: str) -> str:
    while "\n\n\n\n" in text:
        text = text.replace("\n\n\n\n", "\n\n\n")
    return text.strip()


def earlier(lab: Lab, task: str) -> str:
    """The reference of the tasks before `task`, and of nothing else: a later function must not be in reach."""
    source = part(lab, "solution.py")
    names = [one.name for one in lab.tasks]
    before = set(names[: names.index(task)])
    tree = ast.parse(source)
    own = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    needed = {n.id for node in own if node.name in before for n in ast.walk(node) if isinstance(n, ast.Name)}
    kept = before | (needed - set(names))
    tree.body = [n for n in tree.body if not isinstance(n, ast.FunctionDef) or n.name in kept]
    return ast.unparse(tree)
