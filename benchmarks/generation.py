"""Generation and evaluation: tokens per second against nanoGPT and transformers, all sides with the same weights.

Greedy texts are compared before anything is timed: a side that writes other tokens ends the benchmark. GPT-2's
architecture in two sizes, fp32, one token as the prompt; within the context means context - 1 new tokens, beyond
it starts from a full window. nanoGPT comes from a checkout of yours (--nanogpt PATH; its exact GELU is exchanged for
GPT-2's tanh form, of the same cost), transformers from where it is installed; either may be absent. Weights are
random, but for speculative decoding, where a model is trained first: how often a draft is right depends on that.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import common
import torch

SIZES: dict[str, dict[str, int]] = {
    "0.8M": {"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64},
    "10.65M": {"n_layer": 6, "n_head": 6, "n_embd": 384, "block_size": 256},
}
V, STREAMS = 65, 64
CONV1D = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
Generate = Callable[[torch.Tensor, int], torch.Tensor]


def our_model(size: dict[str, int]) -> Any:
    """Random weights, large enough that texts vary and that rounding decides no token."""
    from minilm import GPT, ModelConfig

    torch.manual_seed(0)
    model = GPT(ModelConfig.gpt2(V, **size)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.08 * torch.randn_like(parameter))
    return model


def nanogpt(path: str, ours: Any) -> Generate:
    """nanoGPT's generate with our weights; its linear maps are ours, not transposed as Hugging Face's are."""
    from minilm.interop.huggingface import to_huggingface

    module, config = common.load_nanogpt(path), ours.config
    shape = {
        name: getattr(config, name) for name in ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")
    }
    model = module.GPT(module.GPTConfig(**shape, dropout=0.0, bias=True)).eval()
    for block in model.transformer.h:
        block.mlp.gelu = torch.nn.GELU(approximate="tanh")
    tensors = to_huggingface(config, ours.state_dict())[1]
    model.load_state_dict(
        {name: t.t() if name.endswith(CONV1D) else t for name, t in tensors.items()}, strict=False
    )
    return lambda ids, n: model.generate(ids, n, top_k=1)


def transformers(ours: Any) -> Generate:
    """GPT2LMHeadModel.generate, with its cache as by default."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from minilm.interop.huggingface import to_huggingface

    settings, tensors = to_huggingface(ours.config, ours.state_dict())
    model = GPT2LMHeadModel(GPT2Config(**settings)).eval()
    model.load_state_dict(tensors, strict=False)
    options = {"do_sample": False, "use_cache": True, "eos_token_id": None, "pad_token_id": 0}
    return lambda ids, n: model.generate(
        ids, max_new_tokens=n, attention_mask=torch.ones_like(ids), **options
    )


def sides_of(arguments: argparse.Namespace, ours: Any) -> dict[str, Generate]:
    """Everybody who is there."""
    sides: dict[str, Generate] = {}
    if arguments.nanogpt:
        sides["nanoGPT"] = nanogpt(arguments.nanogpt, ours)
    if importlib.util.find_spec("transformers"):
        sides["transformers, cached"] = transformers(ours)
    sides["minilm"] = lambda ids, n: ours.generate(ids, n, temperature=0)
    return sides


def same_tokens(sides: dict[str, Generate], ids: torch.Tensor, n: int) -> None:
    """Ends the benchmark where a side writes another text; warms all of them up on the way."""
    texts = {name: generate(ids, n) for name, generate in sides.items()}
    wrong = [name for name, text in texts.items() if not torch.equal(text, texts["minilm"])]
    if wrong:
        raise SystemExit(f"not the same tokens as minilm: {', '.join(wrong)}")


def speeds(sides: dict[str, Generate], ids: torch.Tensor, n: int, rounds: int) -> dict[str, list[float]]:
    """New tokens per second of each side, all texts together."""

    def rate(generate: Generate) -> float:
        return n * len(ids) / common.seconds(lambda: generate(ids, n))

    return common.in_turns({name: lambda g=g: rate(g) for name, g in sides.items()}, rounds)


def within(name: str, arguments: argparse.Namespace) -> None:
    """One text, then 64 of them, while all fits into the context."""
    ours = our_model(SIZES[name])
    n, ids, sides = (
        ours.config.block_size - 1,
        torch.zeros(1, 1, dtype=torch.int64),
        sides_of(arguments, ours),
    )
    same_tokens(sides, ids, n)
    values = speeds(sides, ids, n, arguments.rounds)
    many = torch.arange(STREAMS)[:, None] % V
    plain = {"minilm": sides["minilm"]}
    values[f"minilm, {STREAMS} streams"] = speeds(plain, many, n, arguments.rounds)["minilm"]
    values["bound: weights read once a token"] = [1 / read_once(ours) for _ in range(arguments.rounds)]
    common.report(
        f"{name}, greedy, within the context", values, "tokens/s", arguments, against="nanoGPT", new_tokens=n
    )


