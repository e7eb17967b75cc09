"""Runs a search under a virtual clock: workers, legs of training and their ends, with losses from a recorded table.

The unit of time is one full training on one worker; every full training of the table lasts equally long, so that a leg
lasts as long as its share, or until it diverges. What the searcher computes costs nothing here. The searchers are in
`contest`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from benchmarks.race.table import Table
from minilm.tuner.space import Point


@dataclass(frozen=True)
class Leg:
    """A trial trains from one share of a full training to another, without a break."""

    tid: int
    point: Point
    start: float
    end: float


class Searcher(Protocol):
    """A contestant: asked by every worker that is free, told of every leg that has ended."""

    def ask(self) -> Leg:
        """What a free worker should train now."""

    def tell(self, leg: Leg, loss: float | None) -> None:
        """The validation loss at the leg's end, None where it diverged before."""


@dataclass(frozen=True)
class Ended:
    """A leg, the moment of its end, and its loss there, None where it diverged."""

    time: float
    leg: Leg
    loss: float | None


def replay(searcher: Searcher, table: Table, budget: float, workers: int = 1, seed: int = 0) -> list[Ended]:
    """All legs that end while `workers` train for `budget` full trainings in total; `seed` picks the trainings' seed.

    A leg that would end later is lost, as in life.
    """
    events: list[Ended] = []
    running = [_started(searcher.ask(), table, 0.0, number, seed) for number in range(workers)]
    heapq.heapify(running)
    number = workers
    while running[0][0] <= budget / workers + 1e-9:
        now, _, ended = heapq.heappop(running)
        events.append(ended)
        searcher.tell(ended.leg, ended.loss)
        heapq.heappush(running, _started(searcher.ask(), table, now, number, seed))
        number += 1
    return events


def _started(leg: Leg, table: Table, now: float, number: int, seed: int) -> tuple[float, int, Ended]:
    """(when it ends, a number that decides between equal moments, what will be told then)."""
    index = table.index(leg.point)
    until = min(leg.end, float(table.ends[index, seed]))
    end = now + max(0.0, until - leg.start)
    return end, number, Ended(end, leg, table.loss(index, leg.end, seed))


def finished(events: Iterable[Ended]) -> list[tuple[float, float]]:
    """(moment, loss) of every full training, in order: the models that a search could hand over."""
    return [(e.time, e.loss) for e in events if e.leg.end == 1.0 and e.loss is not None]
