"""`python -m benchmarks.race` as a user meets it, on a small made-up table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.race.command import main
from benchmarks.race.table import save_table
from minilm import cli
from tests.benchmarks.tables import GRID, bowl, made_up


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "small.npz"
    save_table(made_up(GRID, bowl), path)
    return str(path)


def run(*arguments):
    with pytest.raises(SystemExit) as exit_:
        cli.run_verb(main, list(arguments))
    return exit_.value.code


def test_prints_the_table_and_keeps_picture_and_numbers(table, tmp_path, capsys):
    small = ("--table", table, "--seeds", "3", "--budget", "6", "--only", "random,ours, Hyperopt TPE")
    assert run(*small, "--processes", "1", "--out", str(tmp_path / "out")) == 0
    printed = capsys.readouterr().out
    assert "6 full trainings, workers 1, seeds 0 to 2" in printed
    assert {line.split("  ")[0] for line in printed.splitlines()} >= {"random", "ours", "Hyperopt TPE"}
    assert (tmp_path / "out" / "race.png").read_bytes()[:4] == b"\x89PNG"
    numbers = json.loads((tmp_path / "out" / "race.json").read_text())
    assert {row["name"] for row in numbers["scores"]} == {"random", "ours", "Hyperopt TPE"}


def test_processes_change_nothing(table, capsys):
    """Two processes as a user starts them, one within the test."""
    small = ("--table", table, "--seeds", "2", "--budget", "4", "--only", "random,ours")
    assert run(*small, "--processes", "1") == 0
    command = [sys.executable, "-m", "benchmarks.race", *small, "--processes", "2"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, capsys.readouterr().out), done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "0"], "--seeds must be from 1 to 1000, got 0"),
        (["--budget", "nan"], "--budget must be from 3 to 500, got nan"),
        (["--workers", "-2"], "--workers must be from 1 to 64, got -2"),
        (["--only", "our"], "no contestant is called 'our', did you mean 'ours'?"),
        (["--only", ","], "--only must name a contestant"),
        (["--table", "nowhere.npz"], "no table of recorded trainings"),
        (["--sedes", "3"], "unknown argument '--sedes', did you mean '--seeds'?"),
        (["--seeds", "many"], "--seeds must be a whole number, got 'many'"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, words, capsys):
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error and error.count("\n") == 1


def test_nobody_has_a_model_in_too_short_a_race(table, capsys):
    """A search with rungs may not have trained anything to the end yet: no number, and no crash."""
    small = ("--table", table, "--seeds", "1", "--budget", "3", "--workers", "8", "--only", "ours,random")
    assert run(*small, "--processes", "1") == 0
    assert "- [-, -]" in capsys.readouterr().out
