"""Jobs beside the trials, for a helper process that can be stopped: a huge text must not hold up a deadline.

Neither needs torch; what they need is loaded in the helper, not in the process that searches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def counting(description: dict[str, Any]) -> dict[str, Any]:
    """`{"order", "val", "test"}` of the described corpus, losses in nats per character."""
    from minilm.text.corpora import load_described
    from minilm.text.ngram import counting_baseline

    found = counting_baseline(load_described(description))
    return {"order": int(found["order"]), "val": float(found["val"]), "test": float(found["test"])}


def draw_page(folder: str | Path) -> Path:
    """Draws the study's page from its records and returns its path."""
    from minilm.plots.page import study_page

    return study_page(folder)
