"""Corpora of byte pairs: splits by characters, nothing learnt from what is held out, losses per character."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest

from minilm.errors import ConfigError, CorpusError, UnknownCharacterError
from minilm.text import corpora
from minilm.text.batches import Batches
from minilm.text.bpe import BPETokenizer
from minilm.text.characters import CharTokenizer
from minilm.text.corpora import load_corpus, load_described
from minilm.text.long import LongText, whole_words
from minilm.text.sources import Source
from minilm.text.tokenizers import (
    character_lengths,
    count_characters,
    learn_pieces,
    load_tokenizer,
    piece_count,
)

LINES = "".join(f"line {k}: the quick brown fox, naïve and 27°C — 狐狸\n" for k in range(300))
CHOICES = ["characters", "bpe:130", "bpe:300"]  # the second and third have the characters as their base


@pytest.fixture
def file(tmp_path):
    (tmp_path / "t.txt").write_text(LINES, encoding="utf-8")
    return tmp_path / "t.txt"


@pytest.fixture
def byte_pairs():
    return BPETokenizer.train(LINES[:5000], 300)


def splits(text: str, shares: tuple[float, float, float] = (0.9, 0.05, 0.05)) -> list[str]:
    first, second = int(len(text) * shares[0]), int(len(text) * (shares[0] + shares[1]))
    return [text[:first], text[first:second], text[second:]]


@pytest.mark.parametrize("tokens", [*CHOICES, "given"])
def test_splits_are_of_characters_whatever_the_tokens_are(file, tokens, byte_pairs):
    corpus = load_corpus(file, byte_pairs if tokens == "given" else tokens)
    parts = [corpus.train, corpus.val, corpus.test]
    assert [corpus.tokenizer.decode(part) for part in parts] == splits(LINES)
    assert [corpus.tokenizer.encode_array(text).tolist() for text in splits(LINES)] == [
        part.tolist() for part in parts
    ]
    assert list(corpus.characters.values()) == [len(text) for text in splits(LINES)]
    assert [count_characters(corpus.tokenizer, part) for part in parts] == list(corpus.characters.values())
    assert corpus.text == LINES and sum(corpus.characters.values()) == corpus.describe()["characters"]
    assert corpus.tokens.dtype == corpus.tokenizer.dtype and not corpus.tokens.flags.writeable
    assert f"{len(LINES):,} characters" in corpus.line()
    if tokens != "characters":
        each = f"{len(LINES) / len(corpus.tokens):.1f} characters each"
        assert each in corpus.line() and each in corpus.describe()["in_words"]


@pytest.mark.parametrize("tokens", CHOICES)
@pytest.mark.parametrize("split", [(0.9, 0.05, 0.05), (0.9, 0.1, 0.0)])
def test_the_loss_per_character_is_that_of_a_brute_force_sum(file, tokens, split):
    """A model that knows the last token: its nats over a split, one token after the other, by the letters in it."""
    corpus = load_corpus(file, tokens, split=split)
    V = corpus.tokenizer.vocab_size
    logits = np.random.default_rng(0).normal(size=(V, V))
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    for name, tokens_of, before, text in zip(
        ("val", "test"),
        (corpus.val, corpus.test),
        (corpus.train[-1], corpus.val[-1]),
        splits(LINES, split)[1:],
        strict=True,
    ):
        brute, last = 0.0, int(before)
        for token in tokens_of.tolist():
            brute -= math.log(math.exp(logits[last, token]) / sum(math.exp(x) for x in logits[last]))
            last = token
        contexts = np.concatenate([[before], tokens_of[:-1]])[: len(tokens_of)]
        nats = -log_probs[contexts, tokens_of].sum()
        assert corpus.characters[name] == len(text)
        if text:
            assert nats / corpus.characters[name] == pytest.approx(brute / len(text), rel=1e-12)
    windows = [corpus.val[at : at + 7] for at in range(0, len(corpus.val), 7)]
    assert sum(count_characters(corpus.tokenizer, w) for w in windows) == corpus.characters["val"]


def test_a_character_counts_where_it_begins():
    tokenizer = BPETokenizer.train("é" * 9, 256)
    first, second = tokenizer.encode("é")
    lengths = character_lengths(tokenizer)
    assert (lengths[first], lengths[second]) == (1, 0) and count_characters(tokenizer, []) == 0
    text = "".join(random.Random(0).choices("aé狐🦊\ud800", k=200))
    assert count_characters(tokenizer, tokenizer.encode(text)) == 200


def test_nothing_is_learnt_from_what_is_held_out(file, tmp_path):
    """Other words in validation and test leave the pieces as they were, but for the alphabet."""
    train, val, test = splits(LINES)
    other = train + "".join(sorted(val)) + "".join(reversed(test))
    (tmp_path / "other.txt").write_text(other, encoding="utf-8")
    one, two = load_corpus(file, "bpe:200"), load_corpus(tmp_path / "other.txt", "bpe:200")
    assert one.tokenizer == two.tokenizer and np.array_equal(one.train, two.train)
    assert one.tokenizer.merges == BPETokenizer.train(train, 200, base=CharTokenizer.from_text(LINES)).merges


def test_a_description_brings_the_pieces_back(file, tmp_path):
    corpus = load_corpus(file, "bpe:200")
    description = json.loads(json.dumps(corpus.describe()))
    assert description["tokens"] == "bpe:200" and description["bounds"] == list(corpus.character_bounds)
    corpus.tokenizer.encode("the fox")  # what a tokenizer remembers is not what it is
    again = load_described(description)
    assert again.describe() == description and np.array_equal(again.tokens, corpus.tokens)
    corpus.tokenizer.save(tmp_path / "run")
    quicker = load_described(description, load_tokenizer(tmp_path / "run"))
    assert quicker.describe() == description and np.array_equal(quicker.tokens, corpus.tokens)
    with pytest.raises(CorpusError, match="run's own tokenizer"):
        load_described({**description, "pieces": "0123"})
    with pytest.raises(CorpusError, match="run's own tokenizer"):
        load_described(description, BPETokenizer.train("abc", 256))


def test_a_given_tokenizer_must_be_given_again(file, byte_pairs):
    corpus = load_corpus(file, byte_pairs)
    description = corpus.describe()
    assert load_described(description, byte_pairs).describe() == description
    with pytest.raises(CorpusError, match="give it again"):
        load_described(description)
    with pytest.raises(UnknownCharacterError, match="vocabulary of 3 lacks"):
        load_corpus(file, CharTokenizer.from_text("abc"))
    more = load_corpus(file, CharTokenizer.from_text(LINES + "\0"))
    assert more.text == LINES and more.tokenizer.vocab_size == load_corpus(file).tokenizer.vocab_size + 1


def test_a_large_text_is_encoded_where_it_is_read(file, tmp_path, monkeypatch):
    """Read as a whole it has the tokens of the encoded text, a window is a stretch of these."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("minilm.text.reading.CHUNK", 1000)  # pieces that end anywhere
    small = load_corpus(file, "bpe:200")
    monkeypatch.setattr(corpora, "LARGE", 5000)
    monkeypatch.setattr(corpora, "STRETCHES", 10)
    large = load_corpus(file, small.tokenizer, mapped_above=10)
    assert isinstance(large.train.ids, np.memmap) and large.text == LINES
    assert large.character_bounds == small.character_bounds and large.characters == small.characters
    for whole, split in zip(
        (small.train, small.val, small.test), (large.train, large.val, large.test), strict=True
    ):
        assert np.array_equal(whole, split) and abs(len(split) / len(whole) - 1) < 0.1
        stretches = np.lib.stride_tricks.sliding_window_view(whole, 30)
        starts = np.arange(0, len(split), 7)
        read = split[starts[:, None] + np.arange(30)]
        at = [np.flatnonzero((stretches == window).all(1)) for window in read]
        assert read.shape == (len(starts), 30) and all(map(len, at)), "each is a stretch of the whole"
        far = [min(abs(found - start)) for found, start in zip(at, starts, strict=True)]
        assert max(far) < 60 + 0.05 * len(whole), "and near where it was asked for"
    assert large.scored("val")["before"] == small.scored("val")["before"] == small.train[-1]
    assert large.scored("test")["before"] == small.val[-1]
    assert "about" in large.line() and large.beginning(50) == LINES[: len(large.beginning(50))]
    assert [part.tolist() for part in large.in_characters(500)[0]] == [
        part.tolist() for part in load_corpus(file).in_characters(500)[0]
    ]
    part = large.first_part(100)
    texts = [part.tokenizer.decode(tokens) for tokens in (part.train, part.val, part.test)]
    assert (
        list(part.characters.values()) == list(map(len, texts))
        and texts[1] == splits(LINES)[1][: len(texts[1])]
    )


