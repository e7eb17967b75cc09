"""Finds the right tokenizer for a folder. To add a kind: write its class, list it in KINDS."""

from __future__ import annotations

from pathlib import Path

from minilm.errors import RunError, did_you_mean
from minilm.files import TOKENIZER, read_tokenizer
from minilm.text.bpe import BPETokenizer
from minilm.text.characters import CharTokenizer

Tokenizer = CharTokenizer | BPETokenizer

KINDS: dict[str, type[CharTokenizer] | type[BPETokenizer]] = {"char": CharTokenizer, "bpe": BPETokenizer}


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer saved in `folder`, whatever its kind; `RunError` where there is none.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     CharTokenizer.from_text("abc").save(folder)
    ...     load_tokenizer(folder)
    CharTokenizer(characters='abc')
    """
    kind = str(read_tokenizer(folder).get("kind"))
    if kind not in KINDS:
        raise RunError(
            f"{Path(folder) / TOKENIZER} has an unknown kind {kind!r}, {did_you_mean(kind, KINDS)}"
        )
    return KINDS[kind].from_pretrained(folder)
