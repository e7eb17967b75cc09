"""Reads what the pictures of a search need to know of a trial from the records of `trials.jsonl`, plain dicts.

It draws nothing, does not know how proposals are made, and trusts no record to be complete: what a record
lacks is left out. Losses are in nats per character.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from minilm.plots.verdict import is_number
from minilm.tuner.space import DEFAULT_TID

Trial = Mapping[str, Any]
Point = tuple[float, float]

SUCCESS = ("ok", "paused")  # the states of a trial that did not fail; a paused one waits at a rung

# what a trial is -> its colour in the palette
ROLE_COLOR = {"best": "model", "default": "default", "failed": "failed", "other": "train"}

# hyperparameter -> its words on an axis; others are shown under their own name
NAMES: dict[str, str] = {
    "num_layers": "layers",
    "hidden_size": "hidden size (channels)",
    "learning_rate": "learning rate",
    "peak_rate": "learning rate at the default size",  # what is drawn; the trial's own follows from it
    "batch_size": "batch (sequences per step)",
    "dropout": "dropout",
    "weight_decay": "weight decay",
    "block_size": "context (tokens)",
    "bigrams": "table of pairs",
}


class Dot(NamedTuple):
    """A loss of a trial, and where it stands on the x axis; in nats per character."""

    tid: int
    x: float
    loss: float
    rung: int = 0


def succeeded(trial: Trial) -> bool:
    return trial.get("state") in SUCCESS and is_number(trial.get("loss"))


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The lowest loss that was measured, the earliest among equals: a trial is as good as its best weights."""
    done = [trial for trial in trials if succeeded(trial)]
    return min(done, key=lambda trial: (trial["loss"], trial["tid"])) if done else None


def default_trial(trials: Sequence[Trial]) -> Trial | None:
    """The trial of the default recipe, successful or not."""
    return next((trial for trial in trials if trial.get("tid") == DEFAULT_TID), None)


def role_of(trial: Trial, best: Trial | None) -> str:
    """A key of ROLE_COLOR."""
    if not succeeded(trial):
        return "failed"
    if best is not None and trial["tid"] == best["tid"]:
        return "best"
    return "default" if trial["tid"] == DEFAULT_TID else "other"


def settings_of(trial: Trial) -> dict[str, Any]:
    """The trial's settings by name; those within a choice of groups under both names.

    >>> settings_of({"point": {"dropout": 0.1, "shape": {"num_layers": 2}}})
    {'dropout': 0.1, 'shape.num_layers': 2}
    """
    return dict(_flat(trial.get("point") or {}))


def _flat(point: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in point.items():
        found += (
            _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else [(f"{above}{name}", value)]
        )
    return found


def reason_of(trial: Trial) -> str:
    return str(trial.get("reason") or trial.get("state") or "unknown")


def address(tid: int) -> str:
    """Where the page's table has this trial's row; dots are links to it."""
    return f"#trial-{tid}"


def describe(trial: Trial) -> str:
    """One trial in a line, for the pointer that rests on its dot.

    >>> describe({"tid": 3, "state": "ok", "loss": 1.5, "point": {"num_layers": 4}})
    'trial 3: 1.500 nats per character; layers 4'
    """
    outcome = f"{trial['loss']:.3f} nats per character" if succeeded(trial) else f"failed, {reason_of(trial)}"
    settings = [f"{short_name(k)} {plain(v)}" for k, v in settings_of(trial).items()]
    return f"trial {trial['tid']}: {outcome}" + "".join("; " + setting for setting in settings)


def hovers_of(trials: Sequence[Trial]) -> dict[str, str]:
    """What a picture says of each trial, by the trial's address."""
    return {address(trial["tid"]): describe(trial) for trial in trials}


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
