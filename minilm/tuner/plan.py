"""Opens a study by minutes: the law chooses the recipe that all of them train.

`measure` times steps, `choose` decides; this file joins them and fixes all of it in the study's settings.
"""

from __future__ import annotations

import dataclasses
import time
from itertools import pairwise
from typing import Any

from minilm.errors import note
from minilm.text.characters import CharTokenizer
from minilm.text.corpora import Corpus, in_pieces
from minilm.text.tokenizers import characters_per_token, piece_count
from minilm.tuner import measure
from minilm.tuner.budget import SMALLEST, TIMED, Minutes, prices
from minilm.tuner.choose import LONGER, PIECES, Choice, Outlook, Text, space_for, without_tokens
from minilm.tuner.engines import address_of
from minilm.tuner.propose import SearchSpace
from minilm.tuner.prospects import prospects
from minilm.tuner.second import once_or_twice, seconds_of_both
from minilm.tuner.settings import LIBRARIES, Request, Settings
from minilm.tuner.space import to_configs
from minilm.tuner.summary import choice_text
from minilm.tuner.watch import Watch, clock_text

SAMPLED_FROM = 10_000_000  # characters at the beginning of the training split, for the lengths of pieces
MISPRICED = 1.25  # times as dear, or as cheap, as expected: then the choice is made once more


def by_law(
    corpus: Corpus, request: Request, minutes: Minutes, watch: Watch, open_tokens: bool
) -> tuple[Settings, SearchSpace, Corpus]:
    """Prices by two timed steps, then the recipe of which the law expects most in the minutes that are left."""
    if request.engine is not None:
        address_of(request.engine)  # a mistake in it is one all the same
    if request.workers is not None or request.scheduler is not None:
        note("workers and scheduler are for trials; a study by minutes has none: give trials to have some")
    watch.phase("timing a few training steps on this machine")
    hardware, _ = measure.machine(request.device)
    own = {"device": request.device} if request.device != "auto" else {}
    limits = measure.limits_of(corpus, hardware.device, 1)
    vocab_size, train = corpus.tokenizer.vocab_size, corpus.characters["train"]
    points = [{**point, **own} for point in TIMED]
    priced = prices(measure.timed_steps(points, vocab_size, limits, request.minutes or 0))
    minutes.check(priced.step(*to_configs(SMALLEST, vocab_size, limits)))
    watch.phase("Hyperopt looks at imagined trainings")
    text = Text(train, tokens_of(corpus) if open_tokens else as_cut(corpus))
    outlook = Outlook(priced, text, limits, fixed=LIBRARIES[request.library])
    choice = once_or_twice(outlook, minutes.for_training(), request.seed, request.algo)
    if open_tokens and choice.point["tokens"] != corpus.choice:
        watch.phase("cutting the text into pieces")
        corpus = in_pieces(corpus, choice.point["tokens"])
        text = dataclasses.replace(text, tokens={**text.tokens, **as_cut(corpus)})
        limits = measure.limits_of(corpus, hardware.device, 1)
    (model, config, seconds), *_ = measure.timed_steps(
        [{**without_tokens(choice.point), **own}], corpus.tokenizer.vocab_size, limits, request.minutes or 0
    )
    outlook = dataclasses.replace(outlook, text=text, prices=priced.corrected(model, config, seconds))
    tokens, off = tuple(outlook.text.tokens), seconds / priced.step(model, config)
    if not 1 / MISPRICED < off < MISPRICED:  # what was chosen is not what the minutes pay for
        tokens = (corpus.choice,)
        here = dataclasses.replace(outlook, text=Text(train, as_cut(corpus)))
        choice = once_or_twice(here, minutes.for_training(), request.seed, request.algo)
        model, config = to_configs(without_tokens(choice.point), corpus.tokenizer.vocab_size, limits)
        seconds = outlook.prices.step(model, config)
    chosen = settled(outlook, choice, tokens, seconds, minutes, watch)
    space = space_for(limits, train, tokens, outlook.fixed)
    settings = request.settings(corpus.describe(), space.text, limits, hardware.device, chosen=chosen)
    return settings, space, corpus


def settled(
    outlook: Outlook, choice: Choice, tokens: tuple[str, ...], seconds: float, minutes: Minutes, watch: Watch
) -> dict[str, Any]:
    """What the study keeps of the choice, made among these `tokens`. Says it, and whether the text is used up early."""
    model, config = to_configs(
        without_tokens(choice.point), outlook.text.tokens[choice.point["tokens"]][0], outlook.limits
    )
    left = minutes.for_training()
    most_steps = max(1, round(outlook.useful_tokens(choice.point) / (config.batch_size * model.block_size)))
    chosen = {
        "point": choice.point,
        "seconds": round(choice.share * left, 1),
        "most_steps": most_steps,
        "prospects": prospects(outlook, choice, choice.share * left, tokens),
        "tokens": list(tokens),
        "looked": [list(one) for one in choice.looked],
    }
    watch.say(f"choice    {choice_text(chosen, model, len(choice.looked))}")
    begun, (first, both) = time.monotonic() - minutes.begun, seconds_of_both(most_steps, seconds, left)
    if both > first:
        up, then = clock_text(begun + first), "a second model learns from it and from the first"
        watch.say(f"time      this text is used up after about {up}; then {then}")
    if (end := begun + both + minutes.reserve) < minutes.total:
        watch.ends(end)
        done = f"done after about {clock_text(end)} of {clock_text(minutes.total)}"
        watch.say(f"time      {done}: then this text has no more to teach")
    return chosen


def as_cut(corpus: Corpus) -> dict[str, tuple[int, float]]:
    """The tokens that the corpus has, with its vocabulary and characters of a token."""
    each = corpus.characters["train"] / len(corpus.train)
    return {corpus.choice: (corpus.tokenizer.vocab_size, each)}


def tokens_of(corpus: Corpus) -> dict[str, tuple[int, float]]:
    """What the tokens of a corpus of characters could be, each with its vocabulary and characters of a token; more
    pieces only where they make tokens LONGER."""
    assert isinstance(corpus.tokenizer, CharTokenizer)
    train = corpus.tokenizer.decode(corpus.train[:SAMPLED_FROM])
    found = list(characters_per_token(train, corpus.tokenizer, PIECES).items())
    worth = found[:1] + [one for before, one in pairwise(found) if one[1] >= LONGER * before[1]]
    return {kind: (piece_count(kind) or corpus.tokenizer.vocab_size, each) for kind, each in worth}
