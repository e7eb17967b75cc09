"""Runs one whole training: a corpus and a configuration go in, a model, its records and numbers come out.

It joins what the other files know: hardware, model, loop, run folder. It prints nothing and draws nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from minilm import files
from minilm.config import ModelConfig, TrainConfig, default_recipe
from minilm.errors import ConfigError, CorpusError, RunError
from minilm.model import GPT
from minilm.text.corpora import Corpus, load_described
from minilm.training import checkpoint
from minilm.training.checkpoint import CHECKPOINT, differences
from minilm.training.clock import Clock, Stop
from minilm.training.distil import Teacher, distilled_loss
from minilm.training.hardware import Hardware, check_memory, choose_hardware, memory_errors
from minilm.training.held_out import keep_held_out
from minilm.training.loop import Trainer
from minilm.training.probe import timed
from minilm.training.run import (
    METRICS,
    Run,
    add_to_result,
    cut_metrics,
    describe_run,
    load_run,
    own_tokenizer,
    read_config,
    read_numbers,
    refuse_foreign,
    run_folder,
    write_config,
)
from minilm.training.scores import loss_of, sampled

LARGE_SPLIT, LEAST_SAMPLE = 1_000_000, 100_000  # characters of a validation split, and of it at least
EVALUATED, FORWARD_SHARE = 0.1, 1 / 3  # of a training's work; of a step's work, to score what it trains on
COUNTED = 1_000_000  # tokens in which pairs are counted, the last ones: a tenth of a second
OnRecord = Callable[[dict[str, Any]], None]
OnHardware = Callable[[Hardware], None]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a training after the step in progress; `run` has the weights so far, the folder a checkpoint."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run


def fitting_block_size(corpus: Corpus, wanted: int) -> int:
    """`wanted`, or the longest context that the training split can fill."""
    return max(1, min(wanted, len(corpus.train) - 1))


def run_training(
    corpus: Corpus,
    model: ModelConfig | nn.Module | None = None,
    config: TrainConfig | None = None,
    out: str | Path | None = None,
    *,
    start: str | Path | None = None,
    deadline: float | None = None,
    most_steps: int | None = None,
    teacher: Teacher | None = None,
    test: bool = True,
    on_record: OnRecord | None = None,
    on_hardware: OnHardware | None = None,
) -> Run:
    """Trains on `corpus` and returns the run with the best weights; writes a run folder where `out` is given.

    Without `model` or `config` the default recipe's is used, its context shortened to a short text. The same seed
    gives the same run. `start` is a checkpoint of another run of the same model: weights, optimizer and place in
    the text come from there, clock and schedule begin anew. `test=False` leaves the test split unread, as a
    search must. `deadline` is a moment of `time.monotonic()`; `most_steps` end a run by the clock that comes so far,
    and its learning rate has fallen by then. With a `teacher` half of the loss is the teacher's, see
    `minilm.training.distil`. Raises the MinilmError family, and Interrupted after Ctrl-C; then
    `resume_training(out)` goes on, by the clock alone.
    """
    default, default_training = default_recipe(corpus.tokenizer.vocab_size)
    config = config or default_training
    if model is None:
        model = default.replace(block_size=fitting_block_size(corpus, default.block_size))
    shape = model if isinstance(model, ModelConfig) else getattr(model, "config", None)
    if not isinstance(shape, ModelConfig):
        raise ConfigError(
            f"a model must have a ModelConfig as its .config, got {type(shape).__name__}; set it"
        )
    check_shape(shape, corpus)
    hardware = choose_hardware(config, shape.attention)
    check_memory(shape.replace(attention=hardware.attention), config, hardware.device)
    network = build(model, config.seed) if isinstance(model, ModelConfig) else model
    hardware = timed(hardware, shape, config, (config.batch_size, shape.block_size))
    if on_hardware is not None:
        on_hardware(hardware)
    run = Run(None, network, corpus.tokenizer, describe_run(network, config, corpus, hardware))
    if teacher is not None:
        run.config["taught"] = teacher.note
    if out is not None:
        run.folder = files.new_folder(out)
    clock = Clock(config, scored(corpus, test), shape.vocab_size, deadline, most_steps)
    clock.eval_chars = sampled_chars(corpus, shape, config)
    with nullcontext() if run.folder is None else files.held(run.folder):
        if run.folder is not None:
            files.new_folder(run.folder)  # looked at again, now that nobody else may write there
            corpus.tokenizer.save(run.folder)
            keep_held_out(run.folder, corpus, run.config)
            write_config(run.folder, run.config)  # last: with it the folder is a run
        return _train(run, corpus, config, hardware, clock, start=start, teacher=teacher, on_record=on_record)


def resume_training(
    folder: str | Path,
    *,
    corpus: Corpus | None = None,
    model: nn.Module | None = None,
    changes: dict[str, Any] | None = None,
    deadline: float | None = None,
    most_steps: int | None = None,
    teacher: Teacher | None = None,
    on_record: OnRecord | None = None,
    on_hardware: OnHardware | None = None,
) -> Run:
    """Continues an interrupted run to its end, on CPU bit for bit; a finished one is loaded, or trained further.

    `corpus` and `changes` (fields of ModelConfig and TrainConfig) are what the user asked for this time: where they
    differ from what the run was started with, RunError lists how. But a finished run takes other `steps`, the
    new total, or `minutes`, so many more: another leg, in which the learning rate rises and descends afresh. `model` is
    the user's own module, where the run has one. `deadline`, `most_steps` and `teacher` as in `run_training`.
    """
    folder, changes = run_folder(folder), dict(changes or {})
    stored = read_config(folder)
    result = read_numbers(folder, stored)[1]
    legs: list[dict[str, Any]] = stored.get("legs", [])
    done = len(result.get("legs", [result])) if result else 0  # how many legs have ended
    if done > len(legs):
        if more := _another_leg(stored["train"], result, changes):
            stored["legs"] = legs = [*legs, more]
    elif legs and legs[-1] == {
        key: changes[key] for key in ("steps", "minutes") if changes.get(key) is not None
    }:
        changes = {key: value for key, value in changes.items() if key not in ("steps", "minutes")}
    _refuse_changes(folder, stored, corpus, changes)
    if done > len(legs):
        return load_run(folder, model)
    if "taught" in stored and not legs and teacher is None:
        raise RunError(
            f"the model of {folder} learns from another one, which must be given; go on with its study instead: python "
            f"-m minilm.tune --resume {folder.parent}"
        )
    tokenizer = own_tokenizer(folder, stored)
    corpus = corpus or load_described(stored["corpus"], tokenizer)
    config, shape = TrainConfig.from_dict(stored["train"]), ModelConfig.from_dict(stored["model"])
    config = config.replace(**{"steps": None, "minutes": None, **legs[-1]}) if legs else config
    hardware = _chosen_again(config, shape.attention, stored.get("hardware"))
    hardware = _as_before(hardware, stored.get("hardware"))
    if on_hardware is not None:
        on_hardware(hardware)
    if model is None:
        refuse_foreign(folder, stored)
        model = build(shape, config.seed)
    run = Run(folder, model, corpus.tokenizer, stored, result=result)
    clock = Clock(config, scored(corpus), shape.vocab_size, deadline, most_steps, leg=len(legs))
    with files.held(folder):
        if (
            done == len(legs) > 0
        ):  # a leg begins, or has not ended: written now that nothing is refused any more
            write_config(folder, stored)
        return _train(run, corpus, config, hardware, clock, teacher=teacher, on_record=on_record)


def _another_leg(
    train: dict[str, Any], result: dict[str, Any], changes: dict[str, Any]
) -> dict[str, Any] | None:
    """What a finished run is asked to go on for, taken out of `changes`: {"steps": all} or {"minutes": more}."""
    steps, minutes = changes.get("steps"), changes.get("minutes")
    if minutes is not None:
        changes.pop("steps", None)
        return {"minutes": changes.pop("minutes")}
    if steps is None or steps == result["steps"] or steps == train.get("steps"):
        changes.pop("minutes", None)
        changes.pop("steps", None)
        return None
    if steps < result["steps"]:
        raise RunError(
            f"steps must be the new total, above the {result['steps']} that the run has, got {steps}; give more, or "
            "start a new run"
        )
    changes.pop("minutes", None)
    return {"steps": changes.pop("steps")}


def _refuse_changes(
    folder: Path, stored: dict[str, Any], corpus: Corpus | None, changes: dict[str, Any]
) -> None:
    old = {**stored["model"], **stored["train"]}
    faults = differences({key: old.get(key) for key in changes}, changes)
    if corpus is not None:
        mine, theirs = corpus.describe(), stored["corpus"]
        theirs = {"tokens": "characters", **theirs}  # older runs have these and do not say so
        keys = ("name", "characters", "bounds", "tokens", "vocab_size")
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
    """The hardware without timing again: a training by the clock goes on with the threads and the precision that it
    began with, where it goes on on the same kind of device."""
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


def scored(corpus: Corpus, test: bool = True) -> tuple[int, int]:
    """The characters of the validation split, and of the test split where it is read."""
    return corpus.characters["val"], corpus.characters["test"] if test else 0


def sampled_chars(corpus: Corpus, shape: ModelConfig, config: TrainConfig) -> int | None:
    """How many characters an evaluation of a training by steps scores: all (None), but of a large split no more than
    what leaves its evaluations together a tenth of the training's work. By the clock, `Clock.open` sees to it."""
    chars = corpus.characters["val"]
    if config.eval_chars is not None or config.total_steps is None or chars <= LARGE_SPLIT:
        return config.eval_chars
    trained = config.total_steps * config.batch_size * shape.block_size * chars / len(corpus.val)
    affordable = EVALUATED * trained / (FORWARD_SHARE * config.evaluations)
    return None if affordable >= chars else max(LEAST_SAMPLE, int(affordable))


