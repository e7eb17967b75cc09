"""Defines the one family of errors that a user's mistake can raise, and the "did you mean" helper.

Every message is one sentence in four parts: the thing, the rule, what arrived, what to do. A verb prints it
without a traceback and exits with `exit_code`. Mistakes of ours are `assert`s and keep their traceback.
This file knows nothing of models, texts or files.
"""

from __future__ import annotations

import difflib
import functools
import sys
from collections.abc import Iterable


class MinilmError(ValueError):
    """A mistake that the user can mend; `str(error)` is the sentence to show."""

    exit_code = 2


class ConfigError(MinilmError):
    """A setting, a combination of settings or an option that cannot work."""


class CorpusError(MinilmError):
    """A text that is missing, unreadable, too short or not text."""


class UnknownCharacterError(MinilmError):
    """A character that the tokenizer has never seen."""


class RunError(MinilmError):
    """A folder that is not a run or a study, or a file in it that is damaged."""


class StorageError(MinilmError):
    """A file that could not be written: disk full, no permission."""


class EngineError(MinilmError):
    """Machines that were to run the trials and do not answer, or lack what they need."""


class AllTrialsFailedError(MinilmError):
    """A study in which no trial ended with a finite loss."""

    exit_code = 3


class DivergenceError(MinilmError):
    """Training left the finite numbers; carries the step and the learning rate where it happened."""

    exit_code = 3

    def __init__(self, message: str, *, step: int, learning_rate: float) -> None:
        super().__init__(message)
        self.step = step
        self.learning_rate = learning_rate

    def __reduce__(self) -> tuple:  # the default would forget the keyword arguments between processes
        return _divergence, (str(self), self.step, self.learning_rate)


def _divergence(message: str, step: int, learning_rate: float) -> DivergenceError:
    return DivergenceError(message, step=step, learning_rate=learning_rate)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the closest known name, or all of them.

    >>> did_you_mean("shakespear", ["fables", "shakespeare"])
    "did you mean 'shakespeare'?"
    >>> did_you_mean("x", ["fables", "shakespeare"])
    'known: fables, shakespeare'
    """
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(names)


@functools.cache
def note(sentence: str) -> None:
    """Says something on stderr that is no mistake, on a line of its own and once per process."""
    print(f"minilm: {sentence}", file=sys.stderr, flush=True)
