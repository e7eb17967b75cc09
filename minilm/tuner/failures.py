"""Tells whether a new point lies among failed trials. Plain numbers in, yes or no out.

Hyperopt's TPE reads a failure as a bad loss and goes on to visit where trials fail, about one time in four where half
of the space does. A training that diverges teaches little the tenth time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minilm.tuner.space import Draw

NEIGHBOURS = 3  # a point is doomed where as many of its nearest trials have all failed


def doomed(draw: Draw, good: Sequence[Draw], failed: Sequence[Draw]) -> bool:
    """Whether the nearest trials of `draw` have all failed; they may be fewer than NEIGHBOURS, but not none.

    Near is where few of the trials lie between, in each setting: that needs neither scales nor logarithms.

    >>> good, failed = [{"x": x} for x in (1.0, 2.0, 3.0)], [{"x": x} for x in (4.0, 5.0, 60.0)]
    >>> doomed({"x": 5.5}, good, failed), doomed({"x": 3.4}, good, failed)
    (True, False)
    """
    if len(failed) < NEIGHBOURS:
        return False
    trials = [*good, *failed]
    distance = np.zeros(len(trials))
    for label in draw.keys() | {label for other in trials for label in other}:
        distance += _apart(label, draw, trials)
    nearest = np.argsort(distance, kind="stable")[:NEIGHBOURS]
    return bool((nearest >= len(good)).all())


def _apart(label: str, draw: Draw, trials: Sequence[Draw]) -> np.ndarray:
    """The share of trials that lie between the draw and each of `trials` in one setting; 1 where only one has it."""
    values = np.array([other.get(label, np.nan) for other in trials])
    if label not in draw:
        return (~np.isnan(values)).astype(float)
    ordered = np.sort(values[~np.isnan(values)])
    ranks = (np.searchsorted(ordered, values) + np.searchsorted(ordered, values, "right")) / 2
    own = (np.searchsorted(ordered, draw[label]) + np.searchsorted(ordered, draw[label], "right")) / 2
    return np.where(np.isnan(values), 1.0, np.abs(ranks - own) / max(1, len(ordered)))
