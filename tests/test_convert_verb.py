"""`convert` carries models to transformers and back, and from nanoGPT: the same ids, logits and greedy text there."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from minilm import (
    GPT,
    BPETokenizer,
    CharTokenizer,
    ModelConfig,
    convert,
    evaluate,
    load_corpus,
    load_run,
    sample,
    train,
)
from minilm.interop.folders import tokenizer_json
from minilm.text.tokenizers import load_tokenizer
from minilm.training.evaluate import exact_loss
from minilm.training.run import write_imported
from tests.test_train_verb import FLAGS, verb

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs, not ours
TEXT = "".join(
    f"Fox: I have {k} plums.\nOwl: And {k * 5 % 7} pears — it’s ‘late’, dear fox.\n" for k in range(60)
)
TOKENIZERS = {
    "characters": CharTokenizer.from_text(TEXT),
    "pieces of characters": BPETokenizer.train(TEXT, 70, base=CharTokenizer.from_text(TEXT)),
    "pieces of bytes": BPETokenizer.train(TEXT + "<|end|>", 290, special_tokens=["<|end|>"]),
}
SIZES = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 32}


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", reason="transformers is not installed: pip install -e .[hf]")


def stirred(model):
    """Gains of one and biases of zero would hide a swapped name, and blocks that start at nothing a lost block."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def one_run(folder, tokenizer, config):
    write_imported(stirred(GPT(config)), tokenizer, "plums", folder)
    return load_run(folder)


@pytest.mark.parametrize("tokens", TOKENIZERS)
@pytest.mark.parametrize("preset", ["gpt2", "modern"])
def test_their_library_opens_our_run(tmp_path, transformers, preset, tokens):
    """Ids, logits, and the text that the pipeline writes when it is asked for nothing special; and back again."""
    tokenizer = TOKENIZERS[tokens]
    config = getattr(ModelConfig, preset)(tokenizer.vocab_size, **SIZES)
    run = one_run(tmp_path / "run", tokenizer, config)
    assert verb(convert, str(tmp_path / "run"), str(tmp_path / "theirs")) == 0
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs").eval()
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    ids = tokenizer.encode(TEXT)
    assert words(TEXT)["input_ids"] == ids and words.decode(ids) == TEXT
    batch = torch.tensor([ids[:32], ids[32:64]])
    torch.testing.assert_close(theirs(batch).logits, run.model(batch).logits, atol=1e-4, rtol=0)

    written = transformers.pipeline("text-generation", str(tmp_path / "theirs"))("Fox: I")[0][
        "generated_text"
    ]
    greedy = run.model.generate(tokenizer.encode("Fox: I", return_tensors="pt"), 16, temperature=0)
    assert written == tokenizer.decode(greedy[0])

    assert verb(convert, str(tmp_path / "theirs"), str(tmp_path / "back")) == 0
    back = load_run(tmp_path / "back")
    assert back.tokenizer == tokenizer
    assert torch.equal(back.model(batch).logits, run.model(batch).logits)


def test_the_model_card_of_a_training(tmp_path, capsys):
    (tmp_path / "plums.txt").write_text(TEXT, encoding="utf-8")
    arguments = [str(tmp_path / "plums.txt"), "--preset", "modern", *FLAGS, "--out", str(tmp_path / "run")]
    assert verb(train, *arguments) == 0
    assert verb(convert, str(tmp_path / "run"), str(tmp_path / "theirs")) == 0
    assert "pipeline" in capsys.readouterr().out
    card, result = (
        (tmp_path / "theirs" / "README.md").read_text(encoding="utf-8"),
        load_run(tmp_path / "run").result,
    )
    assert f"{result['test_loss']:.3f}" in card and "Qwen3ForCausalLM" in card and str(tmp_path) not in card
    made = json.loads((tmp_path / "theirs" / "generation_config.json").read_text())
    assert made["do_sample"] is False and made["max_new_tokens"] <= 16


def test_what_none_of_theirs_can_hold_is_named(tmp_path):
    tokenizer = TOKENIZERS["characters"]
    one_run(tmp_path / "run", tokenizer, ModelConfig(tokenizer.vocab_size, bigrams=True, **SIZES))
    with pytest.raises(ValueError, match="qwen3, has no table of token pairs"):
        convert.main([str(tmp_path / "run"), str(tmp_path / "theirs")])
    assert not (tmp_path / "theirs").exists()


