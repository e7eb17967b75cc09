"""Reads and writes weights: a model's folder, and the checkpoint from which a training goes on.

A checkpoint is one safetensors file, so that weights and counters can never come from different moments: weights, the
optimizer's tensors, torch's random state, and in the header as JSON whatever state the trainer hands over. This file
knows no schedule and no corpus.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from minilm import disk, files
from minilm.config import ModelConfig
from minilm.errors import ConfigError, RunError, StorageError
from minilm.files import CONFIG, METRICS
from minilm.interop import huggingface

WEIGHTS, CHECKPOINT = "model.safetensors", "checkpoint.safetensors"
INDEX = f"{WEIGHTS}.index.json"  # where weights lie in several files
VERSION = "1"  # of a checkpoint
HALVES = (torch.bfloat16, torch.float16)  # other programs may have stored numbers so
Self = TypeVar("Self", bound="Pretrained")


class Pretrained:
    """What reads and writes a model as a folder; its class takes a ModelConfig."""

    config: ModelConfig

    @classmethod
    def from_pretrained(cls: type[Self], folder: str | Path) -> Self:
        """The model in a folder of ours, or in a Hugging Face folder of GPT-2, Qwen3 or Llama, in eval mode."""
        config, tensors = read_model(folder)
        with torch.random.fork_rng(devices=[]):  # the start values are overwritten, no draw should be spent
            model: Any = cls(config)  # type: ignore[call-arg]
        load_weights(model, tensors, folder)
        return model.eval()

    def save_pretrained(self: Any, folder: str | Path) -> None:
        """Writes config.json and model.safetensors into `folder`, which is made if it is missing."""
        folder = files.make_folder(folder)
        files.write_tensors(folder / WEIGHTS, self.state_dict(), {})
        files.write_json(folder / "config.json", {"format": "minilm", "model": self.config.to_dict()})


def read_model(folder: str | Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The architecture and the weights in a folder of ours, or in a Hugging Face folder of GPT-2, Qwen3 or Llama, in
    one file or in parts. Pickled weights are refused, since loading them can run any code.
    """
    folder = Path(folder)
    settings = files.read_json(folder / CONFIG)
    if isinstance(settings, dict) and settings.get("prior"):
        raise RunError(
            f"{folder} holds a decoder with a counting prior, which was removed, and a GPT would be half of it; "
            "read it with the minilm that wrote it (commit d0be72f)"
        )
    if not (folder / WEIGHTS).exists():
        if (pickled := folder / "pytorch_model.bin").exists():
            raise RunError(
                f"{pickled}: pickle refused, it can run any code; convert it to {WEIGHTS} elsewhere"
            )
        if (folder / INDEX).exists():
            return huggingface.from_huggingface(settings, read_parts(folder))
    tensors, header = files.read_tensors(folder / WEIGHTS)
    if isinstance(settings, dict):
        belongs(folder / WEIGHTS, header, settings)
    if isinstance(settings, dict) and isinstance(settings.get("model"), dict):
        try:
            config = ModelConfig.from_dict(settings["model"])
        except ConfigError as error:
            raise RunError(f"{folder / CONFIG} is no model's: {error}, or restore it from a copy") from error
        huggingface.check_count(config, tensors, str(folder))
        return config, tensors
    return huggingface.from_huggingface(settings, tensors)


