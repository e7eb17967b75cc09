"""Collects all that a model shows of itself on one text, as plain numbers that can be drawn or written down.

It joins what the other files of this folder measure, and hands it over without tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from minilm.interpret.ablation import ablation_effects
from minilm.interpret.heads import attention_maps, first_token_score, induction_scores, lag_score
from minilm.interpret.logit_lens import logit_lens, stage_names
from minilm.interpret.reading import best_guesses, encoded, surprisal
from minilm.model import GPT
from minilm.plots.lens import Guess, Inside, readable
from minilm.text.bpe import BPETokenizer
from minilm.text.tokenizers import Tokenizer, count_characters

SEED = 0  # of the random tokens on which induction is measured: the same question to every model


def look_inside(model: GPT, tokenizer: Tokenizer, text: str) -> Inside:
    """Surprise, attention, logit lens, ablation and habits of a model on a text of 2 to block_size tokens.

    Errors are those of `reading.encoded`. Costs about L * (H + 2) forward passes.

    >>> from minilm.config import ModelConfig
    >>> from minilm.text.characters import CharTokenizer
    >>> model = GPT(ModelConfig(vocab_size=3, n_layer=1, n_head=2, n_embd=4, block_size=8))
    >>> inside = look_inside(model, CharTokenizer.from_text("abc"), "cab")
    >>> inside.tokens, len(inside.surprisal), inside.maps.shape
    (['c', 'a', 'b'], 2, (1, 2, 3, 3))
    """
    ids = encoded(model, tokenizer, text)  # (1, T)
    lens = logit_lens(model, ids)[:, 0].float().log_softmax(-1)  # (L + 1, T, V)
    surprises = surprisal(lens, ids[0].expand(len(lens), -1))  # (L + 1, T - 1)
    maps, effects = attention_maps(model, ids)[:, 0], ablation_effects(model, ids)
    guesses = best_guesses(lens[-1, :-1])
    characters = count_characters(tokenizer, ids[0, 1:].tolist()) or 1
    per_character = (ids.size(1) - 1) / characters  # tokens
    return Inside(
        tokens=pieces(tokenizer, ids[0].tolist()),
        characters=characters,
        surprisal=surprises[-1].tolist(),
        guesses=[[Guess(pieces(tokenizer, [g.token])[0], g.probability) for g in row] for row in guesses],
        loss=effects.loss * per_character,
        maps=maps.cpu().numpy(),
        stages=stage_names(model),
        stage_losses=(surprises.mean(-1) * per_character).tolist(),
        stage_guesses=[pieces(tokenizer, stage.argmax(-1).tolist()) for stage in lens[:, :-1]],
        stage_hopes=surprises.neg().exp().cpu().numpy(),
        head_effects=effects.heads.numpy() * per_character,
        mlp_effects=effects.mlps.numpy() * per_character,
        habits={name: score.cpu().numpy() for name, score in _habits(model, maps).items()},
    )


def _habits(model: GPT, maps: Tensor) -> dict[str, Tensor]:
    """Shares of attention, (L, H) each: two habits on this text, and induction on random tokens."""
    habits = {"first token": first_token_score(maps), "token before": lag_score(maps, 1)}
    if min(model.config.block_size // 2, model.config.vocab_size) >= 2:
        habits["induction"] = induction_scores(model, torch.Generator().manual_seed(SEED))
    return habits


def pieces(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    """Each token's own text, (T,); what is only a part of a character by its bytes."""
    if isinstance(tokenizer, BPETokenizer):
        return [readable(tokenizer.pieces[token]) for token in ids]
    return [tokenizer.decode([token]) for token in ids]
