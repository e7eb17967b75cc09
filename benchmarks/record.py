"""Records the benchmark on which search algorithms are raced: real trainings of our decoder, every combination of a
grid, each with its validation losses at 27 marks on the way.

First the CPU seconds of a step are measured for each shape, in turns and on one thread: do that on a quiet machine.
Then every configuration trains for as many steps as `--seconds` buy at that price, so that a busy machine changes
nothing but the wait. The rate stays high for the first four fifths and falls to zero in the last (warm-up, stable,
decay): what is read off on the way is what a search that stops early would have seen. Every finished training is a
line of `--records` and the hour can be interrupted; `--pack FILE` turns the lines into the table of the race.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import common
import numpy as np
from recipe import lines

GRID: dict[str, tuple[float, ...]] = {
    "num_layers": (1, 2, 3),
    "hidden_size": (64, 96, 128, 192),
    "block_size": (64, 128),
    "batch_size": (4, 8, 16),
    "learning_rate": (0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256),
}
SHAPE = ("num_layers", "hidden_size", "block_size", "batch_size")  # what a step's price depends on
MARKS = 27
CHARS, FINAL_CHARS = 4096, 32768  # scored at a mark, and at the end
SEEDED = 24  # configurations that get two more seeds
LEAST_STEPS = 9  # of a training, however dear its step
PRICE_STEPS, PRICE_ROUNDS = 8, 3
Point = dict[str, float]


def points() -> list[Point]:
    """Every combination, in an order that is the same everywhere and mixes all of them."""
    found = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    return sorted(found, key=lambda point: hashlib.sha256(json.dumps(point).encode()).digest())


def wanted() -> list[tuple[Point, int]]:
    """One seed of everything, then two more of some."""
    every = points()
    return [(point, 0) for point in every] + [(point, seed) for seed in (1, 2) for point in every[:SEEDED]]


def configs(point: Point, **training: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the point changes of the default recipe, as `common.trainer` takes it."""
    from minilm.tuner.space import heads_for

    width = int(point["hidden_size"])
    shape = {
        "n_layer": point["num_layers"],
        "n_embd": width,
        "n_head": heads_for(width),
        "block_size": point["block_size"],
    }
    train = {"batch_size": point["batch_size"], "learning_rate": point["learning_rate"], "schedule": "wsd"}
    return shape, {**train, **training}


def price(point: Point) -> float:
    """CPU seconds of one step: the median over the steps, on one thread."""
    import torch

    torch.set_num_threads(1)
    trainer = common.trainer(*configs(point), steps=PRICE_STEPS)
    return statistics.median(common.step_seconds(trainer, PRICE_STEPS, time.process_time)[2:])


def prices(path: Path) -> dict[str, float]:
    """Each shape's price, from the file or measured."""
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    shapes = {_key(point): point for point in points()}
    rounds: dict[str, list[float]] = {key: [] for key in shapes}
    for _ in range(PRICE_ROUNDS):
        for key, point in shapes.items():
            rounds[key].append(price(point))
    found = {key: min(values) for key, values in rounds.items()}
    path.write_text(json.dumps(found, indent=0), encoding="utf-8")
    return found


def _key(point: Point) -> str:
    return " ".join(f"{point[name]:g}" for name in SHAPE)


def one(point: Point, seed: int, steps: int) -> dict[str, Any]:
    """One training: its losses at the marks, the exact final one, or the step at which it diverged."""
    import torch

    from minilm.errors import DivergenceError
    from minilm.training.evaluate import exact_loss

    torch.set_num_threads(1)
    trainer = common.trainer(*configs(point, evaluations=MARKS, eval_chars=CHARS), seed=seed, steps=steps)
    curve: dict[int, float] = {}
    trainer.on_record = lambda r: curve.update({r["step"]: r["val_loss"]} if "val_loss" in r else {})
    started = time.process_time()
    try:
        trainer.fit()
    except DivergenceError as error:
        return {"loss": None, "diverged": error.step, "curve": sorted(curve.items())}
    last = exact_loss(trainer.model, **trainer.val, chars=FINAL_CHARS)
    spent = round(time.process_time() - started, 2)
    return {"loss": last, "curve": sorted(curve.items()), "cpu_seconds": spent}


