"""A decoder on a counting prior: the sum by hand, generation, the run folder, resume, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from minilm import train
from minilm.config import ModelConfig, TrainConfig
from minilm.errors import ConfigError, RunError
from minilm.evaluate import main as evaluate
from minilm.model import GPT
from minilm.prior import PRIOR, PriorGPT, load_prior, numbered
from minilm.text.corpora import load_corpus
from minilm.text.prior import BLOCKS, CountingPrior, block_numbers, count
from minilm.training.evaluation import exact_loss
from minilm.training.run import load_run
from minilm.training.session import resume_training, run_training

SHAPE = ModelConfig(
    vocab_size=5, n_layer=2, n_head=2, n_embd=16, block_size=12, bigrams=True, value_skip=True
)
TRAIN = TrainConfig(
    steps=12,
    batch_size=4,
    evaluations=3,
    patience=None,
    device="cpu",
    threads=1,
    prior="ngram",
    eval_chars=256,
)


@pytest.fixture
def tokens():
    draw, state, text = np.random.default_rng(0), 0, []
    for _ in range(600):
        state = int((state * 2 + draw.choice([0, 1, 3], p=[0.6, 0.3, 0.1])) % 5)
        text.append(state)
    return np.array(text, dtype=np.uint8)


@pytest.fixture
def model(tokens):
    """With every part at work: nothing is zero as at the start of a training."""
    torch.manual_seed(0)
    result = PriorGPT(GPT(SHAPE), CountingPrior(count(tokens, 5, 4, BLOCKS), 5))
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return result.eval()


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(
        "".join(f"the cat {n % 7} sat on the {n % 5} mat, and the dog {n % 3} ran.\n" for n in range(90))
    )
    return load_corpus(str(path))


def shape_for(corpus):
    return ModelConfig(vocab_size=corpus.tokenizer.vocab_size, n_layer=1, n_head=2, n_embd=16, block_size=16)


def test_before_training_it_is_the_counting_model(tokens):
    prior = CountingPrior(count(tokens, 5, 4), 5)
    torch.manual_seed(0)
    model = PriorGPT(GPT(SHAPE), prior).eval()
    with torch.no_grad():
        model.decoder.wte.weight.zero_()  # the tied head says nothing then
    ids = torch.from_numpy(tokens[:12].astype(np.int64))[None]
    torch.testing.assert_close(model(ids).logits, prior(ids))


def test_training_leaves_each_targets_block_out(model, tokens):
    """Numbered ids: the formula, step by step, with the counts of the other blocks; plain ids: with all counts."""
    marked, plain = (torch.from_numpy(a.astype(np.int64)) for a in (numbered(tokens, 5), tokens))
    blocks = torch.from_numpy(block_numbers(600, BLOCKS))
    border = int((blocks == 5).nonzero()[0]) - 6  # a window across two blocks
    for start, text, own in ((0, marked, 1), (border, marked, 1), (border, plain, 0)):
        ids, targets, left_out = (row[None, start : start + 12] for row in (text, text[1:], own * blocks[1:]))
        loss, logits = model.train()(ids, targets=targets)
        ids = plain[None, start : start + 12]
        counted = model.prior(ids, left_out)
        beside = (1 + counted / np.log(5)) @ model.expected.weight.T
        x = model.decoder.blocks_output(ids, 0, None, beside)
        trust = model.trust_bias + (x * model.trust).sum(-1) / 16**0.5
        expected = x @ model.decoder.wte.weight.T + trust[..., None] * counted
        torch.testing.assert_close(logits, expected)
        torch.testing.assert_close(loss, F.cross_entropy(expected[0], plain[start + 1 : start + 13]))


def test_a_reader_that_forgets_reads_as_if_it_had_never_read(model):
    """Counts look at the tokens before, so a cut must reach those too."""
    ids = torch.randint(5, (2, 6), generator=torch.Generator().manual_seed(2))
    reader = model.reader(2)
    reader.read(ids[:, :3])
    reader.read(4 - ids[:, 3:5])
    reader.forget(2)
    expected = model(ids).logits[:, 3:]
    torch.testing.assert_close(reader.read(ids[:, 3:], wanted=3), expected, atol=1e-5, rtol=1e-4)


def test_kept_text_and_cached_text_are_the_same(model):
    ids = torch.randint(5, (3, 4), generator=torch.Generator().manual_seed(0))
    for use_cache in (True, False):
        generator = torch.Generator().manual_seed(1)
        found = model.generate(ids, 20, generator=generator, use_cache=use_cache)
        if use_cache:
            first = found
    assert torch.equal(first, found) and found.shape == (3, 24)
    one = [model.generate(row[None], 6, temperature=0)[0] for row in ids]
    assert torch.equal(torch.stack(one), model.generate(ids, 6, temperature=0))


def test_labels_and_ignored_targets(model):
    model.train()
    ids = torch.randint(5, (2, 8))
    loss = model(ids, labels=ids).loss
    torch.testing.assert_close(
        loss, F.cross_entropy(model(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    )
    half = ids.clone()
    half[:, :4] = -100
    assert torch.isfinite(model(ids, targets=half).loss)


def test_a_folder_holds_all_that_predicts(model, tokens, tmp_path):
    model.save_pretrained(tmp_path / "m")
    again = PriorGPT.from_pretrained(tmp_path / "m")
    ids = torch.from_numpy(tokens[:12].astype(np.int64))[None]
    assert torch.equal(again(ids).logits, model(ids).logits)
    with pytest.raises(RunError, match="half of it"):
        GPT.from_pretrained(tmp_path / "m")
    GPT(SHAPE).save_pretrained(tmp_path / "pure")
    with pytest.raises(RunError, match="no model with a counting prior"):
        PriorGPT.from_pretrained(tmp_path / "pure")
    with pytest.raises(RunError, match="not the counting prior of this model"):
        load_prior(tmp_path / "m" / PRIOR, vocab_size=6)


def test_a_run_predicts_without_its_text(text, tmp_path, capsys):
    run = train.train(text, shape_for(text), TRAIN, tmp_path / "run")
    loaded = load_run(tmp_path / "run")
    before = int(text.train[-1])
    assert exact_loss(loaded.model, text.val, before=before) == exact_loss(run.model, text.val, before=before)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["prior"]["kind"] == "ngram"
    evaluate([str(tmp_path / "run")])
    printed = capsys.readouterr().out
    assert "model with counting prior " in printed and "counting (Kneser-Ney" in printed
    page = (tmp_path / "run" / "report.html").read_text()
    assert "counting prior" in page


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resuming_changes_nothing(text, tmp_path, precision):
    config = TRAIN.replace(precision=precision)
    whole = run_training(text, shape_for(text), config, tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(record):
        if record["step"] == 8:
            raise Stop

    with pytest.raises(Stop):
        run_training(text, shape_for(text), config, tmp_path / "cut", on_record=stop)
    again = resume_training(tmp_path / "cut", corpus=text)
    for (name, one), two in zip(
        whole.model.state_dict().items(), again.model.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two), name
    assert again.result["val_loss"] == whole.result["val_loss"]


def test_what_is_refused(text, tmp_path):
    run = run_training(text, shape_for(text), TRAIN, tmp_path / "run")
    with pytest.raises(ConfigError, match="cannot be trained further"):
        run_training(text, run.model, TRAIN)
    with pytest.raises(ConfigError, match="prior must be one of none, ngram, got 'bigram'"):
        TrainConfig(prior="bigram")
    (tmp_path / "run" / PRIOR).unlink()
    with pytest.raises(RunError, match=PRIOR):
        load_run(tmp_path / "run")
