"""Offers a GPT to read in an afternoon, and a tuner for any text.

The root offers nouns only; the verbs are the modules that `python -m minilm.VERB` runs. Names are loaded on
first use, so that importing minilm costs nothing.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import signal
import sys
from typing import TYPE_CHECKING, Any

# How long a thread spins for its next piece of work before it sleeps. By default so long that two threads are ten
# times slower than one while a neighbour holds a core; without any spinning two are never faster than one in models
# as small as ours. GNU OpenMP reads this when torch is loaded, so it must stand before that.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")

# python -m minilm.VERB: it is being loaded, and takes Ctrl-C in an orderly way only once it is; where Ctrl-C is
# ignored, as for what a script runs in the background, it stays so
_is_a_verb = any(re.fullmatch(r"(-m)?minilm(\.\w+)?", word) for word in sys.orig_argv)
if sys.argv[:1] == ["-m"] and _is_a_verb and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

if TYPE_CHECKING:
    from minilm.config import ModelConfig as ModelConfig
    from minilm.config import TrainConfig as TrainConfig
    from minilm.model import GPT as GPT
    from minilm.text.bpe import BPETokenizer as BPETokenizer
    from minilm.text.characters import CharTokenizer as CharTokenizer
    from minilm.text.corpora import load_corpus as load_corpus
    from minilm.training.run import load_run as load_run

__version__ = "0.1.0"

_HOMES = {
    "CharTokenizer": "minilm.text.characters",
    "BPETokenizer": "minilm.text.bpe",
    "ModelConfig": "minilm.config",
    "TrainConfig": "minilm.config",
    "GPT": "minilm.model",
    "load_corpus": "minilm.text.corpora",
    "load_run": "minilm.training.run",
}
_VERBS = ("train", "tune")  # functions of a verb's own module
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in ("GPT", "load_run"):
        importlib.import_module("minilm.taps")  # gives models `run_with_cache`
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _VERBS:
        raise AttributeError(f"minilm has no {name!r} at its root; write: from minilm.{name} import {name}")
    close = difflib.get_close_matches(name, __all__, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(__all__)
    raise AttributeError(f"module 'minilm' has no attribute {name!r}, {hint}")


def __dir__() -> list[str]:
    return __all__
