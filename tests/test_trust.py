"""A run is one thing, and a folder from elsewhere is not followed: damage is named, and reading writes nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
import torch

from minilm import cli, convert, disk, evaluate, files, lens, report, sample, train
from minilm.classroom.marking import Marks
from minilm.classroom.pile import open_ledger
from minilm.config import ModelConfig, TrainConfig
from minilm.errors import ConfigError, CorpusError, MinilmError, RunError, StorageError
from minilm.interop.huggingface import to_huggingface
from minilm.model import GPT
from minilm.text.corpora import load_corpus
from minilm.text.turns import Dialogue
from minilm.training.run import load_run
from minilm.training.session import resume_training, run_training
from tests.faults import failing, watched
from tests.training.test_trainer import TEXT

SHAPE = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16}
FLAGS = [
    "--layers",
    "1",
    "--heads",
    "2",
    "--hidden",
    "16",
    "--context",
    "16",
    "--batch",
    "4",
    "--threads",
    "1",
]
CONFIG = TrainConfig(steps=6, batch_size=4, evaluations=3, threads=1, device="cpu")
VERBS = {
    "sample": sample,
    "report": report,
    "evaluate": evaluate,
    "lens": lens,
    "train": train,
    "convert": convert,
}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "bottles.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def corpus(text):
    return load_corpus(text)


def trained(corpus, folder, **changes):
    shape = ModelConfig(corpus.tokenizer.vocab_size, **SHAPE)
    return run_training(corpus, shape, CONFIG.replace(**changes), folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, corpus):
    """A finished run, and beside it another one of the same shape."""
    folder = tmp_path_factory.mktemp("runs")
    trained(corpus, folder / "run")
    trained(corpus, folder / "other", seed=1)
    assert verb("report", str(folder / "run")) == 0
    return folder


@pytest.fixture
def run(tmp_path, whole):
    shutil.copytree(whole / "run", tmp_path / "run")
    return tmp_path / "run"


def verb(name: str, *arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.run_verb(VERBS[name].main, arguments)
    return exit_.value.code or 0


def content(folder: Path) -> dict[str, bytes]:
    """Of all files but the terabytes of a sparse one."""
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.stat().st_size < 2**26]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


# -- a run is one thing


def other_tokenizer(run, whole):
    fields = files.read_json(run / "tokenizer.json")
    fields["characters"] = fields["characters"][:-1] + "\U0001f98a"
    files.write_json(run / "tokenizer.json", fields, sealed=True)


def shorter_tokenizer(run, whole):
    fields = files.read_json(run / "tokenizer.json")
    fields["characters"] = fields["characters"][:-1]
    files.write_json(run / "tokenizer.json", fields, sealed=True)


def foreign_weights(run, whole):
    shutil.copy(whole / "other" / "model.safetensors", run)


def older_weights(run, whole):
    tensors, header = files.read_tensors(run / "model.safetensors")
    files.write_tensors(
        run / "model.safetensors",
        {k: v + 1 if v.is_floating_point() else v for k, v in tensors.items()},
        header,
    )


def nan_weights(run, whole):
    tensors, _ = files.read_tensors(run / "model.safetensors")
    tensors["norm_f.weight"][0] = torch.nan
    files.write_tensors(run / "model.safetensors", tensors, {})


def double_weights(run, whole):
    tensors, _ = files.read_tensors(run / "model.safetensors")
    files.write_tensors(
        run / "model.safetensors", {**tensors, "norm_f.weight": tensors["norm_f.weight"].double()}, {}
    )


def edited_config(run, whole):
    path = run / "config.json"
    path.write_text(path.read_text().replace('"rope_base": 10000.0', '"rope_base": 30000.0'))


def resealed_config(run, whole):
    config = files.read_json(run / "config.json")
    config["model"]["norm_eps"] = 0.01
    files.write_json(run / "config.json", config, sealed=True)


def flipped_digit(run, whole):
    path = run / "result.json"
    stored = json.loads(path.read_text())["val_loss"]
    path.write_text(path.read_text().replace(repr(stored), repr(stored + 1.0)))


def foreign_result(run, whole):
    shutil.copy(whole / "other" / "result.json", run)


def lost_last_line(run, whole):
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"".join(lines[:-1]))


def lost_middle_line(run, whole):
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"".join([*lines[:1], *lines[2:]]))


def emptied_log(run, whole):
    (run / "metrics.jsonl").write_bytes(b"garbage without a line end")


def foreign_log(run, whole):
    shutil.copy(whole / "other" / "metrics.jsonl", run)


DAMAGES = {
    other_tokenizer: "tokenizer",
    shorter_tokenizer: "tokenizer",
    foreign_weights: "model.safetensors",
    older_weights: "model.safetensors",
    nan_weights: "finite",
    double_weights: "float64",
    edited_config: "config.json",
    resealed_config: "model.safetensors",
    flipped_digit: "result.json",
    foreign_result: "config.json",
    lost_last_line: "metrics.jsonl",
    lost_middle_line: "metrics.jsonl",
    emptied_log: "metrics.jsonl",
    foreign_log: "metrics.jsonl",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_does_not_belong_together_is_named(run, whole, capfd, damage):
    damage(run, whole)
    before = content(run)
    with pytest.raises(RunError, match=DAMAGES[damage]):
        load_run(run)
    assert verb("sample", str(run), "--chars", "5") == 2
    shown = capfd.readouterr().err
    assert DAMAGES[damage] in shown and ";" in shown and len(shown.strip().splitlines()) == 1
    assert content(run) == before


def test_runs_without_checksums_still_load(run, capfd):
    """As every run did that was written before the files knew each other."""
    for name in ("config.json", "result.json", "tokenizer.json"):
        fields = files.read_json(run / name)
        for key in ("belongs", "tokenizer"):
            fields.pop(key, None)
        files.write_json(run / name, fields)
    tensors, header = files.read_tensors(run / "model.safetensors")
    files.write_tensors(run / "model.safetensors", tensors, {"best": header["best"]})
    tensors, header = files.read_tensors(run / "checkpoint.safetensors")
    state = {k: v for k, v in json.loads(header["state"]).items() if k != "records"}
    files.write_tensors(run / "checkpoint.safetensors", tensors, {"version": "1", "state": json.dumps(state)})
    records = files.read_records(run / "metrics.jsonl")
    (run / "metrics.jsonl").unlink()
    import zlib

    for record in records:
        body = json.dumps(record).encode()
        with (run / "metrics.jsonl").open("ab") as file:
            file.write(b"%b\t%08x\n" % (body, zlib.crc32(body)))
    assert load_run(run).metrics == records
    assert verb("sample", str(run), "--chars", "5") == 0
    assert resume_training(run, changes={"steps": 9}).result["steps"] == 9
    assert load_run(run).metrics[: len(records)] == records


def test_equal_runs_are_equal_files(tmp_path, corpus, run):
    trained(corpus, tmp_path / "again")
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes()


# -- links, pipes, sizes


@pytest.mark.parametrize(
    "name", [".lock", "metrics.jsonl", "result.json", "checkpoint.safetensors", "x.partial", "best"]
)
def test_nothing_is_written_through_a_link(run, tmp_path, capfd, name):
    """The victim lies outside, as in a folder that came by mail."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "key").write_text("a line without its end")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(victim if name == "best" else victim / "key")
    codes = {verb("sample", str(run), "--chars", "5"), verb("report", str(run)), verb("evaluate", str(run))}
    codes |= {
        verb("train", "--resume", str(run), "--steps", "9"),
        verb("lens", str(run), "--text", "one green"),
    }
    assert codes <= {0, 2, 4} and "Traceback" not in capfd.readouterr().err
    assert content(victim) == {"key": b"a line without its end"}


