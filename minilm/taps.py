"""Activations by name: look at what flows through the decoder, or put something else in its place.

The names are those of TransformerLens 2 (Nanda and Bloom, 2022). Taps are torch's own hooks, set for the length of a
`with` block and then gone, so a model that nobody looks into pays nothing and has no line for it in its forward pass.
One seam is ours: scores and pattern exist only inside the formula, so a tapped layer writes the formula out, whatever
its backend. This file knows where things are, not what they mean; `minilm/interpret/` asks the questions.

Shapes: the residual stream is (B, T, C), q, k, v and z are (B, T, H, D), scores and pattern (B, H, T, S), the neurons
of an MLP (B, T, width), the scale by which a norm divides (B, T, 1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from minilm.attention import allowed_pairs, attention_scores, attention_weights, mix
from minilm.errors import ConfigError, did_you_mean
from minilm.model import GPT, CausalSelfAttention, GeluMLP, RMSNorm, SwigluMLP
from minilm.sampling import reading

See = Callable[
    [Tensor], "Tensor | None"
]  # gets the activation; what it returns, if anything, takes its place

# Inside the formula, in the order of their appearance. hook_q and hook_k come before the rotation, these after.
FORMULA = ("hook_rot_q", "hook_rot_k", "hook_v", "hook_attn_scores", "hook_pattern")
# name in a block -> (where in the block, which end of it)
PLACES: dict[str, tuple[str, str]] = {
    "hook_resid_pre": ("", "input"),
    "ln1.hook_scale": ("norm_1", "scale"),
    "attn.hook_q": ("attention.q_norm", "heads"),
    "attn.hook_k": ("attention.k_norm", "heads"),
    **{f"attn.{name}": ("attention", "formula") for name in FORMULA},
    "attn.hook_z": ("attention.proj", "joined heads"),
    "hook_attn_out": ("attention", "output"),
    "hook_resid_mid": ("norm_2", "read"),
    "ln2.hook_scale": ("norm_2", "scale"),
    "mlp.hook_pre": ("mlp", "before the activation"),
    "mlp.hook_pre_linear": ("mlp", "beside the gate"),
    "mlp.hook_post": ("mlp.down", "input"),
    "hook_mlp_out": ("mlp", "output"),
    "hook_resid_post": ("", "output"),
}


def names(model: GPT) -> list[str]:
    """Every name that can be tapped, in the order in which the activations appear.

    >>> from minilm.config import ModelConfig
    >>> model = GPT(ModelConfig(vocab_size=5, n_layer=2, n_head=1, n_embd=4, block_size=4))
    >>> names(model)[:2], names(model)[-1]
    (['hook_embed', 'blocks.0.hook_resid_pre'], 'ln_final.hook_normalized')
    """
    inner = [
        f"blocks.{layer}.{place}"
        for layer, block in enumerate(model.blocks)
        for place, (path, kind) in PLACES.items()
        if _is_there(block, path, kind)
    ]
    first = ["hook_embed"] if model.wpe is None else ["hook_embed", "hook_pos_embed"]
    last = ["ln_final.hook_scale"] if _is_there(model, "norm_f", "scale") else []
    return [*first, *inner, *last, "ln_final.hook_normalized"]


def _is_there(block: nn.Module, path: str, kind: str) -> bool:
    """Whether a block has that place: a module of the user's own may not."""
    try:
        module = block.get_submodule(path)
    except AttributeError:
        return False
    own = not isinstance(module, CausalSelfAttention) or not isinstance(module.attend, _Formula | None)
    needed: dict[str, bool] = {
        "formula": not own,
        "scale": isinstance(module, RMSNorm | nn.LayerNorm),
        "before the activation": isinstance(module, GeluMLP | SwigluMLP),
        "beside the gate": isinstance(module, SwigluMLP),
    }
    return needed.get(kind, True)


@contextmanager
def tapped(model: GPT, taps: Mapping[str, See]) -> Iterator[None]:
    """Inside the `with` block, each named activation passes through its function, at every forward pass.

    A function that returns None only looks; a tensor that it returns is used instead. A name may be a pattern,
    "blocks.*.hook_mlp_out". Unknown names are a ConfigError. Not for several threads on one model at once.

    hook_q and hook_k come after QK-norm and before the rotation, hook_v is what the pattern mixes.

    >>> from minilm.config import ModelConfig
    >>> model = GPT(ModelConfig(vocab_size=5, n_layer=1, n_head=1, n_embd=4, block_size=4))
    >>> with tapped(model, {"blocks.0.attn.hook_pattern": lambda x: print(tuple(x.shape))}):
    ...     _ = model(torch.tensor([[1, 2, 3]]))
    (1, 1, 3, 3)
    """
    placed = [(name, see) for pattern, see in taps.items() for name in matching(model, pattern)]
    with ExitStack() as undo:
        for name, see in placed:
            undo.callback(_attach(model, name, see))
        yield


