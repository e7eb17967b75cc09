"""Describes a model and a training in two frozen dataclasses, and names the presets.

Every fault of a configuration is reported at once, in one `ConfigError`. This file knows no tensors and no texts: it
imports in milliseconds, so that `--help` can show every default.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from minilm.errors import ConfigError, did_you_mean

CHOICES: dict[str, tuple[str, ...]] = {
    "position": ("rope", "learned"),
    "norm": ("rmsnorm", "layernorm"),
    "mlp": ("swiglu", "gelu", "gelu_erf"),
    "init": ("zero", "gpt2"),
    "optimizer": ("muon", "adamw"),
    "schedule": ("linear", "cosine", "constant", "wsd"),
    "device": ("auto", "cpu", "cuda", "mps"),
    "precision": ("auto", "fp32", "bf16"),
}
BOUNDS = {  # of numbers
    **dict.fromkeys(("vocab_size", "block_size", "n_layer", "n_head", "n_embd", "mlp_hidden"), ">= 1"),
    **dict.fromkeys(("steps", "batch_size", "evaluations", "eval_chars", "patience"), ">= 1"),
    **dict.fromkeys(("dropout", "momentum", "beta1", "beta2", "warmup"), ">= 0, < 1"),
    **dict.fromkeys(("minutes", "learning_rate", "grad_clip"), "> 0"),
    **dict.fromkeys(("norm_eps", "decay"), "> 0, <= 1"),
    "rope_base": "> 1",
    "weight_decay": ">= 0",
    "seed": ">= 0, <= 9223372036854775807",
    "threads": ">= 1, <= 4096",
}
SIGNS = {
    ">=": (operator.ge, "at least"),
    ">": (operator.gt, "above"),
    "<=": (operator.le, "at most"),
    "<": (operator.lt, "below"),
}
REMOVED: dict[
    str, Any
] = {  # options that were measured and not adopted; an older run may hold their defaults
    "prior": "none",
    "embedding_skip": False,
    "value_skip": False,
    "average": 0.0,
    "batch_warmup": 0.0,
    "context_warmup": 0.0,
}
Config = TypeVar("Config", bound="_Checked")


@dataclass(frozen=True)
class _Checked:
    """Checks every field against its annotation, `CHOICES` and `BOUNDS`, then the subclass's own rules."""

    def __new__(cls, *values: Any, **named: Any) -> Any:
        cls.check_names(named)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        faults = [fault for field in dataclasses.fields(self) if (fault := self._fault(field))]
        faults = faults or self.combined_faults()
        if faults:
            raise ConfigError("; ".join(faults))

    def _fault(self, field: dataclasses.Field) -> str | None:
        name, value = field.name, getattr(self, field.name)
        kind, _, optional = str(field.type).partition(" | ")
        if value is None:
            return None if optional else f"{name} must be given"
        if name in CHOICES and value not in CHOICES[name]:
            hint = did_you_mean(str(value), CHOICES[name])
            return f"{name} must be one of {', '.join(CHOICES[name])}, got {value!r}; {hint}"
        if kind in ("bool", "str"):
            right = isinstance(value, bool if kind == "bool" else str)
            return (
                None
                if right
                else f"{name} must be {'True or False' if kind == 'bool' else 'a name'}, got {value!r}"
            )
        if isinstance(value, bool) or not isinstance(value, int if kind == "int" else (int, float)):
            return f"{name} must be {'a whole number' if kind == 'int' else 'a number'}, got {value!r}"
        if not math.isfinite(value):
            return f"{name} must be finite, got {value!r}"
        for sign, limit in map(str.split, BOUNDS[name].split(", ")):
            holds, words = SIGNS[sign]
            if not holds(value, int(limit)):
                return f"{name} must be {words} {limit}, got {value!r}"
        return None

    def combined_faults(self) -> list[str]:
        """Faults that need more than one field to see."""
        return []

    @classmethod
    def check_names(cls, names: Mapping[str, Any]) -> None:
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = [
            f"unknown key {name!r}, {did_you_mean(str(name), known)}" for name in names if name not in known
        ]
        if unknown:
            raise ConfigError(f"{cls.__name__}: " + "; ".join(unknown))

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
        """The configuration with these fields; an unknown key is an error with a suggestion."""
        return cls(**without_removed(values))

    def replace(self: Config, **changes: Any) -> Config:
        """A copy with some fields changed; unknown names are errors with a suggestion."""
        return type(self).from_dict({**self.to_dict(), **changes})