def test_a_study_whose_best_run_is_a_link(run, tmp_path, capfd):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "best").symlink_to(run)
    before = content(run)
    assert verb("lens", str(tmp_path / "study"), "--text", "one green") == 2
    assert "symbolic link" in capfd.readouterr().err and content(run) == before


@pytest.mark.parametrize(
    "name", ["config.json", "metrics.jsonl", "model.safetensors", "tokenizer.json", ".lock"]
)
def test_a_pipe_is_not_waited_for(run, capfd, name):
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    assert verb("train", "--resume", str(run), "--steps", "9") in (2, 4)
    assert "Traceback" not in capfd.readouterr().err


def put(name, text):
    def damage(run):
        (run / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    return damage


def changed(name, *path, to):
    """A file in which one value is another, with its seal in order again."""

    def damage(run):
        value = inner = files.read_json(run / name)
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to
        files.write_json(run / name, value, sealed=True)

    return damage


def sparse(name, size):
    def damage(run):
        with (run / name).open("ab") as file:
            file.truncate(size)

    return damage


def headed(claim):
    """Weights whose header says that it is so long, or what it likes."""

    def damage(run):
        header = claim if isinstance(claim, bytes) else json.dumps(claim).encode()
        (run / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 64)

    return damage


DEEP = "[" * 100_000 + "]" * 100_000
WIDE = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
HOSTILE = [
    *[put(name, DEEP) for name in ("config.json", "tokenizer.json", "result.json")],
    *[put(name, '{"a": ' * 50_000) for name in ("config.json", "tokenizer.json", "result.json")],
    *[
        put(name, text)
        for name in ("config.json", "result.json", "tokenizer.json")
        for text in ("[]", "0", '"x"', "null", "")
    ],
    *[
        put("metrics.jsonl", text)
        for text in (DEEP + "\t00000000\n", "{}\n", "\t\n", b"\xff\xfe\n", "[1]\t8c6ab3dd\n")
    ],
    *[
        sparse(name, 2**40)
        for name in ("config.json", "tokenizer.json", "metrics.jsonl", "model.safetensors")
    ],
    headed({"wte.weight": WIDE}),
    headed({"__metadata__": {"a": 1}}),
    headed({"wte.weight": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 64]}}),
    headed(b"\xff" * 40),
    headed([]),
    put("model.safetensors", (2**63).to_bytes(8, "little") + b"{}"),
    put("model.safetensors", b"PK\x03\x04 a pickle in a zip"),
    changed("config.json", "model", "vocab_size", to=10**12),
    changed("config.json", "model", "block_size", to=2**40),
    changed("config.json", "model", "n_layer", to=10**9),
    changed("config.json", "model", "n_embd", to="16"),
    changed("config.json", "model", "attention", to="../../evil"),
    changed("config.json", "model", to=[]),
    changed("config.json", "train", to="x"),
    changed("config.json", "corpus", to=3),
    changed("config.json", "corpus", "name", to=["../x"]),
    changed("config.json", "corpus", "source", to=[1]),
    changed("config.json", "corpus", "floors", to={"val": "low"}),
    changed("config.json", "legs", to=7),
    changed("config.json", "legs", to=[{"steps": "many"}]),
    changed("config.json", "modules", to={"": "os.system"}),
    changed("tokenizer.json", "kind", to="../char"),
    changed("tokenizer.json", "kind", to={}),
    changed("tokenizer.json", "characters", to=5),
    changed("tokenizer.json", "characters", to=""),
    changed("result.json", "val_loss", to="low"),
    changed("result.json", "val_loss", to=10**400),
    changed("result.json", "steps", to=-1.5),
    changed("result.json", "counting", to=[1, 2]),
    changed("result.json", "mixture", to={"weight": "all"}),
    changed("result.json", "belongs", to=[]),
    changed("result.json", "belongs", "records", to=[]),
    changed("result.json", "belongs", "records", to=[10**30, "x"]),
    changed("result.json", "sample", to=[]),
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_a_hostile_folder_ends_in_a_sentence(run, tmp_path, capfd, number):
    HOSTILE[number](run)
    before = content(tmp_path)
    for name, *arguments in (("sample", "--chars", "5"), ("evaluate",), ("report",)):
        code, shown = verb(name, str(run), *arguments), capfd.readouterr()
        assert code in (2, 4) or name == "report" or (code == 0 and "--chars" in arguments), (name, code)
        assert "Traceback" not in shown.err and len(shown.err.strip().splitlines()) == (code != 0), shown.err
    assert verb("train", "--resume", str(run)) in (0, 2, 4)
    assert "Traceback" not in capfd.readouterr().err
    after, pages = content(tmp_path), (".png", ".html")
    assert {k: v for k, v in after.items() if not k.endswith(pages)} == {
        k: v for k, v in before.items() if not k.endswith(pages)
    }


