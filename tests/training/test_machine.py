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
from minilm.training import clock, hardware, probe
from minilm.training.clock import FINAL_SHARE, PRICED, Clock, State, Stop
from minilm.training.hardware import Hardware, check_memory, choose_hardware, physical_cores, quick_cpus

CHARS = (1000, 0)  # of the validation split and of what is scored afterwards: nothing


@pytest.fixture
def timed(monkeypatch):
    """Seconds since the start, to be set by a test; every clock of a training reads them."""
    seconds = [0.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda: seconds[0])
    return seconds


def by_the_clock(seconds=60.0, evaluation=0.0, chars=CHARS, **settings) -> Clock:
    """A run by the clock that has begun and knows what an evaluation costs."""
    most_steps = settings.pop("most_steps", None)
    made = Clock(TrainConfig(minutes=seconds / 60, **settings), chars, 65, most_steps=most_steps)
    made.evaluation_seconds = evaluation
    return made


def simulate(budget: Clock, timed: list[float], step: float, *evaluations: float) -> tuple[float, int, float]:
    """(end, evaluations, last progress) of a run whose steps cost exactly that, its evaluations these in turn.

    The first price is the last of these. It goes the way of `Trainer.fit`; an evaluation at the end that was not due
    is not counted.
    """
    steps = count = evaluated = 0
    if budget.total is not None and not budget.evaluation_seconds:
        budget.evaluation_seconds = evaluations[-1]
    budget.open(lambda chars: None)
    while True:
        stop = budget.stop(steps, 0)
        if evaluated < steps and (stop or budget.evaluation_due(steps)):
            began, took, due = timed[0], evaluations[count % len(evaluations)], budget.evaluation_due(steps)
            timed[0], evaluated, count = began + took, steps, count + due
            budget.record(State(step=steps), val_loss=1.0)
            budget.evaluation_seconds = timed[0] - began
            continue
        if stop:
            return timed[0], count, budget.progress(steps)
        timed[0], steps = timed[0] + step, steps + 1
        budget.step_took(step, steps)


@pytest.mark.parametrize("evaluation", [0.001, 0.1, 1.0, 4.0, 10.0])
@pytest.mark.parametrize("step", [0.01, 0.5])
def test_time_is_kept_and_evaluations_take_a_tenth(timed, step, evaluation):
    end, count, progress = simulate(by_the_clock(), timed, step, evaluation)
    assert end <= 60.0 and count <= 20
    assert count * evaluation <= 0.1 * 60 + evaluation
    assert progress > 0.85 or evaluation > 4


@pytest.mark.parametrize("evaluations", [(1.1, 1.3), (1.3, 1.1), (0.8, 1.0, 1.2, 0.9), (1.5, 1.0)])
def test_evaluations_whose_price_changes_do_not_follow_at_once(timed, evaluations):
    """As on a machine with neighbours. Each price has its own multiples, and one of them is always near."""
    _, count, _ = simulate(by_the_clock(), timed, 0.1, *evaluations)
    assert count * sum(evaluations) / len(evaluations) <= 1.5 * 0.1 * 60


def test_cheap_evaluations_happen_as_often_as_asked(timed):
    assert simulate(by_the_clock(evaluations=20), timed, 0.01, 0.001)[1] >= 19


def test_a_run_by_the_clock_follows_what_ends_first(timed):
    limited = by_the_clock(most_steps=100)
    timed[0] = 6.0
    assert limited.progress(50) == 0.5  # steps
    assert limited.progress(100) == 1.0
    assert limited.progress(99, ahead=1.0) == pytest.approx(100 / 101)  # the last rate is not zero
    assert limited.stop(100, 0) is Stop.FINISHED and limited.stop(99, 0) is None
    timed[0] = 30.0
    assert limited.progress(5) == 0.5  # time
    by_steps = Clock(TrainConfig(steps=100), CHARS, 65, deadline=60.0)
    assert by_steps.progress(5) == 0.05  # the same numbers, however fast the machine is


def test_why_a_run_ends(timed):
    """Its steps, its patience, its own minutes, or somebody's deadline; not before one step is done."""
    own, hurried = by_the_clock(patience=2), by_the_clock()
    hurried.deadline = 30.0
    assert [Clock(TrainConfig(steps=9, patience=2), CHARS, 65).stop(k, 2) for k in (8, 9)] == [
        Stop.EARLY,
        Stop.FINISHED,
    ]
    assert own.stop(5, 1) is None and own.stop(5, 2) is Stop.EARLY
    timed[0] = 59.99
    assert own.stop(1, 0) is Stop.FINISHED and own.stop(0, 0) is None
    assert hurried.stop(1, 0) is Stop.DEADLINE


def test_the_first_step_pays_for_warming_up_and_is_forgotten():
    steps = by_the_clock()
    assert steps.one_step() == pytest.approx(60e-3)  # a guess
    for number, seconds in enumerate((9.0, 1.0, 2.0), start=1):
        steps.step_took(seconds, number)
    assert steps.step_seconds == pytest.approx(0.9 * 1.0 + 0.1 * 2.0)


