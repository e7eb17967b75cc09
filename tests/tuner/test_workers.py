from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from minilm.tuner.workers import Workers
from tests.tuner import stubs

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int, within: float = 5.0) -> bool:
    end = time.monotonic() + within
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


def test_workers_live_long_on_one_thread_and_end_with_the_block():
    with Workers(2) as pool:
        first = [pool.submit(stubs.pid_and_threads, None) for _ in range(2)]
        answers = {future.result(30) for future in first}
        pids = {pid for pid, _ in answers}
        assert {threads for _, threads in answers} == {"1"} and len(pids) == 2
        assert pool.submit(stubs.pid_and_threads, None).result(30)[0] in pids
        assert set(pool.pids()) == pids
    assert all(gone(pid) for pid in pids)


@pytest.mark.clock
def test_a_killed_worker_costs_one_call_and_is_replaced():
    with Workers(2) as pool:
        others, victim = pool.submit(stubs.slow, (0, {"learning_rate": 0.1})), pool.submit(time.sleep, 60)
        while len(pool.pids()) < 2:
            time.sleep(0.01)
        time.sleep(0.3)
        began = time.monotonic()
        os.kill(pool.pids()[1], signal.SIGKILL)
        wait([victim], timeout=10)
        assert time.monotonic() - began < 1
        assert isinstance(victim.exception(), BrokenProcessPool)
        assert others.result(30)["loss"] > 0
        assert pool.free == 2
        again = [pool.submit(stubs.pid_and_threads, None) for _ in range(2)]
        assert len({future.result(30)[0] for future in again}) == 2


def test_kill_stops_a_call_at_once():
    with Workers(1) as pool:
        future = pool.submit(time.sleep, 60)
        time.sleep(0.2)
        pool.kill(future)
        assert future.done() and pool.free == 1
        assert pool.submit(stubs.pid_and_threads, None).result(30)


SCRIPT = """
from tests.tuner import stubs
from minilm.tuner.workers import Workers
print("main module runs", flush=True)
with Workers(1) as pool:
    {body}
"""


def script(tmp_path: Path, body: str) -> list[str]:
    path = tmp_path / "study.py"
    path.write_text(SCRIPT.format(body=body))
    return [sys.executable, str(path)]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}


def test_a_script_without_guard_runs_once(tmp_path):
    body = "print(pool.submit(stubs.pid_and_threads, None).result(30)[1])"
    done = subprocess.run(script(tmp_path, body), capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert done.stdout == "main module runs\n1\n", done.stderr


def test_workers_die_with_a_parent_that_is_killed(tmp_path):
    mark = tmp_path / "pid"
    parent = subprocess.Popen(
        script(tmp_path, f"pool.submit(stubs.touch_and_sleep, {str(mark)!r}).result()"), env=ENVIRONMENT
    )
    while not mark.exists() or not mark.read_text():
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    assert gone(int(mark.read_text()))


def test_workers_ignore_ctrl_c():
    with Workers(1) as pool:
        pool.submit(stubs.pid_and_threads, None).result(60)  # it has been prepared
        future = pool.submit(stubs.slow, (0, {"learning_rate": 0.1}))
        os.kill(pool.pids()[0], signal.SIGINT)
        assert future.result(30)["loss"] > 0
        assert pool.submit(stubs.slow, (0, {"learning_rate": 0.1})).result(30)["loss"] > 0
