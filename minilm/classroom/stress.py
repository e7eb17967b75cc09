"""A class as no teacher wants it: 200 plain submissions and 100 odd ones, marked with crashes injected at every tenth.

What must come of it: all others' marks are those of an undisturbed run, every submission has its line, and what is
known to be right gets its points. `selftest --pile` runs it. The odd files run where students' files run.
"""

from __future__ import annotations

import io
import json
import os
import signal
import tempfile
import threading
import time
import unicodedata
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from minilm import files
from minilm.classroom import notebooks, pile
from minilm.classroom.book import Book, make_book
from minilm.classroom.lab import part, stub, variants
from minilm.classroom.marking import Marks, mark_file
from minilm.classroom.runner import Job, Limits, Outcome, Runner, shared_out
from minilm.classroom.submissions import Submission, collect

LAB, EVERY = "lab2", 10
LIMITS = Limits(seconds=3.0, megabytes=512)


def _zip(contents: Mapping[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return out.getvalue()


def _notebook(*cells: str) -> bytes:
    made = [{"cell_type": "code", "source": cell, "metadata": {}} for cell in cells]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def right_ones(book: Book) -> dict[bytes, bytes]:
    """Names in a pile -> contents of whole submissions that deserve all points, however they are named or packed."""
    text = part(book.lab, "solution.py")
    code, nfd = text.encode(), unicodedata.normalize("NFD", "José Núñez")
    accent = f"# M\u00fcller: sch\u00f6n\n{text}"
    pasted = _notebook("import torch", text)
    tried = (
        "try:\n    import math\n    import torch\n    from torch import Tensor\nexcept ImportError:\n    pass"
    )
    cut = _notebook(tried, text.split("from torch import Tensor\n", 1)[1])
    given = json.dumps(notebooks.nbgrader(book.lab)).encode()
    plain: dict[str, bytes] = {
        "bob.zip": _zip({"lab2.py": code}),
        "Anna Müller_412345_assignsubmission_file_/lab2.zip": _zip({"lab2.py": code}),
        "Ben Ali_412346_assignsubmission_file_/src/homework/lab2.py": code,
        "Cem Öz_412347_assignsubmission_file_lab2.py": code,
        "mulleranna_LATE_1234_5678_lab2-1.py": code,
        "lopezcarla_1235_5679_lab2.ipynb": pasted,
        "two versions/lab2.py": code,
        "two versions/lab2_old.py": b"def (",
        "downloaded/lab2 (1).py": b"def (",
        "downloaded/lab2 (2).py": code,
        "one download/lab2 (1).py": code,
        "both/lab2.py": code,
        "both/lab2.ipynb": _notebook("x ="),
        "windows.py": accent.encode("cp1252"),
        "powershell.py": accent.encode("utf-16"),
        "no mark.py": accent.encode("utf-16-le"),
        "declared.py": f"# -*- coding: latin-1 -*-\n{accent}".encode("latin-1"),
        "mark.py": b"\xef\xbb\xbf" + code,
        "windows lines.py": text.replace("\n", "\r\n").encode(),
        "old mac lines.py": text.replace("\n", "\r").encode(),
        "pasted.ipynb": pasted,
        "guarded imports.ipynb": cut,
        "solved notebook.ipynb": given,
        "apple.zip": _zip({"__MACOSX/._lab2.py": b"\x00", "lab2.py": code}),
        "zip in zip.zip": _zip({"inner.zip": _zip({"work/lab2.py": code})}),
        "with a test/lab2.py": code,
        "with a test/test_lab2.py": b"import lab2",
        "with pictures/lab2.py": code,
        "with pictures/notes.txt": b"done",
        f"{nfd}.py": code,
        "=HYPERLINK(1).py": code,
        "<b>bold<b>.py": code,
        "陈小明.py": code,
        "x" * 200 + ".py": code,
        "new\nline.py": code,
        "quote'\".py": code,
        "demo at the end.py": code + b"\nprint(scores(1, 2))\n",
        "prints a lot.py": code + b"\nfor n in range(20000): print('x' * 100)\n",
        "warns.py": b"import warnings\n" + code.replace(b"from __future__ import annotations\n", b""),
    }
    return {os.fsencode(name): data for name, data in plain.items()} | {
        b"M\xfcller.py": code,
        b"k\x81se/lab2.py": code,
    }


def odd_ones(text: str) -> dict[bytes, bytes]:
    """Names in a pile -> contents that deserve nothing, or of which nobody knows what they deserve."""
    terms = " + ".join(["x"] * 900)
    deep: Any = []
    for _ in range(900):
        deep = [deep]
    plain: dict[str, bytes] = {
        "syntax.py": b"def (",
        "zero.py": b"x = '\x00'",
        "empty.py": b"",
        "binary.py": bytes(range(256)) * 40,
        "renamed.py": _zip({"word/document.xml": b"<w/>"}),
        "large.py": b"#" * ((1 << 20) + 1),
        "leaves.py": b"import os; os._exit(1)",
        "quits.py": b"raise SystemExit",
        "never loads.py": b"while True: pass",
        "deep source.py": b"(" * 100_000,
        "digits.py": b"x = " + b"9" * 10_000,
        "surrogate.py": b"def scores(q, k): raise ValueError('\\udc80')",
        "old python.py": b"print 'x'",
        "tabs.py": b"def f():\n\tif 1:\n        return 1",
        "only one.py": b"def scores(q, k): return q @ k.transpose(-2, -1) / q.size(-1) ** 0.5",
        "digs.py": b"import os\ndef scores(q, k):\n    while True: os.mkdir('d'); os.chdir('d')",
        "floods.py": b"import os\ndef scores(q, k):\n    while True: os.write(4, b'x' * 9999)",
        "crashes.py": b"import ctypes\ndef scores(q, k): ctypes.string_at(0)",
        "locks.py": b"import os\ndef scores(q, k): os.mkdir('d', 0)",
        "sum.ipynb": _notebook(f"x = 1\ny = {terms}", "def scores(q, k): return 0"),
        "damaged.ipynb": b"{",
        "list.ipynb": b"[]",
        "deep.ipynb": json.dumps(deep).encode(),
        "old notebook.ipynb": b'{"worksheets": []}',
        "python inside.ipynb": text.encode(),
        "no cells.ipynb": b'{"cells": []}',
        "huge cell.ipynb": _notebook("x = '" + "y" * 900_000 + "'"),
        "torn archive.zip": b"PK\x03\x04 this is none",
        "bomb.zip": _zip({"lab2.py": b"\n" * (80 << 20)}),
        "climbs.zip": _zip({"../../lab2.py": b"x = 1"}),
        "picture.zip": _zip({"photo.jpg": b"\xff\xd8"}),
        "no files.zip": _zip({}),
        "unclear/lab2_a.py": b"x = 1",
        "unclear/lab2_b.py": b"x = 2",
        "letter/essay.docx": b"PK",
        "essay.pdf": b"%PDF",
        "a/b/c/d/e/f/g/h/i/j/lab2.py": text.encode(),
        "hangs.py": b"import time\ndef scores(q, k): time.sleep(1e6)",
    }
    return {os.fsencode(name): data for name, data in plain.items()}


def make_pile(book: Book, folder: Path, plain: int = 200, odd: int = 100) -> dict[str, int]:
    """Fills a folder with submissions; how many of each sort."""
    text = part(book.lab, "solution.py")
    usual = [text, stub(book.lab)]
    usual += [v.module(text) for file in ("wrong.py", "alternatives.py") for v in variants(book.lab, file)]
    for n in range(plain):
        _put(folder, os.fsencode(f"student-{n:03}.py"), usual[n % len(usual)].encode())
    right, strange = right_ones(book), odd_ones(text)
    for name, data in {**right, **strange}.items():
        _put(folder, name, data)
    (folder / "empty folder").mkdir()
    (folder / "linked.py").symlink_to("student-000.py")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.py")
    made = len(collect(folder, book.lab.name)) - plain
    for n in range(max(0, odd - made)):  # the same kinds again, by other students
        name, data = list({**right, **strange}.items())[n * 7 % (len(right) + len(strange))]
        _put(folder, b"again-%d-%s" % (n, name[-120:].replace(b"/", b"-")), data)
    return {"plain": plain, "odd": len(collect(folder, book.lab.name)) - plain}


def _put(folder: Path, name: bytes, data: bytes) -> None:
    path = folder / os.fsdecode(name)
    files.make_folder(path.parent)
    files.write_bytes(path, data)


class _Crashing(Runner):
    """A runner whose worker is killed in the middle of a job, once for each time that `armed` is set."""

    armed = False

    def run(self, job: Job, contents: Mapping[str, bytes] = MappingProxyType({})) -> Outcome:
        if self.armed:
            self.armed = False
            threading.Timer(0.03, self._kill_worker).start()
        return super().run(job, contents)

    def _kill_worker(self) -> None:
        process = self._process
        if process is not None:
            os.kill(process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))


@dataclass(frozen=True)
class Stress:
    """What one run of the class found; `failures` are sentences."""

    submissions: int
    seconds: float  # for each submission, undisturbed
    megabytes: float  # the most that one took
    failures: tuple[str, ...]

    def line(self) -> str:
        return (
            f"{self.submissions} submissions, {self.seconds:.2f} s and at most {self.megabytes:.0f} MB each; with "
            f"crashes at every {EVERY}th {'not all is well' if self.failures else 'all others are marked as without'}"
        )


def prove_pile(jobs: int = 2, plain: int = 200, odd: int = 100) -> Stress:
    """Marks the class undisturbed, with its workers killed and its files failing, and with the marking itself ended."""
    with tempfile.TemporaryDirectory() as name, Runner(LIMITS) as runner:
        book, folder = make_book(LAB, runner), Path(name) / "pile"
        make_pile(book, folder, plain, odd)
        found = collect(folder, LAB)
        start = time.monotonic()
        calm = {marks.student: marks for marks in pile.mark_pile(book, found, LIMITS, jobs)}
        seconds = (time.monotonic() - start) / len(found)
        hit = list(found)[::EVERY]
        failures = [
            f"{text} gets {calm[text].points:g}" for text in _expected(book, folder) if _short_of(calm[text])
        ]
        failures += _compared(calm, _killed(book, found, hit, jobs), [], "with workers killed")
        failures += _compared(calm, _unread(book, found, hit, jobs), hit, "with files that fail")
        failures += _compared(calm, _ended(book, found, hit, Path(name) / "out"), [], "ended and resumed")
        largest = max(marks.megabytes for marks in calm.values())
    return Stress(len(found), seconds, largest, tuple(failures))


def _expected(book: Book, folder: Path) -> list[str]:
    """The students whose files deserve everything."""
    with tempfile.TemporaryDirectory() as name:
        for path, data in right_ones(book).items():
            _put(Path(name), path, data)
        return list(collect(Path(name), book.lab.name))


def _short_of(marks: Marks) -> bool:
    return marks.points < marks.possible


def _killed(book: Book, found: Mapping[str, Submission], hit: list[str], jobs: int) -> list[Marks]:
    """With the worker killed under every tenth submission: even that one is marked, by a new worker."""

    def work(name: str, runner: Runner) -> Marks:
        assert isinstance(runner, _Crashing)
        runner.armed = name in hit
        return mark_file(book, found[name], name, runner)

    return shared_out(list(found), work, lambda: _Crashing(LIMITS), jobs)


def _unread(book: Book, found: Mapping[str, Submission], hit: list[str], jobs: int) -> list[Marks]:
    """With an error of ours at every tenth."""

    def fails() -> bytes:
        raise MemoryError("injected")

    broken = {
        name: replace(one, data=fails, problem="") if name in hit else one for name, one in found.items()
    }
    return pile.mark_pile(book, broken, LIMITS, jobs)


def _ended(book: Book, found: Mapping[str, Submission], hit: list[str], out: Path) -> list[Marks]:
    """With the whole marking ended after every tenth, and resumed."""
    done: list[str] = []

    def told(marks: Marks) -> None:
        done.append(marks.student)
        if marks.student in hit:
            raise KeyboardInterrupt

    while True:
        try:
            with pile.open_ledger(out, resume=out.exists()) as ledger:
                marked = pile.mark_pile(book, found, LIMITS, 1, ledger, told=told)
                pile.write_tables(book, marked, out)
        except KeyboardInterrupt:
            continue
        assert len(done) == len(set(done)) == len(found), "nothing is marked twice"
        return marked


def _compared(calm: Mapping[str, Marks], marked: list[Marks], hit: list[str], how: str) -> list[str]:
    """How the others' marks differ from those of the undisturbed run."""
    key: Callable[[Marks], Any] = lambda marks: (marks.points, marks.unread, [t.mistake for t in marks.tasks])  # noqa: E731
    found = [
        f"{how}, {m.student}: {m.points:g} points, {calm[m.student].points:g} without"
        for m in marked
        if m.student not in hit and key(m) != key(calm[m.student])
    ]
    lost = set(calm) - {marks.student for marks in marked}
    return [*found, *(f"{how}, {name} has no line" for name in sorted(lost))]
