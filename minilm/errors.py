"""Defines the errors that a user's mistake can raise, and the base of configurations, whose every fault becomes one.

Every message is one sentence in four parts: the thing, the rule, what arrived, what to do. A verb prints it
without a traceback and exits with `exit_code`. Mistakes of ours are `assert`s and keep their traceback.
This file knows nothing of models, texts or files.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import operator
import re
import sys
import typing
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any, NamedTuple, TypeVar


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
    """A file that could not be written or read: a full or failing disk, no permission, a folder gone in mid-training.

    It says nothing about what was being computed: a trial that meets it has not failed.
    """

    exit_code = 4


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


def shortened(text: str, most: int = 200) -> str:
    """A text that came from outside as a sentence can hold it.

    >>> shortened("a" * 1000, 10)
    'aaaaaaaaaa... (1,000 characters)'
    """
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def printable(text: str) -> str:
    """The text with its control characters, but for line ends and tabs, as their numbers: a terminal would obey them.

    >>> printable("a\\x1b[2J\\tb\\n")
    'a\\\\x1b[2J\\tb\\n'
    """
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", text)


@functools.cache
def note(sentence: str) -> None:
    """Says something on stderr that is no mistake, on a line of its own and once per process."""
    print(f"minilm: {printable(sentence)}", file=sys.stderr, flush=True)


SIGNS = {
    ">=": (operator.ge, "at least"),
    ">": (operator.gt, "above"),
    "<=": (operator.le, "at most"),
    "<": (operator.lt, "below"),
}


def number_fault(name: str, value: Any, bounds: str, whole: bool = False) -> str | None:
    """The sentence about a number outside its bounds, such as ">= 0, < 1"; None where it is inside.

    >>> number_fault("n_layer", 0, ">= 1", whole=True), number_fault("dropout", 0.5, ">= 0, < 1")
    ('n_layer must be at least 1, got 0', None)
    """
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return f"{name} must be {'a whole number' if whole else 'a number'}, got {value!r}"
    if not math.isfinite(value):
        return f"{name} must be finite, got {value!r}"
    for sign, limit in map(str.split, bounds.split(", ")):
        holds, words = SIGNS[sign]
        if not holds(value, int(limit) if limit.lstrip("-").isdecimal() else float(limit)):
            return f"{name} must be {words} {limit}, got {value!r}"
    return None


# Options that were measured and not adopted: older runs hold them, and may hold nothing but these values.
REMOVED: dict[str, Any] = {"prior": "none", "embedding_skip": False, "value_skip": False}
REMOVED |= dict.fromkeys(("average", "batch_warmup", "context_warmup"), 0.0)


class Rule(NamedTuple):
    """What a field may hold."""

    kind: type
    optional: bool
    choices: tuple[str, ...] = ()
    bounds: str = ""


@functools.cache
def rules(cls: Any) -> dict[str, Rule]:
    """The rule of each field of a dataclass, read from its annotations."""
    hints = typing.get_type_hints(cls, include_extras=True)
    found = {}
    for field in dataclasses.fields(cls):
        kinds = [hints[field.name]]
        if typing.get_origin(kinds[0]) in (typing.Union, UnionType):
            kinds = list(typing.get_args(kinds[0]))
        (hint,) = (kind for kind in kinds if kind is not type(None))
        optional = len(kinds) > 1
        if typing.get_origin(hint) is typing.Literal:
            found[field.name] = Rule(str, optional, choices=typing.get_args(hint))
        elif typing.get_origin(hint) is typing.Annotated:
            kind, bounds = typing.get_args(hint)
            found[field.name] = Rule(kind, optional, bounds=bounds)
        else:
            found[field.name] = Rule(hint, optional)
    return found


Self = TypeVar("Self", bound="Checked")


class Checked:
    """The base of a frozen dataclass that reports every fault of its fields at once, as one `ConfigError`.

    Annotations are the rules: int, float, bool, str, Literal with the choices, Annotated[float, ">= 0, < 1"] with the
    bounds, each with `| None` where it may be absent.
    """

    def __new__(cls, *values: Any, **named: Any) -> Any:
        known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        unknown = [
            f"unknown key {key!r}, {did_you_mean(str(key), known)}" for key in named if key not in known
        ]
        if unknown:
            raise ConfigError(f"{cls.__name__}: " + "; ".join(unknown))
        return super().__new__(cls)

    def __post_init__(self) -> None:
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        wrong = [(field, fault) for field in fields if (fault := self._fault(field))]
        faults = [fault for _, fault in wrong] or self.combined_faults()
        if faults:
            advice = "change or leave out one of them" if not wrong else "leave out what need not be set"
            if len(wrong) == 1 and wrong[0][0].default is not None:
                advice = f"leave it out for its default, {wrong[0][0].default}"
            raise ConfigError("; ".join([*faults, *([] if any("; " in one for one in faults) else [advice])]))

    def _fault(self, field: dataclasses.Field) -> str | None:
        cls: Any = type(self)
        name, value, rule = field.name, getattr(self, field.name), rules(cls)[field.name]
        if value is None:
            return None if rule.optional else f"{name} must be given, got None; give it"
        if rule.choices and value not in rule.choices:
            hint = did_you_mean(str(value), rule.choices)
            return f"{name} must be one of {', '.join(rule.choices)}, got {value!r}; {hint}"
        if rule.kind in (bool, str):
            words = "True or False" if rule.kind is bool else "a name"
            return None if isinstance(value, rule.kind) else f"{name} must be {words}, got {value!r}"
        return number_fault(name, value, rule.bounds, whole=rule.kind is int)

    def combined_faults(self) -> list[str]:
        """Faults that need more than one field to see."""
        return []

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls: type[Self], values: Mapping[str, Any]) -> Self:
        """The object with these fields; an unknown key is an error with a suggestion."""
        return cls(**cls.without_removed(values))

    @classmethod
    def without_removed(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values without removed options; one that does not hold its old default is a ConfigError."""
        faults = [
            f"{name} was removed and must be {old!r}, got {values[name]!r}"
            for name, old in REMOVED.items()
            if values.get(name, old) != old
        ]
        if faults:
            raise ConfigError(f"{'; '.join(faults)}; use the minilm that had it, of commit d0be72f")
        return {name: value for name, value in values.items() if name not in REMOVED}

    def replace(self: Self, **changes: Any) -> Self:
        """A copy with some fields changed; unknown names are errors with a suggestion."""
        return type(self).from_dict({**self.to_dict(), **changes})
