"""The numbers behind the pictures of a search, from the records of `trials.jsonl` as plain dicts.

It draws nothing, does not know how proposals are made, and trusts no record to be complete: what a record
lacks is left out. Losses are in nats per character.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from minilm.plots.verdict import is_number

Trial = Mapping[str, Any]
Point = tuple[float, float]
DEFAULT_TID = 0  # the default recipe is always the first trial

SUCCESS = "ok"  # the state of a trial that ended well

# what a trial is -> its colour in the palette
ROLE_COLOR = {"best": "model", "default": "default", "failed": "failed", "other": "train"}

# hyperparameter -> its words on an axis; others are shown under their own name
NAMES: dict[str, str] = {
    "num_layers": "layers",
    "hidden_size": "hidden size (channels)",
    "learning_rate": "learning rate",
    "batch_size": "batch (sequences per step)",
    "dropout": "dropout",
    "weight_decay": "weight decay",
    "block_size": "context (characters)",
}


class Dot(NamedTuple):
    """A finished trial: its number, where it stands on the x axis, its loss in nats per character."""

    tid: int
    x: float
    loss: float


class SearchNumbers(NamedTuple):
    """The search over time; x is minutes since its start, or the trial's number where times are unknown."""

    dots: list[Dot]
    failures: list[tuple[int, float, str]]  # (trial, x, reason)
    best_so_far: list[Point]
    best: Dot | None
    default: Dot | None
    x_label: str
    hovers: dict[str, str]  # "#trial-7" -> what to say about trial 7


class Slice(NamedTuple):
    """Loss against one hyperparameter."""

    name: str
    dots: list[Dot]
    log: bool
    ticks: list[float] | None  # every value that was tried, where they are few and whole
    best: Dot | None
    default: Dot | None


class TrialCurves(NamedTuple):
    """Validation loss of each trial on the way; x is seconds of training."""

    curves: dict[int, list[Point]]
    best: int | None
    default: int | None


