"""Other right ways through lab 5; all must get full points."""

from __future__ import annotations

import math
import statistics
from heapq import nsmallest
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minilm.classroom.labs.lab5.solution import (
    score,
    split,
    training,
)


def log_uniform__logarithms(u: list[float], low: float, high: float) -> Tensor:
    x = torch.tensor(u, dtype=torch.float64)
    return (math.log(low) + x * (math.log(high) - math.log(low))).exp()


def log_uniform__powers_of_ten(u: list[float], low: float, high: float) -> list[float]:
    return [10 ** (math.log10(low) * (1 - x) + math.log10(high) * x) for x in u]


def space__whole_numbers() -> dict[str, Any]:
    from hyperopt import hp

    return {
        "learning_rate": hp.loguniform("lr", math.log(1e-3), math.log(0.3)),
        "num_layers": hp.randint("layers", 1, 4),
        "hidden_size": 32 * (1 + hp.randint("width", 8)),
    }


def space__choices() -> dict[str, Any]:
    from hyperopt import hp

    return {
        "learning_rate": 10 ** hp.uniform("exponent", -3, math.log10(0.3)),
        "num_layers": hp.uniformint("num_layers", 1, 3),
        "hidden_size": hp.choice("hidden_size", [32 * n for n in range(1, 9)]),
    }


def objective__constants(point: dict[str, Any]) -> dict[str, Any]:
    from hyperopt import STATUS_FAIL, STATUS_OK

    try:
        loss = float(training(point))
        if not -1e300 < loss < 1e300:
            raise ArithmeticError(f"the loss is {loss}")
    except Exception:
        return {"status": STATUS_FAIL}
    return {"status": STATUS_OK, "loss": loss}


def objective__named_errors(point: dict[str, Any]) -> dict[str, Any]:
    try:
        loss = training(point)
    except (MemoryError, RuntimeError, ValueError, ArithmeticError):
        loss = math.nan
    if math.isnan(loss) or math.isinf(loss):
        return {"status": "fail"}
    return {"status": "ok", "loss": torch.tensor(loss)}


def best_so_far__slices(losses: list[float | None]) -> list[float | None]:
    return [min((x for x in losses[: t + 1] if x is not None), default=None) for t in range(len(losses))]


def split__infinities(losses: list[float | None], gamma: float) -> tuple[list[int], list[int]]:
    keys = torch.tensor([math.inf if loss is None else loss for loss in losses])
    ranks = keys.argsort(stable=True).argsort()
    wanted = (ranks < math.ceil(gamma * len(losses) ** 0.5)) & keys.isfinite()
    return wanted.nonzero().flatten().tolist(), (~wanted).nonzero().flatten().tolist()


def split__pairs(losses: list[float | None], gamma: float) -> list[Tensor]:
    pairs = sorted((loss, t) for t, loss in enumerate(losses) if loss is not None)
    good = {t for _, t in pairs[: math.ceil(gamma * math.sqrt(len(losses)))]}
    parts = [[t for t in range(len(losses)) if (t in good) == wanted] for wanted in (True, False)]
    return [torch.tensor(part, dtype=torch.long) for part in parts]


def score__tensors(x: list[float], good: list[list[float]], bad: list[list[float]], width: float) -> Tensor:
    def density(points: list[list[float]]) -> Tensor:
        if not points:
            return torch.ones(len(x))
        apart = (torch.tensor(x) - torch.tensor(points)) / width  # (N, D)
        bells = (-apart.square() / 2).exp() / (width * math.sqrt(2 * math.pi))
        return (1 + bells.sum(0)) / (1 + len(points))

    return (density(good).log() - density(bad).log()).sum()


def score__product(x: list[float], good: list[list[float]], bad: list[list[float]], width: float) -> float:
    ratio = 1.0
    for d in range(len(x)):
        for points, power in ((good, 1), (bad, -1)):
            normal = statistics.NormalDist(x[d], width)
            ratio *= ((1 + sum(normal.pdf(p[d]) for p in points)) / (1 + len(points))) ** power
    return math.log(ratio)


def search__a_set(
    table: dict[str, Any], order: list[int], trials: int, first: int, candidates: int
) -> list[int]:
    left = list(order)
    tried: list[int] = []
    for trial in range(trials):
        chosen = 0
        if trial >= first:
            good, bad = split([table["losses"][row] for row in tried], 0.5)
            sides = [[table["points"][tried[t]] for t in part] for part in (good, bad)]
            scores = [score(table["points"][row], sides[0], sides[1], 0.2) for row in left[:candidates]]
            chosen = scores.index(max(scores))
        tried.append(left.pop(chosen))
    return tried


def read_report__torch(report: dict[str, Any]) -> dict[str, Any]:
    default, tuned = (torch.tensor(report[name], dtype=torch.float64) for name in ("default", "tuned"))
    gain = default.mean() - tuned.mean()
    noise = 2 * (default.var() / len(default) + tuned.var() / len(tuned)) ** 0.5
    verdict = "within the noise" if abs(gain) <= noise else "better" if gain > 0 else "worse"
    failed = len([loss for loss in report["trials"] if loss is None])
    return {
        "verdict": verdict,
        "noise": noise,
        "gain": gain,
        "failed": failed / len(report["trials"]),
        "bits": tuned.mean() / torch.log(torch.tensor(2.0, dtype=torch.float64)),
        "beats_counting": bool(tuned.mean() < report["counting"]),
    }


def log_uniform__numpy(u: list[float], low: float, high: float) -> Any:
    return np.exp(np.log(low) + np.array(u) * (np.log(high) - np.log(low)))


def log_uniform__weighted(u: list[float], low: float, high: float) -> list[float]:
    return [low ** (1 - x) * high**x for x in u]


def best_so_far__accumulated(losses: list[float | None]) -> list[float | None]:
    lowest = accumulate((math.inf if loss is None else loss for loss in losses), min)
    return [None if loss == math.inf else loss for loss in lowest]


def split__smallest(losses: list[float | None], gamma: float) -> tuple[list[int], list[int]]:
    done = [trial for trial, loss in enumerate(losses) if loss is not None]
    good = set(
        nsmallest(math.ceil(gamma * len(losses) ** 0.5), done, key=lambda trial: (losses[trial], trial))
    )
    return sorted(good), sorted(set(range(len(losses))) - good)


def score__numpy(x: list[float], good: list[list[float]], bad: list[list[float]], width: float) -> Any:
    def logs(points: list[list[float]]) -> Any:
        there = np.array(points, dtype=float).reshape(len(points), len(x))
        bells = np.exp(-0.5 * ((np.array(x) - there) / width) ** 2) / (width * np.sqrt(2 * np.pi))
        return np.log((1 + bells.sum(axis=0)) / (1 + len(points))).sum()

    return logs(good) - logs(bad)


def read_report__numpy(report: dict[str, Any]) -> dict[str, Any]:
    default, tuned = (np.array(report[name]) for name in ("default", "tuned"))
    gain = default.mean() - tuned.mean()
    noise = 2 * np.sqrt(default.var(ddof=1) / default.size + tuned.var(ddof=1) / tuned.size)
    verdict = "within the noise" if abs(gain) <= noise else "better" if gain > 0 else "worse"
    failed = np.mean([loss is None for loss in report["trials"]])
    beats = bool(tuned.mean() < report["counting"])
    return {
        "gain": gain,
        "noise": noise,
        "verdict": verdict,
        "bits": tuned.mean() / np.log(2),
        "beats_counting": beats,
        "failed": failed,
    }
