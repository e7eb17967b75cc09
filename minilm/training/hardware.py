"""Chooses what to compute on: device, number format, threads, attention backend, with the one line that says why.

Knows the machine and the configuration's wishes; no model is built here and nothing is trained. A wish that
the machine cannot grant is a ConfigError; `auto` always finds something.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minilm.attention import choose_backend
from minilm.config import ModelConfig, TrainConfig
from minilm.cost import needed_bytes
from minilm.errors import ConfigError
from minilm.fast.step import quick_forwards, swapped
from minilm.fast.step import speed_up as speed_up

WHY_BACKEND = {
    "fused": "fused attention is the quickest on CUDA",
    "blocked": "blocked attention is the quickest on a CPU",
    "manual": "hand-written attention",
}
COMPILERS = ("g++", "clang++", "c++")
BF16_FLAGS = {
    "avx512_bf16",
    "amx_bf16",
    "bf16",
}  # a CPU without one emulates bfloat16, far slower than float32
RESERVE = 0.9  # of the free memory; the rest is for torch itself


@dataclass(frozen=True)
class Hardware:
    """The choice; `why` explains it in a few words."""

    device: str
    precision: str
    threads: int
    attention: str
    why: str
    compiled: bool = False

    def line(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        compiled = "compiled, " * self.compiled
        return (
            f"{self.device}, {self.precision}, {threads}, {compiled}{self.attention} attention ({self.why})"
        )


def choose_hardware(train: TrainConfig, attention: str = "auto") -> Hardware:
    """Chooses, sets torch's thread count, and checks that the machine has what was asked for.

    >>> hardware = choose_hardware(TrainConfig(device="cpu", threads=1))
    >>> hardware.device, hardware.precision, hardware.threads
    ('cpu', 'fp32', 1)
    """
    device, why_device = _device(train.device)
    precision, why_precision = _precision(train.precision, device)
    threads, why_threads = _threads(train.threads)
    torch.set_num_threads(threads)
    backend = choose_backend(attention, device)
    why_backend = "attention as asked" if attention != "auto" else ""
    if attention == "auto":
        why_backend = WHY_BACKEND[backend]
    compiled, why_compiled = _compiled(train.compile, device)
    reasons = (why_device, why_precision, why_threads, why_backend, why_compiled)
    return Hardware(device, precision, threads, backend, "; ".join(filter(None, reasons)), compiled)


def place(model: torch.nn.Module, device: str) -> None:
    """Moves a model to a device; ConfigError where the machine has none such."""
    model.to(_device(device)[0])


def _device(wish: str) -> tuple[str, str]:
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wish != "auto":
        if not there[wish]:
            raise ConfigError(
                f"device must be one that this machine has, got {wish!r}; use device=cpu or device=auto"
            )
        return wish, f"{wish} as asked"
    found = next(name for name, present in there.items() if present)
    why = (
        torch.cuda.get_device_name() if found == "cuda" else "no GPU found" if found == "cpu" else "Apple GPU"
    )
    return found, why


def _precision(wish: str, device: str) -> tuple[str, str]:
    if wish != "auto":
        return wish, f"{wish} as asked"
    if device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16", ""
    return "fp32", ""


def _compiled(wish: bool, device: str) -> tuple[bool, str]:
    """On a CPU torch.compile writes C++; without a compiler the training goes on as it is, and says so."""
    if not wish:
        return False, ""
    if device == "cuda" or compiler():
        return True, "compiled as asked"
    return False, "not compiled: compile needs a C++ compiler here; install g++ or name one in CXX"


def compiler() -> str | None:
    """The path of the C++ compiler that torch would use, or None."""
    wish = os.environ.get("CXX")
    return shutil.which(wish) if wish else next(filter(None, map(shutil.which, COMPILERS)), None)


def has_bf16(cpuinfo: str | None = None) -> bool:
    """Whether the CPU multiplies bfloat16 by itself.

    >>> has_bf16("flags: avx2 avx512_bf16"), has_bf16("flags: avx2 avx512f"), has_bf16("Features: asimd bf16")
    (True, False, True)
    """
    return bool(BF16_FLAGS & set((_cpuinfo() if cpuinfo is None else cpuinfo).split()))


def _threads(wish: int | None) -> tuple[int, str]:
    if wish is not None:
        return wish, "threads as asked"
    if (variable := os.environ.get("OMP_NUM_THREADS", "")).isdecimal() and int(variable):
        return int(variable), "threads from OMP_NUM_THREADS"
    return physical_cores(), "one thread per physical core"


def physical_cores(cpuinfo: str | None = None, allowed: set[int] | None = None) -> int:
    """Physical cores that this process may use, efficiency cores left out: what waits for the slowest thread must not
    have a slow one. Logical cores where the system does not tell them apart.

    >>> one_core = "processor: 0\\ncore id: 0\\n\\nprocessor: 1\\ncore id: 0"  # with two hardware threads
    >>> physical_cores(one_core, {0, 1})
    1
    """
    if allowed is None:
        if (quick := _apple_cores()) is not None:
            return quick
        affinity = getattr(os, "sched_getaffinity", None)  # Linux only
        allowed = set(affinity(0)) if affinity else set(range(os.cpu_count() or 1))
        allowed = allowed & quick_cpus() or allowed
    cores = {core for number, core in _cores(_cpuinfo() if cpuinfo is None else cpuinfo) if number in allowed}
    return max(1, len(cores) or len(allowed))


def quick_cpus(devices: Path = Path("/sys/devices")) -> set[int]:
    """The logical cores that are no efficiency cores, on Linux; none where it does not tell."""
    try:
        return cpus_of((devices / "cpu_core/cpus").read_text(encoding="ascii"))  # Intel's hybrids
    except (OSError, ValueError):
        pass
    found = {}
    for path in (devices / "system/cpu").glob("cpu[0-9]*/cpu_capacity"):  # Arm: of the strongest one's 1024
        try:
            found[int(path.parent.name[3:])] = int(path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return set()
    return {number for number, capacity in found.items() if 2 * capacity >= max(found.values())}


def cpus_of(listed: str) -> set[int]:
    """
    >>> sorted(cpus_of("0-2,8"))
    [0, 1, 2, 8]
    """
    ends = [part.split("-") for part in listed.strip().split(",")]
    return {number for part in ends for number in range(int(part[0]), int(part[-1]) + 1)}


def _apple_cores() -> int | None:
    """The performance cores of a Mac; None elsewhere, and where it does not tell."""
    if platform.system() != "Darwin":
        return None
    command = ["/usr/sbin/sysctl", "-n", "hw.perflevel0.physicalcpu"]
    try:
        return max(1, int(subprocess.run(command, capture_output=True, text=True, timeout=2).stdout))
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def cpu_name(cpuinfo: str | None = None) -> str:
    """The CPU's model as the system names it, with its stepping; Python's word for it elsewhere.

    >>> cpu_name("model name: Example 9000")
    'Example 9000'
    """
    pairs = (line.partition(":") for line in (_cpuinfo() if cpuinfo is None else cpuinfo).splitlines())
    facts = {key.strip(): value.strip() for key, _, value in pairs}
    named = [facts[key] for key in ("model name", "stepping") if key in facts]
    return ", ".join(named) or platform.processor() or platform.machine()


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cores(cpuinfo: str) -> list[tuple[int, tuple[str, str]]]:
    """(logical number, (socket, core)) of each processor that names its core."""
    found = []
    for block in cpuinfo.split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines())
        facts = {key.strip(): value.strip() for key, _, value in pairs}
        if facts.get("processor", "").isdecimal() and "core id" in facts:
            found.append((int(facts["processor"]), (facts.get("physical id", "0"), facts["core id"])))
    return found


def free_bytes(device: str) -> int | None:
    """Memory that is free for a training, or None where the system does not tell."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    try:
        facts = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    available = [int(line.split()[1]) * 1024 for line in facts if line.startswith("MemAvailable:")]
    return min(available + _container_limit()) if available else None


