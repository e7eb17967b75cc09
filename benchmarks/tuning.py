"""Measures what minutes buy: our tuner, the default recipe all along, a plain Hyperopt loop, Optuna with its pruner.

Each job is one side on one text with one seed, in a process of its own that gets all cores and the same minutes,
start-up and final model included; jobs run one after the other, in turns of sides, and each finished one is a line of
`--records`, so that a day of it can be interrupted. Losses are exact, of both splits; the search sees validation
only. With `--beside` the sides of a pair run at the same time instead, one core each (Linux).

`paired`: ours against the default recipe. `rivals`: ours against plain Hyperopt and Optuna. `deadline`: how long
`--minutes` took, as a person's watch sees it. `--table` prints what is recorded.

The rivals get what a careful person would write: TPE over our own space, whole trainings of a twentieth of the time
with a decaying rate until half of the time is over, a diverged one told as a large loss, then the best configuration
trained for all the time that is left.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
from recipe import lines

SEARCH_SHARE, TRIAL_SHARE = 0.5, 0.05  # of the minutes, for a rival's search and for one of its trials
RESERVE = 3.0  # seconds a rival keeps for scoring both splits; its start-up is inside its minutes, too
WORST = 10.0  # nats per character, told for a training that diverged
SIDES: dict[str, Callable[..., Any]] = {}


def ours(corpus: Any, minutes: float, seed: int, begun: float) -> dict[str, Any]:
    from minilm.tuner.settings import Request
    from minilm.tuner.study import run_study

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "study"
        result = run_study(corpus, Request(minutes, seed=seed), out, begun=begun, open_tokens=True).result
        return {**scores(result), "point": result["best"]["point"]}


def default(corpus: Any, minutes: float, seed: int, begun: float) -> dict[str, Any]:
    return scores(final(corpus, {}, seed, begun + 60 * minutes))


def hyperopt(corpus: Any, minutes: float, seed: int, begun: float) -> dict[str, Any]:
    import numpy as np
    from hyperopt import Trials, fmin, space_eval, tpe

    from minilm.tuner.space import dimensions, to_hyperopt

    space, trials = to_hyperopt(dimensions()), Trials()
    left = max(begun + SEARCH_SHARE * 60 * minutes - time.monotonic(), 1.0)
    best = fmin(
        fn=lambda point: trial(corpus, point, minutes, seed),
        space=space,
        algo=tpe.suggest,
        trials=trials,
        timeout=left,
        rstate=np.random.default_rng(seed),
        show_progressbar=False,
        verbose=False,
    )
    result = final(corpus, space_eval(space, best), seed, begun + 60 * minutes)
    return {**scores(result), "trials": len(trials)}


def optuna(corpus: Any, minutes: float, seed: int, begun: float) -> dict[str, Any]:
    import optuna as library

    library.logging.set_verbosity(library.logging.WARNING)
    study = library.create_study(sampler=library.samplers.TPESampler(seed=seed))  # and its default pruner

    def objective(asked: Any) -> float:
        def report(step: int, loss: float) -> None:
            asked.report(loss, step)
            if asked.should_prune():
                raise library.TrialPruned

        return trial(corpus, suggested(asked), minutes, seed, report)

    left = max(begun + SEARCH_SHARE * 60 * minutes - time.monotonic(), 1.0)
    study.optimize(objective, timeout=left)
    result = final(corpus, study.best_params, seed, begun + 60 * minutes)
    return {**scores(result), "trials": len(study.trials)}


SIDES |= {"ours": ours, "default": default, "hyperopt": hyperopt, "optuna": optuna}


def suggested(asked: Any) -> dict[str, Any]:
    """Our own space as Optuna asks it."""
    from minilm.tuner.space import dimensions

    found: dict[str, Any] = {}
    for one in dimensions():
        if one.kind == "log":
            found[one.name] = asked.suggest_float(one.name, one.low, one.high, log=True)
        elif one.kind == "steps":
            found[one.name] = asked.suggest_float(one.name, one.low, one.high, step=one.step)
        elif one.kind == "int":
            found[one.name] = asked.suggest_int(one.name, int(one.low), int(one.high))
        else:
            found[one.name] = asked.suggest_int(
                one.name, int(one.low), int(one.high), step=int(one.step or 1)
            )
    return found


def trial(
    corpus: Any,
    point: dict[str, Any],
    minutes: float,
    seed: int,
    report: Callable[[int, float], None] | None = None,
) -> float:
    """One training of a rival's search, a whole one with the recipe's own schedule."""
    from minilm.errors import MinilmError
    from minilm.training.session import run_training
    from minilm.tuner.propose import plain
    from minilm.tuner.space import limits_for, to_configs

    limits = limits_for(len(corpus.train))
    model, train = to_configs(plain(point), corpus.tokenizer.vocab_size, limits)
    train = train.replace(
        minutes=TRIAL_SHARE * minutes, seed=seed, evaluations=8, eval_chars=8000, patience=None
    )

    def record(values: dict[str, Any]) -> None:
        if report is not None and "val_loss" in values:
            report(round(8 * values["progress"]), values["val_loss"])

    try:
        return float(run_training(corpus, model, train, test=False, on_record=record).result["val_loss"])
    except MinilmError:
        return WORST


def final(corpus: Any, point: dict[str, Any], seed: int, end: float) -> dict[str, Any]:
    """The configuration trained until `end`, a moment of `time.monotonic()`."""
    from minilm.training.session import run_training
    from minilm.tuner.propose import plain
    from minilm.tuner.space import DEFAULT_POINT, limits_for, to_configs

    limits = limits_for(len(corpus.train))
    model, train = to_configs({**DEFAULT_POINT, **plain(point)}, corpus.tokenizer.vocab_size, limits)
    left = max(end - RESERVE - time.monotonic(), 1.0)
    train = train.replace(minutes=left / 60, seed=seed)
    return run_training(corpus, model, train, deadline=time.monotonic() + left).result


def scores(result: dict[str, Any]) -> dict[str, Any]:
    names = ("val_loss", "test_loss", "protocol", "n_parameters", "steps")
    return {name: result[name] for name in names}


def one(side: str, name: str, minutes: float, seed: int) -> None:
    """Runs one job in this process and prints its line."""
    from minilm import load_corpus
    from minilm.training.clock import process_started

    begun = process_started()
    corpus = load_corpus(name)
    facts = SIDES[side](corpus, minutes, seed, begun)
    spent = round(time.monotonic() - begun, 2)
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    job = {"cores_used": threads, "side": side, "corpus": name, "minutes": minutes, "seed": seed}
    print(json.dumps({**job, **facts, "wall_seconds": spent}), flush=True)
    os._exit(0)  # torch takes seconds to tidy up after itself


def jobs(arguments: argparse.Namespace) -> list[tuple[str, str, float, int]]:
    """In turns of sides, the short ones first."""
    sides = {"paired": ["ours", "default"], "rivals": ["ours", "hyperopt", "optuna"], "deadline": ["ours"]}
    return [
        (side, corpus, minutes, seed)
        for minutes in sorted(arguments.minutes)
        for seed in range(arguments.repeats)
        for corpus in arguments.corpus
        for side in sides[arguments.part]
    ]


def measure(arguments: argparse.Namespace, path: Path) -> None:
    done = {tuple(line[key] for key in ("side", "corpus", "minutes", "seed")) for line in lines(path)}
    left = [job for job in jobs(arguments) if job not in done]
    for turn in [list(group) for _, group in itertools.groupby(left, lambda job: job[1:])]:
        for together in [turn] if arguments.beside else [[job] for job in turn]:
            begun = [
                (job, begin(job, core if arguments.beside else None)) for core, job in enumerate(together)
            ]
            for job, (process, started) in begun:
                write_line(job, process, started, path)


def begin(job: tuple[str, str, float, int], core: int | None) -> tuple[subprocess.Popen[str], float]:
    """The job's process, on that core alone or on all, and when it began."""
    side, corpus, minutes, seed = job
    command = [] if core is None else ["taskset", "-c", str(core)]
    command += [sys.executable, __file__, "one", "--side", side, "--corpus", corpus]
    command += ["--minutes", str(minutes), "--seed", str(seed)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **pipes), time.monotonic()


