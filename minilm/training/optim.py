"""Moves the weights: Muon for matrices and AdamW for the rest, or AdamW alone, by hand; what decays, and how fast.

It knows parameters and their names in the decoder, and progress from 0 to 1; no steps, seconds or losses.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from minilm.config import TrainConfig

SCHEDULES: dict[str, Callable[[float, float], float]] = {
    # name -> f(x, tail): x = share of the time after warm-up that is over, tail = share of it that wsd decays in
    "linear": lambda x, tail: (
        1 - x
    ),  # the shape to beat when nothing is known (Defazio et al., 2023, arXiv:2310.07831)
    "cosine": lambda x, tail: (
        0.5 * (1 + math.cos(math.pi * x))
    ),  # (Loshchilov & Hutter, 2016, arXiv:1608.03983, eq. 5)
    "constant": lambda x, tail: 1.0,
    "wsd": lambda x, tail: min(
        1.0, (1 - x) / tail
    ),  # warm-up, stable, decay (Hu et al., 2024, arXiv:2404.06395)
}


def schedule(config: TrainConfig, progress: float) -> float:
    """What the highest learning rate is multiplied by at `progress`: a straight rise first, then the shape.

    >>> config = TrainConfig(warmup=0.1, schedule="linear")
    >>> [round(schedule(config, p), 3) for p in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    progress = min(max(progress, 0.0), 1.0)
    if progress < config.warmup:
        return progress / config.warmup
    after = 1 - config.warmup
    return SCHEDULES[config.schedule]((progress - config.warmup) / after, min(1.0, config.decay / after))


NEWTON_SCHULZ, ROUNDS = (3.4445, -4.7750, 2.0315), 5


def orthogonalised(matrices: Tensor) -> Tensor:
    """U V^T of each matrix U S V^T, roughly: singular values from 0.7 to 1.2; (K, n, m) -> (K, n, m).

    Newton-Schulz: x -> a x + b x^3 + c x^5 on every singular value, a few rounds, leads (0, 1] near 1, fast for
    small values (Jordan et al., 2024, "Muon: An optimizer for hidden layers in neural networks").

    >>> torch.manual_seed(0) and None
    >>> singular = torch.linalg.svdvals(orthogonalised(torch.randn(3, 8, 16)))
    >>> bool((singular > 0.5).all() and (singular < 1.5).all())
    True
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.size(-2) > matrices.size(-1)
    X = matrices.mT if tall else matrices  # the products below are of the shorter side n
    X = X / (X.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # now no singular value exceeds 1
    for _ in range(ROUNDS):
        A = X @ X.mT  # (K, n, n)
        X = torch.baddbmm(X, torch.baddbmm(A, A, A, beta=b, alpha=c), X, beta=a)  # a X + (b A + c A^2) X
    return X.mT if tall else X


def muon(parameters: list[Tensor], kept: list[dict[str, Tensor]], group: dict[str, Any]) -> None:
    """Nesterov momentum, orthogonalised: every direction of a matrix moves equally far (Jordan et al., 2024).

    An update has spectral norm about max(1, n/m)^0.5 times the learning rate for an (n, m) matrix, so the same
    rate serves every width. The group's "parts" says how many matrices lie stacked in each parameter; those of one
    shape are turned together, since many small products cost more than one batch of them.
    """
    lr, decay = group["lr"], group["weight_decay"]
    by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
    for parameter, k in zip(parameters, kept, strict=True):
        gradient: Any = parameter.grad
        mean = k["momentum"].lerp_(gradient, 1 - group["momentum"])
        direction = gradient.lerp(mean, group["momentum"])  # the mean of gradients, one gradient ahead
        parts = group["parts"][parameter]
        for matrix, part in zip(parameter.chunk(parts), direction.chunk(parts), strict=True):
            by_shape.setdefault(matrix.shape, []).append((matrix, part))
    for (n, m), pairs in by_shape.items():
        stacked = torch.stack([part for _, part in pairs])  # (K, n, m)
        turned = group["turn"](stacked.to(group["turn_in"])).to(stacked.dtype)
        for (matrix, _), update in zip(pairs, turned, strict=True):
            matrix.mul_(1 - lr * decay).add_(update, alpha=-lr * max(1.0, n / m) ** 0.5)


def adamw(parameters: list[Tensor], kept: list[dict[str, Tensor]], group: dict[str, Any]) -> None:
    """The mean of late gradients over the root of the mean of their squares; decay pulls at the parameter alone
    (Loshchilov & Hutter, 2017, arXiv:1711.05101, algorithm 2)."""
    lr, decay, (beta1, beta2) = group["lr"], group["weight_decay"], group["betas"]
    for parameter, k in zip(parameters, kept, strict=True):
        gradient: Any = parameter.grad
        t = k["step"].add_(1)
        mean = k["exp_avg"].lerp_(gradient, 1 - beta1) / (1 - beta1**t)  # both means begin at zero, which the
        square = k["exp_avg_sq"].lerp_(gradient * gradient, 1 - beta2) / (1 - beta2**t)  # powers make up for
        parameter.mul_(1 - lr * decay).addcdiv_(mean, square.sqrt() + 1e-8, value=-lr)


def muon_memory(parameter: Tensor) -> dict[str, Tensor]:
    """What Muon keeps of a parameter between two steps."""
    return {"momentum": torch.zeros_like(parameter)}


def adamw_memory(parameter: Tensor) -> dict[str, Tensor]:
    """What AdamW keeps of a parameter between two steps, by the names that torch gives it."""
    step = torch.zeros((), device=parameter.device)
    return {"step": step, "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}


class Optimizer:
    """Parameters in groups, each moved by its own rule, and what is kept of a parameter between two steps.

    (torch's own base class has more, and loads torch's compiler for it: a second or more of every process.)
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        self.groups = [group for group in groups if group["params"]]
        self.kept: dict[Tensor, dict[str, Tensor]] = {}

    @property
    def parameters(self) -> list[Tensor]:
        """In the order of the groups."""
        return [parameter for group in self.groups for parameter in group["params"]]

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Moves every parameter that has a gradient, by its group's share of the learning rate."""
        for group in self.groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            for parameter in moved:
                if parameter not in self.kept:
                    self.kept[parameter] = group["memory"](parameter)
            if moved:
                kept = [self.kept[parameter] for parameter in moved]
                group["rule"](moved, kept, {**group, "lr": learning_rate * group["share"]})

    def zero_grad(self) -> None:
        """Forgets the gradients; the next backward pass makes new ones instead of adding to zeros."""
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[int, dict[str, Tensor]]:
        """The tensors of every parameter that has been moved, by its number over all groups."""
        return {number: self.kept[p] for number, p in enumerate(self.parameters) if p in self.kept}

    def load_state(self, tensors: dict[int, dict[str, Tensor]]) -> None:
        """Goes back to what `state` gave."""
        self.kept = {
            p: {name: tensor.to(p.device) for name, tensor in tensors[number].items()}
            for number, p in enumerate(self.parameters)
            if number in tensors
        }


def matrices_and_rest(model: nn.Module) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """The parameters by name: matrices between activations, and embeddings, the head, gains and biases.

    Only the former are linear maps of a dense input. An embedding is a table: the row of a rare character has
    its own small gradient, which nothing should mix with the others', and decay would pull it to zero by every
    step in which the character does not occur. A head is the same table read the other way.
    """
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}  # a tied one is listed once
    matrices = {
        name: p
        for name, p in named.items()
        if p.ndim == 2 and id(p) not in tables and not name.endswith("lm_head.weight")
    }
    return matrices, {name: p for name, p in named.items() if name not in matrices}


