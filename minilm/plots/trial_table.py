"""Builds the table of all trials on a study's page: best first, failures last with their reasons.

Rows carry the addresses that the dots of the pictures link to. It sorts and words; nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Sequence

from minilm.plots.layout import Section, Table
from minilm.plots.legs import last_rung, ranked
from minilm.plots.parts import duration
from minilm.plots.reading import number
from minilm.plots.trials import (
    DEFAULT_TID,
    NAMES,
    Trial,
    address,
    best_trial,
    plain,
    role_of,
    settings_of,
    short_name,
    succeeded,
)


def table_section(trials: Sequence[Trial]) -> Section:
    ordered = ranked(trials)
    best = best_trial(trials)
    used = {name for trial in trials for name in settings_of(trial)}
    rungs = any(trial.get("legs") for trial in trials)
    names = [name for name in NAMES if name in used] + sorted(used - set(NAMES))
    table = Table(
        "",
        [
            "trial",
            "loss",
            *(["rung"] if rungs else []),
            *(short_name(name) for name in names),
            "parameters",
            "steps",
            "time",
            "note",
        ],
        [_row(trial, names, rungs) for trial in ordered],
        ids=[address(trial["tid"])[1:] for trial in ordered],
        marks=["" if (role := role_of(trial, best)) == "other" else role for trial in ordered],
        note="Validation loss in nats per character, "
        + ("those that came furthest first, " if rungs else "")
        + "best first; failures last, with their reasons.",
    )
    return Section("All trials", tables=[table] if trials else [])


def _row(trial: Trial, names: Sequence[str], rungs: bool) -> list[str]:
    point = settings_of(trial)
    parameters, steps, seconds = (number(trial, key) for key in ("n_parameters", "steps", "seconds"))
    return [
        str(trial["tid"]),
        f"{trial['loss']:.4f}" if succeeded(trial) else "–",
        *([str(last_rung(trial))] if rungs else []),
        *(plain(point[name]) if name in point else "–" for name in names),
        "–" if parameters is None else f"{parameters:,.0f}",
        "–" if steps is None else f"{steps:,.0f}",
        "–" if seconds is None else duration(seconds),
        str(trial.get("reason") or trial.get("state", "")) if not succeeded(trial) else _note(trial),
    ]


def _note(trial: Trial) -> str:
    return "default recipe" if trial["tid"] == DEFAULT_TID else str(trial.get("reason") or "")
