"""Spends what a used-up text leaves of the minutes: a second model of the same recipe learns from the text and from the
first (`minilm.training.distil`).

Measured instead of it, and no better than chance: the next best recipes, another seed, and a third model that learns
from the second (benchmarks/RESULTS.md, 2026-11-30).
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from minilm import files
from minilm.config import ModelConfig, TrainConfig
from minilm.errors import DivergenceError
from minilm.training.checkpoint import CHECKPOINT
from minilm.training.distil import Teacher
from minilm.training.run import Run, add_to_result, load_run, read_config
from minilm.training.session import resume_training, run_training
from minilm.tuner.budget import TEACHER_PRICE
from minilm.tuner.choose import Choice, Outlook, choose, middle_of
from minilm.tuner.finish import Finish
from minilm.tuner.records import BEST
from minilm.tuner.space import Point
from minilm.tuner.watch import Watch

SECOND = "second"  # the folder of the second model, until it takes the place of the first
TAUGHT = 0.03  # nats per character that a second model ends lower: the median of seven texts, benchmarks/RESULTS.md
LONGEST = 1.5  # times the first one's steps, where there is time for so many
LEAST = 0.8  # of them, else it would not be better
SLOWER = 1.1  # times the seconds that steps were timed to take


def once_or_twice(outlook: Outlook, seconds: float, seed: int, algo: str) -> Choice:
    """The choice for one training of all the seconds; or for a shorter one that uses up the text, where with a second
    model it is expected to end lower."""
    whole, shorter = choose(outlook, seconds, seed, algo), seconds / (1 + SLOWER * TEACHER_PRICE)
    if not uses_up(outlook, middle_of(outlook, shorter), shorter):
        return whole
    first = choose(outlook, shorter, seed, algo)
    lost, _ = outlook.gain_of_time(first.point, shorter, whole.point, seconds)
    better = uses_up(outlook, first.point, shorter) and lost < TAUGHT
    return dataclasses.replace(first, share=shorter / seconds) if better else whole


def uses_up(outlook: Outlook, point: Point, seconds: float) -> bool:
    """Whether the text has hardly anything left to tell after so many seconds."""
    recipe = outlook.recipe(point, seconds)
    return recipe.steps * recipe.batch * recipe.context >= outlook.useful_tokens(point)


def seconds_of_both(steps: int, each: float, left: float) -> tuple[float, float]:
    """How long the first model's training takes, with `each` seconds of a step, and the one of both; the same where no
    time is left for a second model."""
    first, second = SLOWER * steps * each, SLOWER * steps * each * TEACHER_PRICE
    return first, first + (min(LONGEST * second, left - first) if first + LEAST * second < left else 0.0)


def second_model(f: Finish, run: Run, watch: Watch) -> Run | None:
    """The better of the run and a second model that it teaches; None where the text is not used up, where there is no
    time for one, and where there has been one. The better one is whole in one of the two folders at all times. The
    config.json of a second model has "taught"; where the first is kept its result says under "student" what the second
    came to."""
    second = f.folder / SECOND
    judged = "taught" in run.config or "student" in run.result  # before a crash, or in an earlier sitting
    student = None if judged else _student(f, run, watch)
    if student is not None and student.result["val_loss"] < run.result["val_loss"]:
        run = load_run(files.copy_folder(second, f.folder / BEST))
    elif student is not None:
        add_to_result(run, {"student": student.result["val_loss"]})
    files.delete_folder(second)
    return run if student is not None else None


def _student(f: Finish, run: Run, watch: Watch) -> Run | None:
    second, steps, model = f.folder / SECOND, run.result["steps"], run.model
    rest: dict[str, Any] = {"deadline": f.end, "on_record": f.on_record}
    if goes_on := (second / CHECKPOINT).is_file():
        most = read_config(second)["taught"]["most_steps"]
    else:
        files.delete_folder(second)
        minutes = f.settings.minutes or 0.0  # a sitting that goes on after a crash has no clock
        left = 60 * minutes - run.result["seconds"] if f.end is None else f.end - time.monotonic()
        used_up = run.result["stopped"] == "finished" and steps >= (f.most_steps or 0) > 0
        times = left / (TEACHER_PRICE * run.result["step_seconds"])
        if not used_up or times < LEAST:
            return None
        most = int(steps * min(LONGEST, times))
    watch.phase("a second model learns from the text and from the first")
    try:
        if goes_on:
            return resume_training(second, corpus=f.corpus, most_steps=most, teacher=Teacher(model), **rest)
        note = {name: run.result[name] for name in ("val_loss", "seconds", "step_seconds")}
        teacher = Teacher(model, {"most_steps": most, **note})
        shape, config = ModelConfig.from_dict(run.config["model"]), TrainConfig.from_dict(run.config["train"])
        config = config.replace(seed=config.seed + 1, minutes=left / 60, eval_chars=run.result["eval_chars"])
        return run_training(f.corpus, shape, config, second, most_steps=most, teacher=teacher, **rest)
    except DivergenceError:
        return None
