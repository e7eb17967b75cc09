"""The law: closed forms against numpy's own least squares, and what every law of trainings must say."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from minilm.tuner.law import SHIPPED, TERMS, Law, Recipe, shipped, terms, unseen, useful_characters

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
USUAL = Recipe(
    parameters=200_000,
    vocab_size=1024,
    context=128,
    batch=8,
    steps=1000,
    rate=0.02,
    dropout=0.0,
    decay=0.1,
    text=1_000_000,
    per_token=2.5,
)


def changed(**changes):
    return dataclasses.replace(USUAL, **changes)


@pytest.fixture(scope="module")
def fitting():
    """benchmarks/law.py as a module."""
    sys.path.insert(0, str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("fitting", BENCHMARKS / "law.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(BENCHMARKS))
    return module


def test_learning_is_bayesian_least_squares():
    """One training after the other comes to the same as all of them at once, by the normal equations."""
    law, random = shipped(), np.random.default_rng(0)
    recipes = [changed(steps=int(s), parameters=int(n)) for s, n in random.uniform(2e3, 2e5, (6, 2))]
    losses = random.normal(1.5, 0.1, len(recipes))
    learnt = law
    for recipe, loss in zip(recipes, losses, strict=True):
        learnt = learnt.learn(recipe, loss)
    X, prior = np.array([terms(recipe) for recipe in recipes]), np.linalg.inv(law.covariance)
    precision = prior + X.T @ X / law.noise**2
    mean = np.linalg.solve(precision, prior @ law.mean + X.T @ losses / law.noise**2)
    np.testing.assert_allclose(learnt.mean, mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(learnt.covariance, np.linalg.inv(precision), rtol=1e-3, atol=1e-7)


def test_a_difference_is_that_of_the_losses_and_knows_itself():
    law, other = shipped(), changed(steps=2000, parameters=400_000)
    gain, deviation = law.difference(other, USUAL)
    assert gain == pytest.approx(law.at(USUAL)[0] - law.at(other)[0])
    assert law.difference(USUAL, USUAL) == (0.0, 0.0) and 0 < deviation < law.at(other)[1]


def test_more_steps_of_a_text_that_is_not_used_up_are_worth_something():
    law = shipped()
    losses = [law.at(changed(steps=steps, text=10**9))[0] for steps in (100, 300, 1000, 3000)]
    assert losses == sorted(losses, reverse=True)


def test_pieces_win_while_the_text_is_new_and_lose_where_it_repeats():
    law, letters = shipped(), {"vocab_size": 65, "per_token": 1.0}
    for text, better in ((10**8, 1), (30_000, -1)):
        pieces = changed(text=text)
        same = changed(text=text, steps=pieces.seen / 1024, **letters)
        assert np.sign(law.difference(pieces, same)[0]) == better, text


def test_passes_over_a_text_are_worth_ever_less():
    worth = [unseen(passes * 1000, 1000) for passes in (1, 2, 3, 4, 8, 16)]
    gains = np.diff(worth)
    assert worth[0] == 1000 and (gains > 0).all() and worth[-1] < 3000
    assert unseen(16_000, 1000, dropout=0.1) > 1.5 * worth[-1]
    assert useful_characters(1000, 0.2) > useful_characters(1000)


def test_a_table_of_pairs_helps_while_the_text_is_new_and_learns_it_by_heart_where_it_repeats():
    law = shipped()
    for steps, text, better in ((200, 10**8, -1), (400, 10**5, 1)):
        with_table = changed(steps=steps, text=text)
        assert np.sign(law.difference(changed(steps=steps, text=text, table=False), with_table)[0]) == better
    assert useful_characters(1000, table=False) > useful_characters(1000)
    assert unseen(3000, 1000, table=False) > unseen(3000, 1000)
    for per_token in (2.5, 3.0, 3.5):  # the third pass is where a table learns pieces by heart
        passes = [useful_characters(1000, per_token=per_token, table=table) for table in (True, False)]
        assert passes[0] == 2000 and passes[1] >= 3000, per_token


def test_what_is_shipped_is_what_the_records_give(fitting):
    """The file is of this list of terms and these trainings: nobody has changed a number by hand."""
    stored, found = json.loads(SHIPPED.read_text(encoding="utf-8")), fitting.records()
    assert tuple(stored["terms"]) == TERMS and stored["trainings"] == len(found) > 250
    law = fitting.fitted(found)
    np.testing.assert_allclose(shipped().mean, law.mean, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(shipped().covariance, law.covariance, rtol=1e-2, atol=1e-4)


def test_the_law_of_a_made_up_world_is_found_again(fitting):
    """Texts with weights of their own around common ones: the common ones come out, and how far they lie apart."""
    random = np.random.default_rng(1)
    common, apart, noise = random.normal(0, 0.1, len(TERMS)), 0.03, 0.01
    found = []
    for text in range(12):
        own = common + random.normal(0, apart, len(TERMS))
        for _ in range(40):
            recipe = changed(
                parameters=int(np.exp(random.uniform(10, 14))),
                context=int(random.choice([64, 128, 256])),
                batch=int(random.choice([4, 8, 16, 32])),
                steps=int(np.exp(random.uniform(4.5, 7.5))),
                rate=float(np.exp(random.uniform(-5, -3))),
                dropout=float(random.choice([0, 0.1, 0.2])),
                decay=float(np.exp(random.uniform(-3.5, -1.2))),
                per_token=float(random.choice([1.0, 2.0, 3.0])),
                text=int(np.exp(random.uniform(12, 15))),
                table=bool(random.random() < 0.5),
            )
            found.append((str(text), recipe, float(terms(recipe) @ own + random.normal(0, noise)), 1.0))
    law = fitting.fitted(found)
    deviation = np.sqrt(np.diag(law.covariance))
    assert (np.abs(law.mean - common) < 3 * deviation).all() and law.noise == pytest.approx(noise, rel=0.2)
    assert 0.5 * apart < np.median(deviation) < 2.5 * apart
    assert Law(law.mean, law.covariance, law.noise).at(USUAL)[0] == pytest.approx(
        float(terms(USUAL) @ common), abs=0.5
    )


def test_out_of_its_texts_it_chooses_better_than_chance(fitting):
    """By the law of the other texts at most a third of what choosing at random would lose is lost."""
    found = fitting.records()
    for name in ("fables", "book", "de"):
        law = fitting.fitted([one for one in found if fitting.family(one[0]) != name])
        rows = fitting.comparisons(law, [one for one in found if fitting.family(one[0]) == name])
        lost, chance = np.mean([(row[2], row[3]) for row in rows], axis=0)
        assert len(rows) >= 10 and lost < 0.35 * chance, name
