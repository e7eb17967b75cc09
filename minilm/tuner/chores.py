"""Does the jobs beside the trials in a helper process that can be stopped: a huge text must not delay the end.

No job needs torch; what they need is loaded in the helper, not in the process that searches.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minilm.text.ngram import Counted
    from minilm.text.tokenizers import Tokenizer


def counting(description: dict[str, Any]) -> dict[str, Any]:
    """The counting baseline of the described corpus, see `counting_baseline`."""
    from minilm.text.corpora import load_described
    from minilm.text.ngram import counting_baseline

    characters = {key: value for key, value in description.items() if key not in ("tokens", "pieces")}
    return counting_baseline(load_described(characters))


def counted(description: dict[str, Any], tokenizer: Tokenizer) -> Counted:
    """What counting says of the described corpus's own tokens, see `count`."""
    from minilm.text.corpora import load_described
    from minilm.text.ngram import count

    return count(load_described(description, tokenizer))


def draw_page(folder: str | Path) -> Path:
    """Draws the study's page from its records and returns its path."""
    from minilm.plots.study_page import study_page

    return study_page(folder)
