"""Byte-pair encoding against Hugging Face's tokenizers, against a naive loop, and on hostile text."""

from __future__ import annotations

import copy
import json
import random
import re
import time
import unicodedata
from collections import Counter

import numpy as np
import pytest

from minilm.errors import ConfigError, MinilmError, RunError, UnknownCharacterError
from minilm.fast import pieces as fast
from minilm.text import bpe
from minilm.text.bpe import BPETokenizer, apply_merges, base_pieces, learn_merges
from minilm.text.characters import CharTokenizer
from minilm.text.tokenizer_file import GPT2_PATTERN, visible
from minilm.text.tokenizers import count_characters, load_tokenizer
from minilm.text.words import cut

TEXT = (
    "Fox: I'll give the kettle back, she said; they've 42 pears and 1024 plums.\n\n"
    "def merge(pairs):\n    return [a + b for a, b in pairs]  # don't\n\tcafé naïve ÅÄÖ — “quotes”\n"
) * 20
HARD = [
    "",
    " ",
    "  \n\n x",
    "日本語のテキスト",
    "🦊🔥 mixed 12ab_cd",
    "it's we'll I'M",
    "a\u0301\x00\x7f",
    "  trailing  ",
    "x² + ½y, Ⅷ and ৩",  # numbers that are not decimal digits
    "a\x1c\x1fb \x85\u2028 c",  # separators: the first two are no white space to Unicode
    "]^\\-[a-z]",  # what means something inside a pattern
]
SCRIPTS = (
    "The owl asked: “Who's there, at {}?” — nobody.\n",
    "Сова спросила: кто там, в {} часов? Никто не ответил.\n",
    "猫头鹰问道：{}点了，谁在那里？没有人回答。\n",
    "سألت البومة: من هناك في الساعة {}؟ لم يجب أحد.\n",
    "उल्लू ने पूछा: {} बजे वहाँ कौन है? किसी ने उत्तर नहीं दिया।\n",
    "    def owl(self, x_{}=None):\n\t\treturn [x ** 2 for x in self]   # don't   \n\n\n",
    "🦉🔥👩‍👩‍👧 {}%…  ½\t\t \xa0\u3000 ",
)
CHARACTERS = CharTokenizer.from_text(TEXT)


def mixed(size: int) -> str:
    """Some `size` characters of five scripts, code, emoji, runs of white space and whatever Unicode has."""
    draw, parts, length = random.Random(1), [], 0
    while length < size:
        words = [draw.choice(SCRIPTS).format(draw.randrange(10 ** draw.randrange(1, 6))) for _ in range(20)]
        words += [" " * draw.randrange(9), "\n" * draw.randrange(4), anything(draw, 20)]
        letters = [w[i:] + w[:i] for w in words for i in [draw.randrange(len(w) or 1)]]
        parts.append("".join(letters))
        length += len(parts[-1])
    return "".join(parts)


def anything(draw: random.Random, size: int, unusual: str = "") -> str:
    """Characters from all of Unicode; `unusual` lets in "Cs", halves of surrogate pairs, and "Cn", unassigned ones."""
    points = (draw.randrange(0x110000 if draw.random() < 0.3 else 0x3000) for _ in range(size))
    kinds = {"Cs", "Cn"} - set(unusual.split())
    return "".join(c for c in map(chr, points) if unicodedata.category(c) not in kinds)


def naive_merges(text: str, count: int, by_bytes: bool = True) -> list[tuple[bytes, bytes]]:
    """Counts all pairs of the whole text anew before each merge; knows nothing of the module but where words end."""
    words = [[bytes([b]) for b in w.encode()] if by_bytes else [c.encode() for c in w] for w in cut(text)]
    merges = []
    for _ in range(count):
        counts: dict[tuple[bytes, bytes], int] = {}
        for word in words:
            for pair in zip(word, word[1:], strict=False):
                counts[pair] = counts.get(pair, 0) + 1
        if not counts or max(counts.values()) < 2:
            break
        x, y = max((n, pair) for pair, n in counts.items())[1]
        merges.append((x, y))
        for word in words:
            position = 0
            while position < len(word) - 1:
                if word[position] == x and word[position + 1] == y:
                    word[position : position + 2] = [x + y]
                position += 1
    return merges


SMALL = [
    TEXT,
    "aaaa aaa aaaaaaa",
    "abababab baba aabb bbaa",
    " ".join(f"{'xy' * (k % 7)}{'z' * (k % 5)}" for k in range(90)),
    "".join(SCRIPTS) * 3,
    "".join(random.Random(k).choice("ab \n") for k in range(3000)),
]


