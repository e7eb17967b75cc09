"""Marks as others read them: a report for the student, rows for the teacher, Gradescope's and Classroom 50's JSON.

Pure functions from marks to text and JSON values; they know no processes and write nothing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any

from minilm.classroom.marking import UNWRITTEN, Marks, TaskMark
from minilm.classroom.platforms import Person
from minilm.classroom.sandbox import describe_missing

SHOWN_FAULTS = 3
LONGEST_CELL = 32_000  # Excel stops at 32,767 characters


def lines(marks: Marks) -> list[str]:
    """One line per task for the terminal, with what is wrong and the hint under it."""
    shown = [f"     {note}" for note in marks.notes]
    for task in marks.tasks:
        state = "right" if task.right else f"{task.passed} of {task.cases} cases"
        note = "" if task.note in marks.notes else task.note
        shown.append(f"{task.number:<5}{task.name:<20}{task.points:>5g} / {task.possible:<4}{note or state}")
        shown += [f"     {text}" for text in comments(task, marks.notes)]
    return [*shown, f"{'':5}{'in all':<20}{marks.points:>5g} / {marks.possible}"]


def comments(task: TaskMark, told: Sequence[str] = ()) -> list[str]:
    """What to say about a task: the first faults, each once, the known mistake's hint, and arguments that it spoils.

    What is `told` about the whole file already is not said again.
    """
    if task.note == UNWRITTEN:
        return []
    titles: dict[str, list[str]] = {}
    for title, fault in task.faults:
        if fault not in told:
            titles.setdefault(fault, []).append(title)
    said = [
        f"{where[0]}: {fault}" if len(where) == 1 else f"in {len(where)} cases: {fault}"
        for fault, where in list(titles.items())[:SHOWN_FAULTS]
    ]
    said += [f"hint: {task.hint}"] if task.hint else []
    if task.changed:
        said.append(
            f"it changes what it is given ({', '.join(task.changed)}): work on a copy, callers rely on theirs"
        )
    return said


def report(marks: Marks, title: str) -> str:
    """The student's report in Markdown."""
    parts = [
        f"# {title}: {_escaped(marks.student)}",
        "",
        f"**{marks.points:g} of {marks.possible} points**",
        "",
    ]
    notes = tuple(getattr(marks, "notes", ()))
    parts += [part for note in notes for part in (f"{_escaped(note)}.", "")]
    parts += ["| task | what | points | cases |", "|---|---|---|---|"]
    for task in marks.tasks:
        state = UNWRITTEN if task.note == UNWRITTEN else f"{task.passed} of {task.cases}"
        parts.append(f"| {task.number} | {task.title} | {task.points:g} / {task.possible} | {state} |")
    for task in marks.tasks:
        said, note = comments(task, notes), "" if task.note in (UNWRITTEN, *notes) else task.note
        if said or note:
            parts += ["", f"## {task.number} {task.name}", "", *([f"{_escaped(note)}."] if note else [])]
            parts += [f"- {_escaped(text)}" for text in said]
    return "\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    """A student's words inside our page: on one line, and no markup."""
    return " ".join(text.split()).replace("<", "&lt;").replace("|", "\\|")


def score_table(pile: Sequence[Marks], known: Mapping[str, Person] = MappingProxyType({})) -> str:
    """CSV: student, points, one column per task, the mistakes recognised, what is `known` of the student from a roster,
    and what happened to the file. Cells never start a formula."""
    names = [task.name for task in pile[0].tasks]
    head = ["student", "points", "possible", *names, "mistakes"]
    rows: list[list[Any]] = [[*head, "id", "email", "late days", "state", "notes", "seconds"]]
    for marks in pile:
        mistakes = "; ".join(f"{task.name}: {task.mistake}" for task in marks.tasks if task.mistake)
        earned = [task.points for task in marks.tasks]
        points, *each = (
            [""] * (1 + len(earned)) if marks.unread else [marks.points, *earned]
        )  # 0 would be a mark
        row = [marks.student, points, marks.possible, *each, mistakes]
        person = known.get(marks.student, Person())
        more = [person.id, person.email, person.late, "could not be read" if marks.unread else "marked"]
        rows.append([*row, *more, "; ".join(marks.notes), round(marks.seconds, 1)])
    return table(rows)


def table(rows: Sequence[Sequence[Any]]) -> str:
    """Rows as CSV."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([harmless(cell) for cell in row] for row in rows)
    return out.getvalue()


def harmless(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula, on one line and not longer than a spreadsheet's may be."""
    if not isinstance(cell, str):
        return cell
    cell = "".join(" " if ord(letter) < 32 else letter for letter in cell)[:LONGEST_CELL]
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def gradescope(marks: Marks) -> dict[str, Any]:
    """The value of Gradescope's results.json."""
    tests = [
        {
            "name": f"{task.number} {task.title}",
            "score": task.points,
            "max_score": task.possible,
            "output": "\n".join([*([task.note] if task.note else []), *comments(task, marks.notes)])
            or "right",
            "visibility": "visible",
        }
        for task in marks.tasks
    ]
    about = "\n".join([*marks.notes, describe_missing(marks.missing)])
    return {"score": marks.points, "output": about, "tests": tests}


def classroom50(marks: Marks, environment: Mapping[str, str], now: datetime | None = None) -> dict[str, Any]:
    """The value of Classroom 50's result.json (schema classroom50/result/v1); names come from its environment."""
    tests = [
        {"test-name": task.name, "passed": task.right, "score": task.points, "max-score": task.possible}
        for task in marks.tasks
    ]
    return {
        "schema": "classroom50/result/v1",
        "classroom": environment.get("CLASSROOM", ""),
        "assignment": environment.get("ASSIGNMENT", marks.lab),
        "owner": environment.get("OWNER", marks.student),
        "submission": environment.get("SUBMISSION_TAG", ""),
        "commit": environment.get("COMMIT_URL", ""),
        "release": environment.get("RELEASE_URL", ""),
        "review": environment.get("REVIEW_URL", ""),
        "datetime": (now or datetime.now(timezone.utc)).isoformat(timespec="seconds"),
        "score": marks.points,
        "max-score": marks.possible,
        "tests": tests,
    }