def test_a_dear_last_evaluation_is_cut_to_a_quarter(timed):
    """With both splits: each gets half of it. An evaluation that costs nothing measurable is left whole."""
    chars = (1_000_000, 1_000_000)
    for price, after, cut in ((1e-3, 1, True), (1e-3, 0, True), (1e-8, 1, False), (0.0, 1, False)):
        dear, asked = by_the_clock(chars=(chars[0], after * chars[1])), []

        def evaluate(scored, price=price, asked=asked):
            asked.append(scored)
            timed[0] += price * scored

        timed[0] = dear.started
        dear.open(evaluate)
        assert asked == [PRICED, PRICED]  # the first call warms up
        if not cut:
            assert dear.eval_chars is None
            continue
        assert dear.eval_chars * (1 + after) * price == pytest.approx(FINAL_SHARE * 60, rel=0.01)
        assert dear.evaluation_seconds == pytest.approx(dear.eval_chars * price)


def test_nothing_is_priced_where_no_time_ends_the_run():
    by_steps = Clock(TrainConfig(steps=9, evaluations=3), CHARS, 65)
    by_steps.open(lambda chars: pytest.fail("evaluated"))
    assert by_steps.next_evaluation == pytest.approx(1 / 3) and by_steps.total is None


def test_a_clock_goes_on_where_it_was(timed):
    """As if it had never stopped; and another leg counts its progress from its own first step."""
    first = Clock(TrainConfig(steps=40, evaluations=4), CHARS, 65)
    first.open(lambda chars: None)
    timed[0] = 7.0
    first.step_took(0.5, 9), first.record(State(step=10), val_loss=1.0)
    state, timed[0] = {**first.state(), "step": 10}, 100.0
    again = Clock(TrainConfig(steps=40, evaluations=4), CHARS, 65)
    again.restore(state)
    assert again.seconds() == 7.0 and {**again.state(), "step": 10} == state
    again.eval_chars = 500
    second = Clock(TrainConfig(steps=80, evaluations=4), CHARS, 65, leg=1)
    second.restore({**again.state(), "step": 40})
    assert (second.earlier, second.first_step, second.seconds()) == (7.0, 40, 0.0)
    assert second.eval_chars == 500, "losses of both legs are compared"
    assert (second.progress(40), second.progress(60), second.progress(80)) == (0.0, 0.5, 1.0)
    assert second.progress(40, ahead=1.0) == pytest.approx(1 / 41)
    third = Clock(TrainConfig(minutes=1.0), CHARS, 65, leg=2)
    third.restore({**second.state(), "step": 80})
    timed[0] += 30.0
    assert third.earlier == 7.0 and third.progress(80) == 0.5 and third.stop(80, 0) is None


CPUINFO = "\n\n".join(
    f"processor\t: {number}\nphysical id\t: {number // 4}\ncore id\t\t: {number // 2 % 2}"
    for number in range(8)
)


def test_efficiency_cores_do_not_count(tmp_path):
    """Intel's hybrids list the others; Arm's have a capacity each; a plain machine says nothing."""
    assert quick_cpus(tmp_path) == set()
    for number, capacity in enumerate([446, 446, 1024, 871]):
        folder = tmp_path / "system/cpu" / f"cpu{number}"
        folder.mkdir(parents=True)
        (folder / "cpu_capacity").write_text(f"{capacity}\n")
    assert quick_cpus(tmp_path) == {2, 3}
    (tmp_path / "cpu_core").mkdir()
    (tmp_path / "cpu_core/cpus").write_text("0-1,3\n")
    assert quick_cpus(tmp_path) == {0, 1, 3}


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
    with pytest.raises(ConfigError, match="'cuda'; use device=cpu"):
        choose_hardware(TrainConfig(device="cuda"))


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


def test_running_out_of_memory_is_one_sentence():
    with pytest.raises(ConfigError, match="ran out"), hardware.memory_errors():
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="another fault"), hardware.memory_errors():
        raise RuntimeError("another fault")


TWO = Hardware("cpu", "fp32", 2, "blocked", "two cores")
CLOCK = TrainConfig(minutes=1.0)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(probe, "has_bf16", lambda: True)
    threads = torch.get_num_threads()
    yield GPT(ModelConfig(vocab_size=7, n_layer=1, n_head=1, n_embd=8, block_size=8, dropout=0.5))
    torch.set_num_threads(threads)


@pytest.fixture
def stopwatch(monkeypatch):
    """Seconds by (threads, precision), to be set by a test; it counts the passes."""
    seconds, calls = {}, []

    def pretend(loss_of, model, ids, threads):
        calls.append(threads)
        return seconds[threads, loss_of]

    monkeypatch.setattr(probe, "loss_function", lambda model, precision: precision)
    monkeypatch.setattr(probe, "_seconds", pretend)
    return seconds, calls


FAST, SLOW = 0.02, 0.03


