"""Reads and writes the files of learning platforms: rosters of students in, columns of grades out.

Moodle's grading worksheet, Canvas's and Gradescope's grade books are CSV; each names a student by a number of its own
and by an address. This file knows names and points, no tasks and no files of students.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from minilm.errors import ConfigError

# What columns are called: ours first, then by Moodle, Canvas and Gradescope, in lower case.
COLUMNS = {
    "id": ("id", "identifier", "id number", "sis user id", "sid", "student id", "user id"),
    "email": ("email", "email address", "sis login id", "e-mail", "mail"),
    "name": ("name", "full name", "student", "student name"),
    "first": ("first name", "firstname", "vorname"),
    "last": ("last name", "surname", "lastname", "nachname"),
    "late": ("late days", "late", "late_days", "lateness"),
}


@dataclass(frozen=True)
class Person:
    """A student of a roster; `late` as the roster says it, in days."""

    id: str = ""
    email: str = ""
    name: str = ""
    late: str = ""


class Grade(NamedTuple):
    """A student's points for a platform, None where a file could not be read; `handed_in` is False without a file."""

    student: str
    person: Person
    points: float | None
    possible: float
    feedback: str = ""
    handed_in: bool = True


def read_roster(path: Path) -> list[Person]:
    """The students of a CSV with a column id, email or name, and late days where it has them; any platform's does."""
    if path.is_dir() or not path.exists():
        raise ConfigError(
            f"a roster must be a file, got {path}, which is none; give a CSV with id, email, late days"
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        text = path.read_bytes().decode("cp1252", "replace")
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}; give a CSV with id, email, late days"
        ) from error
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)  # Excel writes ; where a comma separates decimals
    try:
        rows = list(csv.DictReader(io.StringIO(text), delimiter=separator))
    except csv.Error as error:
        raise ConfigError(
            f"{path} must be a table in CSV, got a line that is none ({error}); save it as CSV"
        ) from error
    named = {name: _column(rows[0] if rows else {}, known) for name, known in COLUMNS.items()}
    if not any(named[name] for name in ("id", "email", "name", "last")):
        raise ConfigError(
            f"{path} has no column id, email or name in its first line; got {first.strip()[:80]!r}"
        )
    people = [_person(row, named) for row in rows]
    return [person for person in people if person.id or person.email or person.name]


def _column(row: Mapping[str, str], known: Sequence[str]) -> str:
    return next((name for word in known for name in row if str(name).strip().casefold() == word), "")


def _person(row: Mapping[str, str], named: Mapping[str, str]) -> Person:
    cells = {name: str(row.get(column) or "").strip() if column else "" for name, column in named.items()}
    name = cells["name"] or f"{cells['first']} {cells['last']}".strip()
    number = cells["id"].removeprefix("Participant ").strip()  # so in Moodle's grading worksheet
    return Person(number, cells["email"], name, cells["late"])


def matched(students: Mapping[str, str], roster: Iterable[Person]) -> tuple[dict[str, Person], list[Person]]:
    """(whom each student's file belongs to, who has handed in nothing), `students` being names with platforms' numbers.

    A person is known by number, address, the part of it before the @, or name, in either order and any composition.
    """
    people, found = list(roster), dict[str, Person]()
    keys: dict[str, Person | None] = {}
    for person in people:
        for key in _keys(person):
            keys[key] = person if keys.get(key, person) is person else None  # two of one name are nobody
    for student, number in students.items():
        tried = [*([f"#{_folded(number)}"] if number else []), _folded(student), f"#{_folded(student)}"]
        owner = next((one for one in map(keys.get, tried) if one), None)
        if owner:
            found[student] = owner
    taken = set(found.values())
    return found, [person for person in people if person not in taken]


def _keys(person: Person) -> list[str]:
    words = _folded(person.name).replace(",", " ").split()
    turned = [" ".join(words[n:] + words[:n]) for n in range(len(words))]
    joined = [
        "".join(one.split()) for one in turned
    ]  # Canvas's "mulleranna", with and without marks above letters
    bare = ["".join(c for c in unicodedata.normalize("NFD", one) if c.isalnum()) for one in joined]
    addresses = [person.email.casefold(), person.email.casefold().partition("@")[0]] if person.email else []
    numbers = [f"#{_folded(person.id)}"] if person.id else []
    return [key for key in dict.fromkeys([*turned, *joined, *bare, *addresses, *numbers]) if key]


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _shown(grade: Grade) -> str:
    """Nothing where nothing was marked: a zero would be a judgement."""
    return f"{grade.points:g}" if grade.handed_in and grade.points is not None else ""


def moodle(grades: Sequence[Grade]) -> list[list[object]]:
    """Moodle's grading worksheet ("Upload grading worksheet" of an assignment)."""
    head = ["Identifier", "Full name", "Email address", "Status", "Grade", "Maximum grade"]
    rows: list[list[object]] = [[*head, "Grade can be changed", "Feedback comments"]]
    for grade in grades:
        person = grade.person
        status = "Submitted for grading" if grade.handed_in else "No submission"
        points = _shown(grade)
        number = f"Participant {person.id}" if person.id else ""
        row = [number, person.name or grade.student, person.email, status, points, f"{grade.possible:g}"]
        rows.append([*row, "Yes", grade.feedback])
    return rows


def canvas(grades: Sequence[Grade], assignment: str) -> list[list[object]]:
    """Canvas's grade book ("Import" of Grades); a column of a name that Canvas does not know is a new assignment."""
    possible = f"{grades[0].possible:g}" if grades else ""
    rows: list[list[object]] = [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", assignment],
        ["    Points Possible", "", "", "", "", possible],
    ]
    for grade in grades:
        person, points = grade.person, _shown(grade)
        rows.append([person.name or grade.student, person.id, "", person.email, "", points])
    return rows


def gradescope_table(grades: Sequence[Grade], assignment: str) -> list[list[object]]:
    """Gradescope's grades, as its "Download Grades" has them."""
    rows: list[list[object]] = [
        ["Name", "SID", "Email", f"{assignment} - Total Score", "Max Points", "Status"]
    ]
    for grade in grades:
        points = _shown(grade)
        status = "Graded" if points else "Ungraded" if grade.handed_in else "Missing"
        person = grade.person
        rows.append(
            [person.name or grade.student, person.id, person.email, points, f"{grade.possible:g}", status]
        )
    return rows
