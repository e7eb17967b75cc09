"""The processes in which students' code runs: each is forked for one task of one submission and confined first.

`python -m minilm.classroom.worker` loads torch once and forks on demand; it is handed the ends of two pipes and never
reads from them, so nothing of a submission, a case or a solution is ever in the memory that the next child inherits. A
child is sent its source, then one call at a time, and all that comes back are lines of JSON. Nothing here knows
expected answers, points or solutions.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from minilm.classroom.sandbox import confine
from minilm.classroom.wire import fault, line, to_plain, to_torch

HEAVY = ("hyperopt",)  # takes a second to load, so it is loaded here, as soon as a submission names it
# What submissions import, loaded beforehand where the disk can only be closed altogether (no Landlock).
USUAL = """abc array ast bisect cmath collections copy csv dataclasses datetime decimal enum fractions functools heapq
    hashlib inspect io itertools json math numbers operator os pathlib pprint queue random re statistics string struct
    textwrap time traceback typing unicodedata uuid warnings numpy numpy.random numpy.linalg numpy.fft torch.nn
    torch.nn.functional torch.optim torch.optim.lr_scheduler torch.utils.data torch.autograd hyperopt hyperopt.pyll
    hyperopt.pyll.stochastic"""


class Peer:
    """The child's end of the line: it answers calls, and asks for functions that live in another process."""

    def __init__(self, requests: BinaryIO, replies: BinaryIO, scratch: str) -> None:
        self.requests, self.replies, self.scratch = requests, replies, scratch

    def say(self, value: dict[str, Any]) -> None:
        self.replies.write(line(value))
        self.replies.flush()

    def heard(self) -> Iterator[dict[str, Any]]:
        while text := self.requests.readline():
            yield json.loads(text)

    def far(self, name: str) -> Callable[..., Any]:
        """A function that is computed elsewhere, by whoever is at the other end."""

        def call(*arguments: Any, **named: Any) -> Any:
            if named:
                raise TypeError(f"{name} takes its arguments by position here")
            self.say({"call": name, "arguments": [to_plain(one, exact=True) for one in arguments]})
            reply = json.loads(self.requests.readline())
            if "error" in reply:
                raise _exception(reply)
            return to_torch(reply["answer"], self.scratch)

        call.__name__ = name
        return call


def _exception(reply: dict[str, Any]) -> BaseException:
    """An exception of the same kind, where Python has it."""
    import builtins

    kind = getattr(builtins, reply["error"], None)
    known = isinstance(kind, type) and issubclass(kind, BaseException)
    return kind(reply["message"]) if known else RuntimeError(reply["message"])  # type: ignore[misc]


def answer_calls(first: dict[str, Any], peer: Peer) -> None:
    """Loads the submission, then answers calls of its functions; what a lab gives is put back before each."""
    module = types.ModuleType("submission")
    broken = _execute(first["source"], first["name"], module.__dict__)
    given = _given(first["given"], module.__dict__, first["tasks"])
    far = {name: peer.far(name) for name in first["far"]}
    there = not broken or any(task in module.__dict__ for task in first["tasks"])
    peer.say({"loaded": there, "trouble": broken["message"] if broken else ""})
    for request in peer.heard():
        module.__dict__.update(given)
        module.__dict__.update(far)
        peer.say(_answer(request, module, peer.scratch, broken))


def _execute(source: str, name: str, names: dict[str, Any]) -> dict[str, Any] | None:
    """Runs the file as a module; what went wrong, or None."""
    try:
        sys.modules[names["__name__"]] = types.ModuleType(names["__name__"])
        exec(compile(source, name, "exec"), names)
    except BaseException as error:  # SystemExit and KeyboardInterrupt are the student's too
        lines = [at.tb_lineno for at in _frames(error) if at.tb_frame.f_code.co_filename == name]
        return fault(error, f"while loading the file{f', line {lines[0]}' if lines else ''}: ")
    return None


def _frames(error: BaseException) -> Iterator[types.TracebackType]:
    at = error.__traceback__
    while at:
        yield at
        at = at.tb_next


def _given(source: str, theirs: dict[str, Any], tasks: list[str]) -> dict[str, Any]:
    """The functions that the lab gives, with imports of their own; the tasks' functions they find in the submission."""
    names: dict[str, Any] = {"__name__": "given"}
    exec(compile(source, "given", "exec"), names)

    def theirs_now(task: str) -> Callable[..., Any]:
        return lambda *arguments: theirs[task](*arguments)

    names.update({task: theirs_now(task) for task in tasks})
    return {
        name: value
        for name, value in names.items()
        if getattr(value, "__module__", None) == "given"
        and isinstance(value, types.FunctionType)
        and name not in tasks
    }


