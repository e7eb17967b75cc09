"""What a counting prior is worth: four tracks at equal seconds, on Tiny Shakespeare cut 90 / 10, with several seeds.

The decoder by itself; counting by itself; the two mixed as they are, each position's probabilities in the share that
is best on the 10 % (of nine, which flatters the mixture a little); and a decoder trained on top of the counts. Losses
are exact on the whole 10 %, in windows of the decoder's context. The order of the counts is chosen on the 10 %, as in
every table of ours. The seconds are of wall clock and hold all that a training does; where it counts first, what
that takes is measured and taken off its training. Give nanoGPT's own seconds from `nanogpt.py` to compare with it.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import common
import numpy as np
import torch
from torch import Tensor, nn

SHARES = [tenths / 10 for tenths in range(1, 10)]  # of the decoder, in the plain mixture


def scores(model: Callable[[Tensor], Tensor], tokens: np.ndarray, T: int) -> Tensor:
    """Log probability that a model gives each token (N,) but the first, in windows that do not overlap, (N - 1,)."""
    found = []
    text = torch.from_numpy(tokens.astype(np.int64))
    whole = (len(text) - 1) // T * T
    parts = [*zip(text[:whole].view(-1, T).split(64), text[1 : whole + 1].view(-1, T).split(64), strict=True)]
    if whole < len(text) - 1:
        parts.append((text[None, whole:-1], text[None, whole + 1 :]))
    with torch.inference_mode():
        for ids, targets in parts:
            found.append(model(ids).log_softmax(-1).gather(-1, targets[..., None]).flatten())
    return torch.cat(found).double()


def configs(arguments: argparse.Namespace, seconds: float, seed: int, prior: str) -> tuple[Any, Any]:
    """(ModelConfig, TrainConfig) of the preset for so many seconds."""
    from minilm.config import PRESETS, ModelConfig, TrainConfig

    preset, corpus = PRESETS[arguments.preset], common.shakespeare()[0]
    shape = ModelConfig.from_dict({"vocab_size": corpus.tokenizer.vocab_size, **preset.model})
    quiet = {"evaluations": 1, "eval_chars": 1024, "patience": None, "threads": arguments.threads}
    fitted = {**preset.train, **quiet, "seed": seed, "prior": prior}
    return shape, TrainConfig.from_dict({**fitted, "steps": None, "minutes": seconds / 60})


def trained(arguments: argparse.Namespace, seconds: float, seed: int, prior: str) -> tuple[nn.Module, float]:
    """(model, exact loss) of one training."""
    from minilm.training.evaluation import exact_loss
    from minilm.training.session import run_training

    corpus, val = common.shakespeare()
    run = run_training(corpus, *configs(arguments, seconds, seed, prior), test=False)
    return run.model, exact_loss(run.model, val, before=int(corpus.train[-1]))


def mixed(decoder: nn.Module, prior: nn.Module) -> tuple[float, float]:
    """(loss, share) of the best plain mixture."""
    corpus, val = common.shakespeare()
    tokens = np.concatenate([corpus.train[-1:], val])
    T = decoder.config.block_size
    one, two = scores(lambda ids: decoder(ids)[1], tokens, T), scores(prior, tokens, T)
    losses = {s: -torch.logaddexp(one + math.log(s), two + math.log(1 - s)).mean().item() for s in SHARES}
    return min((loss, share) for share, loss in losses.items())


def main() -> None:
    from minilm.config import DEFAULT_PRESET
    from minilm.model import GPT
    from minilm.text.ngram import counting_baseline
    from minilm.training.session import with_prior

    parser = common.parser(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=100.0, help="of each training")
    parser.add_argument("--preset", default=DEFAULT_PRESET, help="of the decoder, alone and on the prior")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    counting = counting_baseline(common.shakespeare()[0])
    names = ("decoder", "counting", "plain mixture", "decoder on the counting prior")
    losses: dict[str, list[float]] = {name: [] for name in names}
    for seed in range(arguments.rounds):
        shape, config = configs(arguments, arguments.seconds, seed, "ngram")
        started = time.perf_counter()
        prior = with_prior(GPT(shape), config, common.shakespeare()[0]).prior
        counted = time.perf_counter() - started
        if counted >= arguments.seconds:
            raise SystemExit(f"counting alone took {counted:.1f} s; give more --seconds than that")
        decoder, alone = trained(arguments, arguments.seconds, seed, "none")
        loss, share = mixed(decoder, prior)
        together = trained(arguments, arguments.seconds - counted, seed, "ngram")[1]
        for name, value in zip(names, (alone, counting["val"], loss, together), strict=True):
            losses[name].append(value)
        print(
            f"seed {seed}: {alone:.4f} alone, {loss:.4f} mixed ({share:.1f} of it), {together:.4f} on the prior"
        )
        print(f"        counting took {counted:.1f} s of {arguments.seconds:g}", flush=True)
    print(f"\n| {arguments.seconds:g} s, {arguments.preset} | exact loss, mean | spread |\n|---|---|---|")
    for name, values in losses.items():
        print(f"| {name} | {statistics.mean(values):.4f} | {max(values) - min(values):.4f} |")
    facts = {"seconds": arguments.seconds, "preset": arguments.preset, "order": counting["order"]}
    common.report("counting prior", losses, "nats", arguments, against="decoder", **facts)


if __name__ == "__main__":
    main()
