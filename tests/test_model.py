"""The decoder: sizes, losses, causality, cache, backends, folders."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from minilm.config import PRESETS, ModelConfig
from minilm.errors import ConfigError, RunError
from minilm.model import GPT, MLPS, BigramTable, KVCache, RMSNorm
from minilm.training.checkpoint import load_weights
from minilm.training.session import give_rows

SMALL = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 12}
V = 11
SHAPES = {name: preset.model for name, preset in PRESETS.items()}


def small(shape="modern", **changes) -> GPT:
    torch.manual_seed(0)
    model = GPT(ModelConfig.from_dict({"vocab_size": V, **SHAPES[shape], **SMALL, **changes}))
    with torch.no_grad():  # gains of one and residuals near zero would hide mistakes
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture
def ids():
    return torch.randint(V, (3, 9), generator=torch.Generator().manual_seed(1))


def test_the_closed_form_counts_every_parameter():
    choices = itertools.product(
        ("rope", "learned"),
        ("rmsnorm", "layernorm"),
        (True, False),
        ("swiglu", "gelu"),
        (True, False),
        (True, False),
    )
    for position, norm, qk_norm, mlp, bias, tied in choices:
        config = ModelConfig(
            V, **SMALL, position=position, norm=norm, qk_norm=qk_norm, mlp=mlp, bias=bias, tie_embeddings=tied
        )
        for shape in (config, config.replace(bigrams=True), config.replace(head_dim=6)):
            assert GPT(shape).n_parameters == shape.n_parameters, shape


@pytest.mark.parametrize("preset", SHAPES)
def test_labels_are_shifted_and_targets_are_not(preset, ids):
    model = small(preset)
    logits = model(ids).logits
    loss, with_labels = model(ids, labels=ids)[:2]
    assert logits.shape == with_labels.shape == (3, 9, V)
    torch.testing.assert_close(logits, with_labels)
    torch.testing.assert_close(loss, F.cross_entropy(logits[:, :-1].reshape(-1, V), ids[:, 1:].reshape(-1)))
    torch.testing.assert_close(
        model(ids, targets=ids).loss, F.cross_entropy(logits.reshape(-1, V), ids.reshape(-1))
    )


def test_minus_100_is_not_scored(ids):
    model, labels = small(), ids.clone()
    labels[:, 5:] = -100
    torch.testing.assert_close(model(ids, labels=labels).loss, model(ids[:, :5], labels=ids[:, :5]).loss)


@pytest.mark.parametrize("preset", SHAPES)
def test_the_future_has_no_influence(preset, ids):
    model, changed = small(preset), ids.clone()
    changed[:, 6] = (changed[:, 6] + 1) % V
    before, after = model(ids).logits, model(changed).logits
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


@pytest.mark.parametrize("preset", SHAPES)
@pytest.mark.parametrize("cuts", [(9,), (4, 5), (1,) * 9, (3, 1, 5)])
def test_a_cache_changes_nothing(preset, cuts, ids):
    model = small(preset)
    cache = KVCache(model.config, batch_size=3)
    parts = [model(part, cache=cache).logits for part in ids.split(list(cuts), dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), model(ids).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("preset", SHAPES)
def test_backends_agree_in_values_and_gradients(preset, ids):
    answers = []
    for attention in ("manual", "fused"):
        model = small(preset, attention=attention).train()
        model(ids, labels=ids).loss.backward()
        answers.append([model(ids).logits, *(p.grad for p in model.parameters())])
    for one, two in zip(*answers, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


def test_positions_matter(ids):
    """Without a sense of order, swapping two early tokens would leave the last logits alone."""
    for preset in SHAPES:
        model, swapped = small(preset, n_layer=1), ids[:, [1, 0, *range(2, 9)]]
        assert not torch.allclose(model(ids).logits[:, -1], model(swapped).logits[:, -1], atol=1e-4), preset


def test_a_new_model_guesses_evenly(ids):
    torch.manual_seed(0)
    loss = (
        GPT(ModelConfig(65, n_layer=2))
        .eval()(torch.randint(65, (4, 64)), targets=torch.randint(65, (4, 64)))
        .loss
    )
    assert abs(loss.item() - math.log(65)) < 0.15


def test_it_learns_one_batch_by_heart(ids):
    torch.manual_seed(0)
    model = GPT(ModelConfig(V, **SMALL)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(150):
        loss = model(ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


@pytest.mark.parametrize("preset", SHAPES)
def test_a_folder_gives_back_the_same_model(tmp_path, preset, ids):
    model = small(preset)
    model.save_pretrained(tmp_path)
    back = GPT.from_pretrained(tmp_path)
    assert back.config == model.config
    assert torch.equal(back(ids).logits, model(ids).logits)


def test_damaged_folders_are_named(tmp_path):
    small().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-3] + bytes([whole[-3] ^ 64]) + whole[-2:])
    with pytest.raises(RunError, match="checksum"):
        GPT.from_pretrained(tmp_path)
    weights.unlink()
    with pytest.raises(RunError, match=r"model\.safetensors is missing"):
        GPT.from_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(RunError, match="pickle refused"):
        GPT.from_pretrained(tmp_path)


def test_impossible_models_are_refused_before_they_take_memory():
    with pytest.raises(ConfigError, match="must fit into memory"):
        GPT(ModelConfig(50_000, n_layer=1000, n_embd=65_536, n_head=512))


@pytest.mark.parametrize(
    ("shape", "message"), [((1, 13), "1 to 12 tokens"), ((1, 0), "1 to 12 tokens"), ((5,), r"\(B, T\)")]
)
def test_ids_that_do_not_fit(shape, message):
    with pytest.raises(ConfigError, match=message):
        small()(torch.zeros(shape, dtype=torch.int64))


def test_the_start_is_gpt2s():
    """normal(0, 0.02), what adds to the residual stream divided by sqrt(2 n_layer), biases zero."""
    torch.manual_seed(0)
    weights = GPT(ModelConfig.gpt2(500, n_layer=8, n_embd=64, n_head=2)).state_dict()
    for name, scale in {"wte": 1, "blocks.3.attention.qkv": 1, "blocks.3.mlp.up": 1}.items():
        assert abs(weights[f"{name}.weight"].std().item() / 0.02 - scale) < 0.05, name
    for name in ("blocks.3.attention.proj", "blocks.7.mlp.down"):
        assert abs(weights[f"{name}.weight"].std().item() / 0.02 - 1 / 4) < 0.02, name
        assert not weights[f"{name}.bias"].any()


def test_loading_spends_no_random_numbers(tmp_path):
    small().save_pretrained(tmp_path)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    GPT.from_pretrained(tmp_path)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("preset", SHAPES)
def test_half_precision_stays_near(preset, ids):
    """Under autocast, without a warning (pytest makes them errors), and wholly in bfloat16."""
    model = small(preset, dropout=0.1)
    exact = model(ids, labels=ids).loss
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(ids, labels=ids).loss
    assert loss.dtype == torch.float32 and abs(loss - exact) < 0.1
    assert abs(model.bfloat16()(ids, labels=ids).loss - exact) < 0.1


def test_a_full_cache_says_so(ids):
    model = small()
    cache = KVCache(model.config, batch_size=3)
    model(ids, cache=cache)
    assert cache.length == 9
    with pytest.raises(ConfigError, match="9 in the cache"):
        model(ids[:, :4], cache=cache)
    with pytest.raises(ConfigError, match="holds 12 tokens of 3 texts"):
        model(ids[:2, :2], cache=cache)
    cache.ids = cache.ids[:, :0]
    torch.testing.assert_close(model(ids, cache=cache).logits, model(ids).logits)


def test_a_single_label_has_nothing_to_predict_it():
    with pytest.raises(ConfigError, match="at least 2 tokens"):
        small()(torch.tensor([[1]]), labels=torch.tensor([[1]]))


def test_labels_and_targets_together_or_of_another_shape(ids):
    with pytest.raises(ConfigError, match="not both"):
        small()(ids, labels=ids, targets=ids)
    with pytest.raises(ConfigError, match="shape of ids"):
        small()(ids, labels=ids[:, 1:])


def test_the_table_of_pairs_against_a_loop(ids):
    """Each pair its own row where rows suffice; else those in `keys`, and zeros for the others."""
    for vocab_size in (V, 5000):
        table = BigramTable(ModelConfig(vocab_size, **SMALL, bigrams=True))
        torch.nn.init.normal_(table.table.weight)
        rows = table.table.num_embeddings
        assert rows == min(vocab_size**2, 2**14)
        if table.keys is not None:  # every other pair of these texts is known
            pairs = (ids[:, :-1] * vocab_size + ids[:, 1:]).unique()[::2]
            table.keys.copy_(torch.cat((pairs, vocab_size**2 + torch.arange(rows)))[:rows])
        order = list(range(rows)) if table.keys is None else table.keys.tolist()
        found, known = table(ids), 0
        for b, t in itertools.product(range(3), range(9)):
            pair = int(ids[b, t - 1] * vocab_size + ids[b, t]) if t else -1
            known += pair in order
            expected = table.table.weight[order.index(pair)] if pair in order else torch.zeros(16)
            torch.testing.assert_close(found[b, t], expected)
        assert known > 3


def test_the_pairs_that_get_rows_are_the_most_frequent_of_the_text(tmp_path):
    tokens = np.random.default_rng(0).integers(0, 300, 60_000) ** 2 // 300
    model = GPT(ModelConfig(300, **SMALL, bigrams=True))
    give_rows(model, tokens)
    keys = model.bigrams.keys.clone()
    assert len(keys) == 2**14 and (keys.diff() > 0).all()
    counts = Counter((tokens[:-1] * 300 + tokens[1:]).tolist())
    kept = set(keys.tolist())
    assert len(counts) > len(kept) and kept <= set(counts)
    assert max(n for pair, n in counts.items() if pair not in kept) <= min(counts[pair] for pair in kept)
    model.save_pretrained(tmp_path)
    assert set(GPT.from_pretrained(tmp_path).bigrams.keys.tolist()) == kept
    model.bigrams.table.weight.data[0, 0] = 1.0
    give_rows(model, tokens[::-1].copy())
    assert torch.equal(model.bigrams.keys, keys), "rows that have learnt something stay whose they are"
    old = {name: tensor for name, tensor in model.state_dict().items() if name != "bigrams.keys"}
    with pytest.raises(RunError, match="shared rows"):
        load_weights(model, old, "runs/old")


@pytest.mark.parametrize("shape", [(8,), (3, 8), (2, 3, 5, 8)])
def test_the_norm_by_hand_is_torchs_with_its_gradients(shape):
    torch.manual_seed(0)
    norm = RMSNorm(8, 1e-6).double()
    norm.weight.data.normal_()
    x, slope = (torch.randn(shape, dtype=torch.float64) for _ in range(2))
    inputs = [x.requires_grad_(), norm.weight]
    outputs = norm(x), F.rms_norm(x, (8,), norm.weight, 1e-6)
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*(torch.autograd.grad(output, inputs, slope) for output in outputs))


def test_both_forms_of_gelu_are_torchs():
    torch.manual_seed(0)
    x = torch.randn(3, 16)
    for name, form in (("gelu", "tanh"), ("gelu_erf", "none")):
        mlp = MLPS[name](ModelConfig(7, n_embd=16, n_head=2, mlp=name))
        up, down = mlp.up.weight, mlp.down.weight
        torch.testing.assert_close(mlp(x), F.gelu(x @ up.T, approximate=form) @ down.T)
