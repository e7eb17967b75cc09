"""Everything a run needs to go on as if it had never stopped, in one safetensors file.

Tensors: weights, optimizer moments, torch's random state. The JSON in the header: whatever state the trainer
hands over. One file, so that weights and counters can never come from different moments. This file knows no
schedule and no corpus.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minilm import files
from minilm.errors import RunError
from minilm.training.optim import Joined

VERSION = "1"


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The state dict with each shared tensor once, under its first name (safetensors stores no aliases)."""
    seen: set[int] = set()
    unique = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen or tensor.numel() == 0:
            unique[name] = tensor
        seen.add(tensor.data_ptr())
    return unique


def load_weights(model: nn.Module, tensors: dict[str, Tensor], source: str | Path) -> None:
    """Copies `tensors` into the model; names and shapes must be the model's own."""
    own = weights(model)
    faults = [f"{name} is missing" for name in own if name not in tensors]
    faults += [f"{name} is unknown" for name in tensors if name not in own]
    faults += [
        f"{name} must have shape {tuple(own[name].shape)}, got {tuple(tensor.shape)}"
        for name, tensor in tensors.items()
        if name in own and own[name].shape != tensor.shape
    ]
    if faults:
        raise RunError(
            f"{source} does not fit the model: {'; '.join(faults[:3])}; restore the folder from a copy"
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def save_checkpoint(path: str | Path, model: nn.Module, optimizer: Joined, state: dict[str, Any]) -> None:
    """Writes model, optimizer, random state and the JSON-able `state`."""
    tensors = {f"model.{name}": tensor for name, tensor in weights(model).items()}
    for number, moments in optimizer.state().items():
        tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in moments.items()}
    tensors["rng.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    files.write_tensors(path, tensors, {"version": VERSION, "state": json.dumps(state, allow_nan=False)})


def load_checkpoint(path: str | Path, model: nn.Module, optimizer: Joined) -> dict[str, Any]:
    """Puts the checkpoint's tensors and random state back in place; returns its `state`."""
    tensors, header = files.read_tensors(path)
    if header.get("version") != VERSION or "state" not in header:
        raise RunError(
            f"{path} must be a checkpoint of version {VERSION}, got {header.get('version')}; train anew"
        )
    load_weights(model, _under("model.", tensors), path)
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under("optimizer.", tensors).items():
        number, _, key = name.partition(".")
        moments.setdefault(int(number), {})[key] = tensor
    optimizer.load_state(moments)
    torch.set_rng_state(tensors["rng.cpu"])
    if torch.cuda.is_available() and "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    state: dict[str, Any] = json.loads(header["state"])
    return state


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The keys in which two dictionaries differ, as a list for a sentence.

    >>> differences({"seed": 0, "steps": 10}, {"seed": 1, "steps": 10})
    'seed was 0, now 1'
    """
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return ", ".join(f"{key} was {old.get(key)!r}, now {new.get(key)!r}" for key in keys)
