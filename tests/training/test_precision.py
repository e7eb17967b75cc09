"""Passes in bfloat16 and compiled ones: near the float32 passes, exact where they must be, resumable bit for bit."""

from __future__ import annotations

import copy
import statistics

import pytest
import torch

from minilm.config import PRESETS, ModelConfig, TrainConfig
from minilm.errors import note
from minilm.fast import step as fast
from minilm.model import GPT, RMSNorm
from minilm.text.corpora import load_corpus
from minilm.training import hardware
from minilm.training.hardware import choose_hardware, compile_now, loss_function
from minilm.training.optim import adamw, build_optimizer
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


def passes(model, precision, ids, targets, compiled=False):
    """The loss of a batch; the gradients are in the parameters."""
    loss = loss_function(model, precision, compiled)(ids, targets)
    loss.backward()
    return loss.detach()


def gradients(model):
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_passes_in_fp32_are_plain_autograd(monkeypatch):
    """To the bit where nothing stands in for anything; norms with their gradient by hand sum in another order."""
    model, ids, targets = model_and_batch()
    quick = passes(model, "fp32", ids, targets)
    near = gradients(model)
    monkeypatch.setattr(hardware, "quick_forwards", lambda model, precision: [])
    model.zero_grad()
    loss = passes(model, "fp32", ids, targets)
    mine = gradients(model)
    model.zero_grad()
    expected = model(ids, targets=targets).loss
    expected.backward()
    assert torch.equal(loss, expected)
    assert all(torch.equal(mine[name], slope) for name, slope in gradients(model).items())
    torch.testing.assert_close(quick, expected.detach(), atol=1e-6, rtol=1e-6)
    for name, slope in gradients(model).items():
        torch.testing.assert_close(near[name], slope, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("shape", [(8,), (3, 8), (2, 3, 5, 8)])
@pytest.mark.parametrize("format", [torch.float64, torch.float32, torch.bfloat16])
def test_the_norm_by_hand_is_the_models(shape, format):
    module = RMSNorm(8, 1e-6).to(torch.promote_types(format, torch.float32))
    torch.nn.init.normal_(module.weight)
    x, slope = (torch.randn(shape).to(format) for _ in range(2))
    answers = []
    for norm in (module, lambda x: fast.rms_norm(x, module.weight, 1e-6)):
        y = norm(leaf := x.clone().requires_grad_())
        answers.append((y, *torch.autograd.grad(y, (leaf, module.weight), slope.to(y.dtype))))
    bounds = {torch.bfloat16: {"atol": 0.02, "rtol": 0.02}}.get(format, {"atol": 1e-5, "rtol": 1e-5})
    for one, other in zip(*answers, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        torch.testing.assert_close(one, other, **bounds)
    if format is torch.float64:
        leaf = x.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda x, g: fast.rms_norm(x, g, 1e-6), (leaf, module.weight))


@pytest.mark.parametrize("preset", PRESETS)
def test_passes_in_bf16_are_near_fp32_and_leave_the_masters_alone(preset):
    model, ids, targets = model_and_batch(preset)
    exact = passes(model, "fp32", ids, targets)
    slopes, before = gradients(model), copy.deepcopy(model.state_dict())
    model.zero_grad()
    loss = passes(model, "bf16", ids, targets)
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
    passes(model, "bf16", ids, targets)
    assert seen["norm_f"] == seen["blocks.1.norm_2"] == (torch.float32, torch.float32)
    assert seen["wte"][1] == torch.float32
    assert {seen[f"blocks.0.{part}"][1] for part in ("attention.qkv", "attention.proj", "mlp.down")} == {
        torch.bfloat16
    }
    assert model(ids).logits.dtype == torch.float32 == seen["blocks.0.mlp.down"][1], (
        "afterwards it is as before"
    )


def test_a_step_too_small_for_bf16_is_not_lost():
    """1 + 0.001 is 1 in bfloat16; the masters must add such steps up."""
    model, ids, targets = model_and_batch()
    loss_of, down, used = loss_function(model, "bf16"), model.blocks[0].mlp.down, []
    down.weight.data.fill_(1.0)
    down.register_forward_hook(lambda module, inputs, output: used.append((inputs[0], output)))
    loss_of(ids, targets)
    for _ in range(8):
        down.weight.data.add_(0.001)
    assert float(down.weight.detach()[0, 0]) == pytest.approx(1.008)
    loss_of(ids, targets)
    (before, first), (after, second) = used
    sums = [x.bfloat16().double().sum(-1, keepdim=True) for x in (before, after)]
    for total, output, weight in zip(
        sums, (first, second), (1.0, 1.0078125), strict=True
    ):  # the nearest bfloat16
        torch.testing.assert_close(output.double(), (weight * total).expand_as(output), atol=1e-3, rtol=5e-3)


def test_a_users_own_modules_compute_as_they_are():
    """A norm of torch's, a subclass, a linear map with a forward of its own: nothing stands in for them."""

    class Doubled(RMSNorm):
        def forward(self, x):
            return 2 * super().forward(x)

    model, ids, targets = model_and_batch()
    model.norm_f, model.blocks[0].norm_1 = Doubled(32, 1e-6), torch.nn.RMSNorm(32)
    model.blocks[1].norm_1 = torch.nn.RMSNorm(32, 1e-6, elementwise_affine=False)
    down = model.blocks[1].mlp.down
    down.forward = lambda x: torch.zeros(*x.shape[:-1], 32)
    swapped = {id(module) for module, _ in fast.quick_forwards(model, "bf16")}
    own = (model.norm_f, model.blocks[0].norm_1, model.blocks[1].norm_1, down)
    assert not swapped & set(map(id, own)) and id(model.blocks[0].norm_2) in swapped
    expected = model(ids, targets=targets).loss
    torch.testing.assert_close(passes(model, "fp32", ids, targets), expected.detach(), atol=1e-6, rtol=1e-6)
    passes(model, "bf16", ids, targets)
    assert vars(down)["forward"](torch.ones(1, 2)).shape == (1, 32), "the user's forward is still there"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "kind", [torch.nn.Identity, lambda: torch.nn.Linear(32, 32), lambda: RMSNorm(32, 1e-6)]
)
def test_any_map_may_stand_in_for_attention(precision, kind):
    """Also one that something quick may stand in for: `forward` is asked which arguments it takes."""
    model, ids, targets = model_and_batch()
    model.blocks[0].attention = kind()
    expected = model(ids, targets=targets).loss
    assert abs(passes(model, precision, ids, targets) - expected) < 0.02