def build_optimizer(model: nn.Module, train: TrainConfig, precision: str = "fp32") -> Optimizer:
    """The optimizer of the configuration. Matrices decay and nothing else; under "bf16" Muon's products are bfloat16,
    as in the paper. The weights of queries, keys and values lie in one matrix, and so do SwiGLU's two."""
    matrices, rest = matrices_and_rest(model)
    stacked = {"qkv.weight": 3, "gate_up.weight": 2}
    parts = {
        p: next((n for end, n in stacked.items() if name.endswith(end)), 1) for name, p in matrices.items()
    }
    common = {"betas": (train.beta1, train.beta2), "momentum": train.momentum, "parts": parts}
    common |= {"turn": orthogonalised, "turn_in": torch.bfloat16 if precision == "bf16" else torch.float32}
    by_adamw = {**common, "rule": adamw, "memory": adamw_memory}
    by_muon = {**common, "rule": muon, "memory": muon_memory}
    decaying: dict[str, Any] = {"params": list(parts), "share": 1.0}
    others: dict[str, Any] = {"params": list(rest.values()), "share": 1.0}
    if train.optimizer == "muon" and matrices:
        first = list(dict.fromkeys(parts.values()))  # checkpoints number the parameters in this order
        decaying["params"].sort(key=lambda p: first.index(parts[p]))
        others["share"] = 0.7  # tables and gains move less far than Muon's matrices
        decaying |= by_muon
    return Optimizer(
        [
            {**by_adamw, **decaying, "weight_decay": train.weight_decay},
            {**by_adamw, **others, "weight_decay": 0.0},
        ]
    )
