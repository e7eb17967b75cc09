"""Marks as others read them: a report for the student, rows for the teacher, Gradescope's and Classroom 50's JSON.

Pure functions from marks to text and JSON values; they know no processes and write nothing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from minilm.classroom.marking import UNWRITTEN, Marks, TaskMark
from minilm.classroom.sandbox import describe_missing

SHOWN_FAULTS = 3


def lines(marks: Marks) -> list[str]:
    """One line per task for the terminal, with what is wrong and the hint under it."""
    shown = []
    for task in marks.tasks:
        state = "right" if task.right else f"{task.passed} of {task.cases} cases"
        shown.append(
            f"{task.number:<5}{task.name:<20}{task.points:>5g} / {task.possible:<4}{task.note or state}"
        )
        shown += [f"     {text}" for text in comments(task)]
    return [*shown, f"{'':5}{'in all':<20}{marks.points:>5g} / {marks.possible}"]


def comments(task: TaskMark) -> list[str]:
    """What to tell about a task that is not right: the first faults, and the known mistake's hint."""
    if task.note == UNWRITTEN:
        return []
    told = [f"{title}: {fault}" for title, fault in task.faults[:SHOWN_FAULTS]]
    if len(task.faults) > 1 and len({fault for _, fault in task.faults}) == 1:
        told = [f"in {len(task.faults)} cases: {task.faults[0][1]}"]
    return [*told, f"hint: {task.hint}"] if task.hint else told


def report(marks: Marks, title: str) -> str:
    """The student's report in Markdown."""
    parts = [
        f"# {title}: {_escaped(marks.student)}",
        "",
        f"**{marks.points:g} of {marks.possible} points**",
        "",
    ]
    parts += ["| task | what | points | cases |", "|---|---|---|---|"]
    for task in marks.tasks:
        state = UNWRITTEN if task.note == UNWRITTEN else f"{task.passed} of {task.cases}"
        parts.append(f"| {task.number} | {task.title} | {task.points:g} / {task.possible} | {state} |")
    for task in marks.tasks:
        if (not task.right or task.note) and task.note != UNWRITTEN:
            parts += [
                "",
                f"## {task.number} {task.name}",
                "",
                *([f"{_escaped(task.note)}."] if task.note else []),
            ]
            parts += [f"- {_escaped(text)}" for text in comments(task)]
    return "\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    """A student's words inside our page: on one line, and no markup."""
    return " ".join(text.split()).replace("<", "&lt;").replace("|", "\\|")


def score_table(pile: Sequence[Marks]) -> str:
    """CSV: student, points, one column per task, the mistakes recognised. Cells never start a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [task.name for task in pile[0].tasks]
    writer.writerow(["student", "points", "possible", *names, "mistakes"])
    for marks in pile:
        mistakes = "; ".join(f"{task.name}: {task.mistake}" for task in marks.tasks if task.mistake)
        row = [marks.student, marks.points, marks.possible, *(task.points for task in marks.tasks), mistakes]
        writer.writerow([harmless(cell) for cell in row])
    return out.getvalue()


def harmless(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def gradescope(marks: Marks) -> dict[str, Any]:
    """The value of Gradescope's results.json."""
    tests = [
        {
            "name": f"{task.number} {task.title}",
            "score": task.points,
            "max_score": task.possible,
            "output": "\n".join([*([task.note] if task.note else []), *comments(task)]) or "right",
            "visibility": "visible",
        }
        for task in marks.tasks
    ]
    return {"score": marks.points, "output": describe_missing(marks.missing), "tests": tests}


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
