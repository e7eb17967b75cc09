"""Explains TPE's proposals: draws its two densities of every setting, and where the last proposals fell.

Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (NIPS 2011), section 4: l(x) is the density of the
few best trials so far, g(x) that of all others, and the next value is where l/g is largest among some drawn from l.
Both come from Hyperopt's own functions, fed from the records; nothing here proposes anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from minilm.plots.legs import legs_of
from minilm.plots.priors import Prior, priors_of
from minilm.plots.slices import log_axis, panels
from minilm.plots.style import COLOR, FONT_SIZE, Picture, canvas, save_png
from minilm.plots.trials import NAMES, Trial, plain, succeeded
from minilm.tuner.forecast import predicted
from minilm.tuner.rungs import Ladder, Standing

LATE = 5  # so many proposals are explained, or a quarter of the trials
POINTS = 160  # of a density over a continuous setting
PRIOR_WEIGHT, GAMMA = 1.0, 0.25  # tpe.suggest's own defaults, which the search leaves as they are


class Proposed(NamedTuple):
    """A late proposal: its value of one setting, and how many times denser the good trials lie there."""

    tid: int
    x: float
    ratio: float


class Belief(NamedTuple):
    """One setting as TPE saw it before the late proposals; both densities sum to one over x."""

    prior: Prior
    x: np.ndarray  # (K,) ascending
    good: np.ndarray  # (K,) l(x)
    rest: np.ndarray  # (K,) g(x)
    log: bool
    steps: bool  # x are all the values there are
    late: list[Proposed]


def belief_numbers(trials: Sequence[Trial], space: str, rungs: Sequence[float] = (1.0,)) -> list[Belief]:
    """TPE's densities before the last few proposals; empty where those were still drawn at random.

    `space` is the study's text of it, `rungs` its shares of a full training. What a proposal knew is taken from the
    times in the records: the loss that each trial was expected to reach at the end.
    """
    drawn = sorted((t for t in trials if t.get("draw")), key=lambda t: t["tid"])
    late = drawn[len(drawn) - min(LATE, math.ceil(len(drawn) / 4)) :] if drawn else []
    moment = min((start for t in late if (start := _started(t)) is not None), default=None)
    earlier = drawn[: len(drawn) - len(late)]
    if len(earlier) < startup_trials():
        return []
    losses = _told([_standing(trial, moment) for trial in earlier], rungs)
    known = [(trial, losses.get(trial["tid"], math.inf)) for trial in earlier]
    found = [_belief(prior, known, late) for prior in priors_of(space)]
    return [belief for belief in found if belief is not None]


def startup_trials() -> int:
    """How many trials are drawn at random first."""
    from minilm.tuner.algorithms import ALGORITHMS

    return ALGORITHMS["tpe"].keywords["n_startup_jobs"]  # type: ignore[attr-defined]


def _started(trial: Trial) -> float | None:
    return legs_of(trial)[0].started


def _standing(trial: Trial, moment: float | None) -> Standing:
    """What was known of a trial at that moment."""
    legs = [leg for leg in legs_of(trial) if moment is None or leg.ended is None or leg.ended <= moment]
    losses = tuple(leg.loss for leg in legs if leg.loss is not None)
    return Standing(trial["tid"], losses, failed=not succeeded(trial) and len(legs) == len(legs_of(trial)))


def _told(standings: Sequence[Standing], rungs: Sequence[float]) -> dict[int, float]:
    """The losses that TPE was told; a trial that is missing had failed or was running, which it takes for infinite."""
    return predicted(standings, Ladder(tuple(rungs)))


def _belief(prior: Prior, known: Sequence[tuple[Trial, float]], late: Sequence[Trial]) -> Belief | None:
    grid = _grid(prior, [t["draw"][prior.label] for t, _ in known if prior.label in t["draw"]])
    if grid is None:
        return None
    x, log, steps = grid
    values = [(t["tid"], float(t["draw"][prior.label])) for t in late if prior.label in t["draw"]]
    at = np.concatenate([x, [value for _, value in values]])
    good, rest = (_whole(log_density(prior, seen, at), x, log, steps) for seen in _split(prior.label, known))
    ratios = good[len(x) :] / np.maximum(rest[len(x) :], 1e-300)
    proposed = [Proposed(tid, v, float(r)) for (tid, v), r in zip(values, ratios, strict=True)]
    return Belief(prior, x, good[: len(x)], rest[: len(x)], log, steps, proposed)


def _whole(logs: np.ndarray, x: np.ndarray, log: bool, steps: bool) -> np.ndarray:
    """The density at all points, of which x are the first ones, such that it sums to one over x.

    Hyperopt does not divide a loguniform's density by the share within its bounds. For its choice among values of
    one setting that factor is no matter; two densities that are to be compared must be whole.
    """
    density = np.exp(logs)
    shown = density[: len(x)]
    if steps:
        return density / shown.sum()
    if (
        log
    ):  # over the logarithm, as the axis shows it; where the proposals are, the factor x cancels in the ratio
        return np.concatenate([shown * x, density[len(x) :]]) / np.trapezoid(shown * x, np.log(x))
    return density / np.trapezoid(shown, x)


def _split(label: str, known: Sequence[tuple[Trial, float]]) -> tuple[np.ndarray, np.ndarray]:
    """The label's values among the best trials and among the rest, by Hyperopt's rule."""
    from hyperopt.tpe import ap_split_trials

    having = [t for t, _ in known if label in t["draw"]]
    tids, losses = [t["tid"] for t, _ in known], [loss for _, loss in known]
    values = [t["draw"][label] for t in having]
    return ap_split_trials([t["tid"] for t in having], values, tids, losses, GAMMA)


def log_density(prior: Prior, observed: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Hyperopt's logarithm of the adapted density (or mass) of a label at raw values x (K,), given observed ones."""
    from hyperopt.pyll import as_apply, rec_eval, scope
    from hyperopt.tpe import adaptive_parzen_samplers

    whole = prior.kind in ("randint", "categorical")
    observed = np.asarray(observed, dtype=int if whole else float)
    node = adaptive_parzen_samplers[prior.kind](observed, PRIOR_WEIGHT, *_arguments(prior))
    named = {name: value for name, value in node.named_args if name not in ("rng", "size")}
    offset = int(prior.numbers[0]) if prior.kind == "randint" and len(prior.numbers) == 2 else 0
    at = as_apply((x - offset).astype(int) if whole else x)
    lpdf = getattr(scope, node.name + "_lpdf")
    with np.errstate(divide="ignore", invalid="ignore"):  # a value outside the bounds has no density
        found = np.asarray(rec_eval(lpdf(at, *node.pos_args, **named)), dtype=float)
    return np.where(np.isnan(found), -np.inf, found)


