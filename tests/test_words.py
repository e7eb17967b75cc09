"""A module opens with a sentence that has a subject and a verb, not with a question that is only half asked."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "minilm"
HEADLESS = re.compile(
    r"(all |just )?(who|whom|whose|whoever|what|whatever|where|wherever|when|whenever|which|whichever|how|however|"
    r"whether|why|that)\b",
    re.IGNORECASE,
)
# modules whose openings are still being rewritten, and folders of such; nothing may be added
PENDING = {
    "__init__",
    "attention",
    "causal",
    "chat",
    "choice",
    "classroom",
    "config",
    "decoding",
    "kv_cache",
    "layers",
    "model",
    "prior",
    "sample",
    "sampling",
    "solo",
    "speculative",
    "taps",
    "text.batches",
    "text.bpe",
    "text.characters",
    "text.draft",
    "text.prior",
    "train",
    "training",
    "tune",
    "window",
}


def openings() -> dict[str, str | None]:
    """Each module's docstring, None where it has none."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        found[name.removesuffix(".__init__")] = text
    return found


def is_headless(opening: str | None) -> bool:
    return not (opening or "").strip() or HEADLESS.match((opening or "").lstrip("`*_\"' \n")) is not None


def is_pending(module: str) -> bool:
    return any(module == name or module.startswith(name + ".") for name in PENDING)


def test_every_module_opens_with_a_sentence():
    guilty = {m: o for m, o in openings().items() if not is_pending(m) and is_headless(o)}
    assert not guilty, guilty


@pytest.mark.parametrize(
    "opening",
    [
        None,
        "",
        "Who is trained to the end: the search and the race.",
        "What a study is fixed to from its first trial on.",
        "Where trials fail: plain numbers.",
        "Whoever looks on while a study runs.",
        "how a text writes dialogue.",
        "Whether a new point lies among failures.",
        "All that a worker must know.",
        "`What` a run is made of.",
    ],
)
def test_the_check_can_fail(opening):
    assert is_headless(opening)


@pytest.mark.parametrize(
    "opening",
    [
        "Chooses the configuration for the final training.",
        "The law says how much a token is worth.",
        "Howls at the moon.",
        "Attention mixes what came before.",
    ],
)
def test_a_sentence_passes(opening):
    assert not is_headless(opening)
