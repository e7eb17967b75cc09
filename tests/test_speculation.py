"""Speculative decoding against the exact distribution of texts, and token by token against plain greedy."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from minilm.config import ModelConfig
from minilm.errors import ConfigError
from minilm.fast import speculative
from minilm.fast.decoder import QuickWindow
from minilm.fast.speculative import speculate
from minilm.model import GPT
from minilm.sampling import Window, filter_logits, stream

V, LENGTH, DRAWS = 4, 3, 2000
OPTIONS = [
    {},
    {"temperature": 0.6},
    {"temperature": 1.5},
    {"top_k": 2},
    {"top_p": 0.7},
    {"temperature": 1.3, "top_k": 3, "top_p": 0.9},
]


class Weights:
    """A draft that knows the last token alone; some tokens it never guesses."""

    table = np.random.default_rng(0).integers(0, 9, (V, V))

    def successors(self, context):
        weights = self.table[context[-1]]
        return np.flatnonzero(weights), weights[weights > 0]


class Nothing:
    """A draft without ideas."""

    def successors(self, context):
        return np.array([], int), np.array([])


@pytest.fixture(scope="module")
def model() -> GPT:
    torch.manual_seed(0)
    model = GPT(ModelConfig(V, n_layer=1, n_head=1, n_embd=8, block_size=16, bigrams=True))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return model.eval()


def written(
    model: GPT, ids: torch.Tensor, n: int, draft, keep: float = 1.0, make=Window, **options
) -> torch.Tensor:
    """The text (1, T + n) that is written with guesses."""
    tokens = speculate(make(model, 1, keep), draft, ids, n, **options)
    return torch.cat((ids, *(token[:, None] for token in tokens)), dim=1)


def exact(model: GPT, **options) -> np.ndarray:
    """The probability of every text of LENGTH tokens after token 0, from all of their logits. (V ** LENGTH,)"""
    texts = torch.tensor([(0, *text) for text in itertools.product(range(V), repeat=LENGTH)])
    with torch.no_grad():
        logits = model(texts[:, :-1]).logits.flatten(0, 1)
    p = filter_logits(logits, **options).softmax(-1).view(len(texts), LENGTH, V)
    return p.gather(2, texts[:, 1:, None]).prod(dim=1)[:, 0].double().numpy()


def surprise(expected: np.ndarray, model: GPT, draft: speculative.Draft | None, **options) -> float:
    """p-value of the chi-square test that texts are drawn from `expected`; rare ones share one cell."""
    generator, counts = torch.Generator().manual_seed(3), Counter[int]()
    for _ in range(DRAWS):
        window, start = Window(model, 1), torch.tensor([[0]])
        options = {**options, "generator": generator}
        tokens = (
            speculate(window, draft, start, LENGTH, **options)
            if draft
            else stream(window, start, LENGTH, **options)
        )
        counts[sum(int(token) * V ** (LENGTH - 1 - i) for i, token in enumerate(tokens))] += 1
    found = np.array([counts[text] for text in range(V**LENGTH)], float)
    assert not found[expected == 0].any(), "a text that the options forbid"
    often = expected * DRAWS >= 5
    cells = [(f, e * DRAWS) for f, e in zip(found[often], expected[often], strict=True)]
    if (rest := expected[~often].sum() * DRAWS) > 1:
        cells.append((found[~often].sum(), rest))
    return float(chi2.sf(sum((f - e) ** 2 / e for f, e in cells), len(cells) - 1))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_texts_have_the_models_distribution(model, options):
    assert surprise(exact(model, **options), model, Weights(), **options) > 1e-3


@pytest.mark.parametrize(
    "options", [OPTIONS[0], *(pytest.param(o, marks=pytest.mark.slow) for o in OPTIONS[1:])], ids=str
)
def test_so_have_those_without_guesses(model, options):
    assert surprise(exact(model, **options), model, None, **options) > 1e-3


@pytest.mark.parametrize("broken", ["accept everything", "redraw from p"])
def test_the_test_can_fail(model, monkeypatch, broken):
    if broken == "accept everything":
        monkeypatch.setattr(
            speculative, "judge", lambda p, found, *_: (len(found), speculative.draw(p[-1], None))
        )
    else:
        monkeypatch.setattr(speculative, "left_over", lambda p, tokens, q: p)
    assert surprise(exact(model), model, Weights()) < 1e-6


@pytest.mark.parametrize("draft", [Weights(), Nothing()])
@pytest.mark.parametrize("keep", [1.0, 0.5])
@pytest.mark.parametrize("n", [0, 1, 3, 60])
def test_greedy_is_plain_greedy(model, draft, keep, n):
    """Also past the window, where the cache is given up and filled again."""
    for start in range(V):
        ids = torch.tensor([[start, 1, 2]])
        plain = model.generate(ids, n, temperature=0, keep=keep)
        for make in (Window, QuickWindow):
            assert torch.equal(written(model, ids, n, draft, keep, make, temperature=0), plain)


def test_a_draft_that_is_right_saves_readings(model, monkeypatch):
    """The draft knows the very text that will come: all of it accepted, one reading for REACH + 1 tokens."""
    n = 3 * (speculative.REACH + 1)
    plain = model.generate(torch.tensor([[0]]), n, temperature=0)[0].tolist()

    class Oracle:
        def successors(self, context):
            return np.array([plain[len(context)]]), np.array([1.0])

    readings, read = [], speculative.Window.read
    monkeypatch.setattr(
        speculative.Window,
        "read",
        lambda self, ids, wanted: readings.append(ids.size(1)) or read(self, ids, wanted),
    )
    got = written(model, torch.tensor([[0]]), n, Oracle(), temperature=0)
    assert got[0].tolist() == plain
    assert readings == [1 + speculative.REACH] * 3


def test_a_seed_decides_the_text(model):
    texts = [
        written(
            model, torch.tensor([[0]]), 40, Weights(), 0.5, generator=torch.Generator().manual_seed(seed)
        ).tolist()
        for seed in (7, 7, 8)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_drafts_are_for_one_text(model):
    with pytest.raises(ConfigError, match="one text at a time, got 2"):
        speculate(Window(model, 2), Weights(), torch.zeros(2, 1, dtype=torch.int64), 3)


def test_cold_guesses_take_the_best():
    table = Weights.table[1]
    for temperature in (0.0, 1e-45):
        guess = speculative.guess(Weights(), [1], temperature, 0.99)
        assert guess is not None and table[guess.token] == table.max()
