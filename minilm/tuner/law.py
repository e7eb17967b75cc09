"""Expects the loss of a training before it runs: a law, linear in its weights, fitted to recorded trainings.

A loss falls with the parameters N and with the characters D that are seen (Hoffmann et al., 2022, arXiv:2203.15556,
equation 2; between our sizes the first of its powers is no other than a logarithm); what was seen before counts for
less (Muennighoff et al., 2023, arXiv:2305.16264, section 3). The other terms say what steps, context, pieces, rate,
dropout and a table of pairs add. The sum is linear in its weights, so that they and their covariance come in closed
form (Bayesian linear regression). Every text has weights of its own around common ones; how far they lie apart was
estimated with them, and is the uncertainty about a text that is new. Only differences between recipes of one text are
meant to be used: of the text itself the law knows no more than its length.

`python benchmarks/law.py fit` fits it to the trainings that are recorded there and writes law.json.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from minilm.config import ModelConfig, TrainConfig

SHIPPED = Path(__file__).with_name("law.json")
POWER = 0.3  # of the characters seen; a larger one, or a logarithm, says worse what a long training comes to
FURTHER, PER_DROPOUT = 2.0, 20.0  # first passes that all further ones are worth together
BARE = 1.5  # more of them without a table of pairs, which is what learns by heart first
USUAL_DECAY = 0.1  # from which decays are counted, as logarithms
# The best rate falls with the tokens that will be seen, as this power of them (for Muon: HyperP, arXiv:2603.28743);
# up to RATED_TOKENS the default's is near the best: it was tuned at so many. Rates are counted from there.
RATE_POWER, RATED_TOKENS = -0.32, 1_024_000
PASSES, ROW_TOKENS = 2, 20  # and tokens for each row: from where a missing table of pairs is counted
USED_UP = 1.8  # e-folds of what further passes are worth, after which little of it is left
TERMS = (
    *("the text", "still unlearnt", "size", "few steps", "characters of a step"),
    *("characters of a step where they repeat", "context", "context while much is unlearnt"),
    *("characters of a token", "characters of a token where they repeat"),
    *("the same, by vocabulary", "rate", "rate, squared", "dropout", "decay"),
    *("no table of pairs", "no table of pairs, by passes", "no table of pairs, by text"),
)


@dataclass(frozen=True)
class Recipe:
    """What the law looks at in a training on a text."""

    parameters: int  # of the layers' matrices
    vocab_size: int
    context: int  # tokens
    batch: int  # windows of a step
    steps: float
    rate: float
    dropout: float
    decay: float
    text: int  # characters of the training split
    per_token: float  # characters of a token, on average
    table: bool = True  # of pairs

    @property
    def seen(self) -> float:
        """Characters, over all steps."""
        return self.steps * self.batch * self.context * self.per_token


def terms(recipe: Recipe) -> np.ndarray:
    """What the loss is a sum of, each to be weighted, (TERMS,)."""
    fresh, bare = unseen(recipe.seen, recipe.text, recipe.dropout, recipe.table), float(not recipe.table)
    left, repeated = (fresh / 1e6) ** -POWER, 1 - fresh / recipe.seen
    size, step = math.log(recipe.parameters / 1e5), math.log(recipe.seen / recipe.steps / 1024)
    reach, pieces = math.log(recipe.context * recipe.per_token / 128), math.log(recipe.per_token)
    rate = math.log(recipe.rate / rate_for(recipe.steps * recipe.batch * recipe.context))
    decay, vocabulary = math.log(recipe.decay / USUAL_DECAY), math.log(recipe.vocab_size / 1000)
    again = min(max(recipe.seen / recipe.text - PASSES, 0), 1)
    rows = ModelConfig(recipe.vocab_size).bigram_rows
    return np.array(
        [1.0, left, size, 100 / recipe.steps, step, step * repeated, reach, reach * left]
        + [pieces, pieces * repeated, pieces * repeated * vocabulary, rate, rate**2, recipe.dropout, decay]
        + [bare, bare * again, bare * math.log(recipe.text / recipe.per_token / rows / ROW_TOKENS)]
    )


def rate_for(tokens: float) -> float:
    """Muon's highest learning rate for a training that will see so many tokens.

    >>> rate_for(500_000), round(rate_for(10_240_000), 4)
    (0.03, 0.0144)
    """
    return TrainConfig.learning_rate * max(tokens / RATED_TOKENS, 1.0) ** RATE_POWER


def further(dropout: float = 0.0, table: bool = True) -> float:
    """How many first passes all further passes over a text are worth together."""
    return FURTHER + PER_DROPOUT * dropout + BARE * (not table)


def unseen(seen: float, text: int, dropout: float = 0.0, table: bool = True) -> float:
    """How many characters, never seen before, would teach as much as these on a text of so many.

    >>> [round(unseen(seen, 1000)) for seen in (800, 2000, 10**6)], round(unseen(10**6, 1000, dropout=0.1))
    ([800, 1787, 3000], 5000)
    """
    worth = text * further(dropout, table)
    return min(seen, text) + worth * (1 - math.exp(-max(seen - text, 0) / worth))


def useful_characters(text: int, dropout: float = 0.0, per_token: float = 1.0, table: bool = True) -> int:
    """Characters to be seen, after which a text of so many has hardly anything left to tell: whole passes, since a text
    is learnt by heart from the beginning of one. The longer its tokens, the fewer there are of them, and the sooner.

    >>> useful_characters(1000), useful_characters(1000, dropout=0.1), useful_characters(1000, per_token=2.5)
    (5000, 8000, 2000)
    """
    return text * round(1 + USED_UP * further(dropout, table) / per_token)


@dataclass(frozen=True)
class Law:
    """Weights (K,) and their covariance (K, K); `noise` is the deviation of a training from the sum, in nats."""

    mean: np.ndarray
    covariance: np.ndarray
    noise: float

    def at(self, recipe: Recipe) -> tuple[float, float]:
        """The loss that is expected on a text that is new, in nats per character, and the deviation of that: wide."""
        x = terms(recipe)
        return float(x @ self.mean), math.sqrt(x @ self.covariance @ x + self.noise**2)

    def difference(self, one: Recipe, other: Recipe) -> tuple[float, float]:
        """How much lower `one` is expected to end than `other`, and the deviation of that; the noise of the trainings
        comes on top."""
        apart = terms(other) - terms(one)
        return float(apart @ self.mean), math.sqrt(max(apart @ self.covariance @ apart, 0.0))

    def learn(self, recipe: Recipe, loss: float) -> Law:
        """The law after one more training (Bishop, 2006, equations 3.50 and 3.51)."""
        x = terms(recipe)
        gain = self.covariance @ x / (x @ self.covariance @ x + self.noise**2)
        mean = self.mean + gain * (loss - x @ self.mean)
        return Law(mean, self.covariance - np.outer(gain, x @ self.covariance), self.noise)


@lru_cache(maxsize=1)
def shipped() -> Law:
    """The law of a text that nothing is known of, from law.json."""
    stored = json.loads(SHIPPED.read_text(encoding="utf-8"))
    assert tuple(stored["terms"]) == TERMS, "law.json is of another list of terms: benchmarks/law.py fit"
    return Law(np.array(stored["mean"]), np.array(stored["covariance"]), stored["noise"])
