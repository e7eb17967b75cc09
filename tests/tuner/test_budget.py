"""The minutes and what they pay for."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from minilm.errors import ConfigError
from minilm.training.clock import process_age
from minilm.tuner.budget import FEWEST_STEPS, TIMED, Minutes, Prices, prices
from minilm.tuner.space import limits_for, to_configs

HERE, LIMITS = Prices(1.0, 1.0), limits_for(1_000_000)


def configs(point):
    return to_configs(point, 65, LIMITS)


def timed(seconds):
    return [(*configs(point), one) for point, one in zip(TIMED, seconds, strict=True)]


@pytest.mark.parametrize("minutes", [0.1, 0.5, 1, 3, 10, 60])
def test_the_reserve_is_a_small_part_at_the_end(minutes):
    study = Minutes(minutes, begun=100.0)
    assert study.moment(0.0) == 100 + 60 * minutes and study.moment(1.0) == study.moment(0.0) - study.reserve
    assert study.reserve <= 0.25 * study.total
    if minutes >= 3:
        assert study.reserve <= 0.035 * study.total


def test_too_short_minutes_name_those_that_are_needed():
    """And with these it goes on."""
    step = 0.02
    with pytest.raises(
        ConfigError, match=f"{FEWEST_STEPS} training steps.*got 0.05; give minutes="
    ) as caught:
        Minutes(0.05, time.monotonic() - 2.0).check(step)
    needed = float(str(caught.value).partition("give minutes=")[2].split()[0])
    assert needed < 0.5
    Minutes(needed, time.monotonic() - 2.0).check(step)


@pytest.mark.parametrize("step", [0.001, 0.1, 3.0])
@pytest.mark.parametrize("started", [1.0, 8.0])
def test_the_minutes_that_are_named_are_enough_on_any_machine(step, started):
    with pytest.raises(ConfigError) as caught:
        Minutes(0.01, time.monotonic() - started).check(step)
    needed = float(str(caught.value).partition("give minutes=")[2].split()[0])
    Minutes(needed, time.monotonic() - started).check(step)


@pytest.mark.clock
@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="the system does not tell")  # noqa: PTH110
def test_the_interpreters_start_counts():
    code = "import time; time.sleep(0.3); from minilm.training.clock import process_age; print(process_age())"
    began = time.monotonic()
    told = float(
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    )
    assert 0.28 <= told <= time.monotonic() - began + 0.05
    assert process_age() > 0


@pytest.mark.parametrize(("arithmetic", "calls"), [(1.0, 1.0), (0.3, 2.0), (5.0, 0.1)])
def test_prices_are_recovered_and_predict_other_steps(arithmetic, calls):
    true = Prices(arithmetic, calls)
    found = prices(timed([true.step(*configs(point)) for point in TIMED]))
    other = configs({"num_layers": 4, "hidden_size": 192, "batch_size": 16})
    assert found.step(*other) == pytest.approx(true.step(*other))


@pytest.mark.parametrize("seconds", [(0.5, 0.01), (0.001, 0.9), (0.1, 0.1)])
def test_a_disturbed_clock_never_gives_a_negative_price(seconds):
    found = prices(timed(seconds))
    assert found.arithmetic > 0 and found.calls > 0


def test_a_timed_step_corrects_what_models_of_its_size_cost():
    shapes = ((2, 64), (3, 128), (3, 192), (4, 256))
    small, middle, between, large = (configs({"num_layers": n, "hidden_size": c}) for n, c in shapes)
    found = HERE.corrected(*large, 1.5 * HERE.step(*large))
    assert found.step(*large) == pytest.approx(1.5 * HERE.step(*large))
    for known in (small, middle):  # those that the prices came from
        assert found.step(*known) == pytest.approx(HERE.step(*known))
    assert 1.2 < found.step(*between) / HERE.step(*between) < 1.3
    again = found.corrected(*between, 2 * HERE.step(*between)).corrected(*large, HERE.step(*large))
    assert again.step(*between) == pytest.approx(2 * HERE.step(*between))
    assert again.step(*large) == pytest.approx(HERE.step(*large))
