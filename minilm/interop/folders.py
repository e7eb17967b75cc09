"""Writes a model as a folder that Hugging Face's library opens: weights, tokenizer, how to generate, a model card.

It never imports their library, and knows nothing of runs: what stands in the card is handed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from minilm import files
from minilm.config import ModelConfig
from minilm.interop.huggingface import to_huggingface
from minilm.text.characters import CharTokenizer
from minilm.text.tokenizer_file import GPT2_PATTERN, pieces_to_json
from minilm.text.tokenizers import Tokenizer

EVERY_CHARACTER = r"[\s\S]"  # the pattern that cuts a text into characters, line ends too
FUSE: dict[str, Any] = {"type": "Fuse"}

CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [minilm]
---

# {name}

{about}

```python
from transformers import pipeline

write = pipeline("text-generation", {folder})
print(write({prompt}, max_new_tokens={room}, do_sample=True, temperature=0.8)[0]["generated_text"])
```

The model sees {context} tokens at most ({tokens}) and has {parameters:,} parameters; `{architecture}` computes it,
no code comes along. It writes like its text and knows nothing: whatever it says is made up, and parts of it may be
that text word for word, so do not share a model of what you would not share.
"""


def write_folder(
    folder: str | Path,
    config: ModelConfig,
    tensors: Mapping[str, Tensor],
    tokenizer: Tokenizer,
    *,
    name: str,
    about: str,
    prompt: str,
) -> Path:
    """Writes the model into the new `folder`; ConfigError, before anything is written, where none of theirs can
    hold it. `name`, `about` and `prompt` go to the model card."""
    settings, converted = to_huggingface(config, tensors)
    path = files.new_folder(folder)
    files.write_tensors(path / "model.safetensors", converted, {})
    files.write_json(path / "tokenizer.json", tokenizer_json(tokenizer))
    tokens = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    files.write_json(path / "tokenizer_config.json", {**tokens, "model_max_length": config.block_size})
    room = max(1, config.block_size // 2)
    generation = {"do_sample": False, "max_new_tokens": room, "bos_token_id": None, "eos_token_id": None}
    files.write_json(
        path / "generation_config.json", {**generation, "pad_token_id": 0}
    )  # never seen by the model
    kind = "characters" if isinstance(tokenizer, CharTokenizer) else "pieces of several characters"
    card = CARD.format(
        name=name,
        about=about,
        folder=json.dumps(path.name, ensure_ascii=False),
        prompt=json.dumps(prompt, ensure_ascii=False),
        room=room,
        context=config.block_size,
        tokens=kind,
        parameters=config.n_parameters,
        architecture=settings["architectures"][0],
    )
    files.write_text(path / "README.md", card)
    files.write_json(path / "config.json", settings)  # last: with it the folder is a model
    return path


def tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """The content of the tokenizer.json that gives the same ids in Hugging Face's library.

    An unknown character becomes there what `encode(text, errors="replace")` makes of it here.
    """
    added: list[dict[str, Any]] = []
    if isinstance(tokenizer, CharTokenizer):
        vocabulary = {character: number for number, character in enumerate(tokenizer.characters)}
        model: dict[str, Any] = {"type": "WordLevel", "vocab": vocabulary, "unk_token": stand_in(tokenizer)}
        cut, joined = split(EVERY_CHARACTER), FUSE
    else:
        base = tokenizer.base
        characters = None if base is None else base.characters
        fields = pieces_to_json(tokenizer.pieces, tokenizer.merges, tokenizer.special_tokens, characters)
        added = [special(text, tokenizer.ids[text.encode("utf-8")]) for text in tokenizer.special_tokens]
        vocabulary = fields["vocabulary"]
        model = {
            "type": "BPE",
            "dropout": None,
            "unk_token": None if base is None else stand_in(base),
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": fields["merges"],
        }
        by_bytes: dict[str, Any] = {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        }
        cut, joined = (by_bytes, by_bytes) if base is None else (split(GPT2_PATTERN), FUSE)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": cut,
        "post_processor": None,
        "decoder": joined,
        "model": model,
    }


def stand_in(characters: CharTokenizer) -> str:
    return characters.decode(
        characters.encode("\U0010ffff", errors="replace")
    )  # no character, so never known


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def special(text: str, number: int) -> dict[str, Any]:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": text, **plain, "special": True}
