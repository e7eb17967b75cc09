"""Lab 5: tuning. Fill the gaps; `python -m minilm.classroom check lab5.py` tells how far you are.

You may use torch, numpy, Hyperopt and the standard library, and call your own earlier functions. Import Hyperopt inside
the function that needs it, since that takes a second. Losses are in nats per character, and None is the loss of a
training that failed. When the search is right, `python lab5.py` races it against random search.
"""

from __future__ import annotations

import json
import math
import random
import statistics
from pathlib import Path
from typing import Any


def log_uniform(u: list[float], low: float, high: float) -> list[float]:
    """Numbers between 0 and 1 made into numbers between low and high, so that every factor is equally likely: half of
    them lie below sqrt(low * high). 0 gives low and 1 gives high."""
    return [low * (high / low) ** x for x in u]


def space() -> dict[str, Any]:
    """A search space for Hyperopt, a dictionary of its expressions: "learning_rate" log-uniform from 0.001 to 0.3,
    "num_layers" 1, 2 or 3, and "hidden_size" a multiple of 32 from 32 to 256."""
    from hyperopt import hp

    return {
        "learning_rate": hp.loguniform("learning_rate", math.log(0.001), math.log(0.3)),
        "num_layers": hp.choice("num_layers", [1, 2, 3]),
        "hidden_size": hp.quniform("hidden_size", 32, 256, 32),
    }


def portrait() -> dict[str, Any]:
    """Given: what 500 points drawn from your space look like; "rates" counts them in four ranges of equal factors."""
    import numpy as np
    from hyperopt.pyll import stochastic

    expression, generator = space(), np.random.default_rng(0)
    points = [stochastic.sample(expression, rng=generator) for _ in range(500)]
    places = [math.log(point["learning_rate"] / 0.001) / math.log(300) for point in points]
    quarters = [sum(n / 4 <= place < (n + 1) / 4 for place in places) for n in range(4)]
    return {
        "layers": sorted({float(point["num_layers"]) for point in points}),
        "widths": sorted({float(point["hidden_size"]) for point in points}),
        "rates": [
            "a quarter" if 85 <= count <= 165 else "another share" if count else "none" for count in quarters
        ],
    }


def training(point: dict[str, Any]) -> float:
    """Given: plays a training. It returns the final loss, or what trainings do instead when they fail."""
    rate, width = point["learning_rate"], point["hidden_size"]
    if width > 4096:
        raise MemoryError("not enough memory")
    if width == 0:
        raise KeyboardInterrupt  # somebody pressed Ctrl-C
    if rate > 0.5:
        return math.nan if rate < 1 else math.inf
    return 1.5 + 0.1 * math.log10(rate / 0.01) ** 2 + 10 / width if rate > 0 else -math.inf


def objective(point: dict[str, Any]) -> dict[str, Any]:
    """What Hyperopt is told of a `training` of this point: {"loss": its loss, "status": "ok"}, and {"status": "fail"}
    without a loss where there is no finite one or the training raised an error. Ctrl-C must still stop everything."""
    try:
        loss = training(point)
    except Exception:
        return {"status": "fail"}
    return {"loss": loss, "status": "ok"} if math.isfinite(loss) else {"status": "fail"}


def stops(point: dict[str, Any]) -> bool:
    """Given: whether Ctrl-C in the training of this point gets through your objective."""
    try:
        objective(point)
    except KeyboardInterrupt:
        return True
    return False


def best_so_far(losses: list[float | None]) -> list[float | None]:
    """The lowest loss of all trials up to each one, in their order; None as long as all have failed."""
    best: float | None = None
    found = []
    for loss in losses:
        if loss is not None and (best is None or loss < best):
            best = loss
        found.append(best)
    return found


def split(losses: list[float | None], gamma: float) -> tuple[list[int], list[int]]:
    """(good, bad): which trials, by number from 0 and in ascending order. Of n trials the ceil(gamma * sqrt(n)) with
    the lowest losses are good, the earlier ones where losses are equal. A failed trial is never good."""
    n = math.ceil(gamma * math.sqrt(len(losses)))
    done = sorted((loss, trial) for trial, loss in enumerate(losses) if loss is not None)
    good = sorted(trial for _, trial in done[:n])
    return good, [trial for trial in range(len(losses)) if trial not in good]


def score(x: list[float], good: list[list[float]], bad: list[list[float]], width: float) -> float:
    """log l(x) - log g(x) for a point x of D coordinates between 0 and 1, added up over the coordinates.

    l at a coordinate is the mean of 1 + len(good) densities: the uniform one, which is 1, and for each good point a
    Gaussian of standard deviation `width` around its coordinate. g is the same for the bad points.
    """
    total = 0.0
    for d, value in enumerate(x):
        for points, sign in ((good, 1), (bad, -1)):
            bells = [math.exp(-(((value - p[d]) / width) ** 2) / 2) for p in points]
            density = (1 + sum(bells) / (width * math.sqrt(2 * math.pi))) / (1 + len(points))
            total += sign * math.log(density)
    return total


