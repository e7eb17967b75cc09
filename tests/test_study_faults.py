"""A whole study on a disk that crashes or fails at any operation: it goes on and ends as if nothing had been."""

from __future__ import annotations

import errno
import shutil

import pytest

from minilm.errors import StorageError
from minilm.tuner.records import Journal
from minilm.tuner.watch import Watch
from tests import tiny_study
from tests.crash_states import Recorder, lay_out, states
from tests.faults import failing, watched
from tests.training.test_trainer import TEXT

TRIALS = 3
FULL = pytest.param(1, marks=pytest.mark.slow)


class Acknowledged(Watch):
    """What the user was told is recorded."""

    def __init__(self, told: list) -> None:
        self.told = told

    def trial(self, trial) -> None:
        self.told.append((trial.tid, trial.losses))


@pytest.fixture(scope="module", params=tiny_study.WAYS)
def whole(request, tmp_path_factory):
    """An undisturbed study, and how it came about."""
    with pytest.MonkeyPatch.context() as patch:
        tiny_study.small(patch, steps=3, page=False)
        tiny_study.with_nobody(patch)
        home = tmp_path_factory.mktemp(request.param)
        text = home / "bottles.txt"
        text.write_text(TEXT[:3000])
        recorder = Recorder(home / "whole")
        with watched(recorder):
            tiny_study.study(text, home / "whole", request.param, TRIALS, Acknowledged(recorder.acknowledged))
        yield request.param, text, recorder, tiny_study.fingerprint(home / "whole")


@pytest.mark.parametrize("every", [97, FULL])
def test_a_study_comes_back_from_every_state(tmp_path, whole, every):
    way, text, recorder, expected = whole
    count, bad = 0, []
    for done, kind, files, known in states(recorder, every):
        folder, count = tmp_path / "state", count + 1
        shutil.rmtree(folder, ignore_errors=True)
        lay_out(files, folder)
        found = Journal(folder).lines if (folder / "study.json").exists() else []
        kept = [(trial.tid, trial.losses) for trial in found[: len(known)]] == known
        tiny_study.study(text, folder, way, TRIALS)
        if not kept or tiny_study.fingerprint(folder) != expected:
            bad.append(f"after operation {done}, {kind}")
    assert count > 5 and not bad


CODES = (errno.ENOSPC, errno.EROFS, errno.EIO)


@pytest.mark.parametrize("every", [149, FULL])
def test_a_disk_that_fails_at_any_operation_of_a_study(tmp_path, whole, every):
    """No trial's fault: exit code 4, a sentence; once the disk is mended the same command ends as it would have."""
    way, text, recorder, expected = whole
    number = count = 0
    while True:
        folder, fault = tmp_path / "study", failing(number, CODES[count % len(CODES)])
        shutil.rmtree(folder, ignore_errors=True)
        try:
            with watched(fault):
                tiny_study.study(text, folder, way, TRIALS)
            break
        except StorageError as error:
            assert error.exit_code == 4 and "; " in str(error)
        found = Journal(folder).trials if folder.exists() else []
        assert all(trial.reason is None for trial in found), "no trial has failed"
        tiny_study.study(text, folder, way, TRIALS)
        assert tiny_study.fingerprint(folder) == expected, f"operation {number}"
        assert not list(folder.rglob("*.partial"))
        number, count = number + every, count + 1
    assert not fault.reached and number > 0.9 * sum(one[0] != "read" for one in recorder.operations)
