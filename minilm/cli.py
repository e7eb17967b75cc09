"""Gives every verb its command line: flags with defaults, one-sentence errors, exit codes.

Imports no torch, so that `--help` answers at once. It knows flags and exit codes, and nothing of what a verb
does.
"""

from __future__ import annotations

import argparse
import dataclasses
import errno
import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from minilm import signals
from minilm.config import ModelConfig, TrainConfig, default_recipe
from minilm.errors import ConfigError, MinilmError, did_you_mean, number_fault, printable, rules, shortened

VERBS = {
    "tune": "search, train and report: from a text to the best model that the minutes can buy",
    "train": "one training run",
    "evaluate": "exact loss of a run on validation and test, with the counting baseline beside it",
    "sample": "let a trained model write",
    "chat": "take turns with a model that was trained on dialogue",
    "lens": "look inside a trained model while it reads a text: surprise, attention, logit lens, ablation",
    "report": "rebuild the page and pictures of a run or a study",
    "convert": "to Hugging Face's library and back, and from nanoGPT to here",
    "data": "list, show and prepare corpora",
    "classroom": "labs for students: packages, checks, hints; marking for teachers",
}

EXIT_INTERRUPTED, EXIT_STORAGE = 130, 4  # by Ctrl-C; by the disk
OF_PATHS = (
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
)
FAILING = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS)
MOST_CHARS, MOST_TEXTS = 10_000_000, 1024  # to be written: more would take days, or all memory

# flag -> (configuration class, field, help)
FLAGS: dict[str, tuple[type, str, str]] = {
    "--layers": (ModelConfig, "n_layer", "decoder blocks"),
    "--heads": (ModelConfig, "n_head", "attention heads per block"),
    "--hidden": (ModelConfig, "n_embd", "channels of the residual stream"),
    "--context": (ModelConfig, "block_size", "longest context in tokens"),
    "--dropout": (ModelConfig, "dropout", "share of activations dropped in training"),
    "--attention": (ModelConfig, "attention", "attention backend"),
    "--steps": (TrainConfig, "steps", "length of the training in steps"),
    "--minutes": (TrainConfig, "minutes", "length of the training in minutes, instead of --steps"),
    "--batch": (TrainConfig, "batch_size", "sequences per step"),
    "--lr": (
        TrainConfig,
        "learning_rate",
        "highest learning rate; unless given, lower in trainings of more than a million tokens",
    ),
    "--schedule": (TrainConfig, "schedule", "shape of the learning rate over time"),
    "--warmup": (TrainConfig, "warmup", "share of the training spent raising the learning rate"),
    "--weight-decay": (TrainConfig, "weight_decay", "decoupled weight decay of the matrices"),
    "--evaluations": (TrainConfig, "evaluations", "how many times the validation loss is measured"),
    "--patience": (TrainConfig, "patience", "evaluations without improvement before stopping early"),
    "--seed": (TrainConfig, "seed", "seed of the initial weights and of the batches"),
    "--device": (TrainConfig, "device", "where to compute"),
    "--precision": (TrainConfig, "precision", "number format of the matrix products"),
    "--threads": (TrainConfig, "threads", "CPU threads"),
    "--compile": (TrainConfig, "compile", "compile the training step first; the time for it counts"),
}


TOKENS = "what a token is: characters, bpe:N for N byte pairs, or auto: as suits the text"
CHOICES = {"attention": ("auto", "manual", "blocked", "fused")}  # in Python also a backend of one's own


def in_flags(sentence: str) -> str:
    """An error in the language of the shell: names of arguments become flags.

    >>> in_flags("n_layer must be at least 1, got 0"), in_flags("try learning_rate=0.003")
    ('--layers must be at least 1, got 0', 'try --lr 0.003')
    """
    names = {name: flag for flag, (_, name, _) in FLAGS.items()} | {
        name: f"--{name}" for name in ("out", "resume", "tokens", "preset")
    }
    for name, flag in names.items():
        sentence = re.sub(rf"(?<![\w-]){name}='?([^\s;,)']+)'?", rf"{flag} \1", sentence)
        anywhere = "" if "_" in name else r"(?= must\b| was )"
        sentence = re.sub(rf"(?<![\w-]){name}\b{anywhere}", flag, sentence)
    return sentence.replace("raw=True", "--raw")


