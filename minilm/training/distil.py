"""Distils: a model learns from a text and, at the same places, from what a teacher expects there.

Of each place a text tells one token; a teacher tells of every token how well it would have fitted, which is news where
the text has been read many times (Hinton, Vinyals and Dean, 2015, arXiv:1503.02531). The teacher need not be larger
than its student, which ends lower than it did (Furlanello et al., 2018, arXiv:1805.04770: born-again networks).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilm.fast.step import quick_forwards, swapped

SHARE = 0.5  # of the loss that is the teacher's; nine tenths taught less: benchmarks/RESULTS.md


@dataclass(frozen=True)
class Teacher:
    """A model of the student's tokens; `note` goes into the student's config.json under "taught"."""

    model: nn.Module
    note: dict[str, Any] = field(default_factory=dict)


def distilled_loss(
    student: nn.Module, teacher: nn.Module, precision: str
) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of ids (B, T) and targets (B, T), in nats per token: the gradient is the one of (1 - SHARE) times the
    cross-entropy with the text and SHARE times the one with the teacher's probabilities (B, T, V). The value is the
    text's part alone, so that a training's records say the same with a teacher and without."""
    teacher.eval()
    learning, telling = quick_forwards(student, precision), quick_forwards(teacher, precision)

    def loss_of(ids: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad(), swapped(telling):
            told = teacher(ids)[1].flatten(0, 1).float().softmax(-1)  # (B T, V)
        with swapped(learning):
            loss, logits = student(ids, targets=targets)[:2]
        both = (1 - SHARE) * loss + SHARE * F.cross_entropy(logits.flatten(0, 1).float(), told)
        return loss.detach() + both - both.detach()

    return loss_of