def _arguments(prior: Prior) -> list[Any]:
    if prior.kind == "categorical":
        return [np.asarray([prior.numbers])]
    return [int(n) for n in prior.numbers] if prior.kind == "randint" else list(prior.numbers)


def _grid(prior: Prior, tried: Sequence[float]) -> tuple[np.ndarray, bool, bool] | None:
    """Where to look at the densities: (x, logarithmic axis, x are all values). None for an unknown kind."""
    numbers, kind = prior.numbers, prior.kind
    if kind == "categorical":
        return np.arange(len(numbers)), False, True
    if kind == "randint" and 1 <= len(numbers) <= 2:
        low, high = (0, numbers[0]) if len(numbers) == 1 else numbers
        return np.arange(low, high), False, True
    if kind.removeprefix("q") not in ("uniform", "loguniform", "normal", "lognormal") or len(tried) < 2:
        return None
    log = "log" in kind
    low, high = (min(tried), max(tried)) if "normal" in kind else _ends(numbers, log)
    if kind.startswith("q"):
        step = numbers[2]
        x = np.arange(round(low / step), round(high / step) + 1) * step
        return (x, log and x[0] > 0, True) if len(x) > 1 else None
    return (np.geomspace if log else np.linspace)(low, high, POINTS), log, False


def _ends(numbers: Sequence[float], log: bool) -> tuple[float, float]:
    return (math.exp(numbers[0]), math.exp(numbers[1])) if log else (numbers[0], numbers[1])


