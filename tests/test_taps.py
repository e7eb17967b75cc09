"""Taps: every activation recomputed by hand, replacements that take effect, and nothing left behind."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from minilm.config import ModelConfig
from minilm.errors import ConfigError
from minilm.model import GPT, KVCache, rotate
from minilm.taps import names, record, run_with_cache, tapped
from minilm.training.evaluate import exact_loss

SHAPE = {"n_layer": 3, "n_head": 2, "n_embd": 16, "block_size": 12}
MODELS = {
    "modern": ModelConfig.modern(11, **SHAPE),
    "gpt2": ModelConfig.gpt2(11, **SHAPE),
    "manual": ModelConfig.modern(11, attention="manual", **SHAPE),
    "fused": ModelConfig.modern(11, attention="fused", **SHAPE),
    "pairs": ModelConfig.modern(11, bigrams=True, **SHAPE),
}
IDS = torch.tensor([[1, 5, 3, 3, 0, 10, 2], [2, 2, 9, 4, 7, 1, 6]])


def built(kind: str) -> GPT:
    """A model in which nothing is zero or one by accident."""
    torch.manual_seed(0)
    model = GPT(MODELS[kind]).eval()
    for parameter in model.parameters():
        parameter.data = 0.3 * torch.randn_like(parameter)
    return model


def by_hand(model: GPT, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every activation, from the weights alone, for one text after the other and one head after the other."""
    config, found = model.config, {}
    T, D = ids.size(1), config.head_size
    x = model.wte.weight[ids]
    found["hook_embed"] = x
    if model.wpe is not None:
        found["hook_pos_embed"] = model.wpe.weight[:T].expand(len(ids), T, -1)
        x = x + found["hook_pos_embed"]
    if model.bigrams is not None:
        pairs = model.bigrams.table.weight[ids[:, :-1] * config.vocab_size + ids[:, 1:]]
        x = x + torch.cat((torch.zeros_like(x[:, :1]), pairs), dim=1)
    for i, block in enumerate(model.blocks):
        here = f"blocks.{i}."
        found[here + "hook_resid_pre"] = x
        found[here + "ln1.hook_scale"] = scale(config, x)
        attention, outputs, inner = block.attention, [], {}
        qkv = attention.qkv(block.norm_1(x))
        for h in range(config.n_head):
            q, k, v = (qkv[..., n * config.n_embd + h * D :][..., :D] for n in range(3))  # (B, T, D)
            q, k = attention.q_norm(q), attention.k_norm(k)
            inner.setdefault("hook_q", []).append(q)
            inner.setdefault("hook_k", []).append(k)
            if model.wpe is None:
                q, k = (rotate(y, model.cos[:T], model.sin[:T]) for y in (q, k))
            inner.setdefault("hook_rot_q", []).append(q)
            inner.setdefault("hook_rot_k", []).append(k)
            inner.setdefault("hook_v", []).append(v)
            scores = torch.einsum("btd,bsd->bts", q, k) / D**0.5
            scores[:, torch.ones(T, T).triu(1) > 0] = -torch.inf
            inner.setdefault("hook_attn_scores", []).append(scores)
            inner.setdefault("hook_pattern", []).append(scores.softmax(-1))
            outputs.append(scores.softmax(-1) @ v)
        inner["hook_z"] = outputs
        for name, heads in inner.items():
            found[f"{here}attn.{name}"] = torch.stack(heads, 1 if name in SQUARE else 2)
        out = attention.proj(torch.cat(outputs, -1))
        found[here + "hook_attn_out"] = out
        x = x + out
        found[here + "hook_resid_mid"] = x
        found[here + "ln2.hook_scale"] = scale(config, x)
        if config.mlp == "swiglu":
            pre, linear = block.mlp.gate_up(block.norm_2(x)).chunk(2, -1)
            found |= {here + "mlp.hook_pre": pre, here + "mlp.hook_pre_linear": linear}
            post = pre / (1 + (-pre).exp()) * linear
        else:
            found[here + "mlp.hook_pre"] = pre = block.mlp.up(block.norm_2(x))
            post = pre / 2 * (1 + torch.tanh((2 / math.pi) ** 0.5 * (pre + 0.044715 * pre**3)))
        found[here + "mlp.hook_post"] = post
        found[here + "hook_mlp_out"] = block.mlp.down(post)
        x = x + found[here + "hook_mlp_out"]
        found[here + "hook_resid_post"] = x
    found["ln_final.hook_scale"] = scale(config, x)
    found["ln_final.hook_normalized"] = model.norm_f(x)
    return found


