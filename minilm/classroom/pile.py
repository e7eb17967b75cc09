"""A teacher's pile: many submissions marked at the same time, and the folder of reports that comes of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from minilm import files
from minilm.classroom.book import Book
from minilm.classroom.marking import Marks, mark_file
from minilm.classroom.reports import classroom50, gradescope, report, score_table
from minilm.classroom.runner import Limits, Runner, shared_out


def mark_pile(book: Book, found: Mapping[str, Path], limits: Limits, jobs: int = 1) -> list[Marks]:
    """All submissions in order, `jobs` at a time."""
    return shared_out(
        list(found),
        lambda name, runner: mark_file(book, found[name], name, runner),
        partial(Runner, limits),
        jobs,
    )


def write_pile(book: Book, marked: Sequence[Marks], out: Path) -> None:
    """Writes `scores.csv`, the pages about the class and a folder for each student; `out` must be new or empty."""
    from minilm.classroom.summary import write_summary

    files.new_folder(out)
    for marks in marked:
        folder = files.make_folder(out / "students" / marks.student)
        files.write_text(folder / "report.md", report(marks, book.lab.title))
        files.write_json(folder / "results.json", gradescope(marks))
        files.write_json(folder / "result.json", classroom50(marks, os.environ))
    files.write_text(out / "scores.csv", score_table(marked))
    write_summary(marked, f"{book.lab.title}: the class", out)