def measure(arguments: argparse.Namespace, path: Path) -> None:
    cost = prices(path.with_suffix(".prices.json"))
    done = {(json.dumps(line["point"]), line["seed"]) for line in lines(path)}
    waiting = [(p, s) for p, s in wanted() if (json.dumps(p), s) not in done]
    running: dict[Any, tuple[Point, int, int]] = {}
    machine, commit = common.machine(1), common.commit()
    with ProcessPoolExecutor(arguments.workers, multiprocessing.get_context("spawn")) as pool:
        while waiting or running:
            while waiting and len(running) < arguments.workers:
                point, seed = waiting.pop(0)
                steps = max(LEAST_STEPS, round(arguments.seconds / cost[_key(point)]))
                running[pool.submit(one, point, seed, steps)] = point, seed, steps
            for call in wait(running, return_when="FIRST_COMPLETED").done:
                point, seed, steps = running.pop(call)
                facts = {"point": point, "seed": seed, "seconds": arguments.seconds, "steps": steps}
                facts |= {"step_seconds": cost[_key(point)], **call.result()}
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({**facts, **machine, "commit": commit}) + "\n")
                loss = "diverged" if facts["loss"] is None else f"{facts['loss']:.4f}"
                print(f"{len(waiting)} left: {_key(point)} {point['learning_rate']:g}: {loss}", flush=True)


def pack(found: list[dict[str, Any]], path: str) -> None:
    """Writes the race's table from the lines; a point without a line is an error, a seed without one is NaN."""
    from benchmarks.race.table import Table, save_table

    grid = {name: tuple(sorted(values)) for name, values in GRID.items()}
    place = {values: index for index, values in enumerate(itertools.product(*grid.values()))}
    shape = (len(place), 1 + max(line["seed"] for line in found))
    finals, ends, steps = np.full(shape, np.nan), np.ones(shape), np.zeros(len(place))
    curves = np.full((*shape, MARKS), np.nan)
    for line in found:
        index = place[tuple(line["point"][name] for name in grid)]
        steps[index], at = line["steps"], (index, line["seed"])
        curves[at] = marked(line["curve"], line["steps"], line.get("diverged"))
        finals[at] = np.nan if line["loss"] is None else line["loss"]
        ends[at] = line.get("diverged", line["steps"]) / line["steps"]
    if not steps.all():
        sys.exit(f"{int((steps == 0).sum())} of {len(steps)} points have no training yet; record them first")
    save_table(Table(grid, curves, finals, ends, steps, made=how(found)), path)


def marked(curve: list[list[float]], steps: int, diverged: int | None) -> list[float]:
    """The losses at the marks. Each mark lies on the first whole step behind it; a training of fewer steps than marks
    shows one step's loss at several."""
    at = [math.ceil(mark * steps / MARKS) for mark in range(1, MARKS + 1)]
    known = [[loss for step, loss in curve if step <= mark] for mark in at]
    alive = [diverged is None or mark < diverged for mark in at]
    return [losses[-1] if losses and well else np.nan for losses, well in zip(known, alive, strict=True)]


def how(found: list[dict[str, Any]]) -> dict[str, Any]:
    """What the table says of its making: the facts that all lines share, and the numbers of trainings."""
    names = ("seconds", "cpu", "cores", "threads", "precision", "python", "torch", "commit")
    facts = {name: sorted({line[name] for line in found}) for name in names}
    shared = {name: values[0] if len(values) == 1 else values for name, values in facts.items()}
    price = "median CPU seconds of a step, measured once per shape; a training has seconds / price steps"
    return {
        **shared,
        "date": time.strftime("%Y-%m-%d"),
        "text": "Tiny Shakespeare, trained on 90 %, scored on the other 10 %",
        "scored": f"{CHARS} characters at a mark, {FINAL_CHARS} at the end, exact windows",
        "schedule": "warm-up, stable, decay in the last fifth; all else as in the default recipe",
        "trainings": len(found),
        "price": price,
    }


def main() -> None:
    parser = common.parser(__doc__ or "")
    parser.add_argument("--pack", metavar="FILE", help="only turn the records into the race's table")
    parser.add_argument("--seconds", type=float, default=7.0, help="of one thread's CPU time, per training")
    parser.add_argument("--workers", type=int, default=2, help="trainings side by side")
    parser.add_argument("--records", default="record.jsonl", help="of finished trainings")
    parser.add_argument("--prices", action="store_true", help="only measure what a step costs")
    arguments = parser.parse_args()
    path = Path(arguments.records)
    if arguments.pack:
        pack(list(lines(path)), arguments.pack)
    elif arguments.prices:
        print(json.dumps(prices(path.with_suffix(".prices.json")), indent=0))
    else:
        measure(arguments, path)


if __name__ == "__main__":
    main()
