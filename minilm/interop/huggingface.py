"""Translates Hugging Face's GPT-2, Qwen3 and Llama, configuration and tensors, into ours and back by tables of names.

Pure functions from dict to dict; whatever does not fit exactly is refused, all of it at once. This file reads
no folders, builds no models and never imports transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from minilm.config import ModelConfig
from minilm.errors import ConfigError, RunError, did_you_mean

Shape = tuple[int, ...]
Settings = dict[str, Any]
MOST_SHARED = (
    4  # parameters for a number of the weights: heads may share keys and values, an output its embedding
)
MOST_TOLD = 6  # faults of weights


@dataclass(frozen=True)
class Entry:
    """One tensor of ours and what it is there: one name, or several whose rows are stacked."""

    ours: str
    shape: Shape
    theirs: tuple[str, ...]
    transposed: bool = False  # GPT-2 stores its linear maps as [in, out]


@dataclass(frozen=True)
class Family:
    """One architecture of Hugging Face, as far as ours can express it."""

    required: dict[
        str, tuple
    ]  # what our configuration may say to be one of them; the first is what theirs mean
    defaults: Settings  # theirs, for what a config.json leaves out
    accepted: Callable[
        [Settings], dict[str, tuple]
    ]  # settings of theirs that ours can express with these values only
    read: Callable[[Settings], Settings]
    write: Callable[[ModelConfig], Settings]
    table: Callable[[ModelConfig], list[Entry]]
    prefix: str  # before every name except the head's; absent where only the trunk was saved
    leftovers: tuple[str, ...]  # ends of names that hold constants, not weights


def from_huggingface(settings: Any, tensors: Mapping[str, Tensor]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Our configuration and tensors for a config.json and weights of theirs; RunError if they do not fit."""
    family = FAMILIES[_family_name(settings)]
    config = read_config(settings)
    check_count(config, tensors, "the checkpoint")
    table = family.table(config)
    found = _trunk_names(family, tensors, config.tie_embeddings)
    groups = settings.get("num_key_value_heads") or family.defaults.get("num_key_value_heads")
    found = spread_groups(found, config, groups or config.n_head)
    check_tensors(found, dict(pair for entry in table for pair in _their_shapes(entry)), "the checkpoint")
    return config, {entry.ours: _join(entry, found) for entry in table}


