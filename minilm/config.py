"""What a model and a training run are made of: two frozen dataclasses and the presets.

Every fault of a configuration is reported at once, in one `ConfigError`. This file knows no tensors and no
texts: it imports in milliseconds, so that `--help` can show every default.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from minilm.errors import ConfigError, did_you_mean

CHOICES: dict[str, tuple[str, ...]] = {
    "position": ("rope", "learned"),
    "norm": ("rmsnorm", "layernorm"),
    "mlp": ("swiglu", "gelu", "gelu_erf"),
    "init": ("zero", "gpt2"),
    "attention": ("auto", "manual", "blocked", "fused"),
    "optimizer": ("muon", "adamw"),
    "schedule": ("linear", "cosine", "constant", "wsd"),
    "device": ("auto", "cpu", "cuda", "mps"),
    "precision": ("auto", "fp32", "bf16"),
}

# options that were removed, and the one value that older runs may hold
REMOVED: dict[str, Any] = {
    "prior": "none",
    "embedding_skip": False,
    "value_skip": False,
    "average": 0.0,
    "batch_warmup": 0.0,
    "context_warmup": 0.0,
}
REMOVED_MLP = "relu2"
WHERE_REMOVED = "use the minilm that had it, of commit d0be72f"

# name -> (smallest, largest or None, whether the smallest itself is allowed)
LIMITS: dict[str, tuple[float, float | None, bool]] = {
    "vocab_size": (1, None, True),
    "block_size": (1, None, True),
    "n_layer": (1, None, True),
    "n_head": (1, None, True),
    "n_embd": (1, None, True),
    "mlp_hidden": (1, None, True),
    "norm_eps": (0, 1, False),
    "rope_base": (1, None, False),
    "dropout": (0, 1, True),
    "steps": (1, None, True),
    "minutes": (0, None, False),
    "batch_size": (1, None, True),
    "learning_rate": (0, None, False),
    "weight_decay": (0, None, True),
    "momentum": (0, 1, True),
    "beta1": (0, 1, True),
    "beta2": (0, 1, True),
    "grad_clip": (0, None, False),
    "warmup": (0, 1, True),
    "decay": (0, 1, False),
    "evaluations": (1, None, True),
    "eval_chars": (1, None, True),
    "patience": (1, None, True),
    "seed": (0, 2**63 - 1, True),
    "threads": (1, 4096, True),
}
BIGRAM_ROWS = 2**14  # at most: every pair of 128 characters
BELOW_ONE = {
    "dropout",
    "momentum",
    "beta1",
    "beta2",
    "warmup",
}  # 1 itself would drop, remember or warm up everything

Config = TypeVar("Config", bound="_Checked")


@dataclass(frozen=True)
class _Checked:
    """Checks every field against its annotation, `CHOICES` and `LIMITS`, then the subclass's own rules."""

    def __post_init__(self) -> None:
        faults = [fault for field in dataclasses.fields(self) if (fault := _field_fault(self, field))]
        faults = faults or self.combined_faults()
        if faults:
            raise ConfigError("; ".join(faults))

    def combined_faults(self) -> list[str]:
        """Faults that need more than one field to see."""
        return []

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls: type[Config], values: dict[str, Any]) -> Config:
        """The configuration with these fields; an unknown key is an error with a suggestion."""
        values = without_removed(values)
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = [
            f"unknown key {key!r}, {did_you_mean(str(key), known)}" for key in values if key not in known
        ]
        required = {f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING}
        missing = [f"{name} is missing" for name in sorted(required - set(values))]
        if unknown or missing:
            raise ConfigError(f"{cls.__name__}: " + "; ".join(unknown + missing))
        return cls(**values)

    def replace(self: Config, **changes: Any) -> Config:
        """A copy with some fields changed; unknown names are errors with a suggestion."""
        return type(self).from_dict({**self.to_dict(), **changes})


