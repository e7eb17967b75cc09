"""Holds what every benchmark shares: sides run in turns, medians and ratios, one JSON line that says where and when.

It knows no model and no peer beyond the path to one; peers are given as paths and never copied. Nothing here is
installed with the package, and no test asserts a time.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

CHECKOUT = "MINILM_CHECKOUT"  # the variable that names another checkout whose package is to be measured
ROOT = Path(os.environ.get(CHECKOUT) or Path(__file__).parents[1]).resolve()
sys.path.insert(0, str(ROOT))  # the working tree is measured, installed or not
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
RESAMPLED = 2000  # times, for the interval of a median


def machine(threads: int | None = None, precision: str = "fp32") -> dict[str, Any]:
    """CPU model, cores, torch threads and versions: what a figure is worth nothing without."""
    import torch

    from minilm.training.hardware import physical_cores

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": model or platform.processor() or platform.machine(),
        "cores": physical_cores(),
        "threads": torch.get_num_threads() if threads is None else threads,
        "gpu": gpu,
        "precision": precision,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def load() -> float | None:
    """How many processes the machine has been running or waiting to run, on average over the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


LOAD_BEFORE = load()


def commit(root: Path = ROOT) -> str:
    """The commit that was measured, with a + where the tree had changes."""
    git = ["git", "-C", str(root)]
    try:
        name = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout
        dirty = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout
    except OSError:
        return "unknown"
    return (name.strip() or "unknown") + "+" * bool(dirty.strip())


