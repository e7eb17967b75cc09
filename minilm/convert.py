"""Carries a model to Hugging Face's library or back, or from nanoGPT to here: `python -m minilm.convert SRC DST`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from minilm import cli, files
from minilm.errors import ConfigError, RunError, note, shortened

if TYPE_CHECKING:
    from minilm.config import ModelConfig
    from minilm.text.tokenizers import Tokenizer
    from minilm.training.run import Run


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser("convert", "python -m minilm.convert runs/my-run my-model")
    off = argparse.SUPPRESS
    parser.add_argument(
        "source",
        help="a run or a study (to Hugging Face), a Hugging Face folder or nanoGPT's ckpt.pt (from there)",
    )
    parser.add_argument("target", help="new folder")
    parser.add_argument(
        "--to",
        choices=("huggingface", "run"),
        default="huggingface",
        help="what a run becomes: a model of theirs, or a run to give away, without anything of this machine",
    )
    parser.add_argument(
        "--checkpoint", action="store_true", help="--to run: with it the training can go on elsewhere"
    )
    parser.add_argument(
        "--tokenizer",
        metavar="DIR",
        default=off,
        help="folder with the tokenizer (default: the source's own)",
    )
    parser.add_argument(
        "--text", metavar="FILE", default=off, help="or the text whose characters are nanoGPT's vocabulary"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    source = Path(arguments.source)
    if not files.is_there(source):
        raise RunError(
            f"SOURCE must be there, got {shortened(str(source))}, which does not exist; give a run, a Hugging Face "
            "folder or nanoGPT's ckpt.pt"
        )
    files.refuse_used(arguments.target, "TARGET")
    kind = next(
        (_format(folder) for folder in (source, source / "best") if (folder / "config.json").is_file()), None
    )
    if kind == "minilm-run" and ("tokenizer" in arguments or "text" in arguments):
        raise ConfigError("a run has its own tokenizer, got --tokenizer or --text too; leave them out")
    from minilm.training.run import load_run

    if kind == "minilm-run" and arguments.to == "run":
        _give(load_run(source), arguments)
    elif kind == "minilm-run":
        _out(load_run(source), arguments.target)
    elif kind == "minilm":
        _out(_without_run(source, arguments), arguments.target)
    else:
        _home(source, arguments)
    return 0


def _format(folder: Path) -> str:
    """Ours say in config.json what they are."""
    settings = files.read_json(folder / "config.json")
    return str(settings.get("format")) if isinstance(settings, dict) else ""


def _without_run(source: Path, arguments: argparse.Namespace) -> Run:
    """What `save_pretrained` wrote, with its tokenizer."""
    from minilm.model import GPT
    from minilm.training.run import Run

    model = GPT.from_pretrained(source)
    tokenizer = _tokenizer(source, model.config, arguments)
    if tokenizer is None:
        raise ConfigError(
            f"{source} holds a model without its tokenizer, and Hugging Face's needs one; give --tokenizer"
        )
    return Run(source, model, tokenizer, {"corpus": {"name": source.stem}})


def _out(run: Run, target: str) -> None:
    """From us to Hugging Face."""
    from minilm.interop.folders import write_folder
    from minilm.training.checkpoint import weights

    name, prompt = run.config["corpus"]["name"], (run.result.get("sample") or "\n")[:12]
    folder = write_folder(
        target,
        run.model.config,
        weights(run.model),
        run.tokenizer,
        name=name,
        about=_about(run),
        prompt=prompt,
    )
    print(f"written   {folder}, with a model card in README.md")
    print(
        f"opens in  transformers: AutoModelForCausalLM.from_pretrained({str(folder)!r}), pipeline(...) in the card"
    )


def _give(run: Run, arguments: argparse.Namespace) -> None:
    """To a friend."""
    from minilm.plots.run_page import run_page
    from minilm.training.held_out import give_away

    folder = give_away(run, arguments.target, arguments.checkpoint)
    run_page(folder)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"written   {folder}, {size / 1e6:,.1f} MB: sample, chat, lens, evaluate and report work there")


def _about(run: Run) -> str:
    """Where the model comes from and how well it does, for its card."""
    result, corpus = run.result, run.config["corpus"]
    sentences = [f"A small language model of {corpus['name']}, made with minilm."]
    if result.get("steps"):
        sentences.append(
            f"It was trained for {result['steps']:,} steps on {corpus['characters']:,} characters."
        )
    if result.get("test_loss"):
        counted = (result.get("counting") or {}).get("test")
        beside = f"; counting phrases reaches {counted:.3f}" if counted else ""
        sentences.append(
            f"On the last part of the text, which no training saw, its loss is {result['test_loss']:.3f} nats per "
            f"character{beside}."
        )
    return " ".join(sentences)


def _home(source: Path, arguments: argparse.Namespace) -> None:
    """From Hugging Face or nanoGPT to us."""
    from minilm.interop.nanogpt import read_nanogpt
    from minilm.model import GPT
    from minilm.training.checkpoint import load_weights, read_model
    from minilm.training.run import write_imported

    if source.is_dir():
        config, tensors = read_model(source)
    else:
        config, tensors = read_nanogpt(source)
    tokenizer = _tokenizer(source, config, arguments)
    model = GPT(config)
    load_weights(model, tensors, source)
    if tokenizer is None:
        model.save_pretrained(arguments.target)
        print(f"written   {arguments.target}: the weights alone, for GPT.from_pretrained in Python")
        return
    folder = write_imported(model.eval(), tokenizer, source.stem, arguments.target)
    print(f"written   {folder}: a run of {model.n_parameters:,} parameters, {config.n_layer} layers")
    print(
        f"now       python -m minilm.sample {folder} --prompt ...; python -m minilm.train TEXT --init {folder}"
    )


def _tokenizer(source: Path, config: ModelConfig, arguments: argparse.Namespace) -> Tokenizer | None:
    """The one that was named, or the source's own; None, and a line that says why, where there is none of ours."""
    from minilm.text.corpora import load_corpus
    from minilm.text.tokenizers import load_tokenizer

    if "text" in arguments:
        tokenizer = load_corpus(arguments.text).tokenizer
    elif "tokenizer" in arguments or source.is_dir():
        try:
            tokenizer = load_tokenizer(getattr(arguments, "tokenizer", source))
        except RunError as error:
            if "tokenizer" in arguments:
                raise
            note(f"the model comes without its tokenizer: {error}")
            return None
    else:
        note(f"{source} holds no tokenizer: name the text with --text, or a folder with --tokenizer")
        return None
    if tokenizer.vocab_size != config.vocab_size:
        raise ConfigError(
            f"the tokenizer must have the model's {config.vocab_size:,} tokens, got {tokenizer.vocab_size:,}; give the "
            "one that the model was trained with"
        )
    return tokenizer


if __name__ == "__main__":
    cli.run_verb(main)
