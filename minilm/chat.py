"""Takes turns with the model of a run, in a terminal or through a pipe: `python -m minilm.chat`."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from minilm import cli, files
from minilm.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    from minilm.conversation import Conversation
    from minilm.text.turns import Dialogue
    from minilm.training.run import Run

SURVEYED = 2_000_000  # tokens of the text in which the speakers are looked for
NO_TURNS = "the run's text holds no turns of a dialogue, so that its model will only write on from yours"
WIDEST = 16  # characters that a token of the model's context may stand for


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser("chat", "python -m minilm.chat runs/my-run --as Fox --to Owl")
    off = argparse.SUPPRESS
    parser.add_argument("run", help="folder of a run or of a study")
    parser.add_argument("--as", dest="me", default=off, help="your name (default: found in the run's text)")
    parser.add_argument("--to", dest="it", default=off, help="the model's name (default: who answers you)")
    parser.add_argument("--chars", type=int, default=300, help="longest turn of the model in characters")
    parser.add_argument("--temperature", type=float, default=0.6, help="0 always takes the likeliest")
    parser.add_argument("--top-k", type=int, default=off, help="choose among this many only")
    parser.add_argument("--top-p", type=float, default=off, help="choose among the likeliest that reach this")
    parser.add_argument("--seed", type=int, default=0, help="the same seed and lines give the same answers")
    cli.add_device_flag(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    cli.only_writes()
    cli.check_sampling(arguments)
    files.run_folder(arguments.run)  # a wrong name is told before torch is loaded
    from minilm.training.hardware import place
    from minilm.training.run import load_run

    run = load_run(arguments.run)
    place(run.model, arguments.device)
    conversation = _begin(run, arguments)
    if not sys.stdin:  # closed by whoever started us
        return 0
    if isinstance(sys.stdin, io.TextIOWrapper):  # a byte that is no text must not end the conversation
        sys.stdin.reconfigure(errors="replace")
    if sys.stdin.isatty():
        _talk(run, conversation)
    else:
        _reply(run, conversation)
    return 0


def _begin(run: Run, arguments: argparse.Namespace) -> Conversation:
    """Every mistake is told here, before the first line is read."""
    import torch

    from minilm.conversation import Conversation
    from minilm.fast.decoder import quick_window
    from minilm.sampling import check_options
    from minilm.writing import KEEP, stream_text

    choice: dict[str, Any] = {
        name: getattr(arguments, name, None) for name in ("temperature", "top_k", "top_p")
    }
    check_options(arguments.chars, **choice)
    dialogue, names = _speakers(run, getattr(arguments, "me", None), getattr(arguments, "it", None))
    generator = torch.Generator().manual_seed(arguments.seed)

    def speak(prompt: str) -> Iterator[str]:
        ids = run.tokenizer.encode(prompt, errors="replace")
        known = run.tokenizer.decode(ids)
        window = quick_window(run.model, keep=KEEP)
        return stream_text(
            run.model, run.tokenizer, known, arguments.chars, window=window, generator=generator, **choice
        )

    return Conversation(speak, dialogue.layout, names, WIDEST * run.model.config.block_size)


def _speakers(run: Run, me: str | None, it: str | None) -> tuple[Dialogue, tuple[str, str]]:
    """How the run's text writes turns, and the names of the person and the model."""
    from minilm.conversation import check_name

    for flag, name in (("--as", me), ("--to", it)):
        if name is not None:
            check_name(run.tokenizer, flag, name)
    dialogue = _dialogue(run)
    names = dialogue.speakers(me, it)
    if names[0] == names[1]:
        raise ConfigError(f"--as and --to must be two names, got {names[0]!r} twice; change one of them")
    return dialogue, names


def _dialogue(run: Run) -> Dialogue:
    from minilm.text.corpora import load_described
    from minilm.text.turns import Dialogue, find_dialogue

    if "dialogue" in run.config:
        dialogue = Dialogue.from_dict(run.config["dialogue"])
        if not dialogue:
            _note(NO_TURNS)
        return dialogue
    try:
        corpus = load_described(run.config["corpus"], run.tokenizer)
    except CorpusError as error:
        _note(f"the run's text, which would show how turns are written, cannot be read: {error}")
        return Dialogue()
    dialogue = find_dialogue(corpus.tokenizer.decode(corpus.train[:SURVEYED]))
    if not dialogue:
        _note(NO_TURNS)
    return dialogue


def _talk(run: Run, conversation: Conversation) -> None:
    """In a terminal: names in front, the answer as it is written."""
    with contextlib.suppress(ImportError):  # Windows edits lines without it
        import readline  # noqa: F401  # arrow keys and earlier lines, in every `input` from here on
    me, it = conversation.names
    print(f"You are {me}, the model is {it}. An empty line lets it go on; Ctrl-D or Ctrl-C ends.")
    try:
        for line in _lines(run, f"{me}: "):
            print(f"{it}: ", end="", flush=True)
            for piece in conversation.answer(line):
                print(piece, end="", flush=True)
            print()
    finally:
        print()  # what follows begins on a line of its own


def _reply(run: Run, conversation: Conversation) -> None:
    """Through a pipe: one line in, one line out."""
    for line in _lines(run, ""):
        print(" ".join("".join(conversation.answer(line)).split()), flush=True)


def _lines(run: Run, prompt: str) -> Iterator[str]:
    """What the person says until the end of input."""
    from minilm.conversation import known_part

    while True:
        try:
            line = input(prompt).strip()
        except EOFError:
            return
        if sentence := known_part(run.tokenizer, line)[1]:
            _note(sentence)
        yield line


def _note(sentence: str) -> None:
    cli.tell(sentence)


if __name__ == "__main__":
    cli.run_verb(main)
