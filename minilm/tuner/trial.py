"""Trains one trial: a point and a leg go in, losses come out.

`run_leg` is what workers run. It decides nothing, and a training that diverges or does not fit is an answer here, not
an exception. Inside a search the learning rate rises, stays high, and falls to zero only in the last fifth of a full
training (warmup-stable-decay, Hu et al., 2024, arXiv:2404.06395): two trials at the same rung then compare, and either
can go on from where it paused.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from minilm import files
from minilm.config import ModelConfig, TrainConfig
from minilm.errors import DivergenceError, MinilmError, StorageError
from minilm.text.corpora import Corpus, load_described
from minilm.training.checkpoint import CHECKPOINT
from minilm.training.session import run_training
from minilm.tuner.records import MODELS, Trial, TrialState
from minilm.tuner.rungs import Ladder
from minilm.tuner.settings import EVALUATIONS, Settings, TrialBudget
from minilm.tuner.space import Limits, Point, to_configs

HOLD_SHARE = 0.8  # share of a full training after which the learning rate falls
SHORTEST_LEG = 2.0  # seconds; what starting a leg takes is then little of it
LADDERS = ((1 / 9, 1 / 3, 1.0), (1 / 3, 1.0))  # the first whose legs are not too short is taken
FEWEST_KEPT = 6  # paused trials at a rung whose checkpoints are kept, however many are better


@dataclass(frozen=True)
class Task:
    """All that a worker must know to run one leg of a trial; it travels to other processes and machines."""

    point: Point
    corpus: dict[str, Any]  # Corpus.describe()
    limits: Limits
    leg: dict[str, Any]  # what it changes of the recipe's TrainConfig
    seed: int = 0
    threads: int | None = 1
    device: str = "auto"
    out: str | None = None  # the folder of the leg's own model and checkpoint
    start: str | None = None  # checkpoint to continue from


def run_leg(task: Task) -> dict[str, Any]:
    """Trains one point for one leg. `loss` is the best one, in nats per character, None where it failed, with a
    `reason`.

    Pure and idempotent: the task and the checkpoint it starts from decide the answer (by count, on one machine, to the
    bit), and running it again replaces what a worker that was killed has left.
    """
    curve: list[tuple[float, float]] = []  # (seconds, validation loss)

    def record(values: dict[str, Any]) -> None:
        if "val_loss" in values:
            curve.append((round(values["seconds"], 3), values["val_loss"]))

    try:
        corpus = _corpus(json.dumps(task.corpus, sort_keys=True))
        model, train = to_configs(task.point, corpus.tokenizer.vocab_size, task.limits)
        own = {"seed": task.seed, "threads": task.threads, "device": task.device, "patience": None}
        if task.out is not None:
            files.delete_folder(Path(task.out))  # left by a worker that was killed
        config = train.replace(**{**task.leg, **own})
        run = run_training(corpus, model, config, task.out, start=task.start, test=False, on_record=record)
    except DivergenceError as error:
        return {"loss": None, "reason": f"diverged at step {error.step}", "curve": curve}
    except StorageError:  # the disk's fault and never the trial's: it stops the study
        raise
    except (MinilmError, MemoryError) as error:
        return {"loss": None, "reason": str(error) or "out of memory", "curve": curve}
    facts = {name: run.result[name] for name in ("steps", "seconds", "n_parameters")}
    speed = run.result["tokens_seen"] / max(run.result["seconds"], 1e-9)
    return {"loss": min(loss for _, loss in curve), "curve": curve, "tokens_per_second": speed, **facts}


@lru_cache(maxsize=1)  # a worker serves one study
def _corpus(description: str) -> Corpus:
    return load_described(json.loads(description))


def prepare(corpus: dict[str, Any], threads: int | None = 1) -> None:
    """Loads the text and takes a first tiny step, so that no trial pays for what is slow only once."""
    loaded = _corpus(json.dumps(corpus, sort_keys=True))
    tiny = ModelConfig(vocab_size=loaded.tokenizer.vocab_size, block_size=1, n_layer=1, n_head=1, n_embd=2)
    config = TrainConfig(steps=1, batch_size=1, evaluations=1, eval_chars=1, threads=threads)
    run_training(loaded, tiny, config, test=False)


def leg_of(
    budget: TrialBudget, ladder: Ladder, rung: int, train: TrainConfig, begin: float | None = None
) -> dict[str, Any]:
    """What the leg that ends at `rung` changes of a recipe; it begins at the rung before, or at the share `begin`.

    A training that does not pause keeps the recipe's own schedule, as nothing has to compare with its middle.

    >>> leg = leg_of(TrialBudget(steps=90), Ladder(), 2, TrainConfig())
    >>> leg["steps"], leg["schedule"], round(leg["decay"], 3), leg["evaluations"]
    (60, 'wsd', 0.3, 5)
    """
    begin = (ladder.shares[rung - 1] if rung else 0.0) if begin is None else begin
    end = ladder.shares[rung]
    steps = None if budget.steps is None else round(end * budget.steps) - round(begin * budget.steps)
    count = max(1, round(EVALUATIONS * (end - begin)))
    leg: dict[str, Any] = {
        "steps": steps,
        "minutes": None if budget.seconds is None else (end - begin) * budget.seconds / 60,
        "evaluations": min(count, steps or count),
        "eval_chars": budget.eval_chars,
    }
    if ladder.top:
        leg["warmup"] = 0.0 if begin else min(1.0, train.warmup / (end - begin))
        leg["schedule"] = "wsd" if rung == ladder.top else "constant"
        leg["decay"] = min(1.0, (1 - HOLD_SHARE) / (end - begin))
    return leg


def ladder_for(scheduler: str, budget: TrialBudget) -> Ladder:
    """The rungs of a search: none of its legs is shorter than SHORTEST_LEG, or than a step.

    >>> [len(ladder_for("asha", TrialBudget(seconds=seconds)).shares) for seconds in (4, 9, 20)]
    [1, 2, 3]
    >>> [len(ladder_for("asha", TrialBudget(steps=steps)).shares) for steps in (1, 3, 9)]
    [1, 2, 3]
    """
    for shares in () if scheduler == "none" else LADDERS:
        steps = [round(share * (budget.steps or 0)) for share in (0.0, *shares)]
        by_count = all(low < high for low, high in zip(steps, steps[1:], strict=False))
        if by_count if budget.seconds is None else shares[0] * budget.seconds >= SHORTEST_LEG:
            return Ladder(shares)
    return Ladder((1.0,))


def folder_of(models: Path, tid: int, rung: int) -> Path:
    """Where a trial's leg to that rung leaves its best weights and its checkpoint."""
    return models / str(tid) / f"rung{rung}"