def build(shape: ModelConfig, seed: int) -> GPT:
    """A new model; seed and shape decide every weight."""
    torch.manual_seed(seed)
    return GPT(shape)


def give_rows(model: Any, tokens: np.ndarray) -> None:
    """Gives the rows of the model's table of pairs, where there are not enough for all and nothing is learnt in them
    yet, to the most frequent pairs of the text."""
    keys = getattr(getattr(model, "bigrams", None), "keys", None)
    if keys is not None and not model.bigrams.table.weight.any():
        pairs = frequent_pairs(tokens, model.config.vocab_size, len(keys))
        keys.copy_(torch.from_numpy(pairs))


def frequent_pairs(tokens: np.ndarray, vocab_size: int, rows: int) -> np.ndarray:
    """The `rows` most frequent pairs of neighbours, each previous * V + token, ascending; where there are fewer, what
    no pair can be fills them up.

    >>> frequent_pairs(np.array([1, 2, 1, 2, 0]), vocab_size=3, rows=3)
    array([5, 6, 7])
    """
    tokens = tokens[-COUNTED:].astype(np.int64)
    pairs, counts = np.unique(tokens[:-1] * vocab_size + tokens[1:], return_counts=True)
    kept = pairs[np.argsort(-counts, kind="stable")[:rows]]
    return np.sort(np.append(kept, vocab_size**2 + np.arange(rows - len(kept))))


