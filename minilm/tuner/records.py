"""Keeps a study on disk: `study.json` says what is searched, `trials.jsonl` gains a line per leg of a trial.

Everything a study needs to continue, and everything its page shows, is in these two files. What was recorded
is never rewritten: a trial that continues gets a further line, and the last one counts. A leg that was running when the
study died has no line and runs again. Knows nothing of Hyperopt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from minilm import files
from minilm.errors import RunError
from minilm.tuner.provenance import made_by
from minilm.tuner.space import Draw, Point

FORMAT, VERSION = "minilm-study", 2
STUDY, TRIALS, RESULT, BEST, MODELS = "study.json", "trials.jsonl", "result.json", "best", "models"
PAGE = "report.html"


class TrialState(str, Enum):
    RUNNING = "running"
    PAUSED = "paused"  # waits at a rung, may continue
    OK = "ok"
    FAILED = "failed"


# What a line must hold, see `files.misfit`: a trial's number names a folder, and may come from anywhere.
SHAPE: dict[str, Any] = {
    **{"tid": int, "point": {}, "draw": {}, "state": str, "loss?": (None, float), "reason?": (None, str)},
    **dict.fromkeys(("n_parameters?", "steps?", "worker?"), (None, int)),
    **dict.fromkeys(("seconds?", "held?", "tokens_per_second?", "started?", "ended?"), (None, float)),
    **{
        "curve?": [[float]],
        "legs?": [{"rung?": int, "loss?": (None, float)}],
        "refused?": [str],
        "known?": int,
    },
}
OPTIONAL = (None, float)
# The same of study.json, for who wants to go on with it.
STUDY_SHAPE: dict[str, Any] = {
    **{
        "corpus": {"name": str, "bounds": [int]},
        "space": str,
        "algo": str,
        "seed": int,
        "device": str,
        "rungs": [float],
    },
    "limits": {"block_size": int, "step_work": float, "memory?": (None, int)},
    "budget": (None, {"steps?": (None, int), "seconds?": OPTIONAL, "chars?": (None, int)}),
    **{"minutes?": OPTIONAL, "trials?": (None, int), "workers?": int, "threads?": int, "scheduler?": str},
    **{
        "engine?": (None, str),
        "chosen?": (None, {"point": {}, "tokens": [str], "looked": [[({}, None, float)]]}),
    },
}


@dataclass(frozen=True)
class Trial:
    """One configuration and what became of it. Times are seconds since the study began."""

    tid: int
    point: Point
    draw: Draw  # Hyperopt's raw values of the point
    known: int = 0  # how many lines the record had when the point was proposed: what the proposal could know
    state: TrialState = TrialState.RUNNING
    loss: float | None = None  # validation, nats per character: the lowest one measured
    reason: str | None = None  # why it failed
    curve: list[list[float]] = field(default_factory=list)  # (seconds, validation loss) on the way
    n_parameters: int | None = None
    steps: int | None = None
    seconds: float | None = None  # of training
    tokens_per_second: float | None = None
    worker: int | None = None
    started: float | None = None
    ended: float | None = None
    # from rung to rung: rung, worker, started, ended, seconds and steps of training, loss, reason
    legs: list[dict[str, Any]] = field(default_factory=list)

    refused: list[str] = field(default_factory=list)  # why points were not asked for before this one

    @property
    def losses(self) -> tuple[float, ...]:
        """The loss at each rung it has reached, in order."""
        if not self.legs:  # a training in one piece
            return () if self.loss is None else (self.loss,)
        return tuple(leg["loss"] for leg in self.legs if leg.get("loss") is not None)

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "state": self.state.value}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Trial:
        if fault := files.misfit(values, SHAPE, "a trial"):
            raise ValueError(fault)
        names = {f.name for f in dataclasses.fields(cls)}
        kept = {name: value for name, value in values.items() if name in names}
        return cls(**{**kept, "state": TrialState(values["state"])})


class Journal:
    """What became of the trials so far, in memory and in `trials.jsonl`; `lines` counts what was recorded."""

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / TRIALS
        self.lines = _read_lines(self.path) if self.path is not None and self.path.exists() else []

    @property
    def trials(self) -> list[Trial]:
        """Each trial as it was last recorded, in the order of these records."""
        return latest(self.lines)

    def add(self, trial: Trial) -> None:
        """On the disk before this returns."""
        assert trial.state is not TrialState.RUNNING, (
            "a running trial is not recorded: it would have to be rewritten"
        )
        if self.path is not None:
            files.append_record(self.path, trial.to_dict())
        self.lines.append(trial)


def latest(lines: Sequence[Trial]) -> list[Trial]:
    """The last line of each trial, in order.

    >>> [t.loss for t in latest([Trial(0, {}, {}, loss=3.0), Trial(1, {}, {}, loss=2.0), Trial(0, {}, {}, loss=1.0)])]
    [2.0, 1.0]
    """
    last = {trial.tid: number for number, trial in enumerate(lines)}
    return [lines[number] for number in sorted(last.values())]


def _read_lines(path: Path) -> list[Trial]:
    try:
        lines = [Trial.from_dict(record) for record in files.read_records(path)]
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(
            f"{path} does not hold trials of a minilm study ({error}); give the folder of one"
        ) from error
    seen: dict[int, int] = {}
    for trial in lines:
        if len(trial.legs) <= seen.get(trial.tid, -1):
            raise RunError(f"{path} holds a trial twice; restore it from a copy")
        seen[trial.tid] = len(trial.legs)
    return lines


def create_study(folder: Path, settings: dict[str, Any]) -> None:
    """Writes what is searched, and what searches: once, before the first trial."""
    head = {"format": FORMAT, "version": VERSION, "made_by": made_by()}
    files.write_json(folder / STUDY, {**head, **settings}, sealed=True)


def read_study(folder: Path) -> dict[str, Any]:
    """The settings of the study in `folder`, or a `RunError`."""
    if not (folder / STUDY).is_file():
        raise RunError(
            f"{folder} is not a study: it has no {STUDY}; give the folder that minilm.tune printed"
        )
    settings = files.read_json(folder / STUDY)
    files.check_shape(folder / STUDY, settings, {})
    if settings.get("format") != FORMAT or settings.get("version") != VERSION:
        found = f"{settings.get('format')!r} version {settings.get('version')!r}"
        advice = (
            f"its model is whole, use {folder / BEST}" if (folder / BEST).is_dir() else "start a new study"
        )
        raise RunError(f"{folder / STUDY} must be {FORMAT!r} version {VERSION}, got {found}; {advice}")
    return settings
