"""Scores runs alone, counting alone and both mixed, by one weight and by one for each length that counting knows.

    python benchmarks/mixture.py runs/my-run runs/another

Counting is over the run's own tokens, losses exact in nats per character. What counting knows of a place is how many
tokens before it have been seen in a row with something after them; a weight for each such length is fitted on
validation too, and the mixture still sums to 1, since the length hangs on the context alone.
"""

from __future__ import annotations

import argparse

import numpy as np
from common import commit, load, machine

from minilm.text.corpora import load_described
from minilm.text.ngram import KneserNey, count, find
from minilm.training.mixture import best_weight, both_chances
from minilm.training.run import load_run


def known_lengths(model: KneserNey, tokens: np.ndarray) -> np.ndarray:
    """(T,) how many tokens before each place are a context that was counted."""
    lengths, ranks = np.zeros(len(tokens), np.int64), tokens.astype(np.int64)
    for k, level in enumerate(model._levels[1:], start=1):
        contexts = np.concatenate([[-1], ranks[:-1]])
        counted = np.unique(level.keys // model.vocab_size)
        lengths[np.isin(contexts, counted)] = k
        ranks = find(level.keys, contexts * model.vocab_size + tokens)
    return lengths


def score(folder: str) -> None:
    run = load_run(folder)
    corpus = load_described(run.config["corpus"], run.tokenizer)
    counted = count(corpus)
    model = KneserNey(counted.order, corpus.tokenizer.vocab_size).fit(corpus.train)
    weights: dict[int, float] = {}
    for split, chances in (("val", counted.val), ("test", counted.test)):
        found = both_chances(run.model, chances, None, corpus.scored(split))
        assert found is not None
        decoder, counting, characters = found
        known = known_lengths(model, corpus.tokens)[corpus.bounds[split == "test"] :][: len(chances)]
        if split == "val":
            weight = best_weight(decoder, counting)
            weights = {k: best_weight(decoder[known == k], counting[known == k]) for k in np.unique(known)}
        each = np.array([weights.get(k, weight) for k in known])
        one, several = (np.log(w * decoder + (1 - w) * counting).sum() for w in (weight, each))
        losses = [
            -float(x) / characters for x in (np.log(decoder).sum(), np.log(counting).sum(), one, several)
        ]
        cells = [f"{loss:.4f}" for loss in losses]
        print("|", " | ".join([folder, split, *cells[:2], f"{weight:.3f}", *cells[2:]]), "|", flush=True)
    print(f"order {counted.order}; weights by length:", {int(k): round(w, 2) for k, w in weights.items()})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+")
    print("| run | split | decoder | counting | weight | mixture | a weight for each length |")
    print("|---|---|---|---|---|---|---|")
    for folder in parser.parse_args().runs:
        score(folder)
    print(commit(), machine(), "load", load())


if __name__ == "__main__":
    main()
