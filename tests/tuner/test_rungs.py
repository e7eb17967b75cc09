"""Schedulers. The witness of `asha` is the paper's algorithm 2 with its own bookkeeping: a list per rung
of what came in, and a set per rung of who was promoted from it."""

from __future__ import annotations

import math
import random

import pytest

from minilm.errors import ConfigError
from minilm.tuner.rungs import SCHEDULERS, Ladder, Standing, levelled

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


def test_losses_are_levelled_by_what_those_who_climbed_have_gained():
    """At the first rung 1.0 on average, at the second 0.5: a third trial waits at each of them, one has failed."""
    climbed = [Standing(0, (3.0, 2.5, 2.25)), Standing(1, (3.5, 2.0, 1.25))]
    others = [Standing(2, (2.0,)), Standing(3, (2.0, 1.0)), Standing(4, (1.0,), failed=True), Standing(5)]
    found = levelled([*climbed, *others], LADDER)
    assert found.keys() == {0, 1, 2, 3} and (found[0], found[1]) == (2.25, 1.25)
    first = ((3.0 - 2.5) + (3.5 - 2.0) + (2.0 - 1.0)) / 3
    assert found[3] == pytest.approx(1.0 - 0.5) and found[2] == pytest.approx(2.0 - first - 0.5)


def test_before_anything_climbed_losses_stay_as_they_are():
    assert levelled([Standing(0, (2.5,)), Standing(1, (2.0,))], LADDER) == {0: 2.5, 1: 2.0}
    assert levelled([], LADDER) == {}