@pytest.mark.parametrize("text", SMALL)
@pytest.mark.parametrize("by_bytes", [True, False])
def test_merges_are_those_of_counting_anew(text, by_bytes):
    base = None if by_bytes else CharTokenizer.from_text(text)
    words, naive = Counter(cut(text)), naive_merges(text, 60, by_bytes)
    assert len(naive) > 1
    assert learn_merges(words, 60, base)[: len(naive)] == naive
    split = [base_pieces(word, base) for word in words]
    assert fast.learn(split, list(words.values()), 60) == learn_merges(words, 60, base)


@pytest.mark.parametrize("base", [None, CharTokenizer.from_text("".join(SCRIPTS) + "0123456789")])
def test_the_quick_ways_are_the_plain_ones(base):
    draw = random.Random(2)
    known = base.characters if base else "".join(map(chr, range(32, 900)))
    text = "".join(draw.choice(SCRIPTS).format(draw.randrange(99)) for _ in range(60))
    words = Counter(cut(text))
    merges = learn_merges(words, 150, base)
    split = [base_pieces(word, base) for word in words]
    assert fast.learn(split, list(words.values()), 150) == merges
    tokenizer = BPETokenizer.train(text, (base.vocab_size if base else 256) + 150, base=base)
    assert list(tokenizer.merges) == merges and (base or tokenizer.vocab_size == 406)
    probes = list(words) + ["".join(draw.choices(known, k=draw.randrange(1, 30))) for _ in range(500)]
    probes += [character * k for character in "a.н" for k in range(1, 20)]
    split = [base_pieces(word, base) for word in probes]
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    plain = [[tokenizer.ids[piece] for piece in apply_merges(pieces, ranks)] for pieces in split]
    quick = fast.Merges(tokenizer.ids, tokenizer.merges)
    assert quick.by_step(split) == quick.by_merge(split) == plain and quick.in_order
    none = fast.Merges(tokenizer.ids, [])
    assert none.by_step(split) == none.by_merge(split) == [[tokenizer.ids[p] for p in w] for w in split]


def test_a_word_may_be_long():
    """A megabyte of letters without a space, and of one letter, in seconds; by heart where it is short enough."""
    draw = random.Random(4)
    for letters in ("acgt", "a"):
        text = "".join(draw.choices(letters, k=300_000))
        tokenizer = BPETokenizer.train(text, 300)
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text and len(ids) < len(text) / 2
        ranks = {pair: rank for rank, pair in enumerate(tokenizer.merges)}
        plain = apply_merges(base_pieces(text[:3000]), ranks)
        assert tokenizer.encode(text[:3000]) == [tokenizer.ids[piece] for piece in plain]


def test_what_one_reads_is_what_runs(monkeypatch):
    """Who changes the plain functions gets what they say, however long the text."""
    text = mixed(5_000)
    tokenizer = BPETokenizer.train(text, 400)
    monkeypatch.setattr(bpe, "apply_merges", lambda pieces, ranks: list(pieces))
    assert BPETokenizer(tokenizer.pieces, tokenizer.merges).encode(text) == list(text.encode())
    monkeypatch.setattr(bpe, "learn_merges", lambda words, count, base: [(b"t", b"h")])
    assert BPETokenizer.train(text, 400).merges == ((b"t", b"h"),)


def test_words_are_the_librarys():
    """GPT-2's pattern as the `regex` package reads it, where that is installed."""
    regex = pytest.importorskip("regex", reason="the regex package is not installed")
    draw = random.Random(3)
    for text in [*HARD, *SMALL, mixed(20_000), *(anything(draw, 60) for _ in range(300))]:
        known = regex.sub(r"\p{Cn}", "", text)  # each library has its own year of Unicode
        assert cut(known) == regex.findall(GPT2_PATTERN, known)
        assert "".join(cut(text)) == text


def test_any_text_comes_back():
    tokenizer = BPETokenizer.train(TEXT, 400, special_tokens=["<|end|>"])
    draw = random.Random(0)
    texts = HARD + [anything(draw, 40, unusual="Cs Cn") for _ in range(500)] + [mixed(30_000)]
    for text in texts:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text and count_characters(tokenizer, ids) == len(text)
        own = BPETokenizer.train(text, 10_000, base=CharTokenizer.from_text(text + "a"))
        assert own.decode(own.encode(text)) == text
        assert count_characters(own, own.encode_array(text)) == len(text)
    assert tokenizer.decode(tokenizer.encode("日")[:1]) == "\ufffd"  # half a character


def test_long_texts_are_decoded_in_parts_without_a_seam(monkeypatch):
    monkeypatch.setattr(bpe, "CHUNK", 7)
    tokenizer = BPETokenizer.train(SMALL[4], 300)
    assert tokenizer.decode(tokenizer.encode_array(SMALL[4])) == SMALL[4]


