"""Offers the objective for Hyperopt's own `fmin`: `train_model` trains one point and answers with its loss."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from minilm.config import default_recipe
from minilm.errors import ConfigError
from minilm.text.corpora import Corpus, load_corpus
from minilm.tuner.propose import plain
from minilm.tuner.rungs import Ladder
from minilm.tuner.settings import TrialBudget, trial_steps
from minilm.tuner.space import Limits, Point, limits_for, refusal, to_configs
from minilm.tuner.trial import Task, leg_of, run_leg

SMALLEST_HIDDEN = 8
NAMES = {"lr": "learning_rate", "layers": "num_layers", "hidden": "hidden_size", "n_layers": "num_layers"}


def train_model(
    params: Mapping[str, Any] | None = None, *, corpus: Corpus | str | None = None, **settings: Any
) -> dict[str, Any]:
    """See `minilm.tune.train_model`."""
    point = named_values({**(params or {}), **settings})
    if not isinstance(corpus, Corpus):
        corpus = load_corpus(corpus or os.environ.get("MINILM_CORPUS", "fables"))
    V, limits = corpus.tokenizer.vocab_size, limits_for(len(corpus.train))
    _, train = to_configs(point, V)  # a misspelt name is the caller's mistake, not a failed trial
    point = repaired(point, V, limits)
    leg = leg_of(TrialBudget(steps=trial_steps()), Ladder((1.0,)), 0, train)
    answer = run_leg(Task(point, corpus.describe(), limits, leg, threads=None))
    status = "fail" if answer["loss"] is None else "ok"
    told = {key: value for key, value in answer.items() if value is not None}
    return {**told, "status": status, "params": point}


def named_values(params: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a trial in Python's own numbers; what stands below another key, as in a conditional space, is
    merged.

    >>> import numpy as np
    >>> named_values({"kind": {"num_layers": np.float64(2.0)}, "lr": 0.01})
    {'num_layers': 2, 'learning_rate': 0.01}
    """
    values: dict[str, Any] = {}
    for name, value in plain(dict(params)).items():
        inner = named_values(value) if isinstance(value, dict) else {NAMES.get(name, name): value}
        if twice := sorted(inner.keys() & values.keys()):
            raise ConfigError(f"a trial must give {twice[0]} once, got it twice; take one of them out")
        values |= inner
    for name, least in (
        ("hidden_size", SMALLEST_HIDDEN),
        ("n_embd", SMALLEST_HIDDEN),
        ("num_layers", 1),
        ("n_layer", 1),
    ):
        value = values.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value < least:
            raise ConfigError(
                f"{name} must be at least {least}, got {value:g}, which looks like an index of hp.choice as fmin "
                "returns it; pass hyperopt.space_eval(space, best)"
            )
    return values


def repaired(point: Mapping[str, Any], vocab_size: int, limits: Limits) -> Point:
    """The point with its batch halved until it is not refused, for a caller that has to train this point.

    As it is where that does not help.

    >>> repaired({"num_layers": 3, "hidden_size": 256, "batch_size": 32}, 65, limits_for(10**6))["batch_size"]
    4
    """
    batch, found = default_recipe()[1].batch_size, dict(point)
    batch = int(point.get("batch_size", batch))
    while refusal(found, vocab_size, limits) is not None and batch > 1:
        batch //= 2
        found["batch_size"] = batch
    return dict(point) if refusal(found, vocab_size, limits) is not None else found
