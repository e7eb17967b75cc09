"""Estimates the loss after twice and four times the training, with an interval. Numbers, then picture.

Losses of one recipe at a steady learning rate fall as a power of the training time towards a level of their own
(Hestness et al. 2017, "Deep Learning Scaling is Predictable, Empirically"; Kaplan et al. 2020). The level cannot be
seen from a short curve, so every power from "no level in sight" to "nearly there" has a say, as much as its error
allows; the interval is the spread of what they say. It knows the recipe's curve only, not what a longer search finds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from minilm.plots.slices import log_axis
from minilm.plots.style import COLOR, LOSS_LABEL, Picture, bits_axis, canvas, name_axes, note, save_png
from minilm.plots.trials import Point
from minilm.plots.verdict import is_number

FACTORS = (2.0, 4.0)
COVERED = 0.9  # of the truth, by the interval
FEWEST = 5  # measurements on a curve
SPAN = 2.0  # and the last of them this many times as late as the first
TAIL = 4.0  # measurements earlier than the last one's time divided by this are left out: they bend otherwise
POWERS = np.linspace(0.0, 1.0, 101)  # exponents tried; 0 stands for the logarithm of time
DRAWS = 4000
LEAST_ALIKE = 0.4  # correlation of neighbours on a curve: so few points cannot show that there is less
# Curves do not keep to the law: what they gain differs from what it says by a factor, whose logarithm has this
# standard deviation. Taken from recorded trainings, see benchmarks/forecast.py; without it the interval is too narrow.
MISFIT = 0.35


class Gain(NamedTuple):
    """The loss expected after `factor` times the training, and the ends of its interval; nats per character."""

    factor: float
    loss: float
    low: float
    high: float


class MoreTime(NamedTuple):
    curve: list[Point]  # (seconds, loss) at a steady learning rate, that the fit went through
    now: Point
    gains: list[Gain]


def more_time_numbers(
    curve: Sequence[Point],
    now: Point,
    floor: float | None = None,
    factors: Sequence[float] = FACTORS,
    seed: int = 0,
) -> MoreTime | None:
    """`curve`: (seconds, validation loss) at a steady learning rate. `now`: seconds and loss of the final model.

    The curve tells how much the loss falls between two moments; the final model, whose learning rate has come down
    since, is taken to gain as much. No interval goes below `floor`. None where the curve is too short to tell, or
    heads below the floor: then it is not of the kind that this law describes.
    """
    tail = [(x, y) for x, y in curve if x > 0 and x >= curve[-1][0] / TAIL]
    if len(tail) < FEWEST or tail[-1][0] < SPAN * tail[0][0]:
        return None
    x, y = (np.array(values, dtype=float) for values in zip(*tail, strict=True))
    moments = now[0] * np.array([1.0, *factors])
    middle, low, high = _drops(x, y, moments, np.random.default_rng(seed))
    least = -math.inf if floor is None else floor
    gains = [
        Gain(factor, *(max(least, now[1] - drop[i]) for drop in (middle, high, low)))
        for i, factor in enumerate(factors)
    ]
    if any(gain.loss <= least for gain in gains):
        return None
    return MoreTime(tail, now, gains)


def _drops(
    x: np.ndarray, y: np.ndarray, moments: np.ndarray, dice: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How much lower than at the first moment (M,) the loss is at the others: middle, low and high end, (M - 1,).

    Draws from the posterior: a power, as likely as its error makes it, and a slope around its least-squares one.
    """
    basis = _basis(x / x[-1])  # (P, N)
    centred = basis - basis.mean(axis=1, keepdims=True)
    power = (centred**2).sum(axis=1)  # (P,)
    slopes = np.maximum(centred @ (y - y.mean()), 0.0) / power  # a loss does not rise with time
    residuals = (y - y.mean()) - slopes[:, None] * centred  # (P, N)
    errors = (residuals**2).sum(axis=1) + 1e-12  # (P,)
    count = _independent(residuals[int(np.argmin(errors))])
    chance = (errors.min() / errors) ** (count / 2)
    drawn = dice.choice(len(POWERS), size=DRAWS, p=chance / chance.sum())
    deviation = np.sqrt(errors / (len(x) - 3) / power * len(x) / count)  # (P,)
    slope = slopes[drawn] + deviation[drawn] * dice.standard_t(max(2.0, count - 3), size=DRAWS)
    reach = _basis(moments / x[-1])  # (P, M)
    drops = slope[:, None] * (reach[drawn, :1] - reach[drawn, 1:])  # (DRAWS, M - 1)
    drops *= np.exp(MISFIT * dice.standard_normal(DRAWS))[:, None]
    edge = (1 - COVERED) / 2
    low, middle, high = np.quantile(np.maximum(drops, 0.0), [edge, 0.5, 1 - edge], axis=0)
    return middle, low, high


