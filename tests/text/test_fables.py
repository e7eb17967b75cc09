"""The fables' claim: their information is known exactly. Witnesses: brute force, parsing, a trained model."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from random import Random

import numpy as np
import pytest

from minilm.errors import CorpusError
from minilm.text import fables
from minilm.text.grammar import Dice, Grammar, article, words
from tests.ambiguity import derivations, faults, information

TOY = Grammar(
    {
        "story": ["{A animal:x} met {animal:y}. {tale}\n"],
        "tale": [
            "Then {x} {verb.past}.[end=one]",
            "They {verb}, {x} and {y}; {end2}.",
            "So {y} said {x}, {x}.",
        ],
        "end2": ["{x} won", "nobody won"],
    },
    {"animal": words("fox owl ant hare"), "verb": words("run|ran hide|hid", "past")},
)

QUICK = Grammar(  # more choices per character than TOY, so that a model learns it in seconds
    {"story": ["{animal:x} {verb.past} {animal}, {x} {tail}\n"], "tail": ["won", "lost", "hid"]},
    {
        "animal": words("fox owl ant hare bee carp dove elk"),
        "verb": words("eat|ate see|saw hear|heard", "past"),
    },
)


@pytest.fixture(scope="module")
def told():
    return fables.generate(fables.FABLES_SEED, fables.FABLES_CHARACTERS)


@pytest.fixture(scope="module")
def shipped():
    return fables.load()


# --- deterministic


def whole(text: str) -> float:
    """Nats of any number of whole tales, found from the text alone."""
    teller = fables.grammar()
    return math.fsum(information(teller, tale + fables.END) for tale in text.split(fables.END)[:-1])


def test_the_checked_in_file_is_what_the_seed_tells(told):
    data = fables.FABLES_FILE.read_bytes()
    assert hashlib.sha256(data).hexdigest() == fables.FABLES_SHA256
    assert "".join(document.text for document in told).encode("ascii") == data


@pytest.mark.parametrize("content", [None, b"altered\r\n"])
def test_without_the_file_the_text_is_the_same(monkeypatch, tmp_path, shipped, content):
    file = tmp_path / "fables.txt"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setattr(fables, "FABLES_FILE", file)
    assert fables.load() == shipped


def test_floors_are_the_information_of_the_splits(told, shipped):
    """Recomputed here from the documents alone, in a second way."""
    train_end, val_end = shipped.bounds
    ends = list(itertools.accumulate(len(document.text) for document in told))
    starts = [0, *ends]
    expected = [next(start for start in starts if 100 * start >= share * ends[-1]) for share in (90, 95)]
    assert [train_end, val_end] == expected, "val and test begin with the first tale at or after 90 and 95 %"
    for name, low, high in (
        ("train", 0, train_end),
        ("val", train_end, val_end),
        ("test", val_end, ends[-1]),
    ):
        nats = math.fsum(d.information for d, end in zip(told, ends, strict=True) if low < end <= high)
        assert shipped.floors[name] == pytest.approx(nats / (high - low), rel=1e-12)


# --- unambiguous


def test_the_fables_are_proven_unambiguous():
    assert faults(fables.grammar()) == []


@pytest.mark.parametrize(
    ("rules", "pool", "complaint"),
    [
        ({"story": ["a fox.", "a fox."]}, "x", "twice"),
        ({"story": ["a fox", "a fox ran"]}, "x", "part at"),
        ({"story": ["{animal} ran.", "Once."]}, "x", "part at"),
        ({"story": ["{animal}s."]}, "fox", "non-letter"),
        ({"story": ["{animal}"]}, "fox", "end with plain"),
        ({"story": ["{animal} ran."]}, "fox fox_cub", "begins"),
        ({"story": ["{animal} ran."]}, "fox fox", "two words"),
        ({"story": ["[a=b]{x@a}."], "x@b": ["y"]}, "fox", "not at the end"),
        ({"story": ["{a x}."], "x": ["y"]}, "fox", "dresses up"),
        ({"story": ["{x:animal}."], "x": ["y"]}, "fox", "is a list"),
    ],
)
def test_faults_sees_each_kind_of_ambiguity(rules, pool, complaint):
    found = faults(Grammar(rules, {"animal": words(pool)}))
    assert any(complaint in fault for fault in found), found


def test_an_ambiguous_text_has_two_derivations():
    """The parser would notice what the proof forbids: its count is a witness, not an assumption."""
    grammar = Grammar({"story": ["{one}{two}."], "one": ["a", "aa"], "two": ["ab", "b"]}, {})
    assert len(list(derivations(grammar, "aab."))) == 2
    assert faults(grammar)


SMALL = {"story": 3, "turn": 7, "witness": 3, "beast": 2, "chorus": 2, "promise": 2}


@pytest.mark.parametrize("grammar", [TOY, fables.grammar().cut(SMALL)], ids=["toy", "fables cut"])
def test_brute_force_over_everything_a_small_grammar_can_tell(grammar):
    documents = list(derivations(grammar))
    assert len(documents) > 50
    assert len({document.text for document in documents}) == len(documents)
    assert math.fsum(math.exp(-document.information) for document in documents) == pytest.approx(1, abs=1e-12)
    for document in documents[:: max(1, len(documents) // 50)]:
        (found,) = derivations(grammar, document.text)
        assert found == document


def test_draws_follow_the_probabilities_that_brute_force_finds():
    expected = {d.text: math.exp(-d.information) for d in derivations(TOY)}
    dice, n = Dice(Random(5)), 20_000
    counts = dict.fromkeys(expected, 0)
    for _ in range(n):
        counts[TOY.tell(dice).text] += 1
    chi2 = sum((counts[t] - n * p) ** 2 / (n * p) for t, p in expected.items())
    freedom = len(expected) - 1
    assert abs(chi2 - freedom) < 5 * math.sqrt(2 * freedom)


def test_real_fables_have_one_derivation_and_the_recorded_information(told):
    for document in told[-3:]:
        (found,) = derivations(fables.grammar(), document.text)
        assert found.text == document.text
        assert found.information == pytest.approx(document.information, rel=1e-12)
    both = told[-2].text + told[-1].text
    assert whole(both) == pytest.approx(told[-2].information + told[-1].information, rel=1e-12)


@pytest.mark.slow
def test_the_whole_file_has_one_derivation(told):
    grammar = fables.grammar()
    assert all(list(derivations(grammar, document.text)) == [document] for document in told)


@pytest.mark.parametrize("wrong", ["tortoise", "Tortoises", "Moral"])
def test_a_text_with_one_wrong_word_is_refused(told, wrong):
    tale = next(d.text for d in told if "Tortoise: " in d.text)
    with pytest.raises(CorpusError, match="cannot tell"):
        whole(tale.replace("Tortoise: ", f"{wrong}: ", 1))


# --- the entropy


class Accountant:
    """Dice that also add up the entropy and the variance of -ln p of every choice that they face."""

    def __init__(self, seed: int) -> None:
        self.dice = Dice(Random(seed))
        self.entropy = self.variance = 0.0

    def pick(self, deck, used, position, look):
        weights = np.array([w for i, w in enumerate(deck.weights) if i not in used], dtype=float)
        p = weights / weights.sum()
        mean = -(p * np.log(p)).sum()
        self.entropy += mean
        self.variance += (p * np.log(p) ** 2).sum() - mean**2
        return self.dice.pick(deck, used, position, look)


def test_mean_information_is_the_entropy_of_the_choices():
    """Information minus entropy, choice by choice, is a martingale: its sum is noise of known variance."""
    accountant, grammar = Accountant(3), fables.grammar()
    total = sum(grammar.tell(accountant).information for _ in range(100))
    assert abs(total - accountant.entropy) < 4 * math.sqrt(accountant.variance)
    assert math.sqrt(accountant.variance) < 0.01 * total  # the test can see a one-per-cent mistake


# --- a language worth modelling


def test_thousands_of_words_in_plain_characters(shipped):
    text = shipped.text
    assert text.isascii() and 990_000 < len(text) < 1_010_000
    assert len(set(re.findall(r"[a-z]+", text.lower()))) > 3000
    assert "  " not in text and " \n" not in text and "\n\n\n" not in text
    assert 0.2 < shipped.floors["val"] < 0.9


def test_what_was_promised_returns(told):
    """A promise comes back unchanged, often hundreds of characters later."""
    quoted = far = 0
    for document in told:
        promise = re.search(
            r"(?:but you must|if you promise to|All I want is this:) (.{30,}?)\.\n", document.text
        )
        if promise and (again := document.text.rfind(promise[1])) > promise.start(1):
            quoted += 1
            far += again - promise.start(1) > 300
    assert quoted > 100
    assert far > 50


def test_articles_agree_with_their_nouns(told):
    text = "".join(document.text for document in told)
    found = re.findall(r"\b(an?) ([\w-]+)", text)
    assert len(found) > 5000
    assert not [pair for pair in found if article(pair[1]) != pair[0]]


def test_number_and_gender_agree(told):
    text = "".join(document.text for document in told)
    verbs = re.findall(
        r"As for (the|all|some|a whole|one|old|Sir|Lady) [^.]*?, (they|it|he|she) (was|were) ", text
    )
    assert len(verbs) > 50
    assert all((pronoun == "they") == (verb == "were") for _, pronoun, verb in verbs)
    assert all((first in ("the", "all", "some", "a whole")) == (p == "they") for first, p, _ in verbs)
    assert {p for first, p, _ in verbs if first in ("Sir", "Lady")} == {"he", "she"}


def test_a_counter_stays_clearly_above_the_floor(shipped):
    from minilm.text.ngram import KneserNey

    ids = np.frombuffer(shipped.text.encode("ascii"), dtype=np.uint8)
    train_end, val_end = shipped.bounds
    loss = KneserNey(7, 128).fit(ids[:train_end]).loss(ids[train_end:val_end])
    assert loss > 1.5 * shipped.floors["val"]


# --- a model reaches the floor of a toy language, and does not pass it


def test_a_trained_model_reaches_the_floor_and_does_not_pass_it():
    import torch

    from minilm.config import ModelConfig
    from minilm.model import GPT
    from minilm.training.evaluate import exact_loss

    dice, T = Dice(Random(11)), 32
    documents = [QUICK.tell(dice) for _ in range(2800)]
    characters = sorted(set("".join(d.text for d in documents)))
    encode = {c: i for i, c in enumerate(characters)}
    train = torch.tensor([encode[c] for d in documents[:2500] for c in d.text])
    held_out = documents[2500:]
    tokens = np.array([encode[c] for d in held_out for c in d.text])

    torch.manual_seed(0)
    model = GPT(
        ModelConfig(
            vocab_size=len(characters), block_size=T, n_layer=2, n_head=2, n_embd=32, attention="fused"
        )
    )
    steps = 500
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1, s / 20, (steps - s) / 200))
    for _ in range(steps):
        starts = torch.randint(len(train) - T, (16, 1))
        windows = train[starts + torch.arange(T + 1)]  # (B, T + 1)
        loss = model(windows[:, :-1], targets=windows[:, 1:]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    floor = sum(d.information for d in held_out) / len(tokens)
    noise = np.std([d.information for d in held_out]) * math.sqrt(len(held_out)) / len(tokens)
    reached = exact_loss(model, tokens, before=encode["\n"], stride=16)
    assert reached >= floor - 3 * noise
    assert reached <= 1.06 * floor
