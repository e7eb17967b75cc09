"""A teacher's pile: many submissions marked at the same time, and the folder of reports that comes of it."""

from __future__ import annotations

import os
import queue
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from minilm import files
from minilm.classroom.book import Book
from minilm.classroom.marking import Marks, mark_file
from minilm.classroom.reports import classroom50, gradescope, report, score_table
from minilm.classroom.runner import Limits, Runner


def mark_pile(book: Book, found: Mapping[str, Path], limits: Limits, jobs: int = 1) -> list[Marks]:
    """All submissions in order, `jobs` at a time; each job has a worker process of its own."""
    with ExitStack() as stack:
        free: queue.Queue[Runner] = queue.Queue()
        for _ in range(min(jobs, len(found))):
            free.put(stack.enter_context(Runner(limits)))

        def one(student: str) -> Marks:
            runner = free.get()
            try:
                return mark_file(book, found[student], student, runner)
            finally:
                free.put(runner)

        threads = stack.enter_context(ThreadPoolExecutor(jobs))
        return list(threads.map(one, found))


def write_pile(book: Book, marked: Sequence[Marks], out: Path) -> None:
    """Writes `scores.csv`, the class's page and a folder for each student; `out` must be new or empty."""
    from minilm.classroom.summary import write_summary

    files.new_folder(out)
    for marks in marked:
        folder = files.make_folder(out / "students" / marks.student)
        files.write_text(folder / "report.md", report(marks, book.lab.title))
        files.write_json(folder / "results.json", gradescope(marks))
        files.write_json(folder / "result.json", classroom50(marks, os.environ))
    files.write_text(out / "scores.csv", score_table(marked))
    write_summary(marked, f"{book.lab.title}: the class", out / "class.html")
