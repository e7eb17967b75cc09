"""Reads and writes `tokenizer.json`, the file in a run folder that says how text became numbers.

Knows the envelope (format and kind) and refuses to know what a kind stores inside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minilm import files
from minilm.errors import RunError
from minilm.text.characters import FILE, FORMAT


def write_tokenizer(folder: str | Path, kind: str, fields: dict[str, Any]) -> None:
    """Writes `folder/tokenizer.json`, making the folder where needed."""
    files.make_folder(folder)
    files.write_json(Path(folder) / FILE, {"format": FORMAT, "kind": kind, **fields})


def read_tokenizer(folder: str | Path) -> dict[str, Any]:
    """The fields of `folder/tokenizer.json`, "kind" among them; `RunError` where it is not a file of ours."""
    path = Path(folder) / FILE
    fields = files.read_json(path)
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise RunError(f'{path} is not a tokenizer of ours: it must say "format": "{FORMAT}"')
    return fields


def read_kind(folder: str | Path, kind: str) -> dict[str, Any]:
    """Like `read_tokenizer`, for the caller that understands one kind only."""
    fields = read_tokenizer(folder)
    if fields.get("kind") != kind:
        raise RunError(
            f"{Path(folder) / FILE} must be of kind {kind!r}, got {fields.get('kind')!r}; "
            "minilm.text.tokenizers.load_tokenizer reads every kind"
        )
    return fields
