"""Homework that attacks: nothing earned, nothing spoilt, nothing touched. And the attacks are real ones."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import time

import pytest

from minilm.classroom.book import Book, Page, run_task
from minilm.classroom.hostile import ATTACKS, BROKEN, NEEDS, attack, prove_hostile, prove_redefined
from minilm.classroom.lab import load_lab, part
from minilm.classroom.runner import DEEPEST, LEAST, LEAST_FOLDER, Limits, Runner, remove_folder, size_of
from minilm.errors import RunError


def bare() -> Book:
    """A lab without expected answers."""
    return Book(load_lab("lab2"), ())


def page() -> Page:
    return Page(load_lab("lab2").tasks[0], [], ())


# those that end by themselves: the others wait for a limit of time and are in the slow test
QUICK = [
    name
    for name in (*ATTACKS, *BROKEN)
    if not re.search(
        r"while True|sleep|recursion|bomb|deep|deaf|slow|long_names|many", f"{name} {ATTACKS.get(name, '')}"
    )
]
LIMITS = Limits(seconds=3.0, megabytes=512)


def test_hostile_files_are_held():
    """Those that steal or tell, and every third of the others; the slow test has them all."""
    stealing = [name for name in QUICK if re.match(r"search|ask|tell|read", name)]
    names = {*stealing, *QUICK[::3], "endless_loop"}
    with Runner(LIMITS) as runner:
        held, count, loose = prove_hostile("lab2", runner, names)
    assert not loose, "\n".join(loose)
    assert held == count >= 45


@pytest.mark.slow
@pytest.mark.parametrize("landlock", [True, False])
def test_all_hostile_files_are_held(landlock):
    with Runner(LIMITS, landlock=landlock) as runner:
        held, count, loose = prove_hostile("lab2", runner)
    assert not loose, "\n".join(loose)
    assert held == count >= 120


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="needs root, or a system with user namespaces"
)
def test_what_steals_is_held_without_landlock_too():
    names = [name for name in QUICK if re.search(r"search|read|ask|tell|prior|nice|link|list|root|out", name)]
    with Runner(LIMITS, landlock=False) as runner:
        held, count, loose = prove_hostile("lab2", runner, names)
    assert not loose, "\n".join(loose)
    assert held == count >= 30


def test_what_a_lab_gives_is_the_labs():
    """Whatever a file puts in the place of `portrait`, its task earns nothing; the right space does."""
    with Runner(LIMITS) as runner:
        held, count, loose = prove_redefined(runner)
    assert not loose, "\n".join(loose)
    assert held == count >= 7


@pytest.mark.skipif(not hasattr(os, "fork"), reason="attacks of POSIX systems")
def test_without_a_sandbox_the_attacks_succeed(tmp_path):
    """Or else it would prove nothing that they are held."""
    names = [
        "write_outside",
        "delete_outside",
        "chmod_outside",
        "subprocess",
        "daemon",
        "at_exit",
        "read_solution",
    ]
    program = "import torch\nx, right = torch.ones(1, 2, 2), None\n"
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "kept").touch()
        source = attack("lab2", "self_attention", ATTACKS[name], tmp_path / name, 0)
        program += f"names = {{}}\nexec({source!r}, names)\n"
        program += "right = names['self_attention'](x, torch.ones(2, 6), torch.ones(2, 2), 1)\n"
    program += "assert right.shape == (1, 2, 2)\n"  # the solution was read and used
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {name: sorted(os.listdir(tmp_path / name)) for name in names}
    assert found.pop("delete_outside") == [] and found.pop("read_solution") == ["kept"]
    assert (tmp_path / "chmod_outside" / "kept").stat().st_mode & 0o777 == 0 and found.pop("chmod_outside")
    assert set(map(tuple, found.values())) == {("kept", "x")}, found


@pytest.mark.skipif(sys.platform != "linux", reason="reads its own memory by a system call")
@pytest.mark.parametrize("name", ["search_objects", "search_heap"])
def test_the_memory_searches_find_what_is_there(name, tmp_path):
    """The same two, in a process that holds the reference's text: both succeed."""
    source = attack("lab2", "self_attention", ATTACKS[name], tmp_path, 0)
    solution = part(load_lab("lab2"), "solution.py")
    program = f"import torch\nheld = [{solution!r}]\nnames = {{}}\nexec({source!r}, names)\n"
    program += "right = names['self_attention'](torch.ones(1, 2, 2), torch.ones(2, 6), torch.ones(2, 2), 1)\n"
    program += "assert right.shape == (1, 2, 2)\nraise ValueError('got loose')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert "ValueError: got loose" in done.stderr


def test_every_need_is_an_attack():
    assert {name for names in NEEDS.values() for name in names.split()} <= set(ATTACKS)


def test_without_fork_too():
    """The way of systems that cannot fork: one process for each task, ended by us."""
    lab = load_lab("lab2")
    solution = part(lab, "solution.py")
    with Runner(Limits(seconds=3.0), alone=True) as runner:
        assert all("answers" in case for case in run_task(runner, bare(), page(), solution).cases)
        endless = run_task(runner, bare(), page(), "while True: pass")
        assert all("3 seconds" in case["message"] for case in endless.cases)
        assert all("answers" in case for case in run_task(runner, bare(), page(), solution).cases)


def test_a_worker_that_cannot_start_is_one_sentence(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false" if os.name == "posix" else "where.exe")
    with Runner() as runner, pytest.raises(RunError, match="does not start"):
        run_task(runner, bare(), page(), "")


@pytest.mark.parametrize("landlock", [True, False])
def test_folders_without_end_cost_seconds(landlock):
    """Digging deep, and digging folders that nobody may open; the disk takes milliseconds to remove each."""
    digs = "import os\ndef {task}(*arguments):\n    while True: os.mkdir('d', {mode}); os.chdir('d')"
    with Runner(LIMITS, landlock=landlock) as runner:
        run_task(runner, bare(), page(), "")
        start = time.monotonic()
        for mode in ("0o777", "0o300"):
            outcome = run_task(runner, bare(), page(), digs.format(task="scores", mode=mode))
            assert outcome.end == "disk"
    assert time.monotonic() - start < 2 * LIMITS.seconds


def test_any_folder_is_counted_and_removed(tmp_path):
    """However deep, locked or linked; what a link leads to stays."""
    top, outside = tmp_path / "top", tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    below = top
    for n in range(DEEPEST + 2):
        below.mkdir()
        (below / "link").symlink_to(outside)
        (below / "1").write_bytes(b"x" * LEAST * 2)
        below /= "d" * (n % 7 + 1)
    assert size_of(outside) == LEAST and size_of(top / "d") < size_of(top) == math.inf
    assert LEAST_FOLDER < size_of(top, most=1) < math.inf
    (top / "locked").mkdir()
    (top / "locked" / "d").mkdir(0o300)
    (top / "locked").chmod(0)
    remove_folder(top)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["kept", "outside"]
