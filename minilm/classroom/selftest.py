"""The proof that a lab marks rightly: nothing for an empty file, all for the reference, every known mistake caught and
named, every alternative accepted, and a student's own `check` giving the points that `grade` gives. It runs what these
two run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from minilm.classroom.book import Book, make_book, public_part
from minilm.classroom.lab import Variant, load_lab, part, stub, variants
from minilm.classroom.marking import UNWRITTEN, Marks, mark, reached
from minilm.classroom.runner import Runner

SLOWEST = 60.0  # seconds per student on one core


@dataclass(frozen=True)
class Proof:
    """What one lab's selftest found; `failures` are sentences."""

    lab: str
    wrong: tuple[int, int]  # caught and named, of all
    alternatives: tuple[int, int]  # accepted, of all
    agreed: tuple[int, int]  # of both kinds: those of which `check` says what `grade` says, of all
    seconds: float  # one right submission
    megabytes: float
    missing: tuple[str, ...]
    failures: tuple[str, ...]

    def line(self) -> str:
        cost = f"{self.seconds:.2f} s and {self.megabytes:.0f} MB per student"
        return f"{self.lab}  {_counts(self.wrong, self.alternatives, self.agreed)}, {cost}"


def total(proofs: Sequence[Proof]) -> str:
    """The labs' counts added up."""
    columns = [[getattr(proof, name) for proof in proofs] for name in ("wrong", "alternatives", "agreed")]
    sums = [(sum(n for n, _ in column), sum(n for _, n in column)) for column in columns]
    return f"in all   {_counts(*sums)}"


def _counts(wrong: tuple[int, int], right: tuple[int, int], agreed: tuple[int, int]) -> str:
    return (
        f"mistakes {wrong[0]}/{wrong[1]} caught and named, alternatives {right[0]}/{right[1]} accepted, "
        f"check and grade agree on {agreed[0]}/{agreed[1]}"
    )


def prove(name: str, runner: Runner) -> Proof:
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
    counts, agreed = [], 0
    for file, fault in (("wrong.py", missed), ("alternatives.py", refused)):
        found, good = variants(lab, file), 0
        for variant in found:
            grade, check = _both(book, variant, solution, runner, file == "wrong.py")
            told = fault(book, variant, grade), differ(name, variant, grade, check)
            good, agreed = good + (not told[0]), agreed + (not told[1])
            failures += filter(None, told)
        counts.append((good, len(found)))
    facts = (seconds, full.megabytes, full.missing, tuple(failures))
    return Proof(name, counts[0], counts[1], (agreed, counts[0][1] + counts[1][1]), *facts)


def _ends(book: Book, runner: Runner, solution: str) -> Iterator[str]:
    """The empty file must get nothing and the reference everything."""
    empty = mark(book, stub(book.lab), "empty", runner)
    if empty.points or any(task.note != UNWRITTEN for task in empty.tasks):
        yield f"{book.lab.name}: the empty file gets {empty.points:g} points or is not recognised as empty"
    full = mark(book, solution, "reference", runner)
    if full.points != book.lab.points or not all(task.right for task in full.tasks):
        yield f"{book.lab.name}: the reference gets {full.points:g} of {book.lab.points} points"


def _both(book: Book, variant: Variant, solution: str, runner: Runner, alone: bool) -> tuple[Marks, Marks]:
    """A variant's marks by `grade` and by `check`, of its task and, unless `alone`, of those that call it."""
    source = variant.module(solution)

    def by(whole: Book) -> Marks:
        pages = [
            p
            for p in whole.pages
            if p.task.name == variant.task or not alone and variant.task in reached(source, p.task.name)
        ]
        return mark(replace(whole, pages=tuple(pages)), source, variant.name, runner)

    return by(book), by(public_part(book))


def differ(lab: str, variant: Variant, grade: Marks, check: Marks) -> str:
    """How a student's own check misleads about a variant; "" if it gives the same points and names the same mistake."""
    said = [f"{marks.points:g} points {[task.mistake for task in marks.tasks]}" for marks in (check, grade)]
    return (
        ""
        if said[0] == said[1]
        else f"{lab} {variant.task}, {variant.name}: check says {said[0]}, grade {said[1]}"
    )


def missed(book: Book, variant: Variant, marks: Marks) -> str:
    """What is wrong with how a known mistake is marked; "" if it loses points and is named."""
    (mine,) = marks.tasks
    where = f"{book.lab.name} {variant.task}, mistake {variant.name}"
    if mine.right or mine.points >= mine.possible:
        return f"{where}: not caught"
    if mine.mistake != variant.name or not mine.hint:
        return f"{where}: taken for {mine.mistake or 'an unknown one'}"
    page = next(page for page in book.pages if page.task.name == variant.task)
    known = next(mistake for mistake in page.mistakes if mistake.name == variant.name)
    if all("error" in answer for answer in known.answers):
        return f"{where}: raises in every case instead of answering wrongly, {known.answers[0]}"
    return ""


def refused(book: Book, variant: Variant, marks: Marks) -> str:
    """What is wrong with how an alternative is marked; "" if it gets full points."""
    if marks.points == marks.possible:
        return ""
    faults = "; ".join(f"{title}: {fault}" for task in marks.tasks for title, fault in task.faults[:1])
    return (
        f"{book.lab.name} {variant.task}, alternative {variant.name} gets {marks.points:g} points: {faults}"
    )
