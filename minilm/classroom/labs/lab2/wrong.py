"""Known mistakes of lab 2. Each docstring is what a student who made it is told."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from minilm.classroom.labs.lab2.solution import (
    attention,
    causal_mask,
    merge_heads,
    scores,
    self_attention,
    softmax,
    split_heads,
)


def scores__unscaled(q: Tensor, k: Tensor) -> Tensor:
    """The dot products are right, the division by sqrt(D) is missing."""
    return q @ k.transpose(-2, -1)


def scores__scaled_by_d(q: Tensor, k: Tensor) -> Tensor:
    """You divide by D. The variance of a dot product grows with D, its size only with the root of D."""
    return q @ k.transpose(-2, -1) / q.size(-1)


def scores__scaled_by_keys(q: Tensor, k: Tensor) -> Tensor:
    """You divide by the root of the number of keys S; the sum in a dot product runs over the head size D."""
    return q @ k.transpose(-2, -1) / math.sqrt(k.size(-2))


def scores__multiplied(q: Tensor, k: Tensor) -> Tensor:
    """You multiply by sqrt(D) where the formula divides."""
    return q @ k.transpose(-2, -1) * math.sqrt(q.size(-1))


def scores__keys_ask(q: Tensor, k: Tensor) -> Tensor:
    """Rows and columns are swapped: row t belongs to query t. This is K Q^T; you want Q K^T."""
    return k @ q.transpose(-2, -1) / math.sqrt(q.size(-1))


def softmax__wrong_axis(x: Tensor) -> Tensor:
    """The columns sum to 1, but the rows should: the shares of one query over its keys, dim=-1."""
    return x.softmax(dim=-2)


def softmax__all_at_once(x: Tensor) -> Tensor:
    """You divide by the sum over everything; each row needs its own sum, with dim=-1 and keepdim=True."""
    shifted = (x - x.max()).exp()
    return shifted / shifted.sum()


def softmax__overflow(x: Tensor) -> Tensor:
    """Right for small numbers, but exp(100) is infinite in float32 and inf / inf is NaN. Subtract each row's largest
    number first; it cancels out."""
    return x.exp() / x.exp().sum(dim=-1, keepdim=True)


def softmax__global_max(x: Tensor) -> Tensor:
    """You subtract the largest number of all rows; a row that lies far below it becomes 0 / 0. Subtract each row's
    own largest number."""
    shifted = (x - x.max()).exp()
    return shifted / shifted.sum(dim=-1, keepdim=True)


def softmax__log(x: Tensor) -> Tensor:
    """These are the logarithms of the shares; take exp of them, or do not take the logarithm."""
    return x.log_softmax(dim=-1)


def causal_mask__strict(T: int, S: int) -> Tensor:
    """Off by one: a position may see itself. In your mask the first query sees nothing."""
    return torch.ones(T, S, dtype=torch.bool).tril(S - T - 1)


def causal_mask__one_ahead(T: int, S: int) -> Tensor:
    """Off by one: every query sees one key of the future, the very one that it should predict."""
    return torch.ones(T, S, dtype=torch.bool).tril(S - T + 1)


def causal_mask__future(T: int, S: int) -> Tensor:
    """Your mask shows the future and hides the past: it is upper triangular, it should be lower triangular."""
    return torch.ones(T, S, dtype=torch.bool).triu(S - T)


def causal_mask__hides(T: int, S: int) -> Tensor:
    """The rule here is True = may attend; you return True for what is hidden."""
    return ~torch.ones(T, S, dtype=torch.bool).tril(S - T)


def causal_mask__first_moments(T: int, S: int) -> Tensor:
    """Right while T equals S. With earlier keys from a cache the queries are the last T of S moments, so the diagonal
    moves by S - T."""
    return torch.ones(T, S, dtype=torch.bool).tril()


def attention__mask_after_softmax(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """You mask after the softmax: the hidden keys took their share, and what is left no longer sums to 1. Set their
    scores to -inf before the softmax."""
    weights = softmax(scores(q, k))
    return (weights if mask is None else weights.masked_fill(~mask, 0.0)) @ v


def attention__masked_with_zero(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """You set hidden scores to 0, and exp(0) is 1: hidden keys still get a share. Use -inf."""
    fit = scores(q, k)
    return softmax(fit if mask is None else fit.masked_fill(~mask, 0.0)) @ v


def attention__inverted_mask(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """You hide what the mask allows. True means may attend, so fill where the mask is False: ~mask."""
    fit = scores(q, k)
    return softmax(fit if mask is None else fit.masked_fill(mask, -math.inf)) @ v


def attention__mask_ignored(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mask has no effect. masked_fill returns a new tensor; use what it returns."""
    return softmax(scores(q, k)) @ v


