"""The train verb when it is stopped and taken up again, as a user does it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from minilm import cli, evaluate, files, sample, train
from minilm.config import PRESETS, Preset
from minilm.text.corpora import load_corpus
from minilm.training.evaluate import exact_loss
from minilm.training.run import load_run

TEXT = "".join(f"Owl: the moon is {k} miles away.\nBat: then I have {k * 3 % 11} to go.\n" for k in range(60))
TINY = {
    "layers": 1,
    "hidden": 16,
    "heads": 2,
    "context": 16,
    "batch": 4,
    "steps": 40,
    "threads": 1,
    "dropout": 0.1,
}
FLAGS = [word for flag, value in TINY.items() for word in (f"--{flag}", str(value))]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "owl.txt"
    path.write_text(TEXT)
    return str(path)


def verb(module, *arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.run_verb(module.main, arguments)
    return exit_.value.code or 0


def numbers(folder) -> dict:
    result = json.loads((folder / "result.json").read_text())
    for measured in (
        "seconds",
        "step_seconds",
        "sha256",
    ):  # the last covers the others, as does that of the records
        result.pop(measured, None)
    result["belongs"]["records"] = result["belongs"]["records"][0]
    return result


def test_interrupted_and_taken_up_again(text, tmp_path, capsys, monkeypatch):
    """A real signal in mid-training: exit code 130, the command to go on, and then the same numbers."""
    folder, honest, records = tmp_path / "run", files.append_record, []

    def counting(path, record):
        honest(path, record)
        records.append(record)
        if len(records) == 15:
            os.kill(os.getpid(), signal.SIGINT)

    assert verb(train, text, *FLAGS, "--out", str(tmp_path / "whole")) == 0
    with monkeypatch.context() as patch:
        patch.setattr(files, "append_record", counting)
        assert verb(train, text, *FLAGS, "--out", str(folder)) == cli.EXIT_INTERRUPTED
    assert f"python -m minilm.train --resume {folder}" in capsys.readouterr().err
    assert len(records) == 15 and not (folder / "result.json").exists()
    assert verb(train, "--resume", str(folder)) == 0
    assert numbers(folder) == numbers(tmp_path / "whole")


def test_a_resumed_run_keeps_its_settings(text, tmp_path, capsys):
    folder = tmp_path / "run"
    assert verb(train, text, *FLAGS, "--out", str(folder)) == 0
    other = tmp_path / "other.txt"
    other.write_text(TEXT.replace("moon", "star"))
    capsys.readouterr()
    for arguments, part in (
        (["--seed", "7", "--lr", "0.5"], "--lr was"),
        (["--preset", "gpt2"], "position was 'rope', now 'learned'"),
        ([str(other)], "corpus"),
        (["--out", str(tmp_path / "new")], "not both"),
    ):
        assert verb(train, *arguments, "--resume", str(folder)) == 2
        shown = capsys.readouterr().err
        assert part in shown and "Traceback" not in shown
    assert verb(train, text, *FLAGS, "--resume", str(folder)) == 0  # the same settings again are no change


def test_a_finished_run_goes_on_to_more_steps(text, tmp_path, capsys):
    folder = tmp_path / "run"
    assert verb(train, text, *FLAGS, "--out", str(folder)) == 0
    first = numbers(folder)
    assert verb(train, "--resume", str(folder), "--steps", "30") == 2
    assert "steps must be the new total, above the 40" in capsys.readouterr().err
    assert verb(train, "--resume", str(folder), "--steps", "80") == 0
    assert [leg["steps"] for leg in numbers(folder)["legs"]] == [40, 80]
    assert numbers(folder)["val_loss"] <= first["val_loss"]


def test_a_preset_is_a_start_and_flags_win(text, tmp_path):
    assert verb(train, text, *FLAGS, "--preset", "nano", "--lr", "0.002", "--out", str(tmp_path / "run")) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"]["position"] == "learned" and config["train"]["schedule"] == "cosine"
    assert (config["train"]["steps"], config["train"]["learning_rate"]) == (40, 0.002)


def test_a_context_longer_than_the_text_names_the_longest_that_fits(tmp_path, capsys):
    path = tmp_path / "short.txt"
    path.write_text(TEXT[:260])
    assert verb(train, str(path), "--context", "300", "--steps", "2") == 2
    assert "use --context 233 or less" in capsys.readouterr().err  # 0.9 x 260, less one to predict
    assert verb(train, str(path), *FLAGS, "--context", "233", "--out", str(tmp_path / "run")) == 0


def test_a_default_context_shrinks_to_the_text(text, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(PRESETS, "nano", Preset("long", {"block_size": 10**6}, {"steps": 1}))
    flags = ["--layers", "1", "--hidden", "8", "--heads", "2", "--batch", "1", "--threads", "1"]
    Path(text).write_text(TEXT[:300])
    assert verb(train, text, *flags, "--preset", "nano", "--out", str(tmp_path / "run")) == 0
    assert "context   269 instead of 1000000" in capsys.readouterr().out


def test_sliding_is_named_and_measured(text, tmp_path, capsys):
    assert verb(train, text, *FLAGS, "--out", str(tmp_path / "run")) == 0
    capsys.readouterr()
    assert verb(evaluate, str(tmp_path / "run"), "--sliding", "--json") == 0
    answer, corpus = json.loads(capsys.readouterr().out), load_corpus(text)
    model, before = load_run(tmp_path / "run").model, int(corpus.train[-1])
    assert answer["protocol"] == "sliding, stride 4"
    assert answer["rows"][0]["val"] == pytest.approx(exact_loss(model, corpus.val, before=before, stride=4))


def test_sample_takes_a_study_for_its_best_run(text, tmp_path, capsys):
    assert verb(train, text, *FLAGS, "--out", str(tmp_path / "study" / "best")) == 0
    capsys.readouterr()
    arguments = ["--prompt", "Owl: ", "--chars", "20", "--temperature", "0", "--json"]
    answers = []
    for folder in (tmp_path / "study", tmp_path / "study" / "best"):
        assert verb(sample, str(folder), *arguments) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1] and len(answers[0]["text"]) == 20


def test_a_context_longer_than_what_is_scored_is_told(tmp_path, capfd):
    """It is trained as asked; but no loss would show what its far end is good for."""
    text = tmp_path / "bottles.txt"
    text.write_text("".join(f"{k} green bottles hanging on the wall.\n" for k in range(40)))
    flags = [
        "--layers=1",
        "--heads=1",
        "--hidden=8",
        "--batch=1",
        "--steps=1",
        "--threads=1",
        "--device=cpu",
        "--seed=1",
    ]
    for context, told in (("300", True), ("16", False)):
        out = ["--context", context, "--out", str(tmp_path / context)]
        train.main([str(text), *flags, *out])
        assert ("is never scored" in capfd.readouterr().out) is told
