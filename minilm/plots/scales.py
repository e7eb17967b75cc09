"""Scales each setting: a value gets its place between the lowest and the highest that were tried.

Settings may be numbers, on a linear or a logarithmic scale, or names; a setting that only some trials have is fine.
Numbers only, nothing is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from minilm.plots.trials import NAMES, Trial, plain, settings_of
from minilm.plots.verdict import is_number

FEW = 6  # so many different values get a tick each
APART = 1 / 9  # of the axis; a third of the way between two ticks that stand where they should


class Scale(NamedTuple):
    """A setting's axis. Names stand at 0, 1, 2, ...; numbers at themselves, or at their logarithms."""

    name: str
    values: tuple[Any, ...]  # all that were tried, in order
    log: bool
    named: bool  # the values are words (or yes and no), without distances

    @property
    def ends(self) -> tuple[float, float]:
        return self.place(self.values[0]), self.place(self.values[-1])

    def place(self, value: Any) -> float:
        """Where a tried value stands; its logarithm on a logarithmic scale."""
        if self.named:
            return float(self.values.index(value))
        return math.log(value) if self.log else float(value)

    def unit(self, value: Any) -> float:
        """The same, from 0 at the lowest value to 1 at the highest.

        >>> Scale("learning_rate", (0.001, 0.01, 0.1), log=True, named=False).unit(0.01)
        0.5
        """
        low, high = self.ends
        return (self.place(value) - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        """(place from 0 to 1, words) of the values to write on an axis: all where they are few and whole, else at most
        four that are far enough from each other to be read."""
        few = len(self.values) <= FEW and all(self.named or v == int(v) for v in self.values)
        quarters = [(part / 3, self._nearest(part / 3)) for part in range(4)]
        wanted = self.values if few else [v for at, v in quarters if abs(self.unit(v) - at) < APART]
        return [(self.unit(v), plain(v)) for v in dict.fromkeys(wanted)]

    def _nearest(self, unit: float) -> Any:
        """The tried value that stands nearest to this place between the ends."""
        return min(self.values, key=lambda value: abs(self.unit(value) - unit))


def scales(trials: Sequence[Trial]) -> list[Scale]:
    """The scale of every setting that has several values among the trials, in the order of NAMES.

    >>> [(s.name, s.values) for s in scales([{"point": {"a": 1, "b": "x"}}, {"point": {"a": 1, "b": "y"}}])]
    [('b', ('x', 'y'))]
    """
    points = [settings_of(trial) for trial in trials]
    found = dict.fromkeys(name for point in points for name in point)
    names = [name for name in NAMES if name in found] + [name for name in found if name not in NAMES]
    made = [_scale(name, [point[name] for point in points if name in point]) for name in names]
    return [scale for scale in made if len(scale.values) > 1]


def _scale(name: str, tried: Sequence[Any]) -> Scale:
    if not all(is_number(value) for value in tried):
        return Scale(name, tuple(sorted({as_name(value) for value in tried})), log=False, named=True)
    values = tuple(sorted(set(tried)))
    return Scale(name, values, log=_spread_by_ratios(values), named=False)


def _spread_by_ratios(values: Sequence[float]) -> bool:
    """Whether a logarithmic axis suits: the ends far apart, the middle value nearer to their geometric mean."""
    low, middle, high = values[0], values[len(values) // 2], values[-1]
    if low <= 0 or high / low < 6:
        return False
    return abs(math.log(middle / math.sqrt(low * high))) < abs(math.log(middle / ((low + high) / 2)))


def as_name(value: Any) -> str:
    """What a value is called on a scale of names: JSON may hold lists, None and truth values.

    >>> as_name(True), as_name(None), as_name("muon")
    ('True', 'None', 'muon')
    """
    return str(value)


def value_of(trial: Trial, scale: Scale) -> Any:
    """The trial's value on this scale, None where it has none."""
    point = settings_of(trial)
    if scale.name not in point:
        return None
    return as_name(point[scale.name]) if scale.named else point[scale.name]
