"""Defines GPT, a stack of attention and MLP blocks that predicts the next token; smallest parts first.

It knows nothing of texts, optimizers or training. Any `nn.Module` may stand in for a norm, an MLP, an attention layer
or a block: training, loss and generation use whatever is there.
Axes: B batch, T tokens, S keys, C channels, H heads, D head size, V vocabulary.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilm.attention import BACKENDS, choose_backend
from minilm.config import ModelConfig
from minilm.errors import ConfigError
from minilm.sampling import generate
from minilm.training import checkpoint, hardware

IGNORED = -100  # a label that is not scored, torch's and Hugging Face's convention
Rotary = tuple[Tensor, Tensor]  # cosines and sines of T positions, (T, D/2) each


class RMSNorm(nn.Module):
    """x / rms(x) * gain over the last axis (Zhang and Sennrich, 2019): LayerNorm without mean and shift."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps, self.weight = eps, nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # half precision would round the sum
        inverse = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)  # (..., 1)
        return (wide * inverse * self.weight).to(x.dtype)


def make_norm(config: ModelConfig) -> nn.Module:
    """The norm that the configuration names; LayerNorm has a shift only where the model has biases."""
    C, eps = config.n_embd, config.norm_eps
    return RMSNorm(C, eps) if config.norm == "rmsnorm" else nn.LayerNorm(C, eps, bias=config.bias)


class GeluMLP(nn.Module):
    """down(gelu(up(x))), (B, T, C) -> (B, T, C), with GPT-2's tanh form of GELU or, as in nanoGPT, the exact one."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.n_embd, config.mlp_width, bias=config.bias)
        self.down = nn.Linear(config.mlp_width, config.n_embd, bias=config.bias)
        self.form = "none" if config.mlp == "gelu_erf" else "tanh"

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate=self.form))


class SwigluMLP(nn.Module):
    """down(silu(gate(x)) * up(x)), (B, T, C) -> (B, T, C) (Shazeer, 2020, arXiv:2002.05202, eq. 6)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.n_embd, 2 * config.mlp_width, bias=config.bias)  # both in one
        self.down = nn.Linear(config.mlp_width, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)  # each (B, T, width)
        return self.down(F.silu(gate) * up)


MLPS: dict[str, type[nn.Module]] = {"swiglu": SwigluMLP, "gelu": GeluMLP, "gelu_erf": GeluMLP}


def pair_vectors(pairs: Tensor, table: Tensor, keys: Any) -> Tensor:
    """Rows of `table` for pairs (B, T), each previous * V + token: (B, T, C). Of those in `keys`, else zeros."""
    if keys is None:
        return F.embedding(pairs, table)
    places = torch.searchsorted(keys, pairs).clamp(max=len(keys) - 1)  # (B, T)
    return F.embedding(places, table) * (keys[places] == pairs)[..., None]


class BigramTable(nn.Module):
    """One row per pair (previous token, token), (B, T) -> (B, T, C): what counting pairs knows, without a layer. Where
    there are too many pairs, those in `keys`, ascending, have rows (`session.give_rows`). A first token gets zeros."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.vocab_size, rows = config.vocab_size, config.bigram_rows
        self.table = nn.Embedding(rows, config.n_embd)
        self.register_buffer("keys", torch.arange(rows) if rows < config.vocab_size**2 else None)

    def forward(self, ids: Tensor, before: Tensor | None = None) -> Tensor:
        """`before` (B,) are the tokens in front of ids (B, T), where there are any."""
        known = ids if before is None else torch.cat((before[:, None], ids), dim=1)
        pairs = pair_vectors(known[:, :-1] * self.vocab_size + known[:, 1:], self.table.weight, self.keys)
        return F.pad(pairs, (0, 0, 1, 0)) if before is None else pairs  # (B, T, C)


def rotary_tables(block_size: int, head_size: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of position * base^(-2i/D), each (block_size, D/2) (Su et al., 2021, eq. 15): pair i turns once
    in 2 pi base^(2i/D) positions, so fast pairs tell near places apart, slow ones far."""
    frequencies = base ** -(torch.arange(0, head_size, 2, dtype=torch.float32) / head_size)  # (D/2,)
    angles = torch.outer(torch.arange(block_size, dtype=torch.float32), frequencies)  # (block_size, D/2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns each channel pair (i, i + D/2) by its angle, (..., T, D) -> (..., T, D), so that a product of two turned
    vectors depends on their distance only. (The paper pairs 2i and 2i + 1; Llama and Qwen pair the halves, as here.)"""
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    left, right = x.chunk(2, dim=-1)  # (..., T, D/2)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)


class KVCache:
    """Keys and values of the tokens already read, so that a new token costs one position instead of all; there is room
    for `block_size` tokens of B texts. The layers extend it one after the other, then the model adds the ids."""

    def __init__(self, config: ModelConfig, batch_size: int, like: Tensor | None = None) -> None:
        like = torch.empty(0) if like is None else like  # whose device and number format the cache takes
        shape = (config.n_layer, 2, batch_size, config.n_head, config.block_size, config.head_size)
        self.kept = like.new_zeros(shape)  # (layers, 2, B, H, block_size, D), 2 for keys and values
        self.ids = like.new_zeros((batch_size, 0), dtype=torch.int64)  # (B, S) the tokens read

    @property
    def length(self) -> int:
        return self.ids.size(1)

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Adds the (B, H, T, D) keys and values of new tokens to a layer's and returns all so far, (B, H, S, D)."""
        room, B, S = self.kept.size(4), self.kept.size(2), self.length + k.size(2)
        if room < S or k.size(0) != B:
            raise ConfigError(f"the cache holds {room} tokens of {B} texts, got {S} of {k.size(0)}; cut it")
        kept = self.kept[layer, :, :, :, :S]  # (2, B, H, S, D)
        kept[0, :, :, self.length :], kept[1, :, :, self.length :] = k, v
        return kept[0], kept[1]


