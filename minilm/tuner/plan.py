"""Opens a study: by minutes the law chooses the recipe, else it is settled how real trials will run.

`measure` times steps, `choose` decides; this file joins them and fixes all of it in the study's settings.
"""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

from minilm.errors import note
from minilm.text.characters import CharTokenizer
from minilm.text.corpora import Corpus, load_corpus
from minilm.text.tokenizers import characters_per_token, piece_count
from minilm.tuner import measure
from minilm.tuner.budget import SEARCH_SHARE, SMALLEST, TIMED, Minutes, prices
from minilm.tuner.choose import PIECES, Outlook, Text, choose, space_for, without_tokens
from minilm.tuner.decide import worker_count
from minilm.tuner.engines import address_of, pool_for
from minilm.tuner.propose import SearchSpace
from minilm.tuner.prospects import prospects
from minilm.tuner.settings import LIBRARIES, Request, Settings, TrialBudget, trial_steps
from minilm.tuner.space import (
    COUPLED_BY_STEPS,
    Limits,
    default_point,
    dimensions,
    limits_for,
    refusal,
    to_configs,
)
from minilm.tuner.summary import choice_text
from minilm.tuner.trial import ladder_for
from minilm.tuner.watch import Watch, clock_text

FULL_TRIALS, SHORTEST, LONGEST = 4.5, 3.5, 120.0  # full trainings in a search by the clock; seconds of one
SAMPLED_FROM = 10_000_000  # characters at the beginning of the training split, for the lengths of pieces
MISPRICED = 1.25  # times as dear, or as cheap, as expected: then the choice is made once more
MEMORY_SHARE = 0.8  # of what is free, for all trainings together


def by_law(
    corpus: Corpus, request: Request, minutes: Minutes, watch: Watch, open_tokens: bool
) -> tuple[Settings, SearchSpace, Corpus]:
    """Prices by two timed steps, then the recipe of which the law expects most in the minutes that are left."""
    if request.engine is not None:
        address_of(request.engine)  # a mistake in it is one all the same
    if request.workers is not None or request.scheduler is not None:
        note(
            "workers and scheduler are for trials, and a study by minutes has none; give trials to have some"
        )
    watch.phase("timing a few training steps on this machine")
    hardware, cores = measure.machine(request.device)
    own = {"device": request.device} if request.device != "auto" else {}
    limits = _limits(corpus, hardware.device, 1)
    vocab_size, train = corpus.tokenizer.vocab_size, corpus.characters["train"]
    timed = measure.timed_steps(
        [{**point, **own} for point in TIMED], vocab_size, limits, request.minutes or 0
    )
    priced = prices(timed)
    minutes.check(priced.step(*to_configs(SMALLEST, vocab_size, limits)))
    watch.phase("Hyperopt looks at imagined trainings")
    text = Text(train, {corpus.choice: (vocab_size, train / len(corpus.train))})
    if open_tokens:
        text = Text(train, tokens_of(corpus))
    outlook = Outlook(priced, text, limits, fixed=LIBRARIES[request.library])
    choice = choose(outlook, minutes.for_training(), request.seed, request.algo)
    if open_tokens and choice.point["tokens"] != corpus.choice:
        watch.phase("cutting the text into pieces")
        split, raw = tuple(corpus.source["split"]), "read_as" not in corpus.source
        corpus = load_corpus(corpus.source["path"], choice.point["tokens"], split=split, raw=raw)
        cut = {corpus.choice: (corpus.tokenizer.vocab_size, train / len(corpus.train))}
        text = dataclasses.replace(text, tokens={**text.tokens, **cut})
        limits = _limits(corpus, hardware.device, 1)
    (model, config, seconds), *_ = measure.timed_steps(
        [{**without_tokens(choice.point), **own}], corpus.tokenizer.vocab_size, limits, request.minutes or 0
    )
    outlook = dataclasses.replace(outlook, text=text, prices=priced.corrected(model, config, seconds))
    tokens, off = tuple(outlook.text.tokens), seconds / priced.step(model, config)
    if not 1 / MISPRICED < off < MISPRICED:  # what was chosen is not what the minutes pay for
        tokens = (corpus.choice,)
        same = dataclasses.replace(text, tokens={corpus.choice: text.tokens[corpus.choice]})
        here = dataclasses.replace(outlook, text=same)
        choice = choose(here, minutes.for_training(), request.seed, request.algo)
        model, config = to_configs(without_tokens(choice.point), corpus.tokenizer.vocab_size, limits)
        seconds = outlook.prices.step(model, config)
    left = minutes.for_training()
    most_steps = max(1, round(outlook.useful_tokens(choice.point) / (config.batch_size * model.block_size)))
    early = most_steps * seconds < left
    chosen = {
        "point": choice.point,
        "seconds": round(left, 1),
        "most_steps": most_steps if early else None,
        "prospects": prospects(outlook, choice, left),
        "tokens": list(tokens),
        "looked": [list(one) for one in choice.looked],
    }
    watch.say(f"choice    {choice_text(chosen, model, len(choice.looked))}")
    if early:
        end = time.monotonic() - minutes.begun + 1.1 * most_steps * seconds + minutes.reserve
        watch.ends(end)
        watch.say(
            f"time      done after about {clock_text(end)} of {clock_text(minutes.total)}: then this text has no more "
            "to teach"
        )
    space = space_for(limits, tokens)
    settings = Settings(
        corpus.describe(),
        space.text,
        limits,
        request.algo,
        request.seed,
        hardware.device,
        request.minutes,
        chosen=chosen,
    )
    return settings, space, corpus


