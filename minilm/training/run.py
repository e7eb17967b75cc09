"""Reads and writes a run: a folder that a person can open, and what it holds in memory.

config.json       what was trained, on what, where
tokenizer.json    the vocabulary
model.safetensors the best weights
metrics.jsonl     one record per line, as training went
result.json       the final numbers
held_out.safetensors     the part of the text that no training saw
checkpoint.safetensors   where to go on after an interruption
place.json        where the text lies; these two are of this machine, `minilm.convert RUN DST --to run` leaves them out

This file reads and writes those; it trains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from minilm import files
from minilm.config import ModelConfig, TrainConfig
from minilm.errors import ConfigError, RunError
from minilm.model import GPT
from minilm.text.corpora import Corpus
from minilm.text.tokenizers import Tokenizer, in_words, load_tokenizer
from minilm.text.turns import find_dialogue
from minilm.training.checkpoint import WEIGHTS, load_weights
from minilm.training.hardware import Hardware

FORMAT, VERSION = "minilm-run", 1
SURVEYED = 500_000  # tokens of a text in which its speakers are looked for: a second
CONFIG, METRICS, RESULT = "config.json", "metrics.jsonl", "result.json"
PLACE = "place.json"  # where the text lies on this machine: what a folder that is given away leaves behind
# What has learnt for long elsewhere moves gently: the rate that GPT-2 and its kin are usually fine-tuned with.
GENTLE: dict[str, Any] = {"optimizer": "adamw", "learning_rate": 1e-4, "warmup": 0.1}
RUNS = "runs"  # the folder in which verbs put runs unless told otherwise
BEST = "best"  # a study's folder holds its best run under this name


@dataclass(repr=False)
class Run:
    """A training run. `folder` is None where nothing was written; `model` holds the best weights."""

    folder: Path | None
    model: Any  # a GPT, or the user's own module
    tokenizer: Tokenizer
    config: dict[str, Any]
    metrics: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        shape, result = self.config["model"], self.result
        context = f"context {shape['block_size']} tokens ({in_words(self.tokenizer)})"
        size = f"{shape['n_layer']} layers, {shape['n_embd']} wide, {context}"
        losses = [
            f"{name} {result[f'{name}_loss']:.4f}" for name in ("val", "test") if result.get(f"{name}_loss")
        ]
        sample = f"  it writes: {result['sample'][:70]!r}\n" if result.get("sample") else ""
        done = f"{result['steps']:,} steps ({result['stopped']})" if result else "not finished"
        return (
            f"Run of {self.config['corpus']['name']}: {size}; {done}\n"
            f"  loss in nats per character: {', '.join(losses) or 'not measured'}\n"
            f"{sample}  folder: {self.folder or 'none, in memory only'}; see .metrics, .result, .model, .tokenizer"
        )


def foreign_modules(model: Any) -> dict[str, str]:
    """Where a model is not what its configuration builds: name -> class, the whole model's name being "".

    >>> model = GPT(ModelConfig(vocab_size=5, n_layer=1, n_head=1, n_embd=4))
    >>> model.blocks[0].mlp = nn.Identity()
    >>> foreign_modules(model)
    {'blocks.0.mlp': 'torch.nn.modules.linear.Identity'}
    """
    small = model.config.replace(vocab_size=1, block_size=1, n_embd=2 * model.config.n_head, mlp_hidden=1)
    with torch.random.fork_rng(devices=[]):  # (torch's meta device would load its compiler)
        plain = {name: type(module) for name, module in GPT(small).named_modules()}
    found: dict[str, str] = {}
    for name, module in model.named_modules():
        kind, inside = type(module), any(name.startswith(f"{outer}.") for outer in found)
        if kind is not plain.get(name) and "" not in found and not inside:
            found[name] = f"{kind.__module__}.{kind.__qualname__}"
    return found


def describe_run(model: nn.Module, train: TrainConfig, corpus: Corpus, hardware: Hardware) -> dict[str, Any]:
    """The content of config.json."""
    shape: Any = model.config
    described = {
        "format": FORMAT,
        "version": VERSION,
        "model": shape.to_dict(),
        "train": train.to_dict(),
        "corpus": corpus.describe(),
        "hardware": {
            name: getattr(hardware, name) for name in ("device", "precision", "threads", "attention")
        },
    }
    own = foreign_modules(model)
    described |= {"dialogue": find_dialogue(corpus.beginning(SURVEYED)).to_dict()}
    return {**described, "modules": own} if own else described


def run_folder(path: str | Path) -> Path:
    """The folder of the run at `path`: itself, or the best run of the study that it is."""
    path = Path(path)
    if not path.is_dir():
        raise RunError(
            f"the folder {path} does not exist; give the folder that a training printed at its end"
        )
    for folder in (path, path / BEST):
        if (folder / CONFIG).is_file():
            return folder
    raise RunError(f"{path} is not a run, it holds no {CONFIG}; give the folder that a training printed")


def is_run(folder: Path) -> bool:
    """Whether the folder itself is a run; other programs also write a file called config.json."""
    settings = files.read_json(folder / CONFIG) if (folder / CONFIG).is_file() else None
    return isinstance(settings, dict) and settings.get("format") == FORMAT


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Writes config.json, and the text's place apart from it: a path has the name of its owner in it."""
    source = config["corpus"].get("source", {})
    if Path(source.get("path", "")).is_absolute():
        if not (folder / PLACE).is_file() or files.read_json(folder / PLACE) != {"text": source["path"]}:
            files.write_json(folder / PLACE, {"text": source["path"]})
        here = {**source, "path": Path(source["path"]).name}
        config = {**config, "corpus": {**config["corpus"], "source": here}}
    files.write_json(folder / CONFIG, config)


