"""Chooses the recipe of the final training: Hyperopt's `fmin` minimises the law over imagined trainings of this text.

An imagined training costs nothing: the price of a step says how many steps the seconds buy, the law what they come to.
What is minimised is the expected loss and half a deviation more, counted from a usual recipe: the farther from there,
the less a promise is worth. Nothing is trained here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from hyperopt import STATUS_FAIL, STATUS_OK, hp
from hyperopt import fmin as minimise
from hyperopt.fmin import generate_trials_to_calculate

from minilm.text.tokenizers import CHARACTERS, auto_tokens
from minilm.tuner.algorithms import ALGORITHMS
from minilm.tuner.budget import FEWEST_STEPS, Prices, parameters
from minilm.tuner.law import Law, Recipe, shipped, useful_characters
from minilm.tuner.propose import SearchSpace, plain
from minilm.tuner.space import (
    Draw,
    Limits,
    Point,
    default_point,
    dimensions,
    refusal,
    to_configs,
    to_hyperopt,
)

PIECES = (512, 1024, 2048, 4096)  # vocabularies that are looked at,
LONGER = 1.12  # while twice as many pieces make a token so much longer; where less, they gained nothing: RESULTS.md
SURE = 0.5  # deviations: seven of ten trainings end lower
MIDDLE: Point = {"num_layers": 2, "hidden_size": 96, "batch_size": 8}
FIRST = ((2, 96), (3, 160), (3, 256), (4, 384))  # layers and hidden sizes from which the algorithm sets out
IMAGINED = 150  # trainings, two seconds of Hyperopt's time
KNOWN = {  # where most of the trainings lie that the law was fitted to
    "num_layers": (2, 4),
    "hidden_size": (64, 384),
    "learning_rate": (0.007, 0.045),
    "batch_size": (8, 32),
    "dropout": (0.0, 0.2),
    "weight_decay": (0.03, 0.3),
    "block_size": (128, 256),
}
# A training split of fewer characters is learnt by heart within a few usual steps (benchmarks/RESULTS.md, 2026-11-30).
SHORT: dict[int, dict[str, tuple[float, float]]] = {
    40_000: {"num_layers": (2, 3), "hidden_size": (64, 160), "batch_size": (2, 8), "block_size": (64, 128)},
    100_000: {"num_layers": (2, 3), "hidden_size": (64, 160), "batch_size": (4, 8)},
}


@dataclass(frozen=True)
class Text:
    """What the law knows of a text: the characters of its training split, and of each choice of tokens that there is
    ("characters", "bpe:1024", ...) the size of the vocabulary and the characters of a token, on average."""

    characters: int
    tokens: Mapping[str, tuple[int, float]]


@dataclass(frozen=True)
class Choice:
    """The recipe that is chosen; `looked` are the draws that `fmin` tried, with their losses."""

    point: Point  # with its "tokens"
    expected: float  # nats per character
    sd: float
    looked: tuple[tuple[Draw, float | None], ...] = ()
    share: float = 1.0  # of the seconds, for this training; the rest is for a second model


@dataclass(frozen=True)
class Outlook:
    """What the law expects of trainings of a text on this machine."""

    prices: Prices
    text: Text
    limits: Limits
    law: Law = dataclasses.field(default_factory=shipped)
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # settings that are not to be chosen

    def recipe(self, point: Point, seconds: float) -> Recipe:
        """The training that the point means with so many seconds; no longer than the text is good for."""
        vocab_size, per_token = self.text.tokens[point["tokens"]]
        model, train = to_configs(without_tokens(point), vocab_size, self.limits)
        step_tokens = train.batch_size * model.block_size
        steps = min(seconds / self.prices.step(model, train), self.useful_tokens(point) / step_tokens)
        return Recipe(
            parameters=parameters(model),
            vocab_size=vocab_size,
            context=model.block_size,
            batch=train.batch_size,
            steps=max(1.0, steps),
            rate=train.learning_rate,
            dropout=model.dropout,
            decay=train.weight_decay,
            text=self.text.characters,
            per_token=per_token,
            table=model.bigrams,
        )

    def useful_tokens(self, point: Point) -> int:
        """Tokens after which the text has hardly anything left to tell a model of this recipe."""
        (_, each), (model, _) = self.text.tokens[point["tokens"]], to_configs(without_tokens(point), 2)
        return int(useful_characters(self.text.characters, model.dropout, each, model.bigrams) / each)

    def at(self, point: Point, seconds: float) -> tuple[float, float]:
        """The loss to expect after so many seconds of training, and its standard deviation, in nats per character."""
        return self.law.at(self.recipe(point, seconds))

    def difference(self, point: Point, other: Point, seconds: float) -> tuple[float, float]:
        """How much lower `other` is expected to end than `point`, and the standard deviation of that."""
        return self.gain_of_time(point, seconds, other, seconds)

    def gain_of_time(self, point: Point, seconds: float, other: Point, longer: float) -> tuple[float, float]:
        """How much lower `other` is expected to end after `longer` seconds than `point` after so many, with the
        standard deviation of that."""
        return self.law.difference(self.recipe(other, longer), self.recipe(point, seconds))

    def why_not(self, point: Point, seconds: float) -> str | None:
        """Why a training is not imagined: there is no memory for it, or too few steps; or None."""
        vocab_size, _ = self.text.tokens[point["tokens"]]
        unhurried = Limits(self.limits.block_size, float("inf"), self.limits.memory)
        if why := refusal(without_tokens(point), vocab_size, unhurried):
            return why
        model, train = to_configs(without_tokens(point), vocab_size, self.limits)
        step_tokens, steps = train.batch_size * model.block_size, seconds / self.prices.step(model, train)
        least = ranges(self.text.characters)["batch_size"][0] * default_point(self.limits)["block_size"]
        if step_tokens > least:  # else there are hardly more steps to be had from the text
            steps = min(steps, self.useful_tokens(point) / step_tokens)
        return f"{steps:.0f} steps are too few" if steps < FEWEST_STEPS else None


def default_of(outlook: Outlook) -> Point:
    """The default recipe on the first of the text's tokens."""
    return {**default_point(outlook.limits), "bigrams": True, "tokens": next(iter(outlook.text.tokens))}


