"""Compares models and pieces with Hugging Face's libraries: logits and greedy text both ways, ids on mixed text.

    python benchmarks/elsewhere.py models shakespeare
    python benchmarks/elsewhere.py ids GPT2_FOLDER de.txt ru.txt zh.txt ar.txt py.txt

`models` trains each preset with each kind of tokens for a few steps, converts it there and back and prints the largest
differences. `ids` encodes a megabyte, equal parts of every text, with GPT-2's own pieces (vocab.json and merges.txt
in the folder) and with pieces learnt from it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from pathlib import Path

import torch
from common import machine

from minilm import BPETokenizer, CharTokenizer, TrainConfig, convert, load_corpus, load_run
from minilm.config import PRESETS
from minilm.interop.folders import tokenizer_json
from minilm.train import train

MEGABYTE = 1_000_000
PROMPT = "First"


def models(text: str, steps: int) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

    print(
        "| preset | tokens | their class | logits there | logits back | ids of 20,000 characters | pipeline's text |"
    )
    print("|---|---|---|---|---|---|---|")
    for preset in ("gpt2", "modern"):
        for tokens in ("characters", "bpe:512"):
            corpus = load_corpus(text, tokens)
            shape, recipe = PRESETS[preset].configs(corpus.tokenizer.vocab_size)
            with tempfile.TemporaryDirectory() as folder:
                places = [str(Path(folder) / name) for name in ("run", "theirs", "back")]
                config = TrainConfig(
                    **{**recipe.to_dict(), "steps": steps, "evaluations": 1, "eval_chars": 2000}
                )
                run = train(corpus, shape, config, places[0])
                convert.main(places[:2])
                convert.main(places[1:])
                theirs = AutoModelForCausalLM.from_pretrained(places[1]).eval()
                words, back = AutoTokenizer.from_pretrained(places[1]), load_run(places[2])
                sample = corpus.text[:20_000]
                ids = corpus.tokenizer.encode(sample)
                batch = torch.tensor([ids[:128], ids[128:256]])
                with torch.no_grad():
                    ours, there, again = (m(batch).logits for m in (run.model, theirs, back.model))
                written = pipeline("text-generation", places[1])(PROMPT)[0]["generated_text"]
                prompt = corpus.tokenizer.encode(PROMPT, return_tensors="pt")
                greedy = corpus.tokenizer.decode(run.model.generate(prompt, 64, temperature=0)[0])
                row = (
                    preset,
                    tokens,
                    type(theirs).__name__,
                    f"{(there - ours).abs().max():.1e}",
                    f"{(again - ours).abs().max():.1e}",
                    "equal" if words(sample)["input_ids"] == ids else "DIFFERENT",
                    "equal" if written == greedy else "DIFFERENT",
                )
            print("|", " | ".join(row), "|", flush=True)


def ids(folder: str, texts: list[str]) -> None:
    import tokenizers

    share = MEGABYTE // len(texts)
    parts = [load_corpus(name, raw=True).text.encode()[:share].decode(errors="ignore") for name in texts]
    mixed = "".join(parts)
    characters = CharTokenizer.from_text(mixed)
    gpt2 = [str(Path(folder) / name) for name in ("vocab.json", "merges.txt")]
    print(f"{len(mixed.encode()):,} bytes, {len(mixed):,} characters, {characters.vocab_size:,} different\n")
    print("| tokens | ids | differ from the library's |")
    print("|---|---|---|")
    known = {
        "GPT-2's 50,257 pieces": (
            BPETokenizer.from_files(*gpt2),
            tokenizers.ByteLevelBPETokenizer.from_file(*gpt2),
        ),
        "2,048 pieces of bytes, learnt here": (BPETokenizer.train(mixed, 2048), None),
        "characters and 1,000 pieces of them": (
            BPETokenizer.train(mixed, characters.vocab_size + 1000, base=characters),
            None,
        ),
        "characters": (characters, None),
    }
    for name, (ours, theirs) in known.items():
        theirs = theirs or tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(ours)))
        mine, other = ours.encode(mixed), theirs.encode(mixed).ids
        differ = abs(len(mine) - len(other)) + sum(a != b for a, b in zip(mine, other, strict=False))
        print(f"| {name} | {len(mine):,} | {differ:,} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("models", "ids"))
    parser.add_argument("texts", nargs="+", help="a corpus or files; for ids GPT-2's folder first")
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    print(f"{machine()}\n")
    if arguments.what == "models":
        models(arguments.texts[0], arguments.steps)
    else:
        ids(arguments.texts[0], arguments.texts[1:])


if __name__ == "__main__":
    main()
