"""GPT: a stack of attention and MLP blocks that predicts the next token.

The whole decoder in one place, from token ids to logits and loss. It knows nothing of texts, optimizers or
training; every choice it has stands in `ModelConfig`.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilm import files
from minilm.attention import CausalSelfAttention
from minilm.config import ModelConfig
from minilm.decoding import Decoder, Reader
from minilm.errors import ConfigError, RunError
from minilm.interop import huggingface
from minilm.kv_cache import KVCache
from minilm.layers import MLPS, BigramTable, make_norm, rotary_tables
from minilm.sampling import Generates
from minilm.solo import SoloDecoder

WEIGHTS = "model.safetensors"
IGNORED = -100  # a label that is not scored, torch's and Hugging Face's convention


class Output(NamedTuple):
    """loss: mean nats per scored token, or None without labels and targets; logits: (B, T, V)."""

    loss: Tensor | None
    logits: Tensor


class Block(nn.Module):
    """Attention gathers from other positions, the MLP works on each; both add to the residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.norm_1 = make_norm(config)
        self.attention = CausalSelfAttention(config, layer)
        self.norm_2 = make_norm(config)
        self.mlp = MLPS[config.mlp](config)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None, cache: KVCache | None) -> Tensor:
        x = x + self.attention(self.norm_1(x), rotary, cache)  # (B, T, C)
        return x + F.dropout(self.mlp(self.norm_2(x)), self.dropout, self.training)


