"""From answers to marks: which cases agree, what the task is worth, and which known mistake gives the same answers.

A task whose core fails is worth nothing; once the core is right, every edge case adds its share. A task that fails
only because an earlier one does is marked with the reference's earlier functions in its place. No process is started
here but through the runner, and nothing is written.
"""

from __future__ import annotations

import ast
import builtins
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from minilm.classroom.book import Book, Mistake, Page, run_task
from minilm.classroom.lab import Case
from minilm.classroom.plain import difference
from minilm.classroom.runner import ENDINGS, Outcome, Runner
from minilm.classroom.submissions import Submission, read_noted
from minilm.errors import MinilmError

CORE_SHARE = 0.6  # of a task's points, where it has edge cases
UNWRITTEN = "not written yet"
OURS = ("stopped", "missing", "loading")  # kinds of faults that are no exceptions of a student's function
HELPED = "marked with our earlier functions in the place of yours, which it depends on"


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
    changed: tuple[str, ...] = ()  # arguments that it changes in place

    @property
    def right(self) -> bool:
        return self.passed == self.cases


@dataclass(frozen=True)
class Marks:
    """One submission, marked."""

    student: str
    lab: str
    tasks: tuple[TaskMark, ...]
    missing: tuple[str, ...] = ()
    megabytes: float = 0.0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()  # about the file as a whole
    unread: bool = False  # nothing could be marked, which says nothing about the student

    @property
    def points(self) -> float:
        return round(sum(task.points for task in self.tasks), 2)

    @property
    def possible(self) -> int:
        return sum(task.possible for task in self.tasks)


def mark(
    book: Book, source: str, student: str, runner: Runner, kept: Mapping[str, TaskMark] | None = None
) -> Marks:
    """All tasks of one submission, each in a process of its own; those in `kept` are marked already."""
    start, kept = time.monotonic(), kept or {}
    marks, notes, missing, peak, endless = list[TaskMark](), list[str](), list[str](), 0.0, set[str]()
    unloaded: Outcome | None = None
    for page in book.pages:
        if page.task.name in kept:
            marks.append(kept[page.task.name])
            continue
        calls_endless = endless & reached(source, page.task.name)
        if unloaded:  # a file that does not load does so once, not for every task
            outcome = replace(unloaded, cases=[unloaded.cases[0]] * len(page.task.cases))
        else:
            outcome = run_task(runner, book, page, source, helped=bool(calls_endless))
        judged = judge(book, page, outcome.cases)
        if not outcome.loaded:
            unloaded = outcome
        elif calls_endless:
            judged = replace(judged, note=HELPED)
        elif not judged.right and not _is_gap(book, page, outcome.cases):
            judged = _helped(book, page, source, judged, outcome, marks, runner)
        if outcome.end in ENDINGS:
            endless.add(page.task.name)
        if outcome.trouble and outcome.trouble not in notes:
            notes.append(outcome.trouble)
        marks.append(judged)
        missing, peak = outcome.missing or missing, max(peak, outcome.megabytes)
    facts = (tuple(marks), tuple(missing), peak, time.monotonic() - start, tuple(notes))
    return Marks(student, book.lab.name, *facts)


def _helped(
    book: Book,
    page: Page,
    source: str,
    judged: TaskMark,
    outcome: Outcome,
    earlier: Sequence[TaskMark],
    runner: Runner,
) -> TaskMark:
    """The better mark of the two: with the student's own earlier functions, and with ours."""
    if outcome.end in ENDINGS or not (page.helpers or page.recorded):  # a loop is not waited for twice
        return _noted(judged, source, earlier)
    helped = judge(book, page, run_task(runner, book, page, source, helped=True).cases)
    if helped.points > judged.points:
        return replace(helped, note=HELPED)
    if helped.mistake and not judged.mistake:
        judged = replace(judged, mistake=helped.mistake, hint=helped.hint)
    return judged if page.helpers else _noted(judged, source, earlier)