@pytest.mark.parametrize("alphabet", ["ab ", "ab", "狐狸猫犬"])
def test_windows_of_any_text_have_their_length(alphabet):
    """Few spaces, none, or pieces much longer than the average: each window is there, the same at each call."""
    draw = random.Random(1)
    text = "a" * 3000 + "".join(draw.choices(alphabet, k=6000))
    letters = CharTokenizer.from_text(text)
    tokenizer = BPETokenizer.train(text, 60, base=letters)
    long = LongText(letters, letters.encode_array(text), tokenizer, len(text) / len(tokenizer.encode(text)))
    starts = np.array([0, 1, 50, len(long) // 2, len(long) - 1])
    places = starts[:, None] + np.arange(40)
    read = long[places]
    assert read.shape == (5, 40) and np.array_equal(read, long[places])
    assert all(tokenizer.decode(window) in text for window in read)


def test_a_run_that_reads_a_large_text_goes_on_bit_for_bit(file, monkeypatch):
    """The batches depend on the seed and the position alone, and an epoch passes over the whole text."""
    monkeypatch.setattr(corpora, "LARGE", 1000)
    corpus = load_corpus(file, "bpe:200")
    one, two = (Batches(load_described(corpus.describe()).train, 16, 4, seed=3) for _ in range(2))
    first = [one.next() for _ in range(200)]
    for k, (ids, targets) in enumerate(first):
        again = two.next()
        assert ids.equal(again[0]) and targets.equal(again[1]) and targets[:, :-1].equal(ids[:, 1:])
        if k == 99:
            position = two.state()
            two = Batches(corpus.train, 16, 4, seed=3)
            two.restore(position)
    read = {line for ids, _ in first for row in ids for line in corpus.tokenizer.decode(row).split("\n")}
    assert sum(any(f"line {k}:" in part for part in read) for k in range(270)) > 250


def test_a_given_tokenizer_that_lacks_a_character_is_refused_before_the_training(file, monkeypatch):
    monkeypatch.setattr(corpora, "LARGE", 1000)
    letters = CharTokenizer.from_text("abc")
    with pytest.raises(UnknownCharacterError, match="lacks"):
        load_corpus(file, BPETokenizer.train("abc abc", 5, base=letters))


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 100])
def test_words_are_whole_however_the_text_arrives(chunk):
    draw = random.Random(chunk)
    text = "".join(draw.choice("ab'st  \n\t1!\x1c狐") for _ in range(2000))
    tokenizer = BPETokenizer.train(text, 300)
    pieces = list(whole_words(text[k : k + chunk] for k in range(0, len(text), chunk)))
    assert "".join(pieces) == text and len(pieces) > 9
    assert [i for piece in pieces for i in tokenizer.encode(piece)] == tokenizer.encode(text)