def test_there_are_sixty_hostile_folders():
    assert len(HOSTILE) + len(DAMAGES) >= 60


# -- the disk


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT, errno.EFBIG])
def test_a_disk_that_fails_at_any_operation_of_a_training(tmp_path, corpus, code):
    """Every operation in turn: a storage error each time, no half file, and the same bytes in the end."""
    trained(corpus, tmp_path / "whole")
    expected = (tmp_path / "whole" / "model.safetensors").read_bytes()
    for number in range(code % 7, 400, 7):
        folder, fault = tmp_path / f"run-{number}", failing(number, code, ALL)
        try:
            with watched(fault):
                trained(corpus, folder)
            break
        except StorageError as error:
            assert error.exit_code == 4 and ";" in str(error)
        if (folder / "config.json").exists():
            resume_training(folder, corpus=corpus)
        else:
            trained(corpus, folder)
        assert (folder / "model.safetensors").read_bytes() == expected
        assert not list(folder.glob("*.partial"))
    assert number > 60, "the faults must reach the end of the run"


ALL = ("create", "write", "sync", "rename", "sync folder", "append", "truncate", "folder", "lock")


@pytest.mark.parametrize("name", ["sample", "report", "evaluate"])
def test_a_disk_that_fails_while_a_verb_reads(run, capfd, name):
    before, arguments = content(run), ["--chars", "5"] if name == "sample" else []
    for number in range(100):
        with watched(fault := failing(number, errno.EIO, (*ALL, "read"))):
            code = verb(name, str(run), *arguments)
        shown = capfd.readouterr().err
        assert "Traceback" not in shown and (code == 4 or not fault.reached)
        if not fault.reached:
            break
    pages = (".html", ".png")
    assert {k: v for k, v in content(run).items() if not k.endswith(pages)} == {
        k: v for k, v in before.items() if not k.endswith(pages)
    }
    assert number > 3