def theirs_of(transformers, kind):
    small = {"vocab_size": 290, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    small |= {"num_attention_heads": 4, "max_position_embeddings": 32, "bos_token_id": 0, "eos_token_id": 0}
    if kind == "gpt2":
        sizes = {"vocab_size": 290, "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 4}
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))
    if kind == "gpt2 erf":
        sizes = {"vocab_size": 290, "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 4}
        config = transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0, activation_function="gelu")
        return transformers.GPT2LMHeadModel(config)
    if kind == "qwen3":
        config = transformers.Qwen3Config(**small, num_key_value_heads=2, head_dim=8)
        return transformers.Qwen3ForCausalLM(config)
    if kind == "qwen3, wide heads":  # as Qwen3 of 0.6, 4 and 32 billion parameters
        config = transformers.Qwen3Config(**small, num_key_value_heads=2, head_dim=12)
        return transformers.Qwen3ForCausalLM(config)
    groups = {"llama": 2, "llama, one group": 1}[kind]
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**small, num_key_value_heads=groups))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "kind", ["gpt2", "gpt2 erf", "qwen3", "qwen3, wide heads", "llama", "llama, one group"]
)
def test_their_folders_in_parts(tmp_path, transformers, kind, dtype, capsys):
    """Sharded, with grouped queries, in bfloat16: our float32 logits are theirs on the same rounded weights."""
    model = stirred(theirs_of(transformers, kind)).to(dtype)
    model.save_pretrained(tmp_path / "theirs", max_shard_size="15KB")
    assert (tmp_path / "theirs" / "model.safetensors.index.json").is_file()
    (tmp_path / "theirs" / "tokenizer.json").write_text(
        json.dumps(tokenizer_json(TOKENIZERS["pieces of bytes"]))
    )
    assert verb(convert, str(tmp_path / "theirs"), str(tmp_path / "ours")) == 0
    run = load_run(tmp_path / "ours")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs", dtype=torch.float32).eval()
    batch = torch.randint(290, (2, 32), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(run.model(batch).logits, model(batch).logits, atol=1e-4, rtol=0)
    capsys.readouterr()
    assert verb(sample, str(tmp_path / "ours"), "--prompt", "Fox", "--chars", "20", "--temperature", "0") == 0
    expected = model.generate(
        torch.tensor([run.tokenizer.encode("Fox")]),
        max_new_tokens=20,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert capsys.readouterr().out.startswith(run.tokenizer.decode(expected[0])[:10])


def test_an_index_that_leads_elsewhere_is_refused(tmp_path, transformers):
    theirs_of(transformers, "llama").save_pretrained(tmp_path, max_shard_size="15KB")
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(path.read_text().replace("model-00001", "../model-00001"))
    with pytest.raises(ValueError, match="beside it"):
        GPT.from_pretrained(tmp_path)


def test_the_document_s_lines_on_a_gpt2_folder(tmp_path, transformers):
    """GPT2Tokenizer and GPT2LMHeadModel become BPETokenizer and GPT; the other lines stay as they are."""
    from transformers import GPT2LMHeadModel

    theirs = stirred(theirs_of(transformers, "gpt2"))
    theirs.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer_json(TOKENIZERS["pieces of bytes"])))

    tokenizer = BPETokenizer.from_pretrained(tmp_path)
    model = GPT.from_pretrained(tmp_path)
    inputs = tokenizer.encode("Hello, my dog is cute", return_tensors="pt")
    outputs = model(inputs, labels=inputs)
    loss, logits = outputs[:2]

    expected = GPT2LMHeadModel.from_pretrained(tmp_path)(inputs, labels=inputs)
    torch.testing.assert_close(loss, expected.loss, atol=1e-5, rtol=0)
    torch.testing.assert_close(logits, expected.logits, atol=1e-4, rtol=0)


class Karpathy(nn.Module):
    """nanoGPT's model, written down by its names: what its checkpoint holds and computes."""

    def __init__(self, V, T, L, H, C, bias):
        super().__init__()
        self.T, self.H = T, H
        block = lambda: nn.ModuleDict(  # noqa: E731
            {
                "ln_1": nn.LayerNorm(C, bias=bias),
                "attn": nn.ModuleDict(
                    {"c_attn": nn.Linear(C, 3 * C, bias=bias), "c_proj": nn.Linear(C, C, bias=bias)}
                ),
                "ln_2": nn.LayerNorm(C, bias=bias),
                "mlp": nn.ModuleDict(
                    {"c_fc": nn.Linear(C, 4 * C, bias=bias), "c_proj": nn.Linear(4 * C, C, bias=bias)}
                ),
            }
        )
        parts = {
            "wte": nn.Embedding(V, C),
            "wpe": nn.Embedding(T, C),
            "h": nn.ModuleList(block() for _ in range(L)),
        }
        self.transformer = nn.ModuleDict({**parts, "ln_f": nn.LayerNorm(C, bias=bias)})
        self.lm_head = nn.Linear(C, V, bias=False)
        self.lm_head.weight = self.transformer["wte"].weight

    def forward(self, ids):
        trunk = self.transformer
        x = trunk["wte"](ids) + trunk["wpe"](torch.arange(ids.size(1)))
        for b in trunk["h"]:
            q, k, v = (
                part.unflatten(-1, (self.H, -1)).transpose(1, 2)
                for part in b["attn"]["c_attn"](b["ln_1"](x)).chunk(3, -1)
            )
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(-2)
            x = x + b["attn"]["c_proj"](y)
            x = x + b["mlp"]["c_proj"](F.gelu(b["mlp"]["c_fc"](b["ln_2"](x))))
        return self.lm_head(trunk["ln_f"](x))


