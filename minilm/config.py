"""Describes a model and a training in two frozen dataclasses, and names the presets.

Every fault of a configuration is reported at once, in one `ConfigError`. This file knows no tensors and no texts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from minilm.errors import Checked

Count = Annotated[int, ">= 1"]
Share = Annotated[float, ">= 0, < 1"]
Positive = Annotated[float, "> 0"]
Rate = Annotated[float, ">= 1e-12, <= 1e38"]  # less moves no weight


@dataclass(frozen=True)
class ModelConfig(Checked):
    """The architecture of a decoder; the defaults are the `modern` preset.

    >>> ModelConfig(vocab_size=65, n_embd=6, n_head=128)
    Traceback (most recent call last):
    ...
    minilm.errors.ConfigError: n_head must divide n_embd, got 128 and 6; change or leave out one of them
    """

    vocab_size: Count = None  # type: ignore[assignment]  # must be given
    block_size: Annotated[int, ">= 1, <= 16777216"] = 128  # the longest context, in tokens
    n_layer: Annotated[int, ">= 1, <= 1024"] = 3
    n_head: Count = 4
    n_embd: Count = 128  # channels of the residual stream
    head_dim: Count | None = None  # channels of a head; None: n_embd / n_head
    position: Literal["rope", "learned"] = "rope"
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    norm_eps: Annotated[float, "> 0, <= 1"] = 1e-6
    qk_norm: bool = True  # RMSNorm on each head's queries and keys
    mlp: Literal["swiglu", "gelu", "gelu_erf"] = "swiglu"
    mlp_hidden: Count | None = None  # None: 8/3 x n_embd, rounded up to 32, for swiglu; else 4 x n_embd
    bias: bool = False
    tie_embeddings: bool = True
    bigrams: bool = False  # a table of pairs (previous token, token), added to the embedding
    init: Literal["zero", "gpt2"] = (
        "zero"  # start of what adds to the residual stream: nothing, or small and scaled by the depth
    )
    dropout: Share = 0.0
    rope_base: Annotated[float, "> 1"] = 10_000.0
    attention: str = "auto"  # a key of BACKENDS, a choice of speed, not of mathematics

    def combined_faults(self) -> list[str]:
        if self.head_dim is None and self.n_embd % self.n_head:
            return [f"n_head must divide n_embd, got {self.n_head} and {self.n_embd}"]
        if self.position == "rope" and self.head_size % 2:
            return [f"rope turns channels in pairs, so n_embd / n_head must be even, got {self.head_size}"]
        return []

    @property
    def head_size(self) -> int:
        return self.head_dim or self.n_embd // self.n_head

    @property
    def mlp_width(self) -> int:
        """Channels inside the MLP; SwiGLU has three matrices instead of two, hence 8/3 instead of 4."""
        if self.mlp_hidden is not None:
            return self.mlp_hidden
        return 32 * math.ceil(8 * self.n_embd / 3 / 32) if self.mlp == "swiglu" else 4 * self.n_embd

    @property
    def bigram_rows(self) -> int:
        """Rows of the table of pairs: one for each pair of 128 tokens; of more tokens, for the most frequent pairs."""
        return min(self.vocab_size**2, 2**14)

    @property
    def n_parameters(self) -> int:
        """Trainable numbers, in closed form; a test compares it with the built model."""
        C, W, A, bias = self.n_embd, self.mlp_width, self.n_head * self.head_size, int(self.bias)
        norm = C * (2 if self.norm == "layernorm" and self.bias else 1)  # a gain, and LayerNorm's shift
        attention = 4 * A * C + bias * (3 * A + C) + (2 * self.head_size if self.qk_norm else 0)
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
class TrainConfig(Checked):
    """One training run."""

    steps: Count | None = None  # with neither steps nor minutes: 1000
    minutes: Annotated[float, "> 0, <= 1000000"] | None = None  # wall clock, set-up and evaluations included
    batch_size: Count = 8  # small: a CPU learns most per second from many small steps, benchmarks/RESULTS.md
    optimizer: Literal["muon", "adamw"] = "muon"  # for matrices; embeddings and gains always take AdamW
    learning_rate: Rate = 0.03  # of the matrices under Muon; AdamW alone wants a tenth of it
    momentum: Share = 0.95  # Muon's
    schedule: Literal["linear", "cosine", "constant", "wsd"] = "linear"
    warmup: Share = 0.02  # share of the budget spent raising the learning rate
    decay: Annotated[float, "> 0, <= 1"] = 0.2  # share of the budget spent lowering it; wsd only
    weight_decay: Annotated[float, ">= 0, <= 1e38"] = 0.1
    beta1: Share = 0.9
    beta2: Share = 0.99
    grad_clip: Positive = 1.0
    evaluations: Annotated[int, ">= 1, <= 100000"] = 20  # how many times the validation loss is measured
    eval_chars: Count | None = None  # None: the whole split, exactly
    patience: Count | None = 6  # evaluations without improvement before it stops; None: never early
    seed: Annotated[int, ">= 0, <= 9223372036854775807"] = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False  # torch.compile of the passes; its seconds are part of the budget
    threads: Annotated[int, ">= 1, <= 4096"] | None = None  # None: one per physical core

    def combined_faults(self) -> list[str]:
        if self.steps is not None and self.minutes is not None:
            return [f"a training must have steps or minutes, not both, got {self.steps} and {self.minutes}"]
        return []

    @property
    def total_steps(self) -> int | None:
        """The budget in steps, or None where it is a time."""
        return None if self.minutes is not None else self.steps or 1000


class Preset(NamedTuple):
    """Named starting values: fields of ModelConfig (without vocab_size) and of TrainConfig."""

    about: str
    model: dict[str, Any]
    train: dict[str, Any]

    def configs(self, vocab_size: int) -> tuple[ModelConfig, TrainConfig]:
        return ModelConfig(**{"vocab_size": vocab_size, **self.model}), TrainConfig(**self.train)


def default_recipe(vocab_size: int = 1) -> tuple[ModelConfig, TrainConfig]:
    return PRESETS[DEFAULT_PRESET].configs(vocab_size)


GPT2 = {"position": "learned", "norm": "layernorm", "norm_eps": 1e-5, "qk_norm": False, "init": "gpt2"}
ADAMW = {"optimizer": "adamw", "learning_rate": 1e-3, "warmup": 0.1}
DEFAULT_PRESET = "fast"
PRESETS: dict[str, Preset] = {
    "fast": Preset("the default recipe: modern, and a table of token pairs", {"bigrams": True}, {}),
    "modern": Preset("Qwen3's shape, which Hugging Face's library can load", {}, {}),
    "gpt2": Preset("GPT-2's architecture at the default size", {**GPT2, "mlp": "gelu", "bias": True}, ADAMW),
    "nano": Preset(  # the peer of our benchmarks: small context and batch for small machines
        "nanoGPT's CPU recipe",
        {**GPT2, "mlp": "gelu_erf", "n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64},
        {**ADAMW, "steps": 2000, "batch_size": 12, "schedule": "cosine"},
    ),
}
