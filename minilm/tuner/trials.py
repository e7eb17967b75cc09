"""Runs the real trials of a study on workers, by count or for a share of the minutes, and names the best of them."""

from __future__ import annotations

import dataclasses
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

from minilm.errors import AllTrialsFailedError
from minilm.text.corpora import Corpus
from minilm.tuner import measure
from minilm.tuner.budget import Minutes
from minilm.tuner.coupling import COUPLED_BY_STEPS
from minilm.tuner.decide import Rules, worker_count
from minilm.tuner.engines import pool_for
from minilm.tuner.propose import Proposer, SearchSpace
from minilm.tuner.records import MODELS, Journal, Trial
from minilm.tuner.search import LATE, Search, best_trial
from minilm.tuner.settings import Request, Settings, TrialBudget, trial_steps
from minilm.tuner.space import Limits, default_point, dimensions, refusal
from minilm.tuner.trial import ladder_for, leg_task, prepare, prune, run_leg
from minilm.tuner.watch import Watch

FULL_TRIALS, SHORTEST, LONGEST = 4.5, 3.5, 120.0  # full trainings in a search by the clock; seconds of one
SEARCH_SHARE = 0.4  # of the minutes, for the trials of a space of the user's own


def with_trials(corpus: Corpus, request: Request) -> tuple[Settings, SearchSpace]:
    hardware, cores = measure.machine(request.device)
    device, engine = hardware.device, request.engine
    workers = (
        request.workers if isinstance(request.workers, int) else worker_count(cores, device, request.trials)
    )
    if engine is not None:
        with pool_for(engine) as cluster:
            workers = cluster.count
    limits = measure.limits_of(corpus, device, workers, remote=engine is not None)
    if request.minutes is None:
        budget = TrialBudget(steps=trial_steps())
    else:
        each = SEARCH_SHARE * 60 * request.minutes * workers / FULL_TRIALS
        budget = TrialBudget(seconds=round(min(max(each, SHORTEST), LONGEST, 10 * request.minutes), 1))
    # by count whole trainings are the rule, since only those do not depend on which worker was faster
    usual = "none" if request.minutes is None and not request.deterministic else "asha"
    scheduler = request.scheduler or usual
    space = search_space(request.space, limits, device, corpus.tokenizer.vocab_size)
    rungs = ladder_for(scheduler, budget).shares
    how = {"budget": budget, "workers": workers, "scheduler": scheduler, "rungs": rungs, "engine": engine}
    return request.settings(corpus.describe(), space.text, limits, device, **how), space


def search_space(space: Any, limits: Limits, device: str, vocab_size: int) -> SearchSpace:
    """The default space within the limits, or the user's own Hyperopt expression. Neither asks for what cannot be."""
    default = default_point(limits)
    if space is not None:  # how dear a step may be is the user's to say
        limits = dataclasses.replace(limits, step_work=math.inf)

    def refuse(point: dict[str, Any]) -> str | None:
        return refusal(point, vocab_size, limits)

    if space is not None:
        return SearchSpace(space, default, refusal=refuse)
    return SearchSpace.of(dimensions(limits, wide=device != "cpu"), default, refuse, COUPLED_BY_STEPS)


def searched(
    settings: Settings,
    space: SearchSpace,
    folder: Path,
    journal: Journal,
    watch: Watch,
    begun: float,
    minutes: Minutes | None,
) -> Trial:
    """The trial with the lowest loss, after real ones; the default recipe where time was too short for any to end.
    `begun` is the moment at which the study began, earlier sittings strung together."""
    seen = journal.trials
    assert settings.budget is not None
    watch.say(f"search    {settings.text()}")
    watch.phase("starting the workers")
    with pool_for(settings.engine or settings.workers, settings.threads) as pool:
        pool.warm_up(prepare, settings.corpus, settings.threads)
        end = None if minutes is None else SEARCH_SHARE * minutes.total
        # a search of whole trainings by count does not depend on which worker was faster
        in_order = settings.minutes is None and settings.ladder.top == 0
        search = Search(
            Proposer(space, settings.algo, settings.seed),
            pool,
            journal,
            Rules(pool.count, settings.trials, in_order, end, settings.scheduler, settings.ladder),
            run_leg,
            partial(leg_task, settings, folder),
            clock=lambda: time.monotonic() - begun,
            trial_seconds=settings.budget.seconds,
        )

        def ended(trial: Trial) -> None:
            busy = {running.tid for running in search.running.values()}
            prune(folder / MODELS, journal.trials, settings.ladder, busy)
            watch.trial(trial)

        search.on_trial = ended
        for trial in seen:
            watch.trial(trial)
        search.run()
    return best_or_default(journal.trials, space, folder)


def best_or_default(trials: list[Trial], space: SearchSpace, folder: Path) -> Trial:
    if (best := best_trial(trials)) is not None:
        return best
    if {trial.reason for trial in trials} <= {LATE}:
        return Trial(0, space.default, {}, reason="no trial could end in the time given")
    told = "; ".join(f"trial {trial.tid}: {trial.reason}" for trial in trials[:5])
    raise AllTrialsFailedError(f"all {len(trials)} trials failed ({told}); the records are in {folder}")
