"""The class at a glance: points of all students, how each task went, which mistakes were made. One page of HTML.

Numbers first (`points_numbers`, `task_numbers`, `mistake_numbers`), drawing second. Knows marks, and no submissions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.ticker import MaxNLocator

from minilm.classroom.marking import Marks
from minilm.plots.layout import Headline, Section, Table, shown, write_page
from minilm.plots.style import COLOR, Picture, canvas, name_axes, style_axes

BINS = 10


class TaskShare(NamedTuple):
    """One task over the class: its name and the mean share of its points."""

    name: str
    share: float


class Frequent(NamedTuple):
    """A known mistake, what it is told, and how many made it."""

    task: str
    mistake: str
    hint: str
    students: int


def points_numbers(pile: Sequence[Marks]) -> list[int]:
    """How many students have 0-10 %, 10-20 %, ... of the points; full points are in the last."""
    counts = [0] * BINS
    for marks in pile:
        counts[min(BINS - 1, int(BINS * marks.points / marks.possible))] += 1
    return counts


def task_numbers(pile: Sequence[Marks]) -> list[TaskShare]:
    """The mean share of the points in every task, in the lab's order."""
    columns = zip(*(marks.tasks for marks in pile), strict=True)
    return [TaskShare(c[0].name, sum(t.points for t in c) / (len(c) * c[0].possible)) for c in columns]


def mistake_numbers(pile: Sequence[Marks]) -> list[Frequent]:
    """The mistakes recognised, the most frequent first."""
    found = Counter((t.name, t.mistake, t.hint) for marks in pile for t in marks.tasks if t.mistake)
    return [Frequent(*key, count) for key, count in found.most_common()]


def draw_points(counts: Sequence[int]) -> Picture:
    figure, axes = canvas(5.6, 2.8, right=0.2)
    axes.bar([10 * k + 5 for k in range(len(counts))], counts, width=9, color=COLOR["model"])
    axes.set_xlim(0, 100)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    name_axes(axes, "per cent of the points", "students")
    return figure


def draw_tasks(shares: Sequence[TaskShare]) -> Picture:
    figure, axes = canvas(5.6, 0.9 + 0.36 * len(shares), left=1.6, right=0.5)
    style_axes(axes, grid="x")
    axes.barh(range(len(shares)), [100 * s.share for s in shares], height=0.6, color=COLOR["model"])
    for row, share in enumerate(shares):
        axes.text(100 * share.share + 1, row, f"{100 * share.share:.0f}", va="center", color=COLOR["model"])
    axes.set_yticks(range(len(shares)), [share.name for share in shares])
    axes.set_ylim(len(shares) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    name_axes(axes, "per cent of the points, mean", "")
    return figure


def write_summary(pile: Sequence[Marks], title: str, path: Path) -> Path:
    """Writes the page."""
    mean = sum(marks.points for marks in pile) / len(pile)
    full = sum(marks.points == marks.possible for marks in pile)
    headlines = [
        Headline(str(len(pile)), "students"),
        Headline(f"{mean:.1f}", "points on average", f"of {pile[0].possible}", "model"),
        Headline(str(full), "with full points"),
    ]
    pictures = [
        shown(
            draw_points(points_numbers(pile)),
            "Points",
            "Each bar counts the students in a tenth of the range.",
        ),
        shown(draw_tasks(task_numbers(pile)), "Tasks", "A short bar is a task to talk about again."),
    ]
    mistakes = [(f.task, f.mistake.replace("_", " "), str(f.students), f.hint) for f in mistake_numbers(pile)]
    told = Table("Mistakes recognised", ("task", "mistake", "students", "what they were told"), mistakes)
    rows = [(m.student, f"{m.points:g}", *(f"{t.points:g}" for t in m.tasks)) for m in pile]
    points = Table("Points", ("student", "points", *(t.name for t in pile[0].tasks)), rows)
    sections = [Section("Class", pictures=pictures, tables=[told]), Section("Students", tables=[points])]
    return write_page(
        path,
        title,
        sections,
        headlines=headlines,
        made="Made by minilm.classroom from the marks in scores.csv.",
    )
