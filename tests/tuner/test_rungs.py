"""Schedulers and forecasts. The witness of `asha` is the paper's algorithm 2 with its own bookkeeping: a list per rung
of what came in, and a set per rung of who was promoted from it."""

from __future__ import annotations

import math
import random

import pytest

from minilm.errors import ConfigError
from minilm.tuner.forecast import predicted
from minilm.tuner.rungs import SCHEDULERS, Ladder, Standing

LADDER = Ladder()


class Paper:
    """`get_job` of algorithm 2 (Li et al. 2020), word by word."""

    def __init__(self, eta: int, rungs: int) -> None:
        self.eta = eta
        self.came = [[] for _ in range(rungs)]  # (loss, trial)
        self.promoted = [set() for _ in range(rungs)]

    def get_job(self):
        for k in range(len(self.came) - 2, -1, -1):
            candidates = sorted(self.came[k])[: len(self.came[k]) // self.eta]
            promotable = [t for loss, t in candidates if t not in self.promoted[k] and math.isfinite(loss)]
            if promotable:
                self.promoted[k].add(promotable[0])
                return promotable[0]
        return None


class Field:
    """Trials as they stand, run by a number of workers in a random order of endings."""

    def __init__(self, seed: int, ladder: Ladder) -> None:
        self.random, self.ladder = random.Random(seed), ladder
        self.losses: dict[int, list[float]] = {}
        self.failed: set[int] = set()
        self.running: list[int] = []

    def standings(self):
        return [Standing(t, tuple(v), t in self.running, t in self.failed) for t, v in self.losses.items()]

    def start(self, tid):
        tid = len(self.losses) if tid is None else tid
        self.losses.setdefault(tid, [])
        self.running.append(tid)

    def end_one(self):
        """A random running trial ends its leg: (trial, rung, loss), the loss infinite where it fails."""
        tid = self.running.pop(self.random.randrange(len(self.running)))
        rung = len(self.losses[tid])
        if self.random.random() < 0.15:
            self.failed.add(tid)
            return tid, rung, math.inf
        self.losses[tid].append(round(self.random.random() - rung, 1))  # rounded: ties must not matter
        return tid, rung, self.losses[tid][-1]


@pytest.mark.parametrize("ladder", [LADDER, Ladder((0.1, 0.2, 0.4, 1.0), eta=2), Ladder((1.0,))])
@pytest.mark.parametrize("workers", [1, 3])
def test_asha_promotes_whom_the_paper_promotes(ladder, workers):
    climbed = 0
    for seed in range(20):
        field, paper = Field(seed, ladder), Paper(ladder.eta, len(ladder.shares))
        for _ in range(60):
            while len(field.running) < workers:
                expected = paper.get_job()
                assert SCHEDULERS["asha"](field.standings(), ladder) == expected
                field.start(expected)
                climbed += expected is not None
            tid, rung, loss = field.end_one()
            paper.came[rung].append((loss, tid))
    assert climbed > 100 or len(ladder.shares) == 1


@pytest.mark.parametrize("name", SCHEDULERS)
def test_only_paused_trials_go_on(name):
    for seed in range(20):
        field = Field(seed, LADDER)
        for _ in range(40):
            tid = SCHEDULERS[name](field.standings(), LADDER)
            if tid is not None:
                assert tid not in field.running and tid not in field.failed
                assert 0 < len(field.losses[tid]) < len(LADDER.shares)
            field.start(tid)
            if len(field.running) == 3:
                field.end_one()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_nothing_known_means_a_new_trial(name):
    assert SCHEDULERS[name]([], LADDER) is None
    assert SCHEDULERS[name]([Standing(0, running=True), Standing(1, failed=True)], LADDER) is None


def test_none_ends_each_trial_before_the_next():
    field, order = Field(0, LADDER), []
    for _ in range(30):
        field.start(SCHEDULERS["none"](field.standings(), LADDER))
        order.append(field.end_one()[0])
    assert order == sorted(order)


def test_median_stops_the_worse_half():
    standings = [Standing(t, (float(t),)) for t in range(5)]
    gone_on = []
    while (tid := SCHEDULERS["median"](standings, LADDER)) is not None:
        gone_on.append(tid)
        standings[tid] = Standing(tid, (float(tid),), running=True)
    assert gone_on == [0, 1, 2]


def test_a_failure_is_worse_than_any_loss_but_counts():
    standings = [Standing(0, (9.0,)), Standing(1, failed=True), Standing(2, failed=True)]
    assert SCHEDULERS["asha"](standings, LADDER) == 0
    assert SCHEDULERS["asha"](standings[:2], LADDER) is None


@pytest.mark.parametrize("shares", [(), (0.5,), (0.5, 0.5, 1.0), (0.0, 1.0), (0.5, 0.2, 1.0), (0.5, 2.0)])
def test_a_ladder_that_does_not_rise_to_one(shares):
    with pytest.raises(ConfigError, match="rungs must rise from above 0 to 1"):
        Ladder(shares)


def test_a_ladder_on_which_everyone_climbs():
    with pytest.raises(ConfigError, match="eta must be at least 2, got 1"):
        Ladder(eta=1)


def test_the_legs_add_up_to_a_training():
    assert sum(LADDER.leg(reached) for reached in range(3)) == pytest.approx(1.0)


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
