"""The law behind the recipe fitted to the minutes: how a loss falls with parameters, tokens and passes over a text.

`train` trains shapes with several batches for given numbers of steps and appends each to `--records`: the default
recipe otherwise, split 90 / 5 / 5, exact losses of both. Steps are counted, so neighbours cost time and no loss. `fit`
prints what the constants of `minilm/tuner/sizing.py` are taken from, and how far each training lies from the law of its
text. Fitted are the trainings without dropout; those with it show how well the law does on what it says of dropout. The
power of the tokens is given: the data leave it open between 0.5 and 0.9, the choice hardly moves.
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

CONTEXT = 128  # of the trainings whose records do not say
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
    found, ratios, scales = {}, [], []
    for text in dict.fromkeys(one["corpus"] for one in lines(path)):
        known = [one for one in lines(path) if one["corpus"] == text and not one["dropout"]]
        if len(known) < FEWEST:
            continue
        terms, loss = np.array([_terms(one) for one in known]), np.array([_loss(one) for one in known])
        found[text] = np.linalg.lstsq(terms, loss, rcond=None)[0]
        error = float(np.sqrt(np.mean((terms @ found[text] - loss) ** 2)))
        of_text, per_e_fold, per_million = found[text]
        ratios, scales = [*ratios, per_e_fold / per_million], [*scales, per_million]
        law = f"{of_text:.3f} - {per_e_fold:.3f} ln N + {per_million:.3f} / D^{sizing.POWER}"
        print(f"{text}: {len(known)} trainings, {law}, rms {error:.4f}, ratio {ratios[-1]:.2f}")
    ratio, scale = statistics.geometric_mean(ratios), statistics.median(scales)
    print(f"together: ratio {ratio:.2f}, median nats of a million tokens {scale:.2f}\n")
    print("| text | layers x width | batch | dropout | tokens | passes | val | test | mean - law |")
    print("|---|---|---|---|---|---|---|---|---|")
    for one in sorted(lines(path), key=lambda one: (one["corpus"], one["dropout"], one["tokens"])):
        shape = f"{one['num_layers']} x {one['hidden_size']} | {one['batch_size']} | {one['dropout']}"
        seen = f"{one['tokens'] / 1e6:.2f} M | {one['passes']:.1f}"
        law = found.get(one["corpus"])
        apart = "" if law is None else f"{_loss(one) - float(_terms(one) @ law) - _toll(one):+.4f}"
        print(
            f"| {one['corpus']} | {shape} | {seen} | {one['val_loss']:.4f} | {one['test_loss']:.4f} | {apart} |"
        )


def _loss(one: dict[str, Any]) -> float:
    """Of both splits: they are a twentieth of a text each, and differ by more than what is asked about."""
    return (one["val_loss"] + one["test_loss"]) / 2


def _toll(one: dict[str, Any]) -> float:
    return sizing.PER_DROPOUT * one["dropout"]


def _terms(one: dict[str, Any]) -> np.ndarray:
    characters = round(one["tokens"] / one["passes"])
    seen = sizing.unseen(one["tokens"], characters, one["dropout"])
    return np.array([1.0, -math.log(one["parameters"]), (seen / 1e6) ** -sizing.POWER])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("train", "fit"))
    parser.add_argument("--corpus", default="shakespeare")
    parser.add_argument(
        "--shapes", nargs="+", default=[], metavar="LxWxBxS", help="layers, width, batch, steps"
    )
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--context", type=int, default=CONTEXT, help="characters of a window")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--records", default=str(Path(__file__).with_name("sizing.jsonl")))
    arguments = parser.parse_args()
    path = Path(arguments.records)
    train(arguments, path) if arguments.part == "train" else fit(path)


if __name__ == "__main__":
    main()
