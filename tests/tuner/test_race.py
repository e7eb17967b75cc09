"""Who is trained to the end: the arithmetic by table, and the long training in a real worker that is stopped."""

from __future__ import annotations

import math
import time
from concurrent.futures import wait
from types import SimpleNamespace

import pytest

from minilm import files
from minilm.tuner.race import (
    LEAD,
    LongTraining,
    answered_curve,
    compare_curves,
    continued,
    extrapolated,
    loss_at,
)
from minilm.tuner.records import Trial, TrialState
from minilm.tuner.selection import Chosen, _incumbent_or, _is_smaller, _raced
from minilm.tuner.workers import Workers
from tests.tuner import stubs

DEFAULT = [(5.0, 3.0), (10.0, 2.5), (20.0, 2.0)]


@pytest.mark.parametrize(
    ("seconds", "loss"), [(4.9, None), (5.0, 3.0), (7.5, 2.75), (10.0, 2.5), (15.0, 2.25), (60.0, 2.0)]
)
def test_loss_at_is_on_the_line_between_two_points(seconds, loss):
    assert loss_at(DEFAULT, seconds) == loss


def line(start, slope, seconds):
    """A curve that is straight over the logarithm of time."""
    return [(t, start - slope * math.log(t)) for t in seconds]


def test_a_forecast_follows_a_line_over_the_logarithm_of_time():
    curve = line(3.0, 0.2, (5, 10, 15, 20))
    assert extrapolated(curve, 180) == pytest.approx(3.0 - 0.2 * math.log(200))
    assert extrapolated([(4.0, 9.0), *curve], 180) == extrapolated(
        curve, 180
    )  # what is long past does not count
    assert extrapolated([(10, 2.0), (20, 2.3)], 99) == 2.3  # a rising curve is not expected to fall
    assert extrapolated([], 9) is None and extrapolated([(10, 2.0)], 90) == 2.0


@pytest.mark.parametrize(("start", "slope", "won"), [(2.0, 0.1, False), (2.0, 0.2, True), (2.2, 0.19, False)])
def test_who_is_ahead_does_not_win_unless_heading_lower(start, slope, won):
    """The challenger leads by a lot after 20 seconds in the first two cases, and heads lower in the second only."""
    default = line(2.5, 0.25, (5, 10, 20, 40))
    verdict = compare_curves((4, 0), line(start, slope, (5, 10, 20)), default, seconds_ahead=400)
    assert verdict.won is won and verdict.seconds == 20
    assert verdict.incumbent_loss == pytest.approx(default[2][1])
    assert (verdict.challenger_forecast < verdict.incumbent_forecast - LEAD) is won


def test_who_has_no_loss_cannot_win():
    assert not compare_curves((4, 0), [], DEFAULT, 10).won
    assert compare_curves((4, 0), [(15.0, 2.9)], [], 10).won


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


def test_the_long_training_is_read_from_its_folder_after_its_worker_was_killed(tmp_path):
    for seconds, loss in DEFAULT:
        files.append_record(tmp_path / "metrics.jsonl", {"seconds": seconds, "val_loss": loss})
        files.append_record(tmp_path / "metrics.jsonl", {"seconds": seconds + 1, "train_loss": 1.0})
    with Workers(1) as pool:
        default = LongTraining(pool, tmp_path, time.sleep, 60)
        assert default.checkpoint is None
        default.stop()
        with (tmp_path / "metrics.jsonl").open("ab") as file:
            file.write(b'{"seconds": 25')  # killed in mid-line
        assert default.curve() == DEFAULT
    assert LongTraining(Workers(1), tmp_path / "none", time.sleep, 0).curve() == []


def no_loss(_):
    return {"loss": None, "reason": "diverged at step 3"}


@pytest.mark.parametrize(("function", "failed"), [(stubs.crash, True), (no_loss, True), (time.sleep, False)])
def test_whether_a_long_training_had_failed_is_known_once_it_is_stopped(tmp_path, function, failed):
    with Workers(1) as pool:
        long = LongTraining(pool, tmp_path, function, 60)
        if failed:
            wait([long._future], timeout=60)
        long.stop()
        assert long.failed is failed


@pytest.mark.parametrize(
    ("failed", "checkpoint", "left", "follows"),
    [(False, None, 60, 1), (False, None, 5, 0), (True, None, 60, 0), (True, "there", 5, 1)],
)
def test_a_slow_start_does_not_cost_the_incumbent_its_place(failed, checkpoint, left, follows):
    """But a trial that is trained beats one that has not begun, where little time is left."""
    incumbent = SimpleNamespace(failed=failed, checkpoint=checkpoint, folder=None, curve=list)
    settings = SimpleNamespace(budget=SimpleNamespace(seconds=3.5))
    end = time.monotonic() + left
    sitting = SimpleNamespace(incumbent=Trial(1, {}, {}), settings=settings, moment=lambda share: end)
    assert _incumbent_or(sitting, incumbent, Chosen(Trial(0, {}, {}))).trial.tid == follows


def test_trials_that_nearly_used_the_text_up_need_no_race():
    """A race would train the challenger on at a high rate, past what the text is good for."""
    stopped, chosen = [], Chosen(Trial(4, {}, {}, state=TrialState.OK))
    incumbent = SimpleNamespace(stop=lambda: stopped.append(True))
    settings = SimpleNamespace(budget=SimpleNamespace(seconds=30.0), incumbent=1)
    end = time.monotonic() + 100
    sitting = SimpleNamespace(settings=settings, race_end=lambda: end, trials_are_whole=True)
    assert _raced(sitting, None, incumbent, chosen) is chosen and stopped == [True]


@pytest.mark.parametrize(("size", "smaller"), [(400, True), (500, False), (600, False)])
def test_a_model_smaller_than_the_fitted_recipe_is_not_raced(size, smaller):
    """After half a minute it leads, and its curve is extrapolated to go on as steeply as it began."""
    trial = Trial(4, {}, {}, n_parameters=size)
    recipe = Trial(1, {}, {}, n_parameters=500)
    assert (
        _is_smaller(SimpleNamespace(settings=SimpleNamespace(fitted={}), incumbent=recipe), trial) is smaller
    )
    assert not _is_smaller(SimpleNamespace(settings=SimpleNamespace(fitted=None), incumbent=recipe), trial)
