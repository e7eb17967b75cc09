"""The data verb as a user meets it: what it lists, shows and prepares, and what it says of mistakes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minilm import cli, data
from minilm.text.corpora import CORPORA

TEXT = "The fox said: 你好, friend.\n" * 40


@pytest.fixture
def text(tmp_path):
    (tmp_path / "my.txt").write_text(TEXT, encoding="utf-8")
    return str(tmp_path / "my.txt")


def run(*arguments):
    with pytest.raises(SystemExit) as exit_:
        cli.run_verb(data.main, arguments)
    return exit_.value.code


def test_list_is_the_default(capsys):
    assert run() == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(CORPORA)


def test_show_tells_size_licence_checksum_and_looks(text, capsys):
    assert run("show", text) == 0
    shown = capsys.readouterr().out
    sha256 = hashlib.sha256(TEXT.encode()).hexdigest()
    assert all(part in shown for part in (f"{len(TEXT):,} characters", sha256, "yours", TEXT[: data.LOOK]))
    assert run("show", text, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["look"] == TEXT[: data.LOOK] and sum(facts["splits"].values()) == len(TEXT)


def test_prepare_does_not_look(text, capsys):
    assert run("prepare", text, "--json") == 0
    assert "look" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["shwo"], "did you mean 'show'"),
        (["show"], "needs the name"),
        (["list", "fables"], "use show fables"),
        (["show", "fabels"], "did you mean 'fables'"),
        (["show", "~no-such-user-here/x"], "no-such-user-here"),
        (["show", os.devnull], "regular file"),
        (["prepare", "fables", "--jsn"], "did you mean '--json'"),
    ],
)
def test_mistakes_are_one_sentence(arguments, part, capsys):
    assert run(*arguments) == 2
    shown = capsys.readouterr()
    assert part in shown.err and len(shown.err.splitlines()) == 1 and not shown.out


def test_a_terminal_that_knows_ascii_only(text):
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "PYTHONIOENCODING": "ascii",
    }
    command = [sys.executable, "-m", "minilm.data", "show", text]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and r"The fox said: \u4f60\u597d" in done.stdout, done.stderr
