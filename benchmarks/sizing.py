"""The law behind the recipe fitted to the minutes: how a loss falls with parameters and tokens, on Tiny Shakespeare.

`train` trains shapes with several batches for given numbers of steps and appends each to `--records`: the default
recipe otherwise, split 90 / 5 / 5, exact losses of both. Steps are counted, so neighbours cost time and no loss. `fit`
prints the constants of `minilm/tuner/sizing.py` and how far each training lies from them; the law is fitted to those
without dropout that saw the text at most PASSES times, since it knows no overfitting.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
from recipe import lines

from minilm.tuner import sizing

PASSES = 5.5  # the law's POWER of tokens is given: the data leave it open between 0.5 and 0.9, the choice hardly moves


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
    """Least squares: a constant of the text, nats per e-fold of parameters, nats that a million tokens leave."""
    known = [one for one in lines(path) if not one["dropout"] and one["passes"] <= PASSES]
    loss = np.array([one["val_loss"] for one in known])
    terms = np.array([_terms(one) for one in known])
    found = np.linalg.lstsq(terms, loss, rcond=None)[0]
    error = float(np.sqrt(np.mean((terms @ found - loss) ** 2)))
    text, per_e_fold, per_million = found
    power = f"D^{sizing.POWER}"
    print(
        f"{len(known)} trainings: {text:.3f} - {per_e_fold:.3f} ln N + {per_million:.3f} / {power}, rms {error:.4f}\n"
    )
    print("| layers x width | batch | dropout | tokens | passes | val | test | law |")
    print("|---|---|---|---|---|---|---|---|")
    for one in sorted(lines(path), key=lambda one: (one["corpus"], one["tokens"])):
        shape = f"{one['num_layers']} x {one['hidden_size']} | {one['batch_size']} | {one['dropout']}"
        seen = f"{one['tokens'] / 1e6:.2f} M | {one['passes']:.1f}"
        law = float(np.dot(_terms(one), found))
        print(f"| {shape} | {seen} | {one['val_loss']:.4f} | {one['test_loss']:.4f} | {law:.4f} |")


def _terms(one: dict[str, Any]) -> tuple[float, float, float]:
    return 1.0, -math.log(one["parameters"]), (one["tokens"] / 1e6) ** -sizing.POWER


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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--records", default=str(Path(__file__).with_name("sizing.jsonl")))
    arguments = parser.parse_args()
    path = Path(arguments.records)
    train(arguments, path) if arguments.part == "train" else fit(path)


if __name__ == "__main__":
    main()
