"""Made-up records that look like a real run's and study's; nothing is trained, a seed decides everything."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

from minilm import files

CORPUS = {
    "name": "fables",
    "source": {"path": "fables", "sha256": "ab" * 32, "licence": "MIT"},
    "bounds": [900_000, 950_000],
    "characters": 1_000_000,
    "vocab_size": 62,
    "floors": {"train": 0.861, "val": 0.865, "test": 0.859},
}
CONFIG = {
    "format": "minilm-run",
    "version": 1,
    "model": {"vocab_size": 62, "block_size": 128, "n_layer": 4, "n_head": 4, "n_embd": 128, "dropout": 0.05},
    "train": {"steps": 1000, "batch_size": 32, "learning_rate": 0.003, "schedule": "linear"},
    "corpus": CORPUS,
    "hardware": {
        "device": "cpu",
        "precision": "fp32",
        "threads": 2,
        "attention": "manual",
        "why": "no GPU found",
    },
}
SAMPLE = (
    "The Fox met a Crane by the old well.\nFox: You look tired, my friend.\nCrane: I am <tired> & wise.\n"
)
RESULT = {
    "val_loss": 1.012,
    "test_loss": 1.019,
    "best_step": 950,
    "steps": 1000,
    "seconds": 93.2,
    "stopped": "finished",
    "tokens_seen": 4_096_000,
    "n_parameters": 801_000,
    "protocol": "exact",
    "counting": {"order": 7, "val": 1.245, "test": 1.251},
    "mixture": {"weight": 0.9, "order": 5, "val": 1.004, "test": 1.011},
    "floors": CORPUS["floors"],
    "sample": SAMPLE,
}


def metrics(steps: int = 1000, every: int = 10, final: float = 1.012) -> list[dict[str, Any]]:
    """A falling training loss, a validation loss on every fifth record that ends at `final`."""
    dice = random.Random(0)
    records = []
    for step in range(every, steps + 1, every):
        progress = step / steps
        loss = final + 0.25 * (progress**-0.4 - 1)
        record = {
            "step": step,
            "progress": progress,
            "seconds": 93 * progress,
            "learning_rate": 3e-3 * min(progress / 0.05, (1 - progress) / 0.95),
            "train_loss": loss - 0.12 * progress + dice.gauss(0, 0.012),
        }
        if step % (5 * every) == 0:
            record["val_loss"] = final if step == steps else loss + 0.01
        records.append(record)
    return records


def trials(count: int = 24, failing: tuple[int, ...] = (5, 17)) -> list[dict[str, Any]]:
    """Trials on two workers; the loss has a valley in the learning rate and falls with size."""
    dice = random.Random(1)
    clock = [0.0, 0.0]
    return [_trial(tid, dice, clock, tid in failing) for tid in range(count)]


def _trial(tid: int, dice: random.Random, clock: list[float], failed: bool) -> dict[str, Any]:
    point = {
        "num_layers": 4 if tid == 0 else dice.choice([2, 3, 4, 6]),
        "hidden_size": 128 if tid == 0 else dice.choice([64, 96, 128, 192, 256]),
        "learning_rate": 3e-3 if tid == 0 else math.exp(dice.uniform(math.log(3e-4), math.log(2e-2))),
        "batch_size": 32 if tid == 0 else dice.choice([8, 16, 32, 64]),
        "dropout": 0.0 if tid == 0 else round(dice.uniform(0, 0.25), 3),
        "weight_decay": 0.1 if tid == 0 else math.exp(dice.uniform(math.log(0.01), math.log(0.5))),
        "block_size": 128 if tid == 0 else dice.choice([64, 128, 256]),
    }
    worker = clock.index(min(clock))
    seconds = 3.0 if failed else 8 + dice.random() * 4
    started = clock[worker]
    clock[worker] += seconds + 0.3
    loss = (
        1.28 + 0.1 * math.log(point["learning_rate"] / 4e-3) ** 2 - 0.05 * math.log(point["hidden_size"] / 64)
    )
    loss += dice.gauss(0, 0.01) + 0.3 * point["dropout"]
    shares = [i / 8 for i in range(1, 9)]
    curve = [[p * seconds, loss + 1.4 * math.exp(-5 * p) - 1.4 * math.exp(-5)] for p in shares]
    return {
        "tid": tid,
        "point": point,
        "state": "failed" if failed else "ok",
        "loss": None if failed else loss,
        "seconds": seconds,
        "steps": 40 if failed else 300,
        "reason": "the loss became NaN at step 40, learning rate 0.018" if failed else None,
        "curve": [] if failed else curve,
        "n_parameters": 12 * point["num_layers"] * point["hidden_size"] ** 2,
        "worker": worker,
        "started": started,
        "ended": started + seconds,
    }


def with_legs(made: list[dict[str, Any]], workers: int = 2) -> list[dict[str, Any]]:
    """The same trials as a search from rung to rung: a third of those at each rung goes on three times as long."""
    alive = [trial for trial in made if trial["state"] == "ok"]
    found = {trial["tid"]: {**trial, "legs": [_leg(trial, 0, trial["started"])]} for trial in made}
    clock = max(trial["ended"] for trial in made)
    for rung in (1, 2):
        alive = sorted(alive, key=lambda trial: found[trial["tid"]]["loss"])[: max(1, len(alive) // 3)]
        slot = 40.0 * rung  # seconds, longer than any leg at this rung
        for number, trial in enumerate(alive):
            started = clock + number // workers * slot
            found[trial["tid"]] = _promoted(found[trial["tid"]], rung, started, number % workers)
        clock += math.ceil(len(alive) / workers) * slot
    return [trial | {"state": _state(trial)} for trial in found.values()]


def _state(trial: dict[str, Any]) -> str:
    return "failed" if trial["loss"] is None else "ok" if trial["legs"][-1]["rung"] == 2 else "paused"


def _leg(trial: dict[str, Any], rung: int, started: float, worker: int | None = None) -> dict[str, Any]:
    names = ("seconds", "steps", "loss", "reason")
    ended = started + trial["seconds"]
    place = {"rung": rung, "worker": trial["worker"] if worker is None else worker}
    return {**place, "started": started, "ended": ended, **{name: trial[name] for name in names}}


def _promoted(trial: dict[str, Any], rung: int, started: float, worker: int) -> dict[str, Any]:
    """The trial with a further leg, twice as long as all it had before, and a loss lower by a tenth."""
    before, seconds = (
        sum(leg["seconds"] for leg in trial["legs"]),
        2 * sum(leg["seconds"] for leg in trial["legs"]),
    )
    loss = trial["loss"] - 0.1 - 0.01 * (trial["tid"] % 3)
    tail = [[before + seconds * i / 4, trial["loss"] + (loss - trial["loss"]) * i / 4] for i in range(1, 5)]
    further = {**trial, "loss": loss, "seconds": seconds}
    leg = _leg(further, rung, started, worker)
    whole = {"seconds": before + seconds, "curve": trial["curve"] + tail, "ended": leg["ended"]}
    return {**further, **whole, "legs": [*trial["legs"], leg]}


COMPARE: dict[str, Any] = {
    "compare": {
        "default": {"loss": 1.071, "val_loss": 1.071, "test_loss": 1.077},
        "random": {"loss": 1.052, "val_loss": 1.052, "test_loss": 1.06},
    },
}
# of a study by minutes: the law has chosen, nothing was searched
CHOSEN: dict[str, Any] = {
    "best": {
        "tid": None,
        "point": {"tokens": "bpe:512", "num_layers": 3, "hidden_size": 128, "dropout": 0.0},
    },
    "samples": [SAMPLE, "Crane: No.\n", "Fox: Why?\n"],
    "writing": {
        "words": 40,
        "in_text": 0.95,
        "in_unseen": 0.8,
        "invented": 0.05,
        "copied": 0.2,
        "copied_unseen": 0.1,
        "dialogue": True,
    },
    "law": {
        "expected": 1.05,
        "sd": 0.1,
        "most_steps": None,
        "prospects": {
            "sizes": [[98_304, 2, 64, 0.04, 0.01], [589_824, 3, 128, 0.0, 0.0], [3e6, 4, 256, 0.02, 0.01]],
            "tokens": [["characters", 0.06, 0.02], ["bpe:512", 0.0, 0.0]],
            "default": [0.03, 0.01],
            "more": [[1, 0.02, 0.005], [10, 0.08, 0.02]],
        },
    },
}


def write_run(folder: Path, **changes: Any) -> Path:
    """A finished run; `config`, `result` or `metrics` replace what is written, None leaves a file out."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"config": CONFIG, "result": RESULT, **changes}
    for name in ("config", "result"):
        if content[name] is not None:
            files.write_json(folder / f"{name}.json", content[name])
    for record in changes.get("metrics", metrics()):
        files.append_record(folder / "metrics.jsonl", record)
    return folder


def write_study(
    folder: Path,
    made: list[dict[str, Any]] | None = None,
    finished: bool = True,
    space: str = "",
    result: dict[str, Any] = RESULT,
) -> Path:
    """A study with these trials, and with its end and its best run unless unfinished."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "format": "minilm-study",
        "version": 2,
        "algo": "tpe",
        "seed": 0,
        "minutes": 3.0,
        "workers": 2,
    }
    files.write_json(
        folder / "study.json", {**settings, "corpus": CORPUS, "space": space, "rungs": [1 / 9, 1 / 3, 1.0]}
    )
    for trial in trials() if made is None else made:
        files.append_record(folder / "trials.jsonl", trial)
    if finished:
        files.write_json(folder / "result.json", result)
        write_run(folder / "best")
    return folder
