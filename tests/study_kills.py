"""Kills real studies: the tuner, or one of its workers, at a random moment, and takes them up until they are done.

A study by count must then be the same as an undisturbed one: no trial lost or doubled, what was told kept, the same
bytes of the final weights, the same numbers. Each study is a fork of one process that has loaded everything, and its
workers are forks of it, so that a kill costs no start-up.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from minilm.plots import study_page
from minilm.tuner.records import Journal
from tests.tiny_study import TRIALS, WAYS, fingerprint, small, study, with_forks

__all__ = ["WAYS", "fingerprint", "study"]
assert study_page  # loaded here, once
LATE = 30.0  # seconds for workers to notice that their tuner is gone, on a machine that others use too


def forked(work: Callable[[], object]) -> int:
    """The process id of a child that does the work in silence."""
    if process := os.fork():
        return process
    code = 1
    try:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1) if os.environ.get("MINILM_DEBUG") else (0, 1, 2):
            os.dup2(null, stream)
        for prepare in (small, with_forks):
            prepare(SimpleNamespace(setattr=setattr))
        work()
        code = 0
    except Exception:
        if os.environ.get("MINILM_DEBUG"):
            import traceback

            traceback.print_exc()
    finally:
        os._exit(code)


def children(process: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def group(leader: int) -> list[int]:
    """The living processes of a study."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, members = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(members) == leader and state != "Z":
            found.append(int(path.parent.name))
    return found


def passed(process: int, seconds: float) -> None:
    """Waits so long, or until the child has ended."""
    end = time.monotonic() + seconds
    while (
        time.monotonic() < end and os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    ):
        time.sleep(0.005)


def whole_lines(folder: Path) -> bytes:
    path = folder / "trials.jsonl"
    return path.read_bytes()[: path.read_bytes().rfind(b"\n") + 1] if path.exists() else b""


def attacked(text: Path, folder: Path, way: str, seconds: float, draw: random.Random) -> dict[str, Any]:
    """One study to its end. One worker is killed in it (the second death of a trial's worker is that trial's fault,
    by design), and the tuner again and again."""
    shutil.rmtree(folder, ignore_errors=True)
    stops: Counter = Counter()

    def ends(fault: str | None) -> dict[str, Any]:
        return {"stops": dict(stops), "fault": fault}

    for _ in range(40):
        process, before = forked(lambda: study(text, folder, way)), whole_lines(folder)
        passed(process, draw.uniform(0.02, 0.9) * seconds * (1 + sum(stops.values()) / 10))
        if not stops["worker"] and (victims := children(process)):
            os.kill(draw.choice(victims), signal.SIGKILL)
            stops["worker"] += 1
            passed(process, draw.uniform(0.0, 0.9) * seconds)
        os.kill(process, signal.SIGKILL)  # a zombie takes it too
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        end = time.monotonic() + LATE
        while group(process):
            if time.monotonic() > end:
                return ends("workers outlived their tuner")
            time.sleep(0.01)
        now = whole_lines(folder)
        if not now.startswith(before):
            return ends("a record was lost")
        if code == 0:
            tids = [trial.tid for trial in Journal(folder).trials]
            return ends(None if sorted(tids) == list(range(TRIALS)) else f"trials {tids}")
        if code != -signal.SIGKILL:
            return ends(f"exit code {code}")
        stops["tuner"] += 1
    return ends("it never came to its end")


def unlike(found: dict[str, Any], expected: dict[str, Any]) -> str | None:
    """What differs."""
    names = [name for name in expected if found[name] != expected[name]]
    return f"other {', '.join(names)}" if names else None