def _container_limit() -> list[int]:
    """The memory limit of the control group (version 2) that a container runs in, if there is one."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii").strip()
    except OSError:
        return []
    return [max(0, int(limit) - int(used))] if limit.isdecimal() and used.isdecimal() else []


def check_weights(model: ModelConfig) -> None:
    """Refuses, before anything is allocated, weights that this machine cannot hold."""
    tables = model.block_size * model.head_size if model.position == "rope" else 0
    needed, there = 4 * (model.n_parameters + tables), physical_memory()
    if there is not None and needed > there:
        raise ConfigError(
            f"a model must fit into memory: {model.n_parameters:,} parameters need {needed:,} bytes and "
            f"this machine has {there:,}; lower n_embd, n_layer, vocab_size or block_size"
        )


def physical_memory() -> int | None:
    """Bytes of memory in this machine, or None where the system does not say (Windows)."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turns torch's own ways of running out of memory into the user's sentence."""
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError on a GPU, a plain RuntimeError on the CPU
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise ConfigError(
            "the training must fit into memory, and it ran out; choose fewer or narrower layers, a smaller "
            "batch or a shorter context"
        ) from error


def check_memory(model: ModelConfig, train: TrainConfig, device: str) -> None:
    """Refuses a model that cannot be trained here, before a byte of it is allocated."""
    backend = choose_backend(model.attention, device)
    need, free = needed_bytes(model, train, backend), free_bytes(device)
    if free is not None and need > RESERVE * free:
        raise ConfigError(
            f"the model must fit into memory: about {need / 2**30:,.1f} GiB needed for "
            f"{model.n_parameters:,} parameters and a batch of {train.batch_size} x {model.block_size}, "
            f"{free / 2**30:,.1f} GiB free; choose fewer or narrower layers, a smaller batch or context"
        )


