"""A teacher's pile: many submissions marked at the same time, and the folder of marks and reports that comes of it.

Every mark is on the disk before the next submission begins, in a log of one line per submission; the tables and pages
are made from that log. Whoever marks again into the same folder goes on where the log ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from minilm import files
from minilm.classroom.book import Book, to_json
from minilm.classroom.marking import Marks, TaskMark, from_record, mark_file, to_record
from minilm.classroom.platforms import Grade, Person, canvas, gradescope_table, moodle
from minilm.classroom.reports import classroom50, comments, gradescope, report, score_table, table
from minilm.classroom.runner import Limits, Runner, shared_out
from minilm.classroom.similarity import WINDOW, K, similar
from minilm.classroom.submissions import Submission, by_path
from minilm.errors import ConfigError, MinilmError, RunError, did_you_mean

LOG, ABOUT = "marks.jsonl", "grading.json"
LAST = "result.json"  # of a student's files, in the order in which they are written
LONGEST_NAME = 80  # characters of a student's folder; systems stop at 255 bytes


@dataclass
class Ledger:
    """The folder of a grading: what has been marked already, of which file, with which cases."""

    out: Path
    salt: str
    done: dict[str, tuple[str, Marks]] = field(default_factory=dict)  # student -> (digest of the file, marks)
    _lock: Any = field(default_factory=threading.Lock)

    @property
    def students(self) -> Path:
        """Where their reports are."""
        return self.out / "students"

    def add(self, marks: Marks, digest: str) -> None:
        """Writes one student's marks; they are on the disk when this returns."""
        with self._lock:
            files.append_record(self.out / LOG, {"digest": digest, "marks": to_record(marks)})
            self.done[marks.student] = digest, marks


@contextlib.contextmanager
def open_ledger(out: Path, resume: bool) -> Iterator[Ledger]:
    """The folder of a new grading, or with `resume` of one that was begun; it is tried before anything is marked.

    A second grader is kept out of it, so that the tables hold what the log holds.
    """
    if not (out / ABOUT).is_file():
        try:
            files.new_folder(out)
        except ConfigError as error:
            if not out.is_dir():
                raise
            raise RunError(f"{out} holds no marks of ours, {ABOUT} is missing; choose a new --out") from error
    elif not resume:
        raise ConfigError(
            f"the folder {out} holds marks already; add --resume to go on, or choose another --out"
        )
    with files.held(out):
        if not (out / ABOUT).is_file():
            files.write_json(out / ABOUT, {"salt": secrets.token_hex(8)}, sealed=True)
        about = files.read_json(out / ABOUT)
        files.check_shape(out / ABOUT, about, {"salt": str, "cases?": str})
        ledger = Ledger(out, about["salt"])
        for record in files.read_records(out / LOG) if (out / LOG).is_file() else []:
            marks = from_record(record["marks"])
            ledger.done[marks.student] = record["digest"], marks
        yield ledger


def fits(ledger: Ledger, book: Book) -> None:
    """Keeps marks of one lab's cases from being mixed with those of others."""
    cases = hashlib.sha256(repr(to_json(book)).encode()).hexdigest()
    about = files.read_json(ledger.out / ABOUT)
    if about.get("cases", cases) != cases:
        raise ConfigError(
            f"{ledger.out} holds marks by other cases; choose a new --out, since they do not compare"
        )
    files.write_json(ledger.out / ABOUT, {**about, "lab": book.lab.name, "cases": cases}, sealed=True)


@dataclass(frozen=True)
class Again:
    """What is to be marked although it is in the ledger: these students, these tasks; nothing means whatever is new."""

    students: Sequence[str] = ()
    tasks: Sequence[str] = ()

    def check(self, book: Book, students: Sequence[str]) -> None:
        for name in self.students:
            if name not in students:
                raise ConfigError(f"there is no submission of {name!r}; {did_you_mean(name, students)}")
        for name in self.tasks:
            book.lab.task(name)

    def kept(self, student: str, old: tuple[str, Marks] | None, digest: str) -> Mapping[str, TaskMark] | None:
        """The tasks' marks that stay; None where all of the old marks do."""
        if old is None or old[0] != digest:
            return {}
        asked = bool(self.students or self.tasks) and (not self.students or student in self.students)
        if not asked:
            return None
        return {task.name: task for task in old[1].tasks if self.tasks and task.name not in self.tasks}


