"""How low a decoder of at most ten million parameters gets on Tiny Shakespeare when it may train for long.

Three seeds of the recipe below, and of the same without what keeps it from learning its text by heart (dropout, a
weight decay far above habit), cut 90 / 10 as nanoGPT cuts it. All get the same `--steps`, so that a
busy machine changes nothing but the wait; one thread each, two trainings at a time. The loss that stops a training
early and chooses its best weights is the exact one on the 10 %, as in nanoGPT's own figure. Every finished training
is a line of `--records`, so that a night can be interrupted.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import common
from recipe import Changes, lines

SIDE_BY_SIDE = 2  # trainings, on one thread each
SHAPE: dict[str, Any] = {"n_layer": 3, "n_embd": 192, "n_head": 6, "block_size": 256}
TRAIN: dict[str, Any] = {"batch_size": 8, "evaluations": 10}
SIDES: dict[str, Changes] = {
    "dropout and decay": ({**SHAPE, "dropout": 0.1}, {**TRAIN, "weight_decay": 0.5}),
    "dropout alone": ({**SHAPE, "dropout": 0.1}, TRAIN),
    "as it is": (SHAPE, TRAIN),
}


def one(name: str, seed: int, steps: int, precision: str) -> dict[str, Any]:
    """One training: its best exact loss, how it went on the way, and what it had seen."""
    from minilm.config import default_recipe
    from minilm.training.session import run_training

    corpus, _ = common.shakespeare()
    model, train = SIDES[name]
    shape, config = default_recipe(corpus.tokenizer.vocab_size)
    fixed = {"steps": steps, "threads": 1, "seed": seed, "precision": precision}
    started = time.process_time()
    run = run_training(corpus, shape.replace(**model), config.replace(**{**train, **fixed}), test=False)
    curve = [
        [round(r["seconds"]), round(r["train_loss"], 4), round(r["val_loss"], 4)]
        for r in run.metrics
        if "val_loss" in r
    ]
    facts = {key: run.result[key] for key in ("steps", "best_step", "stopped", "n_parameters", "protocol")}
    epochs = run.result["tokens_seen"] / len(corpus.train)
    facts |= {"precision": run.config["hardware"]["precision"], "curve": curve}
    facts["cpu_seconds"] = round(time.process_time() - started)
    return {"loss": run.result["val_loss"], "epochs": round(epochs, 2), **facts}


def main() -> None:
    parser = common.parser(__doc__ or "")
    parser.set_defaults(threads=1)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument(
        "--precision", default="bf16", help="fp32 or bf16; bf16 only pays where the CPU has it"
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--side", nargs="*", choices=tuple(SIDES), default=list(SIDES))
    parser.add_argument("--records", default=str(Path(__file__).with_name("quality.jsonl")))
    arguments = parser.parse_args()
    measure(arguments, Path(arguments.records))
    table(Path(arguments.records))


def measure(arguments: argparse.Namespace, path: Path) -> None:
    """Runs what `path` does not hold yet, two at a time, and adds a line for each."""
    done = {(line["side"], line["seed"]) for line in lines(path)}
    waiting = [(n, s) for s in arguments.seeds for n in arguments.side if (n, s) not in done]
    running: dict[Any, tuple[str, int]] = {}
    with ProcessPoolExecutor(SIDE_BY_SIDE, multiprocessing.get_context("spawn")) as pool:
        while waiting or running:
            while waiting and len(running) < SIDE_BY_SIDE:
                name, seed = waiting.pop(0)
                running[pool.submit(one, name, seed, arguments.steps, arguments.precision)] = name, seed
            for call in wait(running, return_when="FIRST_COMPLETED").done:
                name, seed = running.pop(call)
                facts = {"side": name, "seed": seed, **call.result()}
                line = json.dumps({**common.machine(1), **facts, "commit": common.commit()})
                with path.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
                print(f"{name}, seed {seed}: {facts['loss']:.4f}, {facts['epochs']} epochs", flush=True)


def table(path: Path) -> None:
    """Mean and spread of each side."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines(path):
        found.setdefault(line["side"], []).append(line)
    print("| side | loss, mean | spread | seeds | epochs | parameters |\n|---|---|---|---|---|---|")
    for name, results in found.items():
        losses = [r["loss"] for r in results]
        spread = max(losses) - min(losses)
        epochs = statistics.mean(r["epochs"] for r in results)
        size = results[0]["n_parameters"]
        row = f"{statistics.mean(losses):.4f} | {spread:.4f} | {len(losses)} | {epochs:.1f} | {size:,}"
        print(f"| {name} | {row} |")


if __name__ == "__main__":
    main()
