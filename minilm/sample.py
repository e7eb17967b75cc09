"""`python -m minilm.sample`: lets the model of a run write, character by character."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from minilm import cli
from minilm.errors import ConfigError


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser("sample", 'python -m minilm.sample runs/my-run --prompt "Fox: " --chars 200')
    off = argparse.SUPPRESS  # where no default would mean anything
    parser.add_argument("run", help="folder of a run or of a study")
    parser.add_argument("--prompt", default="", help="text to continue; empty starts from a new line")
    parser.add_argument("--chars", type=int, default=500, help="how many to write")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 always takes the likeliest")
    parser.add_argument("--top-k", type=int, default=off, help="choose among this many only")
    parser.add_argument("--top-p", type=float, default=off, help="choose among the likeliest that reach this")
    parser.add_argument("--stop", action="append", default=off, help="end before this text; may be repeated")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same text")
    parser.add_argument("--json", action="store_true", help="print prompt and text as JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    if arguments.chars < 1:
        raise ConfigError(f"--chars must be at least 1, got {arguments.chars}")
    if not 0 <= arguments.seed < 2**63:
        raise ConfigError(f"--seed must be from 0 to 2**63 - 1, got {arguments.seed}")
    import torch

    from minilm.sampling import stream_text
    from minilm.training.run import load_run

    run = load_run(arguments.run)
    pieces = stream_text(
        run.model,
        run.tokenizer,
        arguments.prompt,
        arguments.chars,
        arguments.temperature,
        getattr(arguments, "top_k", None),
        getattr(arguments, "top_p", None),
        getattr(arguments, "stop", ()),
        torch.Generator().manual_seed(arguments.seed),
    )
    if arguments.json:
        text = "".join(pieces)
        print(
            json.dumps({"prompt": arguments.prompt, "text": text, "seed": arguments.seed}, ensure_ascii=False)
        )
        return 0
    print(arguments.prompt, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
    return 0


if __name__ == "__main__":
    cli.run_verb(main)
