"""What each part of the default recipe buys: every change by itself, at equal steps, with three seeds.

Prints a table in Markdown, best first. Loss: exact on nanoGPT's 10 % of Tiny Shakespeare. Time: CPU milliseconds
per step on one thread. Two changes that differ by less than the spread are not told apart by it.
"""

from __future__ import annotations

import statistics
from concurrent.futures import wait
from typing import Any

import common

ADAMW = {"optimizer": "adamw", "learning_rate": 3e-3, "warmup": 0.1}
# name -> (changes of ModelConfig, changes of TrainConfig)
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the default recipe": ({}, {}),
    "AdamW, lr 3e-3, warm-up 0.1": ({}, ADAMW),
    "AdamW, lr 1e-3, warm-up 0.1": ({}, {**ADAMW, "learning_rate": 1e-3}),
    "learned positions instead of RoPE": ({"position": "learned"}, {}),
    "no QK-norm": ({"qk_norm": False}, {}),
    "LayerNorm": ({"norm": "layernorm"}, {}),
    "GELU": ({"mlp": "gelu"}, {}),
    "ReLU squared": ({"mlp": "relu2"}, {}),
    "GPT-2's start": ({"init": "gpt2"}, {}),
    "untied head": ({"tie_embeddings": False}, {}),
    "lr halved": ({}, {"learning_rate": 0.015}),
    "lr doubled": ({}, {"learning_rate": 0.06}),
    "no warm-up": ({}, {"warmup": 0.0}),
    "warm-up 0.1": ({}, {"warmup": 0.1}),
    "cosine": ({}, {"schedule": "cosine"}),
    "constant rate": ({}, {"schedule": "constant"}),
    "momentum 0.9": ({}, {"momentum": 0.9}),
    "no weight decay": ({}, {"weight_decay": 0.0}),
    "weight decay 0.5": ({}, {"weight_decay": 0.5}),
    "dropout 0.1": ({"dropout": 0.1}, {}),
    "context 64, batch 16": ({"block_size": 64}, {"batch_size": 16}),
    "context 256, batch 4": ({"block_size": 256}, {"batch_size": 4}),
    "2 layers": ({"n_layer": 2}, {}),
    "4 layers": ({"n_layer": 4}, {}),
    "96 wide": ({"n_embd": 96, "n_head": 3}, {}),
    "192 wide": ({"n_embd": 192, "n_head": 6}, {}),
    "nanoGPT's recipe for a CPU": (
        {
            "position": "learned",
            "norm": "layernorm",
            "norm_eps": 1e-5,
            "qk_norm": False,
            "mlp": "gelu",
            "init": "gpt2",
            "n_layer": 4,
            "block_size": 64,
        },
        {**ADAMW, "learning_rate": 1e-3, "warmup": 0.05, "batch_size": 12, "schedule": "cosine"},
    ),
}


def main() -> None:
    parser = common.parser(__doc__ or "")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of changes, or parts of them")
    arguments = parser.parse_args()
    from minilm.tuner.workers import Workers

    names = [n for n in CHANGES if not arguments.only or any(part in n for part in arguments.only)]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with Workers(arguments.threads) as pool:  # one thread each
        running: dict[Any, str] = {}
        for seed in range(arguments.seeds):
            for name in names:
                while not pool.free:
                    _collect(running, found)
                model, train = CHANGES[name]
                call = pool.submit(common.trained, model, {"steps": arguments.steps, **train}, seed)
                running[call] = name
        while running:
            _collect(running, found)
    _table(found, arguments.steps)
    for unit in ("loss", "ms"):
        values = {name: [one[unit] for one in results] for name, results in found.items()}
        common.report(f"recipe, {unit}", values, unit, arguments, against=names[0], steps=arguments.steps)


def _collect(running: dict[Any, str], found: dict[str, list[dict[str, float]]]) -> None:
    for call in wait(running, return_when="FIRST_COMPLETED").done:
        found[running.pop(call)].append(call.result())


def _table(found: dict[str, list[dict[str, float]]], steps: int) -> None:
    print(f"\n| {steps} steps | loss, mean | spread | ms per step |\n|---|---|---|---|")
    for name, results in sorted(found.items(), key=lambda item: statistics.mean(r["loss"] for r in item[1])):
        losses = [one["loss"] for one in results]
        ms = statistics.median(one["ms"] for one in results)
        print(
            f"| {name} | {statistics.mean(losses):.3f} | {max(losses) - min(losses):.3f} | {ms:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