def _independent(residual: np.ndarray) -> float:
    """How many independent measurements these residuals are worth: neighbours on a curve err alike.

    Their correlation is estimated too low from few of them (Kendall 1954, "Note on bias in the estimation of
    autocorrelation"), so it is raised by that bias.
    """
    count = len(residual)
    found = float(residual[1:] @ residual[:-1]) / (float(residual @ residual) + 1e-12)
    alike = min(0.8, max(LEAST_ALIKE, found + (1 + 4 * max(found, 0.0)) / count))
    return max(4.0, count * (1 - alike) / (1 + alike))


def _basis(x: np.ndarray) -> np.ndarray:
    """(P, N): every power of time that is tried, falling, with a slope of -1 over log time at x = 1."""
    logs = np.log(x)
    safe = np.where(POWERS == 0, 1.0, POWERS)[:, None]
    return np.where(POWERS[:, None] == 0, -logs, np.expm1(-safe * logs) / safe)


def steady(metrics: Sequence[Mapping[str, Any]]) -> list[Point]:
    """(seconds, validation loss) of a run's records from before its learning rate had fallen by half.

    The rest of such a curve falls faster than more time would make it: the learning rate comes down only once.
    """
    rated = [record for record in metrics if is_number(record.get("learning_rate"))]
    peak = max((record["learning_rate"] for record in rated), default=0.0)
    kept = [record for record in rated if record["learning_rate"] >= 0.5 * peak]
    return [
        (r["seconds"], r["val_loss"])
        for r in kept
        if is_number(r.get("val_loss")) and is_number(r.get("seconds"))
    ]


def draw_more_time(numbers: MoreTime, path_png: str | Path | None = None) -> Picture:
    """The curve behind the forecast, where the final model stands, and the interval after more time."""
    figure, axes = canvas(5.6, 3.2)
    x, y = zip(*numbers.curve, strict=True)
    minutes = [seconds / 60 for seconds in x]
    axes.plot(minutes, y, color=COLOR["train"], linewidth=1.6, marker="o", markersize=3)
    now, loss = numbers.now[0] / 60, numbers.now[1]
    axes.plot([now], [loss], "o", color=COLOR["model"], markersize=10, zorder=4)
    _name(axes, (now, loss), f"now {loss:.3f}", COLOR["model"], above=True)
    for place, gain in enumerate(numbers.gains):
        x_more = now * gain.factor
        axes.plot([x_more] * 2, [gain.low, gain.high], color=COLOR["model"], linewidth=7, alpha=0.3)
        axes.plot(
            [x_more], [gain.loss], "o", color=COLOR["paper"], markeredgecolor=COLOR["model"], markersize=8
        )
        above = place % 2 == 1  # neighbours side by side would run into each other
        at = (x_more, gain.high if above else gain.low)
        _name(axes, at, f"{gain.factor:g}\u00d7 {gain.loss:.3f}", COLOR["ink"], above)
    log_axis(axes)
    axes.margins(x=0.12, y=0.22)
    name_axes(axes, "minutes of training", LOSS_LABEL)
    axes.set_ylim(*axes.get_ylim())
    bits_axis(axes)
    return save_png(figure, path_png)


def _name(axes: Axes, at: Point, words: str, color: str, above: bool) -> None:
    note(axes, words, at, (0, 9 if above else -9), color, ha="center", va="bottom" if above else "top")
