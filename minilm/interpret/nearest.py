"""Finds the tokens that a model's embedding puts close together: what it has learnt to treat alike."""

from __future__ import annotations

from typing import Any

from torch.nn import functional as F

from minilm.errors import ConfigError
from minilm.model import GPT


def nearest(model: GPT, tokenizer: Any, text: str, count: int = 5) -> list[tuple[str, float]]:
    """The `count` tokens whose rows point most nearly the way of the first token's of `text`, with the cosines.

    >>> import torch
    >>> from minilm import CharTokenizer, ModelConfig
    >>> model = GPT(ModelConfig(vocab_size=3, n_layer=1, n_head=1, n_embd=2, block_size=4))
    >>> model.wte.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 4.0]])
    >>> [(token, round(cosine, 3)) for token, cosine in nearest(model, CharTokenizer("abc"), "a", 2)]
    [('c', 0.6), ('b', 0.0)]
    """
    ids = tokenizer.encode(text)
    if not ids:
        raise ConfigError("nearest needs a token to start from, got an empty text; give a letter or a word")
    rows = F.normalize(model.wte.weight.detach().float(), dim=-1)  # (V, C)
    cosines = rows @ rows[ids[0]]  # (V,)
    order = [i for i in cosines.argsort(descending=True).tolist() if i != ids[0]]
    return [(tokenizer.decode([i]), cosines[i].item()) for i in order[:count]]
