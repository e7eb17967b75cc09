"""The arithmetic of cost against torch's own counters: of operations, of tensors kept, of bytes allocated."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from minilm.config import ModelConfig, TrainConfig
from minilm.cost import (
    BLOCK,
    ITERATIONS,
    LONG_BLOCK,
    SHORT,
    forward_flops,
    kept_numbers,
    matrices,
    needed_bytes,
    pairs_seen,
    step_flops,
    update_flops,
    work,
)
from minilm.fast import blocked
from minilm.fast.step import speed_up
from minilm.training import optim
from minilm.training.hardware import loss_function
from minilm.training.optim import build_optimizer
from minilm.training.session import build

SHAPES = [
    {"n_layer": 3, "n_embd": 128, "n_head": 4, "block_size": 128, "bigrams": True},
    {"n_layer": 2, "n_embd": 64, "n_head": 2, "block_size": 192, "head_dim": 48},
    {"n_layer": 1, "n_embd": 96, "n_head": 3, "block_size": 32, "mlp": "gelu", "tie_embeddings": False},
    {"n_layer": 2, "n_embd": 32, "n_head": 1, "block_size": 48, "mlp": "gelu_erf", "position": "learned"},
]
BACKENDS = ("manual", "blocked")


def in_place(into, left, right, **_):
    """Operations of (N, n, k) @ (N, k, m)."""
    return 2 * left[0] * left[1] * left[2] * right[2]


def counter():
    """torch's own, which forgets the products that are added in place."""
    return FlopCounterMode(display=False, custom_mapping={torch.ops.aten.baddbmm_: in_place})


def shape_of(changes, backend="blocked"):
    return ModelConfig(vocab_size=65, attention=backend, **changes)


def batch(shape, size):
    return torch.randint(
        shape.vocab_size, (size, shape.block_size), generator=torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("changes", SHAPES)
def test_operations_are_what_torch_counts(changes, backend):
    shape, train = shape_of(changes, backend), TrainConfig(batch_size=4)
    model, ids = build(shape, 0), batch(shape, 4)
    optimizer = speed_up(build_optimizer(model, train))
    loss_of = loss_function(model, "fp32")
    loss_of(ids, ids)  # once per process it asks whether the quick attention agrees
    with counter() as forward:
        loss = loss_of(ids, ids)
    with counter() as backward:
        loss.backward()
    with counter() as update:
        optimizer.step(0.01)
    assert forward_flops(shape, 4, backend) == forward.get_total_flops()
    assert update_flops(shape, train) == update.get_total_flops()
    counted = sum(part.get_total_flops() for part in (forward, backward, update))
    assert step_flops(shape, train, backend) == counted
    assert update_flops(shape, TrainConfig(optimizer="adamw")) == 0


@pytest.mark.parametrize("changes", SHAPES)
def test_the_matrices_are_the_models(changes):
    """Those that Muon turns, stacked ones apart."""
    shape = shape_of(changes)
    group, found = build_optimizer(build(shape, 0), TrainConfig()).groups[0], []
    assert group["rule"] is optim.muon
    for parameter in group["params"]:
        found += [tuple(part.shape) for part in parameter.chunk(group["parts"][parameter])]
    assert sorted(found) == sorted(matrices(shape) * shape.n_layer)


def test_constants_are_those_of_the_code():
    assert (SHORT, BLOCK, LONG_BLOCK, ITERATIONS) == (
        blocked.SHORT,
        blocked.BLOCK,
        blocked.LONG_BLOCK,
        optim.ROUNDS,
    )
    for T in (1, 63, 64, 65, 128, 129, 300):
        assert pairs_seen(T, "blocked") == sum((end - first) * end for first, end in blocked.spans(T))


def kept_by_torch(shape, size):
    """Numbers that autograd holds between the passes, each memory counted once, parameters and tables left out."""
    model, ids, held = build(shape, 0), batch(shape, size), {}

    def keep(tensor):
        held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    loss_of = loss_function(model, "fp32")
    loss_of(ids, ids)  # once per process it asks whether the quick attention agrees
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers(), ids]}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of(ids, ids)
    assert loss.requires_grad
    sizes = [tensor.untyped_storage().nbytes() / 4 for place, tensor in held.items() if place not in own]
    return sum(sizes) + ids.numel() * shape.vocab_size  # and the logits


