"""Fits the tuner's law to recorded trainings, and tests it on texts that it was not fitted to.

    python benchmarks/law.py fit      prints the weights and writes minilm/tuner/law.json
    python benchmarks/law.py test     each text left out in turn, its excerpts with it
    python benchmarks/law.py trials   what trials on the text itself would teach it, at best: they cost nothing there

Every text has weights of its own around the common ones; how far they lie apart is estimated with them (empirical
Bayes, by expectation-maximisation). A text that is new is expected to lie as far apart as those did.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import random
import re
from pathlib import Path
from typing import Any

import common  # noqa: F401  # puts the package on the path
import numpy as np

from minilm.config import ModelConfig
from minilm.tuner.budget import parameters
from minilm.tuner.law import SHIPPED, TERMS, Law, Recipe, terms

HERE = Path(__file__).parent
SHORT, SHAKESPEARE = "shakespeare, seven seconds", 1_003_854  # characters of its training split
MOST_RATE, FEWEST_STEPS, MOST_PASSES = 0.07, 60, 8.5  # beyond, the law is not meant to hold
SHORT_TRAININGS = 150  # of 504, drawn at random: the law is for longer ones
ROUNDS = 60  # of expectation-maximisation
WIDE = 3.0  # deviation of a common weight before any training is seen, in nats
# Of the texts' own weights before any is seen, and how many texts that belief is worth.
SPREAD, WORTH = 0.03, 10
HANDBOOKS = ("ar", "ko")  # half of the one and nine tenths of the other stand in English in `book`, too
ALIKE = 1.7  # times the price: only so near trainings are compared, since a choice is between equal prices
NEAR, FEWEST_ALIKE = 1.3, 3  # times the price, and trainings: a group to pick from
SAME, FEWEST_PER_PIECE = 1.25, 1.2  # times the rate and the characters seen; characters of a token

TABLE = {"fast": True, "modern": False}  # of pairs: what the presets differ in

Found = list[tuple[str, Recipe, float, float]]  # text, recipe, validation loss, price


def records() -> Found:
    """Every recorded training that the law is meant for."""
    found = []
    for path in sorted(HERE.glob("trainings*.jsonl")):
        lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        found += [(Path(line["texts"]).stem, recipe_of(line), line["val"]) for line in lines if usable(line)]
    for line in map(json.loads, (HERE / "sizing.jsonl").read_text(encoding="utf-8").splitlines()):
        found.append((line["corpus"], old_recipe_of(line), line["val_loss"]))
    found += short_trainings()
    return [
        (*one, price(one[1]))
        for one in found
        if one[1].rate <= MOST_RATE
        and one[1].steps >= FEWEST_STEPS
        and one[1].seen <= MOST_PASSES * one[1].text
    ]


def usable(line: dict[str, Any]) -> bool:
    """Of the default preset or without its table of pairs, on a split that has a test part: the other cut is
    nanoGPT's, on the same texts."""
    return line["presets"] in TABLE and line["split"][2] > 0


def short_trainings() -> list[tuple[str, Recipe, float]]:
    """Some of those on which algorithms are raced: 7 seconds each, many rates."""
    table = np.load(HERE / "race" / "recorded.npz")
    names = ("num_layers", "hidden_size", "block_size", "batch_size", "learning_rate")
    points = list(itertools.product(*(table[f"grid_{name}"].tolist() for name in names)))
    steps, losses = table["steps"].tolist(), table["finals"][:, 0].tolist()
    found = []
    for place in np.random.default_rng(0).permutation(len(points))[:SHORT_TRAININGS]:
        layers, width, context, batch, rate = points[place]
        model = ModelConfig(vocab_size=65, n_layer=int(layers), n_embd=int(width), n_head=1)
        if math.isfinite(losses[place]):
            recipe = Recipe(
                parameters(model),
                65,
                int(context),
                int(batch),
                steps[place],
                rate,
                0.0,
                0.1,
                SHAKESPEARE,
                1.0,
            )
            found.append((SHORT, recipe, losses[place]))
    return found


def recipe_of(line: dict[str, Any]) -> Recipe:
    width = line["hidden"]
    model = ModelConfig(vocab_size=line["vocab_size"], n_layer=line["layers"], n_embd=width, n_head=1)
    return Recipe(
        parameters(model),
        line["vocab_size"],
        line["contexts"],
        line["batches"],
        line["steps"],
        line["rates"],
        line["dropouts"],
        line["decays"],
        line["train_characters"],
        line["train_characters"] / line["train_tokens"],
        TABLE[line["presets"]],
    )


