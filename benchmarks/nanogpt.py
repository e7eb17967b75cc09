"""Against nanoGPT's recipe for a CPU, on Tiny Shakespeare cut 90 / 10, both trained in this run on the same threads.

Three questions: what loss does nanoGPT reach after its 2000 steps, and in how many seconds; what loss does the
default recipe reach in those seconds; and in a sixth and a tenth of them. Seconds are of training alone, losses
exact on the whole 10 %. nanoGPT is read from a checkout of yours (--nanogpt PATH); its loop, which is a script
there, is followed here: batch 12 of 64, AdamW, rate 1e-3 with 100 steps of warm-up and a cosine to 1e-4.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import common
import numpy as np
import torch

# what the default recipe should look like when seconds are few; the tuner finds such shapes by itself
QUICK: dict[str, Any] = {"n_layer": 2, "n_embd": 96, "n_head": 3, "block_size": 64}
QUICK_TRAIN: dict[str, Any] = {"batch_size": 12}


class Scored(torch.nn.Module):
    """nanoGPT's model as `exact_loss` wants it: logits of every position. It gives them with targets only."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model, model.config

    def forward(self, ids: torch.Tensor) -> tuple[None, torch.Tensor]:
        return None, self.model(ids, ids)[0]


def nanogpt(arguments: argparse.Namespace, seed: int) -> tuple[float, float]:
    """(seconds of training, exact loss) of nanoGPT's recipe."""
    from minilm.training.evaluation import exact_loss

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
    arguments: argparse.Namespace, seconds: float, seed: int, model: dict[str, Any], train: dict[str, Any]
) -> float:
    """Exact loss after so many seconds of training."""
    from minilm import ModelConfig, TrainConfig
    from minilm.training.evaluation import exact_loss
    from minilm.training.session import run_training

    corpus, val = common.shakespeare()
    shape = ModelConfig.from_dict({"vocab_size": corpus.tokenizer.vocab_size, **model})
    quiet = {"evaluations": 1, "eval_chars": 1024, "patience": None, "threads": arguments.threads}
    config = TrainConfig.from_dict({**quiet, **train, "minutes": seconds / 60, "seed": seed})
    run = run_training(corpus, shape, config, test=False)
    return exact_loss(run.model, val, before=int(corpus.train[-1]))


def main() -> None:
    parser = common.parser(__doc__ or "")
    parser.add_argument("--steps", type=int, default=2000, help="of nanoGPT")
    arguments = parser.parse_args()
    if not arguments.nanogpt:
        raise SystemExit("give --nanogpt PATH, a checkout of nanoGPT")
    torch.set_num_threads(arguments.threads)
    took: dict[str, list[float]] = {"nanoGPT": []}
    losses: dict[str, list[float]] = {"nanoGPT": []}
    for seed in range(arguments.rounds):
        seconds, loss = nanogpt(arguments, seed)
        took["nanoGPT"].append(seconds)
        losses["nanoGPT"].append(loss)
        sides = {
            "default recipe, as many seconds": (seconds, {}, {}),
            "default recipe, a sixth": (seconds / 6, {}, {}),
            "2 x 96, context 64, a sixth": (seconds / 6, QUICK, QUICK_TRAIN),
            "2 x 96, context 64, a tenth": (seconds / 10, QUICK, QUICK_TRAIN),
        }
        for name, (budget, model, train) in sides.items():
            losses.setdefault(name, []).append(ours(arguments, budget, seed, model, train))
            print(f"seed {seed}: {name}: {budget:.1f} s, {losses[name][-1]:.4f}", flush=True)
    common.report("nanoGPT's seconds", took, "s", arguments, steps=arguments.steps)
    common.report("loss against nanoGPT", losses, "nats", arguments, against="nanoGPT", steps=arguments.steps)


if __name__ == "__main__":
    main()
