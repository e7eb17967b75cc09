"""Lists the contestants of a race on recorded trainings: search algorithms as their users run them, and our own.

All search the same numbers, begin with the same point, the default recipe, and know nothing of the table; the law
knows recorded trainings of other texts. It also knows which of the table's recipes a training really had, so Hyperopt
runs once more with lists of them. Hyperopt and Optuna are taken with their own defaults. A training that diverged is
told to them as the loss of a blind guess, the best that a careful user can do for them: as NaN or as a failure it
would lead both astray. Optuna sees every mark and may stop a training at any. Ours pauses at rungs and goes on from
checkpoints.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from hyperopt import JOB_STATE_DONE, JOB_STATE_RUNNING, STATUS_OK, hp
from hyperopt import anneal as anneal_search
from hyperopt import rand as random_search
from hyperopt import tpe as tpe_search
from hyperopt.base import Domain, spec_from_misc
from hyperopt.fmin import generate_trials_to_calculate

from benchmarks.race.forecast import predicted
from benchmarks.race.table import Table
from benchmarks.race.virtual import Leg, Searcher
from minilm.config import ModelConfig
from minilm.tuner import genetic
from minilm.tuner.budget import parameters
from minilm.tuner.law import Law, Recipe, terms
from minilm.tuner.propose import Proposer, SearchSpace
from minilm.tuner.rungs import SCHEDULERS, Ladder, Standing, levelled
from minilm.tuner.space import DEFAULT_POINT, to_hyperopt

sys.path.append(str(Path(__file__).parents[1]))  # of law.py, which is a program
import law  # noqa: E402

BLIND = math.log(65)  # nats per character of a guess among Tiny Shakespeare's characters
Suggest = Callable[..., list[dict[str, Any]]]


class Hyperopt:
    """Tries what `fmin(algo=suggest, points_to_evaluate=[default], rstate=default_rng(seed))` tries, in its order.

    With several workers it is asked while trials run, as with any of its parallel back ends. `diverged` is the loss it
    is told of a training that diverged. With `lists` it chooses from the table's own values instead of real numbers.
    """

    def __init__(
        self,
        table: Table,
        seed: int,
        suggest: Suggest = tpe_search.suggest,
        diverged: float = BLIND,
        lists: bool = False,
    ) -> None:
        self.suggest, self.generator, self.diverged = suggest, np.random.default_rng(seed), diverged
        space, first = to_hyperopt(table.dimensions()), table.default
        if lists:
            space = {name: hp.choice(name, values) for name, values in table.grid.items()}
            first = {name: table.grid[name].index(value) for name, value in first.items()}
        self.domain = Domain(lambda point: None, space)
        self.trials = generate_trials_to_calculate([first])
        self.of_doc = {name: table.grid[name] for name in first} if lists else {}
        self.waiting = list(self.trials._dynamic_trials)

    def ask(self) -> Leg:
        doc = self.waiting.pop() if self.waiting else self._suggested()
        doc["state"] = JOB_STATE_RUNNING
        self.trials.refresh()
        point = spec_from_misc(doc["misc"])
        point |= {name: values[point[name]] for name, values in self.of_doc.items()}
        return Leg(doc["tid"], point, 0.0, 1.0)

    def _suggested(self) -> dict[str, Any]:
        ids = self.trials.new_trial_ids(1)
        self.trials.refresh()
        docs = self.suggest(ids, self.domain, self.trials, self.generator.integers(2**31 - 1))
        self.trials.insert_trial_docs(docs)
        self.trials.refresh()
        return self._doc(ids[0])

    def tell(self, leg: Leg, loss: float | None) -> None:
        doc = self._doc(leg.tid)
        doc["result"] = {"status": STATUS_OK, "loss": self.diverged if loss is None else loss}
        doc["state"] = JOB_STATE_DONE
        self.trials.refresh()

    def _doc(self, tid: int) -> dict[str, Any]:
        return next(doc for doc in reversed(self.trials._dynamic_trials) if doc["tid"] == tid)


class Optuna:
    """`create_study(pruner=...)` and a training that reports its loss at every mark. Needs the package optuna."""

    def __init__(
        self,
        table: Table,
        seed: int,
        pruner: str = "MedianPruner",
        sampler: str = "TPESampler",
        **limits: Any,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # Hyperband picks a trial's bracket by the study's name, which would otherwise be random
        self.study = optuna.create_study(
            sampler=getattr(optuna.samplers, sampler)(seed=seed),
            pruner=getattr(optuna.pruners, pruner)(**limits),
            study_name=f"race {seed}",
        )
        self.study.enqueue_trial(table.default)
        self.pruned = optuna.trial.TrialState.PRUNED
        self.space: dict[str, Any] = {
            d.name: optuna.distributions.FloatDistribution(d.low, d.high, log=True)
            for d in table.dimensions()
        }
        self.marks, self.trials, self.going_on = table.marks, {}, []  # type: ignore[var-annotated]

    def ask(self) -> Leg:
        if self.going_on:
            return self.going_on.pop(0)
        trial = self.study.ask(self.space)
        self.trials[trial.number] = trial
        return Leg(trial.number, trial.params, 0.0, 1 / self.marks)

    def tell(self, leg: Leg, loss: float | None) -> None:
        trial, mark = self.trials[leg.tid], round(leg.end * self.marks)
        if loss is None or mark == self.marks:
            self.study.tell(trial, BLIND if loss is None else loss)
            return
        trial.report(loss, mark)
        if trial.should_prune():
            self.study.tell(trial, state=self.pruned)
        else:
            self.going_on.append(Leg(leg.tid, leg.point, leg.end, (mark + 1) / self.marks))


Feed = Callable[[Sequence[Standing], Ladder], dict[int, float]]


def last_losses(standings: Sequence[Standing], ladder: Ladder) -> dict[int, float]:
    """Each trial's loss at its last rung as it is: the plainest feed, to compare with `predicted`."""
    return {trial.tid: trial.losses[-1] for trial in standings if trial.losses and not trial.failed}


