"""Does the jobs beside the training in a helper process that can be stopped: a huge text must not delay the end.

No job needs torch; what they need is loaded in the helper, not in the process that trains.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minilm.text.ngram import Counted
    from minilm.text.tokenizers import Tokenizer

SPAN = 20  # characters; a shorter run of a text is said by chance, too
SURVEYED = 2_000_000  # characters of a split: enough to know its words and its dialogue
LONGEST_WORD = 15.0  # characters of an average word; in a script that does not part them it is longer


def counting(description: dict[str, Any]) -> dict[str, Any]:
    """The counting baseline of the described corpus, see `counting_baseline`."""
    from minilm.text.corpora import load_described
    from minilm.text.ngram import SCORED_ON, counting_baseline

    return counting_baseline(load_described(_in_characters(description)).first_part(SCORED_ON))


def counted(description: dict[str, Any], tokenizer: Tokenizer) -> Counted:
    """What counting says of the described corpus's own tokens, see `count`."""
    from minilm.text.corpora import load_described
    from minilm.text.ngram import SCORED_ON, count

    return count(load_described(description, tokenizer).first_part(SCORED_ON))


def compared(description: dict[str, Any], samples: Sequence[str]) -> dict[str, Any]:
    """How the samples compare with the described text: "words", the shares of them in "text", in the "unseen" part of
    it and in neither ("invented"), the shares "copied" from either, and whether the text is a "dialogue"."""
    from minilm.interpret.memorisation import shared_with
    from minilm.text.corpora import load_described
    from minilm.text.turns import find_dialogue

    corpus = load_described(_in_characters(description))
    learnt = corpus.tokenizer.decode(corpus.train[-SURVEYED:])
    unseen = corpus.tokenizer.decode(corpus.tokens[corpus.bounds[0] :][:SURVEYED])
    facts = words_of(samples, learnt, unseen)
    copied = {
        "copied": shared_with(samples, learnt, SPAN),
        "copied_unseen": shared_with(samples, unseen, SPAN),
    }
    return {**facts, **copied, "dialogue": bool(find_dialogue(learnt))}


def words_of(samples: Sequence[str], learnt: str, unseen: str) -> dict[str, Any]:
    """How many words the samples have, and the shares of them that occur in either part of the text, and in neither.

    >>> words_of(["the cat sang"], "the cat sat", "the dog sang") == {
    ...     "words": 3, "in_text": 2 / 3, "in_unseen": 2 / 3, "invented": 0.0}
    True
    """
    words = [word for sample in samples for word in _words(sample)]
    known = _words(learnt)
    if not words or not known or sum(map(len, known)) > LONGEST_WORD * len(known):
        return {"words": 0, "in_text": None, "in_unseen": None, "invented": None}
    both = set(known), set(_words(unseen))
    shares = [sum(word in part for word in words) / len(words) for part in both]
    invented = sum(not any(word in part for part in both) for word in words) / len(words)
    return {"words": len(words), "in_text": shares[0], "in_unseen": shares[1], "invented": invented}


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower())


def _in_characters(description: dict[str, Any]) -> dict[str, Any]:
    """The same text, whatever its tokens are."""
    return {key: value for key, value in description.items() if key not in ("tokens", "pieces")}


def draw_page(folder: str | Path) -> Path:
    """Draws the study's page from its records and returns its path."""
    from minilm.plots.study_page import study_page

    return study_page(folder)
