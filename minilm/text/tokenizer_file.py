"""Reads and writes the files that say how text became numbers: ours, and those of GPT-2 and Hugging Face.

Knows the layouts of files and refuses to know how text is encoded. Pieces are bytes here and in memory; in a
file of GPT-2's kind each byte is a visible character.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from minilm import files
from minilm.errors import RunError
from minilm.files import TOKENIZER as FILE  # Hugging Face's file has the same name
from minilm.files import read_tokenizer as read_tokenizer
from minilm.files import write_tokenizer as write_tokenizer

GPT2_FILES = ("vocab.json", "merges.txt")
# what `use_regex` stands for in Hugging Face's ByteLevel, written out where a file has it as a Split
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@functools.cache
def byte_characters() -> dict[int, str]:
    """A visible character for each of the 256 bytes: itself where it has one, else one from 256 on.

    >>> table = byte_characters()
    >>> table[ord("a")], table[ord(" ")], len(set(table.values()))
    ('a', 'Ġ', 256)
    """
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in set(visible)]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + k) for k, byte in enumerate(hidden)}


def visible(piece: bytes) -> str:
    """
    >>> visible(" été".encode())
    'ĠÃ©tÃ©'
    """
    return "".join(byte_characters()[byte] for byte in piece)


@functools.cache
def _character_bytes() -> dict[str, int]:
    return {character: byte for byte, character in byte_characters().items()}


def invisible(text: str) -> bytes:
    """The piece that `visible` shows as `text`; `KeyError` for a character that stands for no byte."""
    table = _character_bytes()
    return bytes(table[character] for character in text)


def is_huggingface(folder: str | Path) -> bool:
    """Whether the tokenizer in `folder` is one of Hugging Face's rather than ours; reads no more than it must."""
    folder = Path(folder)
    if not (folder / FILE).is_file():
        return all((folder / name).is_file() for name in GPT2_FILES)
    fields = files.read_json(folder / FILE, files.VOCABULARY_LIMIT)
    return isinstance(fields, dict) and "format" not in fields and "model" in fields


def huggingface_characters(folder: str | Path) -> str | None:
    """The vocabulary in Hugging Face's `folder` where each token is one character, in the order of the ids; or None."""
    path = Path(folder) / FILE
    model = files.read_json(path)["model"] if path.is_file() else {}
    vocabulary = model.get("vocab") if isinstance(model, dict) and model.get("type") == "WordLevel" else None
    if not isinstance(vocabulary, dict) or not all(len(text) == 1 for text in vocabulary):
        return None
    characters = "".join(sorted(vocabulary))
    return characters if [vocabulary[c] for c in characters] == list(range(len(characters))) else None


def read_huggingface(folder: str | Path) -> dict[str, Any]:
    """The fields of Hugging Face's folder as `pieces_from_json` takes them.

    Its `tokenizer.json` must be byte-pair encoding with GPT-2's way to split a text; without one its
    `vocab.json` and `merges.txt` are read. What would give other ids than the library's is a `RunError`.
    """
    folder = Path(folder)
    if not (folder / FILE).is_file():
        vocab_json, merges_txt = (folder / name for name in GPT2_FILES)
        return read_gpt2(vocab_json, merges_txt, folder / "added_tokens.json")
    fields = files.read_json(folder / FILE, files.VOCABULARY_LIMIT)
    try:
        faults, by_bytes = _faults(fields)
        if faults:
            raise RunError(
                f"{folder / FILE} must be byte-pair encoding split as GPT-2 splits, got {', '.join(faults)}; "
                "take a tokenizer of GPT-2's kind"
            )
        model = fields["model"]
        added = {token["content"]: token["id"] for token in fields.get("added_tokens") or ()}
        merges = list(map(pair, model["merges"]))
        made = {*added, *(a + b for a, b in merges)}
        characters = None if by_bytes else "".join(text for text in model["vocab"] if text not in made)
        return _with_added({"vocabulary": model["vocab"], "merges": merges, "characters": characters}, added)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{folder / FILE} is damaged ({error!r}); restore it from a copy") from error


def _with_added(fields: dict[str, Any], added: Mapping[str, int]) -> dict[str, Any]:
    """Special tokens join the vocabulary written as pieces are, which keeps "é" apart from the byte shown as é."""
    show = visible if fields.get("characters") is None else bytes.decode
    vocabulary = {text: number for text, number in fields["vocabulary"].items() if added.get(text) != number}
    vocabulary.update((show(text.encode()), number) for text, number in added.items())
    return {**fields, "vocabulary": vocabulary, "special_tokens": list(added)}


