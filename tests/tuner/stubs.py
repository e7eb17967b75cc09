"""Objectives for workers to run in place of training: plain functions, importable in another process.

No Hyperopt here: every worker of these tests would load it.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def at_once(function: Any, *arguments: Any) -> Future:
    """What a worker would answer, done here and now."""
    future: Future = Future()
    try:
        future.set_result(function(*arguments))
    except Exception as error:
        future.set_exception(error)
    return future


def bowl(task: Any) -> dict[str, Any]:
    """A smooth loss with its lowest point at a learning rate of 0.01."""
    tid, point = task
    return {"loss": 1.0 + (math.log10(point["learning_rate"]) + 2) ** 2, "steps": tid, "curve": [(0.1, 2.0)]}


def climbing(task: Any) -> dict[str, Any]:
    """A leg: the loss falls from rung to rung. Trial 4 diverges on its way to the second."""
    tid, point, rung = task
    if tid == 4 and rung == 1:
        return {"loss": None, "reason": "diverged at step 7", "steps": 7, "seconds": 1.0}
    loss = 1.0 + (math.log10(point["learning_rate"]) + 2) ** 2 + 0.5 / (rung + 1)
    return {
        "loss": loss,
        "steps": 10,
        "seconds": 2.0,
        "curve": [(2.0, loss)],
    }


def dies_once(task: Any) -> dict[str, Any]:
    """The same, but the first worker that comes to trial 1 is killed there; `task` ends with a path to remember by."""
    path = Path(task[-1])
    if task[0] == 1 and not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return climbing(task[:-1])


def slow_climbing(task: Any) -> dict[str, Any]:
    time.sleep(0.1)
    return climbing(task)


def uneven(task: Any) -> dict[str, Any]:
    """The same, after a time that differs from trial to trial and from run to run."""
    time.sleep(0.002 * (os.getpid() + 7 * task[0]) % 0.02)
    return bowl(task)


def slow(task: Any) -> dict[str, Any]:
    time.sleep(0.25)
    return bowl(task)


def treacherous(task: Any) -> dict[str, Any]:
    """Every kind of trouble once, at a known trial."""
    tid, _ = task
    if tid == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if tid == 2:
        raise RuntimeError("a bug of ours")
    losses: dict[int, Any] = {3: math.nan, 4: -math.inf, 5: None, 6: "low"}
    if tid in losses:
        return {"loss": losses[tid]}
    return bowl(task)


def hangs(task: Any) -> dict[str, Any]:
    time.sleep(60 if task[0] == 1 else 0.01)
    return bowl(task)


def crash(_: Any) -> None:
    raise RuntimeError("a bug of ours")


def no_dict(task: Any) -> float:
    return 1.0


def pid_and_threads(_: Any = None) -> tuple[int, str]:
    return os.getpid(), os.environ["OMP_NUM_THREADS"]


def touch_and_sleep(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)


@dataclass(frozen=True)
class Note:
    """A task that reads and writes files, as a leg does."""

    start: str | None
    out: str | None


def copy_start(task: Note) -> dict[str, Any]:
    """Copies what `task.start` names into `task.out`, and says where it found them."""
    start, out = Path(task.start or ""), Path(task.out or "")
    if start.is_file():
        out.mkdir()
        shutil.copy(start, out)
    else:
        shutil.copytree(start, out)
    return {"start": task.start, "out": task.out}
