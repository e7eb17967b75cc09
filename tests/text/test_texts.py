"""From bytes on a disk to batches, and every text that cannot be used."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
import torch

from minilm.errors import ConfigError, CorpusError, UnknownCharacterError
from minilm.text import sources
from minilm.text.batches import Batches
from minilm.text.characters import CharTokenizer
from minilm.text.compression import compressed_bits
from minilm.text.corpora import load_corpus, load_described
from minilm.text.tokenizers import load_tokenizer

LINES = "".join(f"line {k}: the quick brown fox\n" for k in range(200))


def test_characters_come_back():
    draw = random.Random(0)
    alphabet = [chr(c) for c in (*range(32, 127), 10, 0xE9, 0x4E2D, 0x1F98A)]
    text = "".join(draw.choices(alphabet, k=5000))
    tokenizer = CharTokenizer.from_text(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode_array(text).tolist() == tokenizer.encode(text)
    assert tokenizer.encode(text) == [tokenizer.characters.index(c) for c in text]
    tensor = tokenizer.encode("".join(alphabet[:3]), return_tensors="pt")
    assert tensor.shape == (1, 3) and tensor.dtype == torch.int64
    assert tokenizer.decode(tensor[0]) == "".join(alphabet[:3])


def test_unknown_characters():
    tokenizer = CharTokenizer.from_text("abc?")
    with pytest.raises(UnknownCharacterError, match="x"):
        tokenizer.encode("axb")
    assert tokenizer.decode(tokenizer.encode("axb", errors="replace")) == "a?b"
    with pytest.raises(ConfigError):
        tokenizer.encode("a", errors="ignore")


def test_tokenizers_are_kept_in_a_folder(tmp_path):
    tokenizer = CharTokenizer.from_text('tab\t "quote" \\ newline\n é')
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path) == tokenizer


def test_an_epoch_shows_every_window_once():
    tokens = np.arange(1003, dtype=np.uint16)
    batches = Batches(tokens, block_size=10, batch_size=5, seed=0)
    starts = []
    while batches.state()["epoch"] == 0:
        ids, targets = batches.next()
        assert torch.equal(targets[:, :-1], ids[:, 1:]) and torch.equal(targets, ids + 1)
        starts += ids[:, 0].tolist()
        if len(starts) > 200:
            break
    first = starts[:95]
    assert len(set(first)) == 95 and len({start % 10 for start in first}) == 1


def test_the_position_of_batches_is_their_whole_state():
    tokens = np.random.default_rng(0).integers(0, 9, 500).astype(np.uint8)
    one, two = (Batches(tokens, 8, 3, seed=4) for _ in range(2))
    for _ in range(37):
        one.next()
    two.restore(one.state())
    for _ in range(30):
        assert all(torch.equal(a, b) for a, b in zip(one.next(), two.next(), strict=True))
    assert not torch.equal(Batches(tokens, 8, 3, seed=5).next()[0], Batches(tokens, 8, 3, seed=4).next()[0])


def test_a_split_shorter_than_a_window():
    with pytest.raises(CorpusError, match="8"):
        Batches(np.zeros(8, dtype=np.uint8), block_size=8, batch_size=1, seed=0)


def test_splits_are_contiguous_90_5_5(tmp_path):
    (tmp_path / "t.txt").write_text(LINES)
    corpus = load_corpus(tmp_path / "t.txt")
    parts = [corpus.tokenizer.decode(part) for part in (corpus.train, corpus.val, corpus.test)]
    assert "".join(parts) == LINES == corpus.text
    assert [round(len(part) / len(LINES), 2) for part in parts] == [0.9, 0.05, 0.05]
    assert corpus.floor is None and corpus.tokens.dtype == np.uint8
    assert load_described(corpus.describe()).describe() == corpus.describe()
    whole = load_corpus(tmp_path / "t.txt", split=(0.9, 0.1, 0.0))
    assert len(whole.test) == 0 and len(whole.val) == len(LINES) - int(0.9 * len(LINES))


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_marks_and_line_ends_of_other_systems(tmp_path, end):
    (tmp_path / "t.txt").write_bytes(b"\xef\xbb\xbf" + LINES.replace("\n", end).encode())
    assert load_corpus(tmp_path / "t.txt").text == LINES


def test_folders_and_globs(tmp_path):
    (tmp_path / "b.txt").write_text("B" * 200 + "\n")
    (tmp_path / "a.md").write_text("A" * 200 + "\n")
    (tmp_path / "c.csv").write_text("C" * 200 + "\n")
    assert "C" not in load_corpus(tmp_path).text and set("AB") < set(load_corpus(tmp_path).text)
    assert set(load_corpus(str(tmp_path / "*.csv")).text) == {"C", "\n"}


def test_another_script_and_a_small_file(tmp_path):
    text = "".join(chr(0x4E00 + k * 7 % 900) for k in range(1200))
    (tmp_path / "zh.txt").write_text(text, encoding="utf-8")
    corpus = load_corpus(tmp_path / "zh.txt")
    assert corpus.text == text and corpus.tokens.dtype == np.uint16 and corpus.tokenizer.vocab_size == 900


def test_large_texts_are_mapped_and_equal(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text = LINES * 500
    (tmp_path / "t.txt").write_text(text)
    mapped = load_corpus(tmp_path / "t.txt", mapped_above=1000)
    assert isinstance(mapped.tokens, np.memmap)
    assert np.array_equal(mapped.tokens, load_corpus(tmp_path / "t.txt").tokens)


WRONG = {
    "empty": (b"", "is empty"),
    "short": (b"too short", "at least 200"),
    "one": (b"a" * 500, "only repeats"),
    "binary": (LINES.encode() + b"\x00", "binary"),
    "latin": (LINES.encode() + "caf\u00e9 au lait".encode("latin-1") + LINES.encode(), "UTF-8"),
    "utf16": (LINES.encode("utf-16"), "UTF-16"),
}


@pytest.mark.parametrize("name", WRONG)
def test_texts_that_are_none(tmp_path, name):
    data, part = WRONG[name]
    (tmp_path / f"{name}.txt").write_bytes(data)
    with pytest.raises(CorpusError, match=part) as caught:
        load_corpus(tmp_path / f"{name}.txt")
    assert f"{name}.txt" in str(caught.value) and "\n" not in str(caught.value)


def test_places_that_hold_no_text(tmp_path):
    with pytest.raises(CorpusError, match="did you mean 'shakespeare'"):
        load_corpus("shakespear")
    (tmp_path / "story.txt").write_text(LINES)
    with pytest.raises(CorpusError, match=r"did you mean .*story\.txt"):
        load_corpus(tmp_path / "stroy.txt")
    (tmp_path / "none").mkdir()
    with pytest.raises(CorpusError, match="has no"):
        load_corpus(tmp_path / "none")
    with pytest.raises(CorpusError, match="no file matches"):
        load_corpus(str(tmp_path / "*.doc"))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(CorpusError, match="loop"):
        load_corpus(tmp_path / "loop")
    with pytest.raises(CorpusError, match="regular file"):
        load_corpus("/dev/zero")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(CorpusError, match="regular file"):  # reading would wait for ever
            load_corpus(tmp_path / "pipe")


def test_a_changed_text_is_noticed(tmp_path):
    (tmp_path / "t.txt").write_text(LINES)
    description = load_corpus(tmp_path / "t.txt").describe()
    (tmp_path / "t.txt").write_text(LINES.replace("fox", "cat"))
    with pytest.raises(CorpusError, match="has changed"):
        load_described(description)


@pytest.mark.parametrize("name", ["pydocs", "python"])
def test_texts_inside_python(name):
    corpus = load_corpus(name)
    assert len(corpus.tokens) > 100_000 and corpus.text.isascii()
    assert corpus.source["python"] and corpus.source["sha256"]


def test_shakespeare_is_the_known_text(shakespeare):
    assert len(shakespeare.tokens) == 1_115_394 and shakespeare.tokenizer.vocab_size == 65


def test_shakespeare_offline_says_what_to_do(tmp_path, monkeypatch):
    def offline(*arguments, **named):
        raise OSError("no network")

    monkeypatch.setenv("MINILM_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sources.urllib.request, "urlopen", offline)
    with pytest.raises(CorpusError, match=r"put it at .*tinyshakespeare\.txt"):
        load_corpus("shakespeare")
    (tmp_path / "tinyshakespeare.txt").write_text("not by Shakespeare " * 100)
    with pytest.raises(CorpusError, match="sha256|86c4e6aa"):
        load_corpus("shakespeare")


def test_compressors_use_the_training_text():
    """The second half of a text that repeats costs almost nothing, noise costs its own size."""
    noise = random.Random(0).randbytes(4000)
    fresh, repeated = compressed_bits(noise), compressed_bits(noise, noise)
    assert all(7.9 < bits < 8.5 for bits in fresh.values()) and all(bits < 1 for bits in repeated.values())
    assert compressed_bits("é".encode() * 10, b"", 10)["xz"] == 2 * compressed_bits("é".encode() * 10)["xz"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_a_text_on_a_device_gives_the_same_batches(dtype):
    tokens = np.random.default_rng(0).integers(0, 200, 100).astype(dtype)
    host, device = Batches(tokens, 8, 4, seed=1), Batches(tokens, 8, 4, seed=1, device="cpu")
    for _ in range(8):
        for one, two in zip(host.next(), device.next(), strict=True):
            assert torch.equal(one, two) and one.dtype == two.dtype == torch.int64
