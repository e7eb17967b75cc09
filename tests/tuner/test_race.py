"""Who is trained to the end: the arithmetic by table, and the long default in a real worker that is stopped."""

from __future__ import annotations

import time

import pytest

from minilm import files
from minilm.tuner.race import LEAD, LongDefault, answered_curve, continued, judge, loss_at
from minilm.tuner.records import Trial
from minilm.tuner.workers import Workers
from tests.tuner import stubs

DEFAULT = [(5.0, 3.0), (10.0, 2.5), (20.0, 2.0)]


@pytest.mark.parametrize(
    ("seconds", "loss"), [(4.9, None), (5.0, 3.0), (7.5, 2.75), (10.0, 2.5), (15.0, 2.25), (60.0, 2.0)]
)
def test_loss_at_is_on_the_line_between_two_points(seconds, loss):
    assert loss_at(DEFAULT, seconds) == loss


@pytest.mark.parametrize(
    ("loss", "won"), [(2.25 - 2 * LEAD, True), (2.25 - LEAD / 2, False), (2.25, False), (2.9, False)]
)
def test_a_challenger_needs_a_clear_lead_at_equal_seconds(loss, won):
    verdict = judge(4, [(5.0, 2.9), (15.0, loss)], DEFAULT)
    assert (verdict.won, verdict.seconds, verdict.default_loss) == (won, 15.0, 2.25)


def test_who_has_no_loss_cannot_win():
    assert not judge(4, [], DEFAULT).won
    assert judge(4, [(15.0, 2.9)], []).won


def test_a_leg_goes_on_where_the_trial_ended():
    trial = Trial(4, {}, {}, curve=[[2.0, 3.0], [4.0, 2.8]], seconds=4.5)
    assert continued(trial, [[1.0, 2.7], [3.0, 2.5]]) == [(2.0, 3.0), (4.0, 2.8), (5.5, 2.7), (7.5, 2.5)]


def test_a_leg_that_fails_or_hangs_has_no_curve():
    with Workers(1) as pool:
        assert answered_curve(pool, pool.submit(stubs.crash, 0), time.monotonic() + 30, lambda: None) == []
        began, ticks = time.monotonic(), []
        hung = pool.submit(time.sleep, 60)
        assert answered_curve(pool, hung, began + 0.7, lambda: ticks.append(1)) == []
        assert ticks and time.monotonic() - began < 30


def test_the_long_default_is_read_from_its_folder_after_its_worker_was_killed(tmp_path):
    for seconds, loss in DEFAULT:
        files.append_record(tmp_path / "metrics.jsonl", {"seconds": seconds, "val_loss": loss})
        files.append_record(tmp_path / "metrics.jsonl", {"seconds": seconds + 1, "train_loss": 1.0})
    with Workers(1) as pool:
        default = LongDefault(pool, tmp_path, time.sleep, 60)
        assert default.checkpoint is None
        default.stop()
        with (tmp_path / "metrics.jsonl").open("ab") as file:
            file.write(b'{"seconds": 25')  # killed in mid-line
        assert default.curve() == DEFAULT
    assert LongDefault(Workers(1), tmp_path / "none", time.sleep, 0).curve() == []
