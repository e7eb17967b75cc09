"""Lists the verbs (`python -m minilm`) or runs one (`minilm VERB ...`)."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from minilm import __version__
from minilm.cli import VERBS, run_verb
from minilm.errors import ConfigError, did_you_mean


def usage() -> str:
    lines = [f"  {verb:<10}{purpose}" for verb, purpose in VERBS.items()]
    return "\n".join(
        [
            "python -m minilm VERB ...  (also: python -m minilm.VERB, minilm VERB)",
            "",
            *lines,
            "",
            "python -m minilm VERB --help (or: help VERB) shows a verb's options and an example; --version says which",
            "minilm this is; --completion bash (zsh, fish) prints what makes a shell complete verbs and options.",
        ]
    )


def completion(shell: str = "bash") -> str:
    """A script for the shell, made by shtab from the verbs' own parsers."""
    try:
        import shtab
    except ImportError as error:
        raise ConfigError("completion needs the library shtab: pip install shtab") from error
    if shell not in shtab.SUPPORTED_SHELLS:
        known = did_you_mean(shell, shtab.SUPPORTED_SHELLS)
        raise ConfigError(f"--completion must be a shell that shtab knows, got {shell!r}; {known}")
    root = argparse.ArgumentParser(prog="minilm")
    verbs = root.add_subparsers()
    for verb, purpose in VERBS.items():
        parser = importlib.import_module(f"minilm.{verb}")._parser()
        verbs.add_parser(verb, parents=[parser], add_help=False, help=purpose)  # -h comes with the parent
    return shtab.complete(root, shell)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_verb(_dispatch, arguments)


def _dispatch(argv: Sequence[str] | None) -> int | None:
    if not argv or argv[0] in ("-h", "--help") or list(argv) == ["help"]:
        print(usage())
        return 0
    verb, *rest = argv
    if verb in ("--version", "-V", "version"):
        print(f"minilm {__version__}")
        return 0
    if verb == "--completion":
        print(completion(*rest[:1]))
        return 0
    if verb == "help":
        verb, rest = rest[0], ["--help"]
    if verb not in VERBS:
        raise ConfigError(f"unknown verb {verb!r}, {did_you_mean(verb, VERBS)}")
    return importlib.import_module(f"minilm.{verb}").main(rest)


if __name__ == "__main__":
    main()
