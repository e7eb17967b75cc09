"""Repeats parts of a training step: RMSNorm with its gradient by hand, matrix products in bfloat16, fused AdamW, and
Muon's turning of long matrices.

Each stands in for a function of `minilm.model` or `minilm.training.optim` during a training, after it has agreed with
it. Knows parts of a model; no loop, no batches and no files.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from minilm.fast.agreement import close, tell
from minilm.training import optim

Swap = tuple[nn.Module, Callable[[Tensor], Tensor]]


class RmsByHand(torch.autograd.Function):
    """x / rms(x) * gain with its gradient: on a CPU autograd's own takes twice as long, through many small passes.

    With h = x / rms(x) and G = gain * dy the chain rule gives dx = (G - h mean(G h)) / rms(x), dgain = sum(dy h).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        squares = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        inverse = squares.div_(x.size(-1)).add_(eps).rsqrt_()  # (..., 1)
        h = x * inverse
        ctx.save_for_backward(h, inverse, gain)
        return h * gain

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None]:
        h, inverse, gain = ctx.saved_tensors
        dy_h = dy * h
        mean = (dy_h @ gain).unsqueeze(-1).div_(-gain.numel())  # (..., 1)
        dx = torch.addcmul(dy * gain, h, mean).mul_(inverse)
        return dx, dy_h.flatten(0, -2).sum(0) if dy_h.dim() > 1 else dy_h, None


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """As `model.RMSNorm`; on a GPU torch's own kernel, which sums in float32 by itself."""
    if x.device.type != "cpu":
        return F.rms_norm(x, gain.shape, gain.to(x.dtype), eps)
    wide = torch.promote_types(x.dtype, torch.float32)
    return RmsByHand.apply(x.to(wide), gain.to(wide), eps).to(x.dtype)


@functools.lru_cache
def norms_agree(norm: Any, forward: Callable[..., Tensor]) -> bool:
    """Whether `rms_norm` is what a norm's `forward` computes, with its gradients."""
    generator, answers = torch.Generator().manual_seed(0), []
    module = norm(8, 1e-6).double()
    with torch.no_grad():
        module.weight.normal_(generator=generator)
    x = torch.randn(3, 5, 8, generator=generator, dtype=torch.float64).requires_grad_()
    slope = torch.randn(3, 5, 8, generator=generator, dtype=torch.float64)
    for output in (forward(module, x), rms_norm(x, module.weight, 1e-6)):
        answers.append([output, *torch.autograd.grad(output, (x, module.weight), slope)])
    return tell("the norms", all(map(close, *answers)))


def bfloat16_linear(module: nn.Linear, x: Tensor) -> Tensor:
    """A linear map with copies of its weights in bfloat16, whose gradients arrive at the float32 masters."""
    bias = None if module.bias is None else module.bias.bfloat16()
    return F.linear(x.bfloat16(), module.weight.bfloat16(), bias)


def quick_forwards(model: nn.Module, precision: str) -> list[Swap]:
    """What may stand in for the `forward` of some modules: of norms, and under "bf16" of the maps by matrices.

    Between two matrix products everything stays as it is: the residual stream, norms, embeddings, head and loss
    are float32, and so are the parameters that the optimizer moves, the checkpoint stores and the evaluation scores.
    """
    swaps: list[Swap] = []
    matrices = (
        {id(matrix) for matrix in optim.matrices_and_rest(model)[0].values()}
        if precision == "bf16"
        else set()
    )
    module: Any
    for module in model.modules():
        kind: Any = type(module)
        if "forward" in vars(module):  # the user's
            continue
        if f"{kind.__module__}.{kind.__name__}" == "minilm.model.RMSNorm" and norms_agree(kind, kind.forward):
            swaps.append((module, MethodType(_norm, module)))
        if kind is nn.Linear and id(module.weight) in matrices:
            swaps.append((module, MethodType(bfloat16_linear, module)))
    return swaps


def _norm(module: Any, x: Tensor) -> Tensor:
    return rms_norm(x, module.weight, module.eps)


