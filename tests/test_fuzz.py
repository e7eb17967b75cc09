"""Every parser of what comes from outside is fed with noise and with damaged originals: only our own errors come out.

MINILM_FUZZ_SECONDS gives each parser so long (default: a third of a second).
"""

from __future__ import annotations

import io
import json
import os
import random
import time
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

from minilm import evaluate, files, sample, train, tune
from minilm.classroom.book import make_book, public_part, read_book, write_book
from minilm.classroom.marking import Marks, TaskMark
from minilm.classroom.pile import open_ledger
from minilm.classroom.platforms import read_roster
from minilm.classroom.runner import Runner
from minilm.classroom.submissions import collect, read_noted, read_submission
from minilm.config import ModelConfig, TrainConfig
from minilm.errors import MinilmError
from minilm.interop.folders import tokenizer_json
from minilm.interop.huggingface import to_huggingface
from minilm.interop.nanogpt import read_nanogpt
from minilm.model import GPT
from minilm.text.bpe import BPETokenizer
from minilm.text.characters import CharTokenizer
from minilm.text.formats import recognise, told, written
from minilm.text.reading import read_file
from minilm.text.tokenizers import load_tokenizer, piece_count
from minilm.training.run import read_config, read_numbers
from minilm.tuner.records import Journal, Trial, TrialState, create_study
from minilm.tuner.resume import _settings as resumed_settings
from minilm.tuner.settings import Settings, TrialBudget
from minilm.tuner.space import Limits

SECONDS = float(os.environ.get("MINILM_FUZZ_SECONDS", "0.3"))
PIECES = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"\\",
    b"\n",
    b"\t",
    b"\0",
    b"\xff",
    b"null",
    b"1e999",
    b"-",
    b"9" * 40,
]
PIECES += [
    b'"a"',
    b'{"a":',
    b"[[",
    b"\\ud800",
    b"\xed\xa0\x80",
    b"\r",
    b"true",
    b"0.1",
    b'""',
    b"__metadata__",
    b"sha256",
]


def damaged(original: bytes, draw: random.Random) -> bytes:
    """Bytes flipped, left out, doubled, or replaced by what parsers stumble over; now and then noise alone."""
    if draw.random() < 0.1:
        return b"".join(draw.choices(PIECES, k=draw.randrange(60)))
    data = bytearray(original)
    for _ in range(draw.randrange(1, 6)):
        place, act = draw.randrange(len(data) + 1), draw.randrange(4)
        if act == 0 and place < len(data):
            data[place] ^= 1 << draw.randrange(8)
        elif act == 1:
            del data[place : place + draw.randrange(30)]
        elif act == 2:
            data[place:place] = draw.choice(PIECES)
        else:
            data[place:place] = data[place : place + draw.randrange(200)]
    return bytes(data)


def tokenizer(kind: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        text = "low lower lowest slow" * 20
        (CharTokenizer.from_text(text) if kind == "char" else BPETokenizer.train(text, 262)).save(folder)

    return write


def run(folder: Path) -> None:
    train, corpus = (
        TrainConfig(steps=1).to_dict(),
        {"name": "a", "source": {"path": "a", "sha256": "b", "split": [0.9, 0.05, 0.05]}},
    )
    shape = ModelConfig(5, n_layer=1, n_head=1, n_embd=4, block_size=4)
    parts = {"format": "minilm-run", "version": 1, "model": shape.to_dict(), "train": train, "corpus": corpus}
    files.write_json(folder / "config.json", parts)
    GPT(shape).save_pretrained(folder / "weights")
    (folder / "weights" / "model.safetensors").rename(folder / "model.safetensors")
    files.append_record(folder / "metrics.jsonl", {"step": 1, "train_loss": 2.0, "seconds": 1.0})
    files.write_json(
        folder / "result.json",
        {"steps": 1, "stopped": "finished", "val_loss": 2.0, "counting": None, "legs": []},
    )


def trials(folder: Path) -> None:
    for tid in range(3):
        files.append_record(
            folder / "trials.jsonl",
            Trial(tid, {"lr": 0.1}, {"lr": 0.1}, state=TrialState.OK, loss=2.0).to_dict(),
        )


def tensors(folder: Path) -> None:
    files.write_tensors(
        folder / "t.safetensors", {"a": torch.ones(2, 3), "b": torch.arange(4)}, {"best": "{}"}
    )


def text(folder: Path) -> None:
    (folder / "a.txt").write_bytes("Straße, 中文 \r\n line\rend\n".encode() * 40)


CHATS = {
    "whatsapp": ("c.txt", "[01.02.24, 10:11:12] Ann: hello\n[01.02.24, 10:12:00] Bo: yes\nand more\n" * 9),
    "telegram": ("c.json", json.dumps({"name": "a", "type": "personal_chat", "messages": [
        {"id": k, "type": "message", "from": "Ann", "text": ["a", {"type": "bold", "text": "b"}]} for k in range(9)
    ]})),
    "turns": (
        "c.jsonl",
        '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "no"}]}\n' * 9,
    ),
    "rows": ("c.jsonl", '{"text": "a fox and a crane met", "id": 3}\n' * 9),
    "table": ("c.csv", "id,text\n" + '1,"a fox, and ""a crane"" met\nat the well"\n' * 9),
    "subtitles": ("c.srt", "1\n00:00:01,000 --> 00:00:02,000\nHello there.\n\n" * 9),
}  # fmt: skip


def chat(name: str) -> tuple[Callable[[Path], None], str, Callable[[Path], object]]:
    file, text = CHATS[name]

    def parse(folder: Path) -> object:
        found = recognise(folder / file)
        return found and ["".join(written(folder / file, found)), told(folder / file, found)]

    return lambda folder: (folder / file).write_text(text) and None, file, parse


def nanogpt(folder: Path) -> None:
    sizes = {
        "n_layer": 1,
        "n_head": 1,
        "n_embd": 4,
        "block_size": 4,
        "vocab_size": 5,
        "bias": False,
        "dropout": 0.0,
    }
    torch.save({"model": {"a": torch.ones(2)}, "model_args": sizes}, folder / "ckpt.pt")


def huggingface(folder: Path) -> None:
    shape = ModelConfig.gpt2(5, n_layer=1, n_head=1, n_embd=4, block_size=4)
    settings, tensors = to_huggingface(shape, GPT(shape).state_dict())
    files.write_json(folder / "config.json", settings)
    files.write_tensors(folder / "model.safetensors", tensors, {})


CELL = {"cell_type": "code", "source": ["def f(x):\n", "    return x\n"], "metadata": {}, "outputs": []}
NOTEBOOK = {"cells": [CELL], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}  # fmt: skip


def hf_tokenizer(folder: Path) -> None:
    files.write_json(
        folder / "tokenizer.json", tokenizer_json(BPETokenizer.train("low lower lowest slow" * 20, 262))
    )


def hf_merges(folder: Path) -> None:
    """GPT-2's two older files."""
    hf_tokenizer(folder)
    model = files.read_json(folder / "tokenizer.json")["model"]
    (folder / "tokenizer.json").unlink()
    files.write_json(folder / "vocab.json", model["vocab"])
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, model["merges"])))


