"""Reads a checkpoint of nanoGPT's, a file of torch's, without running anything that may stand in it.

nanoGPT is GPT-2 with the exact form of GELU, and with or without biases; its linear maps are torch's, so that nothing
is transposed. torch's `weights_only` loader makes tensors and plain values and refuses all else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minilm.config import ModelConfig
from minilm.errors import RunError
from minilm.interop.huggingface import FAMILIES, HEAD, check_count, check_tensors

COMPILED = "_orig_mod."  # before every name where torch.compile was on
SIZES = ("vocab_size", "block_size", "n_layer", "n_head", "n_embd")


def read_nanogpt(path: str | Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Our configuration and tensors of a ckpt.pt; RunError where it is not one of nanoGPT's."""
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; give nanoGPT's ckpt.pt") from error
    except Exception as error:  # whatever a damaged file leads torch's reader to
        raise RunError(
            f"{path} must be a checkpoint of torch's that holds tensors and plain values only, and loading it safely "
            "failed; save it anew where it came from, with torch.save of model and model_args"
        ) from error
    try:
        arguments, tensors = loaded["model_args"], dict(loaded["model"])
        sizes = {name: int(arguments[name]) for name in SIZES}
        bias, dropout = bool(arguments.get("bias", True)), float(arguments.get("dropout", 0.0))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RunError(
            f"{path} must hold nanoGPT's model and model_args with {', '.join(SIZES)}, it lacks {error}; "
            "give the ckpt.pt that its train.py wrote"
        ) from error
    config = ModelConfig.gpt2(**sizes, mlp="gelu_erf", bias=bias, dropout=dropout)
    names = {str(name).removeprefix(COMPILED): tensor for name, tensor in tensors.items()}
    found = {
        name: t for name, t in names.items() if not name.endswith(".attn.bias") and name != HEAD
    }  # mask, copy
    check_count(config, found, str(path))
    table = [e for e in FAMILIES["gpt2"].table(config) if bias or not e.ours.endswith(".bias")]
    check_tensors(found, {entry.theirs[0]: entry.shape for entry in table}, str(path))
    return config, {entry.ours: found[entry.theirs[0]] for entry in table}
