"""Byte-pair encoding against Hugging Face's tokenizers, against a naive loop, and on hostile text."""

from __future__ import annotations

import json
import random

import pytest

from minilm.errors import ConfigError, MinilmError, RunError
from minilm.text.bpe import BPETokenizer, cut, learn_merges, merge, pairs_of, visible

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
]


def naive_merges(text: str, count: int) -> list[tuple[str, str]]:
    """Counts all pairs anew before each merge."""
    words = [list(visible(word)) for word in cut(text)]
    merges = []
    for _ in range(count):
        counts: dict[tuple[str, str], int] = {}
        for word in words:
            for pair in pairs_of(word):
                counts[pair] = counts.get(pair, 0) + 1
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        words = [merge(word, best) for word in words]
    return merges


def test_incremental_counting_equals_counting_anew():
    assert learn_merges(TEXT, 120) == naive_merges(TEXT, 120)
    assert learn_merges("aaaa aaa aaaaaaa", 9) == naive_merges("aaaa aaa aaaaaaa", 9)


def test_any_text_comes_back():
    tokenizer = BPETokenizer.train(TEXT, 400, special_tokens=["<|end|>"])
    draw = random.Random(0)
    alphabet = [chr(c) for c in (*range(300), *range(0x4E00, 0x4E20), 0x1F98A, 0x2028, 0xFFFD)]
    texts = HARD + ["".join(draw.choices(alphabet, k=40)) for _ in range(200)]
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.encode_array(text).tolist() == tokenizer.encode(text)


def test_special_tokens_are_one_id_each():
    tokenizer = BPETokenizer.train(TEXT, 300, special_tokens=["<|end|>"])
    assert tokenizer.encode("a<|end|>b")[1:-1] == [0]
    assert tokenizer.decode(tokenizer.encode("a<|end|>b")) == "a<|end|>b"
    assert tokenizer.encode("ab", return_tensors="pt").shape[0] == 1


def test_saving_keeps_every_id(tmp_path):
    from minilm.text.tokenizers import load_tokenizer

    tokenizer = BPETokenizer.train(TEXT, 333)
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).encode(TEXT) == tokenizer.encode(TEXT)


def test_agrees_with_hugging_faces_tokenizers(tmp_path):
    """The same two files give the same ids: the witness is an independent implementation."""
    tokenizers = pytest.importorskip("tokenizers", reason="Hugging Face's tokenizers is not installed")
    ours = BPETokenizer.train(TEXT, 420)
    vocab, merges = tmp_path / "vocab.json", tmp_path / "merges.txt"
    vocab.write_text(json.dumps(ours.vocabulary), encoding="utf-8")
    merges.write_text(
        "#version: 0.2\n" + "\n".join(f"{a} {b}" for a, b in ours.ranks) + "\n", encoding="utf-8"
    )
    theirs = tokenizers.ByteLevelBPETokenizer(str(vocab), str(merges))
    loaded = BPETokenizer.from_files(vocab, merges)
    for text in [TEXT, *HARD]:
        assert loaded.encode(text) == theirs.encode(text).ids, text


def test_wrong_input_is_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match="at least 257"):
        BPETokenizer.train(TEXT, 256, special_tokens=["<x>"])
    with pytest.raises(RunError, match="lacks"):
        BPETokenizer({"a": 0}, [])
    (tmp_path / "v.json").write_text("[1")
    with pytest.raises(MinilmError):
        BPETokenizer.from_files(tmp_path / "v.json", tmp_path / "missing.txt")
    with pytest.raises(MinilmError, match="below 256"):
        BPETokenizer.train("ab", 256).decode([999])
