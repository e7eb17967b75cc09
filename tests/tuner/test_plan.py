"""How a study by minutes is opened, on a machine that is made up."""

from __future__ import annotations

import time

import pytest

from minilm.text.corpora import load_corpus
from minilm.tuner import measure, plan
from minilm.tuner.budget import Minutes, Prices, parameters
from minilm.tuner.settings import Request
from minilm.tuner.space import to_configs
from minilm.tuner.watch import Watch


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "tale.txt"
    words = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrst"]
    path.write_text(" ".join(words[(7 * i * i + 3 * i) % 150] for i in range(60_000)))
    return load_corpus(path)


def opened(monkeypatch, corpus, dearer):
    """The settings, and the shapes that were timed; a step of a model of N parameters costs `dearer(N)` times what the
    first two say."""
    monkeypatch.setattr("minilm.tuner.choose.IMAGINED", 60)
    timed = []

    def steps(points, vocab_size, limits, minutes):
        found = []
        for point in points:
            model, train = to_configs(point, vocab_size, limits)
            timed.append(parameters(model))
            found.append((model, train, dearer(parameters(model)) * Prices(1.0, 1.0).step(model, train)))
        return found

    monkeypatch.setattr(measure, "timed_steps", steps)
    minutes = Minutes(10.0, time.monotonic())
    settings, space, _ = plan.by_law(corpus, Request(minutes=10.0), minutes, Watch(), False)
    return settings, space, timed


def test_a_model_that_is_as_dear_as_two_steps_say_is_chosen_once(monkeypatch, corpus):
    settings, space, timed = opened(monkeypatch, corpus, lambda size: 1.0)
    model, _ = to_configs(plan.without_tokens(settings.chosen["point"]), 30)
    assert timed[2:] == [parameters(model)] and settings.budget is None
    assert space.text == settings.space and settings.chosen["tokens"] == ["characters"]


def test_a_model_that_is_dearer_than_two_steps_say_is_chosen_once_more(monkeypatch, corpus):
    plain, *_ = opened(monkeypatch, corpus, lambda size: 1.0)
    dear, _, timed = opened(monkeypatch, corpus, lambda size: 6.0 if size > 700_000 else 1.0)
    sizes = [parameters(to_configs(plan.without_tokens(one.chosen["point"]), 30)[0]) for one in (plain, dear)]
    assert sizes[0] == timed[2] > 700_000 and sizes[1] < sizes[0]