def without_removed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without the options of `REMOVED`; one that does not hold its old default is a ConfigError.

    >>> without_removed({"n_layer": 2, "value_skip": False})
    {'n_layer': 2}
    """
    faults = [
        f"{key} was removed and must be {default!r}, got {values[key]!r}"
        for key, default in REMOVED.items()
        if values.get(key, default) != default
    ]
    if values.get("mlp") == REMOVED_MLP:
        faults += [f"mlp {REMOVED_MLP} was removed and must be one of {', '.join(CHOICES['mlp'])}"]
    if faults:
        raise ConfigError(f"{'; '.join(faults)}; {WHERE_REMOVED}")
    return {key: value for key, value in values.items() if key not in REMOVED}


def _field_fault(config: _Checked, field: dataclasses.Field) -> str | None:
    name, value, kind = field.name, getattr(config, field.name), str(field.type)
    if value is None:
        return None if "None" in kind else f"{name} must be given"
    if name in CHOICES:
        return (
            None
            if value in CHOICES[name]
            else (
                f"{name} must be one of {', '.join(CHOICES[name])}, got {value!r}; "
                f"{did_you_mean(str(value), CHOICES[name])}"
            )
        )
    if "bool" in kind:
        return None if isinstance(value, bool) else f"{name} must be True or False, got {value!r}"
    whole = "int" in kind
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return f"{name} must be {'a whole number' if whole else 'a number'}, got {value!r}"
    if not math.isfinite(value):
        return f"{name} must be finite, got {value!r}"
    return _limit_fault(name, value)


def _limit_fault(name: str, value: float) -> str | None:
    low, high, low_allowed = LIMITS[name]
    if value < low or (value == low and not low_allowed):
        return f"{name} must be {'at least' if low_allowed else 'above'} {low:g}, got {value!r}"
    if high is not None and (value > high or (value == high and name in BELOW_ONE)):
        return f"{name} must be {'below' if name in BELOW_ONE else 'at most'} {high:g}, got {value!r}"
    return None


@dataclass(frozen=True)
class ModelConfig(_Checked):
    """The architecture of a decoder. The defaults are the `modern` preset: the shape of Qwen3.

    >>> ModelConfig(vocab_size=65, n_embd=6, n_head=128)
    Traceback (most recent call last):
    ...
    minilm.errors.ConfigError: n_head must divide n_embd, got 128 and 6
    """

    vocab_size: int
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
    attention: str = "auto"  # a choice of speed, not of mathematics: fused on CUDA, blocked on a CPU

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
        """Rows of the table of pairs: one for each, or as many as still cost little, shared."""
        return min(self.vocab_size**2, BIGRAM_ROWS)

    @property
    def n_parameters(self) -> int:
        """Trainable numbers, in closed form; a test compares it with the built model."""
        C, bias = self.n_embd, int(self.bias)
        norm = C * (2 if self.norm == "layernorm" and self.bias else 1)  # a gain, and LayerNorm's shift
        attention = 4 * (C * C + bias * C) + (2 * self.head_size if self.qk_norm else 0)
        in_matrices = 2 if self.mlp == "swiglu" else 1
        mlp = (in_matrices + 1) * C * self.mlp_width + bias * (in_matrices * self.mlp_width + C)
        embeddings = self.vocab_size * C * (1 if self.tie_embeddings else 2)
        positions = self.block_size * C if self.position == "learned" else 0
        pairs = self.bigram_rows * C if self.bigrams else 0
        return embeddings + pairs + positions + self.n_layer * (attention + mlp + 2 * norm) + norm

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

    steps: int | None = None  # with neither steps nor minutes: DEFAULT_STEPS
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
        if self.minutes is not None:
            return None
        return DEFAULT_STEPS if self.steps is None else self.steps


DEFAULT_STEPS = 1000


@dataclass(frozen=True)
class Preset:
    """Named starting values: fields of ModelConfig (without vocab_size) and of TrainConfig.

    >>> PRESETS["nano"].configs(65)[1].steps
    2000
    """

    about: str
    model: dict[str, Any]
    train: dict[str, Any]

    def configs(self, vocab_size: int) -> tuple[ModelConfig, TrainConfig]:
        """The configurations for a text with that many characters."""
        model = ModelConfig.from_dict({"vocab_size": vocab_size, **self.model})
        return model, TrainConfig.from_dict(self.train)


def default_recipe(vocab_size: int = 1) -> tuple[ModelConfig, TrainConfig]:
    """What is trained where nothing is asked for."""
    return PRESETS[DEFAULT_PRESET].configs(vocab_size)


DEFAULT_PRESET = "fast"
PRESETS: dict[str, Preset] = {
    "fast": Preset(
        "the default recipe: modern, and a table of character pairs",
        {"bigrams": True},
        {},
    ),
    "modern": Preset("Qwen3's shape, which Hugging Face's library can load", {}, {}),
    "gpt2": Preset(
        "GPT-2's architecture at the default size",
        {
            "position": "learned",
            "norm": "layernorm",
            "norm_eps": 1e-5,
            "qk_norm": False,
            "mlp": "gelu",
            "bias": True,
            "init": "gpt2",
        },
        {"optimizer": "adamw", "learning_rate": 1e-3, "warmup": 0.1},
    ),
    # nanoGPT's recipe for a CPU, the peer of our benchmarks: small context and batch for small machines.
    "nano": Preset(
        "nanoGPT's CPU recipe",
        {
            "position": "learned",
            "norm": "layernorm",
            "norm_eps": 1e-5,
            "qk_norm": False,
            "mlp": "gelu_erf",
            "bias": False,
            "init": "gpt2",
            "n_layer": 4,
            "n_head": 4,
            "n_embd": 128,
            "block_size": 64,
        },
        {
            "steps": 2000,
            "batch_size": 12,
            "optimizer": "adamw",
            "warmup": 0.1,
            "learning_rate": 1e-3,
            "schedule": "cosine",
        },
    ),
}
