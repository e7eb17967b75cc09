"""Opens a new study: measures the machine, plans the minutes, and fixes all of it in the study's settings.

The measuring is in `objective`, the planning in `decide`, the fitted recipe in `sizing`; this file joins them.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

from minilm.text.corpora import Corpus
from minilm.tuner import objective
from minilm.tuner.decide import Plan, plan, side_by_side, worker_count
from minilm.tuner.engines import pool_for
from minilm.tuner.feasible import Limits, rate_of
from minilm.tuner.legs import ladder_for
from minilm.tuner.propose import SearchSpace
from minilm.tuner.settings import Budget, Request, Settings, trial_steps
from minilm.tuner.sizing import TIMED, fitted, parameters, prices, useful_tokens
from minilm.tuner.space import (
    COUPLED_BY_SECONDS,
    COUPLED_BY_STEPS,
    Point,
    default_point,
    dimensions,
    limits_for,
    refusal,
    to_configs,
)

BLIND = "random"  # a search that is told nothing beforehand, as people know it
MEMORY_SHARE = 0.8  # of what is free, for all trainings together
TIMING_SHARE = 0.01  # of the minutes; once steps have taken so long, no further one is timed
# Of the time before the reserve, what the final model's training comes to on all cores: measured on two of them, one of
# which searches for a third of the time, and scoring takes its tenth.
TRAINED_SHARE = 0.72


def open_study(corpus: Corpus, request: Request, begun: float) -> tuple[Settings, SearchSpace, Plan | None]:
    """Settings, space and plan of a new study, begun at that moment of `time.monotonic()`."""
    found, cores = objective.machine()
    vocab_size, block_size = corpus.tokenizer.vocab_size, limits_for(len(corpus.train)).block_size
    # by count nothing may depend on how fast the machine is
    measured = request.minutes is not None and found.device == "cpu" and request.engine is None
    pace = objective.pace(vocab_size, block_size, cores) if measured else {}
    workers, threads = _workers(request, cores, found.device, pace)
    free = objective.memory(found.device) if request.engine is None else None  # a cluster's memory is its own
    memory = None if free is None else int(MEMORY_SHARE * free / workers)
    planned, recipe, useful_seconds = None, None, None
    if request.minutes is not None:
        if found.device == "cpu" and request.space is None and request.algo != BLIND:
            recipe, useful_seconds = fitted_point(corpus, memory, request.minutes, begun)
        planned = plan(request.minutes, workers, time.monotonic() - begun, useful_seconds)
    budget = Budget(steps=trial_steps()) if planned is None else Budget(seconds=planned.trial)
    limits = _limits(corpus, budget, found.device, memory, pace.get(str(threads)))
    searched = search_space(request.space, limits, found.device, vocab_size, recipe)
    # by count whole trainings are the rule, since only those do not depend on which worker was faster
    usual = "none" if request.minutes is None and not request.deterministic else "asha"
    scheduler = request.scheduler or usual
    settings = Settings(
        corpus=corpus.describe(),
        space=searched.text,
        limits=limits,
        budget=budget,
        algo=request.algo,
        seed=request.seed,
        workers=workers,
        device=found.device,
        minutes=request.minutes,
        trials=request.trials,
        scheduler=scheduler,
        rungs=ladder_for(scheduler, budget).shares,
        threads=threads,
        pace=pace,
        engine=request.engine,
        fitted=recipe,
        enough=useful_seconds,
    )
    return settings, searched, planned


def _workers(request: Request, cores: int, device: str, pace: dict[str, float]) -> tuple[int, int]:
    """Workers and the threads of each: one a core, or one with all of them where that gets more done."""
    if request.engine is not None:
        with pool_for(request.engine) as cluster:
            return cluster.count, 1
    if isinstance(request.workers, int):
        return request.workers, 1
    if not side_by_side(pace, cores):
        return 1, cores
    return worker_count(cores, device, request.trials), 1


def fitted_point(
    corpus: Corpus, memory: int | None, minutes: float, begun: float
) -> tuple[Point | None, float]:
    """The recipe for the minutes that began then, on this machine, None where that is the default recipe; and after
    how many seconds of its training the text has nothing left to tell.

    Two steps are timed for it, and one of each shape that is chosen by what is known so far, until that shape is known.
    """
    vocab_size, characters = corpus.tokenizer.vocab_size, len(corpus.train)
    limits = limits_for(characters, memory=memory)
    started, whole, timed_sizes = time.monotonic(), plan(minutes, 1), set()
    priced = prices(objective.timed_steps(TIMED, vocab_size, limits, minutes))
    while True:
        seconds = TRAINED_SHARE * (whole.total - whole.reserve - (time.monotonic() - begun))
        point = fitted(priced, max(seconds, 1.0), vocab_size, characters, limits)
        model, train = to_configs(point, vocab_size, limits)
        if parameters(model) in timed_sizes or time.monotonic() - started > TIMING_SHARE * whole.total:
            break
        timed_sizes.add(parameters(model))
        priced = priced.corrected(*objective.timed_steps([point], vocab_size, limits, minutes)[0])
    steps = useful_tokens(characters, model.dropout) / (train.batch_size * model.block_size)
    useful_seconds = round(steps * priced.step(model, train), 1)
    return None if point == default_point(limits) else point, useful_seconds


def _limits(
    corpus: Corpus, budget: Budget, device: str, memory: int | None, step_seconds: float | None
) -> Limits:
    """What the text, the memory of one worker and the measured pace allow."""
    limits = limits_for(len(corpus.train), wide=device != "cpu", memory=memory, seconds=budget.seconds)
    if step_seconds is None:
        return limits
    configs = to_configs(default_point(limits), corpus.tokenizer.vocab_size, limits)
    return replace(limits, rate=rate_of(*configs, step_seconds))


def search_space(
    space: Any, limits: Limits, device: str, vocab_size: int, recipe: Point | None = None
) -> SearchSpace:
    """The default space within the limits, `recipe` the recipe fitted to the minutes; or the user's own Hyperopt
    expression. Neither asks for what cannot be."""
    default = default_point(limits)
    if space is not None:  # how dear a step may be is the user's to say
        limits = replace(limits, step_work=math.inf)

    def refuse(point: dict[str, Any]) -> str | None:
        return refusal(point, vocab_size, limits)

    if space is not None:
        return SearchSpace(space, default, refusal=refuse)
    # seconds are limited where there is a clock, and a larger step is then one of fewer
    coupled = COUPLED_BY_STEPS if limits.seconds is None else COUPLED_BY_SECONDS
    return SearchSpace.of(dimensions(limits, wide=device != "cpu"), default, refuse, coupled, recipe)
