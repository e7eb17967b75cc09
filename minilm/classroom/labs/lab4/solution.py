"""Lab 4: the training loop. Fill the gaps; `python -m minilm.classroom check lab4.py` tells how far you are.

The model is the smallest that can be trained: one table (V, V) whose row is the logits of the token after. You may use
torch and the standard library, and call your own earlier functions. Three functions are given.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def loss_and_gradient(table: Tensor, x: Tensor, y: Tensor) -> tuple[float, Tensor]:
    """Given: the mean loss of predicting the tokens y (B, T) from x (B, T), and its gradient (V, V)."""
    leaf = table.detach().clone().requires_grad_()
    loss = F.cross_entropy(leaf[x].flatten(0, 1), y.flatten())
    (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.item(), gradient


def write_json(path: str, value: Any) -> None:
    """Given: writes a value made of dictionaries, lists and numbers."""
    Path(path).write_text(json.dumps(value))


def read_json(path: str) -> Any:
    """Given: what `write_json` wrote."""
    return json.loads(Path(path).read_text())


def learning_rate(step: int, steps: int, warmup: int, peak: float, floor: float) -> float:
    """The rate of `step` (0 ... steps - 1): a straight rise over `warmup` steps, peak (step + 1) / warmup, then half a
    cosine from `peak` at step = warmup to `floor` at the last step. At least two steps follow the warm-up."""
    if step < warmup:
        return peak * (step + 1) / warmup
    x = (step - warmup) / (steps - 1 - warmup)
    return floor + (peak - floor) * (1 + math.cos(math.pi * x)) / 2


def clip(gradients: list[Tensor], limit: float) -> tuple[list[Tensor], float]:
    """(gradients, norm): all scaled by one factor where their common norm exceeds `limit`, unchanged elsewhere; the
    norm is the one before."""
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
    factor = min(1.0, limit / norm) if norm else 1.0
    return [gradient * factor for gradient in gradients], norm


def adamw(
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: int,
    lr: float,
    betas: list[float],
    eps: float,
    decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of AdamW with decoupled decay, the new (p, m, v); t is 1 at the first step."""
    beta1, beta2 = betas
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return p - lr * (m_hat / (v_hat.sqrt() + eps) + decay * p), m, v


def train(
    state: dict[str, Any], batches: list[list[Tensor]], options: dict[str, Any]
) -> tuple[dict[str, Any], list[float]]:
    """Trains on all batches, in order: (the new state, the loss of every batch before its step).

    state: table, m, v (V, V) and step, how many steps are done. Each batch is [x, y]. options: steps, warmup, peak,
    floor (for `learning_rate`; its step is the one that is done now), limit (for `clip`), betas, eps, decay (for
    `adamw`).
    """
    table, m, v, done = (state[name] for name in ("table", "m", "v", "step"))
    o, losses = options, []
    for x, y in batches:
        loss, gradient = loss_and_gradient(table, x, y)
        losses.append(loss)
        (gradient,), _ = clip([gradient], o["limit"])
        lr = learning_rate(done, o["steps"], o["warmup"], o["peak"], o["floor"])
        done += 1
        table, m, v = adamw(table, gradient, m, v, done, lr, o["betas"], o["eps"], o["decay"])
    return {"table": table, "m": m, "v": v, "step": done}, losses


def save_checkpoint(path: str, state: dict[str, Any]) -> None:
    """Writes a state of `train` with `write_json`: tensors become nested lists, the names stay."""
    plain = {name: value.tolist() if torch.is_tensor(value) else value for name, value in state.items()}
    write_json(path, plain)


def load_checkpoint(path: str) -> dict[str, Any]:
    """The state in the file that `save_checkpoint` wrote: table, m, v as float32 tensors, step as a number."""
    state = read_json(path)
    return {name: value if name == "step" else torch.tensor(value) for name, value in state.items()}
