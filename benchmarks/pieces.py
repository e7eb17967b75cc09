"""Measures byte pairs without training a model: CPU seconds to learn and to encode, and which base needs fewer tokens.

    python benchmarks/pieces.py speed shakespeare ru.txt zh.txt
    python benchmarks/pieces.py base shakespeare python de.txt ru.txt fa.txt ja.txt ko.txt zh.txt

Texts are corpus names or UTF-8 files of one's own. `speed` takes the first megabyte (bytes) of each.
"""

from __future__ import annotations

import argparse
import time

from common import machine

from minilm.text.bpe import BPETokenizer
from minilm.text.characters import CharTokenizer
from minilm.text.corpora import load_corpus

MEGABYTE = 1_000_000
SIZES = (512, 1024, 2048, 4096)


def spent(function, *arguments, **named):
    started = time.process_time()
    result = function(*arguments, **named)
    return result, time.process_time() - started


def speed(texts: list[str], rounds: int) -> None:
    print(
        "| text | characters | base | vocabulary | learn, CPU s | encode, CPU s | the library: learn / encode |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in texts:
        text = load_corpus(name).text.encode()[:MEGABYTE].decode(errors="ignore")
        characters = CharTokenizer.from_text(text)
        for base in (None, characters):
            size = 1024 + (256 if base is None else base.vocab_size)
            learn, encode = [], []
            for _ in range(rounds):
                tokenizer, seconds = spent(BPETokenizer.train, text, size, base=base)
                learn.append(seconds)
                encode.append(spent(tokenizer.encode_array, text)[1])
            kind = "bytes" if base is None else f"{base.vocab_size} characters"
            least = f"{min(learn):.2f} ({max(learn):.2f}) | {min(encode):.2f} ({max(encode):.2f})"
            theirs = library(text, size) if base is None else ""
            print(f"| {name} | {len(text):,} | {kind} | {size} | {least} | {theirs} |", flush=True)


def library(text: str, size: int) -> str:
    """The same work by Hugging Face's compiled tokenizers, on one thread."""
    try:
        import tokenizers
    except ImportError:
        return "not installed"
    theirs = tokenizers.ByteLevelBPETokenizer()
    _, learn = spent(theirs.train_from_iterator, [text], size, show_progress=False)
    _, encode = spent(theirs.encode, text)
    return f"{learn:.2f} / {encode:.2f}"


def base(texts: list[str]) -> None:
    print(
        "| text | characters | different | vocabulary | base bytes | base characters | characters / bytes |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in texts:
        corpus = load_corpus(name)
        decode, length = corpus.tokenizer.decode, corpus.characters["val"]
        train, val, characters = decode(corpus.train), decode(corpus.val), corpus.tokenizer
        multiples = [round(characters.vocab_size * times) for times in (1.125, 1.5, 2, 3)]
        for size in sorted({*SIZES, *(m for m in multiples if m >= 256)}):
            rates = [
                len(BPETokenizer.train(train, size, base=base).encode_array(val)) / length
                for base in (None, characters)
                if base is None or size >= base.vocab_size
            ]
            shown = [f"{rate:.4f}" for rate in rates] + ["-"] * (2 - len(rates))
            ratio = f"{rates[1] / rates[0]:.3f}" if len(rates) == 2 else "-"
            row = (name, f"{len(corpus.text):,}", characters.vocab_size, size, *shown, ratio)
            print("|", " | ".join(map(str, row)), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("speed", "base"))
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.what == "speed":
        speed(arguments.texts, arguments.rounds)
    else:
        base(arguments.texts)
    print(machine(threads=1))


if __name__ == "__main__":
    main()
