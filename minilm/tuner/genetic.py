"""Searches by a genetic algorithm, a plug-in for Hyperopt: `fmin(..., algo=genetic.suggest)`.

A trial is an individual, its draws are the genes, its loss is the fitness. Steady state, (mu + 1): there are no
generations, every proposal is one child of the mu best trials so far (Holland, 1975, "Adaptation in Natural and
Artificial Systems"; one at a time: Whitley, 1989, "The GENITOR algorithm"). Two parents win a tournament each
(Goldberg & Deb, 1991), every gene comes from either with equal chance (Syswerda, 1989, "Uniform crossover in genetic
algorithms"), some mutate. This file knows no models and keeps nothing: a child depends on the trials and the seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hyperopt import STATUS_OK, Trials
from hyperopt.algobase import ExprEvaluator, SuggestAlgo
from hyperopt.base import Domain

POPULATION = 8  # mu, and how many trials are drawn at random before the first child
TOURNAMENT = 3  # so many individuals are drawn, the best of them becomes a parent
IMMIGRANTS = 0.1  # share of proposals without parents: what the whole population lacks comes from outside
MUTATIONS = 1.5  # genes that mutate in a child, on average
STEP = (-2.0, -0.5)  # of a mutation, as a power of ten times the gene's range: mostly small, now and then far
BIRTHS, DRAWS = 20, 500  # attempts at a child, then at a random point, that is new
UNORDERED = ("randint", "categorical")  # hp.choice, hp.pchoice, hp.randint: neighbours have nothing in common

Genes = dict[str, float]  # label -> raw value; genes whose condition is not met are absent


@dataclass(frozen=True)
class Scale:
    """Where an ordered gene lives: its bounds as logarithms if it is drawn as one, its range, its step."""

    low: float
    high: float
    range: float
    log: bool = False
    step: float | None = None


def scale_of(distribution: str, given: dict[str, float]) -> Scale:
    """The scale of one of Hyperopt's distributions; a normal one has no bounds, and a range of four sigmas.

    >>> scale_of("qloguniform", {"low": 0.0, "high": 2.0, "q": 1.0})
    Scale(low=0.0, high=2.0, range=2.0, log=True, step=1.0)
    """
    low, high = given.get("low", -math.inf), given.get("high", math.inf)
    wide = 4 * given["sigma"] if "sigma" in given else high - low
    return Scale(low, high, wide, "log" in distribution, given.get("q"))


def mutated(value: float, scale: Scale, rng: np.random.Generator) -> float:
    """A neighbour of `value`: a normal step in the gene's own scale, at least one `step` where it has one.

    >>> rng = np.random.default_rng(0)
    >>> mutated(3.0, Scale(1.0, 6.0, 5.0, step=1.0), rng) in (1.0, 2.0, 4.0, 5.0, 6.0)
    True
    """
    # clipped before the logarithm, too: a rounded gene may be 0. And clipped, not reflected, after: bounds are
    # often best
    bounds = [math.exp(min(end, 700.0)) if scale.log else end for end in (scale.low, scale.high)]
    within = min(max(value, bounds[0]), bounds[1])
    # a 0 without a lower bound was rounded from below half a step
    own = math.log(within or (scale.step or 1.0) / 2) if scale.log else within
    own += rng.normal() * scale.range * 10 ** rng.uniform(*STEP)
    own = min(max(own, scale.low), scale.high)
    moved = math.exp(own) if scale.log else own
    return moved if scale.step is None else _stepped(value, moved, bounds, scale.step)


def _stepped(value: float, moved: float, bounds: list[float], step: float) -> float:
    """`moved` in whole steps as Hyperopt rounds them, and another number than `value` unless a bound forbids it."""
    was, now, first, last = np.round(np.array([value, moved, *bounds]) / step)
    if now == was:
        now += 1 if moved > value else -1
    return float(np.clip(now, first, last) * step)


class Birth(SuggestAlgo):
    """Gives every gene that the space asks for a value, from the root to the leaves.

    Hyperopt's evaluator walks the conditions: a gene is asked for after the choice it hangs on is made, and a
    gene that neither parent has is drawn. So a child of parents from different branches is whole. Without
    parents every gene is drawn.
    """

    def __init__(
        self, domain: Domain, trials: Trials, seed: int, parents: Sequence[Genes], rate: float
    ) -> None:
        super().__init__(domain, trials, seed)
        self.parents, self.rate = parents, rate

    def on_node_hyperparameter(self, memo: dict[Any, Any], node: Any, label: str) -> Any:
        given = [parent[label] for parent in self.parents if label in parent]
        if not given or memo[node.arg["size"]] == 0:  # drawn; or its condition is not met, and nothing is
            return ExprEvaluator.on_node(self, memo, node)
        value, mutates = given[self.rng.integers(len(given))], self.rng.random() < self.rate
        if node.name in UNORDERED:
            return ExprEvaluator.on_node(self, memo, node) if mutates else np.array([int(value)])
        facts = {name: memo[node.arg[name]] for name in ("low", "high", "sigma", "q") if name in node.arg}
        return np.array([mutated(value, scale_of(node.name, facts), self.rng) if mutates else float(value)])


def genes_of(doc: dict[str, Any]) -> Genes:
    return {label: values[0] for label, values in doc["misc"]["vals"].items() if len(values)}


def population(docs: Sequence[dict[str, Any]], size: int = POPULATION) -> list[Genes]:
    """The `size` best trials, best first. One that failed, or has no finite loss, or still runs, has no place."""
    living = [doc for doc in docs if _fitness(doc) < math.inf]
    return [genes_of(doc) for doc in sorted(living, key=lambda doc: (_fitness(doc), doc["tid"]))[:size]]


def _fitness(doc: dict[str, Any]) -> float:
    loss = doc["result"].get("loss") if doc["result"].get("status") == STATUS_OK else None
    return math.inf if loss is None or not math.isfinite(loss) else float(loss)


def tournament(ranked: Sequence[Genes], rng: np.random.Generator) -> Genes:
    """The best of a few individuals drawn at random, from a population in the order of fitness."""
    return ranked[min(rng.integers(len(ranked), size=TOURNAMENT))]


def suggest(new_ids: Sequence[int], domain: Domain, trials: Trials, seed: int) -> list[dict[str, Any]]:
    """One new trial for each id: Hyperopt's plug-in signature.

    No child repeats a point that was tried, failed and running trials included, as long as chance finds another one; a
    space that is used up begins again.

    >>> from hyperopt import fmin, hp
    >>> best = fmin(lambda x: (x - 2) ** 2, hp.uniform("x", -9, 9), algo=suggest, max_evals=60,
    ...             rstate=np.random.default_rng(0), show_progressbar=False, verbose=False)
    >>> bool(abs(best["x"] - 2) < 0.2)
    True
    """
    docs = list(trials._dynamic_trials)  # `trials.trials` leaves out those that ended in an exception
    ranked = population(docs) if len(docs) >= POPULATION else []
    tried, children = {_key(doc) for doc in docs}, []
    for tid in new_ids:
        child = _new_child(tid, domain, trials, seed, ranked, tried)
        tried.add(_key(child))
        children.append(child)
    return children


def _key(doc: dict[str, Any]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted((label, float(value)) for label, value in genes_of(doc).items()))


def _new_child(
    tid: int, domain: Domain, trials: Trials, seed: int, ranked: Sequence[Genes], tried: set[Any]
) -> dict[str, Any]:
    rng = np.random.default_rng([seed, tid])
    immigrates = not ranked or rng.random() < IMMIGRANTS
    for attempt in range(DRAWS):
        alone = immigrates or attempt >= BIRTHS
        parents = [] if alone else [tournament(ranked, rng), tournament(ranked, rng)]
        rate = MUTATIONS * (1 + attempt) / max(1, len(domain.params))  # the more, the longer nothing is new
        (child,) = Birth(domain, trials, int(rng.integers(2**31)), parents, rate)(tid)
        if _key(child) not in tried:
            break
    return dict(child)
