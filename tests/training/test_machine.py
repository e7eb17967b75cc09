"""Budgets of time and what the machine is asked for: pure decisions, checked without training."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from minilm.config import ModelConfig, TrainConfig
from minilm.errors import ConfigError
from minilm.model import GPT
from minilm.training import hardware, probe
from minilm.training.budget import Budget, affordable_chars, next_moment
from minilm.training.hardware import Hardware, check_memory, choose_hardware, needed_bytes, physical_cores


def simulate(budget: Budget, step: float, evaluation: float) -> tuple[float, int, float]:
    """(end, evaluations, last progress) of a run whose steps and evaluations cost exactly that."""
    budget.evaluation_seconds = budget.final_seconds = evaluation
    budget.step_seconds, seconds, count = step, 0.0, 0
    moment = budget.evaluation_spacing()
    fresh = False
    while not budget.time_is_up(seconds):
        seconds += step
        if fresh := budget.progress(0, seconds) >= moment:
            seconds, count = seconds + evaluation, count + 1
            moment = next_moment(budget.progress(0, seconds), budget.evaluation_spacing())
    return seconds + (0 if fresh else evaluation), count, budget.progress(0, seconds)


@pytest.mark.parametrize("evaluation", [0.001, 0.1, 1.0, 4.0, 10.0])
@pytest.mark.parametrize("step", [0.01, 0.5])
def test_time_is_kept_and_evaluations_take_a_tenth(step, evaluation):
    end, count, progress = simulate(Budget(TrainConfig(minutes=1.0), total=60.0), step, evaluation)
    assert end <= 60.0 and count <= 20
    assert count * evaluation <= 0.1 * 60 + evaluation
    assert progress > 0.85 or evaluation > 4


def test_cheap_evaluations_happen_as_often_as_asked():
    assert simulate(Budget(TrainConfig(minutes=1.0, evaluations=20), total=60.0), 0.01, 0.001)[1] >= 19


def test_a_dear_last_evaluation_is_cut_to_a_quarter():
    chars = affordable_chars(1_000_000, 1e-3, 1_000_000, 60.0)
    assert chars is not None and 2 * chars * 1e-3 == pytest.approx(0.25 * 60, rel=0.01)


CPUINFO = "\n\n".join(
    f"processor\t: {number}\nphysical id\t: {number // 4}\ncore id\t\t: {number // 2 % 2}"
    for number in range(8)
)


@pytest.mark.parametrize(
    ("allowed", "cores"), [({0, 1, 2, 3, 4, 5, 6, 7}, 4), ({0, 1}, 1), ({0, 2, 4}, 3), ({5}, 1)]
)
def test_physical_cores_of_two_sockets_with_two_threads_a_core(allowed, cores):
    assert physical_cores(CPUINFO, allowed) == cores


def test_a_machine_that_tells_nothing_counts_what_is_allowed():
    assert physical_cores("", {0, 1, 2}) == 3 == physical_cores("processor: 0\nBogoMIPS: 50", {3, 4, 5})


def test_threads_follow_the_user_then_the_environment(monkeypatch):
    before = torch.get_num_threads()
    try:
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert choose_hardware(TrainConfig(device="cpu")).threads == 2 == torch.get_num_threads()
        assert choose_hardware(TrainConfig(device="cpu", threads=1)).threads == 1
        monkeypatch.setenv("OMP_NUM_THREADS", "many")
        assert choose_hardware(TrainConfig(device="cpu")).threads == physical_cores()
    finally:
        torch.set_num_threads(before)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="'cuda'; use --device cpu"):
        choose_hardware(TrainConfig(device="cuda"))


def test_bf16_where_asked_changes_the_products_only():
    chosen = choose_hardware(TrainConfig(device="cpu", precision="bf16", threads=1))
    layer = torch.nn.Linear(4, 4)
    with chosen.autocast():
        assert layer(torch.ones(1, 4)).dtype == torch.bfloat16
    assert layer.weight.dtype == torch.float32
    with choose_hardware(TrainConfig(device="cpu", threads=1)).autocast():
        assert layer(torch.ones(1, 4)).dtype == torch.float32


def test_the_line_says_what_and_why():
    line = choose_hardware(TrainConfig(device="cpu", threads=1), "manual").line()
    for part in ("cpu", "fp32", "1 thread,", "manual attention", "as asked"):
        assert part in line


def test_memory_is_checked_before_anything_is_allocated(monkeypatch):
    monkeypatch.setattr(hardware, "free_bytes", lambda device: 2**30)
    check_memory(ModelConfig(vocab_size=65), TrainConfig(), "cpu")
    with pytest.raises(ConfigError, match="fit into memory: about .* GiB needed for .* parameters"):
        check_memory(ModelConfig(vocab_size=65, n_embd=4096, n_head=32), TrainConfig(), "cpu")
    with pytest.raises(ConfigError, match="a batch of 100000 x 128"):
        check_memory(ModelConfig(vocab_size=65, block_size=128), TrainConfig(batch_size=100_000), "cpu")


def test_the_estimate_counts_weights_gradients_and_moments():
    shape = ModelConfig(vocab_size=65, n_embd=512, n_layer=8, block_size=1)
    assert needed_bytes(shape, TrainConfig(batch_size=1)) == pytest.approx(16 * shape.n_parameters, rel=0.05)


def test_running_out_of_memory_is_one_sentence():
    with pytest.raises(ConfigError, match="ran out"), hardware.memory_errors():
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="another fault"), hardware.memory_errors():
        raise RuntimeError("another fault")


TWO = Hardware("cpu", "fp32", 2, "manual", "two cores")
CLOCK = TrainConfig(minutes=1.0)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = torch.get_num_threads()
    yield GPT(ModelConfig(vocab_size=7, n_layer=1, n_head=1, n_embd=8, block_size=8, dropout=0.5))
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("seconds", "threads"), [({1: 0.03, 2: 0.02}, 2), ({1: 0.02, 2: 0.03}, 1)])
def test_the_faster_thread_count_trains(tiny, monkeypatch, seconds, threads):
    monkeypatch.setattr(probe, "_seconds", lambda model, ids, count: seconds[count])
    found = probe.raced(TWO, tiny, CLOCK, (4, 8))
    assert found.threads == torch.get_num_threads() == threads
    assert f"{seconds[1] / seconds[2]:.2f} times as fast" in found.line()


@pytest.mark.parametrize(
    "config", [TrainConfig(steps=9), CLOCK.replace(threads=2), TrainConfig(minutes=1e-4)]
)
def test_no_race_where_nothing_is_to_be_chosen(tiny, monkeypatch, config):
    monkeypatch.setattr(probe, "_seconds", lambda model, ids, count: 0.01)
    assert probe.raced(TWO, tiny, config, (4, 8)) == TWO
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert probe.raced(TWO, tiny, CLOCK, (4, 8)) == TWO


def test_a_race_leaves_no_trace(tiny):
    state = torch.get_rng_state()
    assert probe.raced(TWO, tiny, CLOCK, (4, 8)).threads in (1, 2)
    assert torch.equal(state, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in tiny.parameters())


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
)
def test_threads_spin_briefly_unless_the_user_says_how(given, expected):
    clean = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import minilm, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    run = subprocess.run(
        [sys.executable, "-c", code], env={**clean, **given}, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == expected
