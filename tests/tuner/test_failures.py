"""Whether a point lies among failures, against a count by hand of the trials in between."""

from __future__ import annotations

import random

from minilm.tuner.failures import NEIGHBOURS, doomed
from minilm.tuner.propose import Proposer, SearchSpace, seed_of
from minilm.tuner.space import Dimension


def between(a, b, values):
    """How many of `values` lie between two numbers, one that equals an end counting half."""
    low, high = min(a, b), max(a, b)
    return sum((low < value < high) + 0.5 * ((value == low) + (value == high)) for value in values) * (a != b)


def by_hand(draw, good, failed):
    known = [*good, *failed]
    labels = {label for one in [draw, *known] for label in one}

    def distance(other):
        total = 0.0
        for label in labels:
            if (label in draw) != (label in other):
                total += 1
            elif label in draw:
                values = [one[label] for one in known if label in one]
                total += between(draw[label], other[label], values) / len(values)
        return round(total, 9)

    order = sorted(range(len(known)), key=lambda index: (distance(known[index]), index))
    return len(failed) >= NEIGHBOURS and all(index >= len(good) for index in order[:NEIGHBOURS])


def test_as_counted_by_hand():
    rng, answers = random.Random(0), []
    for _ in range(300):

        def point(bad):
            rate = rng.uniform(5, 10) if bad else rng.uniform(0, 6)
            return {"rate": round(rate, 1)} | ({"branch": rng.randrange(9)} if rng.random() < 0.6 else {})

        good, failed = ([point(bad) for _ in range(rng.randrange(12))] for bad in (False, True))
        draw = point(rng.random() < 0.5)
        answers.append(doomed(draw, good, failed))
        assert answers[-1] == by_hand(draw, good, failed)
    assert 30 < sum(answers) < 270


def test_two_failures_doom_nobody():
    assert not doomed({"x": 1.0}, [], [{"x": 1.0}, {"x": 1.0}])
    assert doomed({"x": 1.0}, [], [{"x": 1.0}] * 3)


def test_a_space_that_always_fails_is_searched_on():
    space = SearchSpace.of((Dimension("x", "log", 1e-3, 1.0),), {"x": 0.1})
    proposer, points = Proposer(space, "tpe"), []
    for _ in range(20):
        tid, point = proposer.ask()
        proposer.tell(tid, None)
        points.append(point["x"])
    assert len(set(points)) == 20


def test_attempts_have_seeds_of_their_own():
    seeds = {seed_of(study, tid, attempt) for study in range(9) for tid in range(9) for attempt in range(4)}
    assert len(seeds) == 9 * 9 * 4
