"""Where texts come from and come from again: downloads, descriptions, shares, tokenizers on a disk."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os

import numpy as np
import pytest

from minilm.errors import ConfigError, CorpusError, RunError, UnknownCharacterError
from minilm.text import corpora, sources
from minilm.text.batches import Batches
from minilm.text.characters import CharTokenizer
from minilm.text.compression import compressed_bits
from minilm.text.corpora import load_corpus, load_described
from minilm.text.ngram import counting_baseline
from minilm.text.tokenizers import load_tokenizer
from minilm.training.scores import compression_rows

LINES = "".join(f"line {k}: the quick brown fox\n" for k in range(200))


@pytest.fixture
def file(tmp_path):
    (tmp_path / "t.txt").write_text(LINES)
    return tmp_path / "t.txt"


@pytest.fixture
def no_shakespeare(tmp_path, monkeypatch):
    """Neither given nor cached; what urlopen answers or raises is the test's."""
    monkeypatch.delenv("MINILM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def answer(what):
        def urlopen(url, timeout):
            if isinstance(what, Exception):
                raise what
            return io.BytesIO(what)

        monkeypatch.setattr(sources.urllib.request, "urlopen", urlopen)

    return answer


def test_a_download_is_checked_and_kept(no_shakespeare, shakespeare_folder, tmp_path):
    whole = (shakespeare_folder / "tinyshakespeare.txt").read_bytes()
    no_shakespeare(b"<html>please log in</html>")
    with pytest.raises(CorpusError, match="proxy or login"):
        load_corpus("shakespeare")
    assert not (tmp_path / "cache").exists()
    no_shakespeare(whole)
    assert load_corpus("shakespeare").text.encode() == whole
    no_shakespeare(OSError("no second download"))
    assert load_corpus("shakespeare").source["sha256"] == hashlib.sha256(whole).hexdigest()


def test_a_download_that_breaks_off(no_shakespeare):
    no_shakespeare(http.client.IncompleteRead(b"First Cit"))
    with pytest.raises(CorpusError, match="put it at"):
        load_corpus("shakespeare")


def test_no_home(monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(sources.Path, "home", none)
    with pytest.raises(CorpusError, match="XDG_CACHE_HOME"):
        sources.cache_folder()


@pytest.mark.parametrize(
    "split",
    [(0.9, 0.1), (0.5, 0.4, 0.2), (1.0, 0.0, 0.0), (0, 0.5, 0.5), (1.1, -0.2, 0.1), (float("nan"),) * 3],
)
def test_impossible_shares(file, split):
    with pytest.raises(ConfigError, match="split must be three shares"):
        load_corpus(file, split=split)


def test_a_corpus_without_a_test_split_has_no_numbers_there(file):
    corpus = load_corpus(file, split=(0.9, 0.1, 0.0))
    rows = [counting_baseline(corpus), *compression_rows(corpus)]
    assert len(rows) == 3 and all(row["test"] is None and 0 < row["val"] < 2 for row in rows)
    with pytest.raises(CorpusError):
        compressed_bits(b"")


def test_a_description_survives_json_and_refuses_damage(file):
    description = load_corpus(file, split=(0.8, 0.1, 0.1)).describe()
    again = load_described(json.loads(json.dumps(description)))
    assert again.describe() == description and again.text == LINES and description["tokens"] == "characters"
    for damaged in ({}, {"source": None}, {"source": {"path": str(file)}}):
        with pytest.raises(CorpusError, match="damaged"):
            load_described(damaged)


def test_descriptions_of_older_runs_are_of_characters(file):
    description = load_corpus(file).describe()
    del description["tokens"]
    assert np.array_equal(load_described(description).tokens, load_corpus(file).tokens)


def test_fables_keep_their_own_split_and_floor_only_at_their_own_shares():
    own, other = load_corpus("fables"), load_corpus("fables", split=(0.5, 0.25, 0.25))
    assert own.floor is not None and other.floor is None
    assert own.source["sha256"] == other.source["sha256"] and own.bounds != other.bounds


@pytest.mark.parametrize(
    "grown", [LINES + "more", LINES.replace("quick", "slow"), LINES.replace("fox", "Fox")]
)
def test_a_text_that_changes_between_the_passes(tmp_path, grown):
    texts = iter([LINES, grown])
    source = sources.Source("moving", "moving", lambda: [next(texts)])
    survey = corpora._survey(source)
    with pytest.raises(CorpusError, match="changed while it was read"):
        corpora._characters(source, CharTokenizer(survey.characters), survey, 10**9)


def test_mapped_tokens_are_kept_and_mended(file, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tokens = np.array(load_corpus(file, mapped_above=0).tokens)
    (kept,) = (tmp_path / "cache" / "minilm" / "tokens").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])  # a copy that was cut short
    again = load_corpus(file, mapped_above=0)
    assert np.array_equal(again.tokens, tokens) and again.text == LINES
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(CorpusError, match="XDG_CACHE_HOME"):
        load_corpus(file, mapped_above=0)


def test_the_cache_has_a_name_and_a_bound(file, tmp_path, monkeypatch, capsys):
    """One file a text, whatever its tokens and splits; the oldest go where they are too many, the newest stays."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(corpora, "LARGE", 100)
    folder = tmp_path / "cache" / "minilm" / "tokens"
    corpus = load_corpus(file, mapped_above=0)
    load_corpus(file, "bpe:60", split=(0.8, 0.1, 0.1), mapped_above=0)
    (kept,) = folder.iterdir()
    told = capsys.readouterr().err
    assert kept.name.startswith(corpus.source["sha256"]) and kept.stat().st_size == len(LINES)
    assert told.count(str(folder)) == 1 and "may be deleted" in told, "said once, where it is written"
    for age, size in enumerate((100, 200, 300)):
        (folder / f"old-{age}").write_bytes(bytes(size))
        os.utime(folder / f"old-{age}", (1000 + age, 1000 + age))
    corpora.bound_cache(folder, most=len(LINES) + 350)
    assert {path.name for path in folder.iterdir()} == {"old-2", kept.name}
    corpora.bound_cache(folder, most=10)
    assert list(folder.iterdir()) == [kept], "what was just written is used"
    monkeypatch.setattr(corpora, "CACHE_BYTES", 10)
    other = tmp_path / "other.txt"
    other.write_text(LINES.upper())
    again = load_corpus(other, mapped_above=0)
    assert again.text == LINES.upper() and [path.name[:64] for path in folder.iterdir()] == [
        again.source["sha256"]
    ]
    assert corpus.text == LINES, "a corpus in use outlives its file"


@pytest.mark.parametrize(("known", "stand_in"), [("abc?", "?"), ("abc ", " "), ("bca", "a")])
def test_stand_ins(known, stand_in):
    tokenizer = CharTokenizer.from_text(known)
    assert tokenizer.decode(tokenizer.encode("a🦊b", errors="replace")) == f"a{stand_in}b"
    with pytest.raises(UnknownCharacterError, match="between 0 and"):
        tokenizer.decode([0, tokenizer.vocab_size])
    with pytest.raises(UnknownCharacterError, match="got -1"):
        tokenizer.decode([-1])
    with pytest.raises(ConfigError, match='"pt"'):
        tokenizer.encode("a", return_tensors="tf")
    assert tokenizer.decode([]) == "" and tokenizer.encode("") == []


DAMAGED = {
    "none": None,
    "json": "{",
    "foreign": '{"version": 1}',
    "kind": '{"format": "minilm-tokenizer", "kind": "chars"}',
    "missing": '{"format": "minilm-tokenizer", "kind": "char"}',
    "order": '{"format": "minilm-tokenizer", "kind": "char", "characters": "ba"}',
    "twice": '{"format": "minilm-tokenizer", "kind": "char", "characters": "aab"}',
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_tokenizers(tmp_path, name):
    if (content := DAMAGED[name]) is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(RunError, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_epochs_differ_and_start_at_other_offsets():
    batches = Batches(np.arange(1000), block_size=10, batch_size=99, seed=1)
    orders = []
    for epoch in range(6):
        batches.restore({"epoch": epoch, "index": 0})
        orders.append(batches.next()[0][:, 0].tolist())
    assert len({order[0] % 10 for order in orders}) > 1 and len({tuple(order) for order in orders}) == 6


@pytest.mark.parametrize("length", [9, 10, 16, 17, 18])
def test_the_shortest_splits_give_batches_too(length):
    batches = Batches(np.arange(length), block_size=8, batch_size=5, seed=0)
    for _ in range(20):
        ids, targets = batches.next()
        assert ids.shape == (5, 8) and bool((targets == ids + 1).all())


@pytest.mark.parametrize(
    "state", [{"epoch": -1, "index": 0}, {"epoch": 0, "index": 100}, {"epoch": 0, "index": -1}]
)
def test_positions_of_another_text(state):
    with pytest.raises(RunError, match="position"):
        Batches(np.arange(100), block_size=8, batch_size=2, seed=0).restore(state)


def test_the_beginning_of_a_corpus_is_one(tmp_path):
    """With the same tokens in the same splits, fewer of them; and nothing else where there are few."""
    (tmp_path / "a.txt").write_text("".join(f"{k} green bottles, \u00e9\n" for k in range(500)))
    for tokens in ("characters", "bpe:300"):
        whole = load_corpus(tmp_path / "a.txt", tokens)
        part = whole.first_part(50)
        assert whole.first_part(10**6) is whole
        n = len(part.val)  # of so many tokens
        assert n == round(50 * len(whole.val) / whole.characters["val"])
        assert part.val.tolist() == whole.val[:n].tolist() and part.test.tolist() == whole.test[:n].tolist()
        assert part.train.tolist() == whole.train[-3 * n :].tolist()
        for split in ("train", "val", "test"):
            assert part.characters[split] == len(part.tokenizer.decode(getattr(part, split)))
