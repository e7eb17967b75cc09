"""Counts how often the interval of "what more time would buy" holds the truth: trainings recorded by `record.py`, cut
short, forecast, and compared with how they went on.

    python benchmarks/forecast.py records.jsonl
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from minilm.plots.more_time import more_time_numbers

STEADY = 0.8  # of a recorded training, before its learning rate comes down
CUTS = ((0.26, 2.0), (0.37, 2.0))  # (share of the training that is known, times as much)
DIVERGED = 2.4  # nats per character; configurations that end above this are of no interest to anybody


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path, help="what record.py wrote")
    lines = parser.parse_args().records.read_text(encoding="utf-8").splitlines()
    curves = [json.loads(line)["curve"] for line in lines]
    sound = [curve for curve in curves if all(y is not None for _, y in curve) and curve[-1][1] <= DIVERGED]
    print(f"{len(curves)} trainings, {len(sound)} of them sound")
    for share, factor in CUTS:
        tried = [found for curve in sound if (found := check(curve, share, factor)) is not None]
        errors = [forecast - truth for forecast, truth, _ in tried]
        print(
            f"known {share:.0%}, forecast {factor:g} times as far: {len(tried)} forecasts, "
            f"interval held {statistics.mean(held for _, _, held in tried):.0%}, "
            f"mean gain {statistics.mean(truth for _, truth, _ in tried):.3f}, "
            f"mean error {statistics.mean(errors):+.3f}, "
            f"mean absolute error {statistics.mean(map(abs, errors)):.3f} nats per character"
        )


def check(curve: list[Any], share: float, factor: float) -> tuple[float, float, bool] | None:
    """(gain forecast, gain in truth, whether the interval held it) of a curve cut short; steps stand for seconds."""
    last = curve[-1][0]
    steady = [(float(x), float(y)) for x, y in curve if x <= STEADY * last]
    known = [(x, y) for x, y in steady if x <= share * last]
    now, later = _near(steady, known[-1][0], until=known[-1][0]), _near(steady, factor * known[-1][0])
    made = more_time_numbers(known, known[-1], factors=(factor,))
    if made is None:
        return None
    gain, end = made.gains[0], known[-1][1]
    truth = now - later
    return end - gain.loss, truth, bool(end - gain.high <= truth <= end - gain.low)


def _near(curve: list[tuple[float, float]], x: float, until: float = float("inf")) -> float:
    """The mean loss around a moment: one measurement by itself is noisy."""
    gap = curve[1][0] - curve[0][0]
    return statistics.mean(y for at, y in curve if abs(at - x) <= 1.3 * gap and at <= until)


if __name__ == "__main__":
    main()