@dataclass
class Ours:
    """Our search: rungs and checkpoints, and a proposer that is fed with predicted final losses."""

    table: Table
    seed: int
    algo: str = "tpe"
    scheduler: str = "asha"
    ladder: Ladder = field(default_factory=Ladder)
    feed: Feed = predicted
    legs: dict[int, Leg] = field(default_factory=dict)  # each trial's last one
    standings: dict[int, Standing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        space = SearchSpace.of(self.table.dimensions(), self.table.default)
        self.proposer = Proposer(space, self.algo, self.seed)

    def ask(self) -> Leg:
        tid = SCHEDULERS[self.scheduler](list(self.standings.values()), self.ladder)
        if tid is None:
            return self._new()
        reached = self.standings[tid].losses
        return self._run(tid, self.legs[tid].point, reached)

    def _new(self) -> Leg:
        for tid, loss in self.feed(list(self.standings.values()), self.ladder).items():
            self.proposer.tell(tid, loss)
        tid, point = self.proposer.ask()
        return self._run(tid, point, ())

    def _run(self, tid: int, point: dict[str, Any], reached: tuple[float, ...]) -> Leg:
        start = self.ladder.shares[len(reached) - 1] if reached else 0.0
        self.standings[tid] = Standing(tid, reached, running=True)
        self.legs[tid] = Leg(tid, point, start, self.ladder.shares[len(reached)])
        return self.legs[tid]

    def tell(self, leg: Leg, loss: float | None) -> None:
        reached = self.standings[leg.tid].losses
        if loss is None:
            self.standings[leg.tid] = Standing(leg.tid, reached, failed=True)
            self.proposer.tell(leg.tid, None)
        else:
            self.standings[leg.tid] = Standing(leg.tid, (*reached, loss))


@cache
def law_of_others() -> Law:
    """Fitted without the text of the table."""
    return law.fitted([one for one in law.records() if law.family(one[0]) != "shakespeare"])


class ByLaw:
    """Trains what the law expects most of, which learns from each training; nothing is trained twice."""

    LOOKED = 300  # recipes at random, before each training

    def __init__(self, table: Table, seed: int) -> None:
        self.table, self.law, self.generator = table, law_of_others(), np.random.default_rng(seed)
        self.tried: set[int] = set()

    def ask(self) -> Leg:
        points = [self.drawn() for _ in range(self.LOOKED)] if self.tried else [self.table.default]
        fresh = [point for point in points if self.table.index(point) not in self.tried] or points
        best = min(fresh, key=lambda point: terms(self.recipe(point)) @ self.law.mean)
        self.tried.add(self.table.index(best))
        return Leg(len(self.tried), best, 0.0, 1.0)

    def drawn(self) -> dict[str, Any]:
        return {
            d.name: self.table.nearest(
                d.name, math.exp(self.generator.uniform(math.log(d.low), math.log(d.high)))
            )
            for d in self.table.dimensions()
        }

    def recipe(self, point: dict[str, Any]) -> Recipe:
        steps, point = float(self.table.steps[self.table.index(point)]), {**DEFAULT_POINT, **point}
        model = ModelConfig(
            vocab_size=65, n_layer=int(point["num_layers"]), n_embd=int(point["hidden_size"]), n_head=1
        )
        shape = (65, int(point["block_size"]), int(point["batch_size"]), steps, point["learning_rate"])
        return Recipe(parameters(model), *shape, dropout=0.0, decay=0.1, text=law.SHAKESPEARE, per_token=1.0)

    def tell(self, leg: Leg, loss: float | None) -> None:
        if loss is not None and loss < BLIND:
            self.law = self.law.learn(self.recipe(leg.point), loss)


# name -> (table, seed) -> searcher: those that take part unless others are named, then variants of ours
CONTESTANTS: dict[str, Callable[[Table, int], Searcher]] = {
    "random": partial(Hyperopt, suggest=random_search.suggest),
    "Hyperopt TPE": Hyperopt,
    "Hyperopt anneal": partial(Hyperopt, suggest=anneal_search.suggest),
    "Hyperopt genetic": partial(Hyperopt, suggest=genetic.suggest),
    "Optuna": Optuna,
    "Optuna Hyperband": partial(Optuna, pruner="HyperbandPruner", min_resource=1, max_resource=27),
    "Optuna GP": partial(Optuna, pruner="NopPruner", sampler="GPSampler"),
    "Hyperopt TPE, lists": partial(Hyperopt, lists=True),
    "ours": Ours,
    "law": ByLaw,
}
DEFAULT = tuple(CONTESTANTS)
CONTESTANTS |= {
    "ours, random": partial(Ours, algo="random"),
    "ours, genetic": partial(Ours, algo="genetic"),
    "ours, last loss": partial(Ours, feed=last_losses),
    "ours, no rungs": partial(Ours, scheduler="none"),
    "ours, levelled": partial(Ours, feed=levelled),
    "ours, from 1/27": partial(Ours, ladder=Ladder((1 / 27, 1 / 9, 1 / 3, 1.0))),
}
