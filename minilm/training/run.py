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

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from minilm import files
from minilm.config import ModelConfig, TrainConfig
from minilm.errors import ConfigError, RunError
from minilm.files import BEST as BEST
from minilm.files import CONFIG as CONFIG
from minilm.files import METRICS as METRICS
from minilm.files import run_folder as run_folder
from minilm.model import GPT
from minilm.text.corpora import Corpus, tokenizer_identity
from minilm.text.tokenizers import Tokenizer, in_words, load_tokenizer
from minilm.text.turns import find_dialogue
from minilm.training.checkpoint import WEIGHTS, belongs, differences, identity, load_weights
from minilm.training.hardware import Hardware

FORMAT, VERSION = "minilm-run", 1
SURVEYED = 500_000  # tokens of a text in which its speakers are looked for: a second
RESULT = "result.json"
PLACE = "place.json"  # where the text lies on this machine: what a folder that is given away leaves behind
# What has learnt for long elsewhere moves gently: the rate that GPT-2 and its kin are usually fine-tuned with.
GENTLE: dict[str, Any] = {"optimizer": "adamw", "learning_rate": 1e-4, "warmup": 0.1}
RUNS = "runs"  # the folder in which verbs put runs unless told otherwise


# The shapes of what a run's files hold, see `files.misfit`: they may come from anywhere.
SPLITS = {"val": (None, float), "test": (None, float)}
CORPUS_SHAPE: dict[str, Any] = {
    **{"name": str, "characters?": int, "vocab_size?": int, "bounds?": [int], "floors?": (None, SPLITS)},
    **{"tokens?": str, "pieces?": str, "in_words?": str},
    "source?": {"path": str, "sha256": str, "split": [float], "characters?": int, "licence?": str},
}
CONFIG_SHAPE = {
    **{
        "model": {},
        "train": {},
        "corpus": CORPUS_SHAPE,
        "modules?": {},
        "hardware?": (None, {}),
        "tokenizer?": str,
    },
    "legs?": [{"steps?": int, "minutes?": float}],
    "taught?": {"most_steps": int, "val_loss": float, "seconds": float, "step_seconds": float},
}
RECORD_SHAPE = {
    **{"step": int, "train_loss?": (None, float), "val_loss?": float},
    **{"learning_rate?": float, "progress?": float, "seconds?": float},
}
NUMBERS: dict[str, Any] = {
    **{"steps": int, "seconds?": float, "stopped": str, "best_step?": int},
    **{"val_loss?": (None, float), "test_loss?": (None, float)},
}
RESULT_SHAPE = {
    **{**NUMBERS, "eval_chars?": (None, int), "protocol?": str, "n_parameters?": int, "sample?": str},
    "counting?": (None, {"order": int, **SPLITS}),
    "mixture?": (None, {"weight": float, **SPLITS}),
    "legs?": [NUMBERS],
    "student?": float,
    "belongs?": {"run": str, "weights": (None, str), "records": [(int, str)]},
}


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
        "tokenizer": tokenizer_identity(corpus.tokenizer),
        "hardware": {
            name: getattr(hardware, name) for name in ("device", "precision", "threads", "attention")
        },
    }
    own = foreign_modules(model)
    described |= {"dialogue": find_dialogue(corpus.beginning(SURVEYED)).to_dict()}
    return {**described, "modules": own} if own else described


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
    files.write_json(folder / CONFIG, config, sealed=True)


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
        raise RunError(
            f"a run must be given, got none, and {folder} holds none; train one, or give its folder"
        )
    return max(able, key=lambda path: weights[path].stat().st_mtime)


def read_config(folder: Path) -> dict[str, Any]:
    """A run's config.json, known to be whole; its model and train entries make valid configurations. Where the text
    lies, if that is known here, stands in it again."""
    config = files.read_json(folder / CONFIG, sealed_with="tokenizer")
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        got = config.get("format") if isinstance(config, dict) else type(config).__name__
        raise RunError(
            f'a run must have the "format" "{FORMAT}", got {got!r}, so {folder / CONFIG} does not describe a '
            "run of ours; give the folder of a run"
        )
    if config.get("version") != VERSION:
        raise RunError(
            f"{folder} must have run format {VERSION}, got {config.get('version')!r}; "
            "use the minilm that wrote it"
        )
    files.check_shape(folder / CONFIG, config, CONFIG_SHAPE)
    try:
        ModelConfig.from_dict(config["model"])
        TrainConfig.from_dict(config["train"])
    except ConfigError as error:
        advice = "" if "was removed" in str(error) else "; restore it from a copy"
        raise RunError(f"{folder / CONFIG} cannot be read: {error}{advice}") from error
    place = files.read_json(folder / PLACE) if (folder / PLACE).is_file() else {}
    if (
        isinstance(config["corpus"].get("source"), dict)
        and isinstance(place, dict)
        and isinstance(place.get("text"), str)
    ):
        config["corpus"]["source"]["path"] = place["text"]
    return config


