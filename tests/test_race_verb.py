"""`python -m minilm.tune race` as a user meets it, on a small made-up table."""

from __future__ import annotations

import json

import pytest

from minilm import cli, tune
from minilm.tuner.recorded import save_table
from tests.tuner.tables import GRID, bowl, made_up


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "small.npz"
    save_table(made_up(GRID, bowl), path)
    return str(path)


def run(*arguments):
    with pytest.raises(SystemExit) as exit_:
        cli.run_verb(tune.main, ["race", *arguments])
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
    printed = []
    for processes in ("1", "2"):
        small = ("--table", table, "--seeds", "2", "--budget", "4", "--only", "random,ours")
        assert run(*small, "--processes", processes) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


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
        (["--seeds", "many"], "invalid int value: 'many'"),
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
