"""The proof that a lab marks rightly: nothing for an empty file, all for the reference, every known mistake caught and
named, every alternative accepted, hostile files held. It runs what `grade` runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from minilm.classroom.book import Book, make_book
from minilm.classroom.lab import Variant, load_lab, part, stub, variants
from minilm.classroom.marking import UNWRITTEN, mark, reached
from minilm.classroom.runner import Runner

SLOWEST = 60.0  # seconds per student on one core


@dataclass(frozen=True)
class Proof:
    """What one lab's selftest found; `failures` are sentences."""

    lab: str
    wrong: tuple[int, int]  # caught and named, of all
    alternatives: tuple[int, int]  # accepted, of all
    seconds: float  # one right submission
    megabytes: float
    missing: tuple[str, ...]
    failures: tuple[str, ...]

    def line(self) -> str:
        return (
            f"{self.lab}  mistakes {self.wrong[0]}/{self.wrong[1]} caught and named, alternatives "
            f"{self.alternatives[0]}/{self.alternatives[1]} accepted, {self.seconds:.2f} s and "
            f"{self.megabytes:.0f} MB per student"
        )


def total(proofs: Sequence[Proof]) -> str:
    """The labs' counts added up."""
    sums = [
        [sum(getattr(proof, name)[n] for proof in proofs) for n in (0, 1)]
        for name in ("wrong", "alternatives")
    ]
    (caught_, wrong), (accepted_, right) = sums
    return f"in all   mistakes {caught_}/{wrong} caught and named, alternatives {accepted_}/{right} accepted"


def prove(name: str, runner: Runner, told: Callable[[str], None] = lambda _: None) -> Proof:
    """Marks the empty file, the reference, all mistakes and all alternatives of a lab."""
    lab = load_lab(name)
    book = make_book(name, runner)
    solution = part(lab, "solution.py")
    failures = list(_ends(book, runner, solution))
    start = time.perf_counter()
    full = mark(book, solution, "reference", runner)
    seconds = time.perf_counter() - start
    if seconds > SLOWEST:
        failures.append(
            f"{name}: marking one student took {seconds:.0f} s, at most {SLOWEST:.0f} are promised"
        )
    counts = {}
    for file, test in (("wrong.py", caught), ("alternatives.py", accepted)):
        found = [test(book, variant, solution, runner) for variant in variants(lab, file)]
        bad = [text for text in found if text]
        failures += bad
        counts[file] = (len(found) - len(bad), len(found))
        told(f"{name} {file}: {len(found)} marked")
    return Proof(
        name,
        counts["wrong.py"],
        counts["alternatives.py"],
        seconds,
        full.megabytes,
        full.missing,
        tuple(failures),
    )


def _ends(book: Book, runner: Runner, solution: str) -> Iterator[str]:
    """The empty file must get nothing and the reference everything."""
    empty = mark(book, stub(book.lab), "empty", runner)
    if empty.points or any(task.note != UNWRITTEN for task in empty.tasks):
        yield f"{book.lab.name}: the empty file gets {empty.points:g} points or is not recognised as empty"
    full = mark(book, solution, "reference", runner)
    if full.points != book.lab.points or not all(task.right for task in full.tasks):
        yield f"{book.lab.name}: the reference gets {full.points:g} of {book.lab.points} points"


def caught(book: Book, variant: Variant, solution: str, runner: Runner) -> str:
    """What is wrong with how a known mistake is marked; "" if it loses points and is named."""
    page = next(page for page in book.pages if page.task.name == variant.task)
    (mine,) = mark(replace(book, pages=(page,)), variant.module(solution), variant.name, runner).tasks
    where = f"{book.lab.name} {variant.task}, mistake {variant.name}"
    if mine.right or mine.points >= mine.possible:
        return f"{where}: not caught"
    if mine.mistake != variant.name or not mine.hint:
        return f"{where}: taken for {mine.mistake or 'an unknown one'}"
    known = next(mistake for mistake in page.mistakes if mistake.name == variant.name)
    if all("error" in answer for answer in known.answers):
        return f"{where}: raises in every case instead of answering wrongly, {known.answers[0]}"
    return ""


def accepted(book: Book, variant: Variant, solution: str, runner: Runner) -> str:
    """What is wrong with how an alternative is marked; "" if it gets full points."""
    source = variant.module(solution)
    pages = [p for p in book.pages if variant.task in (p.task.name, *reached(source, p.task.name))]
    marks = mark(replace(book, pages=tuple(pages)), source, variant.name, runner)  # nothing else can change
    if marks.points == marks.possible:
        return ""
    faults = "; ".join(f"{title}: {fault}" for task in marks.tasks for title, fault in task.faults[:1])
    return (
        f"{book.lab.name} {variant.task}, alternative {variant.name} gets {marks.points:g} points: {faults}"
    )
