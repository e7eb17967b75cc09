"""Trains against nanoGPT's recipe for a CPU, on Tiny Shakespeare cut 90 / 10, both trained here on the same threads.

Three questions: what loss does nanoGPT reach after its 2000 steps, and in how many seconds; what loss do our recipes
reach in those seconds, the preset's and the one that the tuner's law chooses for them; and in which share of them is
nanoGPT's loss reached. Seconds are of training alone, losses exact on the whole 10 %. A track of its own is each of
our models mixed with counting; its weight is fitted on those 10 %, since this cut has no other validation split.
nanoGPT is read from a checkout of yours (--nanogpt PATH); its loop, which is a script there, is followed here: batch
12 of 64, AdamW, rate 1e-3 with 100 steps of warm-up and a cosine to 1e-4.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import common
import numpy as np
import torch

from minilm.text.ngram import Counted, count

# what our recipe looks like when seconds are few: narrow, and with what the network would first have to find out
QUICK: dict[str, Any] = {"n_layer": 2, "n_embd": 64, "n_head": 2}


class Scored(torch.nn.Module):
    """nanoGPT's model as `exact_loss` wants it: logits of every position. It gives them with targets only."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model, model.config

    def forward(self, ids: torch.Tensor) -> tuple[None, torch.Tensor]:
        ids = ids.contiguous()  # nanoGPT views them as one row
        return None, self.model(ids, ids)[0]


def nanogpt(arguments: argparse.Namespace, seed: int) -> tuple[float, float]:
    """(seconds of training, exact loss) of nanoGPT's recipe."""
    from minilm.training.evaluate import exact_loss

    module, (corpus, val) = common.load_nanogpt(arguments.nanogpt), common.shakespeare()
    torch.manual_seed(seed)
    shape = {"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64, "dropout": 0.0, "bias": False}
    model = module.GPT(module.GPTConfig(vocab_size=corpus.tokenizer.vocab_size, **shape))
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu")
    data = np.asarray(corpus.train).astype(np.uint16)
    started = time.perf_counter()
    for step in range(arguments.steps):
        _nanogpt_step(model, optimizer, data, step, arguments.steps)
    seconds = time.perf_counter() - started
    return seconds, exact_loss(Scored(model), val, before=int(corpus.train[-1]))


def _nanogpt_step(model: Any, optimizer: Any, data: np.ndarray, step: int, steps: int) -> None:
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, (step - 100) / (steps - 100))))
    rate = 1e-3 * (step + 1) / 101 if step < 100 else 1e-4 + cosine * 9e-4
    for group in optimizer.param_groups:
        group["lr"] = rate
    places = torch.randint(len(data) - 64, (12,)).tolist()
    x = torch.stack([torch.from_numpy(data[i : i + 64].astype(np.int64)) for i in places])
    y = torch.stack([torch.from_numpy(data[i + 1 : i + 65].astype(np.int64)) for i in places])
    loss = model(x, y)[1]
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def ours(
    arguments: argparse.Namespace, seconds: float, seed: int, model: dict[str, Any], counted: Counted
) -> tuple[float, dict[str, Any]]:
    """Exact loss of the preset after so many seconds of training, everything that a training does in them included;
    and the mixture with counting, whose seconds are not among them."""
    from minilm.config import PRESETS, ModelConfig, TrainConfig

    corpus, _ = common.shakespeare(arguments.tokens)
    preset = PRESETS[arguments.preset]
    shape = ModelConfig.from_dict({"vocab_size": corpus.tokenizer.vocab_size, **preset.model, **model})
    plain = TrainConfig.from_dict({**preset.train, "evaluations": 1, "eval_chars": 1024})
    return trained(arguments, corpus, shape, plain, seconds, seed, counted)