def read_once(model: Any) -> float:
    """Seconds of adding up all weights: no text of one stream can be faster than its weights come from memory."""
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    return min(common.seconds(weights.sum) for _ in range(20))


def beyond(name: str, arguments: argparse.Namespace) -> None:
    """From a full window on: sliding by one token, exactly; and keeping half of it."""
    ours = our_model(SIZES[name])
    T = ours.config.block_size
    ids, n = torch.arange(T)[None] % V, T // 2
    sides = sides_of(arguments, ours)
    sides.pop("transformers, cached", None)  # it cannot write beyond its positions
    same_tokens(sides, ids, n)
    sides["minilm, keeps 1/2"] = lambda ids, n: ours.generate(ids, n, temperature=0, keep=0.5)
    values = speeds(sides, ids, n, arguments.rounds)
    common.report(
        f"{name}, greedy, beyond the context", values, "tokens/s", arguments, against="nanoGPT", new_tokens=n
    )


def speculative(name: str, arguments: argparse.Namespace) -> None:
    """A model trained for a moment, with and without counting as its draft; from prompts out of the validation text."""
    from minilm import ModelConfig, TrainConfig
    from minilm.fast.draft import NGramDraft
    from minilm.training.session import run_training

    corpus, val = common.shakespeare()
    quiet = {"evaluations": 1, "eval_chars": 1024, "patience": None, "threads": arguments.threads}
    shape = ModelConfig(V, **SIZES[name])
    run = run_training(corpus, shape, TrainConfig.from_dict({**quiet, "steps": arguments.steps}), test=False)
    started = time.perf_counter()
    draft = NGramDraft(V).fit(corpus.train)
    fitting = time.perf_counter() - started
    T, prompts = shape.block_size, torch.from_numpy(val[: 8 * 1000].astype("int64")).view(8, 1000)[:, :16]
    for temperature in (0.0, 0.8):
        values = common.in_turns(
            {
                "minilm": lambda t=temperature: _eight_texts(run.model, prompts, T - 16, t, None),
                "minilm, counting drafts": lambda t=temperature: _eight_texts(
                    run.model, prompts, T - 16, t, draft
                ),
            },
            arguments.rounds,
        )
        facts = {
            "steps": arguments.steps,
            "draft_fit_seconds": fitting,
            "tokens_per_reading": _per_reading(run.model, prompts, T - 16, temperature, draft),
        }
        common.report(
            f"{name}, temperature {temperature}, trained",
            values,
            "tokens/s",
            arguments,
            against="minilm",
            **facts,
        )


def _eight_texts(model: Any, prompts: torch.Tensor, n: int, temperature: float, draft: Any) -> float:
    generator = torch.Generator().manual_seed(0)
    took = common.seconds(
        lambda: [model.generate(p[None], n, temperature, generator=generator, draft=draft) for p in prompts]
    )
    return n * len(prompts) / took


def _per_reading(model: Any, prompts: torch.Tensor, n: int, temperature: float, draft: Any) -> float:
    """Tokens written per call of the model: 1 plus the guesses that were accepted."""
    from minilm.speculative import speculate
    from minilm.window import window_of

    generator, readings = torch.Generator().manual_seed(0), 0
    for prompt in prompts:
        window = window_of(model, 1, keep=1.0)
        read = window.read

        def counted(ids: torch.Tensor, wanted: int = 1, read: Any = read) -> torch.Tensor:
            nonlocal readings
            readings += 1
            return read(ids, wanted)

        window.read = counted
        list(speculate(window, draft, prompt[None], n, temperature, None, None, generator))
    return n * len(prompts) / readings


def evaluation(name: str, arguments: argparse.Namespace) -> None:
    """Seconds of an exact loss on Tiny Shakespeare's last 10 %, 111,540 characters."""
    from minilm.training.evaluate import exact_loss

    corpus, val = common.shakespeare()
    ours, before = our_model(SIZES[name]), int(corpus.train[-1])
    values = common.in_turns(
        {"minilm": lambda: common.seconds(lambda: exact_loss(ours, val, before=before))}, arguments.rounds
    )
    common.report(f"{name}, exact loss of {len(val):,} characters", values, "s", arguments)


PARTS: dict[str, tuple[Callable[[str, argparse.Namespace], None], tuple[str, ...]]] = {
    "within": (within, ("0.8M", "10.65M")),
    "beyond": (beyond, ("0.8M", "10.65M")),
    "speculative": (speculative, ("0.8M",)),
    "evaluation": (evaluation, ("0.8M",)),
}


def main() -> None:
    parser = common.parser(__doc__ or "")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), help="of which models")
    parser.add_argument("--steps", type=int, default=300, help="of training before speculative decoding")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for part in arguments.parts:
        measure, sizes = PARTS[part]
        for size in sizes:
            if size in arguments.sizes:
                measure(size, arguments)


if __name__ == "__main__":
    main()
