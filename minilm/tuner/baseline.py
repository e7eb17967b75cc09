"""The counting baseline as a job for a worker, so that a huge text cannot hold up a deadline; no torch."""

from __future__ import annotations

from typing import Any

from minilm.text.corpora import load_described
from minilm.text.ngram import counting_baseline


def counting(description: dict[str, Any]) -> dict[str, Any]:
    """`{"order", "val", "test"}` of the described corpus, losses in nats per character."""
    found = counting_baseline(load_described(description))
    return {"order": int(found["order"]), "val": float(found["val"]), "test": float(found["test"])}