def leg_task(settings: Settings, folder: Path, trial: Trial) -> Task:
    """The next leg of a trial: from its checkpoint, or from the start again where that is gone."""
    models, reached = folder / MODELS, len(trial.losses)
    start = folder_of(models, trial.tid, reached - 1) / CHECKPOINT
    goes_on = reached > 0 and start.is_file()
    assert settings.budget is not None
    _, train = to_configs(trial.point, 1, settings.limits)
    leg = leg_of(settings.budget, settings.ladder, reached, train, begin=None if goes_on else 0.0)
    return Task(
        trial.point,
        settings.corpus,
        settings.limits,
        leg,
        settings.seed,
        settings.threads,
        settings.device,
        str(folder_of(models, trial.tid, reached)),
        str(start) if goes_on else None,
    )


def best_folder(models: Path, trial: Trial) -> Path:
    """Where the trial's lowest loss was measured."""
    return folder_of(models, trial.tid, trial.losses.index(min(trial.losses)) if trial.losses else 0)


def prune(models: Path, trials: Sequence[Trial], ladder: Ladder, busy: Collection[int] = ()) -> None:
    """Throws away what no leg will start from and no final model can be: all but the best trial's weights and the
    checkpoints of those that are paused and not too far down their rung to be called.

    Nothing of the trials in `busy`: a worker reads and writes there.
    """
    able = [trial for trial in trials if trial.losses and trial.state is not TrialState.FAILED]
    keep = (
        {best_folder(models, min(able, key=lambda trial: (min(trial.losses), trial.tid)))} if able else set()
    )
    for rung in range(ladder.top):
        paused = [t for t in able if t.state is TrialState.PAUSED and len(t.losses) == rung + 1]
        reached = sum(len(t.losses) > rung for t in trials)
        ranked = sorted(paused, key=lambda trial: trial.losses[rung])[: max(FEWEST_KEPT, reached // 2)]
        keep |= {folder_of(models, trial.tid, rung) for trial in ranked}
        keep |= {best_folder(models, trial) for trial in ranked}
    for trial in (trial for trial in trials if trial.tid not in busy):
        for folder in (models / str(trial.tid)).glob("*"):
            if folder not in keep:
                files.delete_folder(folder)