def test_a_disk_that_fails_at_any_operation_of_a_grading(tmp_path):
    """Marks that are acknowledged stay; the grading goes on where it stopped."""
    students = [f"student {number}" for number in range(4)]
    for number in range(100):
        out, fault = tmp_path / str(number), failing(number, errno.ENOSPC, ALL)
        marked: list[str] = []
        try:
            with watched(fault), open_ledger(out, resume=False) as ledger:
                for student in students:
                    ledger.add(Marks(student, "lab2", ()), "digest")
                    marked.append(student)
            break
        except StorageError as error:
            assert error.exit_code == 4
        with open_ledger(out, resume=(out / "grading.json").exists()) as ledger:
            found = list(ledger.done)  # what was not acknowledged may be there, one line at the most
            assert found[: len(marked)] == marked and len(found) <= len(marked) + 1
            for student in students[len(found) :]:
                ledger.add(Marks(student, "lab2", ()), "digest")
        with open_ledger(out, resume=True) as ledger:
            assert list(ledger.done) == students
    assert number > 15


def test_a_file_size_limit_is_no_full_disk(tmp_path):
    with watched(failing(1, errno.EFBIG)), pytest.raises(StorageError, match="ulimit") as caught:
        files.write_json(tmp_path / "a.json", {})
    assert "free" not in str(caught.value)


@pytest.mark.parametrize("part", [None, "config.json", ".lock"])
def test_a_folder_that_vanishes_ends_the_training(tmp_path, corpus, part):
    folder = tmp_path / "run"

    def vanish(record):
        if record["step"] == 3:
            shutil.rmtree(folder) if part is None else (folder / part).unlink()

    with pytest.raises(StorageError, match=r"moved or deleted"):
        run_training(
            corpus, ModelConfig(corpus.tokenizer.vocab_size, **SHAPE), CONFIG, folder, on_record=vanish
        )


def test_two_trainings_in_one_folder(run, corpus):
    with files.held(run), pytest.raises(RunError, match="another process"):
        resume_training(run, changes={"steps": 9})
    assert resume_training(run, changes={"steps": 9}).result["steps"] == 9


def test_windows_locks_too(tmp_path, monkeypatch):
    """By another module of the system; here one that behaves as that does."""
    import sys
    import types

    locked = []

    def locking(descriptor, mode, size):
        if locked:
            raise OSError(errno.EACCES, "Permission denied")
        locked.append(descriptor)

    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(LK_NBLCK=2, locking=locking))
    (tmp_path / "lock").touch()
    with monkeypatch.context() as patch, (tmp_path / "lock").open() as file:
        patch.setattr(disk.os, "name", "nt")
        disk._lock(file.fileno(), tmp_path.parent)
        with pytest.raises(RunError, match="another process"):
            disk._lock(file.fileno(), tmp_path.parent)