def tokens_of(corpus: Corpus) -> dict[str, tuple[int, float]]:
    """What the tokens of a corpus of characters could be, each with its vocabulary and characters of a token."""
    assert isinstance(corpus.tokenizer, CharTokenizer)
    train = corpus.tokenizer.decode(corpus.train[:SAMPLED_FROM])
    found = characters_per_token(train, corpus.tokenizer, PIECES)
    return {kind: (piece_count(kind) or corpus.tokenizer.vocab_size, each) for kind, each in found.items()}


def with_trials(corpus: Corpus, request: Request) -> tuple[Settings, SearchSpace]:
    hardware, cores = measure.machine(request.device)
    device, engine = hardware.device, request.engine
    workers = (
        request.workers if isinstance(request.workers, int) else worker_count(cores, device, request.trials)
    )
    if engine is not None:
        with pool_for(engine) as cluster:
            workers = cluster.count
    limits = _limits(corpus, device, workers, remote=engine is not None)
    if request.minutes is None:
        budget = TrialBudget(steps=trial_steps())
    else:
        each = SEARCH_SHARE * 60 * request.minutes * workers / FULL_TRIALS
        budget = TrialBudget(seconds=round(min(max(each, SHORTEST), LONGEST, 10 * request.minutes), 1))
    # by count whole trainings are the rule, since only those do not depend on which worker was faster
    usual = "none" if request.minutes is None and not request.deterministic else "asha"
    scheduler = request.scheduler or usual
    space = search_space(request.space, limits, device, corpus.tokenizer.vocab_size)
    settings = Settings(
        corpus.describe(),
        space.text,
        limits,
        request.algo,
        request.seed,
        device,
        request.minutes,
        request.trials,
        budget,
        workers,
        1,
        scheduler,
        ladder_for(scheduler, budget).shares,
        engine,
    )
    return settings, space


def _limits(corpus: Corpus, device: str, workers: int, remote: bool = False) -> Limits:
    free = None if remote else measure.memory(device)  # a cluster's memory is its own
    memory = None if free is None else int(MEMORY_SHARE * free / workers)
    return limits_for(len(corpus.train), wide=device != "cpu", memory=memory)


def search_space(space: Any, limits: Limits, device: str, vocab_size: int) -> SearchSpace:
    """The default space within the limits, or the user's own Hyperopt expression. Neither asks for what cannot be."""
    default = default_point(limits)
    if space is not None:  # how dear a step may be is the user's to say
        limits = dataclasses.replace(limits, step_work=math.inf)

    def refuse(point: dict[str, Any]) -> str | None:
        return refusal(point, vocab_size, limits)

    if space is not None:
        return SearchSpace(space, default, refusal=refuse)
    return SearchSpace.of(dimensions(limits, wide=device != "cpu"), default, refuse, COUPLED_BY_STEPS)