def test_special_tokens_are_one_id_each():
    tokenizer = BPETokenizer.train(TEXT, 300, special_tokens=["<|end|>", "<|end|><|end|>"])
    assert tokenizer.encode("a<|end|>b")[1:-1] == [0]
    assert tokenizer.encode("<|end|><|end|><|end|>") == [1, 0]
    assert tokenizer.decode(tokenizer.encode("a<|end|>b")) == "a<|end|>b"
    assert tokenizer.encode("ab", return_tensors="pt").shape[0] == 1


@pytest.mark.parametrize("base", [None, CHARACTERS])
def test_nothing_is_learnt_from_inside_special_tokens(base):
    documents = TEXT.split("\n\n")
    with_them = BPETokenizer.train("<|endoftext|>".join(documents), 340, ["<|endoftext|>"], base)
    without = BPETokenizer.train(documents, 340, ["<|endoftext|>"], base)
    assert with_them == without and not [p for p in with_them.pieces[1:] if b"endof" in p or b"<|" in p]
    assert with_them.encode("<|endoftext|>") == [0] and "<" not in CHARACTERS.characters


def test_characters_unknown_to_the_base():
    tokenizer = BPETokenizer.train(TEXT, 200, ["<🦊>"], base=CHARACTERS)
    with pytest.raises(UnknownCharacterError) as ours:
        tokenizer.encode("a 🦊日 b")
    with pytest.raises(UnknownCharacterError) as theirs:
        CHARACTERS.encode("a 🦊日 b")
    assert str(ours.value) == str(theirs.value) and "'日' '🦊'" in str(ours.value)
    replaced = CHARACTERS.decode(CHARACTERS.encode("a 🦊日 b", errors="replace"))
    assert tokenizer.decode(tokenizer.encode("a 🦊日 b<🦊>", errors="replace")) == replaced + "<🦊>"
    with pytest.raises(UnknownCharacterError):  # what was replaced once is not known for that
        tokenizer.encode("a 🦊日 b")
    with pytest.raises(ConfigError, match="replace"):
        tokenizer.encode("a", errors="ignore")
    with pytest.raises(UnknownCharacterError, match="'\\?'"):
        BPETokenizer.train("ab?" * 9, 10, base=CharTokenizer("ab"))


def test_two_merges_that_make_one_piece():
    """(ab)(c) and (a)(bc): the pieces, not the merges, fill the vocabulary."""
    words = {"bc": 9, "abx": 9, "zab": 9, "abc": 6, "ab": 9, "abcq": 5}
    merges = learn_merges(words, 4)
    assert fast.learn([base_pieces(w) for w in words], list(words.values()), 4) == merges
    assert len({a + b for a, b in merges}) == 4
    tokenizer = BPETokenizer((*(bytes([k]) for k in range(256)), b"ab", b"bc", b"abc"), (
        (b"a", b"b"), (b"b", b"c"), (b"ab", b"c"), (b"a", b"bc")))  # fmt: skip
    assert tokenizer.encode("abc") == [258]
    assert not fast.Merges(tokenizer.ids, ((b"ab", b"c"), (b"a", b"b"))).in_order


@pytest.mark.parametrize("base", [None, CHARACTERS])
def test_saving_keeps_every_id(tmp_path, base):
    tokenizer = BPETokenizer.train(TEXT, 333, ["<|end|>", "é", " "], base)
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path) == tokenizer == BPETokenizer.from_pretrained(tmp_path)
    assert copy.deepcopy(tokenizer) == tokenizer
    assert load_tokenizer(tmp_path).encode(TEXT) == tokenizer.encode(TEXT)


def written(folder, tokenizer):
    """GPT-2's two files."""
    vocabulary = {visible(piece): number for number, piece in enumerate(tokenizer.pieces)}
    merges = "".join(f"{visible(a)} {visible(b)}\n" for a, b in tokenizer.merges)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8")
    return str(folder / "vocab.json"), str(folder / "merges.txt")


def test_agrees_with_hugging_faces_tokenizers(tmp_path):
    """The same two files give the same ids on a megabyte: the witness is an independent implementation."""
    tokenizers = pytest.importorskip("tokenizers", reason="Hugging Face's tokenizers is not installed")
    text = mixed(650_000)
    assert len(text.encode()) > 1_000_000
    names = written(tmp_path, BPETokenizer.train(text[:100_000], 1500))
    theirs, loaded = tokenizers.ByteLevelBPETokenizer(*names), BPETokenizer.from_files(*names)
    assert loaded == BPETokenizer.from_pretrained(tmp_path) == load_tokenizer(tmp_path)
    for part in [TEXT, *HARD, text]:
        assert loaded.encode(part) == theirs.encode(part).ids


