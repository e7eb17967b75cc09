"""Prints the exact loss of a run beside counting, compression and the floor: `python -m minilm.evaluate`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from minilm import cli, files


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser("evaluate", "python -m minilm.evaluate runs/my-run --sliding")
    parser.add_argument("run", help="folder of a run or of a study")
    parser.add_argument(
        "--sliding", action="store_true", help="windows a quarter of the context apart, slower and lower"
    )
    parser.add_argument(
        "--text",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="judge it on another text: its last tenth (default: the run's own)",
    )
    parser.add_argument(
        "--exact", action="store_true", help="score all of a large text, not a part spread over it"
    )
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    cli.add_device_flag(parser, default="auto")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    cli.only_writes()
    files.run_folder(arguments.run)  # a wrong name is told before torch is loaded
    from minilm.config import TrainConfig
    from minilm.text.corpora import load_corpus
    from minilm.text.sources import check_there

    if "text" in arguments:
        check_there(arguments.text)

    from minilm.text.ngram import count, countable, counting_baseline
    from minilm.training.hardware import choose_hardware
    from minilm.training.held_out import text_of
    from minilm.training.mixture import mixture
    from minilm.training.run import load_run
    from minilm.training.scores import baseline_rows, compression_rows, model_row, table
    from minilm.training.session import LARGE_SPLIT

    run = load_run(arguments.run)
    other = "text" in arguments
    corpus, whole = (load_corpus(arguments.text, run.tokenizer), True) if other else text_of(run)
    hardware = choose_hardware(TrainConfig(device=arguments.device), run.model.config.attention)
    stride = max(1, run.model.config.block_size // 4) if arguments.sliding else None
    large = not arguments.exact and max(corpus.characters["val"], corpus.characters["test"]) > LARGE_SPLIT
    chars = LARGE_SPLIT if large else None
    model = run.model.to(hardware.device)
    counting, mixed, squeezed = None if other else run.result.get("counting"), None, []
    if whole:
        counted = count(part := countable(corpus))
        counting = counting or counting_baseline(part, counted)
        mixed, squeezed = mixture(model, part, counted, stride=stride), compression_rows(part)
    elif stride is None and run.result.get("eval_chars") is None:
        mixed = run.result.get("mixture")  # of the same windows
    row, protocol = model_row(model, corpus, stride, chars)
    rows = [row, *baseline_rows(counting, corpus.floors, mixed), *squeezed]
    if arguments.json:
        print(
            json.dumps({"folder": str(run.folder), "protocol": protocol, "unit": "nats/char", "rows": rows})
        )
    else:
        sizes = corpus.characters
        carried = f"{corpus.name}: its last {sizes['val']:,} and {sizes['test']:,} characters, val and test"
        print(f"run       {run.folder}\ncorpus    {corpus.line() if whole else carried}\n")
        print(table(rows, protocol))
    return 0


if __name__ == "__main__":
    cli.run_verb(main)
