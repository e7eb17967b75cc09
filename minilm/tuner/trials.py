"""Runs the real trials of a study on workers, by count or for a share of the minutes, and names the best of them."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from minilm.errors import AllTrialsFailedError
from minilm.tuner.budget import SEARCH_SHARE, Minutes
from minilm.tuner.decide import Rules
from minilm.tuner.engines import pool_for
from minilm.tuner.propose import Proposer, SearchSpace
from minilm.tuner.records import MODELS, Journal, Trial
from minilm.tuner.search import LATE, Search, best_trial
from minilm.tuner.settings import Settings
from minilm.tuner.trial import leg_task, prepare, prune, run_leg
from minilm.tuner.watch import Watch


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
