"""AdamW with two groups: what decays and what does not. Knows parameters; no schedules and no losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from minilm.config import TrainConfig

FUSED_ON = ("cpu", "cuda")  # one kernel per step instead of one per tensor and operation


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two parameter groups: matrices decay; norms, biases and embeddings do not.

    Decay keeps a matrix from growing without use. A gain or a bias has nothing to shrink for, and the row of
    a rare character would be pulled to zero by every step in which the character does not occur; a tied
    output matrix is an embedding and follows its rule.

    >>> groups = decay_groups(nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3)), 0.1)
    >>> [(group["weight_decay"], len(group["params"])) for group in groups]
    [(0.1, 1), (0.0, 2)]
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    parameters = [p for p in model.parameters() if p.requires_grad]  # a tied parameter is listed once
    decay = [p for p in parameters if p.ndim >= 2 and id(p) not in embeddings]
    rest = [p for p in parameters if p.ndim < 2 or id(p) in embeddings]
    assert len({id(p) for p in decay + rest}) == len(decay) + len(rest) == len(parameters), "not a partition"
    return [{"params": decay, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def build_optimizer(model: nn.Module, train: TrainConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter, 2017, arXiv:1711.05101), fused where the device has it."""
    device = next(model.parameters()).device.type
    return torch.optim.AdamW(
        decay_groups(model, train.weight_decay),
        lr=train.learning_rate,
        betas=(train.beta1, train.beta2),
        fused=device in FUSED_ON,
    )
