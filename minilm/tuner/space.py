"""Defines what can be tuned: the dimensions of the search, the default recipe as a point among them, and the way
from a point to configurations that are valid by construction.

A point is a plain dict of values, `{"num_layers": 4, "learning_rate": 3e-3, ...}`. This file draws nothing,
trains nothing, and loads Hyperopt only when asked for a Hyperopt expression. What cannot be trained here is refused
with a sentence, before it costs anything.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from minilm.config import ModelConfig, TrainConfig, default_recipe
from minilm.cost import needed_bytes, work
from minilm.errors import ConfigError, did_you_mean, rules

# the words of the papers -> our field names; every other field goes by its own name
ALIASES = {"num_layers": "n_layer", "hidden_size": "n_embd", "num_heads": "n_head"}
_OWNERS = {f.name: owner for owner in (ModelConfig, TrainConfig) for f in dataclasses.fields(owner)}
_RECIPE: dict[str, Any] = {k: v for config in default_recipe() for k, v in config.to_dict().items()}

Point = dict[str, Any]
Draw = dict[str, float]  # Hyperopt's raw values: label -> number, an index where the space says hp.choice


@dataclass(frozen=True)
class Dimension:
    """One tuned setting: numbers from `low` to `high`, in multiples of `step` where it has one."""

    name: str
    kind: str  # a key of EXPRESSIONS
    low: float
    high: float
    step: float | None = None


# Numbers rather than hp.choice wherever they are ordered: TPE then learns from neighbours.
SPACE: tuple[Dimension, ...] = (
    Dimension("num_layers", "int", 1, 6),
    Dimension("hidden_size", "log-steps", 64, 384, 32),
    Dimension("learning_rate", "log", 4e-3, 8e-2),  # of Muon
    Dimension("batch_size", "log-steps", 4, 32, 4),
    Dimension("dropout", "steps", 0.0, 0.2, 0.05),
    Dimension("weight_decay", "log", 1e-2, 1.0),
    Dimension("block_size", "log-steps", 64, 256, 32),
)
# with an accelerator wide models cost little
WIDE_SPACE: tuple[Dimension, ...] = tuple(
    dataclasses.replace(d, high={"hidden_size": 768, "num_layers": 12}.get(d.name, d.high)) for d in SPACE
)

DEFAULT_TID = 0  # the first trial is the default recipe's
DEFAULT_POINT: Point = {d.name: _RECIPE[ALIASES.get(d.name, d.name)] for d in SPACE}

WINDOWS = 8  # the training split holds at least this many windows of the longest context
COST = 4.0  # times the default recipe's cost of one step
WIDE_COST = 250.0


@dataclass(frozen=True)
class Limits:
    """What the text and the machine allow. Plain numbers: they are kept with the study.

    `block_size`: the longest context. `step_work`: the most that one step may cost, see `cost.work`. `memory`: bytes
    for one training.
    """

    block_size: int
    step_work: float
    memory: int | None = None


def limits_for(train_tokens: int, wide: bool = False, memory: int | None = None) -> Limits:
    """The limits for a training split of that many tokens; `wide` with an accelerator.

    >>> limits_for(1_000_000).block_size, limits_for(450).block_size
    (256, 56)
    """
    longest = max(d.high for d in SPACE if d.name == "block_size")
    block_size = int(min(longest, max(1, (train_tokens - 1) // WINDOWS)))
    return Limits(block_size, work(*default_recipe()) * (WIDE_COST if wide else COST), memory)


def dimensions(limits: Limits | None = None, wide: bool = False) -> tuple[Dimension, ...]:
    """The default space within `limits`; a dimension with a single value left is no dimension."""
    space = WIDE_SPACE if wide else SPACE
    if limits is None:
        return space
    fitted = (_within(dimension, limits) for dimension in space)
    return tuple(dimension for dimension in fitted if dimension.low < dimension.high)


def _within(dimension: Dimension, limits: Limits) -> Dimension:
    if dimension.name != "block_size" or dimension.step is None:
        return dimension
    high = min(dimension.high, limits.block_size // dimension.step * dimension.step)
    # rounding to steps must not pass the limit, and the default must stay a member
    return dataclasses.replace(dimension, high=high if high >= DEFAULT_POINT["block_size"] else dimension.low)


def default_point(limits: Limits) -> Point:
    """The default recipe, with a context that the text can fill."""
    return {**DEFAULT_POINT, "block_size": min(DEFAULT_POINT["block_size"], limits.block_size)}


def to_hyperopt(space: tuple[Dimension, ...] = SPACE) -> dict[str, Any]:
    """The space as Hyperopt takes it."""
    return {dimension.name: EXPRESSIONS[dimension.kind](dimension) for dimension in space}


def _hp() -> Any:
    from hyperopt import hp

    return hp


EXPRESSIONS: dict[str, Callable[[Dimension], Any]] = {
    "int": lambda d: _hp().uniformint(d.name, d.low, d.high),
    "log": lambda d: _hp().loguniform(d.name, math.log(d.low), math.log(d.high)),
    "steps": lambda d: _hp().quniform(d.name, d.low, d.high, d.step),
    "log-steps": lambda d: _hp().qloguniform(d.name, math.log(d.low), math.log(d.high), d.step),
}


def heads_for(hidden_size: int) -> int:
    """As many heads as make a head 32 wide, or 64 in wide models; otherwise the even divisor closest to 32.

    >>> [heads_for(width) for width in (32, 128, 256, 288, 100)]
    [1, 4, 4, 9, 5]
    """
    if hidden_size % 2:
        raise ConfigError(f"hidden_size must be even, got {hidden_size}; take {hidden_size + 1}")
    if hidden_size >= 256 and hidden_size % 64 == 0:
        return hidden_size // 64
    sizes = [size for size in range(2, min(64, hidden_size) + 1, 2) if hidden_size % size == 0]
    return hidden_size // min(sizes, key=lambda size: abs(size - 32))


def to_configs(
    point: Mapping[str, Any], vocab_size: int, limits: Limits | None = None
) -> tuple[ModelConfig, TrainConfig]:
    """The configurations that a point means: the default recipe, changed where the point says so. Heads follow the
    hidden size unless `num_heads` is given, and a context that the text cannot fill is shortened.

    Names are those of SPACE and every field of ModelConfig and TrainConfig; an unknown one is a
    `ConfigError`.

    >>> model, train = to_configs({"num_layers": 2, "hidden_size": 64, "learning_rate": 1e-3}, vocab_size=65)
    >>> model.n_layer, model.n_head, train.learning_rate, train.batch_size
    (2, 2, 0.001, 8)
    """
    fields = ModelConfig.without_removed({ALIASES.get(name, name): value for name, value in point.items()})
    unknown = [
        f"{name!r}, {did_you_mean(str(name), [*ALIASES, *_OWNERS])}" for name in fields if name not in _OWNERS
    ]
    if unknown:
        raise ConfigError("a trial has an unknown setting " + "; ".join(unknown))
    fields = {name: _plain(name, value) for name, value in fields.items()}
    if limits is not None:
        fields.setdefault("block_size", DEFAULT_POINT["block_size"])
        fields["block_size"] = min(fields["block_size"], limits.block_size)
    if "n_embd" in fields:
        fields.setdefault("n_head", heads_for(fields["n_embd"]))
    model, train = default_recipe(vocab_size)
    return model.replace(**_owned(fields, ModelConfig)), train.replace(**_owned(fields, TrainConfig))


def refusal(point: Mapping[str, Any], vocab_size: int, limits: Limits) -> str | None:
    """Why the point should not be tried, or None: it is no valid configuration, or not worth a trial.

    >>> refusal({"hidden_size": 100, "num_heads": 3}, 65, limits_for(10**6))
    'n_head must divide n_embd, got 3 and 100; change or leave out one of them'
    """
    try:
        model, train = to_configs(point, vocab_size, limits)
    except ConfigError as error:
        return str(error)
    cost, usual, need = work(model, train), work(*default_recipe(vocab_size)), needed_bytes(model, train)
    if cost > limits.step_work:
        most = limits.step_work / usual
        return f"a step must cost at most {most:.1f} times what the default recipe's does, got {cost / usual:.1f} times"
    if limits.memory is not None and need > limits.memory:
        return (
            f"a training must fit into the {limits.memory / 2**20:,.0f} MiB of a worker, got {need / 2**20:,.0f} MiB "
            f"for {model.n_parameters:,} parameters and a batch of {train.batch_size} x {model.block_size}"
        )
    return None


def _owned(fields: dict[str, Any], owner: type) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if _OWNERS[name] is owner}


def _plain(name: str, value: Any) -> Any:
    """Python's own number for numpy's; Hyperopt gives whole numbers as floats."""
    value = value.item() if hasattr(value, "item") else value
    whole = rules(_OWNERS[name])[name].kind is int and isinstance(value, float) and value.is_integer()
    return int(value) if whole else value