@pytest.mark.parametrize(
    ("name", "words"),
    [("n" * 300, "300"), ("a\0b", "null"), ("", "must have a name")],
    ids=["long", "nul", "empty"],
)
def test_impossible_names(tmp_path, corpus, name, words):
    out = tmp_path / name if name else name
    with pytest.raises(ConfigError, match=words):
        trained(corpus, out)
    for place in (out, str(out)):
        with pytest.raises(MinilmError):
            load_run(place)


def test_a_path_that_is_no_utf8(tmp_path, capfdbinary):
    folder = tmp_path / os.fsdecode(b"n\xff")
    folder.mkdir()
    (folder / "b.txt").write_text(TEXT)
    arguments = [str(folder / "b.txt"), *FLAGS, "--steps", "4", "--out", str(folder / "run")]
    assert verb("train", *arguments) == 0
    assert verb("evaluate", str(folder / "run")) == 0
    assert load_run(folder / "run").config["corpus"]["source"]["path"] == str(folder / "b.txt")
    assert b"Traceback" not in capfdbinary.readouterr().err


def test_control_sequences_never_reach_a_terminal(monkeypatch):
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = cli.Screen(Terminal(), plain=True)
    screen.write("a\x1b]0;owned\x07b\x9b2J\n")
    assert screen.stream.getvalue() == "a\\x1b]0;owned\\x07b\\x9b2J\n"
    piped = cli.Screen(io.StringIO(), plain=True)
    piped.write("a\x1b[2J")
    assert piped.stream.getvalue() == "a\x1b[2J", "a file gets what was written"


@pytest.mark.parametrize("kind", ["ours", "theirs"])
@pytest.mark.parametrize(
    "size", [{"n_layer": 10**7}, {"n_layer": 1024, "n_embd": 10**6}, {"vocab_size": 10**9}]
)
def test_a_configuration_far_larger_than_its_weights_costs_nothing(kind, size, tmp_path):
    """Refused before anything of its size is made."""
    shape = ModelConfig.gpt2(5, n_layer=1, n_head=1, n_embd=4, block_size=4)
    if kind == "ours":
        GPT(shape).save_pretrained(tmp_path)
    else:
        settings, tensors = to_huggingface(shape, GPT(shape).state_dict())
        files.write_json(tmp_path / "config.json", settings)
        files.write_tensors(tmp_path / "model.safetensors", tensors, {})
    config = files.read_json(tmp_path / "config.json")
    (config["model"] if kind == "ours" else config).update(size)
    files.write_json(tmp_path / "config.json", config)
    tracemalloc.start()
    with pytest.raises(MinilmError, match="n_layer must be at most|it means [0-9,]+ parameters, got") as told:
        GPT.from_pretrained(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20 and "; " in str(told.value)
    assert len(str(told.value)) < 400
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["pipe", "link", "dangling", "folder", "text", "/dev/null"])
def test_a_page_takes_the_place_of_nothing_that_is_not_one(kind, run, tmp_path, capsys):
    there, mine = tmp_path / ("mine.txt" if kind == "text" else "mine.html"), tmp_path / "kept.html"
    mine.write_text("mine")
    if kind == "pipe":
        os.mkfifo(there)
    elif kind in ("link", "dangling"):
        there.symlink_to(mine if kind == "link" else "nowhere")
    elif kind == "folder":
        there.mkdir()
    elif kind == "text":
        there.write_text("mine")
    before = os.lstat(there if there.name in os.listdir(tmp_path) else kind)
    code = verb("lens", str(run), "--text", "one green", "--out", kind if kind == "/dev/null" else str(there))
    after = os.lstat(there if there.name in os.listdir(tmp_path) else kind)
    assert code == 2 and (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert "; " in capsys.readouterr().err and mine.read_text() == "mine"
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("out", ["/", ".", "..", ""])
def test_a_page_needs_a_name(out, run, capsys):
    assert verb("lens", str(run), "--text", "one green", "--out", out) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["held_out.safetensors", "metrics.jsonl", "checkpoint.safetensors"])
def test_what_a_link_leads_to_is_not_given_away(name, run, tmp_path, capsys):
    (tmp_path / "secret").write_text("mine alone")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(tmp_path / "secret")
    assert verb("convert", str(run), str(tmp_path / "gift"), "--to", "run", "--checkpoint") == 2
    assert name in capsys.readouterr().err and not (tmp_path / "gift").exists()


