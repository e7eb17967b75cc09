"""From answers to marks: which cases agree, what the task is worth, and which known mistake gives the same answers.

A task whose core fails is worth nothing; once the core is right, every edge case adds its share. A task that fails
only because an earlier one does is marked with the reference's earlier functions in its place. No process is started
here but through the runner, and nothing is written.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from minilm.classroom.book import Book, Mistake, Page, run_task
from minilm.classroom.plain import difference
from minilm.classroom.runner import Runner
from minilm.classroom.submissions import read_submission
from minilm.errors import ConfigError

CORE_SHARE = 0.6  # of a task's points, where it has edge cases
UNWRITTEN = "not written yet"
OURS = ("stopped", "missing")  # kinds of faults that are no exceptions of the student's


@dataclass(frozen=True)
class TaskMark:
    """One task of one student; `faults` are (case, how it differs) pairs."""

    name: str
    number: str
    title: str
    points: float
    possible: int
    passed: int
    cases: int
    faults: tuple[tuple[str, str], ...] = ()
    mistake: str = ""  # the known mistake that it is
    hint: str = ""
    note: str = ""

    @property
    def right(self) -> bool:
        return self.passed == self.cases


@dataclass(frozen=True)
class Marks:
    """One submission, marked."""

    student: str
    lab: str
    tasks: tuple[TaskMark, ...]
    missing: tuple[str, ...] = field(default=())
    megabytes: float = 0.0

    @property
    def points(self) -> float:
        return round(sum(task.points for task in self.tasks), 2)

    @property
    def possible(self) -> int:
        return sum(task.possible for task in self.tasks)


def mark(book: Book, source: str, student: str, runner: Runner) -> Marks:
    """All tasks of one submission, each in a process of its own."""
    marks: list[TaskMark] = []
    missing, peak = [], 0.0
    for page in book.pages:
        outcome = run_task(runner, page.task, source)
        judged = judge(book, page, outcome.cases)
        if not judged.right and not _unwritten(outcome.cases):
            if page.helpers:
                judged = _helped(book, page, source, judged, runner)
            else:
                judged = _noted(judged, source, marks)
        marks.append(judged)
        missing, peak = outcome.missing, max(peak, outcome.megabytes)
    return Marks(student, book.lab.name, tuple(marks), tuple(missing), peak)


def _helped(book: Book, page: Page, source: str, judged: TaskMark, runner: Runner) -> TaskMark:
    """The better mark of the two: with the student's own earlier functions, and with ours."""
    helped = judge(book, page, run_task(runner, page.task, source, helpers=page.helpers).cases)
    if helped.points > judged.points:
        note = "marked with our earlier functions in the place of yours, which it depends on"
        return replace(helped, note=note)
    if helped.mistake and not judged.mistake:
        return replace(judged, mistake=helped.mistake, hint=helped.hint)
    return judged


def _noted(judged: TaskMark, source: str, earlier: Sequence[TaskMark]) -> TaskMark:
    """Where ours are not at hand (a student's own check): the first function that it calls and that is not right."""
    called = _names_in(source, judged.name)
    guilty = next((task.name for task in earlier if not task.right and task.name in called), "")
    return replace(judged, note=f"calls {guilty}, which is not right yet; begin there") if guilty else judged


def _names_in(source: str, function: str) -> set[str]:
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    own = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == function]
    return {part.id for node in own for part in ast.walk(node) if isinstance(part, ast.Name)}


def judge(book: Book, page: Page, answers: Sequence[dict[str, Any]]) -> TaskMark:
    """The mark of one task from its answers; a pure function."""
    task, faults, core, edges = page.task, [], True, []
    for case, answer, expected in zip(task.cases, answers, page.expected, strict=True):
        wrong = fault(answer, expected)
        if wrong:
            faults.append((case.title, wrong))
        if case.edge:
            edges.append(not wrong)
        else:
            core = core and not wrong
    share = (CORE_SHARE + (1 - CORE_SHARE) * sum(edges) / len(edges) if edges else 1.0) if core else 0.0
    found = recognise(page, answers) if faults else None
    return TaskMark(
        task.name,
        book.lab.number(task),
        task.title,
        round(task.points * share, 2),
        task.points,
        len(task.cases) - len(faults),
        len(task.cases),
        tuple(faults),
        found.name if found else "",
        found.hint if found else "",
        UNWRITTEN if _unwritten(answers) else "",
    )


def fault(answer: dict[str, Any], expected: dict[str, Any]) -> str:
    """How one case's answer is wrong, "" where it is right."""
    if "answers" not in answer:
        kind = "" if answer["error"] in OURS else f"{answer['error']}: "
        return f"{kind}{answer['message']}"
    given, wanted = answer["answers"], expected["answers"]
    if len(given) == len(wanted) == 1:  # the usual case, where "in value 1" would only confuse
        return difference(given[0], wanted[0])
    return difference(given, wanted)


def recognise(page: Page, answers: Sequence[dict[str, Any]]) -> Mistake | None:
    """The known mistake that gives these answers in every case, where there is one."""
    return next((m for m in page.mistakes if all(map(_same, answers, m.answers))), None)


def _same(answer: dict[str, Any], known: dict[str, Any]) -> bool:
    if "answers" in answer and "answers" in known:
        return not difference(answer["answers"], known["answers"])
    return answer.get("error") is not None and answer.get("error") == known.get("error")


def _unwritten(answers: Sequence[dict[str, Any]]) -> bool:
    return all(answer.get("error") == "NotImplementedError" for answer in answers)


def empty_marks(book: Book, student: str, reason: str) -> Marks:
    """No points in any task, for a file that cannot be read."""
    lab = book.lab
    tasks = [
        TaskMark(task.name, lab.number(task), task.title, 0.0, task.points, 0, len(task.cases), note=reason)
        for task in lab.tasks
    ]
    return Marks(student, lab.name, tuple(tasks))


def mark_file(book: Book, path: Path, student: str, runner: Runner) -> Marks:
    """`mark`, and a file that cannot be read gets no points instead of stopping the pile."""
    try:
        return mark(book, read_submission(path), student, runner)
    except ConfigError as error:
        return empty_marks(book, student, str(error))
