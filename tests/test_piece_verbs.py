"""Every verb on runs whose tokens are pieces: numbers per character, texts of so many characters, true words."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
import torch

from minilm import chat, evaluate, lens, report, sample, train
from minilm.config import ModelConfig
from minilm.errors import note
from minilm.model import GPT
from minilm.text.corpora import load_corpus
from minilm.training.evaluate import exact_loss
from minilm.training.run import load_run
from tests.test_train_verb import FLAGS, verb

TEXTS = {
    "letters": "".join(f"Fox: I have {k} plums.\nOwl: And {k * 5 % 7} pears, dear fox.\n" for k in range(90)),
    "bytes": "".join(f"狐狸有{chr(0x4E00 + k * 7)}个李子。\n" for k in range(300)),
}
TOKENS = {"letters": "bpe:60", "bytes": "bpe:270"}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a run whose pieces are made of characters, and one whose pieces are made of bytes."""
    folder = tmp_path_factory.mktemp("pieces")
    for name, text in TEXTS.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
        arguments = [str(folder / f"{name}.txt"), "--tokens", TOKENS[name], *FLAGS]
        assert verb(train, *arguments, "--out", str(folder / name)) == 0
    return folder


@pytest.fixture(params=TEXTS)
def run(request, desk):
    return desk / request.param


def told(capsys, *arguments):
    """What a verb prints as JSON."""
    capsys.readouterr()
    assert verb(*arguments) == 0
    return json.loads(capsys.readouterr().out)


def by_hand(model, corpus, split: str, stride: int) -> float:
    """Nats token by token, each seen as the windows say, by the characters of the split's text."""
    start = {"val": corpus.bounds[0], "test": corpus.bounds[1]}[split]
    ids, T = corpus.tokens[start - 1 :].astype(np.int64), model.config.block_size
    nats, n, done = 0.0, len(getattr(corpus, split)), 0
    for first in range(0, n, stride):
        end = min(first + T, n)
        with torch.no_grad():
            log_probs = model(torch.from_numpy(ids[None, first:end])).logits[0].double().log_softmax(-1)
        nats -= sum(log_probs[k - first, ids[k + 1]].item() for k in range(max(first, done), end))
        done = max(done, end)
    return nats / len(corpus.tokenizer.decode(getattr(corpus, split)))


def test_the_loss_is_per_character(run, capsys):
    loaded, corpus = load_run(run), load_corpus(run.with_suffix(".txt"), TOKENS[run.name])
    assert (corpus.tokenizer.base is None) == (run.name == "bytes")
    for extra, stride in (([], 16), (["--sliding"], 4)):
        rows = {row["name"]: row for row in told(capsys, evaluate, str(run), "--json", *extra)["rows"]}
        for split in ("val", "test"):
            expected = by_hand(loaded.model, corpus, split, stride)
            assert rows["model"][split] == pytest.approx(expected, abs=1e-6)
            if stride == 16:
                assert loaded.result[f"{split}_loss"] == pytest.approx(expected, abs=1e-6)
    assert loaded.result["counting"]["val"] == pytest.approx(
        next(row["val"] for name, row in rows.items() if "Kneser-Ney" in name)
    )


def test_characters_keep_their_numbers(run):
    """Bit for bit what the tokens alone give: mean nats of a token, which is a character."""
    corpus = load_corpus(run.with_suffix(".txt"))
    torch.manual_seed(0)
    model = GPT(ModelConfig(corpus.tokenizer.vocab_size, n_layer=1, n_head=1, n_embd=4, block_size=16))
    before = int(corpus.train[-1])
    for options in ({}, {"stride": 4}, {"chars": 40}):
        assert exact_loss(model, **corpus.scored("val"), **options) == exact_loss(
            model, corpus.val, before=before, **options
        )


def test_evenly_spaced_windows_are_per_character_too(run):
    """`chars`: the nats of just those windows by just their characters."""
    corpus, model = load_corpus(run.with_suffix(".txt"), TOKENS[run.name]), load_run(run).model
    ids, T = corpus.tokens[corpus.bounds[0] - 1 : corpus.bounds[1]].astype(np.int64), 16
    starts = np.arange(0, len(ids) - T, T)
    chosen = starts[np.linspace(0, len(starts) - 1, 2).round().astype(int)]
    nats = characters = 0.0
    for first in chosen:
        with torch.no_grad():
            logits = model(torch.from_numpy(ids[None, first : first + T])).logits[0].double()
        right = torch.from_numpy(ids[first + 1 : first + T + 1, None])
        nats -= logits.log_softmax(-1).gather(1, right).sum().item()
        characters += corpus.tokenizer.lengths[ids[first + 1 : first + T + 1]].sum()
    scored = corpus.scored("val")
    each = scored["lengths"][ids].mean()
    assert exact_loss(model, **scored, chars=int(2.5 * T * each)) == pytest.approx(
        nats / characters, abs=1e-6
    )