def _faults(fields: dict[str, Any]) -> tuple[list[str], bool]:
    """What in a `tokenizer.json` is not GPT-2's way, and whether its base are bytes."""
    model, steps = fields["model"], _steps(fields.get("pre_tokenizer"))
    kinds = [step["type"] for step in steps]
    faults = [] if model.get("type", "BPE") == "BPE" else [f"a model of type {model['type']}"]
    unusual = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges")
    faults += [f"{name} {model[name]!r}" for name in unusual if model.get(name)]
    faults += [f"a normalizer {step['type']}" for step in _steps(fields.get("normalizer"))]
    if kinds not in (["ByteLevel"], ["Split"], ["Split", "ByteLevel"]):
        faults.append(f"the pre-tokenizers {kinds}")
    for step in steps:
        if step.get("add_prefix_space"):
            faults.append("a space put before the text")
        if step["type"] == "Split" and (
            step["pattern"] != {"Regex": GPT2_PATTERN} or step["behavior"] != "Isolated" or step["invert"]
        ):
            faults.append(f"the pattern {step['pattern']}")
        if step["type"] == "ByteLevel" and step.get("use_regex", True) != (len(steps) == 1):
            faults.append("no pattern" if len(steps) == 1 else "two patterns")
    for token in fields.get("added_tokens") or ():
        faults += [
            f"{n} for {token['content']!r}" for n in ("lstrip", "rstrip", "single_word") if token.get(n)
        ]
    return faults, "ByteLevel" in kinds


def _steps(step: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A (pre-)tokenizing step of Hugging Face's as the list of its parts."""
    if step is None:
        return []
    inner = next((step[name] for name in ("pretokenizers", "normalizers") if name in step), None)
    return [step] if inner is None else [part for one in inner for part in _steps(one)]


def read_gpt2(
    vocab_json: str | Path, merges_txt: str | Path, added_json: str | Path | None = None
) -> dict[str, Any]:
    """GPT-2's two files, `{"piece": id}` and one merge per line, as `read_huggingface` gives them.

    Special are `<|endoftext|>`, what is no piece of bytes, and what `added_json` lists, where it exists.
    """
    vocabulary = files.read_json(vocab_json, files.VOCABULARY_LIMIT)
    added = files.read_json(added_json) if added_json and Path(added_json).is_file() else {}
    try:
        lines = Path(merges_txt).read_text(encoding="utf-8").split("\n")
        merges = [pair(line) for line in lines if line.strip() and not line.startswith("#version")]
        special = [p for p in vocabulary if not set(p) <= set(_character_bytes()) or p == "<|endoftext|>"]
        return _with_added(
            {"vocabulary": vocabulary, "merges": merges}, {**{p: vocabulary[p] for p in special}, **added}
        )
    except OSError as error:
        raise RunError(f"cannot read {merges_txt}: {error.strerror}; give both files") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{vocab_json} and {merges_txt} are not GPT-2's two files: {error}; give its vocab.json and merges.txt"
        ) from error


def pair(written: str | Iterable[str]) -> tuple[str, str]:
    """A merge as files write it, `"a b"` or `["a", "b"]`."""
    first, second = written.split(" ") if isinstance(written, str) else written
    return first, second


def pieces_to_json(
    pieces: Sequence[bytes],
    merges: Iterable[tuple[bytes, bytes]],
    special: Sequence[str],
    characters: str | None,
) -> dict[str, Any]:
    """What `pieces_from_json` reads: pieces of bytes as visible characters, pieces of `characters` as they are."""
    show = visible if characters is None else bytes.decode
    return {
        "characters": characters,
        "special_tokens": list(special),
        "vocabulary": {show(piece): number for number, piece in enumerate(pieces)},
        "merges": [[show(a), show(b)] for a, b in merges],
    }


def pieces_from_json(fields: Mapping[str, Any], where: str | Path) -> dict[str, Any]:
    """`pieces` in the order of their ids, `merges`, `special_tokens`; `where` names the file for who must mend it."""
    try:
        hide = invisible if fields.get("characters") is None else str.encode
        vocabulary = sorted(fields["vocabulary"].items(), key=lambda item: item[1])
        if [number for _, number in vocabulary] != list(range(len(vocabulary))):
            raise ValueError("its ids are not 0, 1, 2, ... each once")
        return {
            "pieces": tuple(hide(text) for text, _ in vocabulary),
            "merges": tuple((hide(a), hide(b)) for a, b in map(pair, fields["merges"])),
            "special_tokens": tuple(fields["special_tokens"]),
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"the tokenizer in {where} is damaged ({error}); restore it from a copy") from error