class CausalSelfAttention(nn.Module):
    """Every position asks the positions up to its own, with H questions at once: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: ModelConfig, layer: int = 0) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        C, H, D = config.n_embd, config.n_head, config.head_size
        self.qkv = nn.Linear(C, 3 * H * D, bias=config.bias)
        self.proj = nn.Linear(H * D, C, bias=config.bias)
        self.q_norm = RMSNorm(D, config.norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(D, config.norm_eps) if config.qk_norm else nn.Identity()
        self.attend: Callable[..., Any] | None = None  # a function here runs instead of the backend

    def forward(self, x: Tensor, rotary: Rotary | None = None, cache: KVCache | None = None) -> Tensor:
        B, T, _ = x.shape
        H, D = self.config.n_head, self.config.head_size
        qkv = self.qkv(x).view(B, T, 3, H, D).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.contiguous()  # each (B, H, T, D); one copy here saves many slow strided passes
        q, k = self.q_norm(q), self.k_norm(k)
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)  # (B, H, S, D)
        attend = self.attend or BACKENDS[choose_backend(self.config.attention, x.device.type)]
        output = attend(q, k, v, is_causal=True)  # (B, H, T, D)
        output = self.proj(output.transpose(1, 2).reshape(B, T, H * D))
        # Only what a layer adds to the stream is dropped, never attention weights: that would cost a random number
        # per pair of moments and drive attention off its quick paths.
        return F.dropout(output, self.config.dropout, self.training)


class Block(nn.Module):
    """Attention gathers from other positions, the MLP works on each; both add to the residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.norm_1 = make_norm(config)
        self.attention = CausalSelfAttention(config, layer)
        self.norm_2 = make_norm(config)
        self.mlp = MLPS[config.mlp](config)

    def forward(self, x: Tensor, rotary: Rotary | None = None, cache: KVCache | None = None) -> Tensor:
        x = x + in_context(self.attention, self.norm_1(x), rotary, cache)  # (B, T, C)
        return x + F.dropout(self.mlp(self.norm_2(x)), self.dropout, self.training)


def in_context(module: nn.Module, x: Tensor, rotary: Any, cache: KVCache | None) -> Tensor:
    """module(x), with the positions and the cache where its `forward` has parameters of these names."""
    code = getattr(getattr(module.forward, "__func__", module.forward), "__code__", None)
    takes_all = code is not None and code.co_flags & inspect.CO_VARKEYWORDS
    names = code.co_varnames[: code.co_argcount] if code is not None else ()
    context = {"rotary": rotary, "cache": cache}
    return module(x, **{name: value for name, value in context.items() if takes_all or name in names})


class Output(NamedTuple):
    loss: Tensor | None  # mean nats per scored token, None without labels and targets
    logits: Tensor  # (B, T, V)


