"""Compares search algorithms on recorded trainings under a virtual clock: `python -m benchmarks.race`.

Each searcher runs once for each seed; then a table is printed and a picture drawn. Nothing is trained.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.race.contest import CONTESTANTS, DEFAULT
from benchmarks.race.picture import draw_race, race_numbers
from benchmarks.race.regret import Finished, Score, moments, regret, scores
from benchmarks.race.table import Table, load_table
from benchmarks.race.virtual import finished, replay
from minilm import cli, files
from minilm.errors import ConfigError, did_you_mean

ABOUT = "race search algorithms on recorded trainings: nothing is trained, a minute for a few dozen seeds"
OURS = "law"
NEEDS = {"Optuna": "optuna"}  # the first word of a contestant's name -> a package that may be missing
PICTURE, NUMBERS = "race.png", "race.json"
WIDTHS = (22, 26, 26, 21, 21, 20)  # of the table's columns
MOST_SEEDS, MOST_BUDGET, MOST_WORKERS = 1000, 500.0, 64


def _parser() -> argparse.ArgumentParser:
    example = "python -m benchmarks.race --seeds 20 --only 'Hyperopt TPE,ours'"
    parser = cli.parser("race", example, ABOUT)
    parser.add_argument("--seeds", type=int, default=40, help="how many races")
    parser.add_argument("--first-seed", type=int, default=0, help="the others follow it")
    parser.add_argument("--budget", type=float, default=40.0, help="full trainings that each may spend")
    parser.add_argument("--workers", type=int, default=1, help="virtual trainings side by side")
    parser.add_argument("--only", help="names with commas between them (default: all that are installed)")
    parser.add_argument("--out", help="folder for the picture and the numbers (default: nowhere)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that compute the races")
    parser.add_argument(
        "--table",
        metavar="FILE",
        help="another file of recorded trainings (default: the one beside this program)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    _check(arguments)
    names, table = _names(arguments.only), load_table(arguments.table)
    regrets = race(table, names, arguments)
    base = OURS if OURS in names else names[0]
    print(_text(scores(regrets, base), base, arguments))
    if arguments.out:
        _keep(Path(arguments.out), regrets, base, arguments)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    limits = {
        "seeds": (1, MOST_SEEDS),
        "first_seed": (0, 2**31),
        "budget": (3, MOST_BUDGET),
        "workers": (1, MOST_WORKERS),
        "processes": (1, MOST_WORKERS),
    }
    for name, (low, high) in limits.items():
        value = getattr(arguments, name)
        if not low <= value <= high:
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag} must be from {low:g} to {high:g}, got {value:g}; see --help")


def _names(only: str | None) -> list[str]:
    """The contestants; an unknown name, or one whose package is missing, is an error."""
    if only is None:
        return [name for name in DEFAULT if _package(name) is None]
    names = [name.strip() for name in only.split(",") if name.strip()]
    for name in names:
        if name not in CONTESTANTS:
            raise ConfigError(f"no contestant is called {name!r}, {did_you_mean(name, CONTESTANTS)}")
        if package := _package(name):
            raise ConfigError(f"{name} needs the package {package}, which is not installed; leave it out")
    if not names:
        raise ConfigError(
            f"--only must name a contestant, got {only!r}; take one of {', '.join(CONTESTANTS)}"
        )
    return list(dict.fromkeys(names))


def _package(name: str) -> str | None:
    """The package that a contestant lacks."""
    package = NEEDS.get(name.split()[0])
    return package if package and importlib.util.find_spec(package) is None else None


def race(table: Table, names: Sequence[str], arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    """Each contestant's regrets, (seeds, moments)."""
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    jobs = [(name, seed) for seed in seeds for name in names]
    at = moments(arguments.budget / arguments.workers)
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for (name, _), ended in zip(jobs, _ran(table, jobs, arguments), strict=True):
        found[name].append(regret(ended, table.best, at))
    return {name: np.array(rows) for name, rows in found.items()}


def _ran(table: Table, jobs: list[tuple[str, int]], arguments: argparse.Namespace) -> Iterator[Finished]:
    """What each job has finished, in the order of the jobs, with a bar on stderr."""
    one = partial(_one, table, arguments.budget, arguments.workers)
    bar = partial(tqdm, total=len(jobs), file=sys.stderr, disable=None, leave=False, desc="races")
    if arguments.processes == 1:
        yield from bar(map(one, jobs))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(arguments.processes, len(jobs)), context) as pool:
        try:
            yield from bar(pool.map(one, jobs, chunksize=4))
        except BaseException:  # Ctrl-C: what waits must not be computed first
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _one(table: Table, budget: float, workers: int, job: tuple[str, int]) -> Finished:
    name, seed = job
    return finished(replay(CONTESTANTS[name](table, seed), table, budget, workers))


def _text(rows: Sequence[Score], base: str, arguments: argparse.Namespace) -> str:
    """The table, the least regret at the end first."""
    last = arguments.first_seed + arguments.seeds - 1
    title = (
        f"{arguments.budget:g} full trainings, workers {arguments.workers}, seeds {arguments.first_seed} to {last}; "
        "mean regret in nats per character [95 %]"
    )
    head = _row("", "at a third", "at the end", f"{base} / it", "at the end", f"{base} there at")
    lines = [title, "", head]
    for row in sorted(rows, key=lambda row: (math.isnan(row.end.value), row.end.value)):
        cells = [row.third.text(), row.end.text()]
        if row.name != base:
            when = "never" if row.reached is None else f"{row.reached:.2f} of its budget"
            cells += [row.ratio_third.text(2), row.ratio_end.text(2), when]
        lines.append(_row(row.name, *cells))
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return "".join(f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS, strict=False)).rstrip()


def _keep(folder: Path, regrets: dict[str, np.ndarray], base: str, arguments: argparse.Namespace) -> None:
    files.make_folder(folder)
    at = (moments(arguments.budget / arguments.workers) * arguments.workers).tolist()
    settings = {name: getattr(arguments, name) for name in ("seeds", "first_seed", "budget", "workers")}
    files.write_json(folder / NUMBERS, {**settings, "scores": [_facts(row) for row in scores(regrets, base)]})
    draw_race(race_numbers(regrets, at), base, folder / PICTURE)
    print(f"\npicture   {folder / PICTURE}\nnumbers   {folder / NUMBERS}")


def _facts(row: Score) -> dict[str, Any]:
    intervals = ("third", "end", "ratio_third", "ratio_end")
    numbers = {name: getattr(row, name).numbers() for name in intervals}
    return {"name": row.name, **numbers, "reached": row.reached}
