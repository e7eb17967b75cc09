"""Scales of settings: places on a unit line, names beside numbers."""

from __future__ import annotations

from typing import Any

import pytest

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
