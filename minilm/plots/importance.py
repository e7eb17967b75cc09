"""Estimates how much each setting mattered by PED-ANOVA, beside what chance alone would give. Numbers, then picture.

Watanabe, Bansal, Hutter: "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces"
(IJCAI 2023). A setting matters if its values among the best trials are spread otherwise than among
all: the Pearson divergence of the two densities. Only the order of the trials counts, so one that diverged does not
drown the rest. Each setting is judged by itself; what two do together is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minilm.plots.legs import ranked
from minilm.plots.scales import Scale, scales, value_of
from minilm.plots.style import COLOR, Picture, canvas, name_axes, note, save_png, style_axes
from minilm.plots.trials import Trial, short_name, succeeded

TOP = 0.25  # the share of the trials that count as the best
FEWEST = 16  # trials; the best quarter of fewer says nothing
CELLS = 50  # the ranks of a setting's values are cut into so many
BANDWIDTH = 0.1  # of all ranks: trials nearer to each other than this count as alike
FEW = 8  # a setting with no more different values than this is counted value by value
SHUFFLES = 200
CHANCE = 0.95  # the quantile of the shuffled importances that is called chance


class Importance(NamedTuple):
    """One setting: its share of all divergence, and the share it reaches by chance in one study out of twenty."""

    name: str
    share: float
    chance: float

    @property
    def clear(self) -> bool:
        return self.share > self.chance


def importance_numbers(trials: Sequence[Trial], top: float = TOP, seed: int = 0) -> list[Importance]:
    """The importance of every setting, largest first; shares sum to 1. Empty where there are too few trials.

    Chance is measured by shuffling: the same trials with their order drawn at random (`seed`), many times over.
    """
    found = scales(trials)
    if len(trials) < FEWEST or sum(succeeded(trial) for trial in trials) < FEWEST // 2 or not found:
        return []
    order = ranked(trials)
    count = max(2, round(top * len(order)))
    kernels = [cells_of(scale, order) for scale in found]
    best = np.arange(len(order)) < count
    dice = np.random.default_rng(seed)
    mine = _divergences(kernels, best)
    shuffled = np.array([_divergences(kernels, dice.permutation(best)) for _ in range(SHUFFLES)])
    # both in units of what was found, so that a level above its chance means the same for every setting
    chances = np.quantile(shuffled, CHANCE, axis=0) / (mine.sum() or 1.0)
    shares = mine / (mine.sum() or 1.0)
    made = [Importance(*values) for values in zip([s.name for s in found], shares, chances, strict=True)]
    return sorted(made, key=lambda one: -one.share)


def cells_of(scale: Scale, trials: Sequence[Trial]) -> np.ndarray:
    """(trials, cells): each trial's smeared-out place among the others, rows of sum 1; a row of 0 where it has none.

    The place is a rank, so that it does not matter whether a scale is logarithmic: all trials together are spread
    evenly. A setting with few values has a cell for each, and nothing is smeared.
    """
    values = [value_of(trial, scale) for trial in trials]
    if scale.named or len(scale.values) <= FEW:
        return np.array([[float(value == other) for other in scale.values] for value in values])
    places = np.array([scale.place(value) for value in values if value is not None])
    low, high = (np.searchsorted(np.sort(places), places, side) for side in ("left", "right"))
    bells = iter(_bells((low + high) / 2 / len(places)))
    return np.array([np.zeros(CELLS) if value is None else next(bells) for value in values])


def _bells(places: np.ndarray) -> np.ndarray:
    """(N, CELLS): a normal density around each place (N,) between 0 and 1, cut off at the ends."""
    centres = (np.arange(CELLS) + 0.5) / CELLS
    bells = np.exp(-0.5 * ((centres - places[:, None]) / BANDWIDTH) ** 2)
    return bells / bells.sum(axis=1, keepdims=True)


def _divergences(kernels: Sequence[np.ndarray], best: np.ndarray) -> np.ndarray:
    return np.array([divergence(rows, best) for rows in kernels])


def divergence(rows: np.ndarray, best: np.ndarray) -> float:
    """Pearson's divergence of the best trials' density from that of all: the mean of (p/q - 1)**2 under q.

    Both are mixtures of the trials' rows (N, cells) and one even row, which keeps an empty cell from deciding. A
    setting that not all trials have counts for as much as its share among the best, squared, over that among all
    ("Conditional PED-ANOVA", 2026, theorem 4.2).
    """
    having: np.ndarray = rows.sum(axis=1) > 0  # (N,)
    if not having[best].any():
        return 0.0
    q = _mixture(rows)  # (cells,)
    p = _mixture(rows[best])
    return float(having[best].mean() ** 2 / having.mean() * (q @ ((p / q - 1.0) ** 2)))


def _mixture(rows: np.ndarray) -> np.ndarray:
    cells = rows.shape[1]
    total = rows.sum(axis=0) + 1.0 / cells
    return total / total.sum()


def draw_importance(found: Sequence[Importance], path_png: str | Path | None = None) -> Picture:
    """One bar per setting; a tick shows how long it would be by chance, bars that do not pass it are pale."""
    figure, axes = canvas(5.6, 0.8 + 0.36 * max(1, len(found)), left=1.35, right=0.5)
    style_axes(axes, grid="x")
    for row, one in enumerate(found):
        axes.barh(
            row, one.share, height=0.6, color=COLOR["model"], alpha=1.0 if one.clear else 0.3, linewidth=0
        )
        axes.plot([one.chance] * 2, [row - 0.42, row + 0.42], color=COLOR["ink"], linewidth=1.6)
        words, end = f"{100 * one.share:.0f}\u00a0%", max(one.share, one.chance)
        note(axes, words, (end, row), (6, 0), COLOR["ink" if one.clear else "muted"], va="center")
    axes.set_yticks(range(len(found)), [short_name(one.name) for one in found])
    axes.set_ylim(max(1, len(found)) - 0.5, -0.5)
    axes.set_xlim(0, max([max(one.share, one.chance) for one in found], default=1.0) * 1.05)
    axes.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.0f}\u00a0%")
    name_axes(axes, "share of all importance", "")
    return save_png(figure, path_png)