def succeeded(trial: Trial) -> bool:
    return trial.get("state") == SUCCESS and is_number(trial.get("loss"))


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The successful trial with the lowest loss, the earliest among equals."""
    done = [trial for trial in trials if succeeded(trial)]
    return min(done, key=lambda trial: (trial["loss"], trial["tid"])) if done else None


def default_trial(trials: Sequence[Trial]) -> Trial | None:
    """The trial of the default recipe, successful or not."""
    return next((trial for trial in trials if trial.get("tid") == DEFAULT_TID), None)


def search_numbers(trials: Sequence[Trial]) -> SearchNumbers:
    """Dots, failures and the staircase of the best loss so far.

    >>> done = [{"tid": 0, "state": "ok", "loss": 2.0}, {"tid": 1, "state": "ok", "loss": 2.5}]
    >>> numbers = search_numbers(done)
    >>> numbers.best.tid, numbers.best_so_far, numbers.x_label
    (0, [(0, 2.0), (1, 2.0)], 'trial')
    """
    timed = bool(trials) and all(is_number(t.get("ended")) for t in trials)
    x = {t["tid"]: t["ended"] / 60 if timed else t["tid"] for t in trials}
    dots = sorted((_dot(t, x[t["tid"]]) for t in trials if succeeded(t)), key=lambda dot: dot.x)
    stairs = [(dot.x, min(d.loss for d in dots[: i + 1])) for i, dot in enumerate(dots)]
    return SearchNumbers(
        dots=dots,
        failures=[(t["tid"], x[t["tid"]], _reason(t)) for t in trials if not succeeded(t)],
        best_so_far=stairs,
        best=_find(dots, best_trial(trials)),
        default=_find(dots, default_trial(trials)),
        x_label="minutes since the search began" if timed else "trial",
        hovers={address(t["tid"]): describe(t) for t in trials},
    )


def _dot(trial: Trial, x: float) -> Dot:
    return Dot(trial["tid"], x, trial["loss"])


def _find(dots: Sequence[Dot], trial: Trial | None) -> Dot | None:
    return next((dot for dot in dots if trial is not None and dot.tid == trial["tid"]), None)


def _reason(trial: Trial) -> str:
    return str(trial.get("reason") or trial.get("state") or "unknown")


def address(tid: int) -> str:
    """Where the page's table has this trial's row; dots are links to it."""
    return f"#trial-{tid}"


def describe(trial: Trial) -> str:
    """One trial in a line, for the pointer that rests on its dot.

    >>> describe({"tid": 3, "state": "ok", "loss": 1.5, "point": {"num_layers": 4}})
    'trial 3: 1.500 nats per character; layers 4'
    """
    outcome = f"{trial['loss']:.3f} nats per character" if succeeded(trial) else f"failed, {_reason(trial)}"
    settings = [f"{short_name(k)} {plain(v)}" for k, v in trial.get("point", {}).items()]
    return f"trial {trial['tid']}: {outcome}" + "".join("; " + setting for setting in settings)


def short_name(setting: str) -> str:
    """A setting's words without their unit.

    >>> short_name("hidden_size")
    'hidden size'
    """
    return NAMES.get(setting, setting).split(" (")[0]


def plain(value: Any) -> str:
    """A setting as a person writes it.

    >>> plain(0.0030001), plain(256), plain(0.0)
    ('0.003', '256', '0')
    """
    if isinstance(value, float):
        return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def slice_numbers(trials: Sequence[Trial]) -> list[Slice]:
    """One `Slice` per hyperparameter with several values among successful trials, in the order of NAMES."""
    done = [trial for trial in trials if succeeded(trial)]
    found = dict.fromkeys(name for trial in done for name in trial.get("point", {}))
    names = [name for name in NAMES if name in found] + [name for name in found if name not in NAMES]
    slices = [_slice(name, [t for t in done if is_number(t.get("point", {}).get(name))]) for name in names]
    return [one for one in slices if len({dot.x for dot in one.dots}) > 1]


def _slice(name: str, trials: Sequence[Trial]) -> Slice:
    dots = [_dot(trial, trial["point"][name]) for trial in trials]
    values = sorted({dot.x for dot in dots})
    return Slice(
        name=name,
        dots=dots,
        log=bool(values)
        and values[0] > 0
        and values[-1] / values[0] >= 6,  # else a linear axis shows it as well
        ticks=values if len(values) <= 6 and all(value == int(value) for value in values) else None,
        best=_find(dots, best_trial(trials)),
        default=_find(dots, default_trial(trials)),
    )


def loss_window(losses: Sequence[float]) -> tuple[float, float]:
    """The range worth showing: everything, except trials so bad that the good ones would look alike.

    The top is hardly more than three times as far above the best loss as the median is.

    >>> loss_window([1.0, 1.25, 1.5, 9.0])
    (1.0, 1.8)
    """
    if not losses:
        return 0.0, 1.0
    ordered = sorted(losses)
    low, median = ordered[0], ordered[(len(ordered) - 1) // 2]
    return low, min(ordered[-1], low + 3 * (median - low) + 0.05)


def trial_curve_numbers(trials: Sequence[Trial]) -> TrialCurves:
    """Each trial's recorded curve; trials without one are left out."""
    curves = {}
    for trial in trials:
        curve = [(x, y) for x, y in trial.get("curve") or [] if is_number(x) and is_number(y)]
        if curve:
            curves[trial["tid"]] = curve
    best, default = best_trial(trials), default_trial(trials)
    return TrialCurves(
        curves=curves,
        best=best["tid"] if best and best["tid"] in curves else None,
        default=default["tid"] if default and default["tid"] in curves else None,
    )


def curve_window(numbers: TrialCurves) -> tuple[float, float]:
    """The range worth showing: the ends of the lines, and where the typical line stood after a quarter."""
    if not numbers.curves:
        return 0.0, 1.0
    curves = numbers.curves.values()
    early = sorted(curve[len(curve) // 4][1] for curve in curves)
    low, high = loss_window([curve[-1][1] for curve in curves])
    return low, max(high, early[len(early) // 2], low + 0.1)
