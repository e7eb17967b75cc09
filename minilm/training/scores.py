"""Prints the table at the end: a model's loss beside what counting, compressing and perfection reach there.

Numbers and their layout as text. It trains nothing and opens no run folder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from minilm.text.compression import CONTEXT, compressed_bits
from minilm.text.corpora import Corpus
from minilm.training.evaluate import exact_loss

Row = dict[str, Any]  # name, val and test in nats per character, each a number or None


def bits_per_character(nats: float) -> float:
    return nats / math.log(2)


def perplexity(nats: float) -> float:
    return math.exp(nats)


def baseline_rows(
    counting: dict[str, Any] | None, floors: dict[str, float] | None, mixed: dict[str, Any] | None = None
) -> list[Row]:
    """The references of a run: its mixture with counting, the counting baseline, the entropy floor, each where known.

    >>> baseline_rows({"order": 5, "val": 1.5, "test": 1.6}, None)
    [{'name': 'counting (Kneser-Ney 5-gram)', 'val': 1.5, 'test': 1.6}]
    """
    rows = []
    if mixed is not None:
        rows.append({"name": mixture_name(mixed), "val": mixed["val"], "test": mixed["test"]})
    if counting is not None:
        name = f"counting (Kneser-Ney {counting['order']}-gram)"
        rows.append({"name": name, "val": counting["val"], "test": counting["test"]})
    if floors is not None:
        rows.append({"name": "entropy floor", "val": floors["val"], "test": floors["test"]})
    return rows


def mixture_name(mixed: Mapping[str, Any]) -> str:
    """
    >>> mixture_name({"weight": 0.8312})
    'model and counting (weight 0.83)'
    """
    return f"model and counting (weight {mixed['weight']:.2f})"


def compression_rows(corpus: Corpus) -> list[Row]:
    """gzip and xz, primed with the training split, in nats per character like everything else."""
    seen = corpus.train[-max(CONTEXT.values()) :]  # a token is a byte at least: no window looks further
    train = corpus.tokenizer.decode(seen).encode()
    per_bit = 1 / bits_per_character(1.0)
    rows: dict[str, Row] = {}
    for split, tokens in (("val", corpus.val), ("test", corpus.test)):
        if not len(tokens):
            continue
        text = corpus.tokenizer.decode(tokens).encode()
        for name, bits in compressed_bits(text, train, corpus.characters[split]).items():
            rows.setdefault(name, {"name": name, "val": None, "test": None})[split] = bits * per_bit
    return list(rows.values())


def model_row(model: Any, corpus: Corpus, stride: int | None = None) -> Row:
    """A model's loss on the whole of both splits, `exact` or, with a stride, `sliding`."""
    val, test = (
        exact_loss(model, **corpus.scored(split), stride=stride) if corpus.characters[split] else None
        for split in ("val", "test")
    )
    return {"name": "model", "val": val, "test": test}


def table(rows: list[Row], protocol: str) -> str:
    """The rows as text, each loss in nats and bits per character and as perplexity.

    >>> print(table([{"name": "model", "val": 1.5, "test": None}], "exact"))
    loss (exact)        val nats   bits   ppl     test nats   bits   ppl
    model                 1.5000  2.164  4.48             -      -     -
    """
    width = max(18, *(len(row["name"]) for row in rows))
    names = "val nats   bits   ppl     test nats   bits   ppl"
    lines = [f"{f'loss ({protocol})':<{width}}  {names}"]
    for row in rows:
        val, test = _cells(row["val"]), _cells(row["test"])
        lines.append(f"{row['name']:<{width}}  {val}      {test}")
    return "\n".join(lines)


def _cells(nats: float | None) -> str:
    if nats is None:
        return f"{'-':>8}{'-':>7}{'-':>6}"
    return f"{nats:8.4f}{bits_per_character(nats):7.3f}{perplexity(nats):6.2f}"