def together(beliefs: Sequence[Belief]) -> dict[int, float]:
    """The ratio of each late proposal over all its settings: TPE takes them for independent and multiplies."""
    ratios: dict[int, float] = {}
    for one in (late for belief in beliefs for late in belief.late):
        ratios[one.tid] = ratios.get(one.tid, 1.0) * one.ratio
    return ratios


def words_for(prior: Prior, value: float) -> str:
    """A raw value as a person writes it: the word of a choice, else the number."""
    index = int(value)
    if prior.choices and 0 <= index < len(prior.choices):
        return prior.choices[index]
    return plain(index if float(value).is_integer() and abs(value) >= 1 else float(value))


def draw_belief(belief: Belief) -> Picture:
    """One setting's panel: l in blue, g in grey, the late proposals as ticks below."""
    figure, axes = canvas(3.1, 2.1, left=0.25, right=0.12, top=0.12)
    _belief_axes(axes, belief)
    return figure


def draw_beliefs(beliefs: Sequence[Belief], path_png: str | Path | None = None) -> Picture:
    """All settings in one picture, a panel each."""
    return save_png(panels(beliefs, _belief_axes, ""), path_png)


def _belief_axes(axes: Axes, belief: Belief) -> None:
    stairs = belief.steps and not belief.log
    look: dict[str, Any] = {"drawstyle": "steps-mid"} if stairs else {}
    x, good, rest = _widened(belief) if stairs else belief[1:4]
    axes.fill_between(x, good, color=COLOR["model"], alpha=0.18, linewidth=0, step="mid" if stairs else None)
    axes.plot(x, good, color=COLOR["model"], linewidth=1.8, **look)
    axes.plot(x, rest, color=COLOR["counting"], linewidth=1.5, linestyle=(0, (4, 2)), **look)
    top = max(belief.good.max(), belief.rest.max())
    marks = [late.x for late in belief.late]
    axes.plot(marks, [-0.07 * top] * len(marks), "|", color=COLOR["default"], markersize=9, markeredgewidth=2)
    axes.set_ylim(-0.14 * top, 1.08 * top)
    axes.set_yticks([])
    _x_axis(axes, belief)
    axes.set_xlabel(NAMES.get(belief.prior.label, belief.prior.label), color=COLOR["ink"], fontsize=FONT_SIZE)


def _widened(belief: Belief) -> tuple[np.ndarray, ...]:
    """The same steps with room for the whole of the first and of the last one."""
    half = 0.5 * (belief.x[1] - belief.x[0])
    x = np.concatenate([[belief.x[0] - half], belief.x, [belief.x[-1] + half]])
    return x, np.pad(belief.good, 1, mode="edge"), np.pad(belief.rest, 1, mode="edge")


def _x_axis(axes: Axes, belief: Belief) -> None:
    if belief.log:
        log_axis(axes)
    elif belief.prior.choices or (belief.steps and len(belief.x) <= 8):
        axes.set_xticks(belief.x, [words_for(belief.prior, value) for value in belief.x])


def late_rows(beliefs: Sequence[Belief]) -> list[list[str]]:
    """A row per late proposal: its trial, each setting's value with its ratio, and all ratios together."""
    whole = together(beliefs)
    return [
        [str(tid), *(_cell(belief, tid) for belief in beliefs), f"{ratio:.3g}\u00d7"]
        for tid, ratio in sorted(whole.items())
    ]


def _cell(belief: Belief, tid: int) -> str:
    mine: Mapping[int, Proposed] = {late.tid: late for late in belief.late}
    if tid not in mine:
        return "–"
    return f"{words_for(belief.prior, mine[tid].x)} ({mine[tid].ratio:.2g}\u00d7)"
