"""Lists the corpora that have a name and shows any text before a training on it: `python -m minilm.data`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from minilm import cli
from minilm.errors import ConfigError

ACTIONS = {
    "list": "every named corpus with its licence",
    "show": "size, splits, checksum, licence and a look at one corpus, file, folder or glob",
    "prepare": "fetch or build one, so that later commands need no network",
}
LOOK = 400  # characters


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser("data", "python -m minilm.data show fables")
    told = "; ".join(f"{name}: {about}" for name, about in ACTIONS.items())
    parser.add_argument("action", nargs="?", choices=tuple(ACTIONS), default="list", help=told)
    parser.add_argument("name", nargs="?", default=argparse.SUPPRESS, help="corpus, file, folder or glob")
    parser.add_argument("--raw", action="store_true", help="letters as they are, chats and tables too")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    cli.only_writes()
    if arguments.action == "list":
        if "name" in arguments:
            raise ConfigError(f"list takes no name, got {arguments.name!r}; use show {arguments.name}")
        facts: Any = _listed()
        lines = [f"{row['name']:<13}{row['about']} ({row['licence']})" for row in facts]
    elif "name" not in arguments:
        raise ConfigError(f"{arguments.action} needs the name of a corpus or a text; see minilm.data list")
    else:
        facts = _facts(arguments.name, look=arguments.action == "show", raw=arguments.raw)
        lines = _lines(facts)
    print(json.dumps(facts, ensure_ascii=False) if arguments.json else "\n".join(lines))
    return 0


def _listed() -> list[dict[str, str]]:
    from minilm.text.corpora import CORPORA

    return [{"name": name, "about": e.about, "licence": e.licence} for name, e in CORPORA.items()]


def _facts(name: str, look: bool, raw: bool) -> dict[str, Any]:
    """What there is to know of a text; loading it has fetched, checked and cached it."""
    from minilm.text.corpora import CORPORA, load_corpus

    corpus = load_corpus(name, raw=raw)
    licence = CORPORA[name].licence if name in CORPORA else "yours"
    sizes = {split: len(getattr(corpus, split)) for split in ("train", "val", "test")}
    facts = {**corpus.describe(), "licence": licence, "splits": sizes}
    return {**facts, "look": corpus.tokenizer.decode(corpus.tokens[:LOOK])} if look else facts


def _lines(facts: dict[str, Any]) -> list[str]:
    splits = " / ".join(f"{size:,}" for size in facts["splits"].values())
    lines = [
        f"{facts['name']}: {facts['characters']:,} characters, {facts['vocab_size']} different",
        f"train / val / test  {splits}",
        f"licence             {facts['licence']}",
        f"sha256              {facts['source']['sha256']}",
    ]
    if "read_as" in facts["source"]:
        lines.insert(1, f"read                {facts['source']['read_as']}")
    if facts["floors"]:
        lines.append(f"entropy floor       {facts['floors']['val']:.4f} nats per character (val)")
    return lines if "look" not in facts else [*lines, "", facts["look"]]


if __name__ == "__main__":
    cli.run_verb(main)