def chosen(
    arguments: argparse.Namespace, seconds: float, seed: int, counted: Counted
) -> tuple[float, dict[str, Any]]:
    """The same of the recipe that the law chooses for those seconds, as `tune` first does with these tokens; it also
    ends where the text is used up, and keeps the weights that were best in up to 20 evaluations on a part of the 10 %.
    What the choice takes is not among the seconds; it is printed."""
    from minilm.tuner import measure
    from minilm.tuner.budget import TIMED, prices
    from minilm.tuner.choose import Outlook, Text, choose, without_tokens
    from minilm.tuner.plan import as_cut
    from minilm.tuner.space import to_configs

    started, (corpus, _) = time.perf_counter(), common.shakespeare(arguments.tokens)
    limits = measure.limits_of(corpus, "cpu", 1)
    machine = {"threads": arguments.threads, "precision": arguments.precision}
    timed = [{**point, **machine} for point in TIMED]
    priced = prices(measure.timed_steps(timed, corpus.tokenizer.vocab_size, limits, seconds / 60))
    outlook = Outlook(priced, Text(corpus.characters["train"], as_cut(corpus)), limits)
    point = choose(outlook, seconds, seed).point
    shape, config = to_configs(without_tokens(point), corpus.tokenizer.vocab_size, limits)
    most = round(outlook.useful_tokens(point) / (config.batch_size * shape.block_size))
    print(
        f"chosen within {time.perf_counter() - started:.1f} s, for at most {most} steps: {point}", flush=True
    )
    usual = config.replace(evaluations=20, eval_chars=16384)
    return trained(arguments, corpus, shape, usual, seconds, seed, counted, most)


def trained(
    arguments: argparse.Namespace,
    corpus: Any,
    shape: Any,
    config: Any,
    seconds: float,
    seed: int,
    counted: Counted,
    most_steps: int | None = None,
) -> tuple[float, dict[str, Any]]:
    from minilm.training.evaluate import exact_loss
    from minilm.training.mixture import mixture
    from minilm.training.session import run_training

    machine = {"threads": arguments.threads, "precision": arguments.precision}
    config = config.replace(minutes=seconds / 60, seed=seed, patience=None, **machine)
    run = run_training(corpus, shape, config, test=False, most_steps=most_steps)
    print(f"{run.result['steps']} steps in {run.result['seconds']:.1f} s", flush=True)
    mixed = mixture(run.model, corpus, counted)
    assert mixed is not None
    return exact_loss(run.model, **corpus.scored("val")), mixed


def main() -> None:
    parser = common.parser(__doc__ or "")
    parser.add_argument("--steps", type=int, default=2000, help="of nanoGPT")
    parser.add_argument("--preset", default="fast", help="of ours")
    parser.add_argument(
        "--tokens", default="bpe:1024", help="of ours: characters or bpe:N; losses are per character"
    )
    parser.add_argument("--precision", default="auto", help="of ours: auto, fp32 or bf16; nanoGPT has fp32")
    parser.add_argument("--shares", type=float, nargs="*", default=[6, 10, 12], help="of nanoGPT's seconds")
    arguments = parser.parse_args()
    if not arguments.nanogpt:
        raise SystemExit("give --nanogpt PATH, a checkout of nanoGPT")
    torch.set_num_threads(arguments.threads)
    started = time.process_time()
    corpus, _ = common.shakespeare(arguments.tokens)
    print(f"our tokens, {arguments.tokens}: made in {time.process_time() - started:.1f} CPU s", flush=True)
    counted = count(corpus)
    took: dict[str, list[float]] = {"nanoGPT": []}
    losses: dict[str, list[float]] = {"nanoGPT": []}
    for seed in range(arguments.rounds):
        seconds, loss = nanogpt(arguments, seed)
        took["nanoGPT"].append(seconds)
        losses["nanoGPT"].append(loss)
        print(f"seed {seed}: nanoGPT: {seconds:.1f} s, {loss:.4f}", flush=True)
        sides: dict[str, tuple[float, Any]] = {f"{arguments.preset}, as many seconds": (seconds, {})}
        sides |= {
            f"{arguments.preset} 2 x 64, 1/{k:g} of them": (seconds / k, QUICK) for k in arguments.shares
        }
        by_law = "the law's choice, as many seconds"
        for name, (budget, model) in {by_law: (seconds, None), **sides}.items():
            if model is None:
                loss, mixed = chosen(arguments, budget, seed, counted)
            else:
                loss, mixed = ours(arguments, budget, seed, model, counted)
            losses.setdefault(name, []).append(loss)
            losses.setdefault(f"{name}, with counting", []).append(mixed["val"])
            words = f"{loss:.4f}, with counting {mixed['val']:.4f} (weight {mixed['weight']:.2f})"
            print(f"seed {seed}: {name}: {budget:.1f} s, {words}", flush=True)
    facts = {"steps": arguments.steps, "preset": arguments.preset, "our precision": arguments.precision}
    common.report("nanoGPT's seconds", took, "s", arguments, **facts)
    common.report("loss against nanoGPT", losses, "nats", arguments, against="nanoGPT", **facts)


if __name__ == "__main__":
    main()