def load_run(path: str | Path, model: nn.Module | None = None) -> Run:
    """The run in a folder, or the best run of a study; RunError with a sentence where there is none.

    With `model`, a module of the user's own, the weights are read into it.
    """
    folder = run_folder(path)
    config = read_config(folder)
    if not (folder / WEIGHTS).is_file():
        if (folder / RESULT).is_file():
            raise RunError(f"{folder / WEIGHTS} is missing; restore it from a copy")
        raise RunError(
            f"{folder} has no weights yet; go on with its training: python -m minilm.train --resume {folder}"
        )
    tokenizer = own_tokenizer(folder, config)
    if model is None:
        refuse_foreign(folder, config)
        model = GPT.from_pretrained(folder)
    else:
        tensors, header = files.read_tensors(folder / WEIGHTS)
        belongs(folder / WEIGHTS, header, config)
        load_weights(model, tensors, folder)
        model.eval()
    return Run(folder, model, tokenizer, config, *read_numbers(folder, config))


def own_tokenizer(folder: Path, config: dict[str, Any]) -> Tokenizer:
    """The tokenizer in the folder, which must be the one that the run was trained with."""
    tokenizer = load_tokenizer(folder)
    faults = differences(
        {"vocab_size": config["model"].get("vocab_size"), "tokenizer": config.get("tokenizer")},
        {
            "vocab_size": tokenizer.vocab_size,
            "tokenizer": "tokenizer" in config and tokenizer_identity(tokenizer) or None,
        },
    )
    if faults:
        raise RunError(
            f"the tokenizer in {folder} must be the one that the run was trained with, and is another: {faults}; "
            f"restore {files.TOKENIZER} from a copy"
        )
    return tokenizer


def read_numbers(folder: Path, config: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The records and the result of a run, known to be of its weights and of each other; empty where there are none.

    Runs from before 2026-12 hold no checksums of each other's files and are taken as they are.
    """
    metrics = files.read_records(folder / METRICS) if (folder / METRICS).exists() else []
    result = files.read_json(folder / RESULT, sealed_with="belongs") if (folder / RESULT).exists() else {}
    files.check_shape(folder / METRICS, metrics, [RECORD_SHAPE])
    if result != {}:
        files.check_shape(folder / RESULT, result, RESULT_SHAPE)
    if not (seen := result.get("belongs")):
        return metrics, result
    goes_on = len(config.get("legs", [])) >= len(
        result.get("legs", [result])
    )  # another leg writes weights and records
    records = seen["records"][0] if goes_on and seen["records"] else None
    now = belonging(folder, config, records if isinstance(records, int) else None)
    names = {
        "run": CONFIG,
        "records": METRICS,
        **({} if goes_on or not now["weights"] else {"weights": WEIGHTS}),
    }
    for key, name in names.items():
        if seen.get(key) != now[key]:
            raise RunError(
                f"{folder / name} must be the file that {RESULT} was made with, and is another, or has lost a part: "
                f"its mark was {seen.get(key)}, now {now[key]}; put the files of one run together again"
            )
    return metrics, result


def belonging(folder: Path, config: dict[str, Any], records: int | None = None) -> dict[str, Any]:
    """Marks of the run's other files, as result.json keeps them."""
    there = (folder / WEIGHTS).is_file()  # a page is drawn of records alone
    weights = files.read_header(folder / WEIGHTS).get(files.SEAL) if there else None
    return {"run": identity(config), "weights": weights, "records": files.log_mark(folder / METRICS, records)}


def write_imported(model: GPT, tokenizer: Tokenizer, name: str, out: str | Path) -> Path:
    """A run folder of a model that was trained elsewhere, on a text that nobody here has."""
    folder = files.new_folder(out)
    tokenizer.save(folder)
    corpus = {"name": name, "vocab_size": tokenizer.vocab_size, "tokens": "given", "floors": None}
    described = {"model": model.config.to_dict(), "train": TrainConfig(**GENTLE).to_dict(), "corpus": corpus}
    config = {"format": FORMAT, "version": VERSION, **described, "tokenizer": tokenizer_identity(tokenizer)}
    files.write_tensors(folder / WEIGHTS, model.state_dict(), {"run": identity(config)})
    files.write_json(folder / CONFIG, config, sealed=True)
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
        run.result["belongs"] = belonging(run.folder, run.config)
        files.write_json(run.folder / RESULT, run.result, sealed=True)


def cut_metrics(folder: Path, step: int, mark: Sequence[Any] | None = None) -> None:
    """Drops the records after `step`: the steps after the checkpoint are going to happen again.

    `mark` is what the checkpoint knows of the log; RunError where it has lost lines since.
    """
    path = folder / METRICS
    records = files.read_records(path) if path.exists() else []
    keep = sum(record["step"] <= step for record in records)
    if mark is not None and [*mark] != (now := files.log_mark(path, mark[0])):
        raise RunError(
            f"{path} must hold the {mark[0]} records that the checkpoint knows of, and has lost some or is another "
            f"run's: its mark was {mark}, now {now}; restore it from a copy"
        )
    if records:
        files.first_records(path, keep)