def old_recipe_of(line: dict[str, Any]) -> Recipe:
    return Recipe(
        line["parameters"],
        65,
        line.get("block_size", 128),
        line["batch_size"],
        line["steps"],
        0.03,
        line["dropout"],
        0.1,
        round(line["tokens"] / line["passes"]),
        1.0,
    )


def price(recipe: Recipe) -> float:
    """Of a training, roughly: its operations, and what a step costs whatever its size."""
    tokens = recipe.steps * recipe.batch * recipe.context
    return 6 * tokens * (recipe.parameters + 96 * recipe.vocab_size) + 2e8 * recipe.steps


def fitted(found: Found) -> Law:
    """The law of a new text."""
    names = list(dict.fromkeys(text for text, *_ in found))
    sides = {}
    for name in names:
        rows = [(terms(recipe), loss) for text, recipe, loss, _ in found if text == name]
        sides[name] = (np.array([x for x, _ in rows]), np.array([y for _, y in rows]))
    K, noise = len(TERMS), 0.02
    mean, common_cov, spread = np.zeros(K), np.eye(K) * WIDE**2, np.full(K, SPREAD)
    spread[0] = 1.0
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
        for X, y in sides.values():
            post = np.linalg.inv(X.T @ X / noise**2 + np.diag(1 / spread**2))
            apart = post @ X.T @ (y - X @ mean) / noise**2
            squares += apart**2 + np.diag(post)
            error = y - X @ (mean + apart)
            errors += error @ error + np.trace(X @ post @ X.T)
            count += len(y)
        believed = WORTH * np.array([0.0, *[SPREAD**2] * (K - 1)])  # of the text's own level nothing
        spread = np.sqrt((squares + believed) / (len(names) + np.array([0, *[WORTH] * (K - 1)])))
        noise = math.sqrt(errors / count)
    return Law(mean, common_cov + np.diag(spread**2), noise)


def family(text: str) -> str:
    """A text and its excerpts, and one handbook's unfinished translations, which must be left out together.

    >>> family("shakespeare, seven seconds"), family("shakespeare200k"), family("ko")
    ('shakespeare', 'shakespeare', 'book')
    """
    name = re.sub(r"(, .*|[0-9]+k)$", "", text)
    return "book" if name in HANDBOOKS else name


def fit() -> None:
    found = records()
    law = fitted(found)
    deviation = np.sqrt(np.diag(law.covariance))
    for name, weight, apart in zip(TERMS, law.mean, deviation, strict=True):
        print(f"{weight:+.4f} +- {apart:.4f}  {name}")
    texts = len({family(text) for text, *_ in found})
    print(f"{len(found)} trainings of {texts} texts and their excerpts, noise {law.noise:.4f}")
    stored = {
        "terms": TERMS,
        "mean": [round(value, 6) for value in law.mean.tolist()],
        "covariance": [[float(f"{value:.6g}") for value in row] for row in law.covariance.tolist()],
        "noise": round(law.noise, 6),
        "trainings": len(found),
    }
    SHIPPED.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def test() -> None:
    """Each text in turn, by the others' law: the differences between trainings of nearly one price, and what is lost
    where the law takes the worse of two."""
    found = records()
    print(
        "| text | pairs | rms of differences | without the law | lost by choosing | at random | 90 % intervals held | "
        "where one costs 2 to 6 times as much |"
    )
    print("|---|---|---|---|---|---|---|---|")
    every, alone = [], []
    for name in dict.fromkeys(family(one[0]) for one in found):
        law = fitted([one for one in found if family(one[0]) != name])
        mine = [one for one in found if family(one[0]) == name]
        alone += [compared(law, *pair)[0] for pair in other_vocabulary(mine)]
        rows, longer = comparisons(law, mine), comparisons(law, mine, 2, 6)
        if rows:
            error, plain, lost, chance, held = np.array(rows).T
            every.append(
                (
                    np.sqrt(np.mean(error**2)),
                    np.sqrt(np.mean(plain**2)),
                    *np.mean([lost, chance, held], axis=1),
                    np.mean([row[-1] for row in longer]) if longer else math.nan,
                )
            )
            show(name, len(rows), every[-1])
    show("mean of the texts", len(every), np.nanmean(every, axis=0))
    print(
        f"{len(alone)} pairs of pieces that differ in their number alone: rms {np.sqrt(np.mean(np.square(alone))):.4f}"
    )


