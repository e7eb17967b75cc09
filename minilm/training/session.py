"""One whole run: a corpus and a configuration go in, a trained model, its records and numbers come out.

Joins what the other files know: hardware, model, trainer, run folder. It prints nothing and draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from minilm import files
from minilm.config import ModelConfig, TrainConfig, default_recipe
from minilm.errors import ConfigError, CorpusError, RunError
from minilm.model import GPT
from minilm.text.corpora import Corpus, load_described
from minilm.training.checkpoint import differences
from minilm.training.evaluation import exact_loss
from minilm.training.hardware import Hardware, check_memory, choose_hardware, memory_errors
from minilm.training.probe import raced
from minilm.training.run import (
    CONFIG,
    METRICS,
    RESULT,
    Run,
    add_to_result,
    cut_metrics,
    describe_run,
    has_checkpoint,
    load_run,
    read_config,
    run_folder,
)
from minilm.training.trainer import Trainer, TrainResult

OnRecord = Callable[[dict[str, Any]], None]
OnHardware = Callable[[Hardware], None]


def fitting_block_size(corpus: Corpus, wanted: int) -> int:
    """`wanted`, or the longest context that the training split can fill."""
    return max(1, min(wanted, len(corpus.train) - 1))


def run_training(
    corpus: Corpus,
    model: ModelConfig | GPT | None = None,
    config: TrainConfig | None = None,
    out: str | Path | None = None,
    *,
    start: str | Path | None = None,
    deadline: float | None = None,
    most_steps: int | None = None,
    test: bool = True,
    on_record: OnRecord | None = None,
    on_hardware: OnHardware | None = None,
) -> Run:
    """Trains on `corpus` and returns the run with the best weights; writes a run folder where `out` is given.

    Without `model` or `config` the default recipe's is used, its context shortened to a short text. The same seed
    gives the same run. `start` is a checkpoint of another run of the same model: weights, optimizer and place in
    the text come from there, clock and schedule begin anew. `test=False` leaves the test split unread, as a
    search must. `deadline` is a moment of `time.monotonic()`; `most_steps` end a run by the clock that comes so far,
    and its learning rate has fallen by then. Raises the MinilmError family; after an interruption
    `resume_training(out)` goes on, by the clock alone.
    """
    default, default_training = default_recipe(corpus.tokenizer.vocab_size)
    config = config or default_training
    if model is None:
        model = default.replace(block_size=fitting_block_size(corpus, default.block_size))
    shape = model.config if isinstance(model, GPT) else model
    check_shape(shape, corpus)
    hardware = choose_hardware(config, shape.attention)
    computed = shape.replace(attention=hardware.attention)  # the folder keeps the user's wish
    check_memory(computed, config, hardware.device)
    network = model if isinstance(model, GPT) else build(computed, config.seed)
    hardware = raced(hardware, network.config, config, (config.batch_size, shape.block_size))
    if on_hardware is not None:
        on_hardware(hardware)
    run = Run(None, network, corpus.tokenizer, describe_run(shape, config, corpus, hardware))
    if out is not None:
        run.folder = files.new_folder(out)
        corpus.tokenizer.save(run.folder)
        files.write_json(run.folder / CONFIG, run.config)  # last: with it the folder is a run
    return _train(
        run,
        corpus,
        config,
        hardware,
        start=start,
        deadline=deadline,
        most_steps=most_steps,
        test=test,
        on_record=on_record,
    )


def resume_training(
    folder: str | Path,
    *,
    corpus: Corpus | None = None,
    changes: dict[str, Any] | None = None,
    deadline: float | None = None,
    on_record: OnRecord | None = None,
    on_hardware: OnHardware | None = None,
) -> Run:
    """Continues an interrupted run to its end, on CPU bit for bit; a finished run is only loaded.

    `corpus` and `changes` (fields of ModelConfig and TrainConfig) are what the user asked for this time:
    where they differ from what the run was started with, RunError lists how.
    """
    folder = run_folder(folder)
    stored = read_config(folder)
    _refuse_changes(folder, stored, corpus, changes or {})
    if (folder / RESULT).exists():
        return load_run(folder)
    corpus = corpus or load_described(stored["corpus"])
    config, shape = TrainConfig.from_dict(stored["train"]), ModelConfig.from_dict(stored["model"])
    hardware = _as_before(
        _chosen_again(config, shape.attention, stored.get("hardware")), stored.get("hardware")
    )
    if on_hardware is not None:
        on_hardware(hardware)
    network = build(shape.replace(attention=hardware.attention), config.seed)
    run = Run(folder, network, corpus.tokenizer, stored)
    return _train(run, corpus, config, hardware, deadline=deadline, test=True, on_record=on_record)


def _refuse_changes(
    folder: Path, stored: dict[str, Any], corpus: Corpus | None, changes: dict[str, Any]
) -> None:
    old = {**stored["model"], **stored["train"]}
    faults = differences({key: old.get(key) for key in changes}, changes)
    if corpus is not None:
        mine, theirs = corpus.describe(), stored["corpus"]
        keys = ("name", "characters", "bounds", "vocab_size")
        texts = differences(*({key: _plain(d.get(key)) for key in keys} for d in (theirs, mine)))
        sums = [d.get("source", {}).get("sha256") for d in (theirs, mine)]
        texts = texts or ("" if sums[0] == sums[1] else "the text's checksum has changed")
        faults = ", ".join(filter(None, [faults, texts and f"corpus: {texts}"]))
    if faults:
        raise RunError(
            f"a resumed run keeps its settings, but {folder} differs: {faults}; "
            "leave them out, or start a new run"
        )


def _chosen_again(config: TrainConfig, attention: str, stored: Any) -> Hardware:
    """The hardware without another race: a training by the clock goes on with the threads and the precision that won
    the first one, where it goes on on the same kind of device."""
    hardware = choose_hardware(config, attention)
    old = stored if isinstance(stored, dict) else {}
    if config.minutes is None or not old.get("device") == hardware.device == "cpu":
        return hardware
    threads = old.get("threads") if config.threads is None else config.threads
    settled = config.replace(precision=old.get("precision", hardware.precision), threads=threads)
    return choose_hardware(settled, attention)


def _as_before(hardware: Hardware, stored: Any) -> Hardware:
    """The hardware, with a warning in its line where it is not the run's first one."""
    old = stored if isinstance(stored, dict) else {}
    changed = differences(old, {name: getattr(hardware, name) for name in old if hasattr(hardware, name)})
    if not changed:
        return hardware
    return replace(hardware, why=f"{hardware.why}; {changed}: equal in quality, no longer bit for bit")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value  # what JSON makes of it


