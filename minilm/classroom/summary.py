"""The class at a glance: points of all students, how each task went, which mistakes were made.

Two pages of HTML: one without names, to be shown in class, and one with every student's points, for the teacher.
Numbers first (`points_numbers`, `task_numbers`, `mistake_numbers`), drawing second. Knows marks, and no submissions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.ticker import MaxNLocator

from minilm.classroom.marking import UNWRITTEN, Marks, TaskMark
from minilm.classroom.reports import comments
from minilm.plots.layout import Headline, Section, Table, shown, write_page
from minilm.plots.style import COLOR, Picture, canvas, name_axes, style_axes
from minilm.plots.verdict import Sentence

BINS = 10


class TaskShare(NamedTuple):
    """One task over the class: its name, the mean share of its points, and how many students have it right, made a
    mistake that is known, made another one, or have not written it, unread files among these."""

    name: str
    share: float
    right: int
    known: int
    other: int
    unwritten: int


# a count of TaskShare -> (its colour, its label and where that stands above the picture)
STATES = {
    "right": ("model", "right", -0.12),
    "known": ("default", "known mistake", 0.07),
    "other": ("failed", "another mistake", 0.41),
    "unwritten": ("grid", "not written", 0.79),
}


class Frequent(NamedTuple):
    """A known mistake, what it is told, and how many made it."""

    task: str
    mistake: str
    hint: str
    students: int


def read_ones(pile: Sequence[Marks]) -> list[Marks]:
    """The submissions that could be marked."""
    return [marks for marks in pile if not marks.unread]


def points_numbers(pile: Sequence[Marks]) -> list[int]:
    """How many students have 0-10 %, 10-20 %, ... of the points; full points are in the last. Files that could not be
    read say nothing about anybody."""
    counts = [0] * BINS
    for marks in read_ones(pile):
        counts[min(BINS - 1, int(BINS * marks.points / marks.possible))] += 1
    return counts


def task_numbers(pile: Sequence[Marks]) -> list[TaskShare]:
    """The mean share of the points in every task, in the lab's order."""
    columns = zip(*(marks.tasks for marks in read_ones(pile)), strict=True)
    return [_task_share(column) for column in columns]


def _task_share(column: Sequence[TaskMark]) -> TaskShare:
    share = sum(task.points for task in column) / (len(column) * column[0].possible)
    counts = Counter(map(_state, column))
    return TaskShare(column[0].name, share, *(counts[state] for state in STATES))


def _state(task: TaskMark) -> str:
    if task.right:
        return "right"
    return "unwritten" if task.note == UNWRITTEN else "known" if task.mistake else "other"


def mistake_numbers(pile: Sequence[Marks]) -> list[Frequent]:
    """The mistakes recognised, the most frequent first."""
    found = Counter((t.name, t.mistake, t.hint) for marks in pile for t in marks.tasks if t.mistake)
    return [Frequent(*key, count) for key, count in found.most_common()]


def draw_points(counts: Sequence[int], height: float = 2.8) -> Picture:
    figure, axes = canvas(5.6, height, right=0.2)
    axes.bar([10 * k + 5 for k in range(len(counts))], counts, width=9, color=COLOR["model"])
    axes.set_xlim(0, 100)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    name_axes(axes, "per cent of the points", "students")
    return figure


def draw_tasks(shares: Sequence[TaskShare], height: float = 2.8) -> Picture:
    figure, axes = canvas(5.6, height, left=1.6, right=0.2, top=0.4)
    style_axes(axes, grid="x")
    left = [0] * len(shares)
    for state, (color, label, place) in STATES.items():
        counts = [getattr(share, state) for share in shares]
        axes.barh(range(len(shares)), counts, left=left, height=0.6, color=COLOR[color])
        left = [done + count for done, count in zip(left, counts, strict=True)]
        shade = COLOR["muted" if color == "grid" else color]
        axes.text(place, 1.03, label, transform=axes.transAxes, color=shade, fontsize=9)
    axes.set_yticks(range(len(shares)), [share.name for share in shares])
    axes.set_ylim(len(shares) - 0.5, -0.5)
    axes.set_xlim(0, max(left))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    name_axes(axes, "students", "")
    return figure