def hf_parts(folder: Path) -> None:
    huggingface(folder)
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    names = files.read_tensors(folder / "a.safetensors")[0]
    files.write_json(
        folder / "model.safetensors.index.json", {"weight_map": dict.fromkeys(names, "a.safetensors")}
    )


def study(folder: Path) -> None:
    """Without its checksum, as one would write it who wants to deceive."""
    settings = Settings(
        {"name": "a", "bounds": [9, 10]},
        "lr: 0.1",
        Limits(8, 1e9),
        "tpe",
        0,
        "cpu",
        trials=3,
        budget=TrialBudget(steps=5),
    )
    create_study(folder, settings.to_dict())
    files.write_json(folder / "study.json", files.read_json(folder / "study.json"))


def marks(folder: Path) -> None:
    task = TaskMark("scores", "1", "Scores", 2.0, 4, 1, 2, (("[1, 2]", "3 for 4"),), hint="divide")
    with open_ledger(folder, resume=False) as ledger:
        ledger.add(Marks("Ann", "lab2", (task,), seconds=0.5), "digest")


def marked(folder: Path) -> object:
    with open_ledger(folder, resume=True) as ledger:
        return ledger.done


def cases(folder: Path) -> None:
    with Runner() as runner:
        write_book(public_part(make_book("lab2", runner)), folder / "cases.json")


def small_run(folder: Path) -> None:
    (folder / "a.txt").write_text("low lower lowest slow\n" * 40)
    sizes = {"layers": 1, "heads": 2, "hidden": 8, "context": 8, "steps": 2, "threads": 1}
    flags = [f"--{name}={value}" for name, value in sizes.items()]
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        train.main([str(folder / "a.txt"), "--tokens=bpe:300", *flags, f"--out={folder / 'run'}"])
    (folder / "words").write_text("low lower\nst")


def sampled(folder: Path) -> None:
    """The lines of a file as a prompt and what ends the text."""
    prompt, *stops = words(folder)
    given = [f"--prompt={prompt}", "--chars=9", "--temperature=0", *(f"--stop={stop}" for stop in stops[:9])]
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        sample.main([str(folder / "run"), *given])


