"""Measures what it brings to cut a text anew for each pass, with merges of byte pairs left out at random (BPE-dropout,
Provilkov et al., 2020, arXiv:1910.13267). The splits that are scored are cut as always.

    python benchmarks/cuts.py --text shakespeare --tokens bpe:2048 --layers 3 --hidden 160 --passes 4 --left-out 0.1
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import common  # noqa: F401  # puts the package on the path
import numpy as np
import torch
from trainings import USUAL, trainer_of


def cut_anew(tokenizer: Any, text: str, left_out: float, draw: random.Random) -> np.ndarray:
    """The ids of `text`, (T,), where each merge that could be made is left out with that probability, each time."""
    from minilm.text.bpe import base_pieces, cut

    ranks = {pair: rank for rank, pair in enumerate(tokenizer.merges)}
    characters = None if tokenizer.base is None else tokenizer.base.characters

    def pieces_of(word: str) -> Iterator[int]:
        pieces = base_pieces(word, tokenizer.base)
        while True:
            pairs = enumerate(zip(pieces, pieces[1:], strict=False))
            able = [(ranks[p], i) for i, p in pairs if p in ranks and draw.random() >= left_out]
            if not able:
                return map(tokenizer.ids.__getitem__, pieces)
            i = min(able)[1]
            pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]

    words = cut(text, tokenizer.special_tokens, characters)
    return np.array([number for word in words for number in pieces_of(word)], tokenizer.dtype)


def cut_often(corpus: Any, passes: int, left_out: float, as_always: int) -> Any:
    """The corpus whose training split is that many cuts of it in a row, the last ones as always."""
    draw, text = random.Random(0), corpus.tokenizer.decode(corpus.train)
    cuts = [cut_anew(corpus.tokenizer, text, left_out, draw) for _ in range(passes - as_always)]
    train = np.concatenate([*cuts, *[np.asarray(corpus.train)] * as_always])
    sizes, ends = corpus.characters, len(train) + len(corpus.val)
    first = sizes["train"] * passes
    return replace(
        corpus,
        tokens=np.concatenate([train, corpus.val, corpus.test]),
        bounds=(len(train), ends),
        character_bounds=(first, first + sizes["val"]),
        source={**corpus.source, "characters": first + sizes["val"] + sizes["test"]},
    )


def main() -> None:
    from minilm import load_corpus
    from minilm.training.evaluate import exact_loss

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in {"text": "shakespeare", "tokens": "bpe:2048"}.items():
        parser.add_argument(f"--{name}", default=default)
    for name, number in {"layers": 3, "hidden": 160, "contexts": 128, "batches": 8, "as-always": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=number)
    for name, share in {"passes": 4.0, "left-out": 0.1, "dropouts": 0.0, "rates": 0.02}.items():
        parser.add_argument(f"--{name}", type=float, default=share)
    given = parser.parse_args()
    torch.set_num_threads(1)
    corpus = load_corpus(given.text, given.tokens)
    tokens = given.passes * len(corpus.train)
    if given.left_out:
        corpus = cut_often(corpus, round(given.passes), given.left_out, given.as_always)
        tokens = len(corpus.train)
    recipe = {**USUAL, **{name: value for name, value in vars(given).items() if name in USUAL}}
    steps = round(tokens / (given.batches * given.contexts))
    trainer, begun = trainer_of(corpus, recipe, steps, evaluations=12), time.process_time()
    trainer.fit()
    spent = round(time.process_time() - begun, 1)
    losses = {split: exact_loss(trainer.model, **corpus.scored(split)) for split in ("val", "test")}
    print(
        json.dumps({**vars(given), **losses, "steps": steps, "best": trainer.state.best_step, "spent": spent})
    )


if __name__ == "__main__":
    main()
