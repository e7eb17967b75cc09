"""Describes a model and a training in two frozen dataclasses, and names the presets.

Every fault of a configuration is reported at once, in one `ConfigError`. This file knows no tensors and no texts: it
imports in milliseconds, so that `--help` can show every default.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from minilm.errors import Checked

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
# Options that were measured and not adopted: older runs hold them, and may hold nothing but these values.
REMOVED: dict[str, Any] = {"prior": "none", "embedding_skip": False, "value_skip": False}
REMOVED |= dict.fromkeys(("average", "batch_warmup", "context_warmup"), 0.0)


@dataclass(frozen=True)
class ModelConfig(Checked, choices=CHOICES, bounds=BOUNDS, removed=REMOVED):
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
        C, W, bias = self.n_embd, self.mlp_width, int(self.bias)
        norm = C * (2 if self.norm == "layernorm" and self.bias else 1)  # a gain, and LayerNorm's shift
        attention = 4 * (C * C + bias * C) + (2 * self.head_size if self.qk_norm else 0)
        into = 2 if self.mlp == "swiglu" else 1  # matrices into the MLP
        mlp = (into + 1) * C * W + bias * (into * W + C)
        rows = self.vocab_size * (1 if self.tie_embeddings else 2) + self.bigrams * self.bigram_rows
        rows += self.block_size * (self.position == "learned")
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
class TrainConfig(Checked, choices=CHOICES, bounds=BOUNDS, removed=REMOVED):
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
