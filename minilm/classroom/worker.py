"""The process in which students' code runs: one child for each task, confined before the first line of theirs.

`python -m minilm.classroom.worker` reads jobs as JSON lines and answers with JSON lines. It loads torch once and runs
no submission itself; a child computes the answers, and all that comes back are bytes. With `--referee` the children
judge runs of our own decoder instead. This file knows no expected answer, no points and no solution, so nothing here is
worth stealing.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import sys
import time
import types
from pathlib import Path
from typing import Any, BinaryIO

from minilm.classroom.sandbox import confine

LARGEST_ANSWER = 8 << 20  # bytes of one task's answers
DEEPEST = 20  # levels of lists in an answer
LONGEST_TEXT = 100_000
POLL = 0.2  # seconds between looks at the scratch folder
HEAVY = ("hyperopt",)  # takes a second to load, so it is loaded once, here, as soon as a submission names it


def to_torch(value: Any, scratch: str) -> Any:
    """Plain data as a student's function receives it; a text "{scratch}/x" names a file in the scratch folder."""
    import torch

    if isinstance(value, dict) and "tensor" in value:
        return torch.tensor(value["values"], dtype=getattr(torch, value["tensor"]))
    if isinstance(value, dict):
        return {key: to_torch(item, scratch) for key, item in value.items()}
    if isinstance(value, list):
        return [to_torch(item, scratch) for item in value]
    return value.replace("{scratch}", scratch) if isinstance(value, str) else value


