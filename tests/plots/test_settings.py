"""Scales, the map and parallel coordinates: places on a unit line, a mean against a loop, names beside numbers."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from minilm.plots.contour import FEWEST, NEAR, REACH, contour_numbers, draw_contour, smooth
from minilm.plots.parallel import LOSS_ROW, draw_parallel, parallel_numbers
from minilm.plots.scales import scales, value_of
from minilm.plots.slices import draw_slices, slice_numbers
from tests.plots.made_up import trials, with_legs


def tried(*points: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"tid": i, "state": "ok", "loss": 1.0 + i, "point": point} for i, point in enumerate(points)]


def test_each_kind_of_setting_has_its_scale():
    made = tried(
        {"lr": 1e-4, "kind": "a", "flag": True, "shape": {"depth": 2}, "same": 1, "mixed": 1},
        {"lr": 1e-2, "kind": "b", "flag": False, "shape": {"depth": 8}, "same": 1, "mixed": "x"},
        {"lr": 1e-3, "kind": "c", "flag": None, "only": 3.0},
        {"lr": 1e-3, "kind": "a", "only": 4.0},
    )
    found = {scale.name: scale for scale in scales(made)}
    assert set(found) == {"lr", "kind", "flag", "shape.depth", "mixed", "only"}
    assert [found[name].log for name in ("lr", "only", "kind")] == [True, False, False]
    assert [found["lr"].unit(value) for value in (1e-4, 1e-3, 1e-2)] == pytest.approx([0, 0.5, 1])
    assert found["flag"].values == ("False", "None", "True") and found["flag"].named and found["mixed"].named
    assert [value_of(trial, found["shape.depth"]) for trial in made] == [2, 8, None, None]
    assert [words for _, words in found["kind"].ticks()] == ["a", "b", "c"]


def test_many_values_get_four_ticks_spread_over_the_scale():
    (scale,) = scales(tried(*({"lr": 10 ** (-4 + i / 10)} for i in range(31))))
    places = [place for place, _ in scale.ticks()]
    assert places == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=0.02)


def test_values_that_are_close_to_each_other_are_not_written_over_each_other():
    (scale,) = scales(tried(*({"weight_decay": value} for value in (0.011, 0.013, 0.1))))
    assert [words for _, words in scale.ticks()] == ["0.011", "0.1"]


def test_slices_show_names_and_the_loss_of_equal_trainings():
    made = with_legs(trials())
    for trial in made:
        trial["point"]["kind"] = "ab"[trial["tid"] % 2]
    slices = {one.name: one for one in slice_numbers(made)}
    assert slices["kind"].names == ("a", "b")
    assert {dot.x for dot in slices["kind"].dots} == {0.0, 1.0}
    first = {trial["tid"]: trial["legs"][0]["loss"] for trial in made}
    assert all(dot.loss == first[dot.tid] for dot in slices["kind"].dots)
    assert len(draw_slices(list(slices.values())).axes) == 8


def test_the_map_is_a_weighted_mean():
    dice = np.random.default_rng(0)
    places, losses = dice.random((9, 2)), dice.random(9)
    x, y = np.array([0.2, 0.5]), np.array([0.1, 0.6, 3.0])
    found = smooth(places, losses, x, y)
    for j, row in enumerate(y):
        for i, column in enumerate(x):
            gaps = [math.dist((column, row), place) for place in places]
            weights = [math.exp(-0.5 * (gap / REACH) ** 2) for gap in gaps]
            mean = sum(w * loss for w, loss in zip(weights, losses, strict=True)) / (sum(weights) or 1)
            by_hand = math.nan if min(gaps) > NEAR else mean
            assert found[j, i] == pytest.approx(by_hand, nan_ok=True)
    assert np.isnan(found[2]).all()


def test_the_map_needs_two_numbers_and_some_trials():
    made = trials(24, ())
    lr, hidden = (
        next(s for s in scales(made) if s.name == name) for name in ("learning_rate", "hidden_size")
    )
    numbers = contour_numbers(made, lr, hidden)
    assert numbers is not None and len(numbers.dots) == 24
    assert numbers.default is not None and numbers.default[0] == 0
    assert np.nanmin(numbers.loss) >= min(trial["loss"] for trial in made)
    assert "var(--model)" in draw_contour(numbers).svg()
    assert contour_numbers(made[: FEWEST - 1], lr, hidden) is None
    assert contour_numbers(made, lr, lr._replace(named=True)) is None


def test_a_map_of_equal_losses_can_be_drawn():
    made = [{**trial, "loss": 2.0} for trial in trials(12, ())]
    x, y = scales(made)[:2]
    numbers = contour_numbers(made, x, y)
    assert numbers is not None and "<svg" in draw_contour(numbers).svg()


def test_every_trial_is_a_thread_through_the_rows_it_has():
    dice = random.Random(0)
    made = tried(*({"a": dice.random(), **({"b": dice.random()} if i % 2 else {})} for i in range(10)))
    made[3] |= {"state": "failed", "loss": None}
    numbers = parallel_numbers(made, order=["b", "a"])
    assert numbers.rows == ["b", "a", LOSS_ROW]
    threads = {thread.tid: thread for thread in numbers.threads}
    assert [row for row, _ in threads[0].points] == [1, 2]
    assert [row for row, _ in threads[1].points] == [0, 1, 2]
    assert threads[3].role == "failed" and [row for row, _ in threads[3].points] == [0, 1]
    assert numbers.threads[-1].tid == 0 and threads[0].strength == 1.0
    strengths = [thread.strength for thread in numbers.threads]
    assert strengths == sorted(strengths)
    assert all(0 <= place <= 1 for thread in numbers.threads for _, place in thread.points)


def test_nothing_to_compare_draws_nothing_and_does_not_fail():
    assert parallel_numbers([]).rows == []
    assert parallel_numbers(trials(1, ())).rows == []
    assert "<svg" in draw_parallel(parallel_numbers([])).svg()
