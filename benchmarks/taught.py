"""Asks whether real trials on a text teach its law enough to pay for their seconds, and how good the law's choice is.

    python benchmarks/taught.py pairs --texts shakespeare de.txt --minutes 3 10 --seeds 0 1 --records FILE
    python benchmarks/taught.py oracle --texts de.txt --minutes 3 --draw 40 --records FILE

`pairs`: search off trains what the shipped law chooses for all the seconds. Search on spends a share of them on short
trials, each the one of the imagined recipes that promises to teach most about how the ten best differ, tells the law
their losses, and chooses once more; the choice is left only where the law is so sure of the gain as `SURELY` says.
`oracle`: recipes drawn at random from the same space, trained as long; where is the tuner's among them?

A step counts as long as `--prices` say that it takes, the two factors of `tuner/budget.py`: so nothing that runs beside
takes anything from a side, and both sides and all draws pay the same. One core, exact losses of both splits, in nats
per character. What FILE holds is not trained again; `--table` prints it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import common
import numpy as np
from recipe import lines
from trainings import corpus_of, one

from minilm.training.hardware import has_bf16
from minilm.tuner.budget import Prices
from minilm.tuner.choose import Choice, Outlook, Text, choose, default_of, space_for, without_tokens
from minilm.tuner.law import Law, terms
from minilm.tuner.propose import plain
from minilm.tuner.space import Point, limits_for, to_configs

SPLIT = (0.9, 0.05, 0.05)
SHARE, TRIALS = 0.1, 3  # of the seconds, for so many trials together
SURELY = 0.84  # standard deviations: the chance that a change pays is 80 %
BEST = 10  # recipes whose differences matter


@cache
def outlook_of(text: str, prices: tuple[float, float], split: tuple[float, float, float] = SPLIT) -> Outlook:
    from minilm.tuner.plan import tokens_of

    corpus, _ = corpus_of(text, "characters", split)
    described = Text(corpus.characters["train"], tokens_of(corpus))
    return Outlook(Prices(*prices), described, limits_for(len(corpus.train)))


def trained(outlook: Outlook, text: str, point: Point, seconds: float, seed: int) -> dict[str, Any]:
    """As the tuner trains it: so many steps as the seconds pay for, and no more than the text is good for."""
    corpus, _ = corpus_of(text, point["tokens"], SPLIT)
    return one(corpus, *recipe_of(outlook, point, seconds, seed))


def recipe_of(outlook: Outlook, point: Point, seconds: float, seed: int) -> tuple[dict[str, Any], int]:
    """What `trainings.one` takes, and the steps."""
    model, train = to_configs(without_tokens(point), outlook.text.tokens[point["tokens"]][0], outlook.limits)
    recipe = {
        "presets": "fast" if model.bigrams else "modern",
        "precisions": "bf16" if has_bf16() else "fp32",
        "layers": model.n_layer,
        "hidden": model.n_embd,
        "contexts": model.block_size,
        "batches": train.batch_size,
        "rates": train.learning_rate,
        "dropouts": model.dropout,
        "decays": train.weight_decay,
        "seeds": seed,
    }
    most = round(outlook.useful_tokens(point) / (train.batch_size * model.block_size))
    return recipe, max(1, min(int(seconds / outlook.prices.step(model, train)), most))


def teaching(
    outlook: Outlook, law: Law, choice: Choice, short: float, whole: float, tried: list[Point]
) -> Point:
    """Of the recipes that were imagined and not tried the one whose short training would take most from the variance
    of how the best ones differ from the choice after the whole time."""
    able = sorted((loss, index) for index, (_, loss) in enumerate(choice.looked) if loss is not None)
    points = [point_of(outlook, choice.looked[index][0]) for _, index in able]
    chosen = terms(outlook.recipe(choice.point, whole))
    apart = np.array([terms(outlook.recipe(point, whole)) - chosen for point in points[1 : BEST + 1]])

    def taught(point: Point) -> float:
        x = terms(outlook.recipe(point, short))
        return float(np.sum((apart @ law.covariance @ x) ** 2) / (x @ law.covariance @ x + law.noise**2))

    new = [point for point in points if point not in tried]
    affordable = [point for point in new if outlook.why_not(point, short) is None]
    return max(affordable or new[:1], key=taught)


def point_of(outlook: Outlook, draw: dict[str, float]) -> Point:
    space = space_for(outlook.limits, outlook.text.characters, outlook.text.tokens, ())
    return {**default_of(outlook), **space.point(draw)}


def sides(text: str, minutes: float, seed: int, prices: tuple[float, float]) -> Iterator[dict[str, Any]]:
    """Search off, then search on."""
    outlook, whole = outlook_of(text, prices), 60 * minutes
    prior = choose(outlook, whole, seed)
    yield {"side": "off", "point": prior.point, **trained(outlook, text, prior.point, whole, seed)}
    law, short, left = outlook.law, SHARE * whole / TRIALS, (1 - SHARE) * whole
    tried: list[tuple[Point, float]] = []
    for _ in range(TRIALS):
        point = teaching(outlook, law, prior, short, left, [point for point, _ in tried])
        found = trained(outlook, text, point, short, seed)
        law = law.learn(outlook.recipe(point, short), found["val"])
        tried.append((point, found["val"]))
    taught = dataclasses.replace(outlook, law=law)
    choice = choose(taught, left, seed)
    gain, sd = taught.difference(prior.point, choice.point, left)
    changed = gain > SURELY * sd
    point = choice.point if changed else prior.point
    facts = {"trials": tried, "would": choice.point, "gain": gain, "sd": sd, "changed": changed}
    yield {"side": "on", "point": point, **facts, **trained(outlook, text, point, left, seed)}


def pairs(arguments: argparse.Namespace, path: Path) -> None:
    done = {(line["text"], line["minutes"], line["seed"]) for line in lines(path) if line["side"] == "on"}
    for minutes in arguments.minutes:
        for seed in arguments.seeds:
            for text in arguments.texts:
                if (text, minutes, seed) not in done:
                    both = list(sides(text, minutes, seed, tuple(arguments.prices)))
                    write(path, both, text, minutes, seed, arguments.prices)


def oracle(arguments: argparse.Namespace, path: Path) -> None:
    """The tuner's own training first; what is drawn and trained depends on the first of the seeds."""
    from hyperopt.pyll.stochastic import sample

    for text in arguments.texts:
        for minutes in arguments.minutes:
            outlook, whole = outlook_of(text, tuple(arguments.prices)), 60 * minutes
            space = space_for(outlook.limits, outlook.text.characters, outlook.text.tokens, ())
            seed = arguments.seeds[0]
            draws, points = np.random.default_rng(seed), [("tuner", choose(outlook, whole, seed).point)]
            while len(points) <= arguments.draw:
                drawn = {name: plain(value) for name, value in sample(space.expression, draws).items()}
                point = {**default_of(outlook), **drawn}
                if outlook.why_not(point, whole) is None:
                    points.append((f"draw {len(points)}", point))
            key = (text, minutes, seed)
            done = [(line["side"], line["text"], line["minutes"], line["seed"]) for line in lines(path)]
            for number, (side, point) in enumerate(points):
                if (side, *key) not in done and number % arguments.shares == arguments.share:
                    found = trained(outlook, text, point, whole, seed)
                    write(path, [{"side": side, "point": point, **found}], *key, arguments.prices)


