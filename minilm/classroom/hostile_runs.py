"""Folders of runs that lie, break or attack, and what must come of them: the true loss or a sentence, nothing else.

Each case changes an honest small run. `selftest --hostile` marks them all.
"""

from __future__ import annotations

import json
import os
import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minilm.classroom.board import Unseen, judge
from minilm.classroom.referee import small_run
from minilm.classroom.runner import GRACE, Runner

TEXT = Unseen("abcd", ("abcdabcddcbaabcd" * 4, "aabbccddabcdabcd" * 4))
WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


def _edit(name: str, *keys: str, value: Any) -> Callable[[Path, Path], None]:
    """Changes one entry of a JSON file."""

    def change(run: Path, outside: Path) -> None:
        whole = inner = json.loads((run / name).read_text())
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        _put(run / name, json.dumps(whole).encode())

    return change


def _put(path: Path, data: bytes) -> None:
    from minilm.files import write_bytes

    write_bytes(path, data)


def _replace(name: str, data: bytes) -> Callable[[Path, Path], None]:
    return lambda run, outside: _put(run / name, data)


def _pickled(name: str) -> Callable[[Path, Path], None]:
    return lambda run, outside: _put(run / name, pickle.dumps(Payload(outside / "ran")))


def _code(run: Path, outside: Path) -> None:
    for name in ("model.py", "minilm.py", "torch.py", "sitecustomize.py", "conftest.py", "safetensors.py"):
        _put(run / name, f"import os; os.mkdir({str(outside / 'ran')!r})".encode())


def _linked(name: str) -> Callable[[Path, Path], None]:
    """Another's file in the place of one's own."""

    def change(run: Path, outside: Path) -> None:
        _put(outside / name, (run / name).read_bytes())
        (run / name).unlink()
        (run / name).symlink_to(outside / name)

    return change


def _pipe(run: Path, outside: Path) -> None:
    (run / CONFIG).unlink()
    os.mkfifo(run / CONFIG)


def _folder(run: Path, outside: Path) -> None:
    (run / WEIGHTS).unlink()
    (run / WEIGHTS).mkdir()


def _sparse(run: Path, outside: Path) -> None:
    os.truncate(run / WEIGHTS, 1 << 36)


def _no_numbers(run: Path, outside: Path) -> None:
    data = (run / WEIGHTS).read_bytes()
    head = 8 + int.from_bytes(data[:8], "little")
    text = json.loads(data[8:head])
    text.pop("__metadata__", None)  # with its checksum
    header = json.dumps(text).encode()
    _put(run / WEIGHTS, len(header).to_bytes(8, "little") + header + b"\xff" * (len(data) - head))


def _header(claim: dict[str, Any]) -> bytes:
    text = json.dumps(claim).encode()
    return len(text).to_bytes(8, "little") + text


WIDE = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}
LIES: dict[str, Callable[[Path, Path], None]] = {  # told of nothing that counts: the true loss comes out
    "lying_result": _replace("result.json", b'{"test_loss": 0.0001}'),
    "lying_metrics": _replace("metrics.jsonl", b"not a record"),
    "code_beside": _code,
    "pickle_beside": _pickled("pytorch_model.bin"),
    "pickled_checkpoint": _pickled("checkpoint.safetensors"),
    "foreign_corpus": _edit(
        CONFIG,
        "corpus",
        value={
            "name": "/etc/passwd",
            "source": {"path": "/etc/passwd", "sha256": "", "split": [0.9, 0.1, 0.0]},
        },
    ),
}
BROKEN: dict[str, Callable[[Path, Path], None]] = {  # no loss, and a sentence
    "many_layers": _edit(CONFIG, "model", "n_layer", value=10**9),
    "wide": _edit(CONFIG, "model", "n_embd", value=10**6),
    "wide_mlp": _edit(CONFIG, "model", "mlp_hidden", value=10**9),
    "long_context": _edit(CONFIG, "model", "block_size", value=10**12),
    "many_tokens": _edit(CONFIG, "model", "vocab_size", value=10**9),
    "one_token_more": _edit(CONFIG, "model", "vocab_size", value=5),
    "other_shape": _edit(CONFIG, "model", "mlp_hidden", value=8),
    "other_positions": _edit(CONFIG, "model", "position", value="learned"),
    "unknown_key": _edit(CONFIG, "model", "auto_map", value="model.py"),
    "text_for_a_number": _edit(CONFIG, "model", "n_head", value="__import__('os')"),
    "negative": _edit(CONFIG, "model", "n_layer", value=-1),
    "deep_json": _replace(CONFIG, b"[" * 100_000),
    "no_json": _replace(CONFIG, b"\xff\xfe"),
    "large_json": _replace(CONFIG, b" " * (1 << 21)),
    "fewer_characters": _edit(TOKENIZER, "characters", value="ab"),
    "characters_twice": _edit(TOKENIZER, "characters", value="aaaa"),
    "another_tokenizer": _edit(TOKENIZER, "kind", value="bpe"),
    "path_for_a_tokenizer": _edit(TOKENIZER, "characters", value=["../../etc/passwd"]),
    "pickle_for_weights": _pickled(WEIGHTS),
    "zip_for_weights": _replace(WEIGHTS, b"PK\x03\x04" + b"\0" * 1000),
    "empty_weights": _replace(WEIGHTS, b""),
    "terabytes_claimed": _replace(WEIGHTS, _header({"lm_head.weight": WIDE})),
    "long_header_claimed": _replace(WEIGHTS, (1 << 62).to_bytes(8, "little") + b"{}"),
    "no_tensors": _replace(WEIGHTS, _header({})),
    "not_numbers": _no_numbers,
    "sparse_weights": _sparse,
    "weights_are_a_folder": _folder,
    "linked_weights": _linked(WEIGHTS),
    "linked_config": _linked(CONFIG),
    "linked_tokenizer": _linked(TOKENIZER),
    "pipe": _pipe,
}


def prove_hostile_runs(runner: Runner) -> tuple[int, int, list[str]]:
    """(held, run, what got loose); the runner must have a referee."""
    loose: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        small_run(Path(name))
        honest = judge("honest", Path(name), TEXT, runner)
    if not honest.losses:
        return 0, len(LIES) + len(BROKEN), [f"the honest run is not judged: {honest.note}"]
    for case, change in (LIES | BROKEN).items():
        expected = honest.losses if case in LIES else ()
        loose += [f"run {case}: {text}" for text in [_loose(change, expected, runner)] if text]
    count = len(LIES) + len(BROKEN)
    return count - len(loose), count, loose


def _loose(change: Callable[[Path, Path], None], expected: tuple[float, ...], runner: Runner) -> str:
    """In which way one case got loose, "" where it was held."""
    with tempfile.TemporaryDirectory() as folder:
        run, outside = Path(folder) / "run", Path(folder) / "outside"
        small_run(run)
        outside.mkdir()
        change(run, outside)
        start = time.monotonic()
        entry = judge("hostile", run, TEXT, runner)
        if (outside / "ran").exists():
            return "its code was run"
        if time.monotonic() - start > runner.limits.seconds + GRACE:
            return "took too long"
        if entry.losses != expected:
            return f"got the loss {entry.loss:g}"
        return "" if expected or entry.note else "nothing was said about it"
