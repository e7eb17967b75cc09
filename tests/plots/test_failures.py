"""Failures grouped by reason, the region they have in common, and what was never tried."""

from __future__ import annotations

import random
from typing import Any

import pytest

from minilm.plots.failures import failure_numbers, region_numbers
from minilm.plots.study_search import failures_section
from tests.plots.made_up import trials


def points(count: int, failing: Any, seed: int = 0) -> list[dict[str, Any]]:
    """Random points of five settings; those for which `failing` holds have failed."""
    dice, made = random.Random(seed), []
    for tid in range(count):
        point = {name: dice.random() for name in ("lr", "b", "c", "d", "e")}
        bad = failing(point, tid)
        reason = f"NaN at step {tid}" if bad else None
        state = {"state": "failed" if bad else "ok", "loss": None if bad else 1.0, "reason": reason}
        made.append({"tid": tid, "point": point, "seconds": 2.0, **state})
    return made


def test_reasons_that_differ_in_numbers_only_are_one():
    made = trials(8, (2, 5, 7))
    made[5]["reason"] = "the loss became NaN at step 7, learning rate 1.5e-2"
    made[7]["reason"] = "the worker was killed"
    found = failure_numbers(made)
    assert [(one.tids, one.seconds) for one in found] == [([2, 5], 6.0), ([7], 3.0)]
    assert found[0].reason == made[2]["reason"]
    assert failure_numbers(trials(3, ())) == []


def test_the_training_lost_is_that_of_all_legs():
    legs = [{"rung": 0, "loss": 2.0, "seconds": 3.0}, {"rung": 1, "loss": None, "seconds": 4.0}]
    (one,) = failure_numbers([{"tid": 1, "state": "failed", "loss": None, "reason": "hung", "legs": legs}])
    assert one.seconds == 7.0


def test_the_region_of_the_failures_is_named():
    region = region_numbers(points(30, lambda point, tid: point["lr"] > 0.8))
    assert region is not None
    assert (region.name, region.above, region.others) == ("lr", True, 0)
    assert region.limit > 0.8 and "lr of 0.8" in region.text()
    low = region_numbers(points(30, lambda point, tid: point["b"] < 0.2))
    assert low is not None and (low.name, low.above) == ("b", False)


def test_failures_without_a_cause_are_hardly_ever_given_one():
    named = [region_numbers(points(30, lambda point, tid: tid % 6 == 0, seed)) for seed in range(100)]
    assert sum(region is not None for region in named) <= 3


@pytest.mark.parametrize(
    "failing", [lambda point, tid: tid == 3, lambda point, tid: False, lambda point, tid: True]
)
def test_one_failure_no_failure_or_nothing_else_has_no_region(failing):
    assert region_numbers(points(20, failing)) is None


def test_what_was_never_tried_is_told_with_its_reason():
    well = {"tid": 0, "loss": 2.0, "state": "ok", "point": {"num_layers": 2}}
    refused = ["a training must fit, got 900 MiB", "a training must fit, got 800 MiB", "n_head must divide"]
    (section,) = failures_section([well, {**well, "tid": 1, "refused": refused}])
    assert section.title == "What was not tried" and [table.title for table in section.tables] == [
        "Never tried"
    ]
    assert section.tables[0].rows == [["2", "a training must fit, got 900 MiB"], ["1", "n_head must divide"]]
    failed = {**well, "tid": 2, "loss": None, "state": "failed", "reason": "diverged at step 3"}
    (section,) = failures_section([well, {**failed, "refused": refused[:1]}])
    assert section.title == "What failed" and len(section.tables) == 2
    assert failures_section([well]) == []
