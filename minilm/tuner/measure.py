"""Measures the machine for a study: what it is, how much memory is free, how many seconds training steps take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minilm.config import ModelConfig, TrainConfig
from minilm.text.corpora import Corpus
from minilm.training.hardware import Hardware, choose_hardware, free_bytes, physical_cores
from minilm.training.pace import step_seconds
from minilm.training.probe import timed
from minilm.tuner.space import Limits, limits_for, to_configs

MEMORY_SHARE = 0.8  # of what is free, for all trainings together


def machine(device: str = "auto") -> tuple[Hardware, int]:
    """The hardware that this process would use, and the physical cores of the machine."""
    return choose_hardware(TrainConfig.from_dict({"device": device})), physical_cores()


def timed_steps(
    points: Sequence[Mapping[str, Any]], vocab_size: int, limits: Limits, minutes: float
) -> list[tuple[ModelConfig, TrainConfig, float]]:
    """What the points mean, and the seconds of one step of each: on all cores, in the precision that a training of so
    many minutes would choose."""
    found = []
    for point in points:
        model, train = to_configs(point, vocab_size, limits)
        batch = (train.batch_size, model.block_size)
        hardware = timed(
            choose_hardware(train, model.attention), model, train.replace(minutes=minutes), batch
        )
        found.append((model, train, step_seconds(model, train, hardware)))
    return found


def limits_of(corpus: Corpus, device: str, workers: int, remote: bool = False) -> Limits:
    """What the text and the machine allow one of so many trainings; `remote` where others train it."""
    free = None if remote else free_bytes(device)  # a cluster's memory is its own
    each = None if free is None else int(MEMORY_SHARE * free / workers)
    return limits_for(len(corpus.train), wide=device != "cpu", memory=each)