class Shape(argparse.ArgumentDefaultsHelpFormatter):
    """argparse's help with defaults, where they say something: None and False do not."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


PLACES = (
    "data",
    "run",
    "out",
    "resume",
    "name",
    "source",
    "target",
)  # a shell's empty variable would mean "here"


class _Parser(argparse.ArgumentParser):
    """argparse, but an error is one sentence, with a suggestion for a misspelt flag or choice."""

    _words: Sequence[str] = ()

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._words = sys.argv[1:] if args is None else args
        found = super().parse_args(args, namespace)
        for action in self._actions:
            if action.dest in PLACES and getattr(found, action.dest, None) == "":
                self.error(f"{(action.option_strings or [action.dest.upper()])[0]} must have a name, got ''")
        return found

    def error(self, message: str) -> NoReturn:
        sentence = self._suggest(message)
        self.exit(2, f"{self.prog}: {sentence}; see {self.prog} --help\n")

    def _suggest(self, message: str) -> str:
        groups = [action.choices for action in self._actions if isinstance(action.choices, dict)]
        chosen = [group[word] for group in groups for word in self._words if word in group]  # an action's own
        flags = [flag for one in (self, *chosen) for action in one._actions for flag in action.option_strings]
        if match := re.match(r"unrecognized arguments: (\S+)", message):
            hint = did_you_mean(match[1].split("=")[0], flags)
            return (
                f"an option must be one of this command's, unknown argument {shortened(match[1])!r}, {hint}"
            )
        if match := re.match(r"argument (\S+): invalid choice: '?([^']*?)'? \(choose from (.*)\)", message):
            choices = match[3].replace("'", "").split(", ")  # Python 3.12 stopped quoting them
            hint = did_you_mean(match[2], choices)
            return f"{match[1]} must be one that is known, got {shortened(match[2])!r}, {hint}"
        if match := re.match(r"argument (\S+): invalid (.*) value: (.*)", message):
            kind = {"int": "whole number", "float": "number"}.get(match[2], match[2])
            return f"{match[1]} must be a {kind}, got {shortened(match[3])}"
        if match := re.match(r"argument (\S+): not allowed with argument (\S+)", message):
            return f"{match[1]} must not be given with {match[2]}, got both; leave one out"
        if match := re.match(r"one of the arguments (.*) is required", message):
            return f"one of {match[1].replace(' ', ', ')} must be given, got none"
        if match := re.match(r"the following arguments are required: (.*)", message):
            return f"what is required must be given, got no {match[1]}"
        if match := re.match(r"argument (\S+): (expected .*)", message):
            flag = match[1].split("/")[0]
            return (
                f"{flag} must have its value, {match[2]}, got none; one that begins with - needs {flag}=VALUE"
            )
        if match := re.match(r"argument (\S+): (.*)", message):
            return f"{match[1]} {match[2]}"
        return message


def parser(verb: str, example: str, about: str | None = None) -> argparse.ArgumentParser:
    """The parser of a verb: its one-line purpose, defaults in every help text, and one example.

    A program beside the verbs, such as a benchmark, says itself what it is `about`.
    """
    return _Parser(
        prog=" ".join(example.split()[:3]),  # python -m MODULE
        description=about or VERBS[verb],
        epilog=f"example: {example}",
        formatter_class=Shape,
        allow_abbrev=False,
    )


def place(text: str) -> Path:
    """The type of an option that names a file or a folder: a shell's empty variable would mean "here"."""
    if not text:
        raise argparse.ArgumentTypeError("must have a name, got ''")
    return Path(text)


