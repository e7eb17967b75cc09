"""Shows one text from inside the model of a run, as one HTML page: `python -m minilm.lens`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from minilm import cli, files

if TYPE_CHECKING:
    from minilm.plots.lens import Inside

PAGE = "lens.html"


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser("lens", 'python -m minilm.lens runs/my-run --text "Once upon a time"')
    off = argparse.SUPPRESS
    parser.add_argument("run", help="folder of a run or of a study")
    parser.add_argument(
        "--text", required=True, default=off, help="what the model reads, no longer than its context"
    )
    parser.add_argument("--out", default=off, help=f"the page (default: {PAGE} in the run's folder)")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    cli.add_device_flag(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    files.run_folder(arguments.run)  # a wrong name is told before torch is loaded
    if "out" in arguments:
        files.refuse_replacing(arguments.out, (".html", ".htm"), "--out")
    from minilm.interpret.overview import look_inside
    from minilm.plots.lens_page import findings, lens_page
    from minilm.training.hardware import place
    from minilm.training.run import load_run

    run = load_run(arguments.run)
    place(run.model, arguments.device)
    assert run.folder is not None
    inside = look_inside(run.model, run.tokenizer, arguments.text)
    page = lens_page(inside, getattr(arguments, "out", run.folder / PAGE), run.folder.resolve().name)
    if arguments.json:
        print(json.dumps({"page": str(page), "unit": "nats/char", **numbers(inside)}, ensure_ascii=False))
        return 0
    print(f"loss      {inside.loss:.3f} nats per character of this text, of {len(inside.surprisal)} tokens")
    for finding in findings(inside):
        print(f"finding   {finding.text}")
    print(f"page      {page}")
    return 0


def numbers(inside: Inside) -> dict[str, Any]:
    """What JSON can hold, the maps left out: they are large, and `attention_maps` gives them."""
    values = {name: value for name, value in inside._asdict().items() if name != "maps"}
    values["guesses"] = [[guess._asdict() for guess in row] for row in inside.guesses]
    values["habits"] = {name: score.tolist() for name, score in inside.habits.items()}
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in values.items()}


if __name__ == "__main__":
    cli.run_verb(main)