def newest_run(folder: str | Path = RUNS) -> Path:
    """The run in `folder`, or the study, whose weights were written last; RunError where there is none."""
    found = [
        path
        for path in Path(folder).glob("*")
        if (path / CONFIG).is_file() or (path / BEST / CONFIG).is_file()
    ]
    weights = {path: run_folder(path) / WEIGHTS for path in found}
    able = [path for path, file in weights.items() if file.is_file()]
    if not able:
        raise RunError(f"a run must be given, since {folder} holds none; train one, or give its folder")
    return max(able, key=lambda path: weights[path].stat().st_mtime)


def read_config(folder: Path) -> dict[str, Any]:
    """A run's config.json, known to be whole; its model and train entries make valid configurations. Where the text
    lies, if that is known here, stands in it again."""
    config = files.read_json(folder / CONFIG)
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise RunError(f"{folder / CONFIG} does not describe a run of ours; give the folder of a run")
    if config.get("version") != VERSION:
        raise RunError(
            f"{folder} must have run format {VERSION}, got {config.get('version')!r}; "
            "use the minilm that wrote it"
        )
    missing = [key for key in ("model", "train", "corpus") if not isinstance(config.get(key), dict)]
    if missing:
        raise RunError(f"{folder / CONFIG} lacks {', '.join(missing)}; restore it from a copy")
    try:
        ModelConfig.from_dict(config["model"])
        TrainConfig.from_dict(config["train"])
    except ConfigError as error:
        advice = "" if "was removed" in str(error) else "; restore it from a copy"
        raise RunError(f"{folder / CONFIG} cannot be read: {error}{advice}") from error
    place = files.read_json(folder / PLACE) if (folder / PLACE).is_file() else {}
    if isinstance(config["corpus"].get("source"), dict) and isinstance(place, dict) and "text" in place:
        config["corpus"]["source"]["path"] = place["text"]
    return config


def load_run(path: str | Path, model: nn.Module | None = None) -> Run:
    """The run in a folder, or the best run of a study; RunError with a sentence where there is none.

    With `model`, a module of the user's own, the weights are read into it.
    """
    folder = run_folder(path)
    config = read_config(folder)
    if not (folder / WEIGHTS).is_file():
        raise RunError(f"{folder} has no weights yet; continue its training, resume={str(folder)!r}")
    if model is None:
        refuse_foreign(folder, config)
        model = GPT.from_pretrained(folder)
    else:
        load_weights(model, files.read_tensors(folder / WEIGHTS)[0], folder)
        model.eval()
    metrics = files.read_records(folder / METRICS) if (folder / METRICS).exists() else []
    result = files.read_json(folder / RESULT) if (folder / RESULT).exists() else {}
    return Run(folder, model, load_tokenizer(folder), config, metrics, result)


def write_imported(model: GPT, tokenizer: Tokenizer, name: str, out: str | Path) -> Path:
    """A run folder of a model that was trained elsewhere, on a text that nobody here has."""
    folder = files.new_folder(out)
    tokenizer.save(folder)
    corpus = {"name": name, "vocab_size": tokenizer.vocab_size, "tokens": "given", "floors": None}
    described = {"model": model.config.to_dict(), "train": TrainConfig(**GENTLE).to_dict(), "corpus": corpus}
    files.write_tensors(folder / WEIGHTS, model.state_dict(), {})
    files.write_json(folder / CONFIG, {"format": FORMAT, "version": VERSION, **described})
    return folder


def refuse_foreign(folder: Path, config: dict[str, Any]) -> None:
    """A run of the user's own modules cannot be built from its configuration."""
    if own := config.get("modules"):
        parts = ", ".join(f"{name or 'the whole model'} is a {kind}" for name, kind in own.items())
        raise RunError(
            f"the model of {folder} must be given, since it has modules of its own: {parts}; build it in Python and "
            f"give it as model="
        )


def add_to_result(run: Run, numbers: dict[str, Any]) -> None:
    """Adds final numbers, on the disk too where the run has a folder."""
    run.result |= numbers
    if run.folder is not None:
        files.write_json(run.folder / RESULT, run.result)


def cut_metrics(folder: Path, step: int) -> None:
    """Drops the records after `step`: the steps after the checkpoint are going to happen again."""
    path = folder / METRICS
    if not path.exists():
        return
    keep = sum(record["step"] <= step for record in files.read_records(path))
    files.write_bytes(path, b"".join(path.read_bytes().splitlines(keepends=True)[:keep]))
