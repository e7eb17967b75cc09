"""A training that begins from another model: its numbers on the old text, rows for new characters, what is refused."""

from __future__ import annotations

import json

import pytest
import torch

from minilm import GPT, BPETokenizer, CharTokenizer, ModelConfig, load_run, train
from minilm.interop.folders import tokenizer_json, write_folder
from minilm.training.run import write_imported
from minilm.training.start import start_from
from tests.test_train_verb import verb

OLD = "".join(f"Owl: the moon is {k} miles away.\n" for k in range(60))
NEW = "".join(f"Eule: der Mond hängt {k} Äste hoch, süß & groß!\n" for k in range(60))
SIZES = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 16}
TOKENIZERS = {
    "characters": CharTokenizer.from_text(OLD),
    "pieces of characters": BPETokenizer.train(OLD, 40, base=CharTokenizer.from_text(OLD)),
    "pieces of bytes": BPETokenizer.train(OLD, 270),
}
SHAPES = {
    "fast": {"bigrams": True},
    "gpt2": {"position": "learned", "norm": "layernorm", "bias": True, "qk_norm": False},
}
SHAPES["untied"] = {"tie_embeddings": False}


@pytest.fixture
def text(tmp_path):
    (tmp_path / "new.txt").write_text(NEW, encoding="utf-8")
    return str(tmp_path / "new.txt")


def source(folder, tokenizer, **shape):
    torch.manual_seed(0)
    model = GPT(ModelConfig(tokenizer.vocab_size, **{**SIZES, **shape})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model, write_imported(model, tokenizer, "moon", folder)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tokens", TOKENIZERS)
def test_it_begins_where_the_other_ended(tmp_path, text, tokens, shape):
    """On the old text the logits of the old tokens are the old model's, wherever their rows have gone."""
    tokenizer = TOKENIZERS[tokens]
    old, folder = source(tmp_path / "old", tokenizer, **SHAPES[shape])
    start = start_from(folder, text)
    new = start.corpus.tokenizer
    assert set(start.added) == (set() if tokens == "pieces of bytes" else set(NEW) - set(OLD))
    assert start.corpus.text == NEW and new.vocab_size == tokenizer.vocab_size + len(start.added)
    before, after = tokenizer.encode(OLD)[:16], new.encode(OLD)[:16]
    assert new.decode(after) == tokenizer.decode(before)
    kept = [after[before.index(i)] for i in set(before)]
    expected = old(torch.tensor([before])).logits[..., list(set(before))]
    torch.testing.assert_close(
        start.model(torch.tensor([after])).logits[..., kept], expected, atol=1e-5, rtol=0
    )


def test_more_pairs_than_rows(tmp_path, text):
    """An alphabet so large that the new table has rows for some pairs only: the old pairs keep theirs."""
    letters = OLD + "".join(map(chr, range(0x4E00, 0x4E00 + 90)))
    old, folder = source(tmp_path / "old", CharTokenizer.from_text(letters), bigrams=True)
    assert old.bigrams.keys is None
    start = start_from(folder, text)
    assert len(start.model.bigrams.keys) == 2**14
    before, after = (t.encode(OLD)[:16] for t in (CharTokenizer.from_text(letters), start.corpus.tokenizer))
    kept = [after[before.index(i)] for i in set(before)]
    expected = old(torch.tensor([before])).logits[..., list(set(before))]
    torch.testing.assert_close(
        start.model(torch.tensor([after])).logits[..., kept], expected, atol=1e-5, rtol=0
    )
    keys = start.model.bigrams.keys
    assert torch.equal(keys, keys.sort()[0])


def test_from_the_shell(tmp_path, text, capsys):
    """From a run and then from a Hugging Face folder; memory is told before the start, new characters too."""
    tokenizer = TOKENIZERS["pieces of bytes"]
    model, _ = source(tmp_path / "old", tokenizer)
    weights = model.state_dict()
    write_folder(tmp_path / "theirs", model.config, weights, tokenizer, name="moon", about="", prompt="Owl")
    assert json.loads((tmp_path / "theirs" / "tokenizer.json").read_text()) == tokenizer_json(tokenizer)
    flags = ["--steps", "30", "--evaluations", "2", "--threads", "1", "--batch", "4"]
    for init in ("old", "theirs"):
        out = tmp_path / f"from-{init}"
        assert verb(train, text, "--init", str(tmp_path / init), *flags, "--out", str(out)) == 0
        shown = capsys.readouterr().out
        assert shown.index("memory ") < shown.index("trained ") and "MiB" in shown
        run = load_run(out)
        assert run.tokenizer == tokenizer and run.config["train"]["learning_rate"] == 1e-4
        assert run.result["steps"] == 30
    assert verb(train, "--resume", str(tmp_path / "from-old"), "--steps", "35") == 0
    assert load_run(tmp_path / "from-old").result["steps"] == 35


def test_it_learns_the_new_text(tmp_path, text):
    """Better than the untrained at the end, and the characters that were added are written."""
    _, folder = source(tmp_path / "old", TOKENIZERS["characters"])
    flags = [
        "--steps",
        "60",
        "--evaluations",
        "2",
        "--threads",
        "1",
        "--lr",
        "0.01",
        "--out",
        str(tmp_path / "new"),
    ]
    assert verb(train, text, "--init", str(folder), *flags) == 0
    run = load_run(tmp_path / "new")
    assert run.result["val_loss"] < 2.5 < torch.log(torch.tensor(float(run.tokenizer.vocab_size)))
    assert "ü" in run.tokenizer.characters


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--layers", "3"], "n_layer must be the model's own"),
        (["--preset", "gpt2"], "--preset"),
        (["--tokens", "bpe:300"], "--tokens"),
        (["--context", "400"], "positions that the model has learnt"),
    ],
)
def test_what_is_the_models_own(tmp_path, text, flags, words):
    source(tmp_path / "old", TOKENIZERS["characters"], **SHAPES["gpt2"])
    with pytest.raises(ValueError, match=words):
        train.main([text, "--init", str(tmp_path / "old"), *flags, "--out", str(tmp_path / "new")])


def test_a_shorter_context_and_a_longer_one(tmp_path, text):
    source(tmp_path / "gpt2", TOKENIZERS["characters"], **SHAPES["gpt2"])
    assert start_from(tmp_path / "gpt2", text, {"block_size": 8}).model.config.block_size == 8
    source(tmp_path / "rope", TOKENIZERS["characters"])
    assert start_from(tmp_path / "rope", text, {"block_size": 64}).model.config.block_size == 64
