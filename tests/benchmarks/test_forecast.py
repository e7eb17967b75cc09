"""What a paused trial would have reached, by a line that is known."""

from __future__ import annotations

import pytest

from benchmarks.race.forecast import predicted
from minilm.tuner.rungs import Ladder, Standing

LADDER = Ladder()


def test_forecasts_by_a_line_that_is_known():
    """Rung 1 = 0.5 * rung 0 + 1 and the top = rung 1 - 0.3, exactly."""
    bottom = (2.0, 2.2, 2.6, 3.0, 3.1)
    seen = [Standing(t, (x, 0.5 * x + 1, 0.5 * x + 0.7)) for t, x in enumerate(bottom)]
    more = [
        Standing(9, (4.0,)),
        Standing(10, (3.6, 2.8)),
        Standing(11, running=True),
        Standing(12, (1.0,), failed=True),
    ]
    found = predicted([*seen, *more], LADDER)
    assert found.keys() == {0, 1, 2, 3, 4, 9, 10}
    assert [found[t] for t in range(5)] == [t.losses[-1] for t in seen]
    assert found[9] == pytest.approx(2.7) and found[10] == pytest.approx(2.5)


def test_forecasts_before_anything_climbed():
    assert predicted([Standing(0, (2.5,)), Standing(1, (2.0,))], LADDER) == {0: 2.5, 1: 2.0}
    assert predicted([], LADDER) == {}


def test_a_forecast_trusts_no_slope_beyond_reason():
    seen = [Standing(t, (x, -5 * x, -5 * x)) for t, x in enumerate((2.0, 2.1, 2.2, 2.3))]
    better, worse = (predicted([*seen, Standing(9, (x,))], LADDER)[9] for x in (1.0, 3.0))
    assert worse - better == pytest.approx(0.2 * 2.0 * 1.0)


def test_equal_losses_have_no_slope():
    seen = [Standing(t, (2.0, 1.5, 1.0)) for t in range(5)]
    assert predicted([*seen, Standing(9, (2.5,))], LADDER)[9] == pytest.approx(1.5)