def test_chars_are_characters(run, capsys):
    prompt = TEXTS[run.name][:7]
    for extra in (
        [],
        ["--draft", "ngram"],
        ["--temperature", "0"],
        ["--temperature", "0", "--draft", "ngram"],
    ):
        answer = told(capsys, sample, str(run), "--prompt", prompt, "--chars", "41", "--json", *extra)
        assert len(answer["text"]) == 41 and answer["prompt"] == prompt
    assert told(capsys, sample, str(run), "--chars", "41", "--temperature", "0", "--json") == told(
        capsys, sample, str(run), "--chars", "41", "--temperature", "0", "--draft", "ngram", "--json"
    )
    arguments = ["--prompt", prompt, "--prompt", prompt[:2], "--streams", "2", "--chars", "23", "--json"]
    assert [len(text["text"]) for text in told(capsys, sample, str(run), *arguments)["texts"]] == [23] * 4
    assert 150 < len(load_run(run).result["sample"]) <= train.SAMPLE


def test_a_stop_text_may_begin_in_one_piece_and_end_in_another(run, capsys):
    greedy = [str(run), "--chars", "60", "--temperature", "0", "--json"]
    text = told(capsys, sample, *greedy)["text"]
    for start in range(0, 12, 3):
        stop = text[start : start + 3]
        assert told(capsys, sample, *greedy, "--stop", stop)["text"] == text[: text.index(stop)]


def test_chat_answers_with_so_many_characters(desk, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("I have 3 plums.\n狐?"))
    capsys.readouterr()
    assert verb(chat, str(desk / "letters"), "--chars", "9") == 0
    shown = capsys.readouterr()
    assert [0 < len(answer) <= 9 for answer in shown.out.splitlines()] == [True, True]
    assert "has never seen '狐' '?'" in shown.err


def test_an_unknown_character_in_a_prompt_is_replaced_and_told(desk, capsys):
    for name, told in (("letters", "'狐' '!'"), ("bytes", "")):
        note.cache_clear()
        capsys.readouterr()
        assert verb(sample, str(desk / name), "--prompt", "狐!", "--chars", "3") == 0
        shown = capsys.readouterr()
        assert told in shown.err and len(shown.err.splitlines()) == bool(told)


def test_what_is_told_is_true_of_pieces(run, capsys):
    loaded, corpus = load_run(run), load_corpus(run.with_suffix(".txt"), TOKENS[run.name])
    base = "256 bytes" if run.name == "bytes" else f"{len(set(TEXTS['letters']))} characters"
    words = f"{TOKENS[run.name][4:]} byte pairs of {base}"
    assert f"context 16 tokens ({words})" in repr(loaded) and words in corpus.line()
    assert f"{words}, {len(TEXTS[run.name]) / len(corpus.tokens):.1f} characters each" in corpus.line()
    assert verb(report, str(run)) == 0
    page = re.sub("<[^>]*>", " ", (run / "report.html").read_text(encoding="utf-8"))
    assert words in page and "tokens seen" in page
    for untrue in ("different characters", "characters seen", "one character at a time", "next character"):
        assert untrue not in page


def test_the_lens_reads_pieces(run, capsys, tmp_path):
    text = TEXTS[run.name][:8]
    answer = told(capsys, lens, str(run), "--text", text, "--json", "--out", str(tmp_path / "lens.html"))
    assert answer["unit"] == "nats/char" and "\ufffd" not in "".join(answer["tokens"])
    assert sum(answer["surprisal"]) / answer["characters"] == pytest.approx(answer["loss"], abs=1e-5)


def test_a_run_goes_on_with_its_own_pieces(run, capsys, tmp_path):
    before = load_run(run)
    assert verb(train, "--resume", str(run), "--steps", "50") == 0
    after = load_run(run)
    assert after.tokenizer == before.tokenizer and after.result["steps"] == 50
    text = str(run.with_suffix(".txt"))
    assert verb(train, text, *FLAGS, "--resume", str(run)) == 0
    capsys.readouterr()
    assert verb(train, "--resume", str(run), "--tokens", "characters") == 2
    assert "keeps its tokens" in capsys.readouterr().err