def mark_pile(
    book: Book,
    found: Mapping[str, Submission | Path],
    limits: Limits,
    jobs: int = 1,
    ledger: Ledger | None = None,
    again: Again | None = None,
    told: Callable[[Marks], None] = lambda marks: None,
) -> list[Marks]:
    """All submissions in order, `jobs` at a time; with a ledger, what is in it already is not marked again.

    `told` hears of each when it is marked.
    """
    again = again or Again()
    again.check(book, list(found))
    single = {name: path for name, path in found.items() if isinstance(path, Path)}
    pile = {name: one for name, one in found.items() if isinstance(one, Submission)} | by_path(single)

    def work(name: str, runner: Runner) -> Marks:
        one, digest = pile[name], digest_of(pile[name])
        old = ledger.done.get(name) if ledger else None
        kept = again.kept(name, old, digest)
        if kept is None and old and ledger:
            # a disk that fails may have kept the marks and not the report
            if not (ledger.students / folder_name(name) / LAST).is_file():
                write_student(book, old[1], ledger.out)
            return old[1]
        marks = mark_file(book, one, name, runner, kept)
        if ledger:
            files.delete(ledger.students / folder_name(name) / LAST)
            ledger.add(marks, digest)
            write_student(book, marks, ledger.out)
        told(marks)
        return marks

    return shared_out(list(found), work, partial(Runner, limits), jobs)


def digest_of(submission: Submission) -> str:
    """What tells whether a student's file is still the one that was marked."""
    try:
        return hashlib.sha256(submission.file.encode("utf-8", "replace") + submission.data()).hexdigest()
    except Exception as error:  # whatever it is, marking will meet it again and tell
        return repr(error).encode("ascii", "backslashreplace").decode()


def folder_name(student: str) -> str:
    """A name for a student's folder on any system; where it had to be changed, a digest keeps it apart."""
    name = unicodedata.normalize("NFC", student)
    safe = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]', "_", name)[:LONGEST_NAME].strip(" .") or "_"
    safe = safe.encode("utf-8", "replace")[:200].decode("utf-8", "ignore")
    same = safe == student
    return safe if same else f"{safe}-{hashlib.sha256(student.encode('utf-8', 'replace')).hexdigest()[:6]}"


def write_student(book: Book, marks: Marks, out: Path) -> None:
    """One student's report in the forms that students and platforms read."""
    from minilm.classroom.summary import write_report

    folder = files.make_folder(out / "students" / folder_name(marks.student))
    files.write_text(folder / "report.md", report(marks, book.lab.title))
    write_report(marks, book.lab.title, folder / "report.html")
    files.write_json(folder / "results.json", gradescope(marks))
    files.write_json(folder / LAST, classroom50(marks, os.environ))


def write_pile(book: Book, marked: Sequence[Marks], out: Path) -> None:
    """Writes `scores.csv`, the pages about the class and a folder for each student; `out` must be new or empty."""
    files.new_folder(out)
    for marks in marked:
        write_student(book, marks, out)
    write_tables(book, marked, out)


def write_tables(
    book: Book,
    marked: Sequence[Marks],
    out: Path,
    known: Mapping[str, Person] = MappingProxyType({}),
    absent: Sequence[Person] = (),
) -> None:
    """What is about the whole class; a roster tells whom a student's file belongs to and who handed in nothing."""
    from minilm.classroom.summary import write_summary

    _write_csv(out / "scores.csv", score_table(marked, known))
    write_summary(marked, f"{book.lab.title}: the class", out)
    title = f"Lab {book.lab.name.removeprefix('lab')} {book.lab.title}"
    grades = [
        Grade(
            m.student,
            known.get(m.student, Person()),
            None if m.unread else m.points,
            m.possible,
            _feedback(m),
        )
        for m in marked
    ]
    grades += [Grade(one.name or one.id, one, None, book.lab.points, "", handed_in=False) for one in absent]
    for name, rows in {
        "moodle.csv": moodle(grades),
        "canvas.csv": canvas(grades, title),
        "gradescope.csv": gradescope_table(grades, title),
    }.items():
        _write_csv(out / "grades" / name, table(rows))


