"""Prints the table at the end: a model's loss beside what counting, compressing and perfection reach there.

Numbers and their layout as text. It trains nothing and opens no run folder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minilm.text.compression import CONTEXT, compressed_bits
from minilm.text.corpora import Corpus
from minilm.training.evaluate import exact_loss, token_losses

LEAST = (20, 8, 7, 6, 14, 7, 6)  # characters of the columns, which grow together with what stands in them
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


def model_row(
    model: Any, corpus: Corpus, stride: int | None = None, chars: int | None = None
) -> tuple[Row, str]:
    """A model's loss on both splits, and how it was measured: `exact` or, with a stride, `sliding`; with `chars` on
    so many characters of each."""
    row: Row = {"name": "model", "val": None, "test": None}
    error = None
    for split in ("val", "test"):
        if corpus.characters[split]:
            row[split], error = loss_of(model, stride=stride, chars=chars, **corpus.scored(split))
    protocol = "exact" if stride is None else f"sliding, stride {stride}"
    if chars is not None:
        protocol = sampled(chars, error) + ("" if stride is None else f", {protocol}")
    return row, protocol


def loss_of(model: Any, chars: int | None, **scored: Any) -> tuple[float, float | None]:
    """The loss on a split in nats per character, and, where only about `chars` characters of it are scored, its
    standard error: the windows stand far apart, so that they count as drawn independently."""
    if chars is None:
        return exact_loss(model, **scored), None
    parts = [(n.sum(-1).double().cpu(), c.sum(-1)) for _, n, c in token_losses(model, chars=chars, **scored)]
    nats, lengths = (np.concatenate(column) for column in zip(*parts, strict=True))  # (windows,) each
    mean, n = nats.sum() / lengths.sum(), len(nats)
    error = (nats - mean * lengths).std(ddof=1) / (lengths.mean() * n**0.5) if n > 1 else None
    return float(mean), None if error is None else float(error)


def sampled(chars: int, error: float | None) -> str:
    """How such a loss was measured. The error is of test; of val, which is as large, it is about the same.

    >>> sampled(100_000, 0.00213)
    'sampled, 100,000 characters of each split, standard error 0.0021'
    """
    told = "" if error is None else f", standard error {error:.4f}"
    return f"sampled, {chars:,} characters of each split{told}"


def table(rows: list[Row], protocol: str) -> str:
    """The rows as text, each loss in nats and bits per character and as perplexity.

    >>> print(table([{"name": "model", "val": 1.5, "test": None}], "exact"))
    loss (exact)        val nats   bits   ppl     test nats   bits   ppl
    model                 1.5000  2.164  4.48             -      -     -
    """
    head = [f"loss ({protocol})", "val nats", "bits", "ppl", "test nats", "bits", "ppl"]
    body = [[row["name"], *_cells(row["val"]), *_cells(row["test"])] for row in rows]
    longest = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    widths = [
        max(least, most + 2 * (k != 1)) for k, (least, most) in enumerate(zip(LEAST, longest, strict=True))
    ]
    lines = [
        [f"{c:<{w}}" if k == 0 else f"{c:>{w}}" for k, (c, w) in enumerate(zip(r, widths, strict=True))]
        for r in [head, *body]
    ]
    return "\n".join(map("".join, lines))


def _cells(nats: float | None) -> list[str]:
    if nats is None:
        return ["-"] * 3
    return [f"{nats:.4f}", f"{bits_per_character(nats):.3f}", f"{perplexity(nats):.2f}"]