def write_line(
    job: tuple[str, str, float, int], process: subprocess.Popen[str], started: float, path: Path
) -> None:
    answer, told = process.communicate()
    watched = round(time.monotonic() - started, 2)
    if process.returncode:
        raise SystemExit(f"{job} failed:\n{told}")
    facts = {**json.loads(answer.splitlines()[-1]), "watched_seconds": watched}
    machine = common.machine(precision="auto")  # each training takes what is fastest where it runs
    line = {**facts, **machine, "commit": common.commit(), "date": time.strftime("%Y-%m-%d")}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(f"{job}: {facts['val_loss']:.4f} / {facts['test_loss']:.4f} in {watched:.1f} s", flush=True)


def table(path: Path) -> None:
    """A row for each text, length and side, and what separates the sides seed by seed."""
    found: dict[tuple[str, float], dict[str, dict[int, dict[str, Any]]]] = {}
    for line in lines(path):
        of = found.setdefault((line["corpus"], line["minutes"]), {})
        of.setdefault(line["side"], {})[line["seed"]] = line
    print(
        "| text | minutes | side | val | test | to ours, test | seeds | longest |\n|---|---|---|---|---|---|---|---|"
    )
    for (corpus, minutes), sides in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):
        for side, runs in sides.items():
            val, test = (
                statistics.mean(run[key] for run in runs.values()) for key in ("val_loss", "test_loss")
            )
            both = sorted(set(runs) & set(sides.get("ours", {})))
            apart = [runs[seed]["test_loss"] - sides["ours"][seed]["test_loss"] for seed in both]
            told = "" if side == "ours" or not apart else ", ".join(f"{one:+.3f}" for one in apart)
            longest = max(run["watched_seconds"] for run in runs.values())
            row = f"{val:.4f} | {test:.4f} | {told} | {len(runs)} | {longest:.1f} s"
            print(f"| {corpus} | {minutes:g} | {side} | {row} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("paired", "rivals", "deadline", "one"))
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 3.0, 10.0, 30.0])
    parser.add_argument("--corpus", nargs="+", default=["shakespeare", "fables", "pydocs"])
    parser.add_argument("--repeats", type=int, default=3, help="seeds of each")
    parser.add_argument("--side", choices=tuple(SIDES), default="ours", help="of `one`")
    parser.add_argument("--seed", type=int, default=0, help="of `one`")
    parser.add_argument("--records", default=str(Path(__file__).with_name("tuning.jsonl")))
    parser.add_argument("--beside", action="store_true", help="the sides at the same time, one core each")
    parser.add_argument("--table", action="store_true", help="only print the table of what is recorded")
    arguments = parser.parse_args()
    if arguments.part == "one":
        one(arguments.side, arguments.corpus[0], arguments.minutes[0], arguments.seed)
    if not arguments.table:
        measure(arguments, Path(arguments.records))
    table(Path(arguments.records))


if __name__ == "__main__":
    main()
