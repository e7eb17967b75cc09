"""Measures generation in tokens per second against nanoGPT and transformers, all sides with the same weights.

Ours are three: the decoder's modules with their cache (`model.generate`), the same without it, and the decoder without
modules with which `sample` and `chat` write. Greedy texts are compared before anything is timed: a side that writes
other tokens ends the benchmark. GPT-2's architecture in two sizes, fp32, one token as the prompt; within the context
means context - 1 new tokens, beyond it starts from a full window. nanoGPT comes from a checkout of yours (--nanogpt
PATH; its exact GELU is exchanged for GPT-2's tanh form, of the same cost), transformers from where it is installed;
either may be absent. Weights are random, but for speculative decoding, where a model is trained first: how often a
draft is right depends on that.

    python benchmarks/generation.py --nanogpt PATH --parts within --rounds 15 --threads 2
    python benchmarks/generation.py --nanogpt PATH --parts within --rounds 2 --tokens 20  # a quick try
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
CACHED, WHOLE, QUICK = "minilm, modules, cached", "minilm, modules, no cache", "minilm, quick decoder"
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


def quick_decoder(ours: Any, keep: float = 1.0) -> Generate:
    """The decoder without modules, made anew for each text; that it agrees with the modules is asked once, here."""
    from minilm.fast.decoder import QuickWindow, quick_window
    from minilm.sampling import stream

    if not isinstance(quick_window(ours), QuickWindow):
        raise SystemExit("the quick decoder does not agree with this model")

    def write(ids: torch.Tensor, n: int) -> torch.Tensor:
        tokens = stream(QuickWindow(ours, len(ids), keep), ids, n, temperature=0)
        return torch.cat((ids, torch.stack(list(tokens), dim=1)), dim=1)

    return write


def sides_of(arguments: argparse.Namespace, ours: Any) -> dict[str, Generate]:
    """Everybody who is there."""
    sides: dict[str, Generate] = {}
    if arguments.nanogpt:
        sides["nanoGPT"] = nanogpt(arguments.nanogpt, ours)
    if importlib.util.find_spec("transformers"):
        sides["transformers, cached"] = transformers(ours)
    sides[CACHED] = lambda ids, n: ours.generate(ids, n, temperature=0)
    sides[WHOLE] = lambda ids, n: ours.generate(ids, n, temperature=0, use_cache=False)
    sides[QUICK] = quick_decoder(ours)
    return sides


def same_tokens(sides: dict[str, Generate], ids: torch.Tensor, n: int) -> None:
    """Ends the benchmark where a side writes another text; warms all of them up on the way."""
    texts = {name: generate(ids, n) for name, generate in sides.items()}
    wrong = [name for name, text in texts.items() if not torch.equal(text, texts[CACHED])]
    if wrong:
        raise SystemExit(f"not the same tokens as {CACHED}: {', '.join(wrong)}")


def speeds(
    sides: dict[str, Generate], ids: torch.Tensor, n: int, arguments: argparse.Namespace
) -> dict[str, list[float]]:
    """New tokens per second of each side, all texts together."""

    def rate(generate: Generate) -> float:
        return n * len(ids) / common.seconds(lambda: generate(ids, n), arguments.clock)

    return common.in_turns({name: lambda g=g: rate(g) for name, g in sides.items()}, arguments.rounds)


def within(name: str, arguments: argparse.Namespace) -> None:
    """One text, then 64 of them, while all fits into the context."""
    ours = our_model(SIZES[name])
    n = min(arguments.tokens or 10**9, ours.config.block_size - 1)
    ids, sides = torch.zeros(1, 1, dtype=torch.int64), sides_of(arguments, ours)
    same_tokens(sides, ids, n)
    values = speeds(sides, ids, n, arguments)
    facts = {
        "new_tokens": n,
        "agreement_seconds": round(common.seconds(lambda: quick_decoder(ours)), 5),  # a verb asks once
        "bound": 1 / read_once(ours),  # tokens/s where a token reads each weight once
    }
    title = f"{name}, greedy, within the context"
    common.report(title, values, "tokens/s", arguments, against=base_of(arguments), **facts)
    print("agreement {agreement_seconds:.3g} s; bound {bound:,.0f} tokens/s".format(**facts))
    many = torch.arange(STREAMS)[:, None] % V
    together = speeds({side: sides[side] for side in (CACHED, QUICK)}, many, n, arguments)
    title = f"{title}, {STREAMS} texts"
    common.report(title, together, "tokens/s", arguments, against=CACHED, new_tokens=n)


def base_of(arguments: argparse.Namespace) -> str:
    return "nanoGPT" if arguments.nanogpt else CACHED


def read_once(model: Any) -> float:
    """Seconds of adding up all weights: no text of one stream can be faster than its weights come from memory."""
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    return min(common.seconds(weights.sum) for _ in range(20))


def beyond(name: str, arguments: argparse.Namespace) -> None:
    """From a full window on: sliding by one token, exactly; and keeping half of it."""
    ours = our_model(SIZES[name])
    T = ours.config.block_size
    ids, n = torch.arange(T)[None] % V, min(arguments.tokens or 10**9, T // 2)
    sides = sides_of(arguments, ours)
    sides.pop("transformers, cached", None)  # it cannot write beyond its positions
    same_tokens(sides, ids, n)
    sides[f"{CACHED}, keeps 1/2"] = lambda ids, n: ours.generate(ids, n, temperature=0, keep=0.5)
    sides[f"{QUICK}, keeps 1/2"] = quick_decoder(ours, keep=0.5)
    values = speeds(sides, ids, n, arguments)
    title = f"{name}, greedy, beyond the context"
    common.report(title, values, "tokens/s", arguments, against=base_of(arguments), new_tokens=n)


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
                QUICK: lambda t=temperature: _eight_texts(arguments, run.model, prompts, T - 16, t, None),
                f"{QUICK}, counting drafts": lambda t=temperature: _eight_texts(
                    arguments, run.model, prompts, T - 16, t, draft
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
            against=QUICK,
            **facts,
        )


def _eight_texts(
    arguments: argparse.Namespace,
    model: Any,
    prompts: torch.Tensor,
    n: int,
    temperature: float,
    draft: Any,
) -> float:
    """New tokens per second, one text after the other, by the quick decoder."""
    from minilm.fast.decoder import QuickWindow
    from minilm.fast.speculative import speculate
    from minilm.sampling import stream

    generator = torch.Generator().manual_seed(0)

    def write() -> None:
        for prompt in prompts:
            window, options = QuickWindow(model, 1), {"temperature": temperature, "generator": generator}
            if draft is None:
                list(stream(window, prompt[None], n, **options))
            else:
                list(speculate(window, draft, prompt[None], n, **options))

    return n * len(prompts) / common.seconds(write, arguments.clock)


def _per_reading(model: Any, prompts: torch.Tensor, n: int, temperature: float, draft: Any) -> float:
    """Tokens written per call of the model: 1 plus the guesses that were accepted."""
    from minilm.fast.decoder import QuickWindow
    from minilm.fast.speculative import speculate

    generator, readings = torch.Generator().manual_seed(0), 0
    for prompt in prompts:
        window: Any = QuickWindow(model, 1)
        read = window.read

        def counted(ids: torch.Tensor, wanted: int = 1, read: Any = read) -> torch.Tensor:
            nonlocal readings
            readings += 1
            return read(ids, wanted)

        window.read = counted
        list(speculate(window, draft, prompt[None], n, temperature, generator=generator))
    return n * len(prompts) / readings


PARTS: dict[str, tuple[Callable[[str, argparse.Namespace], None], tuple[str, ...]]] = {
    "within": (within, ("0.8M", "10.65M")),
    "beyond": (beyond, ("0.8M", "10.65M")),
    "speculative": (speculative, ("0.8M",)),
}


def main() -> None:
    parser = common.parser(__doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), help="of which models")
    parser.add_argument("--steps", type=int, default=300, help="of training before speculative decoding")
    parser.add_argument("--tokens", type=int, help="write at most so many")
    common.add_clock(parser)
    arguments = parser.parse_args()
    common.check_clock(arguments)
    torch.set_num_threads(arguments.threads)
    for part in arguments.parts:
        measure, sizes = PARTS[part]
        for size in sizes:
            if size in arguments.sizes:
                measure(size, arguments)


if __name__ == "__main__":
    main()