def test_a_large_text_is_learnt_from_all_over_it(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "LARGE", 1000)
    monkeypatch.setattr(corpora, "STRETCHES", 10)
    text = "".join(f"{k:06d} " for k in range(2000))
    (tmp_path / "t.txt").write_text(text)
    learnt_from = []
    monkeypatch.setattr(
        corpora, "learn_pieces", lambda texts, *rest: learnt_from.append(texts) or learn_pieces(texts, *rest)
    )
    load_corpus(tmp_path / "t.txt", "bpe:50")
    monkeypatch.setattr(corpora, "LARGE", 13_000)
    load_corpus(tmp_path / "t.txt", "bpe:50")
    train = text[:12_600]
    assert learnt_from == [[train[k * 1260 : k * 1260 + 100] for k in range(10)], [train]]


@pytest.mark.parametrize(
    "grown", [LINES + "more", LINES[:-5], LINES.replace("quick", "slow"), LINES.replace("fox", "Fox")]
)
def test_a_text_that_changes_between_the_passes(grown):
    texts = iter([LINES, grown])
    source = Source("moving", "moving", lambda: [next(texts)])
    survey = corpora._survey(source)
    with pytest.raises(CorpusError, match="changed while it was read"):
        corpora._characters(source, CharTokenizer(survey.characters), survey, 10**9)