@contextmanager
def swapped(swaps: list[Swap]) -> Iterator[None]:
    """Inside, the modules compute by their stand-ins."""
    for module, forward in swaps:
        vars(module)["forward"] = forward
    try:
        yield
    finally:
        for module, _ in swaps:
            del vars(module)["forward"]


def fused_adamw(parameters: list[Tensor], kept: list[dict[str, Tensor]], group: dict[str, Any]) -> None:
    """As `optim.adamw`, in the one kernel that torch's own AdamW calls with `fused=True`."""
    optim.remember(parameters, kept)
    steps, means, squares = ([k[name] for k in kept] for name in ("step", "exp_avg", "exp_avg_sq"))
    beta1, beta2 = group["betas"]
    options = {"lr": group["lr"], "beta1": beta1, "beta2": beta2, "weight_decay": group["weight_decay"]}
    gradients: list[Any] = [parameter.grad for parameter in parameters]
    torch._foreach_add_(steps, 1)
    torch._fused_adamw_(
        parameters, gradients, means, squares, [], steps, **options, eps=1e-8, amsgrad=False, maximize=False
    )


@functools.lru_cache
def adamw_agrees(rule: Callable[..., None]) -> bool:
    """Whether `fused_adamw` moves parameters as `rule` does, in three steps."""
    group = {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1}
    answers = []
    if not hasattr(torch, "_fused_adamw_") or not hasattr(
        torch, "_foreach_add_"
    ):  # private, so they may go one day
        return tell("the steps of AdamW", False)
    for moves in (rule, fused_adamw):
        generator = torch.Generator().manual_seed(0)
        parameter = torch.randn(4, 3, generator=generator)
        kept: dict[str, Tensor] = {}
        for _ in range(3):
            parameter.grad = torch.randn(4, 3, generator=generator)
            try:
                with torch.no_grad():
                    moves([parameter], [kept], group)
            except (TypeError, RuntimeError):  # they take other arguments in this torch
                return tell("the steps of AdamW", False)
        answers.append(parameter)
    return tell("the steps of AdamW", close(*answers))


def turned(matrices: Tensor) -> Tensor:
    """As `optim.orthogonalised`, (K, n, m) -> (K, n, m): long matrices through the product Q of all rounds.

    P = a + b A + c A^2 is a polynomial of A = X X^T, so A <- P A P follows the rounds without X: the long side m, four
    times n in an MLP, is met once at the beginning and once at the end. In bfloat16 it follows the paper step by step:
    the squares of this short cut lose small singular values.
    """
    tall = matrices.size(-2) > matrices.size(-1)
    X = matrices.mT if tall else matrices
    if X.size(-1) < 2 * X.size(-2) or X.dtype == torch.bfloat16:
        return optim.orthogonalised(matrices)
    a, b, c = optim.NEWTON_SCHULZ
    X = X / (X.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    A, Q = X @ X.mT, None  # (K, n, n)
    for _ in range(optim.ROUNDS):
        P = torch.baddbmm(A, A, A, beta=b, alpha=c)
        P.diagonal(dim1=-2, dim2=-1).add_(a)
        Q = P if Q is None else P @ Q
        A = P @ A @ P
    X = Q @ X
    return X.mT if tall else X


@functools.lru_cache
def turning_agrees(turn: Callable[[Tensor], Tensor]) -> bool:
    """Whether `turned` is what `turn` computes for a long matrix."""
    matrices = torch.randn(2, 8, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return tell("the turning of Muon", close(turn(matrices), turned(matrices)))


def speed_up(optimizer: optim.Optimizer) -> optim.Optimizer:
    """The same optimizer, its groups moved by the quick rules where they agree with the groups' own."""
    for group in optimizer.groups:
        if group["rule"] is optim.adamw and adamw_agrees(group["rule"]):
            device = group["params"][0].device.type
            group["rule"] = (
                fused_adamw if device in ("cpu", "cuda") else group["rule"]
            )  # where torch has the kernel
        if group.get("turn") is optim.orthogonalised and turning_agrees(group["turn"]):
            group["turn"] = turned
    return optimizer