def add_device_flag(parser: argparse.ArgumentParser, default: str = "cpu") -> None:
    """Where a model that is there computes; small ones are as quick on a CPU."""
    choices = rules(TrainConfig)["device"].choices
    parser.add_argument("--device", choices=choices, default=default, help="where to compute")


def add_config_flags(target: argparse._ActionsContainer, flags: Sequence[str]) -> None:
    """Adds `flags` from FLAGS. The help shows the default recipe's value; what is not given stays absent."""
    recipe = {name: value for config in default_recipe() for name, value in config.to_dict().items()}
    for flag in flags:
        owner, name, text = FLAGS[flag]
        rule = rules(owner)[name]
        if rule.kind is bool:
            target.add_argument(flag, dest=name, action="store_true", default=argparse.SUPPRESS, help=text)
            continue
        choices = rule.choices or CHOICES.get(name)
        target.add_argument(
            flag,
            dest=name,
            type=rule.kind,
            choices=choices,
            default=argparse.SUPPRESS,
            help=text + ("" if recipe[name] is None else f" (default: {recipe[name]})"),
            metavar=None if choices else rule.kind.__name__.upper(),
        )


def given(arguments: argparse.Namespace, owner: type) -> dict[str, Any]:
    """The fields of `owner` that the user gave on the command line."""
    names = {field.name for field in dataclasses.fields(owner)}
    return {name: value for name, value in vars(arguments).items() if name in names}


class Screen:
    """Standard output or error as verbs see it.

    On a terminal, control sequences of a text or a model are shown and never obeyed. A reader that goes away
    (`... | head -1`) ends what only writes; other work is finished, unseen. So it is where the output goes to a disk
    that is full, and `failed` says so.
    """

    def __init__(self, stream: Any, plain: bool) -> None:
        self.stream, self.plain = stream, plain and stream.isatty()
        self.finishes = True  # whether the work is more than its output
        self.failed: OSError | None = None
        self.line_open = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        self.line_open = not text.endswith("\n") if text else self.line_open
        self._guarded(self.stream.write, printable(text) if self.plain else text)
        return len(text)

    def flush(self) -> None:
        self._guarded(self.stream.flush)

    def _guarded(self, function: Callable[..., Any], *arguments: Any) -> None:
        try:
            function(*arguments)
        except OSError as error:
            self.failed = None if isinstance(error, BrokenPipeError) else error
            to_nowhere(self.stream)
            if not self.finishes:
                raise


