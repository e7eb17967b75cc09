"""The book of a lab: its tasks with all expected answers and the answers of all known mistakes, as plain data.

Made once from a lab's folder by running the reference and the mistakes where students' code runs too; marking needs
nothing else. The student's copy holds the public cases only and no line of a solution. This file knows no marks.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minilm import files
from minilm.classroom.lab import Case, Lab, Task, Variant, earlier, load_lab, part, variants
from minilm.classroom.runner import Outcome, Runner, submission
from minilm.errors import ConfigError, RunError

FILE = "cases.json"


@dataclass(frozen=True)
class Mistake:
    """A known wrong solution of a task: what it answers, and what to tell whoever gives the same answers."""

    name: str
    hint: str
    answers: list[dict[str, Any]]  # one per case, as in `Outcome`


@dataclass(frozen=True)
class Page:
    """One task of the book."""

    task: Task
    expected: list[dict[str, Any]]
    mistakes: tuple[Mistake, ...]
    helpers: str = ""  # the reference of the earlier tasks


@dataclass(frozen=True)
class Book:
    """A lab ready for marking."""

    lab: Lab
    pages: tuple[Page, ...]


def make_book(name: str, runner: Runner) -> Book:
    """The teacher's book of a lab; a reference that fails is a mistake of ours and an AssertionError."""
    lab = load_lab(name)
    solution, wrong = part(lab, "solution.py"), variants(lab, "wrong.py")
    pages = []
    for task in lab.tasks:
        expected = run_task(runner, task, solution).cases
        assert all("answers" in answer for answer in expected), f"{name} {task.name}: {expected}"
        mistakes = [
            _mistake(runner, task, variant, solution) for variant in wrong if variant.task == task.name
        ]
        pages.append(Page(task, expected, tuple(mistakes), earlier(lab, task.name)))
    return Book(lab, tuple(pages))


def _mistake(runner: Runner, task: Task, variant: Variant, solution: str) -> Mistake:
    return Mistake(variant.name, variant.hint, run_task(runner, task, variant.module(solution)).cases)


def run_task(
    runner: Runner, task: Task, source: str, name: str = "submission.py", helpers: str = ""
) -> Outcome:
    """A submission's answers to one task's cases; with `helpers` those functions take the place of its own."""
    replaced = [line[4:].split("(")[0] for line in helpers.splitlines() if line.startswith("def ")]
    return runner.run(submission(source, name, task.cases, helpers, replaced))


def public_part(book: Book) -> Book:
    """What students may have: public cases, no solution."""
    pages = tuple(_public_page(page) for page in book.pages)
    return Book(replace(book.lab, tasks=tuple(page.task for page in pages)), pages)


def _public_page(page: Page) -> Page:
    places = [place for place, case in enumerate(page.task.cases) if case.public]
    task = Task(**{**page.task.__dict__, "cases": tuple(page.task.cases[place] for place in places)})
    mistakes = [Mistake(m.name, m.hint, [m.answers[place] for place in places]) for m in page.mistakes]
    return Page(task, [page.expected[place] for place in places], tuple(mistakes))


def to_json(book: Book) -> dict[str, Any]:
    """The book as a JSON value, for `from_json`."""
    tasks = []
    for page in book.pages:
        cases = [
            {**case.__dict__, "calls": [list(call) for call in case.calls], "expected": expected["answers"]}
            for case, expected in zip(page.task.cases, page.expected, strict=True)
        ]
        mistakes = [mistake.__dict__ for mistake in page.mistakes]
        tasks.append({**page.task.__dict__, "cases": cases, "mistakes": mistakes, "helpers": page.helpers})
    return {"lab": book.lab.name, "title": book.lab.title, "tasks": tasks}


def read_book(path: Path) -> Book:
    """The book in a `cases.json`; a damaged or foreign file raises `RunError`."""
    value = files.read_json(path)
    try:
        value = _unnamed(value)
        pages = tuple(_page(task) for task in value["tasks"])
        return Book(Lab(value["lab"], value["title"], tuple(page.task for page in pages)), pages)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(
            f"{path} is not the cases of a lab; take the file from the lab's folder again"
        ) from error


def _page(task: dict[str, Any]) -> Page:
    task = dict(task)
    mistakes, helpers, stored = task.pop("mistakes"), task.pop("helpers"), task.pop("cases")
    expected = [{"answers": case.pop("expected")} for case in stored]
    cases = tuple(Case(**case) for case in stored)
    hints = tuple(task.pop("hints"))
    return Page(
        Task(**task, hints=hints, cases=cases), expected, tuple(Mistake(**m) for m in mistakes), helpers
    )


def find_book(beside: Path, name: str | None, runner: Runner) -> Book:
    """The cases that lie beside a student's file, or the public part of the lab that is named."""
    if name is None and (beside / FILE).is_file():
        return read_book(beside / FILE)
    if name is None:
        raise ConfigError(
            f"{beside / FILE} is missing; put the file beside the lab's {FILE}, or name a --lab"
        )
    return public_part(make_book(name, runner))


def write_book(book: Book, path: Path) -> None:
    """The book as a file for `read_book`."""
    files.write_text(path, json.dumps(_named(to_json(book)), ensure_ascii=False, allow_nan=False) + "\n")


def _named(value: Any) -> Any:
    """Infinities and NaN as {"number": name}, since JSON has no numbers for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value)}
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    return [_named(item) for item in value] if isinstance(value, (list, tuple)) else value


def _unnamed(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"number"}:
            return float(value["number"])
        return {key: _unnamed(item) for key, item in value.items()}
    return [_unnamed(item) for item in value] if isinstance(value, list) else value