def other_vocabulary(found: Found) -> list[tuple[Any, Any]]:
    """The pairs of trainings on one text that differ in the number of pieces and in hardly anything else."""
    names = ("parameters", "context", "batch", "dropout", "table")
    pieces = [one for one in found if one[1].per_token > FEWEST_PER_PIECE]
    return [
        (one, other)
        for one, other in itertools.combinations(pieces, 2)
        if one[0] == other[0]
        and one[1].vocab_size != other[1].vocab_size
        and all(getattr(one[1], name) == getattr(other[1], name) for name in names)
        and abs(math.log(one[1].rate / other[1].rate)) < math.log(SAME)
        and abs(math.log(one[1].seen / other[1].seen)) < math.log(SAME)
    ]


def comparisons(
    law: Law, found: Found, least: float = 1 / ALIKE, most: float = ALIKE
) -> list[tuple[float, ...]]:
    """Of all pairs of trainings on one text of which one costs so many times as much as the other."""
    return [
        compared(law, one, other)
        for one, other in itertools.combinations(found, 2)
        if one[0] == other[0]
        and (least < one[3] / other[3] < most or (least > 1 and least < other[3] / one[3] < most))
    ]


def compared(law: Law, one: Any, other: Any) -> tuple[float, ...]:
    """Error of the difference, the difference, what the law's choice loses, what chance does, did the interval hold."""
    gain, deviation = law.difference(one[1], other[1])
    truth = other[2] - one[2]
    held = abs(truth - gain) <= 1.645 * math.hypot(deviation, math.sqrt(2) * law.noise)
    return truth - gain, truth, 0.0 if (gain > 0) == (truth > 0) else abs(truth), abs(truth) / 2, held


def trials() -> None:
    """The law, fitted to other texts, picks among recorded trainings of nearly one price; before, it may learn from
    some on the same text that cost less. What its pick loses to the best of them, without and with. What the trials'
    seconds are worth is the other side: their share of the minutes, by the law, taken from the final training."""
    found, draw = records(), random.Random(0)
    families = list(dict.fromkeys(family(one[0]) for one in found))
    laws = {name: fitted([one for one in found if family(one[0]) != name]) for name in families}
    print(
        "| a trial costs at most | trials | texts | lost without | with | gained [90 %] | their seconds are worth |"
    )
    print("|---|---|---|---|---|---|---|")
    for share, count in ((0.05, 1), (0.05, 2), (0.05, 4), (0.1, 1), (0.1, 2), (0.1, 4), (0.25, 1)):
        rows = []
        for name in families:
            mine = [one for one in found if family(one[0]) == name]
            lost = [one for target in mine for one in picked(laws[name], mine, target, share, count, draw)]
            if lost:
                rows.append(np.mean(lost, axis=0))
        without, taught, price = np.array(rows).T
        low, high = np.quantile(
            np.random.default_rng(0).choice(without - taught, (2000, len(rows))).mean(1), [0.05, 0.95]
        )
        gained = f"{np.mean(without - taught):+.4f} [{low:+.4f}, {high:+.4f}]"
        print(
            f"| {share:g} of it | {count} | {len(rows)} | {without.mean():.4f} | {taught.mean():.4f} | {gained} | "
            f"{price.mean():.4f} |"
        )


def picked(
    law: Law, mine: Found, target: Any, share: float, count: int, draw: random.Random
) -> list[tuple[float, float, float]]:
    """Of one group of trainings, that which cost as much as `target`: lost without trials, with them, and what the
    final training loses by their seconds, on one core."""
    here = [one for one in mine if one[0] == target[0]]
    group = [one for one in here if 1 / NEAR < one[3] / target[3] < NEAR]
    cheap = [one for one in here if one[3] <= share * target[3]]
    if len(group) < FEWEST_ALIKE or len(cheap) < count:
        return []
    tried = draw.sample(cheap, count)
    taught, best = law, min(one[2] for one in group)
    for one in tried:
        taught = taught.learn(one[1], one[2])
    lost = [min(group, key=lambda one: terms(one[1]) @ one_law.mean)[2] - best for one_law in (law, taught)]
    spent = sum(one[3] for one in tried) / target[3]
    whole = target[1]
    shorter = dataclasses.replace(whole, steps=max(FEWEST_STEPS, (1 - spent) * whole.steps))
    return [(*lost, law.difference(whole, shorter)[0])]


def show(name: str, count: int, row: Any) -> None:
    rms, plain, lost, chance, held, longer = row
    print(
        f"| {name} | {count} | {rms:.3f} | {plain:.3f} | {lost:.4f} | {chance:.4f} | {100 * held:.0f} % | "
        f"{'' if math.isnan(longer) else f'{100 * longer:.0f} %'} |"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("fit", "test", "trials"))
    {"fit": fit, "test": test, "trials": trials}[parser.parse_args().what]()
