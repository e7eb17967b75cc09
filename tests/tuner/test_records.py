from __future__ import annotations

import subprocess
import sys

import pytest

from minilm import files
from minilm.errors import RunError
from minilm.tuner.records import TRIALS, Journal, Trial, TrialState, create_study, read_study

DONE = Trial(0, {"num_layers": 4}, {"num_layers": 4.0}, state=TrialState.OK, loss=1.5, curve=[[1.0, 2.0]])
FAILED = Trial(1, {"num_layers": 2}, {"num_layers": 2.0}, known=1, state=TrialState.FAILED, reason="diverged")


def test_what_was_added_is_there_again(tmp_path):
    journal = Journal(tmp_path)
    journal.add(DONE)
    journal.add(FAILED)
    assert Journal(tmp_path).trials == [DONE, FAILED]


def test_a_torn_last_line_is_forgotten(tmp_path):
    for trial in (DONE, FAILED):
        Journal(tmp_path).add(trial)
    path = tmp_path / TRIALS
    path.write_bytes(path.read_bytes()[:-9])
    assert Journal(tmp_path).trials == [DONE]
    Journal(tmp_path).add(FAILED)
    assert Journal(tmp_path).trials == [DONE, FAILED]


def test_damage_is_a_sentence(tmp_path):
    Journal(tmp_path).add(DONE)
    Journal(tmp_path).add(FAILED)
    path = tmp_path / TRIALS
    path.write_bytes(path.read_bytes().replace(b"1.5", b"1.4", 1))
    with pytest.raises(RunError, match="line 1"):
        Journal(tmp_path)


def test_the_same_trial_twice_is_refused(tmp_path):
    Journal(tmp_path).add(DONE)
    Journal(tmp_path).add(DONE)
    with pytest.raises(RunError, match="twice"):
        Journal(tmp_path)


def test_not_a_study(tmp_path):
    with pytest.raises(RunError, match="not a study"):
        read_study(tmp_path)
    create_study(tmp_path, {"seed": 1})
    assert read_study(tmp_path)["seed"] == 1
    (tmp_path / "study.json").write_text('{"format": "other"}')
    with pytest.raises(RunError, match="other"):
        read_study(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_two_tuners_on_one_study(tmp_path):
    code = f"""
from pathlib import Path
from minilm import files
from minilm.errors import RunError
from minilm.files import held
try:
    with held(Path({str(tmp_path)!r})):
        print("in")
except RunError as error:
    print(error)
"""
    run = [sys.executable, "-c", code]
    with files.held(tmp_path):
        assert "another process" in subprocess.run(run, capture_output=True, check=True, text=True).stdout
    assert subprocess.run(run, capture_output=True, check=True, text=True).stdout == "in\n"