def attention__no_softmax(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """You mix the values by raw scores; softmax turns them into shares first."""
    fit = scores(q, k)
    return (fit if mask is None else fit.masked_fill(~mask, 0.0)) @ v


def attention__scaled_twice(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """The scores are divided by sqrt(D) twice, here and in `scores`."""
    return attention(q / math.sqrt(q.size(-1)), k, v, mask)


def attention__softmax_over_queries(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """The softmax runs over the queries; the shares of one query sum to 1 over the keys, the last axis."""
    fit = scores(q, k)
    fit = fit if mask is None else fit.masked_fill(~mask, -math.inf)
    return fit.softmax(dim=-2) @ v


def split_heads__no_transpose(x: Tensor, n_head: int) -> Tensor:
    """A view straight to (B, H, T, D) has the right shape and the wrong contents: it cuts time into heads. View to
    (B, T, H, D) first, then swap T and H."""
    B, T, C = x.shape
    return x.reshape(B, n_head, T, C // n_head)


def split_heads__interleaved(x: Tensor, n_head: int) -> Tensor:
    """Your heads take every H-th channel; a head is D neighbouring channels, so view to (..., H, D) and not to
    (..., D, H)."""
    B, T, C = x.shape
    return x.view(B, T, C // n_head, n_head).permute(0, 3, 1, 2)


def split_heads__still_by_time(x: Tensor, n_head: int) -> Tensor:
    """The cut is right; now swap T and H, so that every head is a (T, D) matrix of its own."""
    B, T, C = x.shape
    return x.view(B, T, n_head, C // n_head)


def merge_heads__no_transpose(x: Tensor) -> Tensor:
    """A reshape straight from (B, H, T, D) mixes time and heads; swap them back to (B, T, H, D) first."""
    B, H, T, D = x.shape
    return x.reshape(B, T, H * D)


def merge_heads__averaged(x: Tensor) -> Tensor:
    """The heads are laid side by side, not averaged: the result has C = H D channels."""
    return x.mean(dim=1)


def merge_heads__interleaved(x: Tensor) -> Tensor:
    """Your channels alternate between the heads; the D channels of one head stay neighbours."""
    B, H, T, D = x.shape
    return x.permute(0, 2, 3, 1).reshape(B, T, H * D)


def self_attention__not_causal(x: Tensor, qkv: Tensor, proj: Tensor, n_head: int) -> Tensor:
    """Positions see the future: pass the causal mask to `attention`."""
    q, k, v = (split_heads(part, n_head) for part in (x @ qkv).chunk(3, dim=-1))
    return merge_heads(attention(q, k, v)) @ proj


def self_attention__one_head(x: Tensor, qkv: Tensor, proj: Tensor, n_head: int) -> Tensor:
    """You attend with one head over all C channels; split q, k and v into heads first."""
    T = x.size(1)
    q, k, v = (x @ qkv).chunk(3, dim=-1)
    return attention(q, k, v, causal_mask(T, T)) @ proj


def self_attention__no_projection(x: Tensor, qkv: Tensor, proj: Tensor, n_head: int) -> Tensor:
    """The last step is missing: merged heads @ proj."""
    T = x.size(1)
    q, k, v = (split_heads(part, n_head) for part in (x @ qkv).chunk(3, dim=-1))
    return merge_heads(attention(q, k, v, causal_mask(T, T)))


def self_attention__keys_first(x: Tensor, qkv: Tensor, proj: Tensor, n_head: int) -> Tensor:
    """The three parts of x @ qkv are queries, keys, values, in this order; yours are in another."""
    T = x.size(1)
    k, q, v = (split_heads(part, n_head) for part in (x @ qkv).chunk(3, dim=-1))
    return merge_heads(attention(q, k, v, causal_mask(T, T))) @ proj


def self_attention__transposed_projection(x: Tensor, qkv: Tensor, proj: Tensor, n_head: int) -> Tensor:
    """proj is used transposed: here it is heads @ proj, while torch's Linear keeps its weight the other way round."""
    T = x.size(1)
    q, k, v = (split_heads(part, n_head) for part in (x @ qkv).chunk(3, dim=-1))
    return merge_heads(attention(q, k, v, causal_mask(T, T))) @ proj.T


def scores__hard_axes(q: Tensor, k: Tensor) -> Tensor:
    """transpose(1, 2) swaps the last two axes of a batch only; with heads or without a batch they have other numbers.
    Count from the end: transpose(-2, -1)."""
    return q @ k.transpose(1, 2) / math.sqrt(q.size(-1))


def scores__scaled_by_queries(q: Tensor, k: Tensor) -> Tensor:
    """You divide by the root of the number of queries T; the sum in a dot product runs over the head size D."""
    return q @ k.transpose(-2, -1) / math.sqrt(q.size(-2))


def scores__cosine(q: Tensor, k: Tensor) -> Tensor:
    """You divide by the lengths of query and key; attention keeps lengths and divides by the root of D."""
    return (q / q.norm(dim=-1, keepdim=True)) @ (k / k.norm(dim=-1, keepdim=True)).transpose(-2, -1)


def softmax__no_keepdim(x: Tensor) -> Tensor:
    """Your sum has lost the last axis, so it divides columns, or nothing fits; keepdim=True keeps it."""
    e = (x - x.max(dim=-1, keepdim=True).values).exp()
    return e / e.sum(dim=-1)


def softmax__mean_subtracted(x: Tensor) -> Tensor:
    """The mean of a row may lie far below its largest number, which then overflows; subtract the largest."""
    e = (x - x.mean(dim=-1, keepdim=True)).exp()
    return e / e.sum(dim=-1, keepdim=True)


def softmax__first_subtracted(x: Tensor) -> Tensor:
    """You subtract each row's first number; only its largest is sure to leave nothing above 0."""
    e = (x - x[..., :1]).exp()
    return e / e.sum(dim=-1, keepdim=True)


def softmax__clamped(x: Tensor) -> Tensor:
    """You cut large numbers off, so that they all become equal; subtract the row's largest instead."""
    e = x.clamp(max=80.0).exp()
    return e / e.sum(dim=-1, keepdim=True)


def causal_mask__floats(T: int, S: int) -> Tensor:
    """Right where it is 1 and 0, but these are real numbers; a mask is boolean (dtype=torch.bool)."""
    return torch.ones(T, S).tril(S - T)


def causal_mask__added(T: int, S: int) -> Tensor:
    """This is a mask to be added to scores, 0 and -inf; asked for is a boolean one, True = may attend."""
    return torch.zeros(T, S).masked_fill(~causal_mask(T, S), -math.inf)


def causal_mask__square(T: int, S: int) -> Tensor:
    """You return S rows; there are only T queries, the last T of the S moments."""
    return torch.ones(S, S, dtype=torch.bool).tril()


def attention__added_mask(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """You add the mask's 1 and 0 to the scores; hidden keys need a score of -inf."""
    fit = scores(q, k)
    return softmax(fit if mask is None else fit + mask) @ v


def attention__minus_a_hundred(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """-100 is not low enough: true scores may lie below it, and then the hidden key wins. Use -inf."""
    fit = scores(q, k)
    return softmax(fit if mask is None else fit.masked_fill(~mask, -100.0)) @ v


def split_heads__by_head_last(x: Tensor, n_head: int) -> Tensor:
    """Your heads are the last axis; the order asked for is batch, head, time, channels of the head."""
    B, T, C = x.shape
    return x.view(B, T, n_head, C // n_head).permute(0, 1, 3, 2)


def split_heads__heads_before_the_batch(x: Tensor, n_head: int) -> Tensor:
    """Your heads stand before the batch; the order asked for is batch, head, time, channels of the head."""
    return torch.stack(x.chunk(n_head, dim=-1))


def merge_heads__summed(x: Tensor) -> Tensor:
    """You add the heads up; they lie side by side, H times D channels."""
    B, H, T, D = x.shape
    return x.sum(dim=1).repeat(1, 1, H)


def merge_heads__first_only(x: Tensor) -> Tensor:
    """Only the first head is there; all lie side by side."""
    return x[:, 0]


def self_attention__by_head(x: Tensor, qkv: Tensor, proj: Tensor, n_head: int) -> Tensor:
    """You cut x @ qkv into heads first and each head into query, key and value; here all queries come first, then all
    keys, then all values."""
    B, T, C = x.shape
    q, k, v = (x @ qkv).view(B, T, n_head, 3 * C // n_head).transpose(1, 2).chunk(3, dim=-1)
    return merge_heads(attention(q, k, v, causal_mask(T, T))) @ proj


def self_attention__parts_interleaved(x: Tensor, qkv: Tensor, proj: Tensor, n_head: int) -> Tensor:
    """You take every third channel for the queries; x @ qkv holds the three side by side."""
    B, T, C = x.shape
    q, k, v = (split_heads(part, n_head) for part in (x @ qkv).view(B, T, C, 3).unbind(-1))
    return merge_heads(attention(q, k, v, causal_mask(T, T))) @ proj


def self_attention__residual_added(x: Tensor, qkv: Tensor, proj: Tensor, n_head: int) -> Tensor:
    """You add x; the residual connection belongs to the block, not to this layer."""
    return x + self_attention(x, qkv, proj, n_head)