def in_turns(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Each side once per round, in an order that turns, so that a busy moment hits no side more than another."""
    names, values = list(sides), {name: [] for name in sides}
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            values[name].append(sides[name]())
    return values


def seconds(function: Callable[[], Any], clock: str = "wall") -> float:
    """Seconds of one call, by one of CLOCKS."""
    started = CLOCKS[clock]()
    function()
    return CLOCKS[clock]() - started


def ratios(values: list[float], base: list[float]) -> dict[str, Any]:
    """The ratio to the base in each round: its median, the range that 90 % of the rounds lie in (from the 5th to the
    95th percentile), and the interval that holds the true median with 95 % (bootstrap over the rounds)."""
    found = [value / other for value, other in zip(values, base, strict=True)]
    if len(found) < 2:
        return {"median": found[0], "range": found * 2, "interval": found * 2}
    parts = statistics.quantiles(found, n=20, method="inclusive")
    dice = random.Random(0)
    medians = sorted(statistics.median(dice.choices(found, k=len(found))) for _ in range(RESAMPLED))
    interval = [medians[round(share * (RESAMPLED - 1))] for share in (0.025, 0.975)]
    return {"median": statistics.median(found), "range": [parts[0], parts[-1]], "interval": interval}


def report(
    name: str,
    values: Mapping[str, list[float]],
    unit: str,
    arguments: argparse.Namespace,
    *,
    against: str | None = None,
    **facts: Any,
) -> None:
    """Prints the median of each side and its ratio to the side `against`, then the JSON line; --json appends it."""
    medians = {side: statistics.median(numbers) for side, numbers in values.items()}
    found = {s: ratios(v, values[against]) for s, v in values.items() if against in values and s != against}
    print(f"\n{name} ({unit}; median of {min(map(len, values.values()))}, least to most)")
    for side, numbers in values.items():
        print(f"  {side:<34}{medians[side]:12,.4g}   {min(numbers):,.4g} to {max(numbers):,.4g}")
    if found:
        print(f"in each round, times {against}: median (its 95 % interval), 5 to 95 % of the rounds")
    for side, ratio in found.items():
        low, high, least, most = *ratio["interval"], *ratio["range"]
        print(f"  {side:<34}{ratio['median']:12.3f}   ({low:.3f} to {high:.3f}), {least:.3f} to {most:.3f}")
    loads = {"before": LOAD_BEFORE, "after": load()}
    print(f"machine load {loads['before']} before, {loads['after']} after")
    record = {
        "benchmark": name,
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "command": " ".join(["python", *sys.argv]),
        **machine(getattr(arguments, "threads", None)),
        **facts,
        "load": loads,
        "unit": unit,
        "medians": medians,
        "ratios": {s: {k: _rounded(v) for k, v in ratio.items()} for s, ratio in found.items()},
        "values": {side: [round(number, 6) for number in numbers] for side, numbers in values.items()},
    }
    line = json.dumps(record, ensure_ascii=False)
    print(line, flush=True)
    if getattr(arguments, "json", None):
        with Path(arguments.json).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _rounded(value: Any) -> Any:
    return [round(v, 4) for v in value] if isinstance(value, list) else round(value, 4)


def parser(about: str) -> argparse.ArgumentParser:
    """The flags that every benchmark has."""
    result = argparse.ArgumentParser(
        description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    result.add_argument("--rounds", type=int, default=3, help="how often each side runs")
    result.add_argument("--threads", type=int, default=2, help="of torch, for every side")
    result.add_argument("--nanogpt", metavar="PATH", help="a checkout of nanoGPT to measure against")
    result.add_argument("--json", metavar="FILE", help="append the result as a line")
    return result


def add_clock(result: argparse.ArgumentParser) -> None:
    """The flag of those who can also measure on a busy machine."""
    about = "cpu: seconds of the processor, for a busy machine and --threads 1"
    result.add_argument("--clock", choices=tuple(CLOCKS), default="wall", help=about)


def check_clock(arguments: argparse.Namespace) -> None:
    if arguments.clock == "cpu" and arguments.threads > 1:
        raise SystemExit("--clock cpu is for --threads 1: it adds up the seconds of all threads")


def load_nanogpt(path: str) -> ModuleType:
    """nanoGPT's model.py as a module, from the user's own checkout."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", Path(path) / "model.py")
    if spec is None or spec.loader is None or not (Path(path) / "model.py").is_file():
        raise SystemExit(f"{path} is not a checkout of nanoGPT: it has no model.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def shakespeare(tokens: str = "characters") -> tuple[Any, Any]:
    """Tiny Shakespeare cut 90 / 10 as nanoGPT cuts it: (corpus, its 10 %); the corpus has no test split."""
    from minilm import load_corpus

    corpus = load_corpus("shakespeare", tokens, split=(0.9, 0.1, 0.0))
    return corpus, corpus.val


def trainer(model: dict[str, Any], train: dict[str, Any], *, seed: int = 0, steps: int) -> Any:
    """A trainer of a changed default recipe on Tiny Shakespeare's 90 %, on one thread, that hardly evaluates."""
    from minilm.config import default_recipe
    from minilm.training.clock import Clock
    from minilm.training.hardware import choose_hardware
    from minilm.training.loop import Trainer
    from minilm.training.session import build, give_rows

    corpus, val = shakespeare()
    shape, config = default_recipe(corpus.tokenizer.vocab_size)
    quiet = {"evaluations": 1, "eval_chars": 2048, "patience": None, "threads": 1}
    shape, config = shape.replace(**model), config.replace(**{**quiet, **train, "steps": steps, "seed": seed})
    hardware = choose_hardware(config, shape.attention)
    network = build(shape.replace(attention=hardware.attention), seed)
    give_rows(network, corpus.train)
    clock = Clock(config, (len(val), 0), shape.vocab_size)
    return Trainer(network, corpus.train, corpus.scored("val"), config, hardware, clock)


def step_seconds(trainer: Any, steps: int, now: Callable[[], float] = time.perf_counter) -> list[float]:
    """Seconds of each of `steps` more updates of a trainer, as its own loop makes them.

    The loop asks its clock before each update whether to go on, and that is when the time is read. What `fit` does
    at its end (an evaluation, the best weights put back) is not in the seconds.
    """
    from minilm.training.clock import Stop

    moments: list[float] = []

    def stop(*_: int) -> Stop | None:
        moments.append(now())
        return Stop.FINISHED if len(moments) > steps else None

    trainer.clock.stop = stop
    trainer.fit()
    return [after - before for before, after in itertools.pairwise(moments[: steps + 1])]


def trained(model: dict[str, Any], train: dict[str, Any], *, seed: int, steps: int) -> dict[str, float]:
    """One training of a changed default recipe: exact loss on the 10 %, and CPU milliseconds per step."""
    from minilm.training.evaluate import exact_loss

    fitted = trainer(model, train, seed=seed, steps=steps)
    started = time.process_time()
    fitted.fit()
    spent = time.process_time() - started
    loss = exact_loss(fitted.model, **fitted.val)
    return {"loss": loss, "ms": 1000 * spent / steps, "steps": steps}