class GPT(checkpoint.Pretrained, nn.Module):
    """A decoder-only transformer (Radford et al., 2019, and after). torch's global generator draws the weights.

    >>> model = GPT(ModelConfig(vocab_size=65, n_layer=2, n_head=2, n_embd=16, block_size=8))
    >>> ids = torch.randint(65, (3, 8))
    >>> tuple(model(ids, labels=ids).logits.shape)
    (3, 8, 65)
    """

    cos: Tensor
    sin: Tensor
    generate = generate  # model.generate(ids, max_new_tokens, temperature=0.8, ...), see `minilm.sampling`

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        if not isinstance(config, ModelConfig):
            raise ConfigError(f"GPT needs a ModelConfig, got {config!r}; try GPT(ModelConfig(vocab_size=65))")
        hardware.check_weights(config)
        self.config = config
        V, C = config.vocab_size, config.n_embd
        self.wte = nn.Embedding(V, C)
        self.wpe = nn.Embedding(config.block_size, C) if config.position == "learned" else None
        self.bigrams = BigramTable(config) if config.bigrams else None
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.norm_f = make_norm(config)
        self.lm_head = None if config.tie_embeddings else nn.Linear(C, V, bias=False)
        if config.position == "rope":
            cos, sin = rotary_tables(config.block_size, config.head_size, config.rope_base)
            self.register_buffer("cos", cos, persistent=False)  # computed, so never stored with the weights
            self.register_buffer("sin", sin, persistent=False)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """normal(0, 0.02), biases 0. What adds to the residual stream starts at zero, so that a block first does
        nothing, or as in GPT-2 at 1 / sqrt(2 n_layer) of it, so that the sum of all does not grow with their number."""
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
        """Logits (B, T, V) for ids (B, T), and the mean loss in nats where there are `labels`, ids to be shifted here,
        or `targets`, aligned already; -100 is ignored in both. With a cache, ids are what follows its tokens."""
        V, T, start = self.config.vocab_size, self.config.block_size, cache.length if cache is not None else 0
        if ids.dim() != 2 or ids.is_floating_point() or not 1 <= ids.size(1) <= T - start:
            raise ConfigError(
                f"ids must be (B, T) whole numbers, 1 to {T - start} tokens (block_size {T}, {start} in the cache), "
                f"got shape {tuple(ids.shape)} of {ids.dtype}; crop them, or make a batch of one text by ids[None]"
            )
        end = start + ids.size(1)
        try:
            x = self.wte(ids)  # (B, T, C)
        except IndexError:
            got = f"got {ids[(ids < 0) | (ids >= V)][0]}; use the model's own tokenizer"
            raise ConfigError(f"ids must be between 0 and {V - 1}, {got}") from None
        if self.wpe is not None:
            x = x + self.wpe.weight[start:end]
        if self.bigrams is not None:
            x = x + self.bigrams(ids, cache.ids[:, -1] if cache is not None and start else None)
        x = F.dropout(x, self.config.dropout, self.training)
        rotary = (self.cos[start:end], self.sin[start:end]) if self.wpe is None else None  # (T, D/2) each
        for block in self.blocks:
            x = in_context(block, x, rotary, cache)  # (B, T, C)
        if cache is not None:
            cache.ids = torch.cat((cache.ids, ids), dim=1)
        logits = F.linear(self.norm_f(x), self.wte.weight if self.lm_head is None else self.lm_head.weight)
        targets = aligned_targets(ids, labels, targets)  # (B, T)
        if targets is None:
            return Output(None, logits)  # (B, T, V)
        flat = logits.flatten(0, 1).float()  # (B T, V)
        return Output(F.cross_entropy(flat, targets.flatten(), ignore_index=IGNORED), logits)

    def new_cache(self, batch_size: int) -> KVCache:  # to be given to each call in turn
        return KVCache(self.config, batch_size, self.wte.weight)


def aligned_targets(ids: Tensor, labels: Tensor | None, targets: Tensor | None) -> Tensor | None:
    """What each position should predict, (B, T), the last one nothing where labels were shifted."""
    if labels is not None and targets is not None:
        raise ConfigError("give labels (shifted here) or targets (already aligned), not both; leave one out")
    name, given = ("targets", targets) if labels is None else ("labels", labels)
    if given is not None and given.shape != ids.shape:
        got = f"got {tuple(given.shape)}; cut them alike"
        raise ConfigError(f"{name} must have the shape of ids, {tuple(ids.shape)}, {got}")
    if labels is None:
        return given if given is None else given.long()
    if labels.size(1) < 2:
        raise ConfigError("labels must have at least 2 tokens, one to predict, got 1; give more")
    return F.pad(labels[:, 1:], (0, 1), value=IGNORED).long()  # cheaper than cutting the larger logits
