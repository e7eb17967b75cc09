"""Mixes a trained decoder with counting: p(token | context) = w p_decoder(token | context) + (1 - w) p_counting(...).

Both speak of the same tokens and each sums to 1 after every context, so the mixture does too, whatever w is. The
validation split fits w; a mixture is a track of its own and never a figure of the decoder. Trains nothing.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minilm.sampling import Window
from minilm.text.corpora import Corpus, load_described
from minilm.text.ngram import Counted, KneserNey, count
from minilm.training.evaluate import token_losses
from minilm.training.run import Run


def mixture(
    model: Any,
    corpus: Corpus,
    counted: Counted,
    *,
    stride: int | None = None,
    chars: int | None = None,
    deadline: float | None = None,
) -> dict[str, Any] | None:
    """The mixture's losses in nats per character and the weight that val asks for: {"weight", "order", "val", "test"}.

    Of each split the same tokens are scored as by `exact_loss` with this `stride` and `chars`; "test" is None where the
    split is empty. None where the `deadline`, a moment of `time.monotonic()`, comes first.
    """
    found: dict[str, Any] = {"weight": None, "order": counted.order, "val": None, "test": None}
    for split, chances in (("val", counted.val), ("test", counted.test)):
        if is_late(deadline):
            return None
        if len(chances):
            options = {**corpus.scored(split), "stride": stride, "chars": chars}
            if (both := both_chances(model, chances, deadline, options)) is None:
                return None
            decoder, counting, characters = both
            if split == "val":
                found["weight"] = best_weight(decoder, counting)
            w = found["weight"]
            found[split] = -float(np.log(w * decoder + (1 - w) * counting).sum()) / characters
    return found


def is_late(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() > deadline


def both_chances(
    model: Any, chances: np.ndarray, deadline: float | None, options: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Decoder's and counting's probabilities of the scored tokens, (N,) each, and how many characters these are."""
    scored = []
    for places, nats, lengths in token_losses(model, **options):
        if is_late(deadline):
            return None
        scored.append((places.ravel(), np.exp(-nats.flatten().cpu().double().numpy()), lengths.ravel()))
    places, decoder, lengths = map(np.concatenate, zip(*scored, strict=True))
    return decoder, chances[places], int(lengths.sum())


def best_weight(decoder: np.ndarray, counting: np.ndarray) -> float:
    """The w at which w `decoder` + (1 - w) `counting`, two probabilities of each of N tokens, are likeliest together.

    Expectation-maximisation: each token belongs to the decoder with some probability, whose mean is the next w. The
    logarithm is concave, so that there is one best w and each step comes closer to it.

    >>> round(best_weight(np.array([0.9, 0.1, 0.9]), np.array([0.5, 0.5, 0.5])), 3)
    0.417
    """
    w, moved = 0.5, 1.0
    while moved > 1e-7:  # a step shrinks to this long before the third decimal place moves no more
        mine = w * decoder
        after = float((mine / (mine + (1 - w) * counting)).mean())
        w, moved = after, abs(after - w)
    return w


def mixture_of(run: Run) -> tuple[KneserNey, float]:
    """Counting over the text that a run was trained on, and the decoder's weight: as recorded, or fitted now."""
    corpus = load_described(run.config["corpus"], run.tokenizer)
    if (found := run.result.get("mixture")) is None:
        options, counted = corpus.scored("val"), count(corpus)
        both = both_chances(run.model, counted.val, None, {**options, "chars": run.result.get("eval_chars")})
        assert both is not None
        found = {"order": counted.order, "weight": best_weight(*both[:2])}
    return KneserNey(found["order"], corpus.tokenizer.vocab_size).fit(corpus.train), found["weight"]


class MixtureWindow(Window):
    """Reads with another window and answers with logarithms of the mixture's probabilities, which are logits too."""

    def __init__(self, window: Window, counting: KneserNey, weight: float) -> None:
        super().__init__(window.model, 1, use_cache=False)
        self.window, self.counting, self.weight = window, counting, weight

    def read(self, new: Tensor, wanted: int = 1) -> Tensor:
        """(B, T) -> (B, wanted, V), float64."""
        decoder = self.window.read(new, wanted).double().softmax(-1)  # (B, wanted, V)
        seen = new if self.ids is None else torch.cat((self.ids, new), dim=1)
        reach = max(1, self.counting.order - 1)  # counting's own, however short the model's window
        self.ids = seen[:, -reach:]
        rows = seen.tolist()
        ends = range(len(rows[0]) - wanted + 1, len(rows[0]) + 1)
        counting = np.array([[self.counting.probabilities(row[:end]) for end in ends] for row in rows])
        mixed = self.weight * decoder + (1 - self.weight) * torch.from_numpy(counting).to(decoder)
        return mixed.log()
