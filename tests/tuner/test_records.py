from __future__ import annotations

import subprocess
import sys

import pytest

import minilm
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


def test_legs_are_kept_and_old_records_have_none(tmp_path):
    leg = {
        "rung": 0,
        "worker": 1,
        "started": 0.0,
        "ended": 2.0,
        "seconds": 1.5,
        "steps": 9,
        "loss": 2.0,
        "reason": None,
    }
    paused = Trial(2, {}, {}, state=TrialState.PAUSED, loss=2.0, legs=[leg])
    Journal(tmp_path).add(paused)
    old = {name: value for name, value in DONE.to_dict().items() if name != "legs"}
    files.append_record(tmp_path / TRIALS, old)
    assert Journal(tmp_path).trials == [paused, DONE]


def test_a_study_says_what_made_it(tmp_path):
    create_study(tmp_path, {"seed": 1})
    made_by = read_study(tmp_path)["made_by"]
    assert made_by["minilm"] == minilm.__version__ and made_by["cores"] >= 1
    assert {"python", "torch", "hyperopt", "system"} <= set(made_by)


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
