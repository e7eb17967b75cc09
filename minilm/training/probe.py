"""A short race before a training by the clock: all cores or one, float32 or bfloat16 products?

A small model may be faster on one thread than on all of them, and a busy machine makes it likelier; bfloat16 is twice
as fast on some CPUs and many times slower on others. No rule knows beforehand. Only for trainings by the clock: one by
steps shall give the same numbers whatever the machine is doing. That all cores are best is kept for the machine, so
that the next training of that size need not race again; that one is best may be a neighbour's doing, who will be gone
by then. It knows how a model trains and how many seconds that takes; it keeps no weights.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import platform
import time
from dataclasses import replace
from typing import Any

import torch

from minilm import files
from minilm.config import ModelConfig, TrainConfig
from minilm.errors import MinilmError
from minilm.model import GPT
from minilm.text.sources import cache_folder
from minilm.training.hardware import Hardware, LossOf, cpu_name, has_bf16, loss_function, physical_cores

CACHE = "hardware.json"
SECONDS = 0.3  # of racing, after one warming round; the least of several times is no neighbour's doing
ROUNDS = 8  # at most
SHARE = 0.02  # of the training's time, what the race may cost
BF16_GAIN = 1.1  # bfloat16 rounds, so it must be at least this much faster
ALONE_GAIN = 1.1  # and so must one thread: a race is of one layer, and all cores gain most from many
KEPT = 64  # findings in the cache

Choice = tuple[int, str]  # threads and precision
Times = dict[Choice, float]  # seconds of a pass


def raced(hardware: Hardware, shape: ModelConfig, config: TrainConfig, batch: tuple[int, int]) -> Hardware:
    """The hardware with the threads and the precision that train such a model fastest on batches of that shape (B, T).

    As it was where there is nothing to choose: steps are counted, a GPU computes, the user has chosen, or passes are
    so slow that the race would cost more than SHARE of the time.
    """
    choices = open_choices(hardware, config)
    if len(choices) < 2 or config.minutes is None:
        return hardware
    key = machine_key(shape, batch)
    if times := recalled(key, choices):
        found = decided(hardware, times, "remembered")
        if found.threads == hardware.threads:
            return found
    times = race(shape, batch, choices, SHARE * 60 * config.minutes)
    torch.set_num_threads(hardware.threads)
    if not times:
        return hardware
    found = decided(hardware, times, "measured")
    if found.threads == hardware.threads:
        remember(key, times)
    return found


def open_choices(hardware: Hardware, config: TrainConfig) -> list[Choice]:
    """What may be chosen between; a wish of the user's leaves one."""
    if hardware.device != "cpu":
        return [(hardware.threads, hardware.precision)]
    settled = config.threads is not None or "OMP_NUM_THREADS" in os.environ or hardware.threads < 2
    threads = [hardware.threads] if settled else [hardware.threads, 1]
    formats = ["fp32", "bf16"] if config.precision == "auto" and has_bf16() else [hardware.precision]
    return list(itertools.product(threads, formats))


def race(shape: ModelConfig, batch: tuple[int, int], choices: list[Choice], limit: float) -> Times:
    """The least seconds of each choice for the passes of one layer; nothing where that takes more than `limit`."""
    with torch.random.fork_rng(devices=[]):
        model = GPT(shape.replace(n_layer=1, dropout=0.0))
        ids = torch.randint(shape.vocab_size, batch)  # (B, T)
    losses = {precision: loss_function(model, precision) for _, precision in choices}
    started, times = time.perf_counter(), dict.fromkeys(choices, float("inf"))
    for number in range(1 + ROUNDS):
        for threads, precision in choices:
            spent = _seconds(losses[precision], model, ids, threads)
            if number:  # the first round warms up
                times[threads, precision] = min(times[threads, precision], spent)
        so_far = time.perf_counter() - started
        if not number and 2 * so_far > limit:
            return {}
        if number and so_far > SECONDS:
            break
    return times


def decided(hardware: Hardware, times: Times, source: str) -> Hardware:
    """The quickest choice, set and explained; bfloat16 must win by BF16_GAIN, one thread by ALONE_GAIN.

    >>> here = Hardware("cpu", "fp32", 1, "blocked", "one core")
    >>> decided(here, {(1, "fp32"): 0.3, (1, "bf16"): 0.2}, "measured").line()
    'cpu, bf16, 1 thread, blocked attention (one core; measured: bf16 is 1.50 times as fast as fp32)'
    """
    handicap = {
        (threads, precision): (BF16_GAIN if precision == "bf16" else 1.0)
        * (ALONE_GAIN if threads < hardware.threads else 1.0)
        for threads, precision in times
    }
    threads, precision = min(times, key=lambda choice: times[choice] * handicap[choice])
    torch.set_num_threads(threads)
    most, reasons = hardware.threads, []
    if {(most, precision), (1, precision)} <= set(times) and most > 1:
        ratio = times[1, precision] / times[most, precision]
        reasons.append(f"{most} threads are {ratio:.2f} times as fast as one")
    if {(threads, "fp32"), (threads, "bf16")} <= set(times):
        ratio = times[threads, "fp32"] / times[threads, "bf16"]
        reasons.append(f"bf16 is {ratio:.2f} times as fast as fp32")
    why = f"{hardware.why}; {source}: {', '.join(reasons)}"
    return replace(hardware, threads=threads, precision=precision, why=why)


def machine_key(shape: ModelConfig, batch: tuple[int, int]) -> str:
    """Names the machine and the size of the work; a changed machine or torch has another key."""
    size = (*batch, shape.n_embd, shape.n_head, shape.mlp, shape.norm, shape.attention)
    facts = (cpu_name(), physical_cores(), torch.__version__, platform.python_version(), *size)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def recalled(key: str, choices: list[Choice]) -> Times:
    """What an earlier race found about just these choices; nothing where the cache is absent, foreign or damaged."""
    found: Any = _findings().get(key)
    if not isinstance(found, dict):
        return {}
    times = {choice: found.get(_name(choice)) for choice in choices}
    sound = all(isinstance(value, float) and 0 < value < float("inf") for value in times.values())
    return {choice: value for choice, value in times.items() if value is not None} if sound else {}


def remember(key: str, times: Times) -> None:
    """Adds a finding to the cache; one that cannot be written costs a race next time, nothing more."""
    findings = {k: v for k, v in _findings().items() if k != key}
    newest = dict(list(findings.items())[-(KEPT - 1) :])
    try:
        files.make_folder(cache_folder())
        mine = {_name(choice): seconds for choice, seconds in times.items()}
        files.write_json(cache_folder() / CACHE, {**newest, key: mine})
    except (MinilmError, OSError):
        return


def _findings() -> dict[str, Any]:
    try:
        found = files.read_json(cache_folder() / CACHE)
    except (MinilmError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


def _name(choice: Choice) -> str:
    return f"{choice[0]} {choice[1]}"


def _seconds(loss_of: LossOf, model: GPT, ids: torch.Tensor, threads: int) -> float:
    """One forward and backward pass; it leaves no gradients."""
    torch.set_num_threads(threads)
    started = time.perf_counter()
    loss_of(ids, ids).backward()
    model.zero_grad(set_to_none=True)
    return time.perf_counter() - started
