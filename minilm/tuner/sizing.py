"""Fits a recipe to the minutes: how large a model, a context and a batch so many seconds of this machine pay for.

Trials of seconds cannot tell: they prefer what learns quickly, and minutes prefer what learns much. So this is known
beforehand, from a law. A loss falls with the parameters N and with the tokens D that are seen (Hoffmann et al., 2022,
"Training Compute-Optimal Large Language Models", arXiv:2203.15556, equation 2: A / N^a + B / D^b; between our sizes the
first term is no other than a logarithm), and so many seconds pay for a large N or for a large D. A token that was seen
before counts for less (Muennighoff et al., 2023, "Scaling Data-Constrained Language Models", arXiv:2305.16264, section
3). A longer context lowers it too, once what is near has been learnt, and so do small steps where tokens repeat: both
measured here. What a step costs on this machine follows from two that were timed, and from those of the recipes that
it chose. Arithmetic only: it trains nothing, and knows no clock. Its
characters are tokens, whatever these are.
"""

from __future__ import annotations

import itertools
import math

from minilm.config import TrainConfig
from minilm.tuner.budget import TIMED as TIMED
from minilm.tuner.budget import Prices as Prices
from minilm.tuner.budget import parameters as parameters
from minilm.tuner.budget import prices as prices
from minilm.tuner.space import DEFAULT_POINT, Limits, Point, default_point, refusal, to_configs

# layers, width
SHAPES = ((1, 64), (2, 64), (2, 96), (2, 128), (3, 128), (3, 160), (3, 192), (4, 192), (4, 256))  # fmt: skip
CONTEXTS = (DEFAULT_POINT["block_size"], 256)  # tokens that a window holds; the law counts from the first
BATCHES = (8, 16, 32)  # windows
# The best rate falls with the tokens that will be seen, as this power of them (for Muon: HyperP, arXiv:2603.28743);
# up to RATED_TOKENS the default's is right: it was tuned at so many.
RATE_POWER, RATED_TOKENS = -0.32, 1_024_000
FEWEST_STEPS = 300  # of the final training, whatever each of them sees
# Nats per e-fold of parameters, and those that a million tokens leave to be learnt: benchmarks/sizing.py. The law has
# no constant of the text, since only its differences are used.
PER_E_FOLD, PER_MILLION, POWER = 0.04, 0.2, 0.7
# Nats per e-fold of context, less the more there is still to be learnt from what is near.
PER_CONTEXT, NEAR_FIRST = 0.052, 0.036
# Nats per e-fold of the tokens of a step, as far as they were seen before: small batches make it harder to learn a text
# by heart. The law was fitted to steps of BATCH_TOKENS at most.
PER_BATCH, BATCH_TOKENS = 0.05, 4096
PARAMETERS_PER_CHARACTER = 6.0  # of the text, at most: a larger model learns it by heart
# All further passes over a text together are worth so many first ones; with dropout more, which costs something from
# the start, and makes a step dearer: it is drawn by one thread.
FURTHER, FURTHER_PER_DROPOUT = 2.0, 20.0
DROPOUTS, PER_DROPOUT = (0.0, 0.1), 0.15
USED_UP = 2.0  # e-folds of what further passes are worth, after which a text has little left to tell


