"""Reads a run's or a study's folder into plain dicts for the pages, tolerant of what is not there yet.

It opens JSON and record files only: no weights, no text, so a page can be rebuilt wherever the records are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from minilm import files
from minilm.errors import RunError
from minilm.plots.verdict import Standing, is_number
from minilm.tuner.records import BEST, RESULT, STUDY, TRIALS
from minilm.tuner.records import read_study as study_settings

RUN_FORMAT = "minilm-run"


class RunRecords(NamedTuple):
    """A run folder: its configuration, its measurements, and its end if it has come."""

    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    result: dict[str, Any]


class StudyRecords(NamedTuple):
    """A study folder: its settings, its trials, its end if it has come, and its final run if there is one."""

    study: dict[str, Any]
    trials: list[dict[str, Any]]
    result: dict[str, Any]
    best: RunRecords | None


def is_study(folder: Path) -> bool:
    return (folder / STUDY).is_file()


def is_run(folder: Path) -> bool:
    """Whether `folder` is a run of ours; other programs also write a file called config.json."""
    config = _json(folder / "config.json")
    return isinstance(config, dict) and config.get("format") == RUN_FORMAT


def read_run(folder: str | Path) -> RunRecords:
    """The records of a run; `RunError` if `folder` is not one."""
    folder = Path(folder)
    if not is_run(folder):
        raise RunError(
            f"{folder} is not a run: it has no config.json of ours; give the folder that training wrote"
        )
    return RunRecords(
        _json(folder / "config.json"), _records(folder / "metrics.jsonl"), _json(folder / "result.json")
    )


def read_study(folder: str | Path) -> StudyRecords:
    """The records of a study; `RunError` if `folder` is not one."""
    folder = Path(folder)
    if not is_study(folder):
        raise RunError(f"{folder} is not a study: it has no study.json; give the folder that tuning wrote")
    best = folder / BEST
    return StudyRecords(
        study=study_settings(folder),
        trials=latest(_records(folder / TRIALS)),
        result=_json(folder / RESULT),
        best=read_run(best) if is_run(best) else None,
    )


def latest(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last line of each trial: one that continued from a rung has several.

    >>> latest([{"tid": 0, "loss": 2.0}, {"tid": 1}, {"tid": 0, "loss": 1.5}])
    [{'tid': 1}, {'tid': 0, 'loss': 1.5}]
    """
    last = {line["tid"]: number for number, line in enumerate(lines) if "tid" in line}
    return [lines[number] for number in sorted(last.values())]


def _json(path: Path) -> dict[str, Any]:
    return files.read_json(path) if path.is_file() else {}


def _records(path: Path) -> list[dict[str, Any]]:
    return files.read_records(path) if path.is_file() else []


def number(values: Mapping[str, Any], key: str) -> float | None:
    """The finite number under `key`, or None."""
    value = values.get(key)
    return value if is_number(value) else None


def part(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The dict under `key`, or an empty one."""
    value = values.get(key)
    return value if isinstance(value, dict) else {}


def result_of(study: StudyRecords) -> dict[str, Any]:
    """Final numbers: the study's own, and those of its best run where the study has none."""
    return {**(study.best.result if study.best else {}), **study.result}


def corpus_of(study: StudyRecords) -> dict[str, Any]:
    return part(study.study, "corpus") or (part(study.best.config, "corpus") if study.best else {})


def standing(split: str, corpus: Mapping[str, Any], result: Mapping[str, Any]) -> Standing:
    """Model, counting baseline, floor and the mixture of the first two on "val" or "test"."""
    return Standing(
        model=number(result, f"{split}_loss"),
        counting=number(part(result, "counting"), split),
        floor=number(part(corpus, "floors"), split),
        mixture=number(part(result, "mixture"), split),
        weight=number(part(result, "mixture"), "weight"),
    )
