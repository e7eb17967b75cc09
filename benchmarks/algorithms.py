"""Races the search algorithms on the recorded trainings of `record.py`: who finds something good in few trials?

A trial is a look into the records, so thousands cost seconds. Every algorithm searches the grid as Hyperopt's own
`fmin` does, all of it at full length; a combination that is not recorded fails. What refusing costs and gains is read
off by drawing without any algorithm, from all and from what `minilm/tuner/feasible.py` would let through. Regret: how
far the best loss found is above the best recorded one, in nats, the mean over the seeds and its standard error.
"""

from __future__ import annotations

import math
from pathlib import Path

import common
import numpy as np
from hyperopt import Trials, fmin, hp
from recipe import lines
from record import GRID

Combination = tuple[float, ...]
MARKS = (10, 20, 30)  # trials


def recorded(path: Path) -> dict[Combination, tuple[float, int, int]]:
    """Combination -> final loss, steps, tokens; the first seed's."""
    found = {}
    for line in lines(path):
        if line["seed"] == 0 and line["loss"] is not None:
            point, steps = line["point"], line["steps"]
            tokens = int(steps * point["block_size"] * point["batch_size"])
            found[tuple(point[name] for name in GRID)] = (line["loss"], steps, tokens)
    return found


def regrets(name: str, table: dict[Combination, tuple[float, int, int]], seeds: int) -> np.ndarray:
    """(seeds, MARKS)"""
    from minilm.tuner.algorithms import ALGORITHMS

    low, high = -0.499, 0.499  # so that the first and the last step are as wide as the others
    space = {key: hp.quniform(key, low, len(values) - 1 + high, 1) for key, values in GRID.items()}
    best = min(loss for loss, _, _ in table.values())

    def loss_of(point: dict[str, float]) -> float:
        key = tuple(values[int(abs(point[key]))] for key, values in GRID.items())
        return table.get(key, (math.nan, 0, 0))[0]

    found = []
    for seed in range(seeds):
        trials, generator = Trials(), np.random.default_rng(seed)
        quiet = {"show_progressbar": False, "verbose": False}
        fmin(loss_of, space, ALGORITHMS[name], max(MARKS), trials=trials, rstate=generator, **quiet)
        losses = np.array([loss if math.isfinite(loss) else math.inf for loss in trials.losses()])
        found.append([losses[:mark].min() - best for mark in MARKS])
    return np.array(found)


FEWEST_TRIAL_STEPS, FEWEST_TRIAL_TOKENS = 100, 100_000  # what saw less came nowhere near the winner


def refusing(table: dict[Combination, tuple[float, int, int]], draws: int = 2000) -> None:
    rng, best = np.random.default_rng(0), min(loss for loss, _, _ in table.values())
    every = [loss for loss, _, _ in table.values()]
    seeing = [
        loss
        for loss, steps, tokens in table.values()
        if steps >= FEWEST_TRIAL_STEPS and tokens >= FEWEST_TRIAL_TOKENS
    ]
    blind = min(set(every) - set(seeing))
    print(
        f"{len(every)} recorded, {len(every) - len(seeing)} see too little; the best of these: +{blind - best:.3f}"
    )
    for count in (4, 8, 16):
        means = [
            np.mean([min(rng.choice(losses, count, replace=False)) for _ in range(draws)]) - best
            for losses in (every, seeing)
        ]
        print(
            f"best of {count} at random: +{means[0]:.4f} of all, +{means[1]:.4f} of those that are not refused"
        )


def main() -> None:
    parser = common.parser(__doc__ or "")
    parser.add_argument("--records", default="record.jsonl", help="of record.py")
    parser.add_argument("--seeds", type=int, default=30)
    arguments = parser.parse_args()
    table = recorded(Path(arguments.records))
    refusing(table)
    from minilm.tuner.algorithms import ALGORITHMS

    for name in ALGORITHMS:
        found = regrets(name, table, arguments.seeds)
        errors = found.std(0) / math.sqrt(arguments.seeds)
        told = (
            f"after {m}: +{mean:.4f} +- {e:.4f}"
            for m, mean, e in zip(MARKS, found.mean(0), errors, strict=True)
        )
        print(f"{name}: {', '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
