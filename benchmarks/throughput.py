"""Measures training in tokens per second against nanoGPT and transformers, the same model and batch on every side, and
the share of the machine's own matrix products in that; or against the package of another checkout.

`narrow` is nanoGPT's recipe for a CPU (4 layers, 4 heads, 128 wide, context 64, batch 12), `wide` is 6 layers, 6 heads,
384 wide, context 256, batch 4. Every side takes whole steps as its own training loop takes them: a batch from the
text, forward, backward, clipping, AdamW, the loss on the host. Sides run in turns; the first steps of each warm up.

The share: all matrix products of one step, of the same shapes and number format, are timed alone (torch.matmul on
tensors that exist already, forward and both products of backward, attention's as full squares), and their seconds are
divided by the step's. At 100 % a step would cost nothing but its products; blocks of attention that are skipped count
in our favour, as they are saved work.

With `--against PATH` the default recipe trains by this package and by that of the other checkout, in turns: `narrow` is
then 3 layers, 128 wide, context 128, `wide` 4 layers, 384 wide, context 256, each with the recipe's own batch.

    python benchmarks/throughput.py --against ../before --sittings 5 --rounds 6 --steps 10 --threads 2
    python benchmarks/throughput.py --against ../before --sittings 1 --rounds 2 --steps 2 --warm 1  # a quick try
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import checkouts
import common
import numpy as np
import torch

SHAPES: dict[str, tuple[dict[str, int], int]] = {
    "narrow": ({"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64}, 12),
    "wide": ({"n_layer": 6, "n_head": 6, "n_embd": 384, "block_size": 256}, 4),
}
RECIPE: dict[str, dict[str, int]] = {  # of the default recipe, against another checkout
    "narrow": {"n_layer": 3, "n_head": 4, "n_embd": 128, "block_size": 128},
    "wide": {"n_layer": 4, "n_head": 12, "n_embd": 384, "block_size": 256},
}
OURS = "minilm"
Steps = Callable[[int], float]  # how many steps -> their seconds
GROUPS = {  # of the profile: the first group that has a part of the operation's name
    "attention": ("BlockedCausal", "scaled_dot", "softmax"),
    "norms": ("layer_norm", "RmsByHand", "rms_norm", "vector_norm"),
    "optimizer": ("adamw", "_foreach"),
    "loss": ("nll", "log_softmax", "cross_entropy"),
    "products": ("aten::mm", "aten::addmm", "aten::bmm", "baddbmm", "mkldnn"),
}


def minilm_side(
    shape: dict[str, int], batch: int, threads: int, changes: dict[str, Any], now: Callable[[], float]
) -> Steps:
    """Whole steps of our trainer, nanoGPT's model; `changes` are fields of TrainConfig."""
    from minilm.config import PRESETS, ModelConfig, TrainConfig
    from minilm.model import GPT
    from minilm.training.clock import Clock
    from minilm.training.hardware import choose_hardware
    from minilm.training.loop import Trainer

    corpus, val = common.shakespeare()
    vocab = {"vocab_size": corpus.tokenizer.vocab_size}
    preset = PRESETS["nano"]
    fixed = {"steps": 10**7, "batch_size": batch, "threads": threads, "device": "cpu"}
    quiet = {"evaluations": 1, "eval_chars": 1, "patience": None}
    config = TrainConfig.from_dict({**preset.train, **fixed, **quiet, **changes})
    hardware = choose_hardware(config)
    print(f"hardware  {hardware.line()}")
    model = GPT(ModelConfig.from_dict({**vocab, **preset.model, **shape, "attention": hardware.attention}))
    clock = Clock(config, (len(val), 0), corpus.tokenizer.vocab_size)
    trainer = Trainer(model, corpus.train, {"tokens": val}, config, hardware, clock)
    return lambda steps: sum(common.step_seconds(trainer, steps, now))


def nanogpt_side(path: str, shape: dict[str, int], batch: int) -> Callable[[], Any]:
    """One step as nanoGPT's train.py takes it on a CPU: a memory map opened anew, sliced row by row; AdamW."""
    module, (corpus, _) = common.load_nanogpt(path), common.shakespeare()
    config = module.GPTConfig(vocab_size=corpus.tokenizer.vocab_size, dropout=0.0, bias=False, **shape)
    with contextlib.redirect_stdout(io.StringIO()):
        model = module.GPT(config)
        optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu")
    folder = tempfile.TemporaryDirectory()  # lives as long as the step that refers to it
    file, T = os.path.join(folder.name, "train.bin"), shape["block_size"]
    np.asarray(corpus.train).astype(np.uint16).tofile(file)

    def step(folder: Any = folder) -> float:
        data = np.memmap(file, dtype=np.uint16, mode="r")
        places = torch.randint(len(data) - T, (batch,))
        x = torch.stack([torch.from_numpy(data[i : i + T].astype(np.int64)) for i in places])
        y = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + T].astype(np.int64)) for i in places])
        loss = model(x, y)[1]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