def search(table: dict[str, Any], order: list[int], trials: int, first: int, candidates: int) -> list[int]:
    """Which rows of the table are tried, in order, `trials` of them.

    table: "points" (coordinates between 0 and 1) and "losses" of its rows. Only losses of rows already tried may be
    looked at. `order` lists all rows in a random order. The first trials, `first` of them, are its first rows. After
    that each trial looks at the first `candidates` rows of `order` that are not tried yet and takes the one with the
    highest score, the earliest where scores are equal; `split` with gamma 0.5 and `score` with width 0.2.
    """
    points, losses = table["points"], table["losses"]
    tried = order[:first]
    while len(tried) < trials:
        good, bad = split([losses[row] for row in tried], 0.5)
        near, far = [points[tried[t]] for t in good], [points[tried[t]] for t in bad]
        offered = [row for row in order if row not in tried][:candidates]
        tried = [*tried, max(offered, key=lambda row: score(points[row], near, far, 0.2))]
    return tried


def read_report(report: dict[str, Any]) -> dict[str, Any]:
    """What a tuning report says. It holds test losses of several seeds, "default" and "tuned", the counting model's
    test loss "counting", and the "trials" of the search, None for those that failed.

    "gain": mean of default minus mean of tuned. "noise": 2 sqrt(s1^2 / n1 + s2^2 / n2), with the sample standard
    deviations s (n - 1 in the denominator) and numbers n of seeds of both. "verdict": "better" if the gain is larger
    than the noise, "worse" if it is smaller than minus the noise, else "within the noise". "bits": the tuned mean in
    bits per character. "beats_counting": whether the tuned mean is below it. "failed": the share of trials that failed.
    """
    default, tuned, trials = report["default"], report["tuned"], report["trials"]
    gain = statistics.fmean(default) - statistics.fmean(tuned)
    noise = 2 * math.sqrt(sum(statistics.variance(losses) / len(losses) for losses in (default, tuned)))
    return {
        "gain": gain,
        "noise": noise,
        "verdict": "better" if gain > noise else "worse" if gain < -noise else "within the noise",
        "bits": statistics.fmean(tuned) / math.log(2),
        "beats_counting": statistics.fmean(tuned) < report["counting"],
        "failed": sum(loss is None for loss in trials) / len(trials),
    }


def with_hyperopt(table: dict[str, Any], suggest: Any, seed: int, trials: int) -> list[float | None]:
    """Given: the losses that one of Hyperopt's algorithms finds. It draws places in the grid, all equally often at
    first, and may draw a row again, which random search here never does."""
    import numpy as np
    from hyperopt import Trials, fmin, hp

    grid = [sorted(set(column)) for column in zip(*table["points"], strict=True)]

    def training_at(places: list[float]) -> float:
        point = [column[int(place)] for column, place in zip(grid, places, strict=True)]
        apart = [sum((a - b) ** 2 for a, b in zip(point, row, strict=True)) for row in table["points"]]
        return table["losses"][apart.index(min(apart))]

    ends = [
        len(column) - 0.501 for column in grid
    ]  # quniform rounds, so that the first and last are not rarer
    places = [hp.quniform(name, -0.5, end, 1) for name, end in zip(table["names"], ends, strict=True)]
    memory, options = Trials(), {"max_evals": trials, "show_progressbar": False, "verbose": False}
    fmin(training_at, places, algo=suggest, trials=memory, rstate=np.random.default_rng(seed), **options)
    return memory.losses()


def race(orders: int = 20, trials: int = 40) -> None:
    """Given: your search against random search and Hyperopt's own, several times, on the trainings in recorded.json."""
    from hyperopt import anneal, tpe

    table = json.loads(Path("recorded.json").read_text(encoding="utf-8"))
    rows = range(len(table["losses"]))

    def yours(seed: int, candidates: int) -> list[float | None]:
        order = random.Random(seed).sample(rows, len(rows))
        return [table["losses"][row] for row in search(table, order, trials, 8, candidates)]

    runners = {"random": lambda seed: yours(seed, 1), "your TPE": lambda seed: yours(seed, 24)}
    runners["Hyperopt's TPE"] = lambda seed: with_hyperopt(table, tpe.suggest, seed, trials)
    runners["annealing"] = lambda seed: with_hyperopt(table, anneal.suggest, seed, trials)
    try:
        from minilm.tuner import genetic

        runners["genetic"] = lambda seed: with_hyperopt(table, genetic.suggest, seed, trials)
    except ImportError:
        print("(minilm is not installed here, so its genetic algorithm does not run)")
    print(
        f"{len(rows)} trainings, the best {min(table['losses']):.3f}; mean best loss of {orders} searches after"
    )
    print(f"{'trials':16}" + "".join(f"{n:8}" for n in (10, 20, trials)) + "   noise of the last")
    for name, run in runners.items():
        curves: list[Any] = [best_so_far(run(seed)) for seed in range(orders)]
        means = [statistics.fmean(curve[n - 1] for curve in curves) for n in (10, 20, trials)]
        noise = 2 * statistics.stdev(curve[-1] for curve in curves) / math.sqrt(orders)
        print(f"{name:16}" + "".join(f"{mean:8.3f}" for mean in means) + f"   {noise:.3f}")


if __name__ == "__main__":
    race()