def _noted(judged: TaskMark, source: str, earlier: Sequence[TaskMark]) -> TaskMark:
    """Where ours are not at hand (a student's own check): the first function that it calls and that is not right."""
    called = reached(source, judged.name)
    guilty = next((task.name for task in earlier if not task.right and task.name in called), "")
    return replace(judged, note=f"calls {guilty}, which is not right yet; begin there") if guilty else judged


def reached(source: str, function: str) -> set[str]:
    """The names in a function of the file and in those of the file that it calls, however indirectly."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    named = {
        node.name: {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        for node in body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    found, waiting = set[str](), [function]
    while waiting:
        new = named.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def _is_gap(book: Book, page: Page, answers: Sequence[dict[str, Any]]) -> bool:
    """Whether the function itself is the gap that students are given, not one that it calls."""
    own = f"task {book.lab.number(page.task)}, {page.task.name}:"
    return _unwritten(answers) and all(str(answer["message"]).startswith(own) for answer in answers)


def judge(book: Book, page: Page, answers: Sequence[dict[str, Any]]) -> TaskMark:
    """The mark of one task from its answers; a pure function."""
    task, faults, core, edges = page.task, [], True, []
    for case, answer, expected in zip(task.cases, answers, page.expected, strict=True):
        wrong = fault(answer, expected, case)
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
        tuple(sorted({text for answer in answers for text in answer.get("changed", ())})),
    )


def fault(answer: dict[str, Any], expected: dict[str, Any], case: Case) -> str:
    """How one case's answer is wrong, "" where it is right.

    Of a case that students do not have, no words of the file's own are told: they could tell its arguments.
    """
    if "answers" not in answer:
        if answer["error"] in OURS:
            return str(answer["message"])
        return f"{answer['error']}: {answer['message']}" if case.public else _kind_only(answer["error"])
    given, wanted = answer["answers"], expected["answers"]
    if not case.public:
        given = _silenced(given, wanted)
    if len(given) == len(wanted) == 1:  # the usual case, where "in value 1" would only confuse
        return difference(given[0], wanted[0], case.whole)
    return difference(given, wanted, case.whole)


def _kind_only(error: str) -> str:
    return error if hasattr(builtins, error) else "an error of the file's own"


def _silenced(value: Any, wanted: Any) -> Any:
    """The answer with every text of it that is not expected made a fixed one."""
    if isinstance(value, str):
        return value if value == wanted else "another text"
    if isinstance(value, list):
        several = wanted if isinstance(wanted, list) else []
        return [_silenced(item, several[n] if n < len(several) else None) for n, item in enumerate(value)]
    if isinstance(value, dict) and "tensor" not in value:
        known = wanted if isinstance(wanted, dict) else {}
        named = {key: _silenced(item, known[key]) for key, item in value.items() if key in known}
        return named if len(named) == len(value) else {**named, "another key": None}
    return value


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
    return Marks(student, lab.name, tuple(tasks), notes=(reason,), unread=True)


def to_record(marks: Marks) -> dict[str, Any]:
    """Marks as a JSON value, for `from_record`."""
    return asdict(marks)


def from_record(value: dict[str, Any]) -> Marks:
    """The marks in a record of `to_record`."""
    tasks = [
        TaskMark(**{**task, "faults": tuple(map(tuple, task["faults"])), "changed": tuple(task["changed"])})
        for task in value["tasks"]
    ]
    lists = {name: tuple(value[name]) for name in ("missing", "notes")}
    return Marks(**{**value, **lists, "tasks": tuple(tasks)})


def mark_file(
    book: Book,
    path: Path | Submission,
    student: str,
    runner: Runner,
    kept: Mapping[str, TaskMark] | None = None,
) -> Marks:
    """`mark`, and whatever goes wrong with one file is told in its marks instead of stopping the others."""
    try:
        source, notes = read_noted(path)
        marks = mark(book, source, student, runner, kept)
        return replace(marks, notes=(*notes, *marks.notes))
    except MinilmError as error:
        return empty_marks(book, student, str(error))
    except Exception as error:  # a mistake of ours, too, must not cost the others their marks
        what = f"{type(error).__name__}: {error}"[:200].encode("utf-8", "backslashreplace").decode()
        return empty_marks(book, student, f"the marking itself failed ({what}); please report it")
