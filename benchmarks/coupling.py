"""Reads what the trainings of `record.py` say about prices and learning rates: the constants of `minilm/cost.py`, and
the powers by which the tuner couples the learning rate with the other settings.

Reads the records, trains nothing. The best rate of every shape is fitted with one model for all: the loss rises with
the square of the distance from it in octaves, more slowly on one side than on the other; how high the shape's own
valley lies is left free.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
from recipe import lines
from record import SHAPE
from scipy.optimize import least_squares, nnls

REFERENCE = {"num_layers": 2, "hidden_size": 128, "block_size": 128, "batch_size": 8, "learning_rate": 0.032}
ROBUST = 0.03  # nats; a residual that is larger counts less than by its square
NAMES = {"num_layers": "layers", "hidden_size": "width", "block_size": "context", "batch_size": "batch"}


def prices(path: Path) -> None:
    """Fits seconds = (operations + a x kept numbers + b x (layers + 1)) / rate to the measured steps."""
    from minilm.cost import kept_numbers, step_flops
    from minilm.tuner.space import to_configs

    measured = json.loads(path.read_text(encoding="utf-8"))
    rows = []
    for key in measured:
        point = dict(zip(SHAPE, map(int, key.split()), strict=True))
        shape, train = to_configs(point, vocab_size=65)
        rows.append([step_flops(shape, train), kept_numbers(shape, train.batch_size), shape.n_layer + 1])
    table, seconds = np.array(rows, float), np.array(list(measured.values()))
    for columns, name in ((1, "products alone"), (3, "with kept numbers and layers")):
        weights, _ = nnls(table[:, :columns] / seconds[:, None], np.ones(len(seconds)))
        ratio = table[:, :columns] @ weights / seconds
        spread = f"off by {np.log(ratio).std():.1%} (sd), from x{ratio.min():.2f} to x{ratio.max():.2f}"
        print(
            f"{name}: {1 / weights[0] / 1e9:.1f} GFLOP/s, {spread}; {(weights / weights[0]).round().astype(int)}"
        )


def octaves(records: Sequence[dict[str, Any]], names: Sequence[str]) -> np.ndarray:
    return np.array([[math.log2(r["point"][name] / REFERENCE[name]) for name in names] for r in records])


def powers(
    records: Sequence[dict[str, Any]], losses: Sequence[float], groups: Sequence[Sequence[str]]
) -> None:
    """Prints the fitted best rate at the reference, and the power of each group of settings that it grows with."""
    shapes = {tuple(r["point"][name] for name in SHAPE) for r in records}
    number = {shape: index for index, shape in enumerate(sorted(shapes))}
    of = np.array([number[tuple(r["point"][name] for name in SHAPE)] for r in records])
    rate = octaves(records, ["learning_rate"])[:, 0]
    features = (
        np.stack([octaves(records, group).sum(1) for group in groups], 1)
        if groups
        else np.zeros((len(of), 0))
    )
    y, size = np.array(losses), np.bincount(of)

    def residuals(parameters: np.ndarray) -> np.ndarray:
        best, left, right = parameters[:3]
        distance = rate - best - features @ parameters[3:]
        rest = y - np.where(distance < 0, left, right) * distance**2
        return rest - (np.bincount(of, rest) / size)[of]

    start = np.array([-1.0, 0.01, 0.01, *[0.0] * len(groups)])
    found = least_squares(residuals, start, loss="soft_l1", f_scale=ROBUST)
    freedom = max(1, len(y) - len(number) - len(start))
    left_over = residuals(found.x)
    error = np.sqrt(np.diag(np.linalg.pinv(found.jac.T @ found.jac)) * (left_over @ left_over) / freedom)
    told = [
        f"{' x '.join(NAMES[name] for name in group)} ^ {power:+.2f} +- {one:.2f}"
        for group, power, one in zip(groups, found.x[3:], error[3:], strict=True)
    ]
    best = REFERENCE["learning_rate"] * 2 ** found.x[0]
    print(f"  best rate {best:.4f} at the reference; {', '.join(told) or 'the same for all'}")
    valley = f"{found.x[1]:.3f} below, {found.x[2]:.3f} above the best rate"
    print(
        f"    loss per octave squared: {valley}; residual {math.sqrt(left_over @ left_over / freedom):.4f} nats"
    )


def loss_at_step(record: dict[str, Any], step: int) -> float | None:
    """On the way, while the learning rate is still high; None where the training is not there by then."""
    steps, losses = zip(*record["curve"], strict=True)
    if not steps[0] <= step <= 0.8 * record["steps"]:
        return None
    return float(np.interp(math.log(step), np.log(steps), losses))


def main() -> None:
    parser = common.parser(__doc__ or "")
    parser.add_argument("--records", default="record.jsonl", help="of record.py")
    path = Path(parser.parse_args().records)
    prices(path.with_suffix(".prices.json"))
    records = [r for r in lines(path) if r["loss"] is not None]
    each = [[name] for name in SHAPE]
    print(f"equal seconds, {len(records)} trainings")
    for groups in ([], each, [["num_layers", "hidden_size"], ["block_size", "batch_size"]]):
        powers(records, [r["loss"] for r in records], groups)
    for step in (50, 80, 120):
        there = [(r, loss) for r in records if (loss := loss_at_step(r, step)) is not None]
        print(f"equal steps, after {step}, {len(there)} trainings")
        powers([r for r, _ in there], [loss for _, loss in there], each)


if __name__ == "__main__":
    main()
