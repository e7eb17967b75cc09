"""Our side of the wall: starts confined processes, sends them a file and one call at a time, returns plain answers.

A submission's process holds its source and the arguments of the calls so far. Functions that it may use but not see
(the reference of earlier tasks) and functions that look at it (what a lab gives) run in processes of their own, and
their calls pass through here. Holds the clock. Knows nothing of what the answers ought to be.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, TypeVar

from minilm import files
from minilm.classroom.plain import difference, parse, plain
from minilm.classroom.sandbox import has_landlock
from minilm.errors import RunError

ROOT = Path(__file__).parents[2]
KEPT = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "LD_LIBRARY_PATH", "TMPDIR")  # the rest is not theirs to read
START_SECONDS = 120.0  # torch from a cold disk
GRACE = 10.0
POLL = 0.05  # seconds between looks at the clock and the scratch folder
LARGEST_ANSWERS = 8 << 20  # bytes of one process's answers
LEAST, LEAST_FOLDER = (
    16 << 10,
    256 << 10,
)  # bytes that a file or folder counts as; a disk may need 2 ms to remove one
DEEPEST = 32  # folders in each other in the scratch folder
MOST_CALLS = 10_000  # of functions in other processes, by one task
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
    end: str = ""  # why it was stopped, a key of ENDINGS, where it was
    loaded: bool = True  # whether the submission defines anything that is asked for
    trouble: str = ""  # what went wrong while it was loaded
    calls: list[dict[str, Any]] = field(default_factory=list)  # of functions in other processes, answered


ENDINGS = {
    "time": "it did not finish within {seconds:g} seconds; is there a loop without an end?",
    "disk": "it wrote too much to the disk",
    "answers": "its answers were too large",
}


@dataclass(frozen=True)
class Job:
    """What a process is told at its start, and its cases, each a list of (function, arguments)."""

    first: Mapping[str, Any]
    cases: Sequence[Sequence[tuple[str, Sequence[Any]]]]
    ours: Mapping[str, Any] = field(default_factory=dict)  # the start of the process with the reference
    recorded: Sequence[
        dict[str, Any]
    ] = ()  # or, where there is none, calls of the reference with their answers
    given: Mapping[str, Any] = field(default_factory=dict)  # the start of the process that looks at the first

    @property
    def heavy(self) -> list[str]:
        """Modules that take long to load and are named by a source; nothing of the source itself."""
        starts = (self.first, self.ours, self.given)
        return ["hyperopt"] if any("hyperopt" in str(start.get("source", "")) for start in starts) else []


def submission(
    source: str,
    name: str,
    cases: Sequence[Any],
    given: str = "",
    tasks: Sequence[str] = (),
    helpers: str = "",
    replaced: Sequence[str] = (),
    recorded: Sequence[dict[str, Any]] = (),
) -> Job:
    """The job of one task: `replaced` functions of `helpers`, or what was recorded of them, take the place of the
    submission's own; what `given` defines is the lab's, whatever the submission makes of it."""
    first = {"source": source, "name": name, "given": given, "tasks": list(tasks), "far": list(replaced)}
    ours = {"source": helpers, "name": "helpers", "given": "", "tasks": [], "far": []}
    theirs = {"source": given, "name": "given", "given": "", "tasks": [], "far": list(tasks)}
    return Job(
        first, [case.calls for case in cases], ours if helpers else {}, recorded, theirs if given else {}
    )


def judging(pieces: Sequence[str], unknown: float) -> Job:
    """A job for a worker with a referee: the loss of the run in the scratch folder on each piece of a text; a character
    that it does not know costs `unknown` nats on top."""
    return Job({"pieces": list(pieces), "unknown": unknown}, [[("judge", ())]])


class Runner:
    """A worker process, started when first needed and again should it die. Use it in a `with` block.

    With `referee` it does jobs of `judging`, else those of `submission`. Without `landlock` it does as if the kernel
    had none, for tests.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        alone: bool = not hasattr(os, "fork"),
        referee: bool = False,
        landlock: bool = True,
    ) -> None:
        self.limits, self.alone = limits or Limits(), alone
        self.landlock = landlock and has_landlock()
        self._options = [*(["--referee"] if referee else []), *([] if self.landlock else ["--usual"])]
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, job: Job, contents: Mapping[str, bytes] = MappingProxyType({})) -> Outcome:
        """Runs a job in a scratch folder of its own, which holds `contents` at first and is gone afterwards.

        A worker that dies under a job (the system took its memory, somebody killed it) is replaced, and the job runs
        once more.
        """
        try:
            outcome = self._run(job, contents)
        except RunError:  # it died while it started
            return self._run(job, contents)
        return self._run(job, contents) if outcome.end == "lost" else outcome

    def _run(self, job: Job, contents: Mapping[str, bytes]) -> Outcome:
        with _scratch() as scratch:
            for name, data in contents.items():
                files.write_bytes(scratch / name, data)
            with _Conversation(self, job, scratch) as conversation:
                cases = [conversation.case(calls) for calls in job.cases]
            return conversation.outcome(cases)

    def close(self) -> None:
        for part in (self._control, self._process):
            if isinstance(part, subprocess.Popen):
                part.kill()
                part.communicate()
            elif part is not None:
                part.close()
        self._process = self._control = None

    def start_child(self, scratch: Path, heavy: Sequence[str]) -> _Child:
        """A confined process, ready to be told its job; where this system cannot fork, a program of its own."""
        command = {**self.limits.__dict__, "scratch": str(scratch), "landlock": self.landlock, "heavy": heavy}
        if self.alone:
            process = self._launch([], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._ready(process, lambda: process.stdout.readline())  # type: ignore[union-attr]
            assert process.stdin and process.stdout
            child = _Child(process.pid, process.stdin, process.stdout, lambda: _end_process(process))
            child.write(command)
            return child
        down, up = os.pipe(), os.pipe()
        reply = self._ask(command, [down[0], up[1]])
        for descriptor in (down[0], up[1]):
            os.close(descriptor)
        streams = os.fdopen(down[1], "wb"), os.fdopen(up[0], "rb")
        pid = reply["pid"] if reply else 0
        return _Child(pid, *streams, lambda: self._ask({"end": pid}, []) or {"end": "lost", "kilobytes": 0})

    def _ask(self, command: dict[str, Any], descriptors: list[int]) -> Any:
        """The worker's reply, or None if it hangs or died; the next task then gets a new one."""
        if "end" in command and self._control is None:
            return None
        control = self._started()
        with contextlib.suppress(OSError):
            data = json.dumps(command).encode()
            if descriptors:
                socket.send_fds(control, [data], descriptors)
            else:
                control.sendall(data)
            if select.select([control], [], [], START_SECONDS if command.get("heavy") else GRACE)[0]:
                reply = parse(control.recv(1 << 16))
                if reply is not None:
                    return reply
        self.close()
        return None

    def _started(self) -> socket.socket:
        if self._control is None:
            ours, theirs = socket.socketpair()
            options = ["--control", str(theirs.fileno())]
            self._process = self._launch(options, pass_fds=(theirs.fileno(),))
            theirs.close()
            self._control = ours
            ours.settimeout(START_SECONDS)
            self._ready(self._process, lambda: ours.recv(1 << 16))
        return self._control

    def _launch(self, options: list[str], **more: Any) -> subprocess.Popen[bytes]:
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "minilm.classroom.worker", *self._options, *options]
        return subprocess.Popen(
            command, stderr=subprocess.PIPE, env=environment, start_new_session=True, **more
        )

    def _ready(self, process: subprocess.Popen[bytes], heard: Callable[[], bytes]) -> None:
        """Waits for a worker's first word."""
        timer = threading.Timer(START_SECONDS, process.kill)
        timer.start()
        try:
            if parse(heard()) is not None:
                return
        except OSError:
            pass
        finally:
            timer.cancel()
        process.kill()
        _, shown = process.communicate()
        self._process = None
        self.close()
        last = (shown.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1]
        raise RunError(f"the process for submissions does not start: {last}; does `import torch` work here?")


