"""Looking inside, each number against an independent computation."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from minilm.config import ModelConfig
from minilm.errors import ConfigError, UnknownCharacterError
from minilm.interpret import ablation, heads, logit_lens, reading
from minilm.model import GPT
from minilm.taps import tapped
from minilm.text.characters import CharTokenizer
from tests.test_taps import IDS, MODELS, built, by_hand

KINDS = list(MODELS)


@pytest.mark.parametrize("kind", KINDS)
def test_surprisal_has_the_loss_as_its_mean(kind):
    model = built(kind)
    values = reading.surprisal(model(IDS).logits.log_softmax(-1), IDS)
    assert values.shape == (2, 6)
    logits = model(IDS).logits.double()
    one_by_one = [-math.log(logits[1, t].softmax(-1)[IDS[1, t + 1]].item()) for t in range(6)]
    assert values[1].tolist() == pytest.approx(one_by_one, abs=1e-5)
    assert values.mean().item() == pytest.approx(model(IDS, labels=IDS).loss.item(), abs=1e-5)


def test_guesses_are_the_likeliest_in_order():
    model = built("modern")
    log_probs = model(IDS).logits[0].log_softmax(-1)
    guesses = reading.best_guesses(log_probs, k=20)  # more than there are tokens
    for t, row in enumerate(guesses):
        order = sorted(range(11), key=lambda token, t=t: -log_probs[t, token].item())
        assert [guess.token for guess in row] == order
        assert sum(guess.probability for guess in row) == pytest.approx(1, abs=1e-5)


def test_a_text_must_fit():
    model, tokenizer = built("modern"), CharTokenizer.from_text("abcdefghijk")
    assert reading.encoded(model, tokenizer, "cab").tolist() == [tokenizer.encode("cab")]
    for text, part in (("", "got 0"), ("a", "a longer one"), ("a" * 13, "got 13; give a shorter")):
        with pytest.raises(ConfigError, match=part):
            reading.encoded(model, tokenizer, text)
    with pytest.raises(UnknownCharacterError):
        reading.encoded(model, tokenizer, "xyz")


@pytest.mark.parametrize("kind", KINDS)
def test_attention_maps_are_those_of_the_computation_by_hand(kind):
    model = built(kind)
    expected = by_hand(model, IDS)
    maps = heads.attention_maps(model, IDS)
    for layer in range(3):
        torch.testing.assert_close(
            maps[layer], expected[f"blocks.{layer}.attn.hook_pattern"], atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("kind", KINDS)
def test_the_lens_reads_every_stage_as_the_end_would(kind):
    model = built(kind)
    lens, seen = logit_lens.logit_lens(model, IDS), by_hand(model, IDS)
    assert torch.equal(lens[-1], model(IDS).logits)
    stages = ["blocks.0.hook_resid_pre", *(f"blocks.{layer}.hook_resid_post" for layer in range(3))]
    for logits, name in zip(lens, stages, strict=True):
        by_weights = F.linear(model.norm_f(seen[name]), model.wte.weight)
        torch.testing.assert_close(logits, by_weights, atol=1e-4, rtol=1e-3)
    assert len(logit_lens.stage_names(model)) == len(lens)


def test_the_lens_uses_an_untied_head_too():
    torch.manual_seed(0)
    model = GPT(MODELS["modern"].replace(tie_embeddings=False, init="gpt2")).eval()
    by_weights = F.linear(model.norm_f(model.wte(IDS)), model.lm_head.weight)
    torch.testing.assert_close(logit_lens.logit_lens(model, IDS)[0], by_weights)


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_switched_off_is_a_slice_of_proj_set_to_zero(kind):
    model, D = built(kind), 8
    with ablation.ablated(model, heads=[(1, 0), (2, 1)]), torch.no_grad():
        off = model(IDS).logits
    whole = model(IDS).logits
    with torch.no_grad():
        model.blocks[1].attention.proj.weight[:, :D] = 0
        model.blocks[2].attention.proj.weight[:, D:] = 0
    torch.testing.assert_close(off, model(IDS).logits, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(off, whole, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_an_mlp_switched_off_is_a_down_projection_of_zeros(kind):
    model = built(kind)
    with ablation.ablated(model, mlps=[1]), torch.no_grad():
        off = model(IDS).logits
    with torch.no_grad():
        model.blocks[1].mlp.down.weight.zero_()
        if model.blocks[1].mlp.down.bias is not None:
            model.blocks[1].mlp.down.bias.zero_()
    torch.testing.assert_close(off, model(IDS).logits, atol=1e-5, rtol=1e-4)


def test_effects_are_differences_of_losses():
    model = built("modern")
    effects = ablation.ablation_effects(model, IDS)
    assert effects.loss == pytest.approx(model(IDS, labels=IDS).loss.item(), abs=1e-6)
    assert effects.heads.shape == (3, 2) and effects.mlps.shape == (3,)
    with torch.no_grad():
        model.blocks[2].attention.proj.weight[:, 8:] = 0
    without = model(IDS, labels=IDS).loss.item()
    assert effects.heads[2, 1].item() == pytest.approx(without - effects.loss, abs=1e-5)


def test_an_untrained_model_misses_nothing():
    """With the init `zero` no part adds anything yet, so no part can be missed."""
    effects = ablation.ablation_effects(GPT(MODELS["modern"]), IDS)
    assert effects.heads.abs().max() == 0 and effects.mlps.abs().max() == 0


def test_parts_that_are_not_there_are_one_sentence():
    model = built("modern")
    for parts, part in (
        ({"heads": [(3, 0)]}, "layer must be from 0 to 2, got 3"),
        ({"heads": [(0, 2)]}, "head must be from 0 to 1, got 2"),
        ({"mlps": [-1]}, "got -1"),
    ):
        with pytest.raises(ConfigError, match=part), ablation.ablated(model, **parts):
            pass


def test_ablation_lasts_while_it_writes_and_no_longer():
    model = built("modern")
    prompt = IDS[:1, :3]
    before = model.generate(prompt, 6, temperature=0)
    with ablation.ablated(model, heads=[(layer, head) for layer in range(3) for head in range(2)]):
        without = model.generate(prompt, 6, temperature=0)
        uncached = model.generate(prompt, 6, temperature=0, use_cache=False)
    assert torch.equal(without, uncached) and not torch.equal(without, before)
    assert torch.equal(before, model.generate(prompt, 6, temperature=0))


def loop_induction(pattern: torch.Tensor) -> float:
    """On tokens said twice: the mean attention from the second time to what followed the first time."""
    n = len(pattern) // 2
    return sum(pattern[t, t - n + 1].item() for t in range(n, 2 * n)) / n


def test_habits_are_what_the_loop_counts():
    torch.manual_seed(0)
    pattern = torch.rand(2, 3, 10, 10).tril().softmax(-1)
    one = pattern[1, 2]
    assert heads.induction_score(pattern)[1, 2].item() == pytest.approx(loop_induction(one))
    for lag in (1, 3):
        looped = sum(one[t, t - lag].item() for t in range(lag, 10)) / (10 - lag)
        assert heads.lag_score(pattern, lag)[1, 2].item() == pytest.approx(looped)
    looped = sum(one[t, 0].item() for t in range(1, 10)) / 9
    assert heads.first_token_score(pattern)[1, 2].item() == pytest.approx(looped)


def test_an_artificial_induction_head_scores_one():
    """One head is made to look where an induction head looks, by content: after the same token, earlier."""
    model = GPT(ModelConfig.modern(1000, n_layer=2, n_head=2, n_embd=8, block_size=40)).eval()
    ids: list[torch.Tensor] = []

    def induct(pattern: torch.Tensor) -> torch.Tensor:
        made = pattern.clone()
        for b, text in enumerate(ids[0].tolist()):
            for t, token in enumerate(text):
                earlier = [s + 1 for s in range(t) if text[s] == token]
                if earlier:
                    made[b, 1, t] = 0
                    made[b, 1, t, earlier[-1]] = 1
        return made

    with tapped(model, {"blocks.1.attn.hook_pattern": induct}):
        ids.append(heads.repeated_tokens(1000, 20, torch.Generator().manual_seed(3), 4))
        scores = heads.induction_scores(model, torch.Generator().manual_seed(3), 20, batch_size=4)
    assert scores.shape == (2, 2) and scores[1, 1] == 1
    assert scores[0].max() < 0.2 and scores[1, 0] < 0.2


def test_repeated_tokens_repeat_and_follow_their_generator():
    one = heads.repeated_tokens(50, 9, torch.Generator().manual_seed(0), 3)
    assert one.shape == (3, 18) and torch.equal(one[:, :9], one[:, 9:])
    assert all(len(set(row)) == 9 for row in one[:, :9].tolist())
    assert torch.equal(one, heads.repeated_tokens(50, 9, torch.Generator().manual_seed(0), 3))
    with pytest.raises(ConfigError, match="from 2 to 6, .* got 7"):
        heads.induction_scores(built("modern"), torch.Generator().manual_seed(0), length=7)
