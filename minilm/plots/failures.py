"""Groups failed trials by reason, with the setting that they have in common, and lists what was never tried, since
it could be seen beforehand that it would not do.

Numbers and words; nothing is drawn, and a study without failures gets nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from minilm.plots.legs import seconds_trained
from minilm.plots.scales import Scale, scales, value_of
from minilm.plots.trials import Trial, plain, reason_of, short_name, succeeded

LUCK = 0.01  # a setting is named only where chance would name one in fewer studies than this


class Failure(NamedTuple):
    """One kind of failure: the first trial's words, the trials, and the seconds of training they cost."""

    reason: str
    tids: list[int]
    seconds: float


class Region(NamedTuple):
    """All failures have this setting at least (`above`) or at most at `limit`; hardly any other trial has."""

    name: str
    limit: float
    above: bool
    others: int  # trials there that did well

    def text(self) -> str:
        """
        >>> Region("learning_rate", 0.05, True, 0).text()
        'Every failure has a learning rate of 0.05 or more, and no other trial has.'
        """
        rest = "no other trial has" if not self.others else f"of the other trials only {self.others}"
        side = "more" if self.above else "less"
        return f"Every failure has a {short_name(self.name)} of {plain(self.limit)} or {side}, and {rest}."


def failure_numbers(trials: Sequence[Trial]) -> list[Failure]:
    """Failures by kind, the most frequent first. Reasons that differ in numbers only are of one kind."""
    kinds: dict[str, list[Trial]] = {}
    for trial in trials:
        if not succeeded(trial):
            kinds.setdefault(_kind(reason_of(trial)), []).append(trial)
    made = [
        Failure(reason_of(same[0]), [t["tid"] for t in same], sum(map(seconds_trained, same)))
        for same in kinds.values()
    ]
    return sorted(made, key=lambda one: (-len(one.tids), one.tids))


def refused_numbers(trials: Sequence[Trial]) -> list[tuple[str, int]]:
    """Why points were not tried, (the first one's reason, how many), the most frequent kind first.

    >>> refused_numbers([{"refused": ["got 12 MiB", "got 15 MiB"]}, {"refused": ["too few steps, got 9"]}, {}])
    [('got 12 MiB', 2), ('too few steps, got 9', 1)]
    """
    kinds: dict[str, list[str]] = {}
    for trial in trials:
        for reason in trial.get("refused") or []:
            kinds.setdefault(_kind(str(reason)), []).append(str(reason))
    return sorted(((same[0], len(same)) for same in kinds.values()), key=lambda one: -one[1])


def _kind(reason: str) -> str:
    """The reason without its numbers."""
    return re.sub(r"\d[\d.,e+-]*", "#", reason)


def region_numbers(trials: Sequence[Trial]) -> Region | None:
    """The one numeric setting whose high or low end holds all failures and hardly any other trial.

    None unless that is too rare for luck: the chance that as many trials, drawn blindly, lie so far out on one of
    all the ends of all the settings.
    """
    failed, well = ([t for t in trials if succeeded(t) is good] for good in (False, True))
    if len(failed) < 2 or not well:
        return None
    found = [_region(scale, failed, well, above) for scale in scales(trials) for above in (True, False)]
    fitting = [region for region in found if region is not None]
    best = min(fitting, key=lambda region: region.others, default=None)
    if best is None:
        return None
    ways = math.comb(len(failed) + best.others, len(failed)) / math.comb(len(failed) + len(well), len(failed))
    return best if ways * len(fitting) < LUCK else None


def _region(scale: Scale, failed: Sequence[Trial], well: Sequence[Trial], above: bool) -> Region | None:
    bad = [value_of(trial, scale) for trial in failed]
    good = [value for trial in well if (value := value_of(trial, scale)) is not None]
    if scale.named or None in bad:
        return None
    limit = min(bad) if above else max(bad)
    others = sum(value >= limit if above else value <= limit for value in good)
    return Region(scale.name, limit, above, others)
