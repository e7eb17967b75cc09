"""Says what a run or a study amounts to, in numbers and in sentences that do not flatter.

Pure arithmetic on losses in nats per character. A difference below NOISE is called no difference, a counting
model that wins is said to win, and a loss below the entropy floor is called what it is: a leak or an error.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

# Seeds of one recipe at this size differ by about 0.015 (standard deviation); less than this means nothing.
NOISE = 0.02


class Standing(NamedTuple):
    """Losses to compare, all on one split, in nats per character; None where unknown."""

    model: float | None
    counting: float | None = None
    floor: float | None = None
    mixture: float | None = None  # of model and counting
    weight: float | None = None  # of the model in it


class Sentence(NamedTuple):
    """One finding; `tone` is "good", "plain" or "bad"."""

    tone: str
    text: str


def is_number(value: Any) -> bool:
    """Whether a record's value can be drawn: a finite number, and not a truth value.

    >>> is_number(1.5), is_number(float("nan")), is_number(None), is_number(True)
    (True, False, False, False)
    """
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def bits(nats: float) -> float:
    """
    >>> round(bits(math.log(2)), 6)
    1.0
    """
    return nats / math.log(2)


def perplexity(nats: float) -> float:
    """Between how many equally likely characters the model hesitates.

    >>> perplexity(0.0)
    1.0
    """
    return math.exp(min(nats, 700.0))


def closed(standing: Standing) -> float | None:
    """The share of the way from the counting baseline to the entropy floor that the model has gone.

    >>> closed(Standing(model=1.5, counting=2.0, floor=1.0))
    0.5
    """
    model, counting, floor = standing[:3]
    if model is None or counting is None or floor is None or counting <= floor:
        return None
    return (counting - model) / (counting - floor)


def against_counting(standing: Standing, used_up: bool = False) -> Sentence | None:
    """The network against the best that counting can do; where the text is `used_up` more minutes are no advice."""
    if standing.model is None or standing.counting is None:
        return None
    gain = standing.counting - standing.model
    if abs(gain) < NOISE:
        return Sentence("plain", "The network and plain counting are as good as each other.")
    if gain < 0:
        advice = "more text" if used_up else "more minutes, or more text where this one is used up"
        words = f"A model that only counts still beats the network by {-gain:.3f} nats per character"
        return Sentence("bad", f"{words}: give it {advice}.")
    return Sentence("good", f"The network beats plain counting by {gain:.3f} nats per character.")


def against_floor(standing: Standing) -> Sentence | None:
    """The distance to what no model can beat."""
    if standing.model is None or standing.floor is None:
        return None
    distance = standing.model - standing.floor
    if distance < -NOISE:
        return Sentence(
            "bad",
            f"The loss lies {-distance:.3f} nats per character below the entropy floor, which is impossible: "
            "look for a leak between the splits or an error in the measurement.",
        )
    if distance < NOISE:
        return Sentence("good", "The network has reached the entropy floor: no model could do better.")
    share = closed(standing)
    part = f", {100 * share:.0f}\u00a0% of the way from plain counting" if share and share > 0 else ""
    return Sentence("plain", f"Perfection is {distance:.3f} nats per character away{part}.")
