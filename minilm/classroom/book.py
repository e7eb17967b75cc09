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
from minilm.classroom.lab import Case, Lab, Task, Variant, earlier, given, load_lab, part, variants
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
    recorded: tuple[
        dict[str, Any], ...
    ] = ()  # how the reference calls them in the public cases, with the answers


@dataclass(frozen=True)
class Book:
    """A lab ready for marking."""

    lab: Lab
    pages: tuple[Page, ...]
    given: str = ""  # what the lab itself gives beside the tasks


def make_book(name: str, runner: Runner) -> Book:
    """The teacher's book of a lab; a reference that fails is a mistake of ours and an AssertionError."""
    lab = load_lab(name)
    solution, wrong = part(lab, "solution.py"), variants(lab, "wrong.py")
    bare = Book(lab, (), given(lab))
    pages = []
    for task in lab.tasks:
        page = Page(task, [], (), earlier(lab, task.name))
        expected = [_told(case) for case in run_task(runner, bare, page, solution).cases]
        assert all("answers" in answer for answer in expected), f"{name} {task.name}: {expected}"
        mistakes = [
            _mistake(runner, bare, page, variant, solution) for variant in wrong if variant.task == task.name
        ]
        recorded = _recorded(runner, bare, page, solution)
        pages.append(replace(page, expected=expected, mistakes=tuple(mistakes), recorded=recorded))
    return replace(bare, pages=tuple(pages))


def _recorded(runner: Runner, book: Book, page: Page, solution: str) -> tuple[dict[str, Any], ...]:
    """The calls of earlier functions that the reference makes in the public cases, each once."""
    if page.task.name == book.lab.tasks[0].name:
        return ()
    public = replace(page, task=_public_task(page.task))
    calls = run_task(runner, book, public, solution, helped=True).calls
    return tuple({json.dumps(call): call for call in calls}.values())


def _mistake(runner: Runner, book: Book, page: Page, variant: Variant, solution: str) -> Mistake:
    answers = [_told(case) for case in run_task(runner, book, page, variant.module(solution)).cases]
    return Mistake(variant.name, variant.hint, answers)


def _told(case: dict[str, Any]) -> dict[str, Any]:
    """An answer without what is told beside it."""
    return {key: value for key, value in case.items() if key != "changed"}


def run_task(runner: Runner, book: Book, page: Page, source: str, helped: bool = False) -> Outcome:
    """A submission's answers to one task's cases; `helped` puts ours in the place of its earlier functions."""
    tasks = [one.name for one in book.lab.tasks]
    before = tasks[: tasks.index(page.task.name)] if helped else []
    helpers = page.helpers if before else ""
    recorded = [] if helpers else page.recorded
    job = submission(source, "submission.py", page.task.cases, book.given, tasks, helpers, before, recorded)
    return runner.run(job)


def public_part(book: Book) -> Book:
    """What students may have: public cases, no solution."""
    pages = tuple(_public_page(page) for page in book.pages)
    return Book(replace(book.lab, tasks=tuple(page.task for page in pages)), pages, book.given)


def _public_task(task: Task) -> Task:
    return replace(task, cases=tuple(case for case in task.cases if case.public))


def _public_page(page: Page) -> Page:
    places = [place for place, case in enumerate(page.task.cases) if case.public]
    mistakes = [Mistake(m.name, m.hint, [m.answers[place] for place in places]) for m in page.mistakes]
    expected = [page.expected[place] for place in places]
    return Page(_public_task(page.task), expected, tuple(mistakes), recorded=page.recorded)


def to_json(book: Book) -> dict[str, Any]:
    """The book as a JSON value, for `from_json`."""
    tasks = []
    for page in book.pages:
        cases = [
            {**case.__dict__, "calls": [list(call) for call in case.calls], "expected": expected["answers"]}
            for case, expected in zip(page.task.cases, page.expected, strict=True)
        ]
        mistakes = [mistake.__dict__ for mistake in page.mistakes]
        more = {"helpers": page.helpers, "recorded": list(page.recorded)}
        tasks.append({**page.task.__dict__, "cases": cases, "mistakes": mistakes, **more})
    return {"lab": book.lab.name, "title": book.lab.title, "given": book.given, "tasks": tasks}


def read_book(path: Path) -> Book:
    """The book in a `cases.json`; a damaged or foreign file raises `RunError`."""
    value = files.read_json(path)
    try:
        value = _unnamed(value)
        pages = tuple(_page(task) for task in value["tasks"])
        lab = Lab(value["lab"], value["title"], tuple(page.task for page in pages))
        return Book(lab, pages, value["given"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(
            f"{path} is not the cases of a lab; take the file from the lab's folder again"
        ) from error


def _page(task: dict[str, Any]) -> Page:
    task = dict(task)
    mistakes, helpers, stored = task.pop("mistakes"), task.pop("helpers"), task.pop("cases")
    recorded = tuple(task.pop("recorded"))
    expected = [{"answers": case.pop("expected")} for case in stored]
    cases = tuple(Case(**case) for case in stored)
    hints = tuple(task.pop("hints"))
    return Page(
        Task(**task, hints=hints, cases=cases),
        expected,
        tuple(Mistake(**m) for m in mistakes),
        helpers,
        recorded,
    )


def find_book(beside: Path, name: str | None, runner: Runner) -> Book:
    """The cases that lie beside a student's file, or the public part of the lab that is named."""
    if name is None and (beside / FILE).is_file():
        return read_book(beside / FILE)
    if name is None:
        raise ConfigError(
            f"{beside / FILE} is missing; put the file beside the lab's {FILE}, or write check LAB FILE"
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