def without_removed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without the options of `REMOVED`; one that does not hold its old default is a ConfigError.

    >>> without_removed({"n_layer": 2, "value_skip": False})
    {'n_layer': 2}
    """
    wrong = {name: values[name] for name, old in REMOVED.items() if values.get(name, old) != old}
    faults = [
        f"{name} was removed and must be {REMOVED[name]!r}, got {value!r}" for name, value in wrong.items()
    ]
    if values.get("mlp") == "relu2":
        faults.append(f"mlp relu2 was removed and must be one of {', '.join(CHOICES['mlp'])}")
    if faults:
        raise ConfigError(f"{'; '.join(faults)}; use the minilm that had it, of commit d0be72f")
    return {name: value for name, value in values.items() if name not in REMOVED}


@dataclass(frozen=True)
class ModelConfig(_Checked):
    """The architecture of a decoder. The defaults are the `modern` preset: the shape of Qwen3.

    >>> ModelConfig(vocab_size=65, n_embd=6, n_head=128)
    Traceback (most recent call last):
    ...
    minilm.errors.ConfigError: n_head must divide n_embd, got 128 and 6
    """

    vocab_size: int = None  # type: ignore[assignment]  # must be given
    block_size: int = 128  # the longest context, in tokens
    n_layer: int = 3
    n_head: int = 4
    n_embd: int = 128  # channels of the residual stream
    position: str = "rope"
    norm: str = "rmsnorm"
    norm_eps: float = 1e-6
    qk_norm: bool = True  # RMSNorm on each head's queries and keys
    mlp: str = "swiglu"
    mlp_hidden: int | None = None  # None: 8/3 x n_embd, rounded up to 32, for swiglu; else 4 x n_embd
    bias: bool = False
    tie_embeddings: bool = True
    bigrams: bool = False  # a table of pairs (previous token, token), added to the embedding
    init: str = "zero"  # start of what adds to the residual stream: nothing, or small and scaled by the depth
    dropout: float = 0.0
    rope_base: float = 10_000.0
    attention: str = "auto"  # a key of BACKENDS, a choice of speed, not of mathematics

    def combined_faults(self) -> list[str]:
        if self.n_embd % self.n_head:
            return [f"n_head must divide n_embd, got {self.n_head} and {self.n_embd}"]
        if self.position == "rope" and self.head_size % 2:
            return [f"rope turns channels in pairs, so n_embd / n_head must be even, got {self.head_size}"]
        return []

    @property
    def head_size(self) -> int:
        return self.n_embd // self.n_head

    @property
    def mlp_width(self) -> int:
        """Channels inside the MLP; SwiGLU has three matrices instead of two, hence 8/3 instead of 4."""
        if self.mlp_hidden is not None:
            return self.mlp_hidden
        return 32 * math.ceil(8 * self.n_embd / 3 / 32) if self.mlp == "swiglu" else 4 * self.n_embd

    @property
    def bigram_rows(self) -> int:
        """Rows of the table of pairs: one for each pair of 128 tokens; pairs of more tokens share them."""
        return min(self.vocab_size**2, 2**14)

    @property
    def n_parameters(self) -> int:
        """Trainable numbers, in closed form; a test compares it with the built model."""
        C, bias = self.n_embd, int(self.bias)
        norm = C * (2 if self.norm == "layernorm" and self.bias else 1)  # a gain, and LayerNorm's shift
        attention = 4 * (C * C + bias * C) + (2 * self.head_size if self.qk_norm else 0)
        in_matrices = 2 if self.mlp == "swiglu" else 1
        mlp = (in_matrices + 1) * C * self.mlp_width + bias * (in_matrices * self.mlp_width + C)
        rows = self.vocab_size * (1 if self.tie_embeddings else 2) + (self.bigram_rows if self.bigrams else 0)
        rows += self.block_size if self.position == "learned" else 0
        return rows * C + self.n_layer * (attention + mlp + 2 * norm) + norm

    @classmethod
    def modern(cls, vocab_size: int, **changes: Any) -> ModelConfig:
        """RoPE, RMSNorm, QK-norm, SwiGLU, no biases: what Hugging Face's Qwen3 can express."""
        return cls.from_dict({"vocab_size": vocab_size, **PRESETS["modern"].model, **changes})

    @classmethod
    def gpt2(cls, vocab_size: int, **changes: Any) -> ModelConfig:
        """Learned positions, LayerNorm, GELU (tanh form), biases: GPT-2 exactly (Radford et al., 2019)."""
        return cls.from_dict({"vocab_size": vocab_size, **PRESETS["gpt2"].model, **changes})