def fitted(priced: Prices, seconds: float, vocab_size: int, characters: int, limits: Limits) -> Point:
    """The default recipe with the layers, the width, the context, the batch and the dropout of which the law expects
    most after so many seconds of training on a text of so many characters.

    >>> from minilm.tuner.space import limits_for
    >>> text, here = 1_000_000, Prices(1.0, 1.0)
    >>> chosen = [fitted(here, 60 * minutes, 65, text, limits_for(text)) for minutes in (1, 3, 10)]
    >>> [tuple(point[name] for name in ("num_layers", "hidden_size", "block_size", "batch_size")) for point in chosen]
    [(2, 128, 256, 16), (3, 160, 256, 8), (4, 256, 256, 8)]
    """
    found: list[tuple[float, int, Point]] = []  # where the law sees no difference, fewer tokens are safer
    contexts = [context for context in CONTEXTS if context <= limits.block_size] or [limits.block_size]
    for (layers, width), context, batch, dropout in itertools.product(SHAPES, contexts, BATCHES, DROPOUTS):
        change = {"num_layers": layers, "hidden_size": width, "batch_size": batch, "dropout": dropout}
        point = {**DEFAULT_POINT, **change, "block_size": context}
        model, train = to_configs(point, vocab_size, limits)
        steps = int(seconds / priced.step(model, train))
        size = parameters(model)
        too_large = size > PARAMETERS_PER_CHARACTER * characters and (layers, width) > SHAPES[1]
        too_few = steps < FEWEST_STEPS and (layers, batch, context) > (1, BATCHES[0], contexts[0])
        per_step = batch * context
        if per_step > BATCH_TOKENS or too_large or too_few or _does_not_fit(point, vocab_size, limits):
            continue
        tokens = min(max(steps, 1) * per_step, useful_tokens(characters, dropout))
        loss = expected(size, tokens, characters, dropout, context, per_step)
        found.append((loss, tokens, point))
    # the law was not fitted to a single layer: only where there is time for nothing else
    deep = [one for one in found if one[2]["num_layers"] > 1] or found
    if not deep:
        return default_point(limits)
    _, tokens, point = min(deep, key=lambda one: one[:2])
    return {**point, "learning_rate": rate_for(tokens)}


def rate_for(tokens: float) -> float:
    """Muon's learning rate for a training that will see so many tokens.

    >>> rate_for(500_000), round(rate_for(10_240_000), 4)
    (0.03, 0.0144)
    """
    return TrainConfig.learning_rate * max(tokens / RATED_TOKENS, 1.0) ** RATE_POWER


def expected(
    size: int,
    tokens: int,
    characters: int,
    dropout: float = 0.0,
    context: int = CONTEXTS[0],
    per_step: int = BATCH_TOKENS,
) -> float:
    """The part of the loss that is decided by size, tokens, passes over the text, context and the tokens of a step, in
    nats per character.

    >>> text = 1_000_000
    >>> expected(200_000, 2 * text, text) < expected(200_000, text, text) < expected(100_000, text, text)
    True
    >>> expected(200_000, 50 * text, text, dropout=0.1) < expected(200_000, 50 * text, text)
    True
    >>> [expected(200_000, passes * text, text, context=256) < expected(200_000, passes * text, text)
    ...  for passes in (0.3, 3)]
    [False, True]
    """
    fresh = unseen(tokens, characters, dropout)
    unlearnt = (fresh / 1e6) ** -POWER
    of_context = math.log(context / CONTEXTS[0]) * (PER_CONTEXT - NEAR_FIRST * unlearnt)
    of_batch = PER_BATCH * (1 - fresh / tokens) * math.log(per_step / BATCH_TOKENS)
    of_size = PER_E_FOLD * math.log(size)
    return PER_MILLION * unlearnt - of_size - of_context + of_batch + PER_DROPOUT * dropout


def unseen(tokens: int, characters: int, dropout: float = 0.0) -> float:
    """How many tokens, never seen before, would teach as much as these on a text of so many characters.

    >>> [round(unseen(tokens, 1000)) for tokens in (800, 2000, 10**6)], round(unseen(10**6, 1000, dropout=0.1))
    ([800, 1787, 3000], 5000)
    """
    worth = characters * _further(dropout)
    return min(tokens, characters) + worth * (1 - math.exp(-max(tokens - characters, 0) / worth))


def useful_tokens(characters: int, dropout: float) -> int:
    """Tokens after which the text has hardly anything left to tell: a longer training is none worth having.

    >>> useful_tokens(1000, 0.0), useful_tokens(1000, 0.1)
    (5000, 9000)
    """
    return round(characters * (1 + USED_UP * _further(dropout)))


def _further(dropout: float) -> float:
    """What all passes after the first are worth together, in first ones."""
    return FURTHER + FURTHER_PER_DROPOUT * dropout


def _does_not_fit(point: Point, vocab_size: int, limits: Limits) -> bool:
    """Whether there is no memory for it; how much it sees of the text is another question here than in a trial."""
    unhurried = Limits(limits.block_size, float("inf"), limits.memory)
    return refusal(point, vocab_size, unhurried) is not None