def write(path: Path, sides: list[dict[str, Any]], text: str, minutes: float, seed: int, prices: Any) -> None:
    facts = {"text": text, "minutes": minutes, "seed": seed, "prices": prices, "commit": common.commit()}
    with path.open("a", encoding="utf-8") as file:
        for side in sides:
            file.write(json.dumps({**facts, **side, "date": time.strftime("%Y-%m-%d")}) + "\n")
    told = ", ".join(f"{side['side']} {side['val']:.4f} / {side['test']:.4f}" for side in sides)
    print(f"{Path(text).stem}, {minutes:g} min, seed {seed}: {told}", flush=True)


def table(path: Path) -> None:
    found = list(lines(path))
    drawn = sorted(
        (line for line in found if line["side"] not in ("on", "off")),
        key=lambda line: (line["text"], line["minutes"], line["test"]),
    )
    for line in drawn:
        print(
            f"{Path(line['text']).stem} {line['side']}: {line['val']:.4f} / {line['test']:.4f} {line['point']}"
        )
    of = {(line["text"], line["minutes"], line["seed"], line["side"]): line for line in found}
    apart: dict[str, list[tuple[float, float]]] = {}
    print(
        "| text | minutes | seed | off | on | difference | expected of the change | what changed |\n"
        + "|---" * 8
        + "|"
    )
    for (text, minutes, seed, side), on in of.items():
        off = of.get((text, minutes, seed, "off"))
        if side != "on" or off is None:
            continue
        apart.setdefault(text, []).append((on["val"] - off["val"], on["test"] - off["test"]))
        changes = {k: v for k, v in on["would"].items() if v != off["point"].get(k)}
        kept = "" if on["changed"] else "not taken: "
        told = kept + ", ".join(
            f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in changes.items()
        )
        print(
            f"| {Path(text).stem} | {minutes:g} | {seed} | {off['val']:.4f} / {off['test']:.4f} | {on['val']:.4f} / "
            f"{on['test']:.4f} | {apart[text][-1][0]:+.4f} / {apart[text][-1][1]:+.4f} | {on['gain']:.4f} +- "
            f"{on['sd']:.4f} | {told} |"
        )
    if apart:
        means = np.array(
            [[statistics.mean(one) for one in zip(*rows, strict=True)] for rows in apart.values()]
        )
        draws = np.random.default_rng(0).choice(means, (5000, len(means))).mean(1)
        low, high = np.quantile(draws, [0.05, 0.95], axis=0)
        for place, split in enumerate(("validation", "test")):
            print(
                f"{split}: mean of {len(means)} texts {means[:, place].mean():+.4f}, 90 % [{low[place]:+.4f}, "
                f"{high[place]:+.4f}], the worst text {means[:, place].max():+.4f}"
            )


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("pairs", "oracle"))
    parser.add_argument("--texts", nargs="+", default=["shakespeare"])
    parser.add_argument("--minutes", type=float, nargs="+", default=[3.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--draw", type=int, default=40, help="recipes of the oracle")
    parser.add_argument(
        "--share", type=int, default=0, help="which share of the oracle's trainings, counted from 0"
    )
    parser.add_argument("--shares", type=int, default=1, help="into how many they are split")
    parser.add_argument("--prices", type=float, nargs=2, default=[1.0, 1.0], metavar=("ARITHMETIC", "CALLS"))
    parser.add_argument("--records", required=True)
    parser.add_argument("--table", action="store_true", help="only print what is recorded")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.table:
        {"pairs": pairs, "oracle": oracle}[arguments.what](arguments, Path(arguments.records))
    table(Path(arguments.records))


if __name__ == "__main__":
    main()
