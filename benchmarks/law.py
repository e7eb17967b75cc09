"""Fits a law of the loss to recorded trainings, and tests it on texts that it was not fitted to.

    python benchmarks/law.py fit      prints the weights
    python benchmarks/law.py test     each text left out in turn, its excerpts with it

A loss falls with the parameters N and with the characters D that are seen (Hoffmann et al., 2022, arXiv:2203.15556,
equation 2; between our sizes A / N^a is no other than a logarithm); what was seen before counts for less (Muennighoff
et al., 2023, arXiv:2305.16264, section 3). The sum is linear in its weights, so that what trainings teach about them
is Bayesian least squares. Every text has weights of its own around the common ones; how far they lie apart is
estimated with them (empirical Bayes, by expectation-maximisation). A text that is new is expected to lie as far apart
as those did.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common  # noqa: F401  # puts the package on the path
import numpy as np

from minilm.config import ModelConfig
from minilm.tuner.sizing import parameters

HERE = Path(__file__).parent
SHORT, SHAKESPEARE = "shakespeare, seven seconds", 1_003_854  # characters of its training split
MOST_RATE, FEWEST_TOKENS = 0.07, 100_000  # beyond, the law is not meant to hold
ROUNDS = 60  # of expectation-maximisation
WIDE = 3.0  # deviation of a common weight before any training is seen, in nats
START, LEAST = 0.1, 1e-4  # spread of the texts' own weights at first, and at least


POWER = 0.7  # of the characters seen; the data leave it open between 0.5 and 0.9
FURTHER, FURTHER_PER_DROPOUT = 2.0, 20.0  # first passes that all further ones are worth together
TERMS = (
    "the text",
    "still unlearnt",
    "size",
    "size while much is unlearnt",
    "context",
    "context while much is unlearnt",
    "few steps",
    "few steps of a large model",
    "characters of a step",
    "characters of a step while much is unlearnt",
    "characters of a step where they repeat",
    "dropout",
    "characters of a token",
    "characters of a token while much is unlearnt",
    "vocabulary while much is unlearnt",
    "rate",
    "rate, squared",
    "rate and characters seen",
)


@dataclass(frozen=True)
class Recipe:
    """What the law looks at in a training of so many `tokens` on a text."""

    parameters: int  # of the layers' matrices
    vocab_size: int
    context: int  # tokens
    step_tokens: int
    tokens: float  # seen in the training
    rate: float
    dropout: float
    text: int  # characters of the training split
    per_token: float  # characters of a token, on average


def terms(recipe: Recipe) -> np.ndarray:
    """What the loss is a sum of, each to be weighted, (TERMS,)."""
    seen = recipe.tokens * recipe.per_token
    fresh = unseen(seen, recipe.text, recipe.dropout)
    left = (fresh / 1e6) ** -POWER
    size, reach = math.log(recipe.parameters / 1e5), math.log(recipe.context * recipe.per_token / 128)
    rate, pieces = math.log(recipe.rate / 0.03), math.log(recipe.per_token)
    few = 1000 * recipe.step_tokens / recipe.tokens
    step = math.log(recipe.step_tokens * recipe.per_token / 1024)
    vocabulary = math.log(recipe.vocab_size / 64) * left if pieces else 0.0
    return np.array(
        [1.0, left, size, size * left, reach, reach * left, few, few * size]
        + [step, step * left, step * (1 - fresh / seen)]
        + [recipe.dropout]
        + [pieces, pieces * left, vocabulary, rate, rate**2, rate * math.log(seen / 1e6)]
    )


def unseen(seen: float, text: int, dropout: float = 0.0) -> float:
    """How many characters, never seen before, would teach as much as these on a text of so many.

    >>> [round(unseen(seen, 1000)) for seen in (800, 2000, 10**6)], round(unseen(10**6, 1000, dropout=0.1))
    ([800, 1787, 3000], 5000)
    """
    worth = text * (FURTHER + FURTHER_PER_DROPOUT * dropout)
    return min(seen, text) + worth * (1 - math.exp(-max(seen - text, 0) / worth))


@dataclass
class Law:
    """Weights (K,) and their covariance (K, K); `noise` is the deviation of a training from the sum, in nats."""

    mean: np.ndarray
    covariance: np.ndarray
    noise: float

    def at(self, recipe: Recipe) -> float:
        """The loss that is expected, in nats per character."""
        return float(terms(recipe) @ self.mean)

    def difference(self, one: Recipe, other: Recipe) -> tuple[float, float]:
        """How much lower `one` is expected to end than `other`, and the deviation of that, training noise included."""
        apart = terms(other) - terms(one)
        return float(apart @ self.mean), math.sqrt(apart @ self.covariance @ apart + 2 * self.noise**2)

    def learn(self, recipe: Recipe, loss: float) -> Law:
        """The law after one more training (Bayesian linear regression; Bishop, 2006, equations 3.50 and 3.51)."""
        x = terms(recipe)
        gain = self.covariance @ x / (x @ self.covariance @ x + self.noise**2)
        mean = self.mean + gain * (loss - x @ self.mean)
        covariance = self.covariance - np.outer(gain, x @ self.covariance)
        return Law(mean, covariance, self.noise)


def records() -> list[tuple[str, Recipe, float]]:
    """(text, recipe, validation loss) of every recorded training."""
    found = []
    for path in sorted(HERE.glob("trainings*.jsonl")):
        for line in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            found.append((Path(line["texts"]).stem, recipe_of(line), line["val"]))
    for line in map(json.loads, (HERE / "sizing.jsonl").read_text(encoding="utf-8").splitlines()):
        found.append((line["corpus"], old_recipe_of(line), line["val_loss"]))
    return found + short_trainings()


def short_trainings() -> list[tuple[str, Recipe, float]]:
    """Those on which algorithms are raced: 7 seconds each, many rates; the highest rates, which diverge, left out."""
    table = np.load(HERE / "race" / "recorded.npz")
    names = ("num_layers", "hidden_size", "block_size", "batch_size", "learning_rate")
    found = []
    points = itertools.product(*(table[f"grid_{name}"].tolist() for name in names))
    for point, steps, loss in zip(
        points, table["steps"].tolist(), table["finals"][:, 0].tolist(), strict=True
    ):
        layers, width, context, batch, rate = point
        if rate <= MOST_RATE and steps * batch * context >= FEWEST_TOKENS and math.isfinite(loss):
            line = {
                "parameters": parameters(
                    ModelConfig(vocab_size=65, n_layer=int(layers), n_embd=int(width), n_head=1)
                ),
                "block_size": int(context),
                "batch_size": int(batch),
                "tokens": int(steps * batch * context),
                "passes": steps * batch * context / SHAKESPEARE,
                "learning_rate": rate,
                "dropout": 0.0,
            }
            found.append((SHORT, old_recipe_of(line), loss))
    return found


def recipe_of(line: dict[str, Any]) -> Recipe:
    width = line["hidden"]
    model = ModelConfig(vocab_size=line["vocab_size"], n_layer=line["layers"], n_embd=width, n_head=1)
    return Recipe(
        parameters(model),
        line["vocab_size"],
        line["contexts"],
        line["batches"] * line["contexts"],
        line["tokens_seen"],
        line["rates"],
        line["dropouts"],
        line["train_characters"],
        line["train_characters"] / line["train_tokens"],
    )


def old_recipe_of(line: dict[str, Any]) -> Recipe:
    context = line.get("block_size", 128)
    return Recipe(
        line["parameters"],
        64,
        context,
        line["batch_size"] * context,
        line["tokens"],
        line.get("learning_rate", 0.03),
        line["dropout"],
        round(line["tokens"] / line["passes"]),
        1.0,
    )


def fitted(found: list[tuple[str, Recipe, float]]) -> tuple[Law, dict[str, np.ndarray]]:
    """The law of a new text, and the weights of each text."""
    names = list(dict.fromkeys(text for text, _, _ in found))
    sides = {}
    for name in names:
        rows = [(terms(recipe), loss) for text, recipe, loss in found if text == name]
        sides[name] = (np.array([x for x, _ in rows]), np.array([y for _, y in rows]))
    K, noise = len(TERMS), 0.02
    mean, common_cov, spread = np.zeros(K), np.eye(K) * WIDE**2, np.full(K, START)
    spread[0] = 1.0
    own = dict.fromkeys(names, mean)
    for _ in range(ROUNDS):
        # each text's rows tell of mean + own; marginalise the own part for the common one
        precision, shift = np.eye(K) / WIDE**2, np.zeros(K)
        for X, y in sides.values():
            S = X * spread**2 @ X.T + noise**2 * np.eye(len(y))
            weighted = np.linalg.solve(S, X)
            precision += X.T @ weighted
            shift += weighted.T @ y
        common_cov = np.linalg.inv(precision)
        mean = common_cov @ shift
        squares, errors, count = np.zeros(K), 0.0, 0
        for name, (X, y) in sides.items():
            post = np.linalg.inv(X.T @ X / noise**2 + np.diag(1 / spread**2))
            apart = post @ X.T @ (y - X @ mean) / noise**2
            own[name] = mean + apart
            squares += apart**2 + np.diag(post)
            error = y - X @ own[name]
            errors += error @ error + np.trace(X @ post @ X.T)
            count += len(y)
        spread = np.sqrt(squares / len(names)).clip(LEAST)
        noise = math.sqrt(errors / count)
    return Law(mean, common_cov + np.diag(spread**2), noise), own


def family(text: str) -> str:
    """A text and its excerpts, which must be left out together.

    >>> family("shakespeare, seven seconds"), family("shakespeare200k")
    ('shakespeare', 'shakespeare')
    """
    return text.partition(",")[0].rstrip("0123456789k")


def fit() -> None:
    found = records()
    law, own = fitted(found)
    deviation = np.sqrt(np.diag(law.covariance))
    for name, weight, apart in zip(TERMS, law.mean, deviation, strict=True):
        print(f"{weight:+.4f} +- {apart:.4f}  {name}")
    print(f"{len(found)} trainings of {len(own)} texts, noise {law.noise:.4f}")


def test() -> None:
    """Each text in turn: all differences between its trainings, said by the others' law."""
    found = records()
    print("| text | trainings | rms of differences | without the law | 90 % intervals that held |")
    print("|---|---|---|---|---|")
    for name in dict.fromkeys(text for text, _, _ in found):
        law, _ = fitted([one for one in found if family(one[0]) != family(name)])
        mine = [(recipe, loss) for text, recipe, loss in found if text == name]
        errors, plain, held = [], [], []
        for i, (one, loss) in enumerate(mine):
            for other, other_loss in mine[:i]:
                expected, deviation = law.difference(one, other)
                errors.append(other_loss - loss - expected)
                plain.append(other_loss - loss)
                held.append(abs(errors[-1]) <= 1.645 * deviation)
        if errors:
            rms, without = (float(np.sqrt(np.mean(np.square(values)))) for values in (errors, plain))
            print(f"| {name} | {len(mine)} | {rms:.4f} | {without:.4f} | {100 * np.mean(held):.0f} % |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("fit", "test"))
    {"fit": fit, "test": test}[parser.parse_args().what]()
