"""Files that cheat, hang, break or attack, each in the place of one task, and what must come of them.

Every one must get no points in its task, must spoil no other task, must end in time and must leave the machine as it
was. Teachers can run them with `selftest --hostile`. The texts below run in the student's process only.
"""

from __future__ import annotations

import ast
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from minilm.classroom.book import Book, make_book
from minilm.classroom.lab import load_lab, part
from minilm.classroom.marking import mark
from minilm.classroom.runner import GRACE, Runner

# name -> the body of the attacked function; {outside} is a folder that it must not touch, {port} a listening socket
ATTACKS = {
    "endless_loop": "while True: pass",
    "sleep": "import time; time.sleep(1e6)",
    "exit": "import sys; sys.exit(0)",
    "hard_exit": "import os; os._exit(0)",
    "abort": "import os; os.abort()",
    "keyboard_interrupt": "raise KeyboardInterrupt",
    "crash": "import ctypes; ctypes.string_at(0)",
    "recursion": "return attacked(*arguments)",
    "memory_bomb": "return [bytearray(1 << 28) for _ in range(1000)]",
    "tensor_bomb": "import torch; return torch.ones(1 << 34)",
    "huge_answer": "return ['x' * 90000] * 100000",
    "deep_answer": "a = []\n    for _ in range(100000): a = [a]\n    return a",
    "endless_output": "import os\n    while True:\n        for d in range(1, 40):\n"
    "            try: os.write(d, b'x' * 65536)\n            except OSError: pass",
    "fork": "import os; os.fork(); return 0",
    "fork_bomb": "import os\n    while True:\n        try: os.fork()\n        except OSError: pass",
    "subprocess": "import subprocess; subprocess.run(['touch', '{outside}/x'])",
    "daemon": "import os\n    if os.fork() == 0:\n        os.setsid(); open('{outside}/x', 'w').write('x')",
    "threads": "import threading, time\n    while True: threading.Thread(target=time.sleep, args=(1e6,)).start()",
    "write_outside": "open('{outside}/x', 'w').write('x')",
    "delete_outside": "import os; os.remove('{outside}/kept')",
    "chmod_outside": "import os; os.chmod('{outside}/kept', 0)",
    "overwrite_package": "open(__import__('sysconfig').get_paths()['purelib'] + '/x.pth', 'w').write('x')",
    "big_file": "f = open('big', 'wb')\n    while True: f.write(b'x' * (1 << 20))",
    "many_files": "import itertools\n    for n in itertools.count(): open(str(n), 'wb').write(b'x' * (1 << 20))",
    "read_solution": "import pathlib; exec(pathlib.Path('{solution}').read_text(), globals()); "
    "return globals()['{task}'](*arguments)",
    "import_solution": "import sys, importlib; sys.path.insert(0, '{root}'); "
    "return getattr(importlib.import_module('minilm.classroom.labs.{lab}.solution'), '{task}')(*arguments)",
    "read_parent": "import os; return open('/proc/%d/environ' % os.getppid()).read()",
    "kill_parent": "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
    "kill_group": "import os, signal; os.kill(-1, signal.SIGKILL)",
    "network": "import socket; socket.create_connection(('127.0.0.1', {port}), 1)",
    "faked_output": "import os\n    for d in range(3, 40):\n        try: os.write(d, b'{{\"answers\": [1]}}\\n' * 9)\n"
    "        except OSError: pass\n    os._exit(0)",
    "faked_report": "print('{{\"score\": 100}}'); return 'all tests passed'",
    "lying_equal": "class Yes:\n        __eq__ = lambda s, o: True\n        __hash__ = None\n        shape = (1,)\n"
    "        tolist = lambda s: s\n        ndim = 1; dtype = 'float32'\n    return Yes()",
    "lying_tensor": "import torch\n    class T(torch.Tensor):\n        __eq__ = lambda s, o: True\n"
    "    return torch.zeros(1).as_subclass(T)",
    "lying_number": "class F(float):\n        __eq__ = lambda s, o: True\n    return F(0)",
    "lying_error": "class E(Exception):\n        __str__ = lambda s: 1 / 0\n    raise E",
    "patched_checker": "import json, sys, numpy, torch\n    numpy.isclose = torch.allclose = lambda *a, **k: True\n"
    "    for m in list(sys.modules.values()):\n        if hasattr(m, 'to_plain'): m.to_plain = lambda *a: 1\n"
    "    return 0",
    "patched_json": "import json; json.dumps = lambda *a, **k: '{{\"answers\": [true]}}'; return 0",
    "at_exit": "import atexit, os; atexit.register(os.system, 'touch {outside}/x'); return 0",
    "not_a_number": "return float('nan')",
    "generator": "yield 1",
    "nothing": "return None",
}
# Attacks that the system itself must stop: not run where it cannot, since they would do what they say.
NEEDS = {
    "disk": "write_outside delete_outside chmod_outside overwrite_package read_solution import_solution read_parent",
    "network": "network",
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
}


def attack(lab: str, task: str, body: str, outside: Path, port: int) -> str:
    """The reference of a lab with one task's function replaced by an attack."""
    root = Path(__file__).parents[2]
    solution = Path(__file__).parent / "labs" / lab / "solution.py"
    body = body.format(outside=outside, port=port, task=task, lab=lab, solution=solution, root=root)
    kept = ast.parse(part(load_lab(lab), "solution.py"))
    kept.body = [node for node in kept.body if not (isinstance(node, ast.FunctionDef) and node.name == task)]
    return f"{ast.unparse(kept)}\n\ndef attacked(*arguments):\n    {body}\n\n{task} = attacked\n"


def prove_hostile(lab_name: str, runner: Runner) -> tuple[int, int, list[str]]:
    """(held, run, what got loose) for the last task of a lab, with its first task beside it, which must stay right."""
    whole = make_book(lab_name, runner)
    last = replace(whole.pages[-1], helpers="")  # the attacked file brings the earlier functions itself
    book = Book(whole.lab, (whole.pages[0], last))
    missing = mark(book, "", "empty", runner).missing
    loose: list[str] = []
    attacks = {name: body for name, body in ATTACKS.items() if not _not_held_here(name, missing)}
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        outside, port = Path(folder), server.getsockname()[1]
        server.setblocking(False)
        (outside / "kept").touch()
        for name, body in attacks.items():
            source = attack(lab_name, book.pages[-1].task.name, body, outside, port)
            loose += [f"{name}: {text}" for text in _held(book, runner, source, outside, server)]
        for name, source in BROKEN.items():
            points = mark(book, source, name, runner).points
            loose += [f"{name}: {points:g} points"] if points else []
    count = len(attacks) + len(BROKEN)
    return count - len({text.split(":")[0] for text in loose}), count, loose


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
    if os.listdir(outside) != ["kept"] or not (outside / "kept").stat().st_mode & 0o400:
        yield "changed a folder outside"
    try:
        server.accept()[0].close()
        yield "reached the network"
    except BlockingIOError:
        pass
