"""Trains once, from a text to a folder with weights, records and a page: `python -m minilm.train`."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from minilm import cli, files
from minilm.config import DEFAULT_PRESET, PRESETS, ModelConfig, TrainConfig
from minilm.errors import ConfigError, shortened

MODEL = ("--layers", "--heads", "--hidden", "--context", "--dropout", "--attention")  # groups of the help
MACHINE = ("--precision", "--threads", "--compile")
SAMPLE = 200  # characters that a training writes at its end

if TYPE_CHECKING:
    from torch import nn

    from minilm.text.corpora import Corpus
    from minilm.training.hardware import Hardware
    from minilm.training.run import Run
    from minilm.training.start import Start


def train(
    corpus: Corpus,
    model: ModelConfig | nn.Module | None = None,
    config: TrainConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
) -> Run:
    """Trains on `corpus` and returns the run with the best weights; with `out`, also as a folder with a page.

    `model` is a configuration, a GPT, or a module of your own with a ModelConfig as its `config`. With `resume` the run
    in `out` goes on where it was interrupted, or begins; a finished one goes on where `config` asks for more: `steps`
    is the new total, `minutes` are so many more, and the learning rate rises and descends afresh. Interrupted by Ctrl-C
    or the notebook's stop button, it returns the run with the weights so far and says so. Losses in `run.result` are
    in nats per character. Raises the MinilmError family.

    >>> from minilm import TrainConfig, load_corpus
    >>> run = train(load_corpus("fables"), config=TrainConfig(steps=60))  # doctest: +SKIP
    >>> losses = [record["train_loss"] for record in run.metrics]  # doctest: +SKIP
    """
    from minilm.training.progress import ProgressBar
    from minilm.training.session import Interrupted, resume_training, run_training

    if resume and out is None:
        raise ConfigError("resume goes on in a run's folder and needs one, got out=None; give out=")
    goes_on = resume and (Path(str(out)) / "config.json").is_file()
    with ProgressBar(terminal=False) as bar:  # a script's terminal belongs to the script
        try:
            if goes_on:
                asked = [model, config] if isinstance(model, ModelConfig) else [config]
                own: Any = None if isinstance(model, ModelConfig) else model
                changes = {key: value for one in asked if one for key, value in one.to_dict().items()}
                run = resume_training(str(out), corpus=corpus, model=own, changes=changes, on_record=bar)
            else:
                run = run_training(corpus, model, config, out, on_record=bar)
        except Interrupted as stopped:
            where = "" if out is None else f"; go on with train(..., out={str(out)!r}, resume=True)"
            print(
                f"interrupted after {stopped.run.result['steps']} steps, these are the weights so far{where}"
            )
            return stopped.run
    _complete(run, corpus)
    return run


def _complete(run: Run, corpus: Corpus) -> Path | None:
    """What comes after the training, with the folder still kept from others."""
    with nullcontext() if run.folder is None else files.held(run.folder):
        return _completed(run, corpus)


def _completed(run: Run, corpus: Corpus) -> Path | None:
    """Adds what counting reaches, alone and with the model, and a sample to the result; in a folder, draws its page."""
    from minilm.text.ngram import count, countable, counting_baseline
    from minilm.training.mixture import mixture
    from minilm.training.run import add_to_result
    from minilm.writing import sample_text

    if "counting" not in run.result or run.result.get("mixture", {}) is None:  # older results keep their rows
        counted = count(part := countable(corpus))
        mixed = mixture(run.model, part, counted, chars=run.result.get("eval_chars"))
        add_to_result(run, {"counting": counting_baseline(part, counted), "mixture": mixed})
    add_to_result(run, {"sample": sample_text(run.model, run.tokenizer, SAMPLE, seed=0)})
    if run.folder is None:
        return None
    from minilm.plots.run_page import run_page

    return run_page(run.folder)


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser("train", "python -m minilm.train my.txt --steps 500 --lr 1e-3")
    off = argparse.SUPPRESS  # where no default would mean anything
    parser.add_argument("data", nargs="?", default=off, help="corpus, file, folder or glob (default: fables)")
    most, model, training, machine = (
        parser.add_argument_group(title)
        for title in ("what most need", "the model", "the training", "the machine")
    )
    cli.add_config_flags(most, ["--minutes", "--steps"])
    presets = "; ".join(f"{name}: {preset.about}" for name, preset in PRESETS.items())
    most.add_argument(
        "--preset", choices=tuple(PRESETS), default=off, help=f"{presets} (default: {DEFAULT_PRESET})"
    )
    most.add_argument("--tokens", default=off, help=f"{cli.TOKENS} (default: characters)")
    most.add_argument("--raw", action="store_true", help="letters as they are, chats and tables too")
    most.add_argument("--out", default=off, help="new folder (default: runs/train-CORPUS-TIME)")
    most.add_argument("--resume", metavar="DIR", default=off, help="continue the run in DIR")
    most.add_argument(
        "--init",
        dest="source",
        metavar="DIR",
        default=off,
        help="start from the model there: a run, or a Hugging Face folder",
    )
    cli.add_config_flags(most, ["--device"])
    cli.add_config_flags(model, MODEL)
    rest = [flag for flag in cli.FLAGS if flag not in ("--minutes", "--steps", "--device", *MODEL, *MACHINE)]
    cli.add_config_flags(training, rest)
    cli.add_config_flags(machine, MACHINE)
    machine.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _configs(arguments: argparse.Namespace) -> tuple[ModelConfig, TrainConfig]:
    """Preset and flags merged; the vocabulary is filled in when the text is known."""
    preset, own = PRESETS[getattr(arguments, "preset", DEFAULT_PRESET)], cli.given(arguments, TrainConfig)
    start = {key: value for key, value in preset.train.items() if key != "steps" or "minutes" not in own}
    shape = {"vocab_size": 1, **preset.model, **cli.given(arguments, ModelConfig)}
    return ModelConfig.from_dict(shape), TrainConfig.from_dict({**start, **own})


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    shape, config = _configs(arguments)  # before torch is loaded: a wrong flag is answered at once
    if "resume" in arguments and "out" in arguments:
        raise ConfigError("--resume goes on in the run's own folder; give --resume or --out, not both")
    if "resume" in arguments and "tokens" in arguments:
        raise ConfigError(f"a resumed run keeps its tokens, got --tokens {arguments.tokens}; leave it out")
    if "source" in arguments and (given := {"preset", "tokens", "resume"} & set(vars(arguments))):
        raise ConfigError(
            f"--init keeps the shape and the tokens of its model, got --{min(given)} too; leave it out"
        )
    cli.check_machine(config.threads, config.minutes)
    cli.check_tokens(arguments)
    places = [arguments.source, f"{arguments.source}/{files.BEST}"] if "source" in arguments else []
    if places and not any(files.is_there(place, files.CONFIG) for place in places):
        raise ConfigError(
            f"--init must be a folder with a model, got {shortened(arguments.source)}, which is none; give a run or a "
            "Hugging Face folder"
        )
    if "out" in arguments:
        files.refuse_used(arguments.out)
    if "resume" in arguments:
        files.run_folder(arguments.resume)
    stream = sys.stderr if arguments.json else sys.stdout
    start = _start(arguments, stream) if "source" in arguments else None
    corpus = start.corpus if start else _corpus(arguments)
    print(f"corpus    {corpus.line()}", file=stream)
    folder = Path(arguments.resume if "resume" in arguments else _out(arguments, corpus))
    try:
        if start:
            run = _go_on(start, arguments, folder, stream)
        else:
            run = _run(arguments, corpus, shape, config, folder, stream)
    except KeyboardInterrupt:
        return cli.interrupted("train", folder, (folder / "config.json").is_file())
    page = _complete(run, corpus)
    _show(run, page, arguments.json)
    return 0


def _start(arguments: argparse.Namespace, stream: TextIO) -> Start:
    from minilm.training.start import start_from

    data = getattr(arguments, "data", "fables")
    start = start_from(arguments.source, data, cli.given(arguments, ModelConfig), raw=arguments.raw)
    if start.added:
        shown = " ".join(map(repr, start.added[:20])) + (" ..." if len(start.added) > 20 else "")
        print(f"added     {len(start.added)} characters that the model had never seen: {shown}", file=stream)
    return start


def _go_on(start: Start, arguments: argparse.Namespace, folder: Path, stream: TextIO) -> Run:
    """Trains the model that is there; says first what memory it takes."""
    from minilm.training.hardware import choose_hardware, memory_line
    from minilm.training.progress import ProgressBar
    from minilm.training.session import run_training

    old = {
        key: value for key, value in start.recipe.items() if key not in ("steps", "minutes", "seed", "device")
    }
    config = TrainConfig.from_dict({**old, **cli.given(arguments, TrainConfig)})
    device = choose_hardware(config, start.model.config.attention).device
    print(f"memory    {memory_line(start.model.config, config, device)}", file=stream, flush=True)

    def tell(hardware: Hardware) -> None:
        print(f"hardware  {hardware.line()}", file=stream, flush=True)

    with ProgressBar() as bar:
        return run_training(start.corpus, start.model, config, folder, on_record=bar, on_hardware=tell)


def _corpus(arguments: argparse.Namespace) -> Corpus:
    from minilm.text.corpora import GIVEN, load_corpus, load_described
    from minilm.text.tokenizers import load_tokenizer
    from minilm.training.run import read_config, run_folder

    if "resume" in arguments:
        folder = run_folder(arguments.resume)
        stored = read_config(folder)["corpus"]
        if "data" not in arguments:
            return load_described(stored, load_tokenizer(folder))
        tokens = stored.get("tokens", "characters")
        given = load_tokenizer(folder) if tokens == GIVEN else tokens
        return load_corpus(arguments.data, given, raw=arguments.raw)
    tokens = getattr(arguments, "tokens", "characters")
    return load_corpus(getattr(arguments, "data", "fables"), tokens, raw=arguments.raw)


def _out(arguments: argparse.Namespace, corpus: Corpus) -> str:
    name = re.sub(r"[^\w.-]+", "-", Path(corpus.name).stem) or "text"
    return getattr(arguments, "out", f"runs/train-{name}-{time.strftime('%Y%m%d-%H%M%S')}")


def _run(
    arguments: argparse.Namespace,
    corpus: Corpus,
    shape: ModelConfig,
    config: TrainConfig,
    folder: Path,
    stream: TextIO,
) -> Run:
    from minilm.training.progress import ProgressBar
    from minilm.training.session import fitting_block_size, resume_training, run_training
    from minilm.tuner.law import rate_for

    def tell(hardware: Hardware) -> None:
        print(f"hardware  {hardware.line()}", file=stream, flush=True)

    with ProgressBar() as bar:
        if "resume" in arguments:
            changes = {**cli.given(arguments, ModelConfig), **cli.given(arguments, TrainConfig)}
            if "preset" in arguments:
                changes = {**PRESETS[arguments.preset].model, **PRESETS[arguments.preset].train, **changes}
            return resume_training(folder, corpus=corpus, changes=changes, on_record=bar, on_hardware=tell)
        context = fitting_block_size(corpus, shape.block_size)
        if context < shape.block_size and "block_size" not in arguments:
            print(f"context   {context} instead of {shape.block_size}, the text is short", file=stream)
            shape = shape.replace(block_size=context)
        elif "block_size" in arguments and 0 < (scored := len(corpus.val)) <= context:
            print(
                f"context   {context}, and the validation split has {scored} tokens: what is further away is never "
                f"scored; --context {max(1, scored - 1)} or less would be",
                file=stream,
            )
        shape = shape.replace(vocab_size=corpus.tokenizer.vocab_size)
        if "learning_rate" not in arguments and config.optimizer == "muon":
            config = config.replace(learning_rate=rate_for(tokens_of(shape, config)))
        return run_training(corpus, shape, config, folder, on_record=bar, on_hardware=tell)


def tokens_of(shape: ModelConfig, config: TrainConfig) -> float:
    """How many tokens a training will see; one by the clock times a few steps to tell."""
    from minilm.training.hardware import choose_hardware
    from minilm.training.pace import step_seconds

    steps: float | None = config.total_steps
    if steps is None:
        seconds = step_seconds(shape, config, choose_hardware(config, shape.attention))
        steps = 60 * (config.minutes or 0.0) / seconds
    return steps * config.batch_size * shape.block_size


def _show(run: Run, page: Path | None, as_json: bool) -> None:
    from minilm.training.scores import baseline_rows, table

    result = run.result
    if as_json:
        print(json.dumps({"folder": str(run.folder), "page": str(page), **result}))
        return
    model = {"name": "model", "val": result["val_loss"], "test": result["test_loss"]}
    rows = baseline_rows(result["counting"], run.config["corpus"]["floors"], result.get("mixture"))
    print(
        f"trained   {result['steps']} steps in {result['seconds']:.0f} s ({result['stopped']}), "
        f"{result['n_parameters']:,} parameters, best at step {result['best_step']}\n"
    )
    if result["compile_seconds"]:
        print(f"compiled  in {result['compile_seconds']:.1f} s of these\n")
    print(table([model, *rows], result["protocol"]))
    print("\na sample\n" + "\n".join(f"  | {line}" for line in result["sample"].splitlines()))
    print(f"\nrun       {run.folder}\npage      {page}")


if __name__ == "__main__":
    cli.run_verb(main)
