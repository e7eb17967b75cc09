"""Begins a training from another model: its weights, its tokenizer, and new rows for characters that it lacks.

The other model is a run, a study or a folder of weights of ours, or a Hugging Face folder. It trains nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from minilm.config import ModelConfig
from minilm.errors import ConfigError
from minilm.model import GPT
from minilm.text.characters import CharTokenizer
from minilm.text.corpora import Corpus, load_corpus
from minilm.text.tokenizers import Tokenizer, load_tokenizer, with_characters
from minilm.training.run import BEST, GENTLE, is_run, load_run
from minilm.training.session import fitting_block_size, frequent_pairs


class Start(NamedTuple):
    """A model that is ready to be trained on `corpus`, and how it was trained before."""

    model: GPT
    corpus: Corpus
    recipe: dict[str, Any]  # fields of TrainConfig
    added: str  # characters that the tokenizer did not know


def start_from(
    folder: str | Path, data: str, changes: dict[str, Any] | None = None, raw: bool = False
) -> Start:
    """The model in `folder`, made ready for the text `data`.

    `changes` are fields of ModelConfig: what leaves every weight its place (a shorter context; dropout, attention) is
    taken, anything else is a ConfigError. A text shorter than the context shortens it.
    """
    folder, changes = Path(folder), dict(changes or {})
    old, tokenizer, recipe = _source(folder)
    letters: Any = load_corpus(data, raw=raw).tokenizer  # of characters
    extended, added = with_characters(tokenizer, letters.characters)
    corpus = load_corpus(data, extended, raw=raw)
    fixed = [name for name in changes if name not in ("block_size", "dropout", "attention")]
    if fixed:
        raise ConfigError(
            f"{fixed[0]} must be the model's own, {getattr(old.config, fixed[0])}, got {changes[fixed[0]]}; leave it "
            "out, or train a new model without init"
        )
    changes.setdefault("block_size", fitting_block_size(corpus, old.config.block_size))
    if changes["block_size"] > old.config.block_size and old.config.position == "learned":
        raise ConfigError(
            f"block_size must be at most {old.config.block_size}, the positions that the model has learnt, got "
            f"{changes['block_size']}; leave it out"
        )
    shape = old.config.replace(**changes, vocab_size=extended.vocab_size)
    return Start(grown(old, shape, new_places(tokenizer, extended), corpus.train), corpus, recipe, added)


def new_places(old: Tokenizer, new: Tokenizer) -> np.ndarray:
    """The id in `new` of each token of `old`, (V,): characters stand in the order of their code points."""
    if isinstance(old, CharTokenizer):
        return new.encode_array(old.characters).astype(np.int64)
    return np.arange(old.vocab_size)


@torch.no_grad()
def grown(old: GPT, shape: ModelConfig, places: np.ndarray, tokens: np.ndarray) -> GPT:
    """The model with room for more tokens: token i of the old one has its rows at `places[i]`, each new one begins as
    the mean of all. Rows of pairs that are free go to the most frequent pairs of `tokens`."""
    with torch.random.fork_rng(devices=[]):  # every start value is overwritten
        new, spots = GPT(shape), torch.from_numpy(places)
    own, known = dict(new.named_parameters()), dict(old.named_parameters())
    for name, parameter in own.items():
        if name in ("wte.weight", "lm_head.weight"):
            parameter.copy_(known[name].mean(0))
            parameter[spots] = known[name]
        elif name == "wpe.weight":
            parameter.copy_(known[name][: shape.block_size])
        elif name != "bigrams.table.weight":
            parameter.copy_(known[name])
    if shape.bigrams:
        move_pairs(old.bigrams, new.bigrams, spots, tokens)
    return new


@torch.no_grad()
def move_pairs(old: Any, new: Any, spots: Tensor, tokens: np.ndarray) -> None:
    """Takes the rows of a `BigramTable` to another with more tokens, of which old token i is `spots[i]`."""
    V, W = old.vocab_size, new.vocab_size
    keys = torch.arange(V * V) if old.keys is None else old.keys
    real = keys < V * V  # the others only fill the table up
    moved, rows = spots[keys[real] // V] * W + spots[keys[real] % V], old.table.weight[real]
    if new.keys is None:
        new.table.weight.zero_()
        new.table.weight[moved] = rows
        return
    free = len(new.keys) - len(moved)
    others = torch.from_numpy(frequent_pairs(tokens, W, free))
    others = torch.where(
        torch.isin(others, moved), W * W + free + torch.arange(free), others
    )  # no pair twice
    keys, order = torch.cat((moved, others)).sort()
    new.keys.copy_(keys)
    new.table.weight.copy_(F.pad(rows, (0, 0, 0, free))[order])


def _source(folder: Path) -> tuple[GPT, Tokenizer, dict[str, Any]]:
    if not any(is_run(place) for place in (folder, folder / BEST)):
        return GPT.from_pretrained(folder), load_tokenizer(folder), GENTLE
    run = load_run(folder)
    return run.model, run.tokenizer, run.config["train"]
