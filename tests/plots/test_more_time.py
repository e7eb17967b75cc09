"""The forecast: made-up curves whose future is known, noise, a floor, and curves that allow no forecast."""

from __future__ import annotations

import numpy as np
import pytest

from minilm.plots.more_time import FEWEST, draw_more_time, more_time_numbers, steady

TIME = 60.0  # seconds of a made-up training


def made(dice: np.random.Generator, points: int = 20, noise: float = 0.01, alike: float = 0.0):
    """(the law, its noisy curve): a power of time above a level; the noise of neighbours may be alike."""
    level, height, power = dice.uniform(0.2, 1.5), dice.uniform(0.5, 3), dice.uniform(0.1, 0.8)
    x = np.linspace(1 / points, 1, points) * TIME
    errors = [dice.normal(0, noise)]
    for _ in x[1:]:
        errors.append(alike * errors[-1] + np.sqrt(1 - alike**2) * dice.normal(0, noise))

    def law(seconds: float) -> float:
        return level + height * (seconds / 10) ** -power

    return law, [(t, law(t) + e) for t, e in zip(x, errors, strict=True)]


@pytest.mark.parametrize(("points", "noise", "alike"), [(8, 0.01, 0.0), (20, 0.003, 0.0), (20, 0.02, 0.6)])
def test_the_interval_holds_the_truth(points, noise, alike):
    dice = np.random.default_rng(3)
    held, centre = {2.0: 0, 4.0: 0}, []
    for seed in range(60):
        law, curve = made(dice, points, noise, alike)
        numbers = more_time_numbers(curve, (TIME, law(TIME)), seed=seed)
        assert numbers is not None
        for gain in numbers.gains:
            truth = law(TIME * gain.factor)
            held[gain.factor] += gain.low <= truth <= gain.high
            centre.append((gain.loss - truth) / (law(TIME) - truth))
    assert min(held.values()) >= 0.9 * 60
    assert abs(np.median(centre)) < 0.25  # in the middle of what comes, neither hopeful nor gloomy


def test_the_interval_is_not_as_wide_as_the_sky():
    dice = np.random.default_rng(4)
    law, curve = made(dice, 20, 0.003)
    (twice, four) = more_time_numbers(curve, (TIME, law(TIME))).gains  # type: ignore[union-attr]
    drop = law(TIME) - law(2 * TIME)
    assert twice.high - twice.low < 2 * drop
    assert four.loss < twice.loss < law(TIME)
    assert twice.low < twice.loss < twice.high < law(TIME)


def test_the_final_model_gains_what_the_curve_would():
    dice = np.random.default_rng(5)
    law, curve = made(dice)
    one = more_time_numbers(curve, (TIME, 2.0))
    other = more_time_numbers(curve, (TIME, 1.0))
    assert one is not None and other is not None
    gains = [[now - gain.loss for gain in made.gains] for now, made in ((2.0, one), (1.0, other))]
    assert gains[0] == pytest.approx(gains[1])


def test_a_flat_curve_promises_nothing_and_a_rising_one_no_rise():
    flat = [(float(t), 2.0) for t in range(10, 61, 5)]
    rising = [(t, 2.0 + t / 100) for t, _ in flat]
    for curve in (flat, rising):
        numbers = more_time_numbers(curve, (60.0, 2.0))
        assert numbers is not None
        assert all(gain.loss == pytest.approx(2.0, abs=0.02) and gain.high <= 2.0 for gain in numbers.gains)


def test_the_floor_is_not_passed():
    law, curve = made(np.random.default_rng(6))
    now = (TIME, law(TIME))
    plain = more_time_numbers(curve, now)
    assert plain is not None
    low, loss = plain.gains[1].low, plain.gains[1].loss
    held = more_time_numbers(curve, now, floor=(low + loss) / 2)
    assert held is not None and held.gains[1].low == (low + loss) / 2
    assert more_time_numbers(curve, now, floor=loss + 0.001) is None  # heads below what is possible


@pytest.mark.parametrize(
    "curve",
    [
        [],
        [(1.0, 2.0)],
        [(float(t), 2.0) for t in range(10, 10 + FEWEST - 1)],
        [(100.0 + t, 2.0) for t in range(20)],
    ],
)
def test_a_short_curve_allows_no_forecast(curve):
    assert more_time_numbers(curve, (200.0, 2.0)) is None


def test_only_the_measurements_at_a_high_rate_count():
    rates = [0.1, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0]
    records = [
        {"seconds": float(i), "learning_rate": rate, "val_loss": 3.0 - i / 10} for i, rate in enumerate(rates)
    ]
    records[2].pop("val_loss")
    records.append({"step": 3})
    assert steady(records) == [(1.0, 2.9), (3.0, 2.7)]
    assert steady([]) == []


def test_the_picture_says_now_and_later():
    law, curve = made(np.random.default_rng(7))
    drawn = draw_more_time(more_time_numbers(curve, (TIME, law(TIME)))).svg()  # type: ignore[arg-type]
    assert f"now {law(TIME):.3f}" in drawn and "2\u00d7" in drawn and "4\u00d7" in drawn
