"""A run is complete: copied to where neither its text nor its owner is known, every verb works on it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minilm import chat, convert, evaluate, files, lens, report, sample, train
from minilm.errors import note
from minilm.training.run import load_run
from tests.test_train_verb import FLAGS, verb

TEXT = "".join(f"Fox: I have {k} plums.\nOwl: And I have {k * 5 % 7} pears, dear fox.\n" for k in range(90))


@pytest.fixture(scope="module", params=["characters", "bpe:60"])
def given(request, tmp_path_factory):
    """What a friend gets, and the numbers as the owner sees them; the text is gone."""
    home, friend = tmp_path_factory.mktemp("secretname"), tmp_path_factory.mktemp("friend")
    (home / "plums.txt").write_text(TEXT)
    arguments = [str(home / "plums.txt"), "--tokens", request.param, *FLAGS, "--out", str(home / "run")]
    assert verb(train, *arguments) == 0
    assert (
        verb(lens, str(home / "run"), "--text", "Fox: I have", "--out", str(home / "run" / "lens.html")) == 0
    )
    assert "secretname" not in (home / "run" / "lens.html").read_text(encoding="utf-8")
    out = io.StringIO()
    done = run_python("evaluate", str(home / "run"), "--json")
    out.write(done.stdout)
    assert verb(convert, str(home / "run"), str(friend / "run"), "--to", "run") == 0
    for path in (home / "run").iterdir():  # nothing of the owner, in the run's own folder too
        if path.name not in ("place.json", "checkpoint.safetensors"):
            assert b"secretname" not in path.read_bytes(), path
    (home / "plums.txt").unlink()
    return friend / "run", home / "run", json.loads(out.getvalue())


def run_python(name: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-m", f"minilm.{name}", *arguments]
    return subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, timeout=300)


def told(capsys, module, *arguments):
    note.cache_clear()  # the same line may come again
    capsys.readouterr()
    assert verb(module, *arguments) == 0
    return capsys.readouterr()


def test_nothing_of_the_owner_is_in_it(given):
    run, _, _ = given
    names = {path.name for path in run.iterdir()}
    assert {"config.json", "model.safetensors", "held_out.safetensors", "report.html"} <= names
    assert not {"checkpoint.safetensors", "place.json"} & names
    for path in run.iterdir():
        assert b"secretname" not in path.read_bytes(), path


def test_it_is_judged_without_its_text(given, capsys):
    """The same losses on the same characters as with the text; what cannot be had is said."""
    run, _, owners = given
    shown = told(capsys, evaluate, str(run), "--json")
    rows = {row["name"]: row for row in json.loads(shown.out)["rows"]}
    expected = {row["name"]: row for row in owners["rows"]}
    assert "the run's text is not here" in shown.err and len(shown.err.strip().splitlines()) == 1
    assert set(rows) < set(expected) and len(rows) == 3  # the model, with counting, counting
    for name, row in rows.items():
        for split in ("val", "test"):
            assert row[split] == pytest.approx(expected[name][split], abs=1e-6), (name, split)
    sliding = json.loads(told(capsys, evaluate, str(run), "--json", "--sliding").out)["rows"]
    assert sliding[0]["val"] < rows["model"]["val"]


def test_every_other_verb(given, capsys, monkeypatch, tmp_path):
    run = given[0]
    assert len(told(capsys, sample, str(run), "--chars", "30").out) > 20
    monkeypatch.setattr("sys.stdin", io.StringIO("I have 3 plums.\n"))
    assert told(capsys, chat, str(run)).err == ""  # it knows how turns are written
    told(capsys, lens, str(run), "--text", "Fox: I")
    assert (run / "lens.html").is_file()
    told(capsys, report, str(run))
    assert (run / "report.html").is_file()
    assert verb(sample, str(run), "--counting") == 2
    shown = capsys.readouterr().err
    assert "plums.txt" in shown and len(shown.strip().splitlines()) == 1


def test_the_checkpoint_on_request(given, tmp_path, capsys):
    """With it, and with the text found again, the training goes on elsewhere."""
    _, home, _ = given
    assert verb(convert, str(home), str(tmp_path / "all"), "--to", "run", "--checkpoint") == 0
    (tmp_path / "plums.txt").write_text(TEXT)
    more = [str(tmp_path / "plums.txt"), "--resume", str(tmp_path / "all"), "--steps", "50"]
    assert verb(train, *more) == 0
    assert load_run(tmp_path / "all").result["steps"] == 50


def test_an_older_run_has_its_path_taken_out(given, tmp_path):
    _, home, _ = given
    old = tmp_path / "old"
    shutil.copytree(home, old)
    config = json.loads((old / "config.json").read_text())
    config["corpus"]["source"]["path"] = "/home/secretname/plums.txt"
    for newer in ("dialogue", "sha256"):
        del config[newer]
    (old / "place.json").unlink()
    files.write_json(old / "config.json", config, sealed=True)
    assert verb(convert, str(old), str(tmp_path / "new"), "--to", "run") == 0
    assert all(b"secretname" not in path.read_bytes() for path in (tmp_path / "new").iterdir())