class Windows(torch.utils.data.Dataset):
    """The text as transformers' Trainer takes it: one dictionary per window."""

    def __init__(self, tokens: np.ndarray, T: int) -> None:
        self.tokens, self.T = torch.from_numpy(np.asarray(tokens).astype(np.int64)), T

    def __len__(self) -> int:
        return len(self.tokens) // self.T

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        window = self.tokens[index * self.T : (index + 1) * self.T]
        return {"input_ids": window, "labels": window}


def transformers_seconds(shape: dict[str, int], batch: int, warm: int, steps: int) -> float:
    """Seconds per step of GPT2LMHeadModel under transformers' Trainer, measured from its own callbacks."""
    import transformers

    corpus, _ = common.shakespeare()
    names = {"n_positions": shape["block_size"], **{k: v for k, v in shape.items() if k != "block_size"}}
    off = {
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    config = transformers.GPT2Config(vocab_size=corpus.tokenizer.vocab_size, **names, **off)
    moments: list[float] = []

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, *arguments: Any, **named: Any) -> None:
            moments.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        settings = transformers.TrainingArguments(
            folder,
            max_steps=warm + steps,
            per_device_train_batch_size=batch,
            learning_rate=1e-3,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        )
        data = Windows(corpus.train, shape["block_size"])
        model = transformers.GPT2LMHeadModel(config)
        transformers.Trainer(model, settings, train_dataset=data, callbacks=[Clock()]).train()
    return (moments[-1] - moments[warm - 1]) / steps


def products(shape: dict[str, int], batch: int, vocab: int, dtype: torch.dtype) -> list[Callable[[], Any]]:
    """Every matrix product of one step: (rows, in) x (in, out), and the two of its backward pass."""
    L, H, C, T = shape["n_layer"], shape["n_head"], shape["n_embd"], shape["block_size"]
    N, D, rows = batch * H, C // H, batch * T
    calls: list[Callable[[], Any]] = []

    def three(x: torch.Tensor, w: torch.Tensor, times: int) -> None:
        y = x @ w
        calls.extend([lambda: x @ w, lambda: y @ w.mT, lambda: x.mT @ y] * times)

    for width_in, width_out in ((C, 3 * C), (C, C), (C, 4 * C), (4 * C, C)):
        three(torch.randn(rows, width_in, dtype=dtype), torch.randn(width_out, width_in, dtype=dtype).mT, L)
    three(torch.randn(rows, C), torch.randn(vocab, C).mT, 1)  # the head is float32 on every side
    q, k, v = (torch.randn(N, T, D, dtype=dtype) for _ in range(3))
    three(q, k.mT, L)
    three(torch.randn(N, T, T, dtype=dtype), v, L)
    return calls


def profile(take: Steps, steps: int) -> None:
    """Where the CPU time of a step goes, by kind of operation; what no operation has is Python's and torch's own.

    An evaluation of one window and the saving of the best weights come once at the end.
    """
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as measured:
        started = time.perf_counter()
        take(steps)
        total = time.perf_counter() - started
    spent = dict.fromkeys([*GROUPS, "other operations"], 0.0)
    names: dict[str, float] = {}
    for event in measured.key_averages():
        group = next(
            (g for g, parts in GROUPS.items() if any(p in event.key for p in parts)), "other operations"
        )
        spent[group] += event.self_cpu_time_total / 1e6
        names[event.key] = event.self_cpu_time_total / 1e6
    print(
        f"\nprofile: {1000 * total / steps:.1f} ms a step while profiled; attention's products count as products"
    )
    for group, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"  {group:<34}{1000 * seconds / steps:8.2f} ms{100 * seconds / total:7.1f} %")
    print(f"  {'Python':<34}{1000 * max(0.0, total - sum(spent.values())) / steps:8.2f} ms")
    for name, seconds in sorted(names.items(), key=lambda item: -item[1])[:12]:
        print(f"    {name[:50]:<52}{1000 * seconds / steps:8.2f} ms")


