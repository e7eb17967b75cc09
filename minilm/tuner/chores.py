"""Does the jobs beside the trials in a helper process that can be stopped: a huge text must not delay the end.

Neither job needs torch; what they need is loaded in the helper, not in the process that searches.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minilm.text.ngram import Counted
    from minilm.text.tokenizers import Tokenizer


def counting(description: dict[str, Any], tokenizer: Tokenizer) -> tuple[dict[str, Any], Counted]:
    """Of the described corpus, what `counting_baseline` and `count` say."""
    from minilm.text.corpora import load_described
    from minilm.text.ngram import count, counting_baseline

    corpus = load_described(description, tokenizer)
    counted = count(corpus)
    return counting_baseline(corpus, counted), counted


def draw_page(folder: str | Path) -> Path:
    """Draws the study's page from its records and returns its path."""
    from minilm.plots.study_page import study_page

    return study_page(folder)
