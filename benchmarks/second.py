"""Asks what helps where a text is used up before the minutes are: another training, or a second model with a teacher?

    python benchmarks/second.py taught --texts tr.txt --excerpts 20000 60000 --minutes 4 --times 1 1.5 --records FILE
    python benchmarks/second.py other --texts tr.txt --excerpts 60000 --minutes 4 --records FILE

`taught`: the first model is what the law chooses; then the same recipe with the next seed, alone and with the first as
its teacher, for so many times its steps. `--third`: that one teaches once more. `--share`: of the loss, the teacher's.
`--dropout`: so much of it in place of a teacher. `other`: what is left of the minutes
trains the recipe that promises most of those not yet tried, by a law that has learnt the losses so far, and so on.

An excerpt is the beginning of a text, a twentieth of it for validation; the test part is the 50,000 characters that
follow, so that it tells more than the little that a short text could spare. 0: the whole text, split as always. Counted
seconds as in `taught.py`; nothing that runs beside takes anything from a side. `--table` prints FILE.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any

import common
import taught
import torch
from recipe import lines
from trainings import corpus_of, trainer_of

from minilm.training import distil
from minilm.training.evaluate import exact_loss
from minilm.tuner.choose import Outlook, choose, to_configs, without_tokens

UNSEEN = 50_000  # characters
MOST = 5  # trainings of `other`
HALF = distil.SHARE

Side = tuple[str, dict[str, Any], Any]  # name, numbers, model


def excerpt(text: str, characters: int) -> tuple[str, tuple[float, float, float]]:
    """The file and how it is split."""
    if not characters:
        return text, taught.SPLIT
    whole = Path(text).read_text(encoding="utf-8")[: characters + UNSEEN]
    file = Path(tempfile.mkdtemp()) / f"{Path(text).stem}{characters}.txt"
    file.write_text(whole, encoding="utf-8")
    held, total = round(characters / 19), len(whole)
    return str(file), ((characters - held) / total, held / total, 1 - characters / total)


def trained(
    corpus: Any, recipe: dict[str, Any], steps: int, teacher: Any = None
) -> tuple[dict[str, Any], Any]:
    trainer = trainer_of(corpus, recipe, steps)
    if teacher is not None:
        trainer.loss_of = distil.distilled_loss(trainer.model, teacher, recipe["precisions"])
    trainer.fit()
    losses = {split: exact_loss(trainer.model, **corpus.scored(split)) for split in ("val", "test")}
    return {**losses, "steps": steps}, trainer.model


def with_a_teacher(outlook: Outlook, text: str, split: Any, arguments: argparse.Namespace) -> Iterator[Side]:
    seconds, seed = 60 * arguments.minutes, arguments.seed
    point = choose(outlook, seconds, seed).point
    corpus, _ = corpus_of(text, point["tokens"], split)
    recipe, steps = taught.recipe_of(outlook, point, seconds, seed)
    found, first = trained(corpus, recipe, steps)
    yield "first", {**found, "point": point}, first
    next_one = {**recipe, "seeds": seed + 1}
    yield "alone", *trained(corpus, next_one, steps)
    for times in arguments.times:
        if arguments.dropout:
            side = f"alone, dropout {arguments.dropout:g}, {times:g} times the steps"
            dropped = {**next_one, "dropouts": arguments.dropout}
            yield side, *trained(corpus, dropped, int(times * steps))
            continue
        found, second = trained(corpus, next_one, int(times * steps), first)
        other = "" if arguments.share == HALF else f", the teacher's share {arguments.share:g}"
        yield f"taught, {times:g} times the steps{other}", found, second
        if arguments.third:
            yield "third", *trained(corpus, {**recipe, "seeds": seed + 2}, steps, second)


def others(outlook: Outlook, text: str, split: Any, arguments: argparse.Namespace) -> Iterator[Side]:
    left, tried, best = 60 * arguments.minutes, [], float("inf")
    choice, law = choose(outlook, left, arguments.seed), outlook.law
    point: Any = choice.point
    while point is not None and len(tried) < MOST:
        corpus, _ = corpus_of(text, point["tokens"], split)
        recipe, steps = taught.recipe_of(outlook, point, left, arguments.seed)
        found, model = trained(corpus, recipe, steps)
        yield f"training {len(tried) + 1}", {**found, "point": point}, model
        tried.append(point)
        law, best = law.learn(outlook.recipe(point, left), found["val"]), min(best, found["val"])
        left -= steps * price(outlook, point)
        point = promising(dataclasses.replace(outlook, law=law), choice.looked, tried, left, best)


def price(outlook: Outlook, point: Any) -> float:
    return outlook.prices.step(
        *to_configs(without_tokens(point), outlook.text.tokens[point["tokens"]][0], outlook.limits)
    )


def promising(outlook: Outlook, looked: Any, tried: list[Any], left: float, best: float) -> Any:
    """The recipe with the highest expected improvement of those that the time allows to end; or None."""
    found = []
    for draw, loss in looked:
        point = taught.point_of(outlook, draw)
        recipe = outlook.recipe(point, 1e9)
        if loss is None or point in tried or recipe.steps * price(outlook, point) > left:
            continue
        mean, deviation = outlook.at(point, left)
        z = (best - mean) / deviation
        gain = (best - mean) * NormalDist().cdf(z) + deviation * NormalDist().pdf(z)
        found.append((gain, len(found), point))
    return max(found)[2] if found else None


def table(path: Path) -> None:
    print("| text | characters | minutes | what | steps | validation / test |\n" + "|---" * 6 + "|")
    for line in lines(path):
        size = line["excerpt"] or "all"
        numbers = f"{line['steps']} | {line['val']:.4f} / {line['test']:.4f}"
        print(f"| {Path(line['text']).stem} | {size} | {line['minutes']:g} | {line['side']} | {numbers} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("taught", "other"))
    parser.add_argument("--texts", nargs="+", default=["shakespeare"])
    parser.add_argument("--excerpts", type=int, nargs="+", default=[0], help="characters")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--times", type=float, nargs="+", default=[1.5], help="the first one's steps")
    parser.add_argument("--third", action="store_true")
    parser.add_argument("--share", type=float, default=distil.SHARE)
    parser.add_argument("--dropout", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prices", type=float, nargs=2, default=[1.0, 1.0], metavar=("ARITHMETIC", "CALLS"))
    parser.add_argument("--records", required=True)
    parser.add_argument("--table", action="store_true", help="only print what is recorded")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    distil.SHARE = arguments.share
    path = Path(arguments.records)
    asked = (
        [] if arguments.table else [(text, size) for text in arguments.texts for size in arguments.excerpts]
    )
    for text, size in asked:
        file, split = excerpt(text, size)
        outlook = taught.outlook_of(file, tuple(arguments.prices), split)
        facts = {"what": arguments.what, "text": text, "excerpt": size, "minutes": arguments.minutes}
        facts |= {"seed": arguments.seed, "prices": arguments.prices, "commit": common.commit()}
        sides = with_a_teacher if arguments.what == "taught" else others
        for side, numbers, _ in sides(outlook, file, split, arguments):
            line = {**facts, "side": side, **numbers, "date": time.strftime("%Y-%m-%d")}
            with path.open("a", encoding="utf-8") as out:
                out.write(json.dumps(line) + "\n")
    table(path)


if __name__ == "__main__":
    main()