def to_plain(value: Any, depth: int = 0) -> Any:
    """A student's answer as plain data; TypeError for what is neither tensor, number, text, list nor dictionary."""
    import torch

    if depth > DEEPEST:
        raise TypeError(f"the answer is nested more than {DEEPEST} levels deep")
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
        return {"tensor": str(value.dtype).removeprefix("torch."), "values": value.tolist()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {str(key): to_plain(item, depth + 1) for key, item in value.items()}
    if hasattr(value, "tolist"):  # numpy
        return {"tensor": str(value.dtype), "values": value.tolist()} if value.ndim else value.tolist()
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return value[:LONGEST_TEXT]
    raise TypeError(f"the answer is a {type(value).__name__}, not a tensor, number, text, list or dictionary")


def _judge(job: dict[str, Any], out: BinaryIO) -> None:
    """Writes one line about the run in the scratch folder."""
    from minilm.classroom.referee import judge_run

    try:
        out.write(_line({"answers": [judge_run(Path(job["scratch"]), job["pieces"], job["unknown"])]}))
    except BaseException as error:
        fault, scratch = _fault(error), job["scratch"]
        message = fault["message"].replace(scratch + os.sep, "").replace(scratch, "the run")
        out.write(_line({**fault, "message": message}))


def _run_job(job: dict[str, Any], out: BinaryIO) -> None:
    """Loads the submission and writes one line per case."""
    module = types.ModuleType("submission")
    if fault := _execute(job["source"], job["name"], module.__dict__):
        for _ in job["cases"]:
            out.write(_line(fault))
        return
    if job["helpers"]:
        helpers: dict[str, Any] = {"__name__": "helpers"}
        exec(compile(job["helpers"], "helpers", "exec"), helpers)  # ours
        module.__dict__.update({name: helpers[name] for name in job["replaced"]})
    for calls in job["cases"]:
        out.write(_line(_answers(calls, module, job["scratch"])))
        out.flush()


def _execute(source: str, name: str, names: dict[str, Any]) -> dict[str, Any] | None:
    """Runs the file as a module; what went wrong, or None."""
    try:
        sys.modules[names["__name__"]] = types.ModuleType(names["__name__"])
        exec(compile(source, name, "exec"), names)
    except BaseException as error:  # SystemExit and KeyboardInterrupt are the student's too
        return _fault(error, "while loading the file: ")
    return None


def _answers(calls: list[Any], module: types.ModuleType, scratch: str) -> dict[str, Any]:
    answers = []
    for function, arguments in calls:
        target = module.__dict__.get(function)
        if target is None:
            return {"error": "missing", "message": f"there is no function {function} in the file"}
        try:
            answers.append(to_plain(target(*to_torch(arguments, scratch))))
        except BaseException as error:
            return _fault(error)
    return {"answers": answers}


def _fault(error: BaseException, where: str = "") -> dict[str, Any]:
    try:
        text = str(error)
    except BaseException:  # an exception of theirs may refuse to be shown
        text = ""
    return {"error": type(error).__name__[:80], "message": (where + text)[:500]}


def _line(value: dict[str, Any]) -> bytes:
    try:
        return json.dumps(value).encode() + b"\n"
    except BaseException as error:
        return json.dumps(_fault(error)).encode() + b"\n"


def _child(job: dict[str, Any], pipe: int) -> None:
    """The child's whole life. It ends with `os._exit`, so that no code of theirs runs at exit."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.closerange(3, pipe)
    os.closerange(pipe + 1, 256)
    os.chdir(job["scratch"])
    missing = confine(Path(job["scratch"]), job["seconds"], job["megabytes"], job["file_megabytes"])
    with os.fdopen(pipe, "wb") as out:
        out.write(_line({"missing": missing}))
        out.flush()
        (_judge if "pieces" in job else _run_job)(job, out)
    os._exit(0)


def serve_forked(job: dict[str, Any]) -> dict[str, Any]:
    """Runs a job in a child, watches it and says how it ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            _child(job, writer)
        finally:
            os._exit(1)
    os.close(writer)
    largest = job["scratch_megabytes"] << 20
    data, end = _watch(reader, time.monotonic() + job["seconds"], Path(job["scratch"]), largest)
    os.close(reader)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    return {
        "lines": data.decode("utf-8", "replace"),
        "end": end or _ending(status),
        "kilobytes": usage.ru_maxrss,
    }


def _ending(status: int) -> str:
    return (
        f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
    )


def _watch(reader: int, deadline: float, scratch: Path, largest: int) -> tuple[bytes, str]:
    """What the child wrote, and why we stopped listening: "" where it closed the pipe itself. The scratch folder may
    hold `largest` bytes."""
    parts: list[bytes] = []
    size = 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return b"".join(parts), "time"
        if not select.select([reader], [], [], min(left, POLL))[0]:
            if _size(scratch) > largest:
                return b"".join(parts), "disk"
            continue
        part = os.read(reader, 1 << 16)
        if not part:
            return b"".join(parts), ""
        parts.append(part)
        size += len(part)
        if size > LARGEST_ANSWER:
            return b"".join(parts), "answers"


def _size(folder: Path) -> int:
    total = 0
    with contextlib.suppress(OSError):
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                total += path.lstat().st_size
    return total


def serve_alone(job: dict[str, Any]) -> dict[str, Any]:
    """Where a process cannot fork (Windows): runs the job here; whoever sent it ends this process afterwards."""
    import io

    out = io.BytesIO()
    os.chdir(job["scratch"])
    out.write(_line({"missing": confine(Path(job["scratch"]), job["seconds"], 1024, 16)}))
    (_judge if "pieces" in job else _run_job)(job, out)
    return {"lines": out.getvalue().decode(), "end": "exit code 0", "kilobytes": 0}


def _load_heavy(source: str) -> None:
    for name in HEAVY:
        if name in source:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


def main() -> None:
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.path[:] = [entry for entry in sys.path if entry and entry != str(Path(__file__).parents[2])]
    import torch

    torch.set_num_threads(1)
    torch.ones(2, 2, requires_grad=True).softmax(-1).sum().backward()  # loads what a first step would load
    if "--referee" in sys.argv:
        from minilm.classroom.referee import rehearse

        rehearse()
    gc.freeze()
    serve = serve_forked if hasattr(os, "fork") and "--alone" not in sys.argv else serve_alone
    answers.write(b'{"ready": true}\n')
    answers.flush()
    while line := requests.readline():
        job = json.loads(line)
        _load_heavy(job.get("source", ""))
        answers.write(json.dumps(serve(job)).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
