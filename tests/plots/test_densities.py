"""TPE's densities against Hyperopt's own run, for every kind of distribution; the space read back from its text."""

from __future__ import annotations

import inspect
import math
import random
from typing import Any

import numpy as np
import pytest
from hyperopt import hp, tpe
from hyperopt.pyll import as_apply, scope

from minilm.plots.densities import (
    GAMMA,
    PRIOR_WEIGHT,
    _split,
    belief_numbers,
    draw_beliefs,
    late_rows,
    log_density,
    startup_trials,
    together,
)
from minilm.plots.priors import Prior, priors_of
from minilm.tuner.algorithms import ALGORITHMS
from minilm.tuner.forecast import predicted
from minilm.tuner.propose import Proposer, SearchSpace, Told, propose
from minilm.tuner.rungs import Ladder, Standing

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


def searched(count: int, space: SearchSpace = SPACE, seed: int = 0) -> list[dict[str, Any]]:
    """Trials that TPE proposed one after the other, each told before the next."""
    proposer, dice, made = Proposer(space, "tpe", seed), random.Random(seed), []
    for tid in range(count):
        proposer.ask()
        draw = proposer.draws[tid]
        loss = None if tid % 7 == 3 else sum(draw.values()) + dice.random()
        proposer.tell(tid, loss)
        times = {"started": 10.0 * tid, "ended": 10.0 * tid + 9}
        made.append(
            {"tid": tid, "state": "failed" if loss is None else "ok", "loss": loss, "draw": draw, **times}
        )
    return made


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


@pytest.mark.parametrize("label", sorted(set(EVERY_KIND) - {"m"}))
def test_the_densities_are_those_that_hyperopt_weighs(label, monkeypatch):
    """Hyperopt scores its candidates inside `suggest`: its own numbers there are the witness for ours."""
    space = SearchSpace({label: EVERY_KIND[label]}, {label: 1})
    made = [
        trial for trial in searched(30, space) if trial["draw"]
    ]  # the recipe outside the space is not told
    seen: list[tuple[np.ndarray, ...]] = []
    original = scope._impls["broadcast_best"]

    def listening(*given: Any) -> Any:
        seen.append(tuple(map(np.asarray, given)))
        return original(*given)

    monkeypatch.setitem(scope._impls, "broadcast_best", listening)
    propose(space, "tpe", 0, 30, {t["tid"]: Told(t["draw"], t["loss"]) for t in made})
    ((samples, below, above),) = seen
    (prior,) = priors_of(space.text)
    offset = prior.numbers[0] if label == "g" else 0  # Hyperopt adds a randint's lower end later
    known = [(t, math.inf if t["loss"] is None else t["loss"]) for t in made]
    good, rest = _split(label, known)
    assert len(good) == math.ceil(GAMMA * math.sqrt(len(made)))
    assert log_density(prior, good, samples + offset) == pytest.approx(below)
    assert log_density(prior, rest, samples + offset) == pytest.approx(above)


def test_hyperopts_defaults_are_the_ones_shown():
    defaults = {name: p.default for name, p in inspect.signature(tpe.suggest).parameters.items()}
    assert (defaults["prior_weight"], defaults["gamma"]) == (PRIOR_WEIGHT, GAMMA)
    assert not {"prior_weight", "gamma"} & set(ALGORITHMS["tpe"].keywords)


def test_the_ratio_is_that_of_the_two_curves():
    checked = 0
    for belief in belief_numbers(searched(24), SPACE.text):
        x = np.log(belief.x) if belief.log else belief.x
        for density in (belief.good, belief.rest):
            assert (density.sum() if belief.steps else np.trapezoid(density, x)) == pytest.approx(1)
        for late in belief.late:
            if belief.x[0] <= late.x <= belief.x[-1]:
                at = np.log(late.x) if belief.log else late.x
                curves = [np.interp(at, x, density) for density in (belief.good, belief.rest)]
                assert late.ratio == pytest.approx(curves[0] / curves[1], rel=0.02)
                checked += 1
    assert checked > 50


def test_the_late_proposals_are_explained_by_what_came_before_them():
    made = searched(24)
    found = belief_numbers(made, SPACE.text)
    assert {belief.prior.label for belief in found} >= set(EVERY_KIND)
    assert {late.tid for belief in found for late in belief.late} == {19, 20, 21, 22, 23}
    changed = [t if t["tid"] < 19 else {**t, "loss": 0.0, "state": "ok"} for t in made]
    again = belief_numbers(changed, SPACE.text)
    assert all((a.good == b.good).all() for a, b in zip(found, again, strict=True))
    first = {late.tid: late.ratio for belief in found for late in belief.late if belief.prior.label == "a"}
    whole = together(found)
    assert whole[19] > 1 and first[19] < whole[19] * 1e6
    rows = late_rows(found)
    assert [row[0] for row in rows] == ["19", "20", "21", "22", "23"]
    assert all(len(row) == len(found) + 2 for row in rows)


def test_a_loss_that_was_not_known_yet_does_not_count():
    """Trial 2 ended after the late proposals began: TPE took it for running, which is infinitely bad."""
    made = searched(24)
    late_end = [{**t, "ended": 1e6, "loss": -1e6} if t["tid"] == 2 else t for t in made]
    unknown = [{**t, "state": "failed", "loss": None} if t["tid"] == 2 else t for t in made]
    for a, b in zip(belief_numbers(late_end, SPACE.text), belief_numbers(unknown, SPACE.text), strict=True):
        assert (a.good == b.good).all()


def test_tpe_was_told_what_each_trial_would_reach():
    """The same losses as the search hands to the proposer, from records of legs; a trial still running has none."""
    made = searched(24)
    rungs = (1 / 3, 1.0)
    for trial in made:
        if trial["loss"] is not None:
            first = {"rung": 0, "loss": trial["loss"], "started": trial["started"], "ended": trial["ended"]}
            far = {
                "rung": 1,
                "loss": trial["loss"] / 2,
                "started": trial["ended"],
                "ended": trial["ended"] + 3,
            }
            trial["legs"] = [first, far] if trial["tid"] % 3 == 0 else [first]
            trial["loss"] = trial["legs"][-1]["loss"]
    seen = [
        Standing(t["tid"], tuple(one["loss"] for one in t.get("legs", [])), failed=t["loss"] is None)
        for t in made[:19]
    ]
    told = predicted(seen, Ladder(rungs))
    given = [{**t, "loss": told.get(t["tid"]), "legs": []} if t["tid"] < 19 else t for t in made]
    pairs = zip(belief_numbers(made, SPACE.text, rungs), belief_numbers(given, SPACE.text), strict=True)
    assert all((a.good == b.good).all() and (a.rest == b.rest).all() for a, b in pairs)


def test_random_starts_and_strange_records_have_no_densities():
    assert startup_trials() == 8
    assert belief_numbers([], SPACE.text) == []
    assert belief_numbers(searched(9), SPACE.text) == []
    assert belief_numbers([{"tid": 0, "state": "ok", "loss": 1.0}], SPACE.text) == []
    assert belief_numbers(searched(24), "") == []


def test_two_values_are_drawn_as_two_steps():
    space = SearchSpace({"h": hp.choice("h", ["x", "y"])}, {})
    found = belief_numbers(searched(20, space), space.text)
    drawn = draw_beliefs(found).svg()
    assert ">x<" in drawn and ">y<" in drawn
    assert str(as_apply(space.expression)) == space.text