@pytest.mark.parametrize(("bias", "prefix"), [(False, ""), (True, "_orig_mod.")])
def test_a_checkpoint_of_nanogpt(tmp_path, bias, prefix, capsys):
    tokenizer = TOKENIZERS["characters"]
    sizes = {"vocab_size": tokenizer.vocab_size, "block_size": 16, "n_layer": 2, "n_head": 2, "n_embd": 16}
    theirs = stirred(Karpathy(*sizes.values(), bias))
    state = {f"{prefix}{name}": tensor for name, tensor in theirs.state_dict().items()}
    rest = {
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}},
        "iter_num": 3,
        "best_val_loss": torch.tensor(1.0),
    }
    torch.save(
        {
            "model": state,
            "model_args": {**sizes, "bias": bias, "dropout": 0.0},
            "config": {"out_dir": "out"},
            **rest,
        },
        tmp_path / "ckpt.pt",
    )
    (tmp_path / "input.txt").write_text(TEXT, encoding="utf-8")
    text = ["--text", str(tmp_path / "input.txt")]
    assert verb(convert, str(tmp_path / "ckpt.pt"), str(tmp_path / "ours"), *text) == 0
    run = load_run(tmp_path / "ours")
    batch = torch.tensor([tokenizer.encode(TEXT)[:16]])
    torch.testing.assert_close(run.model(batch).logits, theirs(batch), atol=1e-5, rtol=0)
    assert run.tokenizer == tokenizer
    capsys.readouterr()
    assert verb(evaluate, str(tmp_path / "ours")) == 2  # the text it was trained on is not known here
    assert "--text" in capsys.readouterr().err
    assert verb(evaluate, str(tmp_path / "ours"), *text, "--json") == 0
    corpus = load_corpus(tmp_path / "input.txt", run.tokenizer)
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows[0]["val"] == pytest.approx(exact_loss(run.model, **corpus.scored("val")), abs=1e-6)
    assert any("Kneser-Ney" in row["name"] for row in rows)
    assert verb(convert, str(tmp_path / "ckpt.pt"), str(tmp_path / "alone")) == 0
    assert "--text" in capsys.readouterr().err  # the weights alone, and why
    assert torch.equal(GPT.from_pretrained(tmp_path / "alone")(batch).logits, run.model(batch).logits)


class Evil:
    def __reduce__(self):
        return (print, ("the pickle ran",))


@pytest.mark.parametrize("content", ["pickle", "other", "noise"])
def test_no_pickle_runs(tmp_path, capsys, content):
    path = tmp_path / "ckpt.pt"
    if content == "noise":
        path.write_bytes(b"nothing of torch's")
    elif content == "pickle":
        torch.save({"model": {}, "model_args": Evil()}, path)
    else:
        path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match=r"ckpt\.pt must"):
        convert.main([str(path), str(tmp_path / "ours")])
    assert "ran" not in capsys.readouterr().out and not (tmp_path / "ours").exists()


def test_ids_are_theirs_on_mixed_text():
    """Our file read by the tokenizers library: the same ids on letters of many scripts, digits, marks and spaces."""
    library = pytest.importorskip("tokenizers")
    generator = torch.Generator().manual_seed(0)
    points = [
        *range(32, 0x250),
        *range(0x370, 0x600),
        *range(0x4E00, 0x4F00),
        *range(0x1F600, 0x1F640),
        9,
        10,
        0x3000,
    ]
    noise = "".join(chr(points[i]) for i in torch.randint(len(points), (4000,), generator=generator))
    for tokenizer in TOKENIZERS.values():
        text = noise + TEXT if getattr(tokenizer, "base", 0) is None else TEXT
        theirs = library.Tokenizer.from_str(json.dumps(tokenizer_json(tokenizer)))
        assert theirs.encode(text).ids == tokenizer.encode(text)
        assert theirs.encode("¿Ω").ids == tokenizer.encode("¿Ω", errors="replace")


def test_a_tokenizer_that_is_not_ours_is_left_behind(tmp_path, transformers, capsys):
    stirred(theirs_of(transformers, "llama")).save_pretrained(tmp_path / "theirs")
    fields = tokenizer_json(TOKENIZERS["pieces of bytes"])
    fields["normalizer"] = {"type": "NFC"}
    (tmp_path / "theirs" / "tokenizer.json").write_text(json.dumps(fields))
    assert verb(convert, str(tmp_path / "theirs"), str(tmp_path / "ours")) == 0
    assert "NFC" in capsys.readouterr().err
    with pytest.raises(ValueError):
        load_tokenizer(tmp_path / "ours")
    assert GPT.from_pretrained(tmp_path / "ours").config.n_layer == 2


def test_a_missing_source(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        convert.main([str(tmp_path / "none"), str(tmp_path / "ours")])


def test_a_wrong_tokenizer_is_refused(tmp_path, transformers):
    stirred(theirs_of(transformers, "gpt2")).save_pretrained(tmp_path / "theirs")
    TOKENIZERS["characters"].save(tmp_path / "other")
    with pytest.raises(ValueError, match="290"):
        convert.main(
            [str(tmp_path / "theirs"), str(tmp_path / "ours"), "--tokenizer", str(tmp_path / "other")]
        )