def record(model: GPT, ids: Tensor, wanted: str | list[str] = "*") -> dict[str, Tensor]:
    """The activations of one forward pass on ids (B, T), by name; without dropout and without gradients.

    `wanted` is a name, a pattern or a list of either; the tensors are the model's own, not copies.

    >>> from minilm.config import ModelConfig
    >>> model = GPT(ModelConfig(vocab_size=5, n_layer=2, n_head=1, n_embd=4, block_size=4))
    >>> seen = record(model, torch.tensor([[1, 2, 3]]), "blocks.*.hook_resid_post")
    >>> list(seen), tuple(seen["blocks.1.hook_resid_post"].shape)
    (['blocks.0.hook_resid_post', 'blocks.1.hook_resid_post'], (1, 3, 4))
    """
    patterns = [wanted] if isinstance(wanted, str) else wanted
    chosen = {name for pattern in patterns for name in matching(model, pattern)}
    seen: dict[str, Tensor] = {}

    def keeper(name: str) -> See:
        return lambda x: seen.__setitem__(name, x)

    with reading(model), tapped(model, {name: keeper(name) for name in chosen}):
        model(ids)
    return {name: seen[name] for name in names(model) if name in seen}


def run_with_cache(
    model: GPT, ids: Tensor, wanted: str | list[str] = "*"
) -> tuple[Tensor, dict[str, Tensor]]:
    """The logits (B, T, V) on ids (B, T) and the activations by name, of one forward pass; else as `record`. Also a
    method of GPT.

    >>> from minilm import ModelConfig, GPT
    >>> model = GPT(ModelConfig(vocab_size=5, n_layer=2, n_head=1, n_embd=4, block_size=4))
    >>> logits, cache = model.run_with_cache(torch.tensor([[1, 2, 3]]))
    >>> tuple(logits.shape), tuple(cache["blocks.0.mlp.hook_post"].shape)
    ((1, 3, 5), (1, 3, 32))
    """
    answer: list[Tensor] = []
    hook = model.register_forward_hook(lambda module, inputs, output: answer.append(output.logits))
    try:
        seen = record(model, ids, wanted)
    finally:
        hook.remove()
    return answer[0], seen


setattr(GPT, "run_with_cache", run_with_cache)  # noqa: B010  # `minilm.GPT` loads this file, the model itself need not


def matching(model: GPT, pattern: str) -> list[str]:
    """The names that a pattern means; ConfigError with a suggestion where it means none."""
    known = names(model)
    found = [name for name in known if fnmatchcase(name, pattern)]
    place = re.fullmatch(r"blocks\.(\d+)\.(.+)", pattern)
    if not found and place and place[2] in PLACES and int(place[1]) < len(model.blocks):
        raise ConfigError(
            f"{pattern} is inside a module of minilm's, and this model has one of your own there; look at what goes in "
            "and comes out of it instead, with torch's register_forward_hook"
        )
    if not found:
        raise ConfigError(
            f"no activation of this model of {model.config.n_layer} blocks is called {pattern!r}, "
            f"{did_you_mean(pattern, known)}"
        )
    return found


def _attach(model: GPT, name: str, see: See) -> Callable[[], Any]:
    """Sets the hook behind a name and returns what takes it away."""
    if name == "hook_embed":
        return _on_output(model.wte, see)
    if name == "ln_final.hook_normalized":
        return _on_output(model.norm_f, see)
    if name == "ln_final.hook_scale":
        return _on_scale(model.norm_f, see, name)
    if name == "hook_pos_embed":
        return _on_positions(model, see)
    found = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    assert found, name
    path, kind = PLACES[found[2]]
    block = model.blocks[int(found[1])]
    module = block.get_submodule(path)
    if kind == "formula":
        assert isinstance(module, CausalSelfAttention)
        return _on_formula(module, found[2].removeprefix("attn."), see)
    if kind == "read":
        return _on_input(module, _reading_only(see, name, name.replace("hook_resid_mid", "hook_attn_out")))
    if kind == "scale":
        return _on_scale(module, see, name)
    if isinstance(module, SwigluMLP) and kind in ("before the activation", "beside the gate"):
        return _on_output(module.gate_up, _half(see, first=kind == "before the activation"))
    if kind == "before the activation":
        return _on_output(module.get_submodule("up"), see)
    H = model.config.n_head
    if kind == "heads":
        return _on_output(module, _moved(see))
    return {"input": _on_input, "output": _on_output, "joined heads": _on_input}[kind](
        module, _split(see, H) if kind == "joined heads" else see
    )


