"""Importance: a function whose importances are known, settings that mean nothing, and Optuna's PED-ANOVA."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from minilm.plots.importance import TOP, cells_of, divergence, importance_numbers
from minilm.plots.scales import Scale
from tests.plots.made_up import trials


def known(count: int, seed: int, weights: dict[str, float]) -> list[dict[str, Any]]:
    """Random points; each setting adds its weight times the square of its distance from the middle."""
    dice = random.Random(seed)
    made = []
    for tid in range(count):
        point = {name: dice.random() for name in weights}
        loss = 1 + sum(weight * (point[name] - 0.5) ** 2 for name, weight in weights.items())
        made.append({"tid": tid, "state": "ok", "loss": loss, "point": point})
    return made


def test_the_order_of_known_importances_is_found():
    for seed in range(3):
        found = importance_numbers(known(150, seed, {"none": 0.0, "much": 8.0, "some": 4.0}))
        assert [one.name for one in found] == ["much", "some", "none"]
        assert [one.clear for one in found[:2]] == [True, True]
        assert sum(one.share for one in found) == pytest.approx(1.0)


def test_settings_that_mean_nothing_pass_for_something_about_once_in_twenty():
    """All losses are drawn apart from the points, so that every clear one is an error."""
    dice, clear = random.Random(0), []
    for seed in range(40):
        made = [{**t, "loss": dice.random()} for t in known(30, seed, dict.fromkeys("abcde", 0.0))]
        clear += [one.clear for one in importance_numbers(made)]
    assert 0.01 <= np.mean(clear) <= 0.09


def test_agrees_with_optunas_ped_anova():
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    weights = {"a": 8.0, "b": 4.0, "c": 1.0, "d": 0.0}
    made = known(300, 5, weights)
    space = {name: optuna.distributions.FloatDistribution(0, 1) for name in weights}
    study = optuna.create_study()
    for trial in made:
        done = optuna.trial.create_trial(params=trial["point"], distributions=space, value=trial["loss"])
        study.add_trial(done)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TOP)
    theirs = optuna.importance.get_param_importances(study, evaluator=evaluator)
    ours = {one.name: one.share for one in importance_numbers(made)}
    assert all(ours[name] == pytest.approx(theirs[name], abs=0.05) for name in weights)


def test_divergence_against_a_loop():
    rows = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    best = np.array([True, True, False, False])
    p, q = [2.5 / 3, 0.5 / 3], [0.5, 0.5]
    by_hand = sum(b * (a / b - 1) ** 2 for a, b in zip(p, q, strict=True))
    assert divergence(rows, best) == pytest.approx(by_hand)


def test_a_setting_of_few_trials_counts_as_much_as_they_do():
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    best = np.array([True, False, True, False])
    whole = divergence(rows[:2], best[:2])
    assert divergence(rows, best) == pytest.approx(0.5**2 / 0.5 * whole)
    assert divergence(rows, np.array([False, False, True, True])) == 0.0


def test_numbers_are_smeared_and_names_are_not():
    scale = Scale("lr", tuple(float(v) for v in range(1, 11)), log=False, named=False)
    cells = cells_of(scale, [{"point": {"lr": 1.0}}, {"point": {}}, {"point": {"lr": 10.0}}])
    assert cells.sum(axis=1) == pytest.approx([1, 0, 1])
    assert cells[0].argmax() < cells.shape[1] / 3 and cells[2].argmax() > cells.shape[1] * 2 / 3
    named = Scale("kind", ("a", "b"), log=False, named=True)
    assert cells_of(named, [{"point": {"kind": "b"}}]).tolist() == [[0.0, 1.0]]


def test_too_few_trials_say_nothing():
    assert importance_numbers(trials(15, ())) == []
    assert importance_numbers(trials(24, tuple(range(1, 24)))) == []
    assert len(importance_numbers(trials(24))) == 7


def test_failures_are_the_worst_of_all():
    """A diverging region is what the best trials avoid, so that the setting which diverges is found."""
    made = known(60, 1, {"a": 0.1, "b": 0.0})
    made = [{**t, "state": "failed", "loss": None} if t["point"]["b"] > 0.6 else t for t in made]
    found = {one.name: one for one in importance_numbers(made)}
    assert found["b"].clear and math.isfinite(found["a"].share)
    calm = {one.name: one for one in importance_numbers(known(60, 1, {"a": 0.1, "b": 0.0}))}
    assert not calm["b"].clear
