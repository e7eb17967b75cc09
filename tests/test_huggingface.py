"""Our decoders against transformers' own: GPT-2 and Qwen3, logits, loss and gradients, both ways on disk."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from minilm.config import ModelConfig
from minilm.errors import ConfigError, MinilmError, RunError
from minilm.interop.huggingface import from_huggingface, read_config, to_huggingface
from minilm.model import GPT
from minilm.text.bpe import BPETokenizer
from minilm.text.corpora import load_corpus
from minilm.training.evaluate import exact_loss

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs, not ours


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", reason="transformers is not installed: pip install -e .[hf]")


def gpt2(transformers):
    config = transformers.GPT2Config(
        vocab_size=61, n_positions=24, n_embd=32, n_layer=3, n_head=4, bos_token_id=0, eos_token_id=0
    )
    return transformers.GPT2LMHeadModel(config)


def qwen3(transformers):
    config = transformers.Qwen3Config(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=8,
        max_position_embeddings=24,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    return transformers.Qwen3ForCausalLM(config)


@pytest.fixture(params=[gpt2, qwen3])
def theirs(request, transformers):
    torch.manual_seed(0)
    model = request.param(transformers)
    with torch.no_grad():  # fresh gains are one and biases zero, which would hide a swapped name
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def test_their_folder_gives_their_logits(tmp_path, theirs):
    theirs.save_pretrained(tmp_path)
    ours = GPT.from_pretrained(tmp_path)
    ids = torch.randint(61, (2, 24))
    loss, logits = ours(ids, labels=ids)[:2]
    expected = theirs(ids, labels=ids)
    torch.testing.assert_close(logits, expected.logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(loss, expected.loss, atol=1e-5, rtol=0)
    loss.backward()
    expected.loss.backward()
    grads = to_huggingface(ours.config, {name: p.grad for name, p in ours.named_parameters()})[1]
    wanted = {name: p.grad for name, p in theirs.named_parameters()}
    assert grads.keys() == wanted.keys()
    for name, grad in grads.items():
        torch.testing.assert_close(
            grad, wanted[name], atol=1e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_our_model_in_their_hands(tmp_path, theirs, transformers):
    """Ours written as their folder, read by transformers, gives our logits."""
    theirs.save_pretrained(tmp_path)
    ours = GPT.from_pretrained(tmp_path)
    config, tensors = to_huggingface(ours.config, ours.state_dict())
    folder = tmp_path / "back"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(
        {name: t.contiguous() for name, t in tensors.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    back = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.randint(61, (2, 24))
    torch.testing.assert_close(back(ids).logits, ours(ids).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("preset", [ModelConfig.gpt2, ModelConfig.modern])
def test_the_presets_are_what_they_can_express(tmp_path, preset, transformers):
    torch.manual_seed(0)
    ours = GPT(preset(61, n_layer=2, n_head=2, n_embd=16, block_size=24)).eval()
    config, tensors = to_huggingface(ours.config, ours.state_dict())
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(
        {name: t.contiguous() for name, t in tensors.items()},
        tmp_path / "model.safetensors",
        {"format": "pt"},
    )
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = torch.randint(61, (1, 24))
    torch.testing.assert_close(theirs(ids).logits, ours(ids).logits, atol=1e-4, rtol=0)


def test_greedy_generation_agrees(tmp_path, theirs):
    theirs.save_pretrained(tmp_path)
    ids = torch.tensor([[5, 7, 9]])
    expected = theirs.generate(ids, max_new_tokens=15, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert torch.equal(GPT.from_pretrained(tmp_path).generate(ids, 15, temperature=0), expected)


def test_wrong_tensors_are_all_listed(tmp_path, theirs):
    theirs.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    names = sorted(tensors)
    gone, bent = names[0], names[1]
    del tensors[gone]
    tensors[bent] = torch.zeros(3, 3, 3)
    tensors["a.stranger"] = torch.zeros(1)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(RunError) as caught:
        GPT.from_pretrained(tmp_path)
    assert all(name in str(caught.value) for name in (gone, bent, "a.stranger"))


GPT2 = {"model_type": "gpt2"}
QWEN3 = {
    "model_type": "qwen3",
    "vocab_size": 61,
    "max_position_embeddings": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 8,
    "hidden_size": 32,
    "intermediate_size": 64,
}


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        (GPT2, {"activation_function": "relu"}),
        (GPT2, {"scale_attn_by_inverse_layer_idx": True}),
        (QWEN3, {"num_key_value_heads": 3}),
        (QWEN3, {"attention_bias": True}),
        (QWEN3, {"rope_scaling": {"rope_type": "yarn"}}),
        (QWEN3, {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}),
    ],
)
def test_models_that_ours_cannot_be(settings, wrong):
    assert read_config(settings).n_layer > 0
    with pytest.raises(RunError, match="|".join([*wrong, "rope_type"])):
        read_config({**settings, **wrong})


def test_a_missing_size_is_named():
    with pytest.raises(RunError, match="hidden_size"):
        read_config({key: value for key, value in QWEN3.items() if key != "hidden_size"})


def test_older_files_of_gpt2(tmp_path, transformers):
    """The first published weights have no prefix, keep the causal mask as a constant, and may copy the head."""
    torch.manual_seed(0)
    theirs = gpt2(transformers).eval()
    theirs.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    old = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    old |= {"h.0.attn.bias": torch.ones(1, 1, 24, 24), "lm_head.weight": old["wte.weight"].clone()}
    save_file(old, tmp_path / "model.safetensors", {"format": "pt"})
    ids = torch.randint(61, (1, 24))
    torch.testing.assert_close(
        GPT.from_pretrained(tmp_path)(ids).logits, theirs(ids).logits, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("preset", [ModelConfig.gpt2, ModelConfig.modern])
def test_there_and_back_is_exact(preset, tied):
    ours = GPT(preset(13, n_layer=2, n_head=2, n_embd=16, block_size=8, tie_embeddings=tied))
    config, tensors = from_huggingface(*to_huggingface(ours.config, ours.state_dict()))
    assert config.replace(mlp_hidden=None) == ours.config
    assert all(torch.equal(tensors[name], tensor) for name, tensor in ours.state_dict().items())


def test_what_they_cannot_express_is_refused_with_the_reason():
    config = ModelConfig.modern(13, mlp="gelu")
    with pytest.raises(ConfigError, match="qwen3, needs mlp='swiglu'"):
        to_huggingface(config, {})


def test_an_index_without_names(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(GPT2))
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(RunError, match="in which file"):
        GPT.from_pretrained(tmp_path)


def test_families_we_do_not_know(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt3"}')
    save_file({"w": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(MinilmError, match="gpt3"):
        GPT.from_pretrained(tmp_path)


def test_a_foreign_gpt2_is_judged_per_character(tmp_path, transformers):
    """Their folder, model and vocabulary: the nats of their own logits by the characters of the text."""
    text = "the fox and the owl, naïve \u72d0\u72f8\n" * 60
    learnt = BPETokenizer.train(text, 280)
    letters = gpt2_letters()
    vocab = {"".join(letters[byte] for byte in piece): i for i, piece in enumerate(learnt.pieces)}
    merges = [" ".join("".join(letters[byte] for byte in part) for part in pair) for pair in learnt.merges]
    (tmp_path / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]), encoding="utf-8")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(vocab), n_positions=24, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    theirs = transformers.GPT2LMHeadModel(config).eval()
    theirs.save_pretrained(tmp_path)
    tokenizer = BPETokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt")
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    corpus, model = load_corpus(tmp_path / "text.txt", tokenizer), GPT.from_pretrained(tmp_path)
    ids = [int(corpus.train[-1]), *corpus.val.tolist()]
    nats = 0.0
    for first in range(0, len(ids) - 1, 24):
        window = ids[first : first + 25]
        with torch.no_grad():
            log_probs = theirs(torch.tensor([window[:-1]])).logits[0].double().log_softmax(-1)
        nats -= sum(log_probs[k, token].item() for k, token in enumerate(window[1:]))
    written = text[int(0.9 * len(text)) :][: corpus.characters["val"]]
    assert tokenizer == learnt and tokenizer.decode(corpus.val) == written
    assert len(written) != len(ids) - 1
    assert exact_loss(model, **corpus.scored("val")) == pytest.approx(nats / len(written), abs=1e-6)


def gpt2_letters() -> dict[int, str]:
    """The character that GPT-2's files write for each byte: itself where it prints, else one after U+0100."""
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printing]
    return {**{b: chr(b) for b in printing}, **{b: chr(256 + n) for n, b in enumerate(others)}}
