"""Passes in bfloat16 and compiled ones: near the float32 passes, exact where they must be, resumable bit for bit."""

from __future__ import annotations

import copy
import statistics

import pytest
import torch
from minilm.training.precision import Passes

from minilm.config import PRESETS, ModelConfig, TrainConfig
from minilm.model import GPT
from minilm.text.corpora import load_corpus
from minilm.training import hardware
from minilm.training.hardware import choose_hardware
from minilm.training.session import resume_training, run_training

TEXT = "".join(f"{k} green bottles hanging on the wall, and {k * 7 % 13} fell.\n" for k in range(120))
NO_COMPILER = pytest.mark.skipif(not hardware.compiler(), reason="needs a C++ compiler")
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "bottles.txt"
    path.write_text(TEXT)
    return load_corpus(path)


def model_and_batch(preset="modern", device="cpu"):
    torch.manual_seed(0)
    config = ModelConfig.from_dict(
        {"vocab_size": 11, **PRESETS[preset].model, "n_layer": 2, "n_embd": 32, "block_size": 16}
    )
    model = GPT(config.replace(init="gpt2")).to(device)  # zero projections would have no gradient behind them
    return model, *(torch.randint(11, (3, 16), device=device) for _ in range(2))


def gradients(model):
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_passes_in_fp32_are_plain_autograd():
    model, ids, targets = model_and_batch()
    loss = Passes(model, "fp32").gradients(ids, targets)
    mine = gradients(model)
    model.zero_grad()
    expected = model(ids, targets=targets).loss
    expected.backward()
    assert torch.equal(loss, expected)
    assert all(torch.equal(mine[name], slope) for name, slope in gradients(model).items())


@pytest.mark.parametrize("preset", PRESETS)
def test_passes_in_bf16_are_near_fp32_and_leave_the_masters_alone(preset):
    model, ids, targets = model_and_batch(preset)
    exact = Passes(model, "fp32").gradients(ids, targets)
    slopes, before = gradients(model), copy.deepcopy(model.state_dict())
    model.zero_grad()
    loss = Passes(model, "bf16").gradients(ids, targets)
    assert loss.dtype == torch.float32 and 0 < abs(loss - exact) < 0.02
    for name, slope in gradients(model).items():
        assert slope.dtype == torch.float32
        assert (slope - slopes[name]).norm() < 0.05 * slopes[name].norm() + 1e-4, name
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_products_are_bf16_and_everything_between_is_fp32():
    model, ids, targets = model_and_batch()
    seen = {}
    for name, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_hook(
                lambda m, i, o, name=name: seen.__setitem__(name, (i[0].dtype, o.dtype))
            )
    Passes(model, "bf16").gradients(ids, targets)
    assert seen["norm_f"] == seen["blocks.1.norm_2"] == (torch.float32, torch.float32)
    assert seen["wte"][1] == torch.float32
    assert {seen[f"blocks.0.{part}"][1] for part in ("attention.qkv", "attention.proj", "mlp.down")} == {
        torch.bfloat16
    }


def test_a_step_too_small_for_bf16_is_not_lost():
    """1 + 0.001 is 1 in bfloat16; the masters must add such steps up."""
    model, ids, targets = model_and_batch()
    passes, weight = Passes(model, "bf16"), model.blocks[0].mlp.down.weight
    weight.data.fill_(1.0)
    passes.gradients(ids, targets)
    for _ in range(8):
        weight.data.add_(0.001)
    passes.gradients(ids, targets)
    assert float(passes.copies["blocks.0.mlp.down.weight"].detach()[0, 0]) > 1.0


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_run_in_bf16_learns_and_resumes_bit_for_bit(tmp_path, corpus, optimizer):
    shape = ModelConfig(
        corpus.tokenizer.vocab_size, n_layer=1, n_head=2, n_embd=16, block_size=16, dropout=0.1
    )
    config = TrainConfig(
        steps=40, batch_size=4, evaluations=4, threads=1, device="cpu", precision="bf16", optimizer=optimizer
    )

    class Crash(BaseException):
        pass

    def stop(record):
        if record["step"] == 25:
            raise Crash

    whole = run_training(corpus, shape, config, tmp_path / "whole")
    with pytest.raises(Crash):
        run_training(corpus, shape, config, tmp_path / "run", on_record=stop)
    resumed = resume_training(tmp_path / "run")
    assert whole.config["hardware"]["precision"] == "bf16"
    assert resumed.result["val_loss"] == whole.result["val_loss"] < 3.5
    for one, two in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, two) and one.dtype == torch.float32


@pytest.mark.slow
def test_bf16_ends_where_fp32_ends(shakespeare):
    """Three seeds of 200 steps: the formats' means differ by less than the seeds do."""
    shape = ModelConfig(shakespeare.tokenizer.vocab_size, n_layer=2, n_embd=64, n_head=2, block_size=64)

    def loss(precision, seed):
        config = TrainConfig(
            steps=200, batch_size=8, evaluations=1, seed=seed, precision=precision, threads=1
        )
        return run_training(shakespeare, shape, config, test=False).result["val_loss"]

    losses = {precision: [loss(precision, seed) for seed in range(3)] for precision in ("fp32", "bf16")}
    spread = max(statistics.stdev(values) for values in losses.values())
    assert abs(statistics.mean(losses["bf16"]) - statistics.mean(losses["fp32"])) < max(spread, 0.01), losses


@pytest.mark.slow
@NO_COMPILER
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_passes_equal_eager_ones(precision):
    model, ids, targets = model_and_batch()
    exact = Passes(model, precision).gradients(ids, targets)
    slopes = gradients(model)
    passes = Passes(model, precision, compiled=True)
    assert passes.warm_up(ids) > 0 and all(p.grad is None for p in model.parameters())
    loss = passes.gradients(ids, targets)
    tolerance = {"fp32": 1e-5, "bf16": 0.02}[precision]
    assert abs(loss - exact) < tolerance
    for name, slope in gradients(model).items():
        assert (slope - slopes[name]).norm() < 10 * tolerance * slopes[name].norm() + 1e-4, name


def test_without_a_compiler_the_training_goes_on_and_says_so(monkeypatch, corpus):
    monkeypatch.setenv("CXX", "no-such-compiler")
    chosen = choose_hardware(TrainConfig(device="cpu", threads=1, compile=True))
    assert not chosen.compiled and "needs a C++ compiler" in chosen.line()
    shape = ModelConfig(corpus.tokenizer.vocab_size, n_layer=1, n_head=1, n_embd=8, block_size=8)
    config = TrainConfig(steps=2, batch_size=2, evaluations=1, device="cpu", threads=1, compile=True)
    assert run_training(corpus, shape, config).result["compile_seconds"] == 0


@pytest.mark.gpu
@NO_GPU
@pytest.mark.parametrize("compiled", [False, True])
def test_a_gpu_in_bf16_is_near_a_cpu_in_fp32(compiled):
    model, ids, targets = model_and_batch()
    exact = Passes(model, "fp32").gradients(ids, targets)
    loss = Passes(model.cuda(), "bf16", compiled).gradients(ids.cuda(), targets.cuda())
    assert abs(loss.cpu() - exact) < 0.03
