"""Lists every number of a study's protocol in tables: what was searched how, on what, where the time went."""

from __future__ import annotations

import math
from typing import Any

from minilm.plots.layout import Section, Table
from minilm.plots.legs import seconds_trained
from minilm.plots.parts import cell, corpus_rows, duration, facts_section, protocol, rows
from minilm.plots.priors import Prior, priors_of
from minilm.plots.reading import StudyRecords, corpus_of, number, part, result_of
from minilm.plots.trials import plain, short_name

# of study.json; the rest is either shown elsewhere or for programs
SETTINGS = ("minutes", "trials", "algo", "scheduler", "rungs", "seed", "workers", "device")


def facts(study: StudyRecords) -> Section:
    found = study.study
    names = SETTINGS if study.trials else ("minutes", "algo", "seed", "device")
    budget = {f"{unit} per trial": size for unit, size in part(found, "budget").items()}
    point = part(part(study.result, "best"), "point")
    tables = [
        Table("Study", (), rows({name: found.get(name) for name in names}, budget)),
        Table("Recipe", (), rows(point)),
        Table("Where the time went", (), _time_rows(study)),
        Table(
            "What was searched" if study.trials else "What was imagined",
            (),
            _space_rows(str(found.get("space") or "")),
        ),
        Table("Version and machine", (), rows(part(found, "made_by"))),
    ]
    if study.best:
        section = facts_section(study.best)
        return section._replace(tables=[*(t for t in tables if t.rows), *section.tables])
    text = corpus_rows(corpus_of(study)) + rows({"protocol": protocol(study.result)})
    shown = [table for table in (*tables, Table("Text", (), text)) if table.rows]
    return Section("Everything needed to do it again", tables=shown)


def _time_rows(study: StudyRecords) -> list[tuple[str, str]]:
    """Times by the clock, and the training in it, as far as they are recorded."""
    end = max((ended for trial in study.trials if (ended := number(trial, "ended"))), default=None)
    last = number(result_of(study), "seconds")
    found = {
        "search, by the clock": end,
        "training in it, all workers": sum(map(seconds_trained, study.trials)) or None,
        "training of the final model": last,
        "in its steps": number(result_of(study), "step_seconds"),
    }
    return [(words, duration(seconds)) for words, seconds in found.items() if seconds is not None]


def _space_rows(space: str) -> list[tuple[str, str]]:
    return [(short_name(prior.label), prior_words(prior)) for prior in priors_of(space)]


def prior_words(prior: Prior) -> str:
    """What a label was drawn from, said shortly; the logarithms of Hyperopt's log distributions undone.

    >>> prior_words(Prior("a", "quniform", (0.0, 0.2, 0.05))), prior_words(Prior("b", "randint", (2.0,), ("x", "y")))
    ('from 0 to 0.2 in steps of 0.05', 'x or y')
    """
    if prior.choices:
        return " or ".join(prior.choices)
    numbers: list[Any] = list(prior.numbers)
    name = prior.kind.removeprefix("q")
    if name in ("uniform", "loguniform") and len(numbers) >= 2:
        ends = [plain(_undone(value, name)) for value in numbers[:2]]
        step = f" in steps of {plain(_whole(numbers[2]))}" if len(numbers) > 2 and numbers[2] != 1 else ""
        step = ", whole numbers" if numbers[2:] == [1.0] else step
        scale = ", by ratios" if name == "loguniform" else ""
        return f"from {ends[0]} to {ends[1]}{step}{scale}"
    return f"{prior.kind} {cell(numbers)}"


def _undone(value: float, name: str) -> float | int:
    return _whole(round(math.exp(value), 10) if name == "loguniform" else value)


def _whole(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value
