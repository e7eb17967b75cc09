"""Our side of the wall: starts the worker, sends it a submission and one task's cases, returns plain answers.

Holds the clock a second time, should the worker itself hang. Knows nothing of what the answers ought to be.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from minilm import files
from minilm.classroom.lab import Case
from minilm.classroom.plain import parse
from minilm.errors import RunError

ROOT = Path(__file__).parents[2]
KEPT = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "LD_LIBRARY_PATH", "TMPDIR")  # the rest is not theirs to read
START_SECONDS = 120.0  # torch from a cold disk
GRACE = 10.0
Result = TypeVar("Result")


@dataclass(frozen=True)
class Limits:
    """What one task may use."""

    seconds: float = 10.0
    megabytes: int = 1024
    file_megabytes: int = 16
    scratch_megabytes: int = 64


@dataclass(frozen=True)
class Outcome:
    """What came back: one entry per case, either {"answers": [...]} or {"error": ..., "message": ...}."""

    cases: list[dict[str, Any]]
    missing: list[str] = field(default_factory=list)  # what the system could not take away
    megabytes: float = 0.0


ENDINGS = {
    "time": "it did not finish within {seconds:g} seconds; is there a loop without an end?",
    "disk": "it wrote too much to the disk",
    "answers": "its answers were too large",
}


def submission(
    source: str, name: str, cases: Sequence[Case], helpers: str = "", replaced: Sequence[str] = ()
) -> Any:
    """A job for the worker: `replaced` functions of `helpers` take the place of the submission's own."""
    calls = [[list(call) for call in case.calls] for case in cases]
    return {"source": source, "name": name, "cases": calls, "helpers": helpers, "replaced": list(replaced)}


def judging(pieces: Sequence[str], unknown: float) -> Any:
    """A job for a worker with a referee: the loss of the run in the scratch folder on each piece of a text; a character
    that it does not know costs `unknown` nats on top."""
    return {"pieces": list(pieces), "unknown": unknown, "cases": [None]}


class Runner:
    """A worker process, started when first needed and again should it die. Use it in a `with` block.

    With `referee` it does jobs of `judging`, else those of `submission`.
    """

    def __init__(
        self, limits: Limits | None = None, alone: bool = not hasattr(os, "fork"), referee: bool = False
    ) -> None:
        self.limits, self.alone = limits or Limits(), alone
        self._options = [*(["--alone"] if alone else []), *(["--referee"] if referee else [])]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, job: dict[str, Any], contents: Mapping[str, bytes] = MappingProxyType({})) -> Outcome:
        """Runs a job in a scratch folder of its own, which holds `contents` at first and is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="minilm-", ignore_cleanup_errors=True) as scratch:
            for name, data in contents.items():
                files.write_bytes(Path(scratch) / name, data)
            limits = self.limits.__dict__
            reply = self._ask({**job, **limits, "scratch": str(Path(scratch).resolve())})
        if self.alone:
            self.close()
        return self._outcome(reply, len(job["cases"]))

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _ask(self, job: dict[str, Any]) -> Any:
        process = self._started()
        assert process.stdin
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
        reply = self._reply(process, self.limits.seconds + (0 if self.alone else GRACE))
        if reply is None:  # it hangs or died; the next task gets a new one
            self.close()
            return {"lines": "", "end": "time", "kilobytes": 0}
        return reply

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            environment = {name: os.environ[name] for name in KEPT if name in os.environ}
            environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
            command = [sys.executable, "-m", "minilm.classroom.worker", *self._options]
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self._process = subprocess.Popen(
                command, **pipes, stderr=subprocess.PIPE, env=environment, start_new_session=True
            )
            if self._reply(self._process, START_SECONDS) is None:
                self._process.kill()
                _, shown = self._process.communicate()
                self._process = None
                last = (shown.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1]
                raise RunError(
                    f"the process for submissions does not start: {last}; does `import torch` work here?"
                )
        return self._process

    @staticmethod
    def _reply(process: subprocess.Popen[bytes], seconds: float) -> Any:
        """The next line, or None when the time is over or the process is."""
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        try:
            assert process.stdout
            return parse(process.stdout.readline())
        finally:
            timer.cancel()

    def _outcome(self, reply: Any, count: int) -> Outcome:
        lines = [parse(line) for line in reply["lines"].encode().splitlines()]
        first = lines[0] if lines and isinstance(lines[0], dict) else {}
        missing = [str(item) for item in first.get("missing", [])]
        cases = [line for line in lines[1 : count + 1] if _wellformed(line)]
        end = ENDINGS.get(reply["end"], "the process ended in the middle ({end})")
        message = end.format(seconds=self.limits.seconds, end=reply["end"])
        cases += [{"error": "stopped", "message": message}] * (count - len(cases))
        return Outcome(cases, missing, reply["kilobytes"] / 1024)


def shared_out(
    names: Sequence[str], work: Callable[[str, Runner], Result], make: Callable[[], Runner], jobs: int
) -> list[Result]:
    """The results of `work` in the order of the names, `jobs` at a time; each job has a worker of its own."""
    with contextlib.ExitStack() as stack:
        free: queue.Queue[Runner] = queue.Queue()
        for _ in range(min(jobs, len(names))):
            free.put(stack.enter_context(make()))

        def one(name: str) -> Result:
            runner = free.get()
            try:
                return work(name, runner)
            finally:
                free.put(runner)

        threads = stack.enter_context(ThreadPoolExecutor(jobs))
        return list(threads.map(one, names))


def _wellformed(line: Any) -> bool:
    if not isinstance(line, dict):
        return False
    return isinstance(line.get("answers"), list) or all(
        isinstance(line.get(k), str) for k in ("error", "message")
    )
