"""Measures the package of this checkout against that of another one, in turns, each in a process of its own.

`throughput.py --against PATH` and `evaluation.py --against PATH` use it; make the other checkout with
`git worktree add PATH COMMIT`. A process measures when it is asked to and sleeps in between, so that a busy moment hits
both sides; both are started anew for each sitting, since two processes of the same code may differ by a few per cent.
Beside its seconds each round gives a loss: under the same seed both sides should have the same one.

What is measured runs on both sides by names that both have, so this file is the place for an old name.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import common

Job = dict[str, Any]


class Round(NamedTuple):
    """What a process answers."""

    seconds: float
    loss: float


def training(job: Job) -> Callable[[], Round]:
    """Seconds of a step of the default recipe in another shape, after the first few; the loss of the best step."""
    from minilm.config import default_recipe
    from minilm.training.session import run_training

    corpus, _ = common.shakespeare()
    shape, config = default_recipe(corpus.tokenizer.vocab_size)
    quiet = {"evaluations": 1, "eval_chars": 1024, "patience": None, "device": "cpu"}
    steps = job["warm"] + job["steps"] + 1  # the last one's record comes after an evaluation
    config = config.replace(**quiet, steps=steps, threads=job["threads"], precision=job["precision"])
    now = common.CLOCKS[job["clock"]]

    def measure() -> Round:
        moments: dict[int, float] = {}  # of a step's end

        def note(record: dict[str, Any]) -> None:
            if "val_loss" not in record:
                moments[record["step"]] = now()

        run = run_training(corpus, shape.replace(**job["model"]), config, test=False, on_record=note)
        first, *_, last = [step for step in sorted(moments) if step >= job["warm"]]
        return Round((moments[last] - moments[first]) / (last - first), run.result["val_loss"])

    return measure


def evaluation(job: Job) -> Callable[[], Round]:
    """Seconds of an exact loss on Tiny Shakespeare's last 10 %, 111,540 characters, of a model with random weights."""
    import torch

    from minilm import GPT
    from minilm.config import PRESETS

    try:
        from minilm.training.evaluate import exact_loss
    except ImportError:  # its name before
        from minilm.training.evaluation import exact_loss

    torch.set_num_threads(job["threads"])
    corpus, val = common.shakespeare()
    torch.manual_seed(0)
    model = GPT(PRESETS[job["preset"]].configs(corpus.tokenizer.vocab_size)[0].replace(**job["model"])).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.08 * torch.randn_like(parameter))  # so that no layer adds nothing
    now = common.CLOCKS[job["clock"]]
    before, chars = int(corpus.train[-1]), job["chars"]

    def measure() -> Round:
        started = now()
        loss = exact_loss(model, val, before=before, chars=chars)
        return Round(now() - started, loss)

    exact_loss(model, val, before=before, chars=2048)
    return measure


JOBS: dict[str, Callable[[Job], Callable[[], Round]]] = {"training": training, "evaluation": evaluation}


class Side:
    """A process with the package of one checkout."""

    def __init__(self, checkout: Path, name: str, job: Job) -> None:
        environment = {**os.environ, common.CHECKOUT: str(checkout), "PYTHONPATH": str(checkout)}
        self.process = subprocess.Popen(
            [sys.executable, __file__, name, json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        if Path(self.line()).resolve() != checkout.resolve():
            raise SystemExit(f"{checkout} does not hold the package: another one was imported")

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a process ended with {self.process.wait()}; its error stands above")
        return line.strip()

    def measure(self) -> Round:
        assert self.process.stdin is not None
        print("go", file=self.process.stdin, flush=True)
        return Round(*json.loads(self.line()))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def in_turns(arguments: argparse.Namespace, name: str, job: Job) -> dict[str, list[Round]]:
    """The rounds of both sides, this checkout's first; who begins a round changes."""
    other = Path(arguments.against).resolve()
    if not (other / "minilm").is_dir():
        raise SystemExit(f"{other} is not a checkout: it has no package minilm")
    places = {f"this, {common.commit()}": common.ROOT, f"that, {common.commit(other)}": other}
    found: dict[str, list[Round]] = {side: [] for side in places}
    for _ in range(arguments.sittings):
        with contextlib.ExitStack() as stack:
            sides = {side: Side(place, name, job) for side, place in places.items()}
            for side in sides.values():
                stack.callback(side.close)
            for turn in range(arguments.rounds):
                for side in list(sides)[:: 1 if turn % 2 else -1]:
                    found[side].append(sides[side].measure())
    return found


def compare(
    title: str,
    arguments: argparse.Namespace,
    name: str,
    job: Job,
    unit: str,
    value: Callable[[float], float],
) -> None:
    """Measures both sides and reports `value` of their seconds, and whether their losses are the same."""
    found = in_turns(arguments, name, job)
    values = {side: [value(round.seconds) for round in rounds] for side, rounds in found.items()}
    this, that = ([round.loss for round in rounds] for rounds in found.values())
    losses = max(abs(one - other) for one, other in zip(this, that, strict=True))
    print(f"\nlosses under the same seed: {this[0]:.8f} and {that[0]:.8f}, at most {losses:.2g} apart")
    common.report(title, values, unit, arguments, against=list(values)[1], losses_apart=losses, **job)


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--against", metavar="PATH", help="another checkout, whose package to measure against"
    )
    parser.add_argument("--sittings", type=int, default=3, help="with --against: pairs of fresh processes")
    common.add_clock(parser)


def main() -> None:
    """Serves one side: a line on stdin asks for a round."""
    import minilm

    name, job = sys.argv[1:]
    measure = JOBS[name](json.loads(job))
    print(Path(minilm.__file__).parents[1], flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure()), flush=True)


if __name__ == "__main__":
    main()