def scale(config: ModelConfig, x: torch.Tensor) -> torch.Tensor:
    """The standard deviation by which LayerNorm divides, or the root of the mean square."""
    spread = (
        x.var(-1, correction=0, keepdim=True)
        if config.norm == "layernorm"
        else (x * x).mean(-1, keepdim=True)
    )
    return (spread + config.norm_eps) ** 0.5


SQUARE = {"hook_attn_scores", "hook_pattern"}


@pytest.mark.parametrize("kind", MODELS)
def test_everything_recorded_equals_the_computation_by_hand(kind):
    model = built(kind)
    seen, expected = record(model, IDS), by_hand(model, IDS)
    assert list(seen) == names(model) and set(seen) == set(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(
            seen[name], tensor, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )
    logits = F.linear(expected["ln_final.hook_normalized"], model.wte.weight)
    torch.testing.assert_close(model(IDS).logits, logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", MODELS)
def test_looking_changes_nothing_and_leaves_nothing(kind):
    model = built(kind).train()
    before = model(IDS).logits
    with tapped(model, {"*": lambda x: None}):
        during = model(IDS).logits
    record(model, IDS)
    assert model.training and torch.equal(before, model(IDS).logits)
    torch.testing.assert_close(during, before, atol=1e-5, rtol=1e-5)
    if kind == "manual":  # the other backends compute the same in another order
        assert torch.equal(during, before)
    assert untouched(model)


def untouched(model: GPT) -> bool:
    """No hook on any module, and the layers call their own backends."""
    clean = all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    return clean and all(block.attention.attend is None for block in model.blocks)


def test_nothing_is_left_behind_after_an_error():
    model = built("modern")

    def fail(x):
        raise RuntimeError("from inside")

    with pytest.raises(RuntimeError, match="inside"), tapped(model, {"blocks.*.attn.hook_pattern": fail}):
        model(IDS)
    with pytest.raises(ConfigError), tapped(model, {"hook_embed": fail, "hook_embde": fail}):
        pass
    assert untouched(model)


READ_ONLY = ("resid_mid", "scale", "pos_embed")
REPLACEABLE = [
    n for n in names(built("modern")) if "scores" not in n and not any(part in n for part in READ_ONLY)
]


@pytest.mark.parametrize("name", REPLACEABLE)
def test_a_replacement_takes_effect(name):
    """What is put in is what flows on: the activation squared changes the result, itself does not. (Twice the
    activation would be no test: the norms do not see it.)"""
    model = built("manual")
    before = model(IDS).logits
    with tapped(model, {name: lambda x: x.clone()}):
        assert torch.equal(model(IDS).logits, before)
    with tapped(model, {name: lambda x: x * x}):
        assert not torch.allclose(model(IDS).logits, before, atol=1e-3)


def test_replaced_scores_are_what_softmax_sees():
    model = built("modern")
    with tapped(model, {"blocks.0.attn.hook_attn_scores": lambda x: x.masked_fill(x.isfinite(), 0.0)}):
        pattern = record(model, IDS, "blocks.0.attn.hook_pattern")["blocks.0.attn.hook_pattern"]
    torch.testing.assert_close(pattern[0, 1, 3], torch.tensor([0.25] * 4 + [0.0] * 3))


def test_two_taps_in_one_place_follow_each_other():
    model, seen = built("modern"), []
    name = "blocks.1.attn.hook_pattern"
    with tapped(model, {name: torch.zeros_like}), tapped(model, {name: lambda x: seen.append(x)}):
        model(IDS)
    assert seen[0].abs().max() == 0 and untouched(model)


def test_generation_and_evaluation_pass_by_the_taps():
    """Both run the very modules that are tapped, however deep the taps are nested."""
    model, seen = built("pairs"), []
    before = model.generate(IDS[:1], 4, temperature=0)
    tokens = IDS[0].numpy()
    with tapped(model, {"hook_embed": lambda x: seen.append(x)}), torch.no_grad():
        with tapped(model, {"ln_final.hook_normalized": torch.zeros_like}):  # 11 tokens, all alike
            assert model.generate(IDS[:1], 4, temperature=0)[0, -4:].tolist() == [0] * 4
            assert exact_loss(model, tokens) == pytest.approx(math.log(11), abs=1e-5)
        count = len(seen)
        assert torch.equal(model.generate(IDS[:1], 4, temperature=0), before) and len(seen) > count
    assert before[0, -4:].tolist() != [0] * 4 and untouched(model)


@pytest.mark.parametrize("name", ["hook_pos_embed", "blocks.1.ln1.hook_scale", "ln_final.hook_scale"])
def test_what_is_only_inside_a_function_can_be_read_alone(name):
    model = built("gpt2")
    with pytest.raises(ConfigError, match="not replaced"), tapped(model, {name: lambda x: 0 * x}):
        model(IDS)
    assert untouched(model)


def test_positions_are_those_of_the_cache():
    model, seen = built("gpt2"), []
    cache = KVCache(model.config, batch_size=2)
    with torch.no_grad(), tapped(model, {"hook_pos_embed": lambda x: seen.append(x)}):
        model(IDS[:, :4], cache=cache)
        model(ids=IDS[:, 4:], cache=cache)
    torch.testing.assert_close(torch.cat(seen, 1), model.wpe.weight[:7].expand(2, 7, -1))


@pytest.mark.parametrize("kind", ["modern", "gpt2"])
def test_run_with_cache_gives_both(kind):
    model = built(kind)
    logits, cache = run_with_cache(model, IDS)
    assert torch.equal(logits, model(IDS).logits) or torch.allclose(logits, model(IDS).logits, atol=1e-5)
    assert list(cache) == names(model)
    few = model.run_with_cache(IDS, "blocks.*.mlp.hook_post")[1]
    assert list(few) == [f"blocks.{i}.mlp.hook_post" for i in range(3)] and untouched(model)


def test_the_stream_in_the_middle_can_only_be_read():
    model = built("modern")
    with (
        pytest.raises(ConfigError, match="replace blocks.0.hook_attn_out"),
        tapped(model, {"blocks.0.hook_resid_mid": lambda x: 0 * x}),
    ):
        model(IDS)


def test_attention_of_ones_own_has_no_formula_to_look_into():
    model = built("modern")
    model.blocks[1].attention.attend = lambda q, k, v, is_causal: v
    with pytest.raises(ConfigError, match="hook_pattern is inside a module of minilm's, .* your own"):
        record(model, IDS, "blocks.1.attn.hook_pattern")
    assert list(record(model, IDS, "blocks.*.attn.hook_pattern")) == [
        f"blocks.{i}.attn.hook_pattern" for i in (0, 2)
    ]
    model.blocks[1].attention = torch.nn.Identity()
    with pytest.raises(ConfigError, match="one of your own there"):
        record(model, IDS, "blocks.1.attn.hook_pattern")


def test_unknown_names_are_one_sentence():
    with pytest.raises(ConfigError, match="did you mean 'blocks.0.attn.hook_pattern'"):
        record(built("modern"), IDS, "blocks.0.attn.hook_patern")
    with pytest.raises(ConfigError, match="of 3 blocks"):
        record(built("modern"), IDS, "blocks.3.hook_mlp_out")


def test_gradients_pass_through_taps():
    model, kept = built("modern"), []
    with tapped(model, {"blocks.0.attn.hook_pattern": lambda x: kept.append(x)}):
        loss = model(IDS, labels=IDS).loss
    (gradient,) = torch.autograd.grad(loss, kept)
    assert gradient.shape == (2, 2, 7, 7) and gradient.abs().max() > 0


def test_taps_see_the_cache_too():
    """Generation asks one query at a time; its row is the last row of the whole pattern."""
    model, rows = built("pairs"), []
    name = "blocks.1.attn.hook_pattern"
    whole = record(model, IDS, name)[name]
    cache = KVCache(model.config, batch_size=2)
    with torch.no_grad(), tapped(model, {name: lambda x: rows.append(x)}):
        model(IDS[:, :-1], cache=cache)
        model(IDS[:, -1:], cache=cache)
    torch.testing.assert_close(rows[1], whole[:, :, -1:], atol=1e-5, rtol=1e-4)


def test_dropout_is_off_while_recording():
    model = GPT(ModelConfig.modern(11, dropout=0.5, **SHAPE)).train()
    one, two = (record(model, IDS, "blocks.*.hook_resid_post") for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one) and model.training
