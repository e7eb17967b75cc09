"""`python -m minilm.classroom`: labs for students, marking for their teachers. This file parses, calls and prints."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from minilm import cli
from minilm.errors import ConfigError

if TYPE_CHECKING:
    from minilm.classroom.book import Book
    from minilm.classroom.marking import Marks
    from minilm.classroom.runner import Runner

LEAST_SECONDS, MOST_SECONDS, MOST_JOBS = 0.1, 3600, 256  # of a task or a run; at the same time
FORMATS = ("pytest", "nbgrader", "otter", "gradescope")
BOARD = "board"
ACTIONS = {
    "build": "write a lab's packages for students and teacher (default: --format pytest)",
    "check": "mark your own file with the public cases",
    "hint": "show a hint for a task (default: --level 1)",
    "grade": "mark a file or a folder of submissions with all cases",
    "selftest": "prove that a lab marks rightly on this machine",
}


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser("classroom", "python -m minilm.classroom hint lab2 scores --level 1")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    shape = cli.Shape
    made = {
        name: actions.add_parser(name, help=text, description=text, formatter_class=shape, allow_abbrev=False)
        for name, text in ACTIONS.items()
    }
    made["build"].add_argument("lab", help=f"a lab, such as lab2, or {BOARD}, the leaderboard")
    made["build"].add_argument(
        "--format", choices=FORMATS, default="pytest", help="what the teacher's part is for"
    )
    made["build"].add_argument("--out", type=cli.place, help="a new folder (default: classroom-LAB)")
    made["check"].add_argument(
        "file",
        nargs="+",
        metavar="[LAB] FILE",
        help="your file, with the lab's cases.json beside it or a LAB before it",
    )
    made["check"].add_argument("--lab", help="take the cases from this lab instead of cases.json")
    made["hint"].add_argument("lab", help="a lab, such as lab2")
    made["hint"].add_argument("task", help="the function, such as scores")
    made["hint"].add_argument(
        "--level", type=int, choices=(1, 2, 3), default=1, help="3 is nearly the answer"
    )
    _add_grade(made["grade"])
    made["selftest"].add_argument("labs", nargs="*", metavar="LAB", help="which labs (default: all)")
    made["selftest"].add_argument(
        "--hostile", action="store_true", help="also mark files and runs that cheat and attack"
    )
    made["selftest"].add_argument(
        "--no-landlock", action="store_true", help="as if this kernel could not close the disk file by file"
    )
    made["selftest"].add_argument(
        "--pile", action="store_true", help="also mark a class of 300, 100 of them odd, with injected crashes"
    )
    return parser


def _add_grade(grade: argparse.ArgumentParser) -> None:
    grade.add_argument(
        "pile", type=cli.place, help="one file, or a folder of NAME.py, NAME.ipynb, NAME/lab.py or runs"
    )
    source = grade.add_mutually_exclusive_group(required=True)
    source.add_argument("--lab", help="the lab that was set")
    source.add_argument("--cases", type=cli.place, help="the teacher's cases.json instead of a lab")
    source.add_argument(
        "--unseen", metavar="TEXT", help="rank folders of runs on this text: fables:SEED, or a file"
    )
    grade.add_argument("-j", "--jobs", type=int, default=1, help="submissions marked at the same time")
    grade.add_argument("--seconds", type=float, help="what one task (10) or one run (60) may take")
    grade.add_argument(
        "--out", type=cli.place, help="a new folder for reports, scores.csv, grades and the class page"
    )
    grade.add_argument("--single", action="store_true", help="the folder is one student's, not a pile")
    grade.add_argument("--resume", action="store_true", help="go on in --out: mark what is new or changed")
    grade.add_argument("--again", action="append", metavar="NAME", help="mark this student again in --out")
    grade.add_argument("--task", action="append", metavar="TASK", help="mark this task again in --out")
    grade.add_argument(
        "--roster", type=cli.place, metavar="CSV", help="the class: columns id, email, late days"
    )
    grade.add_argument("--anonymous", action="store_true", help="no names but in names.csv")
    grade.add_argument("--similar", action="store_true", help="also write which submissions share code")
    grade.add_argument("--csv", action="store_true", help="print the scores as CSV")
    grade.add_argument(
        "--gradescope", type=cli.place, metavar="FILE", help="write results.json for one submission"
    )
    grade.add_argument(
        "--classroom50", type=cli.place, metavar="FILE", help="write result.json for one submission"
    )


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    return {"build": _build, "check": _check, "hint": _hint, "grade": _grade, "selftest": _selftest}[
        arguments.action
    ](arguments)


def _build(arguments: argparse.Namespace) -> int:
    from minilm import files
    from minilm.classroom.book import make_book
    from minilm.classroom.builders import build
    from minilm.classroom.lab import load_lab
    from minilm.classroom.runner import Runner

    out = arguments.out or Path(f"classroom-{arguments.lab}")
    if arguments.lab == BOARD:
        return _build_board(out)
    load_lab(arguments.lab)
    files.new_folder(out)  # before the minute that the cases take
    with Runner() as runner:
        book = make_book(arguments.lab, runner)
    for path in build(book, arguments.format, out):
        print(path)
    print(
        f"hand out {out / 'student'}; {out / 'teacher'} holds solutions and hidden cases and stays with you"
    )
    return 0


def _build_board(out: Path) -> int:
    """The leaderboard has nothing to fill in and nothing to hide: one page."""
    from minilm import files
    from minilm.classroom.board import handout

    files.write_text(files.new_folder(out) / "handout.md", handout())
    print(out / "handout.md")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from minilm.classroom.book import find_book
    from minilm.classroom.marking import mark_file
    from minilm.classroom.reports import lines
    from minilm.classroom.runner import Runner
    from minilm.classroom.submissions import read_noted

    if len(arguments.file) > 2:
        raise ConfigError(f"check takes one file, got {len(arguments.file)} names; write check lab2 FILE")
    *lab, file = arguments.file
    lab, path = (lab[0] if lab else arguments.lab), Path(file)
    if not path.exists() and not path.suffix:
        raise ConfigError(f"cannot read {path}: no such file; write check {path} FILE, or check FILE")
    read_noted(path)
    with Runner() as runner:
        book = find_book(path.resolve().parent, lab, runner)
        marks = mark_file(book, path, path.stem, runner)
    print("\n".join(lines(marks)))
    print("     by the public cases; the teacher has more")
    return 0 if all(task.right for task in marks.tasks) else 1


def _hint(arguments: argparse.Namespace) -> int:
    from minilm.classroom.book import FILE, read_book
    from minilm.classroom.lab import load_lab

    here = read_book(Path(FILE)).lab if Path(FILE).is_file() else None
    lab = here if here and here.name == arguments.lab else load_lab(arguments.lab)
    print(lab.task(arguments.task).hints[arguments.level - 1])
    return 0


def _grade(arguments: argparse.Namespace) -> int:
    from minilm import files
    from minilm.classroom.runner import Limits, Runner
    from minilm.classroom.sandbox import describe_missing

    seconds = 1 if arguments.seconds is None else arguments.seconds
    if not 1 <= arguments.jobs <= MOST_JOBS or not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise ConfigError(
            f"--jobs must be 1 to {MOST_JOBS} and --seconds {LEAST_SECONDS} to {MOST_SECONDS}, got {arguments.jobs} "
            f"and {arguments.seconds}; leave them out for their defaults"
        )
    for flag in ("--gradescope", "--classroom50"):
        path = getattr(arguments, flag[2:])
        if path and not (arguments.out and arguments.out in path.parents):  # that folder is still to be made
            files.refuse_replacing(path, (".json",), flag)
    if arguments.unseen:
        return _board(arguments)
    if not (arguments.pile.is_dir() or arguments.pile.is_file()):
        what = "which is neither" if arguments.pile.exists() else "which does not exist"
        raise ConfigError(
            f"PILE must be a file or a folder of submissions, got {arguments.pile}, {what}; name another"
        )
    if (arguments.resume or arguments.again or arguments.task or arguments.anonymous) and not arguments.out:
        raise ConfigError(
            "--resume, --again, --task and --anonymous must have a folder of marks, got none; name it with --out"
        )
    one = not arguments.pile.is_dir() and arguments.pile.suffix.lower() != ".zip"
    if not (one or arguments.single) and (arguments.gradescope or arguments.classroom50):
        raise ConfigError(
            "--gradescope and --classroom50 must be given with one submission, got a pile; name a file"
        )
    limits = Limits(seconds=arguments.seconds or Limits.seconds)
    with Runner(limits) as runner:
        marked = _marked(arguments, one, runner)
    _print(marked, arguments.csv, one or arguments.single)
    if not arguments.csv:
        print(describe_missing(sorted({text for marks in marked for text in marks.missing})))
    return 0


def _marked(arguments: argparse.Namespace, one: bool, runner: Runner) -> Sequence[Marks]:
    """All submissions marked and written to where they belong; whatever can be refused is, before the first."""
    from minilm.classroom import pile
    from minilm.classroom.lab import stub
    from minilm.classroom.platforms import matched, read_roster
    from minilm.classroom.submissions import by_path, collect, collect_one, read_noted

    roster = read_roster(arguments.roster) if arguments.roster else []
    again = pile.Again(arguments.again or (), arguments.task or ())
    going_on = arguments.resume or bool(again.students or again.tasks)
    named = arguments.lab or ""
    gather = collect_one if arguments.single else collect
    found = by_path({arguments.pile.stem: arguments.pile}) if one else gather(arguments.pile, named or "lab")
    with pile.open_ledger(arguments.out, going_on) if arguments.out else nullcontext() as ledger:
        book = _graders_book(arguments, runner)
        if not one and not named:
            found = gather(arguments.pile, book.lab.name)
        known, absent = matched({name: one_.id for name, one_ in found.items()}, roster)
        for name, one_ in found.items():
            if name not in known and one_.id:
                known[name] = pile.Person(id=one_.id, name=name)
        if ledger:
            pile.fits(ledger, book)
        if arguments.anonymous and ledger:
            names = pile.aliases(list(found), ledger.salt)
            pile.write_names(names, known, ledger.out)
            found, known, absent = pile.anonymous(found, names), {}, []
        marked = pile.mark_pile(
            book, found, runner.limits, arguments.jobs, ledger, again, _progress(arguments, len(found))
        )
        _write_single(marked[0], arguments)
        if ledger:
            pile.write_tables(book, marked, ledger.out, known, absent)
            if arguments.similar:
                given = stub(book.lab) if arguments.lab else book.given
                pile.write_similarity(book, pile.texts(found, read_noted), given, ledger.out)
        return marked


def _progress(arguments: argparse.Namespace, count: int) -> Callable[[Marks], None]:
    """A word on stderr for each submission, where someone waits for many."""
    done: list[str] = []

    def told(marks: Marks) -> None:
        done.append(marks.student)
        if sys.stderr.isatty() and count > 1:
            print(f"\r{len(done)} marked of {count}", end="", file=sys.stderr, flush=True)

    return told


def _board(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    from minilm import files
    from minilm.classroom import board
    from minilm.classroom.sandbox import describe_missing

    if arguments.gradescope or arguments.classroom50:
        raise ConfigError(
            "--gradescope and --classroom50 are for one submission to a lab, got them with --unseen; leave them out"
        )
    found, text = board.collect_runs(arguments.pile), board.unseen(arguments.unseen)
    out = files.new_folder(arguments.out) if arguments.out else None  # refused before the minutes of judging
    limits = replace(board.LIMITS, seconds=arguments.seconds or board.LIMITS.seconds)
    entries = [*board.judge_pile(found, text, limits, arguments.jobs), *board.counting(text)]
    if out:
        files.write_text(out / "board.csv", board.board_csv(entries))
    if arguments.csv:
        print(board.board_csv(entries), end="")
        return 0
    print("\n".join(board.board_lines(entries, text)))
    print(describe_missing(sorted({part for entry in entries for part in entry.missing})))
    return 0


def _graders_book(arguments: argparse.Namespace, runner: Runner) -> Book:
    from minilm.classroom.book import make_book, read_book

    return read_book(arguments.cases) if arguments.cases else make_book(arguments.lab, runner)


def _write_single(marks: Marks, arguments: argparse.Namespace) -> None:
    from minilm import files
    from minilm.classroom.reports import classroom50, gradescope

    if arguments.gradescope:
        files.write_json(arguments.gradescope, gradescope(marks))
    if arguments.classroom50:
        files.write_json(arguments.classroom50, classroom50(marks, os.environ))


def _print(marked: Sequence[Marks], as_csv: bool, one: bool) -> None:
    from minilm.classroom.reports import lines, score_table

    if as_csv:
        print(score_table(marked), end="")
    elif one:
        print("\n".join(lines(marked[0])))
    else:
        for marks in marked:
            points = "not read" if marks.unread else f"{marks.points:g}"
            print(f"{marks.student:<30} {points:>8} / {marks.possible}  {'; '.join(marks.notes)}".rstrip())


def _selftest(arguments: argparse.Namespace) -> int:
    from minilm.classroom.lab import lab_names, load_lab
    from minilm.classroom.runner import Runner
    from minilm.classroom.sandbox import describe_missing
    from minilm.classroom.selftest import prove, total

    labs = [load_lab(name).name for name in arguments.labs or lab_names() or ["lab2"]]
    failures: list[str] = []
    proofs = []
    landlock = not arguments.no_landlock
    with Runner(landlock=landlock) as runner:
        for name in labs:
            proofs.append(prove(name, runner))
            failures += proofs[-1].failures
            print(proofs[-1].line(), flush=True)
    print(total(proofs))
    print(describe_missing(proofs[-1].missing))
    if arguments.hostile:
        failures += _hostile(labs[0] if arguments.labs else "lab2", landlock)
    if arguments.pile:
        failures += _pile()
    print("\n".join(failures) if failures else "all is as it should be")
    return 1 if failures else 0


def _pile() -> list[str]:
    """Marks a class of odd files; what was lost."""
    from minilm.classroom.stress import prove_pile

    stress = prove_pile()
    print(stress.line())
    return list(stress.failures)


def _hostile(lab: str, landlock: bool) -> list[str]:
    """Marks files and runs that attack; what got loose."""
    from dataclasses import replace

    from minilm.classroom import board
    from minilm.classroom.hostile import prove_hostile, prove_redefined
    from minilm.classroom.hostile_runs import prove_hostile_runs
    from minilm.classroom.runner import Limits, Runner

    with Runner(Limits(seconds=3.0, megabytes=512), landlock=landlock) as runner:
        held, count, loose = prove_hostile(lab, runner)
        print(f"hostile files held: {held}/{count}")
        held, count, given = prove_redefined(runner)
    print(f"redefinitions of given functions held: {held}/{count}")
    with Runner(replace(board.LIMITS, seconds=10.0), referee=True, landlock=landlock) as runner:
        held, count, more = prove_hostile_runs(runner)
    print(f"hostile runs held: {held}/{count}")
    return [*loose, *given, *more]