class _Child:
    """Our handle on one confined process."""

    def __init__(
        self, pid: int, requests: BinaryIO | Any, replies: BinaryIO | Any, end: Callable[[], dict[str, Any]]
    ) -> None:
        self.pid, self.requests, self.replies, self._end = pid, requests, replies, end
        self.size, self.ended = 0, {"end": "lost", "kilobytes": 0}

    def write(self, value: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.requests.write(json.dumps(value).encode() + b"\n")
            self.requests.flush()

    def read(self) -> dict[str, Any] | None:
        """Its next line; None where it said nothing more, too much or what is no line of ours."""
        with contextlib.suppress(OSError, ValueError):
            text = self.replies.readline(LARGEST_ANSWERS - self.size + 1)
            self.size += len(text)
            value = parse(text) if text.endswith(b"\n") and not self.too_large else None
            return value if isinstance(value, dict) else None
        return None

    @property
    def too_large(self) -> bool:
        return self.size > LARGEST_ANSWERS

    def kill(self) -> None:
        """From any thread; whoever reads then reads the end."""
        if self.pid <= 0:
            return
        for kill in ([os.killpg] if hasattr(os, "killpg") else []) + [os.kill]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(self.pid, getattr(signal, "SIGKILL", signal.SIGTERM))

    def close(self) -> dict[str, Any]:
        """How it ended; at the end of its requests it ends by itself."""
        pid, self.pid = self.pid, 0
        for stream in (self.requests, self.replies):
            with contextlib.suppress(OSError):
                stream.close()
        if pid > 0:
            self.ended = self._end()
        return self.ended


def _end_process(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    process.kill()
    process.wait()
    if process.stderr:
        process.stderr.close()
    return {"end": f"exit code {process.returncode}", "kilobytes": 0}


class _Conversation:
    """One task of one submission: its process, those that it may call or that look at it, and the clock over all."""

    def __init__(self, runner: Runner, job: Job, scratch: Path) -> None:
        self._runner, self._job, self._scratch = runner, job, scratch
        self._children: dict[str, _Child] = {}
        self.end, self.missing, self.kilobytes = "", list[str](), 0.0
        self._noted, self._calls, self._over = list[dict[str, Any]](), 0, threading.Event()
        self._names = {"first": job.first, "ours": job.ours, "given": job.given}

    def __enter__(self) -> _Conversation:
        child = self._child("first")
        self._deadline = time.monotonic() + self._runner.limits.seconds
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        said = child.read()
        if said is None:  # it did not finish loading
            self._stopped("first")
        self._loaded, self._trouble = bool(said and said.get("loaded")), str((said or {}).get("trouble", ""))
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()
        for name, child in self._children.items():
            if name == "first" and child.too_large:
                self.end = self.end or "answers"
            ended = child.close()
            self.kilobytes = max(self.kilobytes, ended["kilobytes"] if name == "first" else 0)

    def outcome(self, cases: list[dict[str, Any]]) -> Outcome:
        """All that is known once the processes have ended."""
        trouble = self._trouble or (
            "" if self._loaded else "while loading the file: " + self._stopped("")["message"]
        )
        facts = (self.missing, self.kilobytes / 1024, self.end, self._loaded, trouble)
        return Outcome(cases, *facts, self._noted)

    def case(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> dict[str, Any]:
        """The answers to one case's calls, or the first error."""
        answers, changed = [], set[str]()
        for function, arguments in calls:
            entry = "given" if function in self._given_names else "first"
            reply = self._ask(entry, function, list(arguments), exact=False)
            if "answer" not in reply:
                return reply
            answers.append(reply["answer"])
            changed |= {f"{function}, argument {n + 1}" for n in _numbers(reply.get("changed"))}
        return {"answers": answers, **({"changed": sorted(changed)} if changed else {})}

    @property
    def _given_names(self) -> list[str]:
        """What the lab's own file defines; the students' name for it means ours."""
        source = str(self._job.given.get("source", ""))
        return [text[4:].split("(")[0] for text in source.splitlines() if text.startswith("def ")]

    def _ask(self, which: str, function: str, arguments: list[Any], exact: bool) -> dict[str, Any]:
        """One call in one of the processes; calls that it makes in turn are passed to where they belong."""
        child = self._child(which)
        if self.end or child.pid <= 0:
            return self._stopped("")
        child.write({"function": function, "arguments": arguments, "exact": exact})
        while True:
            reply = child.read()
            if reply is None or self.end:
                return self._stopped(which)
            if "call" not in reply:
                return reply if _wellformed(reply) else self._stopped(which)
            child.write(self._passed_on(which, reply))

    def _passed_on(self, which: str, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to a call that one process makes of a function in another."""
        name, arguments = request["call"], request.get("arguments")
        self._calls += 1
        if (
            name not in self._names[which]["far"]
            or not isinstance(arguments, list)
            or self._calls > MOST_CALLS
        ):
            return {"error": "NameError", "message": f"there is no function {str(name)[:40]!r} to call"}
        if which != "first":
            return self._ask("first", name, arguments, exact=True)
        if not self._job.ours:
            return _remembered(self._job.recorded, name, arguments)
        reply = self._ask("ours", name, arguments, exact=True)
        if "answer" in reply:
            call = {"function": name, "arguments": arguments, "answer": reply["answer"]}
            self._noted.append(call)
        return reply

    def _child(self, which: str) -> _Child:
        """The process of that part, started when it is first needed."""
        if which not in self._children:
            child = self._children[which] = self._runner.start_child(self._scratch, self._job.heavy)
            self.missing = _texts((child.read() or {}).get("missing")) or self.missing
            child.write(self._names[which])
            if which != "first":
                child.read()  # what is ours loads
        return self._children[which]

    def _stopped(self, which: str) -> dict[str, Any]:
        """What to say of a case that has no answer, since a process was stopped or ended by itself."""
        child = self._children.get(which)
        if child and child.too_large:
            self.end = self.end or "answers"
        if not self.end and child:
            self.end = str(child.close()["end"])
        text = ENDINGS.get(self.end, "the process ended in the middle ({end})")
        return {"error": "stopped", "message": text.format(seconds=self._runner.limits.seconds, end=self.end)}

    def _watch(self) -> None:
        """Ends all processes of the task when its time or its disk is used up."""
        largest = self._runner.limits.scratch_megabytes << 20
        while not self._over.wait(max(0.0, min(POLL, self._deadline - time.monotonic()))):
            late = time.monotonic() >= self._deadline
            if late or size_of(self._scratch, largest) > largest:
                self.end = "time" if late else "disk"
                for child in list(self._children.values()):
                    child.kill()
                return


def _remembered(recorded: Sequence[dict[str, Any]], name: str, arguments: list[Any]) -> dict[str, Any]:
    """The recorded answer to a call with these very arguments."""
    for call in recorded:
        if call["function"] == name and not difference(plain(arguments), plain(call["arguments"])):
            return {"answer": call["answer"]}
    return {"error": "NotImplementedError", "message": f"this call of {name} is not among those recorded"}


def _wellformed(reply: dict[str, Any]) -> bool:
    return "answer" in reply or all(isinstance(reply.get(key), str) for key in ("error", "message"))


def _numbers(value: Any) -> list[int]:
    return [n for n in value if isinstance(n, int)][:20] if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    return [str(text) for text in value] if isinstance(value, list) else []


def size_of(folder: Path, most: float = math.inf) -> float:
    """Bytes of all files below a folder, counted until they are more than `most`; files and folders count as no less
    than what it costs to remove them, and a folder that is locked or very deep counts as endless."""
    total, waiting = 0.0, [(str(folder), 0)]
    while waiting and total <= most:
        name, depth = waiting.pop()
        try:
            for entry in os.scandir(name):
                if entry.is_dir(follow_symlinks=False):
                    total += LEAST_FOLDER
                    waiting.append((entry.path, depth + 1))
                    continue
                with contextlib.suppress(FileNotFoundError):  # gone since it was listed
                    total += max(LEAST, entry.stat(follow_symlinks=False).st_size)
        except FileNotFoundError:
            continue
        except OSError:
            return math.inf
        if depth > DEEPEST:
            return math.inf
    return total


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A new folder that is gone afterwards, however deep a submission has dug in it."""
    path = Path(tempfile.mkdtemp(prefix="minilm-")).resolve()
    try:
        yield path
    finally:
        remove_folder(path)


def remove_folder(path: Path) -> None:
    """Removes a folder with all that is below, however deep or locked: each folder is lifted out of the one above and
    opened first, so that no name gets too long and no call too deep."""
    lifted = [Path(tempfile.mkdtemp(prefix="minilm-", dir=path.parent))]

    def lift(folder: str | Path) -> None:
        os.chmod(folder, 0o700)
        lifted.append(lifted[0] / str(len(lifted)))
        os.rename(folder, lifted[-1])

    with contextlib.suppress(OSError):
        lift(path)
        for folder in islice(lifted, 1, None):  # grows on the way
            for entry in list(os.scandir(folder)):
                if entry.is_dir(follow_symlinks=False):
                    lift(entry.path)
                else:
                    os.unlink(entry.path)
            folder.rmdir()
        lifted[0].rmdir()


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
