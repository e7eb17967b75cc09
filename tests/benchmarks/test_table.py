"""The table of recorded trainings: what it answers, how it is kept, and the virtual clock above it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from benchmarks.race.table import load_table, save_table
from benchmarks.race.virtual import Leg, finished, replay
from minilm.errors import RunError
from minilm.tuner.space import DEFAULT_POINT, to_hyperopt
from tests.benchmarks.tables import GRID, MARKS, bowl, half_diverging, made_up

TABLE = made_up(GRID, bowl, seeds=2, diverges=lambda point: 0.4 if point["learning_rate"] > 0.05 else None)


def test_a_point_is_looked_up_at_its_nearest_neighbour():
    """Nearest by ratio, found by comparing with every point."""
    points = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    rng = np.random.default_rng(0)
    for _ in range(200):
        drawn = {d.name: math.exp(rng.uniform(math.log(d.low), math.log(d.high))) for d in TABLE.dimensions()}
        far = [sum(abs(math.log(point[name] / drawn[name])) for name in GRID) for point in points]
        assert TABLE.index(drawn) == int(np.argmin(far))


def test_every_recorded_value_is_as_likely_as_its_cell_is_wide():
    for dimension in TABLE.dimensions():
        values = GRID[dimension.name]
        assert TABLE.nearest(dimension.name, dimension.low) == values[0] > dimension.low
        assert TABLE.nearest(dimension.name, dimension.high) == values[-1] < dimension.high
    (rates,) = (d for d in TABLE.dimensions() if d.name == "learning_rate")
    assert math.log(rates.high / rates.low) == pytest.approx(5 * math.log(2))  # five equal cells
    assert set(to_hyperopt(TABLE.dimensions())) == set(GRID)


def test_losses_on_the_way_and_at_the_end():
    index = TABLE.index({"hidden_size": 128, "learning_rate": 0.01})
    point = {"hidden_size": 128, "learning_rate": 0.01}
    for mark in range(1, MARKS):
        expected = bowl(point) + (4 - bowl(point)) * (1 - mark / MARKS) ** 2
        assert TABLE.loss(index, mark / MARKS) == pytest.approx(expected)
    assert TABLE.loss(index, 2.5 / MARKS) == TABLE.loss(index, 2 / MARKS)  # the last mark before
    assert TABLE.loss(index, 0.001) == TABLE.loss(index, 1 / MARKS)
    assert TABLE.loss(index, 1.0, seed=1) == pytest.approx(bowl(point))


def test_a_diverged_training_shows_losses_until_then():
    index = TABLE.index({"hidden_size": 96, "learning_rate": 0.08})
    assert TABLE.loss(index, 10 / MARKS) is not None
    assert TABLE.loss(index, 12 / MARKS) is None and TABLE.loss(index, 1.0) is None
    assert TABLE.best == pytest.approx(2.0)


def test_kept_and_read_again(tmp_path):
    for name in ("one.npz", "two.npz"):
        save_table(TABLE, tmp_path / name)
    again = load_table(tmp_path / "one.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert again.grid == TABLE.grid and again.made == TABLE.made
    for name in ("curves", "finals", "ends", "steps"):
        np.testing.assert_allclose(getattr(again, name), getattr(TABLE, name), rtol=1e-6)


@pytest.mark.parametrize("damage", ["absent", "empty", "text", "cut", "pickle"])
def test_a_damaged_table_is_one_sentence(tmp_path, damage):
    path = tmp_path / "table.npz"
    save_table(TABLE, path)
    if damage == "absent":
        path.unlink()
    elif damage == "pickle":
        np.savez(path, curves=np.array([{"a": 1}], dtype=object))
    else:
        path.write_bytes({"empty": b"", "text": b"no table", "cut": path.read_bytes()[:500]}[damage])
    with pytest.raises(RunError, match="no table of recorded trainings"):
        load_table(path)


class Scripted:
    """Runs legs in a given order and writes down what it is told."""

    def __init__(self, legs):
        self.legs, self.told = iter(legs), []

    def ask(self):
        return next(self.legs)

    def tell(self, leg, loss):
        self.told.append((leg.tid, leg.end, loss))


GOOD, BAD = ({"hidden_size": 96.0, "learning_rate": rate} for rate in (0.02, 0.08))


def test_the_clock_of_one_worker():
    legs = [Leg(0, GOOD, 0.0, 1 / 3), Leg(1, BAD, 0.0, 1.0), Leg(0, GOOD, 1 / 3, 1.0), Leg(2, GOOD, 0.0, 1.0)]
    searcher = Scripted(legs)
    events = replay(searcher, TABLE, budget=2.0)
    # the second one diverges at 0.4 of its training; the fourth would end after the budget
    assert [e.time for e in events] == pytest.approx([1 / 3, 1 / 3 + 0.4, 1.0 + 0.4])
    assert searcher.told[1] == (1, 1.0, None) and searcher.told[2][2] == pytest.approx(2.0)
    assert finished(events) == [(pytest.approx(1.4), pytest.approx(2.0))]


def test_workers_share_the_budget_and_end_in_the_order_of_time():
    legs = [Leg(0, GOOD, 0.0, 1.0), Leg(1, BAD, 0.0, 1.0), *(Leg(t, GOOD, 0.0, 1.0) for t in range(2, 9))]
    searcher = Scripted(legs)
    events = replay(searcher, TABLE, budget=5.0, workers=2)
    assert [(e.leg.tid, e.time) for e in events] == [
        (1, pytest.approx(0.4)),
        (0, pytest.approx(1.0)),
        (2, pytest.approx(1.4)),
        (3, pytest.approx(2.0)),
        (4, pytest.approx(2.4)),
    ]


def test_the_other_half_diverges():
    table = half_diverging()
    assert (
        np.isnan(table.finals).mean() == 0.5
        and DEFAULT_POINT["learning_rate"] > table.grid["learning_rate"][3]
    )
