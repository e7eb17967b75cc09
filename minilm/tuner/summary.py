"""Words the result of a study for a terminal: lines and rows, from plain records."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minilm.plots.parts import PAGE
from minilm.tuner.finalists import Outcome
from minilm.tuner.records import BEST, Trial, TrialState
from minilm.tuner.space import DEFAULT_TID, recipe_name

SHORT = {
    "num_layers": "layers",
    "hidden_size": "hidden",
    "learning_rate": "lr",
    "batch_size": "batch",
    "weight_decay": "decay",
    "block_size": "context",
}
# keys of result.json's "compare": what got the same minutes
COMPARED = {"default": "default recipe, same time", "random": "random search, same time"}


def settings_text(point: Mapping[str, Any]) -> str:
    """A point on one line.

    >>> settings_text({"num_layers": 4, "learning_rate": 0.0030001, "dropout": 0.0})
    'layers 4, lr 0.003, dropout 0'
    """
    return ", ".join(f"{SHORT.get(name, name)} {_short(value)}" for name, value in point.items())


def _short(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def result_of(
    chosen: Trial,
    trials: list[Trial],
    config: Mapping[str, Any],
    numbers: Mapping[str, Any],
    counting: Mapping[str, Any] | None,
    sample: str,
) -> dict[str, Any]:
    """The content of a study's result.json: `config` and `numbers` are the final run's."""
    default = next((trial for trial in trials if trial.tid == DEFAULT_TID), None)
    return {
        "best": {
            "tid": chosen.tid,
            "point": chosen.point,
            "model": config["model"],
            "train": config["train"],
        },
        "best_trial_loss": chosen.loss,
        "default_trial_loss": default.loss if default else None,
        "trials": len(trials),
        "failed": sum(trial.state is TrialState.FAILED for trial in trials),
        **numbers,
        "counting": counting,
        "floors": config["corpus"]["floors"],
        "sample": sample,
    }


def result_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The final model and the two trials to compare; losses in nats per character, None where unknown."""
    chosen = result["best"]["tid"]
    rows = [
        {"name": "final model", "val": result["val_loss"], "test": result["test_loss"]},
        {"name": f"its trial ({chosen})", "val": result["best_trial_loss"], "test": None},
        {"name": "default recipe's trial", "val": result["default_trial_loss"], "test": None},
    ]
    for name, title in COMPARED.items():
        numbers = (result.get("compare") or {}).get(name)
        if numbers:
            rows.append({"name": title, "val": numbers["val_loss"], "test": numbers["test_loss"]})
    return [
        row for row in rows if row["val"] is not None and (chosen or row["name"] != f"its trial ({chosen})")
    ]


def verdict(result: Mapping[str, Any]) -> str:
    """What the search has found, said plainly."""
    best, default = result["best_trial_loss"], result["default_trial_loss"]
    incumbent = result.get("incumbent", DEFAULT_TID)
    chosen, race = result["best"]["tid"], result.get("race") or {}
    name = recipe_name(chosen, incumbent)
    if race.get("challenger_loss") is not None and race.get("incumbent_loss") is not None:
        heading = f"{race['challenger_forecast']:.3f} against {race['incumbent_forecast']:.3f}"
        losses = f"{race['challenger_loss']:.3f} against {race['incumbent_loss']:.3f}"
        sides = f"{recipe_name(race['challenger'], incumbent)} against {recipe_name(incumbent, incumbent)}"
        return f"{name}; {sides}: {losses} after {race['seconds']:.0f} s each, heading for {heading}"
    ahead = (result.get("verdict") or {}).get("tid")
    if ahead is not None and ahead != chosen == incumbent:
        leader = recipe_name(ahead, incumbent)
        return f"{name}; {leader} was ahead in short trainings, which say little about minutes"
    if chosen == DEFAULT_TID:
        return f"{name}; no trial was clearly better"
    if default is None or best is None:
        return f"{name}; the default recipe's own trial failed" if default is None else name
    return f"{name}, {default - best:.3f} nats per character below the default recipe in short trainings"


def outcome_of(outcome: Outcome) -> dict[str, Any]:
    """How the finalists' comparison ended, for the records; numbers that do not exist are None.

    >>> outcome_of(Outcome(4, 0.05, 0.01))["text"]
    'trial 4 is 0.050 nats per character below the default recipe, +- 0.010: better'
    """
    known = math.isfinite(outcome.difference)
    if outcome.tid == 0:
        text = "the default recipe: no finalist is better by more than seeds would do"
    elif not known:
        text = f"trial {outcome.tid}; the default recipe was not trained to the end"
    else:
        says = "better" if outcome.better else "within noise"
        lower = f"{outcome.difference:.3f} nats per character below the default recipe"
        text = f"trial {outcome.tid} is {lower}, +- {outcome.se:.3f}: {says}"
    numbers = (
        {"difference": outcome.difference, "se": outcome.se} if known else {"difference": None, "se": None}
    )
    return {"tid": outcome.tid, "better": outcome.better, **numbers, "text": text}


def closing(result: Mapping[str, Any], folder: Path) -> str:
    """Under the table: what the model writes, and where everything is."""
    text = textwrap.indent(result["sample"], "  | ", lambda line: True)
    page = folder / PAGE
    lines = ["", "a sample", text, "", f"study     {folder}", f"run       {folder / BEST}"]
    if page.exists():
        lines += [f"pictures  {folder}/*.png", f"page      {page}"]
    return "\n".join(lines)
