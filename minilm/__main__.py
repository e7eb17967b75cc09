"""Lists the verbs (`python -m minilm`) or runs one (`minilm VERB ...`)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

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
            "python -m minilm VERB --help shows a verb's options and an example.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> None:
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_verb(_dispatch, arguments)


def _dispatch(argv: Sequence[str] | None) -> int | None:
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0
    verb, *rest = argv
    if verb not in VERBS:
        raise ConfigError(f"unknown verb {verb!r}, {did_you_mean(verb, VERBS)}")
    return importlib.import_module(f"minilm.{verb}").main(rest)


if __name__ == "__main__":
    main()