def _answer(
    request: dict[str, Any], module: types.ModuleType, scratch: str, broken: dict[str, Any] | None
) -> dict[str, Any]:
    function = request["function"]
    target = module.__dict__.get(function)
    if target is None and broken:
        return {**broken, "error": "loading"}
    if target is None:
        return {"error": "missing", "message": f"there is no function {function} in the file"}
    try:
        values = to_torch(request["arguments"], scratch)
        before = [line({"value": to_plain(value)}) for value in values]
        answer = to_plain(target(*values), exact=request["exact"])
        after = [line({"value": to_plain(value)}) for value in values]
        return {"answer": answer, "changed": [n for n, text in enumerate(after) if text != before[n]]}
    except BaseException as error:
        return fault(error)


def _judge(first: dict[str, Any], peer: Peer) -> None:
    """Says one thing about the run in the scratch folder."""
    from minilm.classroom.referee import judge_run

    peer.say({"loaded": True})
    for _ in peer.heard():
        try:
            peer.say({"answer": judge_run(Path(peer.scratch), first["pieces"], first["unknown"])})
        except BaseException as error:
            found, scratch = fault(error), peer.scratch
            message = found["message"].replace(scratch + os.sep, "").replace(scratch, "the run")
            peer.say({**found, "message": message})


def converse(command: dict[str, Any], requests: BinaryIO, replies: BinaryIO) -> None:
    """A confined process's whole conversation."""
    os.chdir(command["scratch"])
    limits = (command["seconds"], command["megabytes"], command["file_megabytes"])
    scratch, missing = confine(Path(command["scratch"]), *limits, landlock=command["landlock"])
    peer = Peer(requests, replies, scratch)
    peer.say({"missing": missing})
    first = next(peer.heard())
    (_judge if "pieces" in first else answer_calls)(first, peer)


def _child(command: dict[str, Any], reader: int, writer: int) -> None:
    """The child's whole life. It ends with `os._exit`, so that no code of theirs runs at exit."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    for descriptor in set(range(3, 256)) - {reader, writer}:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    with os.fdopen(reader, "rb") as requests, os.fdopen(writer, "wb") as replies:
        converse(command, requests, replies)
    os._exit(0)


def serve(control: socket.socket) -> None:
    """Forks a child for each request and, when asked, ends it and says how it went."""
    children: set[int] = set()
    with contextlib.suppress(ConnectionError):
        while True:
            data, pipes, _, _ = socket.recv_fds(control, 1 << 16, 2)
            if not data:
                break
            command = json.loads(data)
            if "end" in command:
                children.discard(command["end"])
                control.sendall(line(_ended(command["end"])))
                continue
            _load(command["heavy"])
            child = os.fork()
            if child == 0:
                try:
                    _child(command, *pipes)
                finally:
                    os._exit(1)
            for descriptor in pipes:
                os.close(descriptor)
            children.add(child)
            control.sendall(line({"pid": child}))
    for child in children:  # whoever asked for them is gone
        _ended(child)


def _ended(child: int) -> dict[str, Any]:
    """Kills a child with all its threads; how it ended, if it had ended already, and what memory it took."""
    for _ in range(50):  # its line is cut, so that it ends by itself unless it hangs
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.002)
    else:
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(child, signal.SIGKILL)
        _, status, usage = os.wait4(child, 0)
    signal_, code = os.WIFSIGNALED(status), os.WEXITSTATUS(status)
    end = f"signal {os.WTERMSIG(status)}" if signal_ else f"exit code {code}"
    return {"end": end, "kilobytes": usage.ru_maxrss}


def _load(names: list[str]) -> None:
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def main() -> None:
    sys.path[:] = [entry for entry in sys.path if entry and entry != str(Path(__file__).parents[2])]
    os.environ.pop("PYTHONPATH", None)
    import torch

    torch.set_num_threads(1)
    torch.ones(2, 2, requires_grad=True).softmax(-1).sum().backward()  # loads what a first step would load
    if "--referee" in sys.argv:
        from minilm.classroom.referee import rehearse

        rehearse()
    if "--usual" in sys.argv:
        _load(USUAL.split())
    options, sys.argv[:] = list(sys.argv), ["worker"]
    sys.orig_argv[:] = sys.argv
    gc.freeze()
    if "--control" in options:
        control = socket.socket(fileno=int(options[options.index("--control") + 1]))
        control.sendall(line({"ready": True}))
        serve(control)
        return
    requests, replies = (
        sys.stdin.buffer,
        os.fdopen(os.dup(1), "wb"),
    )  # no fork (Windows): this process is the child
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    replies.write(line({"ready": True}))
    replies.flush()
    command = json.loads(requests.readline())
    converse(command, requests, replies)
    os._exit(0)


if __name__ == "__main__":
    main()
