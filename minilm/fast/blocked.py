"""Computes causal attention in blocks of queries, with its gradient by hand: the quick path of trainings on a CPU.

A query never looks past its own moment, so a block of queries needs the keys up to its end and no others; almost
half of the products and exponentials are never computed. Autograd would pay for the cutting with a zero-filled copy
of every key and value per block, hence the gradient written out. It repeats
`minilm.attention.scaled_dot_product_attention` and knows three tensors and nothing of layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# queries: contexts up to SHORT take BLOCK of them at a time, longer ones LONG_BLOCK
SHORT, BLOCK, LONG_BLOCK = 128, 64, 128


def spans(T: int) -> list[tuple[int, int]]:
    """The blocks of T queries: (first, one past the last).

    >>> spans(100), spans(300)
    ([(0, 64), (64, 100)], [(0, 128), (128, 256), (256, 300)])
    """
    size = BLOCK if T <= SHORT else LONG_BLOCK
    return [(first, min(first + size, T)) for first in range(0, T, size)]


class BlockedCausal(torch.autograd.Function):
    """softmax(scale QK^T) V under the causal mask, (N, T, D) each -> (N, T, D); N counts batch and heads.

    With P = softmax(S) and O = P V the chain rule gives dV = P^T dO, dP = dO V^T, dS = P (dP - rowsum(P dP)),
    dQ = scale dS K and dK = scale dS^T Q (Dao et al., 2022, "FlashAttention", appendix B). The softmax kernels sum in
    float32, whatever they read and write.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        output, kept = torch.empty_like(v), []
        for first, end in spans(q.size(1)):
            future = torch.full((end - first, end), -math.inf, dtype=q.dtype, device=q.device).triu_(
                first + 1
            )
            scores = torch.baddbmm(future, q[:, first:end], k[:, :end].mT, alpha=scale)  # (N, block, end)
            weights = scores.softmax(dim=-1)  # (N, block, end)
            output[:, first:end] = weights @ v[:, :end]  # (N, block, D)
            kept.append(weights)
        ctx.save_for_backward(q, k, v, *kept)
        ctx.scale = scale
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dO: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, *kept = ctx.saved_tensors
        dQ, dK, dV = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for (first, end), P in zip(spans(q.size(1)), kept, strict=True):
            dV[:, :end].baddbmm_(P.mT, dO[:, first:end])
            dP = dO[:, first:end] @ v[:, :end].mT  # (N, block, end)
            dS = torch.ops.aten._softmax_backward_data(dP, P, -1, P.dtype)  # (N, block, end)
            dQ[:, first:end] = (dS @ k[:, :end]).mul_(ctx.scale)
            dK[:, :end].baddbmm_(dS.mT, q[:, first:end], alpha=ctx.scale)
        return dQ, dK, dV, None


def blocked_causal(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    """Causal attention of as many queries as keys, (..., T, D) each -> (..., T, D).

    >>> v = torch.randn(2, 3, 5, 4)
    >>> bool((blocked_causal(v, v, v)[:, :, 0] == v[:, :, 0]).all())  # the first query sees its own moment only
    True
    """
    scale = 1 / math.sqrt(q.size(-1)) if scale is None else scale
    flat = (x.reshape(-1, *x.shape[-2:]) for x in (q, k, v))  # (N, T, D)
    return BlockedCausal.apply(*flat, scale).view(v.shape)


def blocked_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    otherwise: Callable[..., Any],
    is_causal: bool = False,
    **options: Any,
) -> Any:
    """Attention by blocks where it is plain causal attention, as in a training; `otherwise` computes the rest.

    Arguments as in `scaled_dot_product_attention`.
    """
    plain = is_causal and mask is None and q.shape == k.shape == v.shape and q.dtype == k.dtype == v.dtype
    if plain and q.dtype != torch.float16 and not (options.get("dropout_p") or options.get("return_weights")):
        return blocked_causal(q, k, v, options.get("scale"))
    return otherwise(q, k, v, mask, is_causal=is_causal, **options)