@pytest.mark.parametrize("name", ["metrics.jsonl", "model.safetensors"])
def test_a_page_is_of_one_run(name, run, whole, capsys):
    shutil.copy(whole / "other" / name, run / name)
    assert verb("report", str(run)) == 2 and name in capsys.readouterr().err


@pytest.mark.parametrize("name", ["config.json", "result.json"])
def test_a_checksum_that_was_taken_out_is_missed(name, run, capsys):
    content = files.read_json(run / name)
    files.write_json(run / name, content)  # whole and as it was, but for the checksum
    for reader in (["sample", "--chars", "3"], ["evaluate"], ["report"]):
        assert verb(reader[0], str(run), *reader[1:]) == 2 and "checksum" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tokenizer.json", "metrics.jsonl", "model.safetensors"])
def test_a_file_that_goes_in_mid_training_is_missed(name, corpus, tmp_path):
    """Else the training would go on to its end, and the folder would be worth nothing."""

    def record(values):
        if values["step"] == 4:
            (tmp_path / "run" / name).unlink()

    shape = ModelConfig(corpus.tokenizer.vocab_size, **SHAPE)
    with pytest.raises(StorageError, match="in part"):
        run_training(corpus, shape, CONFIG, tmp_path / "run", on_record=record)


def test_half_a_character_in_json_is_a_mark(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one \\ud800 green bottle on the wall"}\n' * 20)
    assert "one \ufffd green" in (corpus := load_corpus(tmp_path / "a.jsonl")).tokenizer.decode(corpus.train)


def test_rows_without_texts_are_told(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": 1, "x": "y"}\n' * 300)
    with pytest.raises(CorpusError, match="must hold words"):
        load_corpus(tmp_path / "a.jsonl")
    (tmp_path / "b.txt").write_text(TEXT)  # of a folder, others are read
    assert load_corpus(tmp_path).characters["train"] > 100


def test_a_page_needs_no_weights(run):
    """Records travel where weights do not."""
    (run / "model.safetensors").unlink()
    assert verb("report", str(run)) == 0


FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")


@FULL
@pytest.mark.parametrize(("words", "done"), [(["train"], True), (["sample"], False)])
def test_an_output_that_cannot_be_written_loses_nothing_else(words, done, run, text, tmp_path):
    sizes = {"layers": 1, "heads": 2, "hidden": 16, "context": 16, "steps": 4, "threads": 1}
    flags = [f"--{name}={value}" for name, value in sizes.items()]
    given = [str(text), *flags, f"--out={tmp_path / 'new'}"] if done else [str(run), "--chars=5"]
    command = [sys.executable, "-m", f"minilm.{words[0]}", *given]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 4 and "standard output must be" in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr and (tmp_path / "new" / "report.html").exists() == done


def test_streams_that_are_closed_are_nothing_to_train_for(text, tmp_path):
    sizes = {"layers": 1, "heads": 2, "hidden": 16, "context": 16, "steps": 4, "threads": 1}
    flags = " ".join(f"--{name}={value}" for name, value in sizes.items())
    command = f"exec {sys.executable} -m minilm.train {text} {flags} --out {tmp_path / 'new'} <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command]).returncode == 0
    assert load_run(tmp_path / "new").result["steps"] == 4


@pytest.mark.parametrize(
    "change",
    [
        {"exchanges": [["A", "B", 10**30]] * 400},
        {"exchanges": {"a": 1}},
        {"exchanges": [["A"]]},
        {"end": 5},
        {"end": ""},
        {"gap": None},
    ],
)
def test_a_dialogue_from_elsewhere_costs_nothing(change):
    kept = {**Dialogue().to_dict(), **change}
    tracemalloc.start()
    try:
        assert len(Dialogue.from_dict(kept).exchanges) <= 10**5 and "end" not in change
    except RunError as error:
        assert "; " in str(error) and "exchanges" not in change or "must be as training" in str(error)
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


def test_empty_files_of_a_folder_are_no_texts(tmp_path):
    (tmp_path / "__init__.py").touch()
    (tmp_path / "a.py").write_text(TEXT)
    assert load_corpus(tmp_path).source["path"] == str(tmp_path)