def sides_of(arguments: argparse.Namespace, name: str) -> Iterator[tuple[str, Callable[[], float]]]:
    """(name, seconds per step) of each side."""
    shape, batch = SHAPES[name]
    clock = common.CLOCKS[arguments.clock]
    formats = arguments.precision or {"narrow": ["fp32"], "wide": ["fp32", "bf16"]}[name]

    def timed(take: Steps) -> Callable[[], float]:
        take(arguments.warm)
        return lambda: take(arguments.steps) / arguments.steps

    def repeated(step: Callable[[], Any]) -> Steps:
        def take(steps: int) -> float:
            started = clock()
            for _ in range(steps):
                step()
            return clock() - started

        return take

    if arguments.nanogpt:
        yield "nanoGPT", timed(repeated(nanogpt_side(arguments.nanogpt, shape, batch)))
    for format in formats:
        changes = {"precision": format}
        yield f"{OURS} {format}", timed(minilm_side(shape, batch, arguments.threads, changes, clock))
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[format]
        alone = products(shape, batch, 65, dtype)
        yield f"products alone {format}", timed(repeated(lambda alone=alone: [call() for call in alone]))
    if arguments.transformers:
        yield "transformers", lambda: transformers_seconds(shape, batch, arguments.warm, arguments.steps)


def measure(arguments: argparse.Namespace, name: str) -> None:
    shape, batch = SHAPES[name]
    seconds = common.in_turns(dict(sides_of(arguments, name)), arguments.rounds)
    tokens = batch * shape["block_size"]
    rates = {side: [tokens / value for value in values] for side, values in seconds.items()}
    medians = {side: sorted(values)[len(values) // 2] for side, values in seconds.items()}
    formats = [side.split()[-1] for side in seconds if side.startswith("products")]
    shares = {f: round(medians[f"products alone {f}"] / medians[f"{OURS} {f}"], 4) for f in formats}
    against = "nanoGPT" if arguments.nanogpt else f"{OURS} {formats[0]}"
    common.report(
        f"training, {name}", rates, "tokens/s", arguments, against=against, share_of_products=shares
    )
    print("share of the machine's products: " + ", ".join(f"{f} {100 * s:.0f} %" for f, s in shares.items()))


def against_checkout(arguments: argparse.Namespace, name: str) -> None:
    """The default recipe's steps by both packages."""
    from minilm.config import default_recipe

    batch = default_recipe()[1].batch_size
    facts = {key: getattr(arguments, key) for key in ("threads", "clock", "warm", "steps")}
    for format in arguments.precision or ["fp32"]:
        job = {**facts, "precision": format, "model": RECIPE[name]}
        title, tokens = f"training, {name}, {format}", batch * RECIPE[name]["block_size"]
        checkouts.compare(title, arguments, "training", job, "tokens/s", lambda s, n=tokens: n / s)


def main() -> None:
    parser = common.parser(__doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    checkouts.add_flags(parser)
    parser.add_argument("--shapes", nargs="+", choices=tuple(SHAPES), default=list(SHAPES))
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), help="default: fp32; wide: both")
    parser.add_argument("--steps", type=int, default=10, help="of a side in one round")
    parser.add_argument("--warm", type=int, default=3, help="steps of each side before the clock runs")
    parser.add_argument("--transformers", action="store_true", help="measure transformers' Trainer, too")
    parser.add_argument(
        "--profile", action="store_true", help="say where our step's time goes, and nothing else"
    )
    arguments = parser.parse_args()
    missing = [name for name in ("transformers", "accelerate") if importlib.util.find_spec(name) is None]
    if arguments.transformers and missing:
        raise SystemExit(f"--transformers needs {' and '.join(missing)}; pip install 'transformers[torch]'")
    common.check_clock(arguments)
    if arguments.clock == "cpu" and arguments.transformers:
        raise SystemExit("--clock cpu is without --transformers, whose clock is the wall's")
    torch.set_num_threads(arguments.threads)
    for name in arguments.shapes:
        if arguments.against:
            against_checkout(arguments, name)
            continue
        if not arguments.profile:
            measure(arguments, name)
            continue
        shape, batch = SHAPES[name]
        for format in arguments.precision or ["fp32"]:
            changes = {"precision": format}
            take = minilm_side(shape, batch, arguments.threads, changes, time.perf_counter)
            take(2)  # agreement and warming up
            profile(take, arguments.steps)


if __name__ == "__main__":
    main()