def to_nowhere(stream: Any) -> None:
    """What is still to be written there goes nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def all_there() -> None:
    """A stream that was closed when this process began (`2>&-`) goes nowhere, and no file of ours takes its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # takes the least number that is free
            os.set_inheritable(null, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def only_writes() -> None:
    """Says that a verb's output is all its work, so that it may end with its reader."""
    if isinstance(sys.stdout, Screen):
        sys.stdout.finishes = False


def tell(sentence: str) -> None:
    """A sentence on stderr, on a line of its own."""
    if isinstance(sys.stdout, Screen):
        if sys.stdout.line_open and not sys.stdout.closed:
            print()
        sys.stdout.flush()
    if sys.stderr.isatty():
        print(file=sys.stderr)  # a terminal shows ^C, and a bar leaves no line end
    print(f"minilm: {printable(sentence)}", file=sys.stderr, flush=True)


def interrupted(verb: str, folder: Path, begun: bool) -> int:
    """Says how to go on after a stop, and returns the exit code: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    go_on = f"python -m minilm.{verb} --resume {shlex.quote(str(folder))}"
    tell(
        f"interrupted, the state is saved; continue with: {go_on}"
        if begun
        else "interrupted before there was anything to save; give the same command again"
    )
    return signals.STATE.exit_code()


SHORTEST = 0.001  # minutes, a few steps of a tiny model


def check_machine(threads: int | None, minutes: float | None) -> None:
    """Refuses what no machine, or not this one, can do; a run from a larger one may have more threads than cores."""
    if minutes is not None and minutes < SHORTEST:
        raise ConfigError(f"--minutes must be at least {SHORTEST}, got {minutes}; try 1")
    most = max(64, 4 * (os.cpu_count() or 1))
    if threads is not None and threads > most:
        raise ConfigError(
            f"--threads must be at most {most} here, got {threads}; leave it out for one per core"
        )


def check_tokens(arguments: argparse.Namespace) -> None:
    """Refuses what no text can be cut into, before one is read."""
    from minilm.text.corpora import AUTO
    from minilm.text.tokenizers import piece_count

    if (tokens := getattr(arguments, "tokens", AUTO)) != AUTO:
        piece_count(tokens)


def check_sampling(arguments: argparse.Namespace) -> None:
    """Refuses what cannot be written with, before anything is loaded."""
    bounds = {"temperature": ">= 0", "top_k": ">= 1", "top_p": "> 0, <= 1", "keep": "> 0, <= 1"}
    bounds |= {
        "chars": f">= 1, <= {MOST_CHARS}",
        "streams": f">= 1, <= {MOST_TEXTS}",
        "seed": ">= 0, < 2**63",
    }
    if "" in getattr(arguments, "stop", ()):
        raise ConfigError("--stop must have a text, got '', which stands everywhere; leave it out")
    for name, limits in bounds.items():
        value = getattr(arguments, name, None)
        flag, whole = f"--{name.replace('_', '-')}", name in ("top_k", "chars", "streams", "seed")
        if value is not None and (
            fault := number_fault(flag, value, limits.replace("2**63", str(2**63)), whole)
        ):
            raise ConfigError(f"{fault}; leave it out for its default")


def run_verb(
    main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None
) -> NoReturn:
    """Runs a verb and exits: 0 done, 2 the user's mistake, 3 training diverged or all trials failed, 4 the disk; 130,
    143, 129 after Ctrl-C, SIGTERM, SIGHUP.

    A `MinilmError` becomes one sentence on stderr; set MINILM_DEBUG=1 to see its traceback.
    """
    all_there()
    streams = sys.stdout, sys.stderr
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a character gets its number
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = Screen(sys.stdout, plain=True), Screen(sys.stderr, plain=False)
    try:
        with signals.handled(signals.STOPS, of_a_verb=True):
            code = _exit_code(main, argv)
            sys.exit(_unless_failed(sys.stdout, code))
    finally:
        sys.stdout, sys.stderr = streams


def _unless_failed(screen: Screen, code: int) -> int:
    """The exit code; that of the disk where it took the work and not what was printed of it."""
    with suppress(OSError):
        screen.flush()
    if code or screen.failed is None:
        return code
    done = "the work itself is done" if screen.finishes else "nothing is lost but this output"
    tell(
        f"standard output must be writable, and failed: {screen.failed.strerror}; {done}, send the output elsewhere"
    )
    return EXIT_STORAGE


def _exit_code(main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None) -> int:
    try:
        return main(argv) or 0
    except MinilmError as error:
        if os.environ.get("MINILM_DEBUG"):
            raise
        tell(in_flags(str(error)))
        return error.exit_code
    except KeyboardInterrupt:
        tell("interrupted; what was recorded is kept")
        return signals.STATE.exit_code()
    except BrokenPipeError:  # `sample ... | head`: not an error of ours
        return 0
    except OSError as error:
        if getattr(sys.stdout, "failed", None) is error:  # told by the caller
            return 0
        if error.errno not in (*OF_PATHS, *FAILING) or os.environ.get("MINILM_DEBUG"):
            raise
        where = shortened(str(error.filename))  # that nobody had looked at before it was used
        tell(f"a path must be one that can be used here, got {where}: {error.strerror}; give another")
        return EXIT_STORAGE if error.errno in FAILING else 2
    except MemoryError:
        tell("out of memory; choose a smaller model, batch or context")
        return 2
