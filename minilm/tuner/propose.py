"""Proposes the next point to try: a pure function of the space, the seed and the history, computed by Hyperopt.

`propose` rebuilds Hyperopt's memory from plain numbers on every call, so that a study continued from its
records asks exactly what the uninterrupted one would have asked. A failed trial is told to Hyperopt as a
failure, which it reads as an infinitely bad loss: a NaN would be dropped, and the empty region would look
promising for ever (hyperopt issue 662). This file runs nothing and knows no models; `Proposer` only
remembers which trial got which point.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from hyperopt import JOB_STATE_DONE, JOB_STATE_RUNNING, STATUS_FAIL, STATUS_OK, Trials, space_eval
from hyperopt.base import Domain, trials_from_docs
from hyperopt.pyll import as_apply

from minilm.errors import ConfigError, did_you_mean
from minilm.tuner.algorithms import ALGORITHMS
from minilm.tuner.coupling import coupled_hyperopt, draw_of
from minilm.tuner.space import DEFAULT_TID, Dimension, Draw, Point

MOST_REFUSALS = 10  # of an algorithm's points for a trial; then chance draws, as an algorithm may insist
ATTEMPTS = 60  # at a point that is not refused
RANDOM_REDRAWS = 100  # of a known point, by chance; breeding looks for a new one by itself


@dataclass(frozen=True)
class SearchSpace:
    """A Hyperopt expression and the default recipe, which is the first trial of every study.

    `first` is the recipe's draw where it is a member of the space. A space of the user's own may not hold
    it: the recipe then still runs first, to be compared with, but Hyperopt is not told.
    """

    expression: Any
    default: Point
    first: Draw | None = None
    refusal: Callable[[Point], str | None] | None = None  # why a point should not be tried, or None

    @classmethod
    def of(
        cls,
        dimensions: tuple[Dimension, ...],
        default: Point,
        refusal: Callable[[Point], str | None] | None = None,
        coupled: Mapping[str, float] | None = None,
    ) -> SearchSpace:
        """Our own space; `coupled` as in `coupled_hyperopt`."""
        expression, first = (
            coupled_hyperopt(dimensions, coupled or {}),
            draw_of(default, dimensions, coupled or {}),
        )
        return cls(expression, default, first, refusal)

    @cached_property
    def domain(self) -> Domain:
        """The space compiled for Hyperopt's algorithms, which takes them longer than a proposal."""
        return Domain(_never_called, self.expression)

    @property
    def text(self) -> str:
        """A readable form; two spaces are the same where their texts are."""
        return str(as_apply(self.expression))

    def point(self, draw: Draw) -> Point:
        """The values that raw draws stand for: choices instead of indexes, whole numbers as int."""
        return plain(space_eval(self.expression, dict(draw))) if draw else dict(self.default)


@dataclass(frozen=True)
class Told:
    """What Hyperopt may know of one trial: its draw, and its loss, None where it failed or still runs."""

    draw: Draw
    loss: float | None = None
    running: bool = False


def plain(value: Any) -> Any:
    """The same value of Python's own types, for JSON and for equality; whole floats become int."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) >= 1 else value


def seed_of(study_seed: int, tid: int, attempt: int = 0) -> int:
    """The seed of one proposal. Derived, not drawn in turn, so that a continued study repeats no point."""
    entropy = [study_seed, tid, attempt] if attempt else [study_seed, tid]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0] >> 1)


@dataclass(frozen=True)
class Refused:
    """A draw that was not asked for, and why: it costs nothing."""

    draw: Draw
    why: str


def propose(
    space: SearchSpace, algo: str, seed: int, tid: int, history: Mapping[int, Told]
) -> tuple[Draw, list[Refused]]:
    """The draw of trial `tid`, given what is known; empty where it is the recipe outside the space.

    A point that the space refuses is drawn again, ATTEMPTS times at most: the last one then goes to a worker, whose
    answer says what is wrong, so that an impossible space ends in a sentence. The second value says what was refused.
    """
    if algo not in ALGORITHMS:
        raise ConfigError(f"unknown search algorithm {algo!r}, {did_you_mean(algo, ALGORITHMS)}")
    if tid == DEFAULT_TID:
        return dict(space.first or {}), []
    refused: list[Refused] = []
    while True:
        name = algo if len(refused) < MOST_REFUSALS else "random"
        draw = _drawn(space, name, (seed, tid, len(refused)), _with(history, tid, refused))
        why = None if space.refusal is None else space.refusal(space.point(draw))
        if why is None or len(refused) == ATTEMPTS:
            return draw, refused
        refused.append(Refused(draw, why))


def _drawn(space: SearchSpace, algo: str, seeds: tuple[int, int, int], history: Mapping[int, Told]) -> Draw:
    """One draw that was not tried yet, while there is one.

    A known point would be trained to the same loss once more; a child of the best, or for a random search chance, takes
    its place.
    """
    seed, tid, attempt = seeds
    trials = hyperopt_trials(space, history)

    def drawn(name: str, redraw: int) -> Draw:
        fresh = seed_of(seed, tid, attempt + redraw * (ATTEMPTS + 1))
        (doc,) = ALGORITHMS[name]([tid], space.domain, trials, fresh)
        return {label: values[0].item() for label, values in doc["misc"]["vals"].items() if len(values)}

    draw = drawn(algo, 0)
    tried = [told.draw for told in history.values()]
    name, tries = ("random", RANDOM_REDRAWS) if algo == "random" else ("genetic", 1)
    for number in range(tries):
        if draw not in tried:
            break
        draw = drawn(name, 1 + number)
    return draw


def _with(history: Mapping[int, Told], tid: int, refused: Sequence[Refused]) -> dict[int, Told]:
    """The history as if what was refused had failed, so that the algorithm looks elsewhere."""
    return {**history, **{tid + number: Told(one.draw) for number, one in enumerate(refused, start=1)}}


def _never_called(point: Point) -> None:
    raise AssertionError("Domain only compiles the space here; trials run in workers")


def hyperopt_trials(space: SearchSpace, history: Mapping[int, Told]) -> Trials:
    """The history as a real `hyperopt.Trials`, in the order of the trials' ids."""
    # not validated: our documents are whole, and Hyperopt's check copies each of them
    docs = [_document(space.domain.params, tid, history[tid]) for tid in sorted(history)]
    return trials_from_docs(docs, validate=False)