def huggingface(tokenizers, tokenizer):
    """The library's own tokenizer of the same pieces, put together by hand."""
    show = visible if tokenizer.base is None else bytes.decode
    names = {piece: number for number, piece in enumerate(map(show, tokenizer.pieces))}
    merges = [(show(a), show(b)) for a, b in tokenizer.merges]
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE(names, merges))
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(GPT2_PATTERN), "isolated")
    steps = (
        [split] if tokenizer.base else [split, tokenizers.pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(steps)
    return theirs


@pytest.mark.parametrize("by_bytes", [True, False])
def test_folders_of_hugging_faces(tmp_path, by_bytes):
    tokenizers = pytest.importorskip("tokenizers", reason="Hugging Face's tokenizers is not installed")
    text = mixed(50_000)
    base = None if by_bytes else CharTokenizer.from_text(text)
    ours = BPETokenizer.train(text, (base.vocab_size if base else 256) + 400, base=base)
    theirs = huggingface(tokenizers, ours)
    assert ours.encode(text) == theirs.encode(text).ids
    theirs.add_special_tokens(["<|im end|>"])
    theirs.save(str(tmp_path / "tokenizer.json"))
    loaded = BPETokenizer.from_pretrained(tmp_path)
    assert loaded == load_tokenizer(tmp_path) and loaded.vocab_size == theirs.get_vocab_size()
    assert loaded.encode(text + "<|im end|>") == theirs.encode(text + "<|im end|>").ids
    loaded.save(tmp_path / "ours")
    assert load_tokenizer(tmp_path / "ours") == loaded
    fields = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    fields["model"]["merges"] = [
        " ".join(pair) for pair in fields["model"]["merges"]
    ]  # as older files have it
    if by_bytes:
        (tmp_path / "tokenizer.json").write_text(json.dumps(fields), encoding="utf-8")
        assert BPETokenizer.from_pretrained(tmp_path) == loaded


def test_a_tokenizer_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    text = mixed(20_000)
    names = written(tmp_path, BPETokenizer.train(text, 700, ["<|endoftext|>"]))
    theirs = transformers.GPT2TokenizerFast(*names)
    theirs.save_pretrained(tmp_path / "saved")
    loaded = BPETokenizer.from_pretrained(tmp_path / "saved")
    assert loaded.encode(text + "<|endoftext|>") == theirs(text + "<|endoftext|>")["input_ids"]


OTHERS = {
    "WordPiece": {"model": {"type": "WordPiece", "vocab": {}}},
    "byte_fallback": {"model": {"type": "BPE", "vocab": {}, "merges": [], "byte_fallback": True}},
    "NFC": {"normalizer": {"type": "NFC"}},
    "space put before": {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}},
    "Metaspace": {"pre_tokenizer": {"type": "Metaspace"}},
    "the pattern": {
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Isolated", "invert": False}
    },
    "lstrip": {"added_tokens": [{"content": "<mask>", "id": 0, "lstrip": True}]},
    "damaged": {"model": {"type": "BPE", "vocab": 3, "merges": []}},
    "ids are not": {"model": {"type": "BPE", "vocab": {"a": 0, "b": 2}, "merges": []}},
    "lacks 255": {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}},
}


@pytest.mark.parametrize("fault", OTHERS)
def test_what_would_give_other_ids_is_refused(tmp_path, fault):
    usual = {"model": {"type": "BPE", "vocab": {}, "merges": []}, "pre_tokenizer": {"type": "ByteLevel"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps({**usual, **OTHERS[fault]}))
    with pytest.raises(RunError, match=re.escape(fault)) as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


def test_wrong_input_is_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match="at least 257"):
        BPETokenizer.train(TEXT, 256, special_tokens=["<x>"])
    with pytest.raises(RunError, match="lacks"):
        BPETokenizer((b"a",))
    with pytest.raises(RunError, match="stands twice"):
        BPETokenizer((*(bytes([k]) for k in range(256)), b"a"))
    (tmp_path / "v.json").write_text("[1")
    with pytest.raises(MinilmError):
        BPETokenizer.from_files(tmp_path / "v.json", tmp_path / "missing.txt")
    tokenizer = BPETokenizer.train("ab", 256)
    with pytest.raises(MinilmError, match="between 0 and 255, got 999"):
        tokenizer.decode([0, 999])
    with pytest.raises(MinilmError, match="got -1"):
        tokenizer.decode(np.array([[-1]]))
    with pytest.raises(ConfigError, match='"pt"'):
        tokenizer.encode("a", return_tensors="tf")


@pytest.mark.clock
def test_a_megabyte_takes_seconds():
    """Generous: three times what it may take, since machines differ; the figures are in benchmarks/pieces.py."""
    text = mixed(600_000)
    started = time.process_time()
    tokenizer = BPETokenizer.train(text, 256 + 1024)
    trained = time.process_time()
    tokenizer.encode_array(text)
    assert trained - started < 6 and time.process_time() - trained < 3
