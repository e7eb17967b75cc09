"""Chooses the recipe of the final training: Hyperopt's `fmin` looks at imagined trainings, a law says what to expect.

Tokens, layers, hidden size, context, batch and dropout come out of it; arithmetic only, nothing is trained. All that
the rest of the tuner knows of the law is `Outlook` and `choose`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hyperopt import STATUS_FAIL, STATUS_OK, Trials, fmin, hp

from minilm.text.tokenizers import CHARACTERS, auto_tokens, piece_count
from minilm.tuner.algorithms import ALGORITHMS
from minilm.tuner.budget import Prices
from minilm.tuner.propose import SearchSpace
from minilm.tuner.sizing import (
    BATCH_TOKENS,
    CONTEXTS,
    FEWEST_STEPS,
    PARAMETERS_PER_CHARACTER,
    expected,
    parameters,
    rate_for,
    useful_tokens,
)
from minilm.tuner.space import DEFAULT_POINT, Draw, Limits, Point, default_point, refusal, to_configs

IMAGINED = 150  # trainings; a second of Hyperopt's time
LEVEL, UNSURE = 2.0, 0.8  # nats per character: where texts lie on average, and how far from it
APART = 0.02  # nats per character; how far off a difference between two recipes is


@dataclass(frozen=True)
class Text:
    """What the law knows of a text: its training split, and its tokens where they are settled."""

    characters: int  # of the training split
    different: int  # characters
    tokens: str | None = None  # "characters", "bpe:N"; None: to be chosen
    vocab_size: int | None = None
    per_token: float = 1.0  # characters


@dataclass(frozen=True)
class Choice:
    """The recipe that is expected to end lowest; `looked` are the draws that `fmin` tried, with their losses."""

    point: Point  # with its "tokens"
    expected: float  # nats per character
    sd: float
    looked: tuple[tuple[Draw, float | None], ...] = ()


@dataclass(frozen=True)
class Outlook:
    """What the law expects of trainings of a text on this machine."""

    prices: Prices
    text: Text
    limits: Limits
    core_seconds: float  # of the whole training, for the rule about tokens

    @property
    def tokens(self) -> str:
        return self.text.tokens or auto_tokens(self.text.characters, self.text.different, self.core_seconds)

    @property
    def vocab_size(self) -> int:
        return self.text.vocab_size or piece_count(self.tokens) or self.text.different

    @property
    def open_tokens(self) -> tuple[str, ...]:
        """The tokens between which the law can tell."""
        return (self.tokens,)

    def steps(self, point: Mapping[str, Any], seconds: float) -> int:
        """How many steps so many seconds pay for, no more than the text is good for."""
        model, train = to_configs(_settings(point), self.vocab_size, self.limits)
        useful = self.useful_tokens(point) / (train.batch_size * model.block_size)
        return max(1, int(min(seconds / self.prices.step(model, train), useful)))

    def useful_tokens(self, point: Mapping[str, Any]) -> int:
        """Tokens after which the text has hardly anything left to tell a model of this recipe."""
        characters = useful_tokens(self.text.characters, float(point.get("dropout", 0.0)))
        return int(characters / (self.text.per_token if self.tokens != CHARACTERS else 1.0))

    def at(self, point: Mapping[str, Any], seconds: float) -> tuple[float, float]:
        """The loss to expect after so many seconds of training, and its standard deviation, in nats per character."""
        model, train = to_configs(_settings(point), self.vocab_size, self.limits)
        tokens = self.steps(point, seconds) * train.batch_size * model.block_size
        per_step = min(train.batch_size * model.block_size, BATCH_TOKENS)
        size, characters = parameters(model), int(self.text.characters / self.text.per_token)
        found = expected(size, tokens, characters, model.dropout, model.block_size, per_step)
        return LEVEL + found, UNSURE

    def difference(
        self, point: Mapping[str, Any], other: Mapping[str, Any], seconds: float
    ) -> tuple[float, float]:
        """How much lower `other` is expected to end than `point`, and the standard deviation of that."""
        return self.gain_of_time(point, seconds, other, seconds)

    def gain_of_time(
        self, point: Mapping[str, Any], seconds: float, other: Mapping[str, Any], longer: float
    ) -> tuple[float, float]:
        """How much lower `other` is expected to end after `longer` seconds than `point` after so many, with the
        standard deviation of that."""
        gain = self.at(point, seconds)[0] - self.at(other, longer)[0]
        return gain, min(APART, abs(gain))


def space_for(limits: Limits) -> SearchSpace:
    """What `fmin` imagines trainings of."""
    contexts = [size for size in CONTEXTS if size <= limits.block_size] or [limits.block_size]
    return SearchSpace(
        {
            "num_layers": hp.uniformint("num_layers", 1, 4),
            "hidden_size": hp.qloguniform("hidden_size", math.log(64), math.log(256), 32),
            "block_size": hp.choice("block_size", contexts),
            "batch_size": hp.choice("batch_size", [8, 16, 32]),
            "dropout": hp.choice("dropout", [0.0, 0.1]),
        },
        default_point(limits),
    )


def choose(outlook: Outlook, seconds: float, seed: int, algo: str = "tpe") -> Choice:
    """The recipe for so many seconds of training."""
    space, trials = space_for(outlook.limits), Trials()

    def imagined(settings: Mapping[str, Any]) -> dict[str, Any]:
        point = {**DEFAULT_POINT, **settings}
        loss = None if _unwise(outlook, point, seconds) else outlook.at(point, seconds)[0]
        return {"status": STATUS_FAIL} if loss is None else {"status": STATUS_OK, "loss": loss}

    fmin(
        imagined,
        space.expression,
        algo=ALGORITHMS[algo],
        max_evals=IMAGINED,
        trials=trials,
        rstate=np.random.default_rng(seed),
        show_progressbar=False,
        verbose=False,
    )
    looked = tuple(
        ({label: values[0].item() for label, values in doc["misc"]["vals"].items() if len(values)}, loss)
        for doc, loss in zip(trials.trials, trials.losses(), strict=True)
    )
    good = [one for one in looked if one[1] is not None]
    draw, _ = min(good, key=lambda one: one[1] or 0.0) if good else ({}, None)
    point = {**DEFAULT_POINT, **space.point(draw)} if draw else default_point(outlook.limits)
    point["learning_rate"] = rate_for(
        outlook.steps(point, seconds) * point["batch_size"] * point["block_size"]
    )
    point = {**point, "tokens": outlook.tokens}
    return Choice(point, *outlook.at(point, seconds), looked)


def _unwise(outlook: Outlook, point: Point, seconds: float) -> bool:
    """Whether the law was not made for such a training, or there is no memory for it."""
    unhurried = Limits(outlook.limits.block_size, math.inf, outlook.limits.memory)
    if refusal(point, outlook.vocab_size, unhurried) is not None:
        return True
    model, train = to_configs(point, outlook.vocab_size, outlook.limits)
    steps = int(seconds / outlook.prices.step(model, train))
    too_large = parameters(model) > PARAMETERS_PER_CHARACTER * outlook.text.characters and model.n_embd > 64
    smallest = (model.n_layer, model.n_embd, train.batch_size) == (2, 64, 8)
    hasty = steps < FEWEST_STEPS and not smallest
    return too_large or hasty or model.n_layer < 2 or train.batch_size * model.block_size > BATCH_TOKENS


def _settings(point: Mapping[str, Any]) -> Point:
    """The point without its tokens, which are the corpus's."""
    return {name: value for name, value in point.items() if name != "tokens"}