def _document(labels: Collection[str], tid: int, told: Told) -> dict[str, Any]:
    values = {label: [told.draw[label]] if label in told.draw else [] for label in labels}
    idxs = {label: [tid] if found else [] for label, found in values.items()}
    return {
        "tid": tid,
        "state": JOB_STATE_RUNNING if told.running else JOB_STATE_DONE,
        "result": _result(told),
        "misc": {"tid": tid, "cmd": None, "workdir": None, "idxs": idxs, "vals": values},
        **_UNUSED,
    }


# what else a document of Hyperopt has; it is not read here
_UNUSED = dict.fromkeys(("spec", "exp_key", "owner", "version", "book_time", "refresh_time"))


def _result(told: Told) -> dict[str, Any]:
    if told.running:
        return {"status": "new"}
    if is_loss(told.loss):
        return {"status": STATUS_OK, "loss": float(told.loss or 0.0)}
    return {"status": STATUS_FAIL}


def is_loss(value: Any) -> bool:
    """Whether a trial's answer can be a loss at all. -inf, NaN, None, text and True cannot.

    >>> [is_loss(value) for value in (1.5, 0, float("nan"), float("-inf"), None, "1", True)]
    [True, True, False, False, False, False, False]
    """
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@dataclass
class Proposer:
    """Ask/tell over `propose`: remembers the draws and what has been told.

    >>> space = SearchSpace.of((Dimension("learning_rate", "log", 1e-4, 1e-1),), {"learning_rate": 1e-2})
    >>> proposer = Proposer(space, "tpe", seed=0)
    >>> proposer.ask()
    (0, {'learning_rate': 0.01})
    >>> proposer.tell(0, float("nan"))
    >>> proposer.ask()[0]
    1
    """

    space: SearchSpace
    algo: str = "tpe"
    seed: int = 0
    draws: dict[int, Draw] = field(default_factory=dict)
    losses: dict[int, float | None] = field(default_factory=dict)  # of the trials that ended
    refused: dict[int, list[Refused]] = field(default_factory=dict)  # before a trial's point was found

    def ask(self, tid: int | None = None, known: Collection[int] | None = None) -> tuple[int, Point]:
        """`(tid, point)`. `known` limits the ended trials whose loss counts; others show as running."""
        tid = len(self.draws) if tid is None else tid
        known_trials = self.history(known, but=tid)
        self.draws[tid], refused = propose(self.space, self.algo, self.seed, tid, known_trials)
        if refused:
            self.refused[tid] = refused
        return tid, self.space.point(self.draws[tid])

    def tell(self, tid: int, loss: float | None) -> None:
        """The trial ended with this loss; None or a number that is not finite: it failed."""
        assert tid in self.draws, f"trial {tid} was never asked for"
        self.losses[tid] = loss if is_loss(loss) else None

    def history(self, known: Collection[int] | None = None, but: int | None = None) -> dict[int, Told]:
        """What Hyperopt may know before it proposes trial `but`."""
        ended = self.losses.keys() if known is None else self.losses.keys() & set(known)
        members = [tid for tid, draw in self.draws.items() if draw and tid != but]
        others = [tid for tid in members if known is None or but is None or tid < but]
        return {
            tid: Told(self.draws[tid], self.losses[tid])
            if tid in ended
            else Told(self.draws[tid], running=True)
            for tid in others
        }


def difference(ours: str, theirs: str) -> str:
    """The first line in which two spaces' texts differ, to show in a sentence."""
    lines = difflib.unified_diff(theirs.splitlines(), ours.splitlines(), lineterm="", n=0)
    changed = [
        " ".join(line.split()) for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]
    return ", ".join(changed[:2]) or "nothing"
