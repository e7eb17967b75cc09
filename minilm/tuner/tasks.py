"""Makes the tasks of the workers, and deletes the models that no later task needs. Paths and settings; no training."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from minilm.config import TrainConfig
from minilm.tuner.finalists import finalists
from minilm.tuner.legs import HOLD, leg_parts, rung_folder
from minilm.tuner.objective import Task
from minilm.tuner.race import CHECKPOINT
from minilm.tuner.records import MODELS, Trial, TrialState
from minilm.tuner.rungs import Ladder
from minilm.tuner.settings import Settings
from minilm.tuner.space import Point, to_configs

FEWEST_KEPT = 6  # paused trials at a rung whose checkpoints are kept, however many are better


def base_task(settings: Settings, point: Point, out: Path) -> Task:
    """The training of a point in its own folder, without a length yet."""
    return Task(point, settings.corpus, settings.limits, (), settings.seed, settings.threads, str(out))


def leg_task(settings: Settings, folder: Path, trial: Trial) -> Task:
    """The next leg of a trial: from its checkpoint, or from the start again where that is gone."""
    home, reached = folder / MODELS / str(trial.tid), len(trial.losses)
    start = home / rung_folder(reached - 1) / CHECKPOINT
    goes_on = reached > 0 and start.is_file()
    parts = leg_parts(
        settings.budget,
        settings.ladder,
        reached,
        _train(settings, trial.point),
        begin=None if goes_on else 0.0,
    )
    task = base_task(settings, trial.point, home)
    return dataclasses.replace(task, parts=parts, start=str(start) if goes_on else None)


def seed_task(settings: Settings, folder: Path, point: Point, tid: int, seed: int) -> Task:
    """A whole training of the point with another seed."""
    ladder = settings.ladder
    parts = leg_parts(settings.budget, ladder, ladder.top, _train(settings, point), begin=0.0)
    task = base_task(settings, point, folder / MODELS / f"{tid}-seed{seed}")
    return dataclasses.replace(task, parts=parts, seed=seed)


def prune(models: Path, trials: Sequence[Trial], ladder: Ladder, busy: Collection[int] = ()) -> None:
    """Throws away what no leg will start from and no final training: models of failed trials, of all that is fully
    trained but the finalists, one of which will be chosen, of rungs left behind, and of those paused so far down their
    rung that they will hardly be called.

    Nothing of the trials in `busy`: a worker reads and writes there.
    """
    keep = {one.tid: {HOLD, rung_folder(ladder.top)} for one in finalists(trials, search_seed=0)}
    for rung in range(ladder.top):
        paused = [t for t in trials if t.state is TrialState.PAUSED and len(t.losses) == rung + 1]
        reached = sum(len(t.losses) > rung for t in trials)
        ranked = sorted(paused, key=lambda trial: trial.losses[rung])[: max(FEWEST_KEPT, reached // 2)]
        for trial in ranked:
            keep.setdefault(trial.tid, set()).add(rung_folder(rung))
    for trial in (trial for trial in trials if trial.tid not in busy):
        for folder in (models / str(trial.tid)).glob("*"):
            if folder.name not in keep.get(trial.tid, ()):
                shutil.rmtree(folder, ignore_errors=True)


def _train(settings: Settings, point: Point) -> TrainConfig:
    return to_configs(point, 1, settings.limits)[1]
