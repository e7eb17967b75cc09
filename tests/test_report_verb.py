"""The verb `report`: finds out what a folder is, rebuilds its page, refuses the rest in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from minilm import report
from minilm.errors import RunError
from tests.plots.made_up import trials, write_run, write_study


def test_a_run_and_a_study_are_told_apart(tmp_path, capsys):
    write_run(tmp_path / "run")
    write_study(tmp_path / "study", trials(3, ()))
    for name, title in (("run", "A small language model"), ("study", "3 trials")):
        assert report.main([str(tmp_path / name)]) == 0
        assert title in (tmp_path / name / "report.html").read_text(encoding="utf-8")
    assert str(tmp_path / "study" / "search.png") in capsys.readouterr().out


def test_json_names_what_was_written(tmp_path, capsys):
    report.main([str(write_run(tmp_path / "run")), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert [Path(path).is_file() for path in [told["page"], *told["pictures"]]] == [True] * 4


@pytest.mark.parametrize("content", [None, "{}", '{"model_type": "gpt2"}'])
def test_other_folders_are_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(
        RunError, match="a run must hold config.json and a study study.json, got .* with neither"
    ):
        report.report(tmp_path)


def test_damage_is_named(tmp_path):
    write_run(tmp_path)
    log = tmp_path / "metrics.jsonl"
    log.write_bytes(log.read_bytes().replace(b"train_loss", b"brain_loss", 1))
    with pytest.raises(RunError, match="metrics.jsonl is damaged in line 1"):
        report.report(tmp_path)


def test_command_line(tmp_path):
    """Exit code 2 and one sentence; help without torch or matplotlib."""
    command = [sys.executable, "-m", "minilm.report"]
    answer = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert (answer.returncode, answer.stderr.count("\n")) == (2, 1)
    answer = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "example:" in answer.stdout
    code = "import sys, minilm.report; print({'torch', 'matplotlib'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
