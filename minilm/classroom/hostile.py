"""Files that cheat, hang, break or attack, each in the place of one task, and what must come of them.

Every one must get no points in its task, must spoil no other task, must end in time, must leave the machine as it was
and must have nothing in its report that is not its own. A right submission is marked in front of those that search, so
that there would be something to steal. Teachers can run them with `selftest --hostile`. The texts in attacks.txt run in
the student's process only; what succeeds in something forbidden raises LOOSE, which its report then shows.
"""

from __future__ import annotations

import ast
import os
import re
import socket
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from minilm.classroom.book import Book, make_book
from minilm.classroom.lab import FOLDER, load_lab, part
from minilm.classroom.marking import TaskMark, mark
from minilm.classroom.runner import GRACE, Runner

LOOSE, TOLD = "got loose", "what it was given:"
NEEDLE = (
    "''.join(['def ', '{task}', '('])"  # put together when it runs, so that no copy of the attack is found
)
REDEFINES = "redefined: "


def _read_attacks() -> dict[str, str]:
    """Name -> text, in the order of attacks.txt."""
    text = (Path(__file__).parent / "attacks.txt").read_text(encoding="utf-8")
    parts = re.split(r"^=== (.+)\n", re.sub(r"^###.*\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE)[
        1:
    ]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


_TEXTS = _read_attacks()
ATTACKS = {name: body for name, body in _TEXTS.items() if not name.startswith(REDEFINES)}
# another lab's task, looked at by a function that the lab gives: what the file puts in the place of that function
REDEFINED = {name.removeprefix(REDEFINES): body for name, body in _TEXTS.items() if name not in ATTACKS}
# Attacks that the system itself must stop: not run where it cannot, since they would do what they say.
NEEDS = {
    "disk": "write_outside delete_outside chmod_outside overwrite_package read_solution import_solution read_parent "
    "own_memory_file worker_memory_file read_passwords read_cases list_root list_others link_out hard_link climb_out "
    "shared_memory",
    "network": "network datagram",
    "processes": "fork fork_bomb subprocess daemon at_exit kill_parent kill_group",
}
# whole files that never reach a task
BROKEN = {
    "syntax_error": "def (",
    "null_byte": "x = '\x00'",
    "empty": "",
    "exit_at_import": "import sys; sys.exit(0)",
    "hard_exit_at_import": "import os; os._exit(0)",
    "loop_at_import": "while True: pass",
    "deep_source": "(" * 100000,
    "surrogate_source": "x = '\udc80'",
    "many_digits": "x = " + "9" * 5000,
    "wrong_coding": "# -*- coding: klingon -*-\nx = 1",
    "raises_itself": "class E(BaseException): __str__ = lambda s: 1 / 0\nraise E",
    "no_names": "globals().clear()",
    "replaces_modules": "import sys\nfor name in list(sys.modules): sys.modules[name] = None",
    "sum_of_thousands": "x = " + " + ".join(["1"] * 20000),
}


def attack(lab: str, task: str, body: str, outside: Path, port: int) -> str:
    """The reference of a lab with one task's function replaced by an attack."""
    root = Path(__file__).parents[2]
    solution, needle = FOLDER / lab / "solution.py", NEEDLE.replace("{task}", task)
    places = {"outside": outside, "port": port, "solution": solution, "root": root, "task": task, "lab": lab}
    words = {"loose": LOOSE, "told": TOLD, "needle": needle, "temporary": tempfile.gettempdir()}
    for name, value in (places | words).items():
        body = body.replace(f"{{{name}}}", str(value))
    body = body.replace("\n", "\n    ")
    kept = ast.parse(part(load_lab(lab), "solution.py"))
    kept.body = [node for node in kept.body if not (isinstance(node, ast.FunctionDef) and node.name == task)]
    return f"{ast.unparse(kept)}\n\ndef attacked(*arguments):\n    {body}\n\n{task} = attacked\n"


def prove_hostile(
    lab_name: str, runner: Runner, names: Collection[str] = (*ATTACKS, *BROKEN)
) -> tuple[int, int, list[str]]:
    """(held, run, what got loose) for the last task of a lab, with its first task beside it, which must stay right."""
    with Runner() as patient:  # the book is ours, and must not hang on a short limit
        whole = make_book(lab_name, patient)
    book = replace(whole, pages=(whole.pages[0], whole.pages[-1]))
    solution = part(whole.lab, "solution.py")
    missing = mark(book, "", "empty", runner).missing
    loose: list[str] = []
    attacks = {
        name: body for name, body in ATTACKS.items() if name in names and not _not_held_here(name, missing)
    }
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        outside, port = Path(folder), server.getsockname()[1]
        server.setblocking(False)
        (outside / "kept").touch()
        for name, body in attacks.items():
            if name.startswith("search"):
                mark(replace(book, pages=book.pages[1:]), solution, "neighbour", runner)
            source = attack(lab_name, book.pages[-1].task.name, body, outside, port)
            loose += [f"{name}: {text}" for text in _held(book, runner, source, outside, server)]
        broken = {name: source for name, source in BROKEN.items() if name in names}
        for name, source in broken.items():
            points = mark(book, source, name, runner).points
            loose += [f"{name}: {points:g} points"] if points else []
    count = len(attacks) + len(broken)
    return count - len({text.split(":")[0] for text in loose}), count, loose


def prove_redefined(runner: Runner) -> tuple[int, int, list[str]]:
    """The same for the task of the tuning lab whose points a given function decides."""
    with Runner() as patient:
        book = make_book("lab5", patient)
    page = next(page for page in book.pages if page.task.name == "space")
    known = page.expected[0]["answers"][0]
    loose = []
    for name, source in REDEFINED.items():
        points = mark(
            replace(book, pages=(page,)), source.replace("{known}", repr(known)), name, runner
        ).points
        loose += [f"{name}: {points:g} points"] if points else []
    return len(REDEFINED) - len(loose), len(REDEFINED), loose


def _not_held_here(name: str, missing: Sequence[str]) -> bool:
    return any(
        name in NEEDS[part].split() for part in NEEDS if any(text.startswith(part) for text in missing)
    )


def _held(book: Book, runner: Runner, source: str, outside: Path, server: socket.socket) -> Iterator[str]:
    """In which ways one attack got loose."""
    start = time.monotonic()
    marks = mark(book, source, "hostile", runner)
    seconds = time.monotonic() - start
    mine, others = marks.tasks[-1], marks.tasks[:-1]
    if mine.points:
        yield f"{mine.points:g} unearned points"
    if not all(task.right for task in others):
        yield f"spoils {[task.name for task in others if not task.right]}"
    if seconds > 2 * (runner.limits.seconds + 1) + GRACE:
        yield f"took {seconds:.0f} s"
    yield from _told(book, mine, source)
    if os.listdir(outside) != ["kept"] or not (outside / "kept").stat().st_mode & 0o400:
        yield "changed a folder outside"
    try:
        server.accept()[0].close()
        yield "reached the network"
    except BlockingIOError:
        pass


def _told(book: Book, mine: TaskMark, source: str) -> Iterator[str]:
    """What a report holds that it must not: a success, our paths, lines of the reference, hidden arguments."""
    told = " ".join([mine.note, *(fault for _, fault in mine.faults)])
    solution = ast.parse(part(book.lab, "solution.py"))
    functions = [node for node in solution.body if isinstance(node, ast.FunctionDef)]
    lines = {ast.unparse(line) for node in functions for line in node.body[1:]}
    if LOOSE in told:
        yield LOOSE
    root = str(FOLDER.parent)
    if (
        root in told and str(FOLDER.parents[2]) not in source
    ):  # some attacks know our folder, to be sure that they could find it
        yield "its report names our folders"
    if any(len(line) > 15 and line in told for line in lines):
        yield "its report holds a line of the reference"
    hidden = {case.title for page in book.pages for case in page.task.cases if not case.public}
    if any(TOLD in fault for title, fault in mine.faults if title in hidden):
        yield "its report tells the arguments of a hidden case"