def build(shape: ModelConfig, seed: int) -> GPT:
    """A new model; seed and shape decide every weight."""
    torch.manual_seed(seed)
    return GPT(shape)


def check_shape(shape: ModelConfig, corpus: Corpus) -> None:
    """Refuses a model that does not fit the text."""
    if shape.vocab_size != corpus.tokenizer.vocab_size:
        raise ConfigError(
            f"vocab_size must be the corpus's {corpus.tokenizer.vocab_size}, got {shape.vocab_size}"
        )
    if shape.block_size > len(corpus.train) - 1:
        raise CorpusError(
            f"the context must be shorter than the training split, got {shape.block_size} and "
            f"{len(corpus.train)} characters; use --context {fitting_block_size(corpus, shape.block_size)} "
            "or less, or a longer text"
        )


def _train(
    run: Run,
    corpus: Corpus,
    config: TrainConfig,
    hardware: Hardware,
    *,
    start: str | Path | None = None,
    deadline: float | None,
    most_steps: int | None = None,
    test: bool,
    on_record: OnRecord | None,
) -> Run:
    def record(values: dict[str, Any]) -> None:
        run.metrics.append(values)
        if run.folder is not None:
            files.append_record(run.folder / METRICS, values)
        if on_record is not None:
            on_record(values)

    trainer = Trainer(
        run.model,
        corpus.train,
        corpus.val,
        config,
        hardware,
        before=int(corpus.tokens[corpus.bounds[0] - 1]),
        folder=run.folder,
        deadline=deadline,
        most_steps=most_steps,
        chars_after=len(corpus.test) if test else 0,
        on_record=record,
    )
    if start is not None:
        trainer.start_from(Path(start))
    with nullcontext() if run.folder is None else files.held(run.folder), memory_errors():
        if run.folder is not None:
            step = trainer.resume() if has_checkpoint(run.folder) else 0
            cut_metrics(run.folder, step)
            run.metrics = files.read_records(run.folder / METRICS) if step else []
        result = trainer.fit()
        add_to_result(run, final_numbers(run.model, corpus, result, trainer.state.eval_chars, test))
    return run


def final_numbers(
    model: GPT, corpus: Corpus, result: TrainResult, chars: int | None, test: bool
) -> dict[str, Any]:
    """The content of result.json; losses in nats per character."""
    before = int(corpus.tokens[corpus.bounds[1] - 1])
    scored = test and len(corpus.test) > 0  # a split may leave test out
    return {
        "protocol": "exact" if chars is None else f"exact windows, {chars} characters of each split",
        "val_loss": result.best_val_loss,
        "test_loss": exact_loss(model, corpus.test, before=before, chars=chars) if scored else None,
        "best_step": result.best_step,
        "steps": result.steps,
        "seconds": result.seconds,
        "stopped": result.stopped.value,
        "tokens_seen": result.tokens_seen,
        "compile_seconds": result.compile_seconds,
        "n_parameters": model.n_parameters,
    }