def pile(folder: Path) -> None:
    with zipfile.ZipFile(folder / "pile.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for student in ("Ann", "Bo"):
            archive.writestr(f"{student}_1_assignsubmission_file_/lab2.py", "def f(x):\n    return x\n")
            archive.writestr(f"{student}_1_assignsubmission_file_/lab2.ipynb", json.dumps(NOTEBOOK))


def words(folder: Path) -> list[str]:
    """The lines of a file as a shell hands them over."""
    return (folder / "words").read_bytes().replace(b"\0", b"").decode("utf-8", "surrogateescape").split("\n")


def options(verb: Any) -> tuple[Callable[[Path], None], str, Callable[[Path], object]]:
    """The lines of a file as the words of a command line."""

    def parse(folder: Path) -> None:
        with redirect_stderr(told := io.StringIO()), redirect_stdout(io.StringIO()):
            try:
                verb.main([str(folder / "nowhere"), *words(folder)])
            except SystemExit as end:
                if end.code:
                    raise MinilmError(told.getvalue()) from end

    return lambda folder: (folder / "words").write_text(OPTIONS[verb]) and None, "words", parse


OPTIONS = {
    train: "--steps=5\n--lr\n0.1\n--tokens=bpe:300\n--seed=1",
    tune: "--minutes=1\n--tokens=auto\n--trials=3\n--split\n0.8,0.1,0.1\n--threads=2",
    sample: "--prompt=a\n--chars=9\n--temperature=0.8\n--top-k\n3\n--seed=1",
    evaluate: "--exact\n--sliding\n--text=a.txt\n--json",
}
PARSERS: dict[str, tuple[Callable[[Path], None], str, Callable[[Path], object]]] = {
    "json": (run, "config.json", lambda folder: files.read_json(folder / "config.json")),
    "config": (run, "config.json", read_config),
    "result": (run, "result.json", lambda folder: read_numbers(folder, {"legs": []})),
    "records": (run, "metrics.jsonl", lambda folder: read_numbers(folder, {"legs": []})),
    "weights": (run, "model.safetensors", lambda folder: GPT.from_pretrained(folder)),
    "tensors": (tensors, "t.safetensors", lambda folder: files.read_tensors(folder / "t.safetensors")),
    "header": (tensors, "t.safetensors", lambda folder: files.read_header(folder / "t.safetensors")),
    "trials": (trials, "trials.jsonl", Journal),
    "letters": (tokenizer("char"), "tokenizer.json", load_tokenizer),
    "pieces": (tokenizer("bpe"), "tokenizer.json", load_tokenizer),
    "text": (text, "a.txt", lambda folder: list(read_file(folder / "a.txt"))),
    "tokens": (
        text,
        "a.txt",
        lambda folder: piece_count((folder / "a.txt").read_bytes()[:12].decode("latin-1")),
    ),
    **{name: chat(name) for name in CHATS},
    "nanogpt": (nanogpt, "ckpt.pt", lambda folder: read_nanogpt(folder / "ckpt.pt")),
    "hf-config": (huggingface, "config.json", lambda folder: GPT.from_pretrained(folder)),
    "hf-weights": (huggingface, "model.safetensors", lambda folder: GPT.from_pretrained(folder)),
    "notebook": (
        lambda folder: (folder / "a.ipynb").write_text(json.dumps(NOTEBOOK)) and None,
        "a.ipynb",
        lambda folder: read_submission(folder / "a.ipynb"),
    ),
    "pile": (
        pile,
        "pile.zip",
        lambda folder: [read_noted(one) for one in collect(folder / "pile.zip", "lab2").values()],
    ),
    "hf-tokenizer": (hf_tokenizer, "tokenizer.json", load_tokenizer),
    "hf-vocabulary": (hf_merges, "vocab.json", load_tokenizer),
    "hf-merges": (hf_merges, "merges.txt", load_tokenizer),
    "hf-parts": (hf_parts, "model.safetensors.index.json", lambda folder: GPT.from_pretrained(folder)),
    "study": (study, "study.json", lambda folder: resumed_settings(folder, None, None)),
    "grading": (marks, "grading.json", marked),
    "marks": (marks, "marks.jsonl", marked),
    "cases": (cases, "cases.json", lambda folder: read_book(folder / "cases.json")),
    "roster": (
        lambda folder: (
            (folder / "r.csv").write_text('id,email,late days\n3,a@b.c,"1,5"\n4,ü@b.c,\n') and None
        ),
        "r.csv",
        lambda folder: read_roster(folder / "r.csv"),
    ),
    "prompt": (small_run, "words", sampled),
    **{f"options-{verb.__name__.rpartition('.')[2]}": options(verb) for verb in OPTIONS},
}


@pytest.mark.parametrize("name", PARSERS)
def test_only_our_own_errors_come_out(tmp_path, name):
    write, file, parse = PARSERS[name]
    write(tmp_path)
    original, draw, refused, count = (tmp_path / file).read_bytes(), random.Random(name), 0, 0
    parse(tmp_path) if not name.startswith(
        ("tokens", "options", "nanogpt")
    ) else None  # the original itself is fine
    end = time.monotonic() + SECONDS
    while time.monotonic() < end or count < 20:
        data, count = damaged(original, draw), count + 1
        (tmp_path / file).write_bytes(data)
        try:
            parse(tmp_path)
        except MinilmError as error:
            assert "; " in str(error) or "did you mean" in str(error) or "known:" in str(error), str(error)
            refused += 1
        except Exception as error:
            pytest.fail(f"{type(error).__name__}: {error} from {data[:300]!r}, number {count}")
    assert refused, "some must be refused"
    if SECONDS > 1:
        print(f"fuzzed    {name}: {count} inputs, {refused} refused")  # pytest -s shows it
