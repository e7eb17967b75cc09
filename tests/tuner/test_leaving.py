"""A study for Hugging Face's library chooses only what can go there, and says so where it cannot."""

from __future__ import annotations

import pytest

import minilm.tune
from minilm.errors import ConfigError
from minilm.interop.huggingface import FAMILIES
from minilm.tuner.budget import Prices
from minilm.tuner.choose import Outlook, Text, choose
from minilm.tuner.settings import LIBRARIES, Request
from minilm.tuner.space import limits_for, to_configs


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_is_chosen_can_leave(library):
    """A recipe with a table of token pairs, which none of their architectures holds, is not chosen for a library."""
    text = Text(500_000, {"characters": (60, 1.0), "bpe:512": (512, 2.2)})
    outlook = Outlook(Prices(1.0, 1.0), text, limits_for(500_000), fixed=LIBRARIES[library])
    point = choose(outlook, 60.0, seed=0).point
    model, _ = to_configs({name: value for name, value in point.items() if name != "tokens"}, 60)
    holds = [
        name
        for name, family in FAMILIES.items()
        if all(getattr(model, key) in good for key, good in family.required.items())
    ]
    assert holds == ([] if model.bigrams else ["qwen3"]) and not (library and model.bigrams)


def test_the_verb_knows_the_libraries():
    assert tuple(name for name in LIBRARIES if name) == minilm.tune.LIBRARIES


def test_trials_by_count_have_a_space_of_their_own():
    Request(minutes=1, library="huggingface").checked()
    with pytest.raises(ConfigError, match="bigrams=False"):
        Request(trials=3, library="huggingface").checked()
