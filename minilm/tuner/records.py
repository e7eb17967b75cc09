"""The study folder on disk: `study.json` says what is searched, `trials.jsonl` gains a line per trial.

Everything a study needs to go on, and everything its page shows, is in these two files. What was recorded
is never rewritten; a trial that was running when the study died has no line and runs again. Knows nothing
of Hyperopt.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from minilm import files
from minilm.errors import RunError
from minilm.tuner.space import Draw, Point

FORMAT, VERSION = "minilm-study", 1
STUDY, TRIALS, RESULT, BEST, MODELS = "study.json", "trials.jsonl", "result.json", "best", "models"


class TrialState(str, Enum):
    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"


@dataclass(frozen=True)
class Trial:
    """One configuration and what became of it. Times are seconds since the study began."""

    tid: int
    point: Point
    draw: Draw  # Hyperopt's raw values of the point
    known: int = 0  # how many lines the record had when the point was proposed: what the proposal could know
    state: TrialState = TrialState.RUNNING
    loss: float | None = None  # validation, nats per character
    reason: str | None = None  # why it failed
    curve: list[list[float]] = field(default_factory=list)  # (seconds, validation loss) on the way
    n_parameters: int | None = None
    steps: int | None = None
    seconds: float | None = None  # of training
    tokens_per_second: float | None = None
    worker: int | None = None
    started: float | None = None
    ended: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "state": self.state.value}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Trial:
        names = {f.name for f in dataclasses.fields(cls)}
        kept = {name: value for name, value in values.items() if name in names}
        return cls(**{**kept, "state": TrialState(values["state"])})


class Journal:
    """The trials that ended, in the order of their endings, in memory and in `trials.jsonl`."""

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / TRIALS
        self.trials = _read_trials(self.path) if self.path is not None and self.path.exists() else []

    def add(self, trial: Trial) -> None:
        """On the disk before this returns."""
        assert trial.state is not TrialState.RUNNING, (
            "a running trial is not recorded: it would have to be rewritten"
        )
        if self.path is not None:
            files.append_record(self.path, trial.to_dict())
        self.trials.append(trial)


def _read_trials(path: Path) -> list[Trial]:
    try:
        trials = [Trial.from_dict(record) for record in files.read_records(path)]
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(
            f"{path} does not hold trials of a minilm study ({error}); give the folder of one"
        ) from error
    if len({trial.tid for trial in trials}) < len(trials):
        raise RunError(f"{path} holds a trial twice; restore it from a copy")
    return trials


def create_study(folder: Path, settings: dict[str, Any]) -> None:
    """Writes what is searched: once, before the first trial."""
    files.write_json(folder / STUDY, {"format": FORMAT, "version": VERSION, **settings})


def read_study(folder: Path) -> dict[str, Any]:
    """The settings of the study in `folder`, or a `RunError`."""
    if not (folder / STUDY).is_file():
        raise RunError(
            f"{folder} is not a study: it has no {STUDY}; give the folder that minilm.tune printed"
        )
    settings = files.read_json(folder / STUDY)
    if settings.get("format") != FORMAT or settings.get("version") != VERSION:
        found = f"{settings.get('format')!r} version {settings.get('version')!r}"
        raise RunError(f"{folder / STUDY} must be {FORMAT!r} version {VERSION}, got {found}; update minilm")
    return settings