def memory_line(model: ModelConfig, train: TrainConfig, device: str) -> str:
    """What a training needs and what there is, for a person who is about to start it."""
    need, free = needed_bytes(model, train, choose_backend(model.attention, device)), free_bytes(device)
    need += (
        3 * 4 * model.n_parameters
    )  # a checkpoint, put together before it is written: weights and two moments
    beside = "" if free is None else f", {free / 2**30:,.1f} GiB are free"
    batch = f"{train.batch_size} x {model.block_size} tokens"
    size = f"{need / 2**30:,.1f} GiB" if need > 2**30 else f"{need / 2**20:,.0f} MiB"
    return f"about {size} for {model.n_parameters:,} parameters and a batch of {batch}{beside}"


LossOf = Callable[[Tensor, Tensor], Tensor]  # ids and targets, (B, T) each -> mean nats per token, ()


def loss_function(model: nn.Module, precision: str, compiled: bool = False) -> LossOf:
    """model(ids, targets=targets).loss, in the number format and compiled or not, as the hardware asks for.

    Some modules compute by their stand-ins of `minilm.fast` meanwhile, where these agree with them.
    """

    def loss_of(ids: Tensor, targets: Tensor) -> Tensor:
        return model(ids, targets=targets)[0]

    if compiled:  # on CUDA the passes are captured once and then replayed
        mode = "reduce-overhead" if next(model.parameters()).is_cuda else None
        loss_of = torch.compile(loss_of, mode=mode, dynamic=False)
    swaps = quick_forwards(model, precision)

    def quick_loss_of(ids: Tensor, targets: Tensor) -> Tensor:
        with swapped(swaps):
            return loss_of(ids, targets)

    return quick_loss_of


def compile_now(loss_of: LossOf, model: nn.Module, batch: tuple[int, int]) -> float:
    """Seconds that the first passes on a batch of that shape (B, T) take, which compile; they leave no trace."""
    started = time.monotonic()
    ids = torch.zeros(batch, dtype=torch.int64, device=next(model.parameters()).device)
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if ids.is_cuda else []):
        loss_of(ids, ids).backward()
    model.zero_grad(set_to_none=True)
    return time.monotonic() - started


class Readings:
    """Brings the loss and the gradient's norm of each step to the host without making a GPU wait.

    On a CPU they are known at once. On CUDA a step's numbers are read while the next one computes, so a bad step is
    noticed one step late: the best weights are safe, the running ones are lost with the training that ends there.

    >>> Readings().put(1, 0.1, torch.tensor(2.0), torch.tensor(0.5))
    [(1, 0.1, 2.0, 0.5)]
    """

    def __init__(self) -> None:
        self._under_way: list[tuple[int, float, Tensor, Any]] = []

    def put(
        self, step: int, rate: float, loss: Tensor, norm: Tensor
    ) -> list[tuple[int, float, float, float]]:
        """The (step, rate, loss, norm) that are known without waiting for a GPU."""
        if not loss.is_cuda:
            return [(step, rate, loss.item(), norm.item())]
        earlier, arrived = self.drain(), torch.cuda.Event()
        pair = torch.stack([loss.detach().float(), norm.float()]).to("cpu", non_blocking=True)
        arrived.record()
        self._under_way.append((step, rate, pair, arrived))
        return earlier

    def drain(self) -> list[tuple[int, float, float, float]]:
        """All that is under way, waited for."""
        found = []
        for step, rate, pair, arrived in self._under_way:
            arrived.synchronize()
            found.append((step, rate, *pair.tolist()))
        self._under_way = []
        return found
