"""Measures the law behind the recipe fitted to the minutes: a loss by parameters, tokens, passes, context and batch.

`train` trains shapes with several batches for given numbers of steps and appends each to `--records`: the default
recipe otherwise, split 90 / 5 / 5, exact losses of both. Steps are counted, so neighbours cost time and no loss. `fit`
prints what the constants of `minilm/tuner/sizing.py` are taken from, and how far each training lies from the law of its
text. Fitted are the trainings without dropout; those with it show how well the law does on what it says of dropout. The
power of the tokens is given: the data leave it open between 0.5 and 0.9, the choice hardly moves. What context and
batch do is read from pairs of trainings that differ in nothing else. `price` times a step of every shape here and
compares it with what the two small ones say.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
from recipe import lines

from minilm.tuner import sizing

USUAL = {"block_size": 128, "learning_rate": 0.03}  # of the trainings whose records do not say
LONG = 30.0  # minutes, of a training for which a precision may be chosen at leisure
FEWEST = 6  # trainings of a text from which its law is fitted


def train(arguments: argparse.Namespace, path: Path) -> None:
    from minilm import load_corpus
    from minilm.training.session import run_training
    from minilm.tuner.space import to_configs

    corpus = load_corpus(arguments.corpus)
    for layers, width, batch, steps in (map(int, shape.split("x")) for shape in arguments.shapes):
        point = {
            "num_layers": layers,
            "hidden_size": width,
            "batch_size": batch,
            "dropout": arguments.dropout,
            "block_size": arguments.context,
        }
        model, config = to_configs(point, corpus.tokenizer.vocab_size)
        precision = {"precision": arguments.precision, "threads": arguments.threads}
        config = config.replace(steps=steps, seed=arguments.seed, patience=None, evaluations=10, **precision)
        result = run_training(corpus, model, config).result
        line = {
            **point,
            "corpus": arguments.corpus,
            "seed": arguments.seed,
            "steps": result["steps"],
            "tokens": result["tokens_seen"],
            "parameters": sizing.parameters(model),
            "passes": round(result["tokens_seen"] / len(corpus.train), 2),
            **{name: result[name] for name in ("val_loss", "test_loss")},
            **common.machine(arguments.threads, arguments.precision),
            "commit": common.commit(),
            "date": time.strftime("%Y-%m-%d"),
        }
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{point}, {steps} steps: {line['val_loss']:.4f} / {line['test_loss']:.4f}", flush=True)


def fit(path: Path) -> None:
    """Least squares for each text: its constant, nats per e-fold of parameters, nats that a million tokens leave.

    Only differences are used, so what the texts have in common is a ratio: nats per e-fold for each nat that a million
    tokens leave, the geometric mean.
    """
    known = [{**USUAL, **one} for one in lines(path)]
    found, ratios, scales = {}, [], []
    for text in dict.fromkeys(one["corpus"] for one in known):
        of_text = [one for one in known if one["corpus"] == text and not one["dropout"]]
        if len(of_text) < FEWEST:
            continue
        terms = np.array([_terms(one) for one in of_text])
        loss = np.array([_loss(one) - _toll(one) for one in of_text])
        found[text] = np.linalg.lstsq(terms, loss, rcond=None)[0]
        error = float(np.sqrt(np.mean((terms @ found[text] - loss) ** 2)))
        constant, per_e_fold, per_million = found[text]
        ratios, scales = [*ratios, per_e_fold / per_million], [*scales, per_million]
        law = f"{constant:.3f} - {per_e_fold:.3f} ln N + {per_million:.3f} / D^{sizing.POWER}"
        print(f"{text}: {len(of_text)} trainings, {law}, rms {error:.4f}, ratio {ratios[-1]:.2f}")
    ratio, scale = statistics.geometric_mean(ratios), statistics.median(scales)
    print(f"together: ratio {ratio:.2f}, median nats of a million tokens {scale:.2f}\n")
    compare_contexts(known)
    compare_batches(known)
    print("| text | layers x width | context | batch | dropout | tokens | passes | val | test | mean - law |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for one in sorted(known, key=lambda one: (one["corpus"], one["dropout"], one["tokens"])):
        law = found.get(one["corpus"])
        apart = "" if law is None else f"{_loss(one) - float(_terms(one) @ law) - _toll(one):+.4f}"
        print(f"{_row(one)} {one['val_loss']:.4f} | {one['test_loss']:.4f} | {apart} |")
    print()


def price(arguments: argparse.Namespace) -> None:
    """A step of each shape, all cores, what the law's two timed steps say it costs, and how far off that is."""
    from minilm import load_corpus
    from minilm.tuner import measure
    from minilm.tuner.space import limits_for

    corpus = load_corpus(arguments.corpus)
    limits, vocab_size = limits_for(len(corpus.train)), corpus.tokenizer.vocab_size
    priced = sizing.prices(measure.timed_steps(sizing.TIMED, vocab_size, limits, LONG))
    print(
        f"arithmetic {priced.arithmetic:.2f}, calls {priced.calls:.2f} times the machine of the constants\n"
    )
    print(
        "| layers x width | context x batch | parameters | seconds of a step | two small ones say | ratio |"
    )
    print("|---|---|---|---|---|---|")
    for layers, width in sizing.SHAPES:
        context, batch = sizing.CONTEXTS[-1], sizing.BATCHES[0]
        point = {"num_layers": layers, "hidden_size": width, "block_size": context, "batch_size": batch}
        ((model, config, seconds),) = measure.timed_steps([point], vocab_size, limits, LONG)
        said = priced.step(model, config)
        row = f"| {layers} x {width} | {context} x {batch} | {sizing.parameters(model)} "
        print(f"{row}| {seconds:.3f} | {said:.3f} | {seconds / said:.2f} |", flush=True)