def read_parts(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder whose weights lie in several files, which its index names."""
    index = files.read_json(folder / INDEX)
    names = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(names, dict) or not names:
        raise RunError(f"{folder / INDEX} must say in which file each tensor is; restore it from a copy")
    tensors: dict[str, Tensor] = {}
    for part in sorted(set(map(str, names.values()))):
        if Path(part).name != part or not part.endswith(".safetensors"):
            raise RunError(
                f"{folder / INDEX} must name safetensors files beside it, got {part!r}; take another copy"
            )
        tensors |= files.read_tensors(folder / part)[0]
    return tensors


def identity(config: Mapping[str, Any]) -> str:
    """What names a run in its other files: the settings, the text and the tokenizer that `config` describes.

    What may change later is not in it: the machine, the place of the text, further legs.
    """
    corpus = config.get("corpus") or {}
    text = {key: corpus.get(key) for key in ("bounds", "tokens", "vocab_size", "pieces")}
    source = corpus.get("source") or {}
    parts = {key: config.get(key) for key in ("model", "train", "modules", "tokenizer")}
    return files.seal(json.loads(json.dumps([parts, text, source.get("sha256")])))[:32]


def belongs(path: Path, header: Mapping[str, str], config: Mapping[str, Any]) -> None:
    """RunError where a file of tensors says that it is another run's; older ones do not say whose they are."""
    if (owner := header.get("run")) is not None and owner != (own := identity(config)):
        raise RunError(
            f"{path} must be of the run that its {CONFIG} describes, {own[:8]}, and belongs to another, {owner[:8]}; "
            "put the two files of one run together again"
        )


def _owner(folder: Path) -> dict[str, str]:
    """What a file of tensors in a run's folder says of whose it is."""
    if not (folder / CONFIG).is_file():
        if folder.absolute() not in disk.HELD:  # a checkpoint by itself
            return {}
        raise StorageError(
            f"cannot go on in {folder}: its {CONFIG} was moved or deleted since the training began; put it back and "
            "resume, or begin anew"
        )
    return {"run": identity(files.read_json(folder / CONFIG))}


def save_weights(folder: Path, tensors: dict[str, Tensor], state: Any) -> None:
    """Writes the best weights so far of a run, with the step and the loss that a loop's `State` has for them."""
    best = json.dumps({"step": state.best_step, "val_loss": state.best_loss})
    files.write_tensors(folder / WEIGHTS, tensors, {"best": best, **_owner(folder)})


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
    faults += [
        f"{name} must be {own[name].dtype}, got {tensor.dtype}"
        for name, tensor in tensors.items()
        if name in own and tensor.dtype != own[name].dtype
        if not (tensor.dtype in HALVES and own[name].is_floating_point())
    ]
    faults += [
        f"{name} must be finite, and holds NaN or infinity"
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not tensor.isfinite().all()
    ]
    if faults == ["bigrams.keys is missing"]:
        raise RunError(
            f"{source} is from a minilm whose pairs of tokens shared rows (before 2026-11-30); read it with that, or "
            "train anew"
        )
    if faults:
        raise RunError(
            f"{source} does not fit the model: {'; '.join(faults[:3])}; restore the folder from a copy"
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: Any,
    state: dict[str, Any],
) -> None:
    """Writes model, optimizer, random state and the JSON-able `state`."""
    tensors = {f"model.{name}": tensor for name, tensor in weights(model).items()}
    for number, parameter in enumerate(optimizer.parameters):
        kept = optimizer.kept.get(parameter, {})
        tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in kept.items()}
    tensors["rng.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    folder = Path(path).parent
    state = {**state, "records": files.log_mark(folder / METRICS)}
    about = {"version": VERSION, "state": json.dumps(state, allow_nan=False)}
    files.write_tensors(path, tensors, {**about, **_owner(folder)})


def load_checkpoint(path: str | Path, model: nn.Module, optimizer: Any, own: bool = False) -> dict[str, Any]:
    """Puts the checkpoint's tensors and random state back in place; returns its `state`. `own`: it must be of the run
    in its folder."""
    tensors, header = files.read_tensors(path)
    if own:
        belongs(Path(path), header, files.read_json(Path(path).parent / CONFIG))
    if header.get("version") != VERSION or "state" not in header:
        raise RunError(
            f"{path} must be a checkpoint of version {VERSION}, got {header.get('version')}; train anew"
        )
    load_weights(model, _under("model.", tensors), path)
    optimizer.kept = {}
    for name, tensor in _under("optimizer.", tensors).items():
        number, _, key = name.partition(".")
        parameter = optimizer.parameters[int(number)]
        optimizer.kept.setdefault(parameter, {})[key] = tensor.to(parameter.device)
    torch.set_rng_state(tensors["rng.cpu"])
    if torch.cuda.is_available() and "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    return json.loads(header["state"])


def resume(trainer: Any, other: Path | None = None) -> tuple[int, list[Any] | None]:
    """Takes a `loop.Trainer` back to the checkpoint in its folder and returns its step, and the mark of the records
    that there were (`files.log_mark`). From the one of an `other` training come weights, optimizer and place in the
    text alone; clock and counters start anew."""
    path = other or trainer.folder / CHECKPOINT
    state = load_checkpoint(path, trainer.model, trainer.optimizer, own=other is None)
    trainer.batches.restore(state["batches"])
    if other is not None:
        return 0, None
    s = trainer.state = type(trainer.state)(
        **{field.name: state[field.name] for field in fields(trainer.state)}
    )
    trainer.clock.restore(state)
    config = trainer.config
    if state.get("leg", 0) < trainer.clock.leg:
        s.stale = 0
    elif changed := differences(config.without_removed(state["config"]), config.to_dict()):
        raise RunError(f"cannot resume {trainer.folder} with other settings: {changed}; use the old ones")
    if s.best_loss is not None:
        if s.best_step == s.step:  # killed after the checkpoint, before the best weights
            trainer.keep_best()
        else:
            trainer.best, header = files.read_tensors(weights_path := path.with_name(WEIGHTS))
            belongs(weights_path, header, files.read_json(path.with_name(CONFIG)))
            if (step := json.loads(header.get("best", "{}")).get("step", s.best_step)) != s.best_step:
                raise RunError(
                    f"{weights_path} must hold the weights of step {s.best_step}, the best one, got those of {step}; "
                    "restore it from a copy"
                )
    return s.step, state.get("records")


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The keys in which two dictionaries differ, as a list for a sentence.

    >>> differences({"seed": 0, "steps": 10}, {"seed": 1, "steps": 10})
    'seed was 0, now 1'
    """
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return ", ".join(f"{key} was {old.get(key)!r}, now {new.get(key)!r}" for key in keys)
