"""Asks whether something quick computes what the plain version computes, in this process and on what is at hand.

The answers decide what runs; where the answer is no, one line on stderr says so.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from minilm.errors import note

TOLERANCE = 1e-4  # largest difference between numbers that are about 1


@functools.lru_cache
def backends_agree(
    quick: Callable[..., Any], manual: Callable[..., Any], device_type: str, formula: tuple
) -> bool:
    """Whether two attention backends give the same values and gradients on random q, k and v.

    `formula` are the functions that `manual` calls: where one of them is a new one, the question is asked anew.
    """
    device_type = "cpu" if device_type == "cuda" and not torch.cuda.is_available() else device_type
    generator, differences = torch.Generator().manual_seed(0), []
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device_type, enabled=False):
        for T in (70, 3):  # more than one block of queries; and the last few of 70 moments, as with a cache
            lengths = (T, 70, 70, T)
            q, k, v, slope = (torch.randn(2, 2, n, 8, generator=generator).to(device_type) for n in lengths)
            inputs, answers = [x.requires_grad_() for x in (q, k, v)], []
            for backend in (quick, manual):
                output = backend(q, k, v, is_causal=True)  # (2, 2, T, 8)
                if output.shape != slope.shape:
                    return tell(f"attention (got {tuple(output.shape)} for {tuple(slope.shape)})", False)
                gradients = torch.autograd.grad(output, inputs, slope, allow_unused=True)
                answers.append([output, *gradients])
            differences += [_difference(one, two) for one, two in zip(*answers, strict=True)]
    worst = float(torch.stack(differences).max())  # NaN where one of them is
    name = getattr(quick, "func", quick).__name__
    return tell(f"attention ({name} differs by {worst:.2g})", worst <= TOLERANCE)


def close(one: Tensor, two: Tensor) -> bool:
    """Whether two tensors are equal up to TOLERANCE."""
    return one.shape == two.shape and torch.allclose(one, two, rtol=TOLERANCE, atol=TOLERANCE)


def tell(what: str, agrees: bool) -> bool:
    """`agrees`; a line says so where it is False."""
    if not agrees:
        note(
            f"{what} computed as it is written: the quick version of `minilm.fast` computes something else here"
        )
    return agrees


def _difference(one: Tensor | None, two: Tensor | None) -> Tensor:
    """The largest difference; infinite where only one of them exists."""
    if one is None or two is None:
        return torch.tensor(0.0 if one is two else float("inf"))
    return (one - two).abs().max().detach().cpu()