def compare_contexts(known: list[dict[str, Any]]) -> None:
    """Trainings that differ in nothing but whether the tokens of a step come in many windows or in half as many, and
    the line through the differences: sizing's PER_CONTEXT and NEAR_FIRST."""
    pairs = [
        (one, other)
        for one in known
        for other in known
        if other["block_size"] == 2 * one["block_size"]
        and _per_step(one) == _per_step(other)
        and _like(one, other, "block_size", "batch_size")
    ]
    rows = [(math.log(2), -math.log(2) * _fresh(one) ** -sizing.POWER) for one, _ in pairs]
    gained = [_loss(one) - _loss(other) for one, other in pairs]
    per_context, near_first = np.linalg.lstsq(np.array(rows), np.array(gained), rcond=None)[0]
    print(f"an e-fold of context: {per_context:.3f} - {near_first:.3f} / D^{sizing.POWER}\n")
    _compared("with half as many windows twice as long", pairs)


def compare_batches(known: list[dict[str, Any]]) -> None:
    """Trainings that differ in nothing but into how many steps their tokens are cut, and the constant by which that
    counts, as far as the tokens were seen before: sizing's PER_BATCH."""
    pairs = [
        (one, other)
        for one in known
        for other in known
        if one["block_size"] == other["block_size"]
        and one["batch_size"] > other["batch_size"]
        and _like(one, other, "batch_size")
    ]
    seen = np.array(
        [_repeated(one) * math.log(one["batch_size"] / other["batch_size"]) for one, other in pairs]
    )
    gained = np.array([_loss(one) - _loss(other) for one, other in pairs])
    print(f"an e-fold of tokens in a step, all seen before: {float(seen @ gained / (seen @ seen)):.3f}\n")
    _compared("in smaller steps", pairs)


def _compared(how: str, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    print(f"| text | layers x width | context | batch | dropout | tokens | passes | {how} | mean |")
    print("|---|---|---|---|---|---|---|---|---|")
    for one, other in pairs:
        change = f"{other['block_size']} x {other['batch_size']}"
        print(f"{_row(one)} {change} | {_loss(other) - _loss(one):+.4f} |")
    print()


def _row(one: dict[str, Any]) -> str:
    shape = f"{one['num_layers']} x {one['hidden_size']} | {one['block_size']} | {one['batch_size']}"
    return f"| {one['corpus']} | {shape} | {one['dropout']} | {one['tokens'] / 1e6:.2f} M | {one['passes']:.1f} |"


def _like(one: dict[str, Any], other: dict[str, Any], *but: str) -> bool:
    """Whether two trainings agree in all but these, and in their tokens to a hundredth."""
    settings = {"corpus", "num_layers", "hidden_size", "block_size", "batch_size", "dropout", "learning_rate"}
    near = abs(one["tokens"] - other["tokens"]) <= 0.01 * one["tokens"]
    return near and all(one[name] == other[name] for name in settings - set(but))


def _loss(one: dict[str, Any]) -> float:
    """Of both splits: they are a twentieth of a text each, and differ by more than what is asked about."""
    return (one["val_loss"] + one["test_loss"]) / 2


def _toll(one: dict[str, Any]) -> float:
    """What dropout, context and the size of a step add to the law of parameters and tokens."""
    seen = (one["parameters"], one["tokens"], _characters(one), one["dropout"])
    of_windows = sizing.expected(*seen, one["block_size"], _per_step(one)) - sizing.expected(*seen)
    return of_windows + sizing.PER_DROPOUT * one["dropout"]


def _per_step(one: dict[str, Any]) -> int:
    return int(one["batch_size"] * one["block_size"])


def _characters(one: dict[str, Any]) -> int:
    """Of the training split."""
    return round(one["tokens"] / one["passes"])


def _fresh(one: dict[str, Any]) -> float:
    """What the tokens are worth, in millions of new ones."""
    return sizing.unseen(one["tokens"], _characters(one), one["dropout"]) / 1e6


def _repeated(one: dict[str, Any]) -> float:
    """The share of the tokens that taught nothing new."""
    return 1 - 1e6 * _fresh(one) / one["tokens"]


def _terms(one: dict[str, Any]) -> np.ndarray:
    return np.array([1.0, -math.log(one["parameters"]), _fresh(one) ** -sizing.POWER])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("train", "fit", "price"))
    parser.add_argument("--corpus", default="shakespeare")
    parser.add_argument(
        "--shapes", nargs="+", default=[], metavar="LxWxBxS", help="layers, width, batch, steps"
    )
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--context", type=int, default=USUAL["block_size"], help="characters of a window")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--records", default=str(Path(__file__).with_name("sizing.jsonl")))
    arguments = parser.parse_args()
    path = Path(arguments.records)
    if arguments.part == "fit":
        fit(path)
    else:
        train(arguments, path) if arguments.part == "train" else price(arguments)


if __name__ == "__main__":
    main()
