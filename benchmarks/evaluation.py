"""Measures an exact loss: seconds for Tiny Shakespeare's last 10 %, 111,540 characters, of a model of 0.8M parameters.

By itself, or against the package of another checkout, in turns (`--against PATH`). Weights are random, which costs
the same as trained ones.

    python benchmarks/evaluation.py --against ../before --sittings 3 --rounds 5 --threads 2
    python benchmarks/evaluation.py --rounds 1 --chars 8192  # a quick try
"""

from __future__ import annotations

import argparse

import checkouts
import common

SHAPE = {"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64}  # nanoGPT's on a CPU


def main() -> None:
    parser = common.parser(__doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    checkouts.add_flags(parser)
    parser.add_argument(
        "--presets", nargs="+", default=["gpt2"], help="architectures, as `minilm.config` has them"
    )
    parser.add_argument("--chars", type=int, help="score about so many characters instead of all")
    arguments = parser.parse_args()
    common.check_clock(arguments)
    for preset in arguments.presets:
        facts = {name: getattr(arguments, name) for name in ("threads", "clock", "chars")}
        job = {**facts, "preset": preset, "model": SHAPE}
        title = f"exact loss of {arguments.chars or 111_540:,} characters, {preset}"
        if arguments.against:
            checkouts.compare(title, arguments, "evaluation", job, "s", lambda seconds: seconds)
            continue
        measure = checkouts.evaluation(job)
        values = {"minilm": [measure().seconds for _ in range(arguments.rounds)]}
        common.report(title, values, "s", arguments, **job)


if __name__ == "__main__":
    main()