@pytest.mark.parametrize("backend", [*BACKENDS, "fused"])
@pytest.mark.parametrize("changes", SHAPES[:2])
def test_activations_are_what_autograd_keeps(changes, backend):
    shape = shape_of(changes, backend)
    assert kept_numbers(shape, 8, backend) == pytest.approx(kept_by_torch(shape, 8), rel=0.1)


@pytest.mark.parametrize("changes", SHAPES[2:])
def test_other_architectures_keep_no_more_than_estimated(changes):
    shape = shape_of(changes)
    assert 0.5 * kept_numbers(shape, 8) <= kept_by_torch(shape, 8) <= 1.1 * kept_numbers(shape, 8)


def most_allocated(run):
    """The most bytes that torch held at once in `run`, from its profiler's record of every allocation."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = itertools.accumulate(e.nbytes() for e in sorted(events, key=lambda event: event.start_ns()))
    return max(held)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize(
    ("changes", "size"),
    [
        (
            {"n_layer": 3, "n_embd": 128, "n_head": 4, "block_size": 128, "bigrams": True},
            8,
        ),  # mostly activations
        ({"n_layer": 2, "n_embd": 256, "n_head": 4, "block_size": 16}, 1),  # mostly weights
    ],
)
def test_a_real_training_takes_about_the_memory_of_the_estimate(changes, size, optimizer):
    shape, train = shape_of(changes), TrainConfig(batch_size=size, optimizer=optimizer)
    ids = batch(shape, size)

    def two_steps():
        model = build(shape, 0)
        stepper, best = speed_up(build_optimizer(model, train)), {}
        loss_of = loss_function(model, "fp32")
        for _ in range(2):
            loss_of(ids, ids).backward()
            stepper.step(0.01)
            stepper.zero_grad()
            best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        assert best

    # the system's allocator needs more than torch asks for, and the estimate is of that
    assert 0.6 < most_allocated(two_steps) / needed_bytes(shape, train, "blocked") < 1.05


# CPU seconds of a step, on one thread of an AMD EPYC: layers, width, context, batch
MEASURED = {
    (1, 64, 64, 4): 0.00625,
    (1, 64, 128, 16): 0.0251,
    (1, 192, 64, 4): 0.0364,
    (1, 192, 128, 16): 0.1175,
    (2, 96, 64, 8): 0.0267,
    (2, 128, 128, 8): 0.0623,
    (3, 64, 64, 16): 0.0309,
    (3, 96, 128, 4): 0.0378,
    (3, 128, 128, 8): 0.0934,
    (3, 192, 64, 4): 0.1073,
    (3, 192, 128, 16): 0.3449,
}


def test_work_is_proportional_to_measured_seconds():
    """Over a range of 55: one probe, of any shape, tells the price of all others."""
    rates = []
    for (layers, width, context, size), seconds in MEASURED.items():
        changes = {
            "n_layer": layers,
            "n_embd": width,
            "n_head": width // 32,
            "block_size": context,
            "bigrams": True,
        }
        rates.append(work(shape_of(changes), TrainConfig(batch_size=size)) / seconds)
    assert max(rates) / min(rates) < 1.45
    products = [
        step_flops(
            shape_of({"n_layer": L, "n_embd": C, "n_head": C // 32, "block_size": T}),
            TrainConfig(batch_size=B),
        )
        / seconds
        for (L, C, T, B), seconds in MEASURED.items()
    ]
    assert max(products) / min(products) > 2, "products alone do not tell it"
