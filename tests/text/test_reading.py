"""Reading in pieces against Python's own text files, with pieces small enough to cut everything in two."""

from __future__ import annotations

import os
import random
import tracemalloc

import numpy as np
import pytest

from minilm.errors import CorpusError
from minilm.text import corpora, reading
from minilm.text.corpora import load_corpus

ATOMS = ["a", "\n", "\r", "\r\n", "é", "中", "🦊", "\ufeff", "\u2028", "\x1c"]


@pytest.fixture(params=[1, 2, 3, 5, 64])
def small_pieces(request, monkeypatch):
    monkeypatch.setattr(reading, "CHUNK", request.param)
    return request.param


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_pieces_are_the_text_that_python_reads(tmp_path, small_pieces, mark):
    if mark and small_pieces < len(mark):
        pytest.skip("a first piece shorter than the mark does not occur")
    draw, path = random.Random(small_pieces), tmp_path / "t.txt"
    for _ in range(40):
        path.write_bytes(mark + "".join(draw.choices(ATOMS, k=30)).encode())
        with path.open(encoding="utf-8-sig") as file:
            assert "".join(reading.read_file(path)) == file.read()


def test_a_wrong_byte_is_found_where_it_is(tmp_path, small_pieces):
    draw, path = random.Random(small_pieces), tmp_path / "t.txt"
    for _ in range(40):
        text = "".join(draw.choices(ATOMS, k=20)).encode()
        data = text[: draw.randrange(1, len(text))] + draw.choice(
            [b"\xff", b"\xe4x", b"\xc3", b"\xf0\x9f\xa6"]
        )
        path.write_bytes(data)
        try:
            data.decode()
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            with pytest.raises(CorpusError, match=rf"byte {error.start:,} \(0x.*\) in line {line} "):
                list(reading.read_file(path))


def test_the_first_nul_is_found_where_it_is(tmp_path, small_pieces):
    (tmp_path / "t.txt").write_bytes("é\ntext".encode() + b"\0\0")
    with pytest.raises(CorpusError, match="byte 7 is NUL"):
        list(reading.read_file(tmp_path / "t.txt"))


def test_a_folder_is_read_deeply_in_sorted_order(tmp_path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "b" / "c" / "2.md").write_text("two")
    (tmp_path / "b" / "1.TXT").write_text("one\n")
    (tmp_path / "z.txt").write_text("three")
    (tmp_path / "b" / "notes.pdf").write_bytes(b"\0")
    (tmp_path / "b" / "back").symlink_to(tmp_path)  # must not be walked in a circle
    assert "".join(reading.read_files(reading.find_files(str(tmp_path)))) == "one\ntwo\nthree"


def test_one_bad_file_of_many_is_named(tmp_path):
    (tmp_path / "good.txt").write_text("text " * 100)
    (tmp_path / "bad.txt").write_text("a\0b")
    with pytest.raises(CorpusError, match=r"bad\.txt, which is binary"):
        load_corpus(tmp_path)


def test_an_empty_file_of_many_is_left_out_with_a_word(tmp_path, capsys):
    (tmp_path / "good.txt").write_text("text " * 100)
    (tmp_path / "__init__.py").write_text("")
    assert load_corpus(tmp_path).source["characters"] == 500
    assert "1 files are empty and left out" in capsys.readouterr().err


def test_a_size_beyond_reason_is_refused_unread(tmp_path):
    with (tmp_path / "sparse.txt").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(CorpusError, match="too large"):
        load_corpus(tmp_path / "sparse.txt")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind this user"
)
def test_a_file_without_permission(tmp_path):
    (tmp_path / "t.txt").write_text("text " * 100)
    (tmp_path / "t.txt").chmod(0)
    with pytest.raises(CorpusError, match="cannot read"):
        load_corpus(tmp_path / "t.txt")


def test_paths_that_cannot_be(tmp_path):
    (tmp_path / "t.txt").write_text("text")
    for path in ("nul\0byte", "x" * 5000, str(tmp_path / "t.txt" / "inside")):
        with pytest.raises(CorpusError):
            load_corpus(path)


def test_a_large_text_takes_little_memory(tmp_path, monkeypatch):
    """20 MB of text: neither it nor its tokens are ever whole in memory, and the array is still right."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    line = "The owl counted 1,234 pears, the fox 567.\n"
    size = 20_000_000 // len(line) * len(line)
    with (tmp_path / "large.txt").open("w") as file:
        file.writelines([line] * (size // len(line)))
    tracemalloc.start()
    try:
        corpus = load_corpus(tmp_path / "large.txt", mapped_above=2**20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size, f"{peak:,} bytes for a text of {size:,}"
    assert isinstance(corpus.tokens, np.memmap) and corpus.tokenizer.decode(corpus.tokens[-42:]) == line
    counts = np.bincount(corpus.tokens) / (size // len(line))
    assert counts.tolist() == [line.count(c) for c in corpus.tokenizer.characters]


def test_mapped_tokens_are_reused_and_a_torn_file_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "t.txt").write_text("one two three\n" * 100)
    tokens = np.array(load_corpus(tmp_path / "t.txt", mapped_above=10).tokens)
    (kept,) = (tmp_path / "cache" / "minilm" / "tokens").iterdir()
    before = kept.stat().st_mtime_ns
    assert np.array_equal(load_corpus(tmp_path / "t.txt", mapped_above=10).tokens, tokens)
    assert kept.stat().st_mtime_ns == before
    kept.write_bytes(kept.read_bytes()[:-5])
    assert np.array_equal(load_corpus(tmp_path / "t.txt", mapped_above=10).tokens, tokens)


def test_a_text_that_changes_while_it_is_read(monkeypatch, tmp_path):
    (tmp_path / "t.txt").write_text("one two three\n" * 100)
    survey = corpora._survey

    def meddle(source):
        learned = survey(source)
        (tmp_path / "t.txt").write_text("one two three\n" * 99)
        return learned

    monkeypatch.setattr(corpora, "_survey", meddle)
    with pytest.raises(CorpusError, match="changed while"):
        load_corpus(tmp_path / "t.txt")