def middle_of(outlook: Outlook, seconds: float) -> Point:
    """A recipe of a usual kind, on tokens that suit the text; with a table of pairs or without, as the law expects."""
    text = outlook.text
    suited = auto_tokens(text.characters, text.tokens.get(CHARACTERS, (0, 1.0))[0])
    short = {"batch_size": 4, "block_size": 64} if text.characters < min(SHORT) else {}
    tokens = {"tokens": suited} if suited in text.tokens else {}
    usual = {**default_of(outlook), **MIDDLE, **short, **tokens}
    both = [{**usual, "bigrams": table, **outlook.fixed} for table in (True, False)]
    return min(both, key=lambda point: outlook.at(point, seconds)[0])


def ranges(characters: int) -> dict[str, tuple[float, float]]:
    """Where the recipes lie of which it is known what they do to a training split of so many characters."""
    return KNOWN | next((short for most, short in SHORT.items() if characters < most), {})


def space_for(limits: Limits, characters: int, tokens: Iterable[str], fixed: Collection[str]) -> SearchSpace:
    """What `fmin` imagines trainings of: recipes in the `ranges` for so many characters, without what is `fixed`."""
    known, where = [], ranges(characters)
    for d in dimensions(limits):
        low, high = where[d.name]
        step = d.step and min(d.step, low or d.step)
        known.append(dataclasses.replace(d, low=low, high=min(d.high, high), step=step))
    choices = {"bigrams": hp.choice("bigrams", [True, False]), "tokens": hp.choice("tokens", list(tokens))}
    named = {**to_hyperopt(tuple(known)), **choices}.items()
    return SearchSpace({name: one for name, one in named if name not in fixed}, default_point(limits))


def choose(outlook: Outlook, seconds: float, seed: int, algo: str = "tpe") -> Choice:
    """The recipe of which the law expects most after so many seconds of training, as far as it is sure.

    The default recipe is imagined first, then some sizes on each of the tokens, with a table of pairs and without.
    """
    space = space_for(outlook.limits, outlook.text.characters, outlook.text.tokens, outlook.fixed)
    default, middle = {**default_of(outlook), **outlook.fixed}, middle_of(outlook, seconds)
    few = FIRST[: 2 if outlook.text.characters < max(SHORT) else None]
    spots = product((0, 1), range(len(outlook.text.tokens)), few)  # of choices, as Hyperopt counts them
    sizes = [{"bigrams": b, "tokens": k, "num_layers": L, "hidden_size": C} for b, k, (L, C) in spots]
    first = [default | {"bigrams": 0, "tokens": 0}, *(middle | size for size in sizes)]
    trials = generate_trials_to_calculate([{name: p[name] for name in space.expression} for p in first])

    def imagined(settings: Mapping[str, Any]) -> dict[str, Any]:
        point = {**default, **plain(settings)}
        if point != default and outlook.why_not(point, seconds):
            return {"status": STATUS_FAIL}
        gain, deviation = outlook.difference(middle, point, seconds)
        return {"status": STATUS_OK, "loss": SURE * deviation - gain, "point": point}

    draw, quiet = np.random.default_rng(seed), dict.fromkeys(("show_progressbar", "verbose"), False)
    minimise(imagined, space.expression, ALGORITHMS[algo], IMAGINED, trials=trials, rstate=draw, **quiet)
    best = min((r for r in trials.results if r["status"] == STATUS_OK), key=lambda result: result["loss"])
    looked = tuple(
        ({label: plain(values[0]) for label, values in doc["misc"]["vals"].items() if len(values)}, loss)
        for doc, loss in zip(trials.trials, trials.losses(), strict=True)
    )
    return Choice(best["point"], *outlook.at(best["point"], seconds), looked)


def without_tokens(point: Mapping[str, Any]) -> Point:
    """The point without its tokens, which are the corpus's."""
    return {name: value for name, value in point.items() if name != "tokens"}