@dataclass(frozen=True)
class TrainConfig(_Checked):
    """One training run: how long, how fast, how often it looks at the validation split.

    >>> TrainConfig(steps=10, minutes=1.0)
    Traceback (most recent call last):
    ...
    minilm.errors.ConfigError: give steps or minutes, not both, got steps=10 and minutes=1.0
    """

    steps: int | None = None  # with neither steps nor minutes: 1000
    minutes: float | None = None  # wall clock, set-up and evaluations included
    batch_size: int = 8  # small: a CPU learns most per second from many small steps, benchmarks/RESULTS.md
    optimizer: str = "muon"  # for matrices; embeddings and gains always take AdamW
    learning_rate: float = 0.03  # of the matrices under Muon; AdamW alone wants a tenth of it
    momentum: float = 0.95  # Muon's
    schedule: str = "linear"
    warmup: float = 0.02  # share of the budget spent raising the learning rate
    decay: float = 0.2  # share of the budget spent lowering it; wsd only
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    grad_clip: float = 1.0
    evaluations: int = 20  # how many times the validation loss is measured
    eval_chars: int | None = None  # None: the whole split, exactly
    patience: int | None = 6  # evaluations without improvement before training stops; None: never stop early
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    compile: bool = False  # torch.compile of the passes; its seconds are part of the budget
    threads: int | None = None  # None: one per physical core

    def combined_faults(self) -> list[str]:
        if self.steps is not None and self.minutes is not None:
            return [f"give steps or minutes, not both, got steps={self.steps} and minutes={self.minutes}"]
        return []

    @property
    def total_steps(self) -> int | None:
        """The budget in steps, or None where it is a time."""
        return None if self.minutes is not None else self.steps or 1000


class Preset(NamedTuple):
    """Named starting values: fields of ModelConfig (without vocab_size) and of TrainConfig.

    >>> PRESETS["nano"].configs(65)[1].steps
    2000
    """

    about: str
    model: dict[str, Any]
    train: dict[str, Any]

    def configs(self, vocab_size: int) -> tuple[ModelConfig, TrainConfig]:
        """The configurations for a text with that many tokens in its vocabulary."""
        return ModelConfig(**{"vocab_size": vocab_size, **self.model}), TrainConfig(**self.train)


def default_recipe(vocab_size: int = 1) -> tuple[ModelConfig, TrainConfig]:
    """What is trained where nothing is asked for."""
    return PRESETS[DEFAULT_PRESET].configs(vocab_size)


GPT2 = {"position": "learned", "norm": "layernorm", "norm_eps": 1e-5, "qk_norm": False, "init": "gpt2"}
ADAMW = {"optimizer": "adamw", "learning_rate": 1e-3, "warmup": 0.1}
DEFAULT_PRESET = "fast"
PRESETS: dict[str, Preset] = {
    "fast": Preset("the default recipe: modern, and a table of character pairs", {"bigrams": True}, {}),
    "modern": Preset("Qwen3's shape, which Hugging Face's library can load", {}, {}),
    "gpt2": Preset("GPT-2's architecture at the default size", {**GPT2, "mlp": "gelu", "bias": True}, ADAMW),
    "nano": Preset(  # the peer of our benchmarks: small context and batch for small machines
        "nanoGPT's CPU recipe",
        {**GPT2, "mlp": "gelu_erf", "n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64},
        {**ADAMW, "steps": 2000, "batch_size": 12, "schedule": "cosine"},
    ),
}
