"""A study's space read back from its text, for every kind of distribution."""

from __future__ import annotations

import math

import pytest
from hyperopt import hp

from minilm.plots.priors import Prior, priors_of
from minilm.tuner.propose import SearchSpace

EVERY_KIND = {
    "a": hp.uniform("a", -1, 2),
    "b": hp.quniform("b", 0, 0.2, 0.05),
    "c": hp.loguniform("c", -5, -2),
    "d": hp.qloguniform("d", math.log(64), math.log(256), 32),
    "e": hp.uniformint("e", 1, 6),
    "f": hp.randint("f", 5),
    "g": hp.randint("g", 2, 9),
    "h": hp.choice("h", ["x", "y", 3]),
    "i": hp.pchoice("i", [(0.2, 1), (0.8, 2)]),
    "j": hp.normal("j", 0, 1),
    "k": hp.qlognormal("k", 0, 1, 2),
    "m": hp.choice("m", [{"kind": 1}, {"kind": 2, "only": hp.uniform("only", 0, 1)}]),
}
SPACE = SearchSpace(EVERY_KIND, {})


def test_every_distribution_is_read_back_from_the_text():
    found = {prior.label: prior for prior in priors_of(SPACE.text)}
    assert set(found) == {*EVERY_KIND, "only"}
    assert found["a"] == Prior("a", "uniform", (-1.0, 2.0))
    assert found["b"] == Prior("b", "quniform", (0.0, 0.2, 0.05))
    assert found["e"] == Prior("e", "quniform", (1.0, 6.0, 1.0))
    assert found["g"] == Prior("g", "randint", (2.0, 9.0))
    assert found["h"] == Prior("h", "randint", (3.0,), ("x", "y", "3"))
    assert found["i"] == Prior("i", "categorical", (0.2, 0.8), ("1", "2"))
    assert found["m"].choices == ("group 1", "group 2")


@pytest.mark.parametrize(
    "text", ["", "nonsense", "0 hyperopt_param", "0 hyperopt_param\n1  Literal{a}\n2  normal\n"]
)
def test_a_text_that_is_none_says_nothing(text):
    assert [prior for prior in priors_of(text) if prior.numbers] == []