def to_huggingface(
    config: ModelConfig, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Their config.json and tensors of the model that computes the same; ConfigError if none does."""
    faults = {name: _misfits(config, family) for name, family in FAMILIES.items()}
    name = min(faults, key=lambda name: len(faults[name]))
    if faults[name]:
        raise ConfigError(
            f"no architecture of Hugging Face's library holds this model: the nearest, {name}, "
            f"{' and '.join(faults[name])}; train with preset='modern' or preset='gpt2', or tune with --for huggingface"
        )
    table = FAMILIES[name].table(config)
    if not config.bias:  # a GPT-2 without biases is one whose biases are zero
        zeros = {entry.ours: torch.zeros(entry.shape) for entry in table if entry.ours.endswith(".bias")}
        tensors = {**tensors, **zeros}
    check_tensors(tensors, {entry.ours: entry.shape for entry in table}, "the model")
    converted = {theirs: part for entry in table for theirs, part in _split(entry, tensors[entry.ours])}
    return FAMILIES[name].write(config), converted


def spread_groups(tensors: Mapping[str, Tensor], config: ModelConfig, groups: int) -> dict[str, Tensor]:
    """Keys and values of `groups` heads, each written out for every query head that shares it: the same numbers, and
    what a decoder without grouped queries computes from them is the same too."""
    D, each = config.head_size, config.n_head // groups
    spread = dict(tensors)
    for name, weight in tensors.items():  # (groups D, C) -> (H D, C)
        if each > 1 and name.endswith(("k_proj.weight", "v_proj.weight")) and weight.size(0) == groups * D:
            spread[name] = weight.unflatten(0, (groups, D)).repeat_interleave(each, dim=0).flatten(0, 1)
    return spread


def read_config(settings: Settings) -> ModelConfig:
    """Our configuration for a Hugging Face config.json; a setting that we cannot express is a RunError."""
    name = _family_name(settings)
    family = FAMILIES[name]
    values = {**family.defaults, **{key: value for key, value in settings.items() if value is not None}}
    try:
        fields, accepted = family.read(values), family.accepted(values)
    except KeyError as error:
        raise RunError(
            f"config.json of a {name} model must say {error.args[0]}, got nothing; restore it from a copy"
        ) from error
    except (TypeError, AttributeError, ArithmeticError) as error:
        raise RunError(
            f"config.json of a {name} model must hold numbers as Hugging Face's library writes them, got others "
            f"({error}); restore it from a copy"
        ) from error
    faults = [
        f"{key} must be {' or '.join(map(repr, good)) or 'absent'}, got {values[key]!r}"
        for key, good in accepted.items()
        if key in values and values[key] not in good
    ]
    if faults:
        raise RunError(f"minilm cannot express this {name} model: {', '.join(faults)}; choose another model")
    meant = {key: good[0] for key, good in family.required.items()}
    return ModelConfig.from_dict({**meant, **fields})


def check_count(config: ModelConfig, tensors: Mapping[str, Tensor], where: str) -> None:
    """RunError where a configuration means a far larger model than its weights are, before anything of its size is
    made: it may come from anywhere."""
    held = sum(tensor.numel() for tensor in tensors.values())
    if config.n_parameters > MOST_SHARED * held:
        raise RunError(
            f"the weights of {where} do not fit its configuration: it means {config.n_parameters:,} parameters, got "
            f"{held:,} numbers; take another copy"
        )


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Shape], where: str) -> None:
    """Every expected name with its shape and no other, or one RunError that says what is wrong."""
    faults = [f"missing {name}" for name in expected if name not in found]
    faults += [f"unknown {name}" for name in found if name not in expected]
    faults += [
        f"{name} must have shape {shape}, got {tuple(found[name].shape)}"
        for name, shape in expected.items()
        if name in found and tuple(found[name].shape) != shape
    ]
    if faults:
        raise RunError(
            f"the weights of {where} do not fit its configuration: {', '.join(faults[:MOST_TOLD])}"
            f"{' and more' * (len(faults) > MOST_TOLD)}; take another copy"
        )


def _family_name(settings: Any) -> str:
    kind = settings.get("model_type") if isinstance(settings, dict) else None
    if kind not in FAMILIES:
        raise RunError(
            f"config.json must describe a minilm, gpt2, qwen3 or llama model, got model_type {kind!r}; "
            + did_you_mean(str(kind), FAMILIES)
        )
    return str(kind)


def _misfits(config: ModelConfig, family: Family) -> list[str]:
    """What of a configuration the family lacks, each as the end of a sentence."""
    misfits = {key: good for key, good in family.required.items() if getattr(config, key) not in good}
    lacks = ["has no table of token pairs (bigrams=True)"] if misfits.pop("bigrams", None) else []
    return lacks + [f"needs {key}={good[0]!r}" for key, good in misfits.items()]


def _trunk_names(family: Family, tensors: Mapping[str, Tensor], tied: bool) -> dict[str, Tensor]:
    """Their tensors under full names, without constants and without the copy of a tied head."""
    names = {name: tensor for name, tensor in tensors.items() if not name.endswith(family.leftovers)}
    if not any(name.startswith(family.prefix) for name in names):
        names = {name if name == HEAD else family.prefix + name: t for name, t in names.items()}
    if tied:
        names.pop(HEAD, None)
    return names


def _their_shapes(entry: Entry) -> list[tuple[str, Shape]]:
    rows, *rest = entry.shape
    shape = (rows // len(entry.theirs), *rest)
    return [(name, shape[::-1] if entry.transposed else shape) for name in entry.theirs]


def _join(entry: Entry, found: Mapping[str, Tensor]) -> Tensor:
    parts = [found[name].t() if entry.transposed else found[name] for name in entry.theirs]
    return torch.cat(parts).contiguous()


def _split(entry: Entry, tensor: Tensor) -> list[tuple[str, Tensor]]:
    parts = tensor.detach().chunk(len(entry.theirs))
    turned = [(part.t() if entry.transposed else part).contiguous() for part in parts]
    return list(zip(entry.theirs, turned, strict=True))


HEAD = "lm_head.weight"


def _head(config: ModelConfig) -> list[Entry]:
    return [] if config.tie_embeddings else [Entry(HEAD, (config.vocab_size, config.n_embd), (HEAD,))]


def _pair(ours: str, theirs: str, shape: Shape, transposed: bool = False) -> list[Entry]:
    """A weight and its bias."""
    return [
        Entry(f"{ours}.weight", shape, (f"{theirs}.weight",), transposed),
        Entry(f"{ours}.bias", shape[:1], (f"{theirs}.bias",)),
    ]


def _gpt2_table(config: ModelConfig) -> list[Entry]:
    C, width = config.n_embd, config.mlp_width
    entries = [
        Entry("wte.weight", (config.vocab_size, C), ("transformer.wte.weight",)),
        Entry("wpe.weight", (config.block_size, C), ("transformer.wpe.weight",)),
    ]
    for layer in range(config.n_layer):
        ours, theirs = f"blocks.{layer}", f"transformer.h.{layer}"
        entries += _pair(f"{ours}.norm_1", f"{theirs}.ln_1", (C,))
        entries += _pair(f"{ours}.attention.qkv", f"{theirs}.attn.c_attn", (3 * C, C), True)
        entries += _pair(f"{ours}.attention.proj", f"{theirs}.attn.c_proj", (C, C), True)
        entries += _pair(f"{ours}.norm_2", f"{theirs}.ln_2", (C,))
        entries += _pair(f"{ours}.mlp.up", f"{theirs}.mlp.c_fc", (width, C), True)
        entries += _pair(f"{ours}.mlp.down", f"{theirs}.mlp.c_proj", (C, width), True)
    return entries + _pair("norm_f", "transformer.ln_f", (C,)) + _head(config)


def _llama_table(config: ModelConfig) -> list[Entry]:
    """Qwen3 is Llama with norms on queries and keys."""
    C, D, width = config.n_embd, config.head_size, config.mlp_width
    A = config.n_head * D
    entries = [Entry("wte.weight", (config.vocab_size, C), ("model.embed_tokens.weight",))]
    for layer in range(config.n_layer):
        rows: list[tuple[str, Shape, tuple[str, ...]]] = [
            ("norm_1", (C,), ("input_layernorm",)),
            ("attention.qkv", (3 * A, C), ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
            *([("attention.q_norm", (D,), ("self_attn.q_norm",))] if config.qk_norm else []),
            *([("attention.k_norm", (D,), ("self_attn.k_norm",))] if config.qk_norm else []),
            ("attention.proj", (C, A), ("self_attn.o_proj",)),
            ("norm_2", (C,), ("post_attention_layernorm",)),
            ("mlp.gate_up", (2 * width, C), ("mlp.gate_proj", "mlp.up_proj")),
            ("mlp.down", (C, width), ("mlp.down_proj",)),
        ]
        for ours, shape, parts in rows:
            theirs = tuple(f"model.layers.{layer}.{part}.weight" for part in parts)
            entries.append(Entry(f"blocks.{layer}.{ours}.weight", shape, theirs))
    return [*entries, Entry("norm_f.weight", (C,), ("model.norm.weight",)), *_head(config)]


def _read_gpt2(values: Settings) -> Settings:
    return {
        "vocab_size": values["vocab_size"],
        "block_size": values["n_positions"],
        "n_layer": values["n_layer"],
        "n_head": values["n_head"],
        "n_embd": values["n_embd"],
        "mlp": "gelu_erf" if values["activation_function"] == "gelu" else "gelu",
        "mlp_hidden": values.get("n_inner"),
        "norm_eps": values["layer_norm_epsilon"],
        "init": "gpt2",  # of no effect on trained weights; what a training from scratch would take
        "dropout": values["resid_pdrop"],  # theirs has three; a fresh GPT-2 gives all the same
        "tie_embeddings": values["tie_word_embeddings"],
    }


def _write_gpt2(config: ModelConfig) -> Settings:
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": config.vocab_size,
        "n_positions": config.block_size,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_embd": config.n_embd,
        "n_inner": config.mlp_width,
        "activation_function": "gelu" if config.mlp == "gelu_erf" else "gelu_new",
        "layer_norm_epsilon": config.norm_eps,
        "embd_pdrop": config.dropout,
        "attn_pdrop": 0.0,  # ours drops no attention weights
        "resid_pdrop": config.dropout,
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": None,  # the defaults, 50256, would lie outside a small vocabulary
        "eos_token_id": None,
    }


def _read_llama(values: Settings) -> Settings:
    plain = values["hidden_size"] / values["num_attention_heads"]  # what an absent head_dim means to us
    rope = values.get("rope_parameters", {})  # where transformers 5 keeps rope_theta
    if rope.get("rope_type", "default") != "default":
        raise RunError(
            f"minilm has plain rope only, got rope_type {rope['rope_type']!r}; choose another model"
        )
    return {
        "vocab_size": values["vocab_size"],
        "block_size": values["max_position_embeddings"],
        "n_layer": values["num_hidden_layers"],
        "n_head": values["num_attention_heads"],
        "n_embd": values["hidden_size"],
        "head_dim": values.get("head_dim") if values.get("head_dim") != plain else None,
        "mlp_hidden": values["intermediate_size"],
        "norm_eps": values["rms_norm_eps"],
        "rope_base": rope.get("rope_theta", values.get("rope_theta", 10_000.0)),
        "dropout": values["attention_dropout"],
        "tie_embeddings": values["tie_word_embeddings"],
    }


def _write_llama(config: ModelConfig) -> Settings:
    kind, name = ("qwen3", "Qwen3") if config.qk_norm else ("llama", "Llama")
    return {
        "model_type": kind,
        "architectures": [f"{name}ForCausalLM"],
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.block_size,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_head,
        "head_dim": config.head_size,
        "hidden_size": config.n_embd,
        "intermediate_size": config.mlp_width,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_base,  # transformers 4 reads this one, transformers 5 the next
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_base},
        "attention_bias": False,
        "attention_dropout": config.dropout,
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _accepted_llama(theirs: Settings) -> dict[str, tuple]:
    heads = theirs["num_attention_heads"]
    groups = theirs.get("num_key_value_heads", heads)
    return {
        "hidden_act": ("silu",),
        "attention_bias": (False,),
        "mlp_bias": (False,),
        "use_sliding_window": (False,),
        "rope_scaling": (),
        "pretraining_tp": (1,),
        "num_key_value_heads": (groups if groups and heads % groups == 0 else heads,),
    }


LLAMA_DEFAULTS = {
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "rms_norm_eps": 1e-6,
    "attention_dropout": 0.0,
    "tie_word_embeddings": False,
}
MODERN = {
    "bigrams": (False,),
    "position": ("rope",),
    "norm": ("rmsnorm",),
    "mlp": ("swiglu",),
    "bias": (False,),
}

FAMILIES: dict[str, Family] = {
    "gpt2": Family(
        required={
            "bigrams": (False,),
            "head_dim": (None,),
            "position": ("learned",),
            "norm": ("layernorm",),
            "qk_norm": (False,),
            "mlp": ("gelu", "gelu_erf"),
            "bias": (True, False),
        },
        defaults={
            "vocab_size": 50257,
            "n_positions": 1024,
            "n_embd": 768,
            "n_layer": 12,
            "n_head": 12,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5,
            "resid_pdrop": 0.1,
            "tie_word_embeddings": True,
        },
        accepted=lambda theirs: {
            "activation_function": ("gelu_new", "gelu_pytorch_tanh", "gelu"),  # tanh, tanh, exact
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
        },
        read=_read_gpt2,
        write=_write_gpt2,
        table=_gpt2_table,
        prefix="transformer.",
        leftovers=(".attn.bias", ".attn.masked_bias"),
    ),
    "qwen3": Family(
        required={**MODERN, "qk_norm": (True,)},
        defaults={
            "head_dim": 128,
            "num_key_value_heads": 32,
            "rms_norm_eps": 1e-6,
            "attention_dropout": 0.0,
            "tie_word_embeddings": False,
        },
        accepted=_accepted_llama,
        read=_read_llama,
        write=_write_llama,
        table=_llama_table,
        prefix="model.",
        leftovers=("rotary_emb.inv_freq",),
    ),
    "llama": Family(
        required={**MODERN, "qk_norm": (False,)},
        defaults=LLAMA_DEFAULTS,
        accepted=_accepted_llama,
        read=_read_llama,
        write=_write_llama,
        table=_llama_table,
        prefix="model.",
        leftovers=("rotary_emb.inv_freq",),
    ),
}