def test_an_edited_norm_is_what_trains(monkeypatch, capsys):
    """The source of RMSNorm.forward says something else than the quick one: it runs, and a line says so."""
    model, ids, targets = model_and_batch()
    honest = RMSNorm.forward
    monkeypatch.setattr(RMSNorm, "forward", lambda self, x: 1.5 * honest(self, x))
    note.cache_clear()  # a line is said once per process
    expected = model(ids, targets=targets).loss
    assert torch.equal(passes(model, "fp32", ids, targets), expected)
    assert "the norms computed as it is written" in capsys.readouterr().err


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
    exact = passes(model, precision, ids, targets)
    slopes = gradients(model)
    loss_of, state = loss_function(model, precision, compiled=True), torch.get_rng_state()
    assert compile_now(loss_of, model, (3, 16)) > 0 and all(p.grad is None for p in model.parameters())
    assert torch.equal(state, torch.get_rng_state())
    loss = loss_of(ids, targets)
    loss.backward()
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
    exact = passes(model, "fp32", ids, targets)
    loss = passes(model.cuda(), "bf16", ids.cuda(), targets.cuda(), compiled)
    assert abs(loss.cpu() - exact) < 0.03


def other_arguments(*tensors, **options):
    raise TypeError("this torch takes other arguments")


@pytest.mark.parametrize("torchs", [None, other_arguments])
def test_without_torchs_private_calls_adamw_moves_as_it_is_written(monkeypatch, capsys, torchs):
    """They may go, or take other arguments, in any release of torch: the plain rule then moves, and a line says so."""
    fast.adamw_agrees.cache_clear()
    note.cache_clear()
    with monkeypatch.context() as patch:
        if torchs is None:
            patch.delattr(torch, "_fused_adamw_")
        else:
            patch.setattr(torch, "_fused_adamw_", torchs)
        optimizer = fast.speed_up(build_optimizer(model_and_batch()[0], TrainConfig(optimizer="adamw")))
    assert all(group["rule"] is adamw for group in optimizer.groups)
    assert "AdamW" in capsys.readouterr().err
    fast.adamw_agrees.cache_clear()
