"""The loss of a stranger's run on a text, computed where students' code runs too, though a run holds none.

Knows folders of runs and their loss; refuses to know ranks, names and whatever a run says about itself.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from minilm.config import ModelConfig, TrainConfig
from minilm.errors import RunError
from minilm.files import write_json
from minilm.model import GPT
from minilm.text.characters import CharTokenizer
from minilm.training.checkpoint import WEIGHTS
from minilm.training.evaluate import exact_loss
from minilm.training.run import CONFIG, FORMAT, VERSION, load_run, read_config


def judge_run(folder: Path, pieces: list[str], unknown: float) -> dict[str, Any]:
    """{"losses", "parameters", "block_size"}: nats per character of each piece, its first character not scored.

    Windows of block_size (`exact`), each piece by itself; an unknown character costs `unknown` nats on top. Raises an
    error of ours, with a sentence, for a folder that is no run of ours.
    """
    longest = max(map(len, pieces))
    _plausible(ModelConfig.from_dict(read_config(folder)["model"]), folder, longest)
    run = load_run(folder)
    tokenizer, model = run.tokenizer, run.model
    if not isinstance(tokenizer, CharTokenizer) or tokenizer.vocab_size != model.config.vocab_size:
        raise RunError(
            "the tokenizer must be one of characters, and know exactly as many as the model; hand in the whole run"
        )
    losses = [_loss(model, tokenizer, piece, unknown) for piece in pieces]
    if not all(map(math.isfinite, losses)):
        raise RunError("its loss is not a number; the weights hold infinities or worse")
    parameters = sum(p.numel() for p in model.parameters())
    return {"losses": losses, "parameters": parameters, "block_size": model.config.block_size}


def _plausible(config: ModelConfig, folder: Path, longest: int) -> None:
    """A configuration may ask for any size, so it is held against its weights before anything is built."""
    width = 4 * config.n_embd + 2 * config.mlp_width
    least = (config.vocab_size + config.n_layer * width) * config.n_embd  # parameters, each a byte or more
    if least > (folder / WEIGHTS).stat().st_size:
        raise RunError(
            f"{CONFIG} describes a model of {least:,} parameters or more, which {WEIGHTS} cannot hold; hand in "
            "the whole run"
        )
    if config.block_size > longest:
        raise RunError(
            f"a context must be at most {longest:,} characters here, got {config.block_size:,}; train with less"
        )


def _loss(model: torch.nn.Module, tokenizer: CharTokenizer, piece: str, unknown: float) -> float:
    ids = tokenizer.encode_array(piece, errors="replace")
    known = np.isin(np.array(list(piece)), np.array(list(tokenizer.characters)))
    return exact_loss(model, ids) + unknown * float(1 - known[1:].mean())


def small_run(folder: Path, characters: str = "abcd") -> None:
    """An untrained run of a few hundred parameters, the same each time."""
    size = len(characters)
    config = ModelConfig(vocab_size=size, n_layer=1, n_head=1, n_embd=8, block_size=16, init="gpt2")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT(config)
    model.save_pretrained(folder)
    about: dict[str, Any] = {"format": FORMAT, "version": VERSION, "corpus": {"name": "letters"}}
    write_json(folder / CONFIG, about | {"model": config.to_dict(), "train": TrainConfig().to_dict()})
    CharTokenizer.from_text(characters).save(folder)


def rehearse() -> None:
    """Judges a small run, so that all that judging imports is there before the disk is closed."""
    with tempfile.TemporaryDirectory(prefix="minilm-") as name:
        small_run(Path(name))
        judge_run(Path(name), ["abcd" * 5, "dcbae" * 4], 1.0)
