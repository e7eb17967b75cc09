"""What each part of the recipe buys: every change by itself, at equal CPU seconds, with three seeds.

First each change's CPU milliseconds per step are measured, in turns and on one thread; then it gets as many steps as
`--seconds` buy at that price (or, with `--steps`, all get the same number). Loss: exact on nanoGPT's 10 % of Tiny
Shakespeare. The base is the default recipe at a size that suits such seconds, 2 layers, 96 wide. Every finished run
is a line of `--records`, so the hour can be interrupted and goes on where it was; `--table` prints the lines as a
table in Markdown, best first. Two changes that differ by less than the spread are not told apart by it.

`recipe.jsonl` holds an older measurement, with a larger base and more changes; commit d0be72f can repeat it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import common

Changes = tuple[dict[str, Any], dict[str, Any]]  # of ModelConfig, of TrainConfig
ADAMW = {"optimizer": "adamw", "learning_rate": 3e-3, "warmup": 0.1}
NANO: dict[str, Any] = {
    "position": "learned",
    "norm": "layernorm",
    "norm_eps": 1e-5,
    "qk_norm": False,
    "mlp": "gelu",
    "init": "gpt2",
    "n_layer": 4,
    "n_embd": 128,
    "n_head": 4,
    "block_size": 64,
}
NANO_TRAIN = {**ADAMW, "learning_rate": 1e-3, "warmup": 0.05, "batch_size": 12, "schedule": "cosine"}
BASE = "the base"
SMALL: dict[str, Any] = {"n_layer": 2, "n_embd": 96, "n_head": 3}
CHANGES: dict[str, Changes] = {
    BASE: ({}, {}),
    # parts of the architecture
    "learned positions instead of RoPE": ({"position": "learned"}, {}),
    "no QK-norm": ({"qk_norm": False}, {}),
    "LayerNorm": ({"norm": "layernorm"}, {}),
    "GELU": ({"mlp": "gelu"}, {}),
    "GPT-2's start": ({"init": "gpt2"}, {}),
    "untied head": ({"tie_embeddings": False}, {}),
    "no bigram table": ({"bigrams": False}, {}),
    "dropout 0.1": ({"dropout": 0.1}, {}),
    # the optimizer
    "AdamW, lr 3e-3, warm-up 0.1": ({}, ADAMW),
    "AdamW, lr 1e-2, warm-up 0.1": ({}, {**ADAMW, "learning_rate": 1e-2}),
    "lr halved": ({}, {"learning_rate": 0.015}),
    "lr doubled": ({}, {"learning_rate": 0.06}),
    "no weight decay": ({}, {"weight_decay": 0.0}),
    "weight decay 0.5": ({}, {"weight_decay": 0.5}),
    # the schedule
    "warm-up 0.1": ({}, {"warmup": 0.1}),
    "cosine": ({}, {"schedule": "cosine"}),
    "constant rate": ({}, {"schedule": "constant"}),
    # sizes
    "batch 4, lr 0.02": ({}, {"batch_size": 4, "learning_rate": 0.02}),
    "batch 16, lr 0.04": ({}, {"batch_size": 16, "learning_rate": 0.04}),
    "context 64, batch 16": ({"block_size": 64}, {"batch_size": 16}),
    "context 256, batch 4": ({"block_size": 256}, {"batch_size": 4}),
    "3 layers": ({"n_layer": 3}, {}),
    "64 wide": ({"n_embd": 64, "n_head": 2}, {}),
    "3 layers, 128 wide": ({"n_layer": 3, "n_embd": 128, "n_head": 4}, {}),
    "nanoGPT's recipe for a CPU": ({"bigrams": False, **NANO}, NANO_TRAIN),
}
PRICE_STEPS = 12  # of which the first are not counted
PRICE_ROUNDS = 3


def price(changes: Changes) -> float:
    """CPU milliseconds of one step: the median over the steps, on one thread."""
    model, train = changes
    trainer = common.trainer({**SMALL, **model}, train, steps=PRICE_STEPS)
    took = []
    for _ in range(PRICE_STEPS):
        started = time.process_time()
        trainer._update()
        took.append(1000 * (time.process_time() - started))
    return statistics.median(took[3:])


def measure(arguments: argparse.Namespace, names: list[str], path: Path) -> None:
    """Runs what `path` does not hold yet, seed by seed, and adds a line for each."""
    done = {(line["change"], line["seed"]) for line in lines(path)}
    wanted = [(n, s) for s in arguments.seeds for n in names if (n, s) not in done]
    priced = {name for name, _ in wanted} if arguments.steps is None else set()
    prices: dict[str, list[float]] = {name: [] for name in priced}
    for _ in range(PRICE_ROUNDS if priced else 0):
        for name in prices:
            prices[name].append(price(CHANGES[name]))
    for name, seed in wanted:
        steps = arguments.steps or round(1000 * arguments.seconds / min(prices[name]))
        model, train = CHANGES[name]
        result = common.trained({**SMALL, **model}, train, seed=seed, steps=steps)
        facts = {
            "change": name,
            "seed": seed,
            "seconds": arguments.seconds,
            **result,
            "commit": common.commit(),
        }
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")
        print(
            f"{name}, seed {seed}: {result['loss']:.4f} after {steps} steps of {result['ms']:.1f} ms",
            flush=True,
        )


def lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def table(path: Path) -> None:
    """One row per change, best mean first, with the difference to the base."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines(path):
        found.setdefault(line["change"], []).append(line)
    means = {name: statistics.mean(r["loss"] for r in results) for name, results in found.items()}
    base = means[BASE]
    print(
        "| change | loss, mean | to the base | spread | seeds | steps | ms per step |\n|---|---|---|---|---|---|---|"
    )
    for name in sorted(found, key=means.__getitem__):
        losses = [r["loss"] for r in found[name]]
        steps, ms = (statistics.median(r[key] for r in found[name]) for key in ("steps", "ms"))
        spread = max(losses) - min(losses)
        row = f"{means[name]:.3f} | {means[name] - base:+.3f} | {spread:.3f} | {len(losses)} | {steps:.0f} | {ms:.1f}"
        print(f"| {name} | {row} |")


def main() -> None:
    parser = common.parser(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=20.0, help="of CPU time on one thread, for each run")
    parser.add_argument("--steps", type=int, help="the same number of steps for all, instead of --seconds")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--only", nargs="*", help="names of changes, or parts of them")
    parser.add_argument("--records", required=True, help="file of finished runs")
    parser.add_argument("--table", action="store_true", help="only print the table of what is recorded")
    arguments = parser.parse_args()
    path = Path(arguments.records)
    if not arguments.table:
        only = arguments.only and [BASE, *arguments.only]  # the table compares with the base
        names = [n for n in CHANGES if not only or any(part in n for part in only)]
        measure(arguments, names, path)
    table(path)


if __name__ == "__main__":
    main()