class GPT(Generates, nn.Module):
    """A decoder-only transformer (Radford et al., 2019, and what came after, as the configuration says).

    The weights are drawn from torch's global generator: seed it before building.

    >>> model = GPT(ModelConfig(vocab_size=65, n_layer=2, n_head=2, n_embd=16, block_size=8))
    >>> ids = torch.randint(65, (3, 8))
    >>> loss, logits = model(ids, labels=ids)[:2]
    >>> tuple(logits.shape)
    (3, 8, 65)
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        check_memory(config)
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd) if config.position == "learned" else None
        self.bigrams = BigramTable(config) if config.bigrams else None
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.norm_f = make_norm(config)
        self.lm_head = (
            None if config.tie_embeddings else nn.Linear(config.n_embd, config.vocab_size, bias=False)
        )
        if config.position == "rope":
            cos, sin = rotary_tables(config.block_size, config.head_size, config.rope_base)
            self.register_buffer("cos", cos, persistent=False)  # computed, so never stored with the weights
            self.register_buffer("sin", sin, persistent=False)
        self.initialise()

    cos: Tensor
    sin: Tensor

    @torch.no_grad()
    def initialise(self) -> None:
        """normal(0, 0.02), biases 0. What adds to the residual stream starts at zero, so that every block first
        does nothing and learns to help; or as in GPT-2 scaled by the depth, 1 / sqrt(2 n_layer), so that the sum
        of all layers does not grow with their number."""
        for name, parameter in self.named_parameters():
            if name.endswith(("bias", "bigrams.table.weight")):  # a pair seen for the first time adds nothing
                parameter.zero_()
            elif parameter.dim() == 2:
                adds_to_residual = name.endswith(("proj.weight", "down.weight"))
                start = {"zero": 0.0, "gpt2": 1 / math.sqrt(2 * self.config.n_layer)}[self.config.init]
                parameter.normal_(0.0, 0.02 * (start if adds_to_residual else 1.0))

    @property
    def n_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(
        self,
        ids: Tensor,
        labels: Tensor | None = None,
        targets: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Output:
        """Logits (B, T, V) for ids (B, T), and the mean loss in nats if there is something to compare with.

        `labels` are ids to be shifted here: position t is scored on label t + 1. `targets` are aligned
        already. -100 is ignored in both. With a cache, ids are the positions that follow what it holds.
        """
        start = cache.length if cache is not None else 0
        self.check_ids(ids, start)
        x = self.blocks_output(ids, start, cache)  # (B, T, C)
        logits = self.head(x)  # (B, T, V)
        targets = aligned_targets(ids, labels, targets)
        if targets is None:
            return Output(None, logits)
        return Output(
            F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED), logits
        )

    def head(self, x: Tensor) -> Tensor:
        """(B, T, C) -> logits (B, T, V)."""
        return F.linear(x, self.wte.weight if self.lm_head is None else self.lm_head.weight)

    def blocks_output(self, ids: Tensor, start: int, cache: KVCache | None) -> Tensor:
        """The normed residual stream after the last block, (B, T) -> (B, T, C)."""
        end = start + ids.size(1)
        x = self.wte(ids)  # (B, T, C)
        if self.wpe is not None:
            x = x + self.wpe.weight[start:end]
        if self.bigrams is not None:
            x = x + self.bigrams(ids, None if cache is None else cache.last)
        x = F.dropout(x, self.config.dropout, self.training)
        rotary = (self.cos[start:end], self.sin[start:end]) if self.wpe is None else None  # (T, D/2) each
        for block in self.blocks:
            x = block(x, rotary, cache)
        if cache is not None:
            cache.advance(ids)
        return self.norm_f(x)

    def check_ids(self, ids: Tensor, start: int) -> None:
        if ids.dim() != 2 or ids.dtype not in (torch.int64, torch.int32):
            raise ConfigError(
                f"ids must be (B, T) whole numbers, got shape {tuple(ids.shape)} of {ids.dtype}"
            )
        if not 1 <= ids.size(1) <= self.config.block_size - start:
            raise ConfigError(
                f"ids must have 1 to {self.config.block_size - start} tokens (block_size "
                f"{self.config.block_size}, {start} in the cache), got {ids.size(1)}; crop them"
            )

    def reader(self, batch_size: int) -> Reader:
        """The fastest way for these weights to read `batch_size` texts token by token."""
        weights = dict(self.named_parameters())
        plain = all(w.device.type == "cpu" and w.dtype == torch.float32 for w in weights.values())
        if batch_size == 1 and plain:
            return SoloDecoder(self.config, weights)
        return Decoder(self.config, weights, batch_size)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> GPT:
        """The model in a folder of ours, or in a Hugging Face folder of GPT-2 or Qwen3, in eval mode."""
        folder = Path(folder)
        settings = files.read_json(folder / "config.json")
        tensors = read_weights(folder)
        if isinstance(settings, dict) and isinstance(settings.get("model"), dict):
            config = ModelConfig.from_dict(settings["model"])
        else:
            config, tensors = huggingface.from_huggingface(settings, tensors)
        with torch.random.fork_rng(devices=[]):  # the start values are overwritten, no draw should be spent
            model = cls(config)
        expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        huggingface.check_tensors(tensors, expected, str(folder))
        model.load_state_dict(tensors)
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes config.json and model.safetensors into `folder`, which is made if it is missing."""
        folder = files.make_folder(folder)
        files.write_tensors(folder / WEIGHTS, self.state_dict(), {})
        files.write_json(folder / "config.json", {"format": "minilm", "model": self.config.to_dict()})


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of model.safetensors; pickled weights are refused, since loading them can run any code."""
    if not (folder / WEIGHTS).exists():
        if (folder / "pytorch_model.bin").exists():
            raise RunError(
                f"{folder / 'pytorch_model.bin'}: pickle refused, it can run any code; convert it "
                f"to {WEIGHTS} where it came from"
            )
        if (folder / f"{WEIGHTS}.index.json").exists():
            raise RunError(f"{folder} holds weights in several parts, and one {WEIGHTS} is needed; join them")
    return files.read_tensors(folder / WEIGHTS)[0]


def aligned_targets(ids: Tensor, labels: Tensor | None, targets: Tensor | None) -> Tensor | None:
    """What each position should predict, (B, T), the last one nothing where labels were shifted."""
    if labels is not None and targets is not None:
        raise ConfigError("give labels (shifted here) or targets (already aligned), not both")
    given = targets if labels is None else labels
    if given is None:
        return None
    if given.shape != ids.shape:
        name = "targets" if labels is None else "labels"
        raise ConfigError(f"{name} must have the shape of ids, {tuple(ids.shape)}, got {tuple(given.shape)}")
    if labels is None:
        return given.long()
    if labels.size(1) < 2:
        raise ConfigError(
            "labels must have at least 2 tokens, since each is predicted from the one before, got 1"
        )
    return F.pad(labels[:, 1:], (0, 1), value=IGNORED).long()  # cheaper than cutting the larger logits


def check_memory(config: ModelConfig) -> None:
    """Refuses, before anything is allocated, weights that this machine cannot hold."""
    tables = config.block_size * config.head_size if config.position == "rope" else 0
    needed, there = 4 * (config.n_parameters + tables), physical_memory()
    if there is not None and needed > there:
        raise ConfigError(
            f"a model must fit into memory: {config.n_parameters:,} parameters need {needed:,} bytes and "
            f"this machine has {there:,}; lower n_embd, n_layer, vocab_size or block_size"
        )


def physical_memory() -> int | None:
    """Bytes of memory in this machine, or None where the system does not say (Windows)."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
