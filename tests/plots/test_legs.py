"""Legs, rungs, the search over time and the workers' time, against values worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from minilm.plots.legs import equal_loss, last_rung, legs_of, promoted, ranked
from minilm.plots.rungs import trial_curve_numbers
from minilm.plots.search import search_numbers
from minilm.plots.trials import best_trial
from tests.plots.made_up import trials, with_legs


def leg(
    rung: int, loss: float | None, started: float, worker: int = 0, seconds: float = 3.0
) -> dict[str, Any]:
    times = {"started": started, "ended": started + seconds, "seconds": seconds}
    return {"rung": rung, "worker": worker, "steps": 9, "loss": loss, "reason": None, **times}


def study() -> list[dict[str, Any]]:
    """The default recipe goes all the way, 1 stops at the first rung, 2 fails on its second leg, 3 is an old record."""
    made = [
        {
            "tid": 0,
            "state": "ok",
            "loss": 1.5,
            "legs": [leg(0, 3.0, 0), leg(1, 2.0, 6), leg(2, 1.5, 12, worker=1)],
        },
        {"tid": 1, "state": "paused", "loss": 3.5, "legs": [leg(0, 3.5, 3)]},
        {
            "tid": 2,
            "state": "failed",
            "loss": None,
            "reason": "NaN",
            "legs": [leg(0, 2.5, 0, 1), leg(1, None, 9, 1)],
        },
        {"tid": 3, "state": "ok", "loss": 1.9, "started": 15.0, "ended": 18.0, "seconds": 3.0, "worker": 0},
    ]
    for trial in made:
        trial["ended"] = max(one["ended"] for one in trial.get("legs", [trial]))
        trial["curve"] = [
            [3.0 * i, one["loss"]] for i, one in enumerate(trial.get("legs", [trial]), 1) if one["loss"]
        ]
    return made


def test_what_legs_say_of_a_trial():
    default, _, failed, old = study()
    assert [last_rung(trial) for trial in study()] == [2, 0, 0, 0]
    assert [equal_loss(trial) for trial in study()] == [3.0, 3.5, 2.5, 1.9]
    assert [one.loss for one in legs_of(failed)] == [2.5, None]
    assert legs_of(old) == [(3, 0, "0", 15.0, 18.0, 3.0, 1.9, None)]
    assert [promoted(default, one) for one in legs_of(default)] == [True, True, False]
    assert [trial["tid"] for trial in ranked(study())] == [0, 3, 1, 2]


def test_a_leg_that_was_trained_once_more_counts_once():
    """Its worker died, and the rung was reached at the second attempt; the failure of the third leg is the trial's."""
    died = {**leg(0, None, 0), "seconds": None, "reason": "died"}
    again = {"tid": 5, "state": "ok", "loss": 2.0, "legs": [died, leg(0, 3.0, 5), leg(1, 2.0, 9)]}
    again["curve"] = [[3.0, 3.0], [6.0, 2.0]]
    assert (equal_loss(again), last_rung(again)) == (3.0, 1)
    stops = trial_curve_numbers([again]).stops
    assert [(stop.rung, stop.x, stop.kind) for stop in stops] == [(0, 3.0, "promoted"), (1, 6.0, "stopped")]
    late = {**again, "state": "paused", "legs": [leg(0, 2.0, 5), died]}
    assert [stop.kind for stop in trial_curve_numbers([late]).stops] == ["stopped"]


def test_the_best_is_the_one_with_the_lowest_loss_that_was_measured():
    early = {"tid": 6, "state": "paused", "loss": 1.4, "legs": [leg(0, 1.4, 0)]}
    best = best_trial([*study(), early])
    assert best is not None and best["tid"] == 6
    assert best_trial(study())["tid"] == 0


def test_damaged_legs_are_left_out_and_not_stumbled_over():
    torn = {"tid": 4, "state": "ok", "loss": 2.0, "legs": [None, {"rung": "x", "loss": "low"}, {"loss": 2.0}]}
    assert [(one.rung, one.loss) for one in legs_of(torn)] == [(0, None), (0, 2.0)]


def test_the_search_has_a_dot_for_every_loss_in_the_order_of_time():
    numbers = search_numbers(study())
    by_hand = [
        (0, 3, 3.0, 0),
        (2, 3, 2.5, 0),
        (1, 6, 3.5, 0),
        (0, 9, 2.0, 1),
        (0, 15, 1.5, 2),
        (3, 18, 1.9, 0),
    ]
    assert [(dot.tid, dot.x * 60, dot.loss, dot.rung) for dot in numbers.dots] == [
        (tid, pytest.approx(x), loss, rung) for tid, x, loss, rung in by_hand
    ]
    assert [y for _, y in numbers.best_so_far] == [3.0, 2.5, 2.5, 2.0, 1.5, 1.5]
    assert numbers.best == numbers.default == numbers.dots[4]
    assert [(tid, reason) for tid, _, reason in numbers.failures] == [(2, "NaN")]


def test_curves_know_where_trials_were_promoted_stopped_and_failed():
    numbers = trial_curve_numbers(study())
    assert [(stop.tid, stop.rung, stop.x, stop.kind) for stop in numbers.stops] == [
        (0, 0, 3.0, "promoted"),
        (0, 1, 6.0, "promoted"),
        (0, 2, 9.0, "stopped"),
        (1, 0, 3.0, "stopped"),
        (2, 0, 3.0, "promoted"),
        (2, 1, 6.0, "failed"),
    ]
    assert [tuple(rung) for rung in numbers.rungs] == [(0, 3.0, 3, 2), (1, 6.0, 1, 1), (2, 9.0, 1, 0)]


def test_the_made_up_search_is_one():
    """The stand-in of the page's tests: a third of each rung goes on, and no worker does two things at once."""
    made = with_legs(trials())
    counts = [sum(last_rung(trial) >= rung for trial in made if trial["loss"]) for rung in (0, 1, 2)]
    assert counts == [22, 7, 2]
    for worker in ("0", "1"):
        bars = sorted(
            (one.started, one.ended) for trial in made for one in legs_of(trial) if one.worker == worker
        )
        assert all(end <= start + 1e-9 for (_, end), (start, _) in zip(bars, bars[1:], strict=False))