def write_summary(pile: Sequence[Marks], title: str, folder: Path) -> None:
    """Writes class.html and students.html."""
    made = "Made by minilm.classroom from the marks in scores.csv."
    heads = _headlines(pile)
    write_page(folder / "class.html", title, _class_section(pile), headlines=heads, made=made)
    rows = [(m.student, *(["not read", *["-"] * len(m.tasks)] if m.unread else _points(m))) for m in pile]
    numbers = ", ".join(f"{t.number} {t.name}" for t in pile[0].tasks)
    points = Table("Points", ("student", "points", *(t.number for t in pile[0].tasks)), rows, note=numbers)
    about = "For the teacher: this page names the students."
    section = Section("Students", intro=about, tables=[points])
    sections = [section, *_unread_section(pile)]
    write_page(folder / "students.html", f"{title}, by name", sections, headlines=heads, made=made)


def write_report(marks: Marks, title: str, path: Path) -> None:
    """One student's page: the points of each task, what is wrong, and what to do about it."""
    rows = [(t.number, t.title, f"{t.points:g} / {t.possible}", _told_state(t)) for t in marks.tasks]
    tables = [Table("Points", ("task", "what", "points", "cases"), rows)]
    sections = [Section("Tasks", tables=tables)]
    for task in marks.tasks:
        said = comments(task, marks.notes)
        note = "" if task.note in (UNWRITTEN, *marks.notes) else task.note
        if said or note:
            text = "\n".join(f"- {line}" for line in said)
            sections.append(Section(f"{task.number} {task.name}", intro=note, texts=[text] if text else []))
    heads = [Headline(f"{marks.points:g}", "points", f"of {marks.possible}", "model")]
    sentences = [Sentence("bad" if marks.unread else "plain", note) for note in marks.notes]
    made = "Made by minilm.classroom."
    write_page(path, f"{title}: {marks.student}", sections, sentences=sentences, headlines=heads, made=made)


def _points(marks: Marks) -> list[str]:
    return [f"{marks.points:g}", *(f"{task.points:g}" for task in marks.tasks)]


def _told_state(task: TaskMark) -> str:
    return UNWRITTEN if task.note == UNWRITTEN else f"{task.passed} of {task.cases} right"


def _headlines(pile: Sequence[Marks]) -> list[Headline]:
    able = read_ones(pile)
    mean = sum(marks.points for marks in able) / max(1, len(able))
    full = sum(marks.points == marks.possible for marks in able)
    unread = len(pile) - len(able)
    heads = [
        Headline(str(len(pile)), "students"),
        Headline(f"{mean:.1f}" if able else "-", "points on average", f"of {pile[0].possible}", "model"),
        Headline(str(full), "with full points"),
    ]
    told = "and not in the average"
    return [*heads, *([Headline(str(unread), "files could not be read", told, "failed")] if unread else [])]


def _unread_section(pile: Sequence[Marks]) -> list[Section]:
    rows = [(marks.student, "; ".join(marks.notes)) for marks in pile if marks.unread]
    about = "These say nothing about the students; ask for the files again."
    table = Table("Files that could not be read", ("student", "why"), rows)
    return [Section("Not read", intro=about, tables=[table])] if rows else []


def _class_section(pile: Sequence[Marks]) -> list[Section]:
    if not read_ones(pile):
        return [Section("Class", intro="No submission could be read.")]
    shares = task_numbers(pile)
    height = max(2.8, 0.95 + 0.36 * len(shares))  # the same for both, which stand side by side
    pictures = [
        shown(
            draw_points(points_numbers(pile), height),
            "Points",
            "Each bar counts the students in a tenth of the range.",
        ),
        shown(
            draw_tasks(shares, height),
            "Tasks",
            "Each bar is the class. Orange was told what is wrong; red is worth a look, since nothing known fits.",
        ),
    ]
    mistakes = [
        (f.task, f.mistake.replace("_", " "), str(f.students), f.hint.replace("`", ""))
        for f in mistake_numbers(pile)
    ]
    told = Table("Mistakes recognised", ("task", "mistake", "students", "what they were told"), mistakes)
    intro = "" if mistakes else "No known mistake was recognised."
    pages = [Section("Class", intro=intro, pictures=pictures)]
    if mistakes:
        pages.append(Section("Mistakes", tables=[told]))
    return pages