def check_shape(shape: ModelConfig, corpus: Corpus) -> None:
    """Refuses a model that does not fit the text."""
    if shape.vocab_size != corpus.tokenizer.vocab_size:
        raise ConfigError(
            f"vocab_size must be the corpus's {corpus.tokenizer.vocab_size}, got {shape.vocab_size}; set it"
        )
    if shape.block_size > len(corpus.train) - 1:
        raise CorpusError(
            f"the context must be shorter than the training split, got {shape.block_size} and "
            f"{len(corpus.train)} tokens; use block_size={fitting_block_size(corpus, shape.block_size)} "
            "or less, or a longer text"
        )


def _train(
    run: Run,
    corpus: Corpus,
    config: TrainConfig,
    hardware: Hardware,
    clock: Clock,
    *,
    start: str | Path | None = None,
    teacher: Teacher | None = None,
    on_record: OnRecord | None,
) -> Run:
    per_character = len(corpus.train) / corpus.characters["train"]  # tokens
    give_rows(run.model, corpus.train)

    def record(values: dict[str, Any]) -> None:
        if values["train_loss"] is not None:
            values["train_loss"] *= per_character
        run.metrics.append(values)
        if run.folder is not None:
            files.append_record(run.folder / METRICS, values)
        if on_record is not None:
            on_record(values)

    hardware = hardware if teacher is None else replace(hardware, compiled=False)
    parts = (run.model, corpus.train, corpus.scored("val"), config, hardware, clock)
    trainer = Trainer(*parts, folder=run.folder, on_record=record)
    if teacher is not None:
        trainer.loss_of = distilled_loss(run.model, teacher.model.to(hardware.device), hardware.precision)
    if start is not None:
        checkpoint.resume(trainer, Path(start))
    with memory_errors():
        if run.folder is not None:
            step, mark = checkpoint.resume(trainer) if (run.folder / CHECKPOINT).is_file() else (0, None)
            cut_metrics(run.folder, step, mark)
            run.metrics = files.read_records(run.folder / METRICS) if step else []
        stop = trainer.fit()
        if stop is Stop.INTERRUPTED:
            s = trainer.state
            run.result = {"val_loss": s.best_loss, "steps": s.step, "stopped": stop.value}
            raise Interrupted(run)
        add_to_result(run, final_numbers(trainer, corpus, stop, run.result))
    return run


def final_numbers(trainer: Trainer, corpus: Corpus, stop: Stop, earlier: dict[str, Any]) -> dict[str, Any]:
    """The content of result.json; losses in nats per character. `legs` list what each leg of several did."""
    clock, s = trainer.clock, trainer.state
    chars = clock.eval_chars if (clock.eval_chars or math.inf) < max(clock.chars) else None
    test = error = None
    if clock.chars[1]:
        test, error = loss_of(trainer.model, chars, **corpus.scored("test"))
    numbers = {
        "protocol": "exact" if chars is None else sampled(chars, error),
        "eval_chars": clock.eval_chars,
        "val_loss": s.best_loss,
        "test_loss": test,
        "standard_error": error,  # in nats per character, of a sampled loss
        "mixture": None,  # an earlier leg's is not these weights'
        "best_step": s.best_step,
        "steps": s.step,
        "seconds": clock.earlier + clock.seconds(),
        "step_seconds": clock.stepped,
        "stopped": stop.value,
        "tokens_seen": s.tokens_seen,
        "compile_seconds": trainer.compile_seconds,
        "n_parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
    }
    if not clock.leg:
        return numbers
    names = ("steps", "seconds", "stopped", "val_loss", "test_loss", "best_step")
    legs = earlier.get("legs") or [{name: earlier[name] for name in names}]
    return {**numbers, "legs": [*legs, {name: numbers[name] for name in names}]}