@pytest.mark.parametrize("winner", [(1, "fp32"), (1, "bf16"), (2, "fp32"), (2, "bf16")])
def test_the_quickest_choice_trains(tiny, stopwatch, winner):
    stopwatch[0].update(
        {(t, p): FAST if (t, p) == winner else SLOW for t in (1, 2) for p in ("fp32", "bf16")}
    )
    found = probe.timed(TWO, tiny.config, CLOCK, (4, 8))
    assert (found.threads, found.precision) == winner and torch.get_num_threads() == winner[0]
    assert "measured: " in found.line() and "times as fast as" in found.line()


def test_bf16_must_be_clearly_faster(tiny, stopwatch):
    stopwatch[0].update({(t, p): 0.020 if p == "fp32" else 0.019 for t in (1, 2) for p in ("fp32", "bf16")})
    assert probe.timed(TWO, tiny.config, CLOCK, (4, 8)).precision == "fp32"


def test_a_machine_without_bf16_races_threads_only(tiny, stopwatch, monkeypatch):
    monkeypatch.setattr(probe, "has_bf16", lambda: False)
    stopwatch[0].update({(1, "fp32"): FAST, (2, "fp32"): SLOW})
    found = probe.timed(TWO, tiny.config, CLOCK, (4, 8))
    assert (found.threads, found.precision) == (1, "fp32") and "bf16" not in found.line()


def test_the_race_is_run_once_per_machine_and_size(tiny, stopwatch):
    seconds, calls = stopwatch
    seconds.update({(t, p): FAST if t == 2 else SLOW for t in (1, 2) for p in ("fp32", "bf16")})
    first = probe.timed(TWO, tiny.config, CLOCK, (4, 8))
    raced = len(calls)
    again = probe.timed(TWO, tiny.config, CLOCK, (4, 8))
    assert len(calls) == raced > 0 and "remembered: " in again.line()
    assert (again.threads, again.precision) == (first.threads, first.precision)
    probe.timed(TWO, tiny.config, CLOCK, (2, 8))
    assert len(calls) > raced, "another size is another race"


def test_that_one_thread_is_best_is_found_anew_each_time(tiny, stopwatch):
    """A neighbour slows all cores and hardly one; he would slow this machine for ever if that was kept."""
    seconds, calls = stopwatch
    seconds.update({(t, p): FAST if t == 1 else SLOW for t in (1, 2) for p in ("fp32", "bf16")})
    assert probe.timed(TWO, tiny.config, CLOCK, (4, 8)).threads == 1
    seconds.update({(t, p): FAST if t == 2 else SLOW for t in (1, 2) for p in ("fp32", "bf16")})
    assert probe.timed(TWO, tiny.config, CLOCK, (4, 8)).threads == 2
    quiet = len(calls)
    assert probe.timed(TWO, tiny.config, CLOCK, (4, 8)).threads == 2 and len(calls) == quiet


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"KEY": 3}', '{"KEY": {"1 fp32": "fast"}}'])
def test_a_damaged_cache_is_ignored_and_replaced(tiny, stopwatch, tmp_path, damage):
    seconds, calls = stopwatch
    seconds.update({(t, p): FAST for t in (1, 2) for p in ("fp32", "bf16")})
    path = tmp_path / "minilm" / probe.CACHE
    path.parent.mkdir()
    path.write_text(damage.replace("KEY", probe.machine_key(tiny.config, (4, 8))))
    probe.timed(TWO, tiny.config, CLOCK, (4, 8))
    assert calls and probe.recalled(probe.machine_key(tiny.config, (4, 8)), [(1, "fp32"), (2, "bf16")])


def test_a_cache_that_cannot_be_written_costs_nothing_else(tiny, stopwatch, tmp_path):
    stopwatch[0].update({(t, p): FAST for t in (1, 2) for p in ("fp32", "bf16")})
    (tmp_path / "minilm").write_text("a file where the folder should be")
    assert probe.timed(TWO, tiny.config, CLOCK, (4, 8)).threads in (1, 2)


@pytest.mark.parametrize("config", [TrainConfig(steps=9), TrainConfig(minutes=1e-9)])
def test_no_race_for_steps_or_where_it_would_cost_too_much(tiny, stopwatch, config):
    stopwatch[0].update({(t, p): FAST for t in (1, 2) for p in ("fp32", "bf16")})
    assert probe.timed(TWO, tiny.config, config, (4, 8)) == TWO


def test_wishes_are_not_raced(tiny, monkeypatch):
    assert probe.open_choices(TWO, CLOCK.replace(threads=2, precision="fp32")) == [(2, "fp32")]
    assert probe.open_choices(TWO, CLOCK.replace(precision="fp32")) == [(2, "fp32"), (1, "fp32")]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert probe.open_choices(TWO, CLOCK) == [(2, "fp32"), (2, "bf16")]


def test_a_race_leaves_no_trace(tiny):
    state = torch.get_rng_state()
    before = [parameter.clone() for parameter in tiny.parameters()]
    found = probe.timed(TWO, tiny.config, CLOCK, (4, 8))
    assert found.threads in (1, 2) and found.precision in ("fp32", "bf16")
    assert torch.equal(state, torch.get_rng_state())
    assert all(map(torch.equal, before, tiny.parameters()))
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