def _on_output(module: nn.Module, see: See) -> Callable[[], None]:
    return module.register_forward_hook(lambda module, inputs, output: see(output)).remove


def _on_input(module: nn.Module, see: See) -> Callable[[], None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        x = see(inputs[0])
        return None if x is None else (x, *inputs[1:])

    return module.register_forward_pre_hook(hook).remove


def _reading_only(see: See, name: str, other: str) -> See:
    """The stream between attention and MLP passes by the norm, where no hook can reach it; other numbers exist only
    inside a function."""

    def look(x: Tensor) -> None:
        if see(x) is not None:
            raise ConfigError(f"{name} can be looked at but not replaced, got a new value; replace {other}")

    return look


def _on_scale(norm: nn.Module, see: See, name: str) -> Callable[[], None]:
    """sqrt(mean(x^2) + eps) of what goes into a norm, after its mean is taken off where the norm does that."""

    def look(x: Tensor) -> None:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        centred = wide - wide.mean(-1, keepdim=True) if isinstance(norm, nn.LayerNorm) else wide
        eps: Any = norm.eps
        _reading_only(see, name, "what goes into the norm")(
            (centred.square().mean(-1, keepdim=True) + eps).sqrt()
        )

    return _on_input(norm, look)


def _on_positions(model: GPT, see: See) -> Callable[[], None]:
    """The rows of the table of positions, (B, T, C), which the model adds without a module."""

    def hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        ids, cache = (*inputs, *[None] * 4)[0], named.get("cache", (*inputs, *[None] * 4)[3])
        ids = named.get("ids", ids)
        start = cache.length if cache is not None else 0
        assert model.wpe is not None
        rows = model.wpe.weight[start : start + ids.size(1)]
        _reading_only(see, "hook_pos_embed", "hook_embed, to which it is added")(
            rows.expand(len(ids), -1, -1)
        )

    return model.register_forward_pre_hook(hook, with_kwargs=True).remove


def _half(see: See, first: bool) -> See:
    """For one of two activations that a module gives in one tensor, (..., 2 width)."""

    def half(x: Tensor) -> Tensor | None:
        parts = list(x.chunk(2, dim=-1))
        new = see(parts[not first])
        if new is None:
            return None
        parts[not first] = new
        return torch.cat(parts, dim=-1)

    return half


def _moved(see: See) -> See:
    """For a tensor that the layer holds as (B, H, T, D), and that is shown as (B, T, H, D)."""

    def moved(x: Tensor) -> Tensor | None:
        new = see(x.transpose(1, 2))
        return None if new is None else new.transpose(1, 2)

    return moved


def _split(see: See, H: int) -> See:
    """For heads that the layer has joined, (B, T, C), and that are shown as (B, T, H, D)."""

    def split(x: Tensor) -> Tensor | None:
        new = see(x.unflatten(-1, (H, -1)))
        return None if new is None else new.flatten(-2)

    return split


class _Formula:
    """Attention written out, with an ear at every term: what a tapped layer calls instead of its backend."""

    def __init__(self) -> None:
        self.taps: list[tuple[str, See]] = []

    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None = None,
        *,
        is_causal: bool,
    ) -> Tensor:
        q, k, v = (self.pass_by(n, x, _moved) for n, x in zip(FORMULA[:3], (q, k, v), strict=True))
        allowed = allowed_pairs(q, k, mask, is_causal)  # a decoder's query sees at least itself
        scores = attention_scores(q, k)  # (B, H, T, S)
        scores = scores if allowed is None else scores.masked_fill(~allowed, -torch.inf)
        scores = self.pass_by("hook_attn_scores", scores)
        weights = self.pass_by("hook_pattern", attention_weights(scores))  # (B, H, T, S)
        return mix(weights, v)  # (B, H, T, D)

    def pass_by(self, name: str, x: Tensor, view: Callable[[See], See] = lambda see: see) -> Tensor:
        for tapped_name, see in self.taps:
            if tapped_name == name:
                new = view(see)(x)
                x = x if new is None else new
        return x


def _on_formula(layer: CausalSelfAttention, name: str, see: See) -> Callable[[], None]:
    if not isinstance(layer.attend, _Formula):
        layer.attend = _Formula()
    formula, entry = layer.attend, (name, see)
    formula.taps.append(entry)

    def remove() -> None:
        formula.taps.remove(entry)
        if not formula.taps:
            layer.attend = None

    return remove