def _feedback(marks: Marks) -> str:
    """A line for a platform's field of comments."""
    said = [
        f"{task.number} {task.name}: {text}"
        for task in marks.tasks
        for text in comments(task, marks.notes)[:1]
    ]
    return "; ".join([*marks.notes, *said])[:2000]


def _write_csv(path: Path, text: str) -> None:
    files.make_folder(path.parent)
    files.write_text(path, "\ufeff" + text)  # the mark by which Excel knows UTF-8


def write_similarity(
    book: Book, sources: Mapping[str, str], given: str, out: Path, least: float = 0.5
) -> Path:
    """Pairs of submissions that share much of their code, for the teacher; `given` is what was handed out."""
    from minilm.plots.layout import Section, Table, write_page

    pairs = similar(sources, given, least)
    rows = [(pair.first, pair.second, f"{100 * pair.share:.0f} %", str(pair.fingerprints)) for pair in pairs]
    _write_csv(out / "similarity.csv", table([("first", "second", "share", "common fingerprints"), *rows]))
    about = (
        f"Pairs of the {len(sources)} submissions that share at least {100 * least:.0f} % of their fingerprints, by "
        f"winnowing (Schleimer, Wilkerson and Aiken 2003; {K} tokens, windows of {WINDOW}, as in Dolos). What was "
        "handed out and what more than half of the class has is left out. A high share is a reason to look, no proof."
    )
    tables = [Table("Pairs", ("first", "second", "share", "common fingerprints"), rows)] if rows else []
    intro = about if rows else f"{about} There is no such pair."
    title = f"{book.lab.title}: alike"
    made = "Made by minilm.classroom; for the teacher, since it names students."
    return write_page(
        out / "similarity.html", title, [Section("Pairs", intro=intro, tables=tables)], made=made
    )


def aliases(students: Sequence[str], salt: str) -> dict[str, str]:
    """A name for each student that says nothing and stays the same while the folder is marked again."""
    digests = {
        name: hashlib.sha256((salt + name).encode("utf-8", "replace")).hexdigest() for name in students
    }
    return {name: f"student-{digest[:8]}" for name, digest in digests.items()}


def anonymous(found: Mapping[str, Submission], names: Mapping[str, str]) -> dict[str, Submission]:
    """The pile under other names, in the order of those; what could tell the old ones is taken out."""
    hidden = {
        names[name]: replace(one, student=names[name], file="submission" + Path(one.file).suffix, id="")
        for name, one in found.items()
    }
    for name, one in found.items():
        told = tuple(text.replace(one.file, "the file").replace(name, "the student") for text in one.notes)
        problem = one.problem.replace(name, "the student").replace(one.file or "\0", "the file")
        hidden[names[name]] = replace(hidden[names[name]], notes=told, problem=problem)
    return dict(sorted(hidden.items()))


def write_names(names: Mapping[str, str], known: Mapping[str, Person], out: Path) -> None:
    """Who is who, for whoever enters the marks in the end."""
    rows = [
        [alias, name, known.get(name, Person()).id, known.get(name, Person()).email]
        for name, alias in names.items()
    ]
    _write_csv(out / "names.csv", table([["alias", "student", "id", "email"], *sorted(rows)]))


def texts(found: Mapping[str, Submission], read: Callable[[Submission], tuple[str, Any]]) -> dict[str, str]:
    """The submissions that can be read, as text."""
    sources = {}
    for name, one in found.items():
        with contextlib.suppress(MinilmError):
            sources[name] = read(one)[0]
    return sources