@pytest.mark.parametrize(
    "tokens",
    ["bpe:abc", "bpe:", "bpe:-5", "bpe:1e3", "bpe", "words", "", "bpe: 500", "bpe:999999999", "bpe:٣٠٠"],
)
def test_impossible_choices(file, tokens):
    with pytest.raises(
        ConfigError, match=r"tokens must be 'auto', 'characters' or 'bpe:N'.*try tokens='bpe:1024'"
    ) as caught:
        load_corpus(file, tokens)
    assert repr(tokens) in str(caught.value)


def test_a_vocabulary_holds_its_base(file, tmp_path):
    kinds = len(set(LINES))
    with pytest.raises(
        ConfigError, match=rf"'bpe:10' must hold .* {kinds} characters .*'bpe:{kinds}' or more"
    ):
        load_corpus(file, "bpe:10")
    assert load_corpus(file, f"bpe:{kinds}").tokenizer.vocab_size == kinds  # no merge, and no error
    text = "".join(chr(0x4E00 + k * 7 % 900) for k in range(3000))
    (tmp_path / "zh.txt").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="'bpe:256' or more"):
        load_corpus(tmp_path / "zh.txt", "bpe:255")
    for tokens, base in (("bpe:256", None), ("bpe:2700", 900)):
        tokenizer = load_corpus(tmp_path / "zh.txt", tokens).tokenizer
        assert (tokenizer.base and tokenizer.base.vocab_size) == base
    assert piece_count("bpe:007") == 7


def test_more_pieces_than_the_text_has_are_not_invented(file):
    corpus = load_corpus(file, "bpe:9999")
    found = corpus.tokenizer.vocab_size
    assert (
        found < 9999 and f"{found:,} byte pairs of {len(set(LINES))} characters (no others" in corpus.line()
    )
    assert "no others" not in load_corpus(file, "bpe:60").line()
    assert load_described(corpus.describe(), corpus.tokenizer).line() == corpus.line()


def test_between_the_bases_the_text_decides():
    """As many characters as half the vocabulary: which base needs fewer tokens depends on the text."""
    draw = random.Random(1)
    chinese = "".join(chr(0x4E00 + min(draw.randrange(600) for _ in range(2))) for _ in range(20_000))
    english = "the quick brown fox jumps " * 2000 + "".join(map(chr, range(0x4E00, 0x4E00 + 400)))
    for text in (chinese, english):
        characters = CharTokenizer.from_text(text)
        bases = [BPETokenizer.train(text, 700, base=base) for base in (characters, None)]
        best = min(bases, key=lambda tokenizer: len(tokenizer.encode(text)))
        assert learn_pieces([text], 700, characters) == best


def test_fables_keep_their_split_and_floor():
    letters, pieces = load_corpus("fables"), load_corpus("fables", "bpe:512")
    assert pieces.floors == letters.floors and pieces.character_bounds == letters.bounds
    assert pieces.tokenizer.decode(pieces.test) == letters.tokenizer.decode(letters.test)
    assert len(pieces.tokens) < len(letters.tokens) / 2


def test_auto_is_one_rule_of_size_and_alphabet(tmp_path):
    small, large = tmp_path / "poem.txt", tmp_path / "book.txt"
    text = load_corpus("fables").text
    small.write_text(text[:100_000])
    large.write_text(text[:500_000])
    assert load_corpus(small, "auto").choice == "characters"
    assert load_corpus(large, "auto").choice == "bpe:1024"
    assert load_corpus(large, "auto").describe()["tokens"] == "bpe:1024", "a run names what was chosen"
