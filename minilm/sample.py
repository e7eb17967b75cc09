"""Lets the model of a run write, token by token: `python -m minilm.sample`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from minilm import cli, files
from minilm.errors import ConfigError

if TYPE_CHECKING:
    from minilm.fast.draft import NGramDraft
    from minilm.sampling import Window
    from minilm.training.run import Run


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser("sample", 'python -m minilm.sample runs/my-run --prompt "Fox: " --chars 200')
    off = argparse.SUPPRESS  # where no default would mean anything
    parser.add_argument(
        "run", nargs="?", default=off, help="folder of a run or of a study (default: the newest)"
    )
    parser.add_argument(
        "--prompt",
        action="append",
        default=off,
        help="text to continue; none starts from a new line; several together",
    )
    parser.add_argument("--chars", type=int, default=500, help="how many characters to write")
    parser.add_argument("--streams", type=int, default=1, help="texts per prompt, all written at once")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 always takes the likeliest")
    parser.add_argument("--top-k", type=int, default=off, help="choose among this many only")
    parser.add_argument("--top-p", type=float, default=off, help="choose among the likeliest that reach this")
    parser.add_argument("--stop", action="append", default=off, help="end before this text; may be repeated")
    parser.add_argument(
        "--keep", type=float, default=0.5, help="share of a full context that stays; 1 slides, exact and slow"
    )
    parser.add_argument(
        "--draft",
        choices=["ngram"],
        default=off,
        help="let counting guess ahead: same distribution, one text",
    )
    parser.add_argument(
        "--counting",
        action="store_true",
        help="mix in what counting the run's text says, with the weight that its validation split asks for",
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same text")
    parser.add_argument("--json", action="store_true", help="print prompt and text as JSON")
    cli.add_device_flag(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    cli.only_writes()
    _check(arguments)
    if "run" in arguments:
        files.run_folder(arguments.run)  # a wrong name is told before torch is loaded
    from minilm.training.hardware import place
    from minilm.training.run import load_run, newest_run

    run = load_run(arguments.run if "run" in arguments else newest_run())
    place(run.model, arguments.device)
    prompts = [_known(run, prompt) for prompt in getattr(arguments, "prompt", [""])]
    if len(prompts) * arguments.streams == 1:
        _write_one(run, prompts[0], arguments)
    else:
        _write_several(run, [prompt for prompt in prompts for _ in range(arguments.streams)], arguments)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    cli.check_sampling(arguments)
    texts = arguments.streams * len(getattr(arguments, "prompt", [""]))
    if texts > cli.MOST_TEXTS:
        raise ConfigError(f"--streams must be {cli.MOST_TEXTS} texts at most in all, got {texts}; lower it")
    if texts > 1 and hasattr(arguments, "draft"):
        raise ConfigError(f"--draft is for one text at a time, got {texts}; leave it out for several")
    if arguments.counting and hasattr(arguments, "draft"):
        raise ConfigError("--draft guesses for the model alone, got --counting too; leave one of them out")


def _known(run: Run, prompt: str) -> str:
    """The prompt as the model reads it; a line says where that is not as it was typed."""
    from minilm.conversation import known_part
    from minilm.errors import note

    known, sentence = known_part(run.tokenizer, prompt)
    if sentence:
        note(sentence)
    return known


def _write_one(run: Run, prompt: str, arguments: argparse.Namespace) -> None:
    """Prints a text as it is written."""
    from minilm.writing import stream_text

    draft, options = _draft(run) if hasattr(arguments, "draft") else None, _options(run, arguments, 1)
    pieces: Iterator[str] = stream_text(
        run.model, run.tokenizer, prompt, arguments.chars, draft=draft, **options
    )
    if arguments.json:
        print(_json({"prompt": prompt, "text": "".join(pieces), "seed": arguments.seed}))
        return
    print(prompt, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


def _write_several(run: Run, prompts: list[str], arguments: argparse.Namespace) -> None:
    """Prints texts once all are written."""
    from minilm.writing import texts

    options = _options(run, arguments, len(prompts))
    written = texts(run.model, run.tokenizer, prompts, arguments.chars, **options)
    if arguments.json:
        pairs = [{"prompt": prompt, "text": text} for prompt, text in zip(prompts, written, strict=True)]
        print(_json({"texts": pairs, "seed": arguments.seed}))
        return
    for number, (prompt, text) in enumerate(zip(prompts, written, strict=True), start=1):
        print(f"--- {number} of {len(prompts)}\n{prompt}{text}")


def _options(run: Run, arguments: argparse.Namespace, texts: int) -> dict[str, Any]:
    import torch

    from minilm.fast.decoder import quick_window

    window = quick_window(run.model, texts, arguments.keep)
    return {
        "window": _with_counting(run, window) if arguments.counting else window,
        "temperature": arguments.temperature,
        "top_k": getattr(arguments, "top_k", None),
        "top_p": getattr(arguments, "top_p", None),
        "stop": getattr(arguments, "stop", ()),
        "generator": torch.Generator().manual_seed(arguments.seed),
    }


def _with_counting(run: Run, window: Window) -> Window:
    """Says the weight too."""
    from minilm.errors import note
    from minilm.training.mixture import MixtureWindow, mixture_of
    from minilm.training.scores import mixture_name

    counting, weight = mixture_of(run)
    note(f"{mixture_name({'weight': weight})} write this text together")
    return MixtureWindow(window, counting, weight)


def _draft(run: Run) -> NGramDraft:
    """Counts the text that the run was trained on."""
    from minilm.fast.draft import NGramDraft
    from minilm.text.corpora import load_described

    return NGramDraft(run.tokenizer.vocab_size).fit(load_described(run.config["corpus"], run.tokenizer).train)


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False)


if __name__ == "__main__":
    cli.run_verb(main)
