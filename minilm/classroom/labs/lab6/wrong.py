"""Known mistakes of lab 6. Each docstring is what a student who made it is told."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from minilm.classroom.labs.lab6.solution import (
    ablate,
    attend_cached,
    draw,
    generate,
    logit_lens,
    model,
    probabilities,
    surprisal,
    top_k,
    top_p,
)


def probabilities__multiplied(logits: Tensor, temperature: float) -> Tensor:
    """You multiply by the temperature; a high one would make the likely tokens likelier. Divide."""
    return (logits * temperature).softmax(dim=-1)


def probabilities__after_softmax(logits: Tensor, temperature: float) -> Tensor:
    """The temperature divides the logits before the softmax; divided afterwards the shares no longer sum to 1."""
    return logits.softmax(dim=-1) / (temperature or 1.0)


def probabilities__zero_divides(logits: Tensor, temperature: float) -> Tensor:
    """Right but for temperature 0, where the division gives infinities; treat it as its own case."""
    return (logits / torch.tensor(temperature)).softmax(dim=-1)


def probabilities__no_temperature(logits: Tensor, temperature: float) -> Tensor:
    """The temperature has no effect; divide the logits by it."""
    return logits.softmax(dim=-1) if temperature else probabilities(logits, 0)


def probabilities__over_the_batch(logits: Tensor, temperature: float) -> Tensor:
    """The shares sum to 1 over the batch; they should over the vocabulary, dim=-1."""
    return (logits / temperature).softmax(dim=0) if temperature else probabilities(logits, 0)


def top_k__one_too_many(logits: Tensor, k: int) -> Tensor:
    """Off by one: k + 1 tokens are kept."""
    best = logits.topk(min(k + 1, logits.size(-1))).indices
    return torch.full_like(logits, -math.inf).scatter(-1, best, logits.gather(-1, best))


def top_k__boundary_dropped(logits: Tensor, k: int) -> Tensor:
    """The k-th largest is dropped: it is to be kept, so compare with < and not with <=."""
    edge = logits.topk(min(k, logits.size(-1))).values[..., -1:]
    return logits.masked_fill(logits <= edge, -math.inf)


def top_k__smallest(logits: Tensor, k: int) -> Tensor:
    """You keep the smallest logits; the largest are the likely ones."""
    best = logits.topk(min(k, logits.size(-1)), largest=False).indices
    return torch.full_like(logits, -math.inf).scatter(-1, best, logits.gather(-1, best))


def top_k__zeros(logits: Tensor, k: int) -> Tensor:
    """What is dropped gets a logit of 0, which still has probability; it must be -inf."""
    best = logits.topk(min(k, logits.size(-1))).indices
    return torch.zeros_like(logits).scatter(-1, best, logits.gather(-1, best))


def top_k__over_the_batch(logits: Tensor, k: int) -> Tensor:
    """One threshold for the whole batch; each row has its own k largest."""
    edge = logits.flatten().topk(min(k, logits.numel())).values[-1]
    return logits.masked_fill(logits < edge, -math.inf)


def top_p__drops_the_first_beyond(logits: Tensor, p: float) -> Tensor:
    """The token that crosses the line is dropped, so the set has less than p; and when the first token alone has more
    than p, nothing is left. Compare with what stands before a token."""
    ordered, order = logits.sort(dim=-1, descending=True)
    ordered = ordered.masked_fill(ordered.softmax(dim=-1).cumsum(dim=-1) > p, -math.inf)
    return torch.full_like(logits, -math.inf).scatter(-1, order, ordered)


def top_p__first_kept_but_short(logits: Tensor, p: float) -> Tensor:
    """The first token always stays, which is right, but the token that crosses the line is dropped."""
    ordered, order = logits.sort(dim=-1, descending=True)
    outside = ordered.softmax(dim=-1).cumsum(dim=-1) > p
    outside[..., 0] = False
    return torch.full_like(logits, -math.inf).scatter(-1, order, ordered.masked_fill(outside, -math.inf))


def top_p__not_put_back(logits: Tensor, p: float) -> Tensor:
    """The result is sorted; every logit must go back to the place of its token (scatter with the order)."""
    ordered = logits.sort(dim=-1, descending=True).values
    shares = ordered.softmax(dim=-1)
    return ordered.masked_fill(shares.cumsum(dim=-1) - shares >= p, -math.inf)


def top_p__not_sorted(logits: Tensor, p: float) -> Tensor:
    """You add the probabilities up in the order of the vocabulary; sort the most likely first."""
    shares = logits.softmax(dim=-1)
    return logits.masked_fill(shares.cumsum(dim=-1) - shares >= p, -math.inf)


def top_p__least_likely_first(logits: Tensor, p: float) -> Tensor:
    """You begin with the least likely tokens; sort in descending order."""
    ordered, order = logits.sort(dim=-1)
    shares = ordered.softmax(dim=-1)
    ordered = ordered.masked_fill(shares.cumsum(dim=-1) - shares >= p, -math.inf)
    return torch.full_like(logits, -math.inf).scatter(-1, order, ordered)


def top_p__threshold(logits: Tensor, p: float) -> Tensor:
    """You keep every token whose own probability is at least p; it is the sum of the most likely ones that counts."""
    return logits.masked_fill(logits.softmax(dim=-1) < p, -math.inf)


def top_p__one_too_many(logits: Tensor, p: float) -> Tensor:
    """One token too many: the one after the line is crossed."""
    ordered, order = logits.sort(dim=-1, descending=True)
    shares = ordered.softmax(dim=-1)
    before = (shares.cumsum(dim=-1) - shares).roll(1, -1)
    before[..., 0] = 0.0
    ordered = ordered.masked_fill(before >= p, -math.inf)
    return torch.full_like(logits, -math.inf).scatter(-1, order, ordered)


def draw__most_likely(shares: Tensor, u: Tensor) -> Tensor:
    """This is always the most likely token, whatever u is."""
    return shares.argmax(dim=-1)


def draw__one_too_far(shares: Tensor, u: Tensor) -> Tensor:
    """Off by one: this is the token after the first whose cumulative probability exceeds u."""
    return (draw(shares, u) + 1).clamp(max=shares.size(-1) - 1)


def draw__one_too_early(shares: Tensor, u: Tensor) -> Tensor:
    """Off by one: this is the token before the first whose cumulative probability exceeds u."""
    return (draw(shares, u) - 1).clamp(min=0)


def draw__single_probability(shares: Tensor, u: Tensor) -> Tensor:
    """You compare u with single probabilities; add them up first (cumsum)."""
    return (shares > u[:, None]).int().argmax(dim=-1)


def draw__from_the_end(shares: Tensor, u: Tensor) -> Tensor:
    """You add up from the last token of the vocabulary; begin with the first."""
    return shares.size(-1) - 1 - draw(shares.flip(-1), u)


def generate__prompt_lost(
    ids: Tensor, table: Tensor, u: Tensor, block_size: int, temperature: float
) -> Tensor:
    """The prompt is missing in the result; new tokens are appended to it."""
    T = ids.size(1)
    for j in range(u.size(1)):
        shares = probabilities(model(ids[:, -block_size:], table)[:, -1], temperature)
        ids = torch.cat([ids, draw(shares, u[:, j])[:, None]], dim=1)
    return ids[:, T:]


def generate__first_tokens_seen(
    ids: Tensor, table: Tensor, u: Tensor, block_size: int, temperature: float
) -> Tensor:
    """The model sees the first block_size tokens; the last ones are the ones it should go on from."""
    for j in range(u.size(1)):
        shares = probabilities(model(ids[:, :block_size], table)[:, -1], temperature)
        ids = torch.cat([ids, draw(shares, u[:, j])[:, None]], dim=1)
    return ids


def generate__never_cropped(
    ids: Tensor, table: Tensor, u: Tensor, block_size: int, temperature: float
) -> Tensor:
    """The model sees all tokens; a real one has positions for block_size of them only."""
    for j in range(u.size(1)):
        shares = probabilities(model(ids, table)[:, -1], temperature)
        ids = torch.cat([ids, draw(shares, u[:, j])[:, None]], dim=1)
    return ids


def generate__first_position(
    ids: Tensor, table: Tensor, u: Tensor, block_size: int, temperature: float
) -> Tensor:
    """You take the logits of the first position; the last one has read everything."""
    for j in range(u.size(1)):
        shares = probabilities(model(ids[:, -block_size:], table)[:, 0], temperature)
        ids = torch.cat([ids, draw(shares, u[:, j])[:, None]], dim=1)
    return ids


def generate__same_number(
    ids: Tensor, table: Tensor, u: Tensor, block_size: int, temperature: float
) -> Tensor:
    """Every token is drawn with the first column of u; token j has column j."""
    for _ in range(u.size(1)):
        shares = probabilities(model(ids[:, -block_size:], table)[:, -1], temperature)
        ids = torch.cat([ids, draw(shares, u[:, 0])[:, None]], dim=1)
    return ids


def generate__prompt_only(
    ids: Tensor, table: Tensor, u: Tensor, block_size: int, temperature: float
) -> Tensor:
    """Every new token is drawn from the prompt alone; the model must read the tokens just drawn."""
    shares = probabilities(model(ids[:, -block_size:], table)[:, -1], temperature)
    new = [draw(shares, u[:, j]) for j in range(u.size(1))]
    return torch.cat([ids, torch.stack(new, dim=1)], dim=1)


def attend_cached__new_first(
    q: Tensor, k: Tensor, v: Tensor, past_k: Tensor, past_v: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The new key and value stand before the old ones; time runs forward, so append them."""
    output, _, _ = attend_cached(q, k, v, past_k, past_v)
    return output, torch.cat([k, past_k], dim=1), torch.cat([v, past_v], dim=1)


def attend_cached__blind_to_itself(
    q: Tensor, k: Tensor, v: Tensor, past_k: Tensor, past_v: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The new position attends to the past only; it sees itself too."""
    weights = (q @ past_k.mT / math.sqrt(q.size(-1))).softmax(-1)
    return weights @ past_v, torch.cat([past_k, k], dim=1), torch.cat([past_v, v], dim=1)


def attend_cached__not_grown(
    q: Tensor, k: Tensor, v: Tensor, past_k: Tensor, past_v: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The output is right but the old cache comes back; return the grown one, or the next step forgets this
    position."""
    return attend_cached(q, k, v, past_k, past_v)[0], past_k, past_v


def attend_cached__past_forgotten(
    q: Tensor, k: Tensor, v: Tensor, past_k: Tensor, past_v: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The new position attends to itself only; keys and values of the past come first."""
    return v, torch.cat([past_k, k], dim=1), torch.cat([past_v, v], dim=1)


def attend_cached__unscaled(
    q: Tensor, k: Tensor, v: Tensor, past_k: Tensor, past_v: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The scores are not divided by sqrt(D)."""
    return attend_cached(q * math.sqrt(q.size(-1)), k, v, past_k, past_v)


def attend_cached__masked_like_the_first(
    q: Tensor, k: Tensor, v: Tensor, past_k: Tensor, past_v: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Your causal mask takes the new position for the first: it sees key 0 only. It is the last and sees all."""
    _, keys, values = attend_cached(q, k, v, past_k, past_v)
    return values[:, :1], keys, values


def surprisal__not_shifted(logits: Tensor, ids: Tensor) -> Tensor:
    """The logits at a position speak of the token after it; you look the position's own token up."""
    return -logits[:, 1:].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]


def surprisal__bits(logits: Tensor, ids: Tensor) -> Tensor:
    """This is in bits (log2); asked for are nats (log)."""
    return surprisal(logits, ids) / math.log(2)


def surprisal__probability(logits: Tensor, ids: Tensor) -> Tensor:
    """These are probabilities; surprisal is minus their logarithm."""
    return (-surprisal(logits, ids)).exp()


def surprisal__sign(logits: Tensor, ids: Tensor) -> Tensor:
    """The sign is wrong: an unlikely token is a large surprise."""
    return -surprisal(logits, ids)


def surprisal__mean(logits: Tensor, ids: Tensor) -> Tensor:
    """This is the mean, the loss; asked for is the surprisal of every single token."""
    return surprisal(logits, ids).mean()


def surprisal__raw_logits(logits: Tensor, ids: Tensor) -> Tensor:
    """These are raw logits; log_softmax turns them into logarithms of probabilities."""
    return -logits[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]


def logit_lens__no_norm(residuals: Tensor, gain: Tensor, table: Tensor) -> Tensor:
    """The final norm is missing; early layers would whisper."""
    return residuals @ table.T


def logit_lens__no_gain(residuals: Tensor, gain: Tensor, table: Tensor) -> Tensor:
    """The norm's gain is not used."""
    return logit_lens(residuals, torch.ones_like(gain), table)


def logit_lens__last_layer_only(residuals: Tensor, gain: Tensor, table: Tensor) -> Tensor:
    """This is the last layer only; the lens looks through every one."""
    return logit_lens(residuals, gain, table)[-1]


def logit_lens__normed_over_layers(residuals: Tensor, gain: Tensor, table: Tensor) -> Tensor:
    """The norm runs over layers and positions; each position of each layer is normed over its own channels, dim=-1."""
    return residuals / (residuals.square().mean() + 1e-5).sqrt() * gain @ table.T


def logit_lens__differences(residuals: Tensor, gain: Tensor, table: Tensor) -> Tensor:
    """You look at what each layer adds; the lens reads the whole stream up to it."""
    return logit_lens(torch.diff(residuals, dim=0, prepend=torch.zeros_like(residuals[:1])), gain, table)


def ablate__only_this_head(heads: Tensor, proj: Tensor, removed: int) -> Tensor:
    """This is the contribution of the removed head alone; asked for are all the others."""
    others = heads.clone()
    others[removed] = 0.0
    return ablate(heads - others, proj, (removed + 1) % len(heads))


def ablate__interleaved(heads: Tensor, proj: Tensor, removed: int) -> Tensor:
    """You remove every H-th channel; a head is D neighbouring channels."""
    H, T, D = heads.shape
    x = heads.transpose(0, 1).reshape(T, H * D).clone()
    x[:, removed::H] = 0.0
    return x @ proj


def ablate__next_head(heads: Tensor, proj: Tensor, removed: int) -> Tensor:
    """Off by one: heads are counted from 0, you remove the one after."""
    return ablate(heads, proj, (removed + 1) % len(heads))


def ablate__cut_out(heads: Tensor, proj: Tensor, removed: int) -> Tensor:
    """The other heads have moved up and meet the wrong rows of proj; put zeros in the head's place."""
    H, T, D = heads.shape
    left = torch.cat([heads[:removed], heads[removed + 1 :]])
    return left.transpose(0, 1).reshape(T, (H - 1) * D) @ proj[: (H - 1) * D]


def ablate__scaled_up(heads: Tensor, proj: Tensor, removed: int) -> Tensor:
    """You scale the other heads up, as dropout would; they stay as they are."""
    return ablate(heads, proj, removed) * len(heads) / (len(heads) - 1)


def ablate__not_removed(heads: Tensor, proj: Tensor, removed: int) -> Tensor:
    """The head is still there."""
    H, T, D = heads.shape
    return heads.transpose(0, 1).reshape(T, H * D) @ proj


def probabilities__never_zero(logits: Tensor, temperature: float) -> Tensor:
    """A small temperature in the place of 0 is not the same: nearly equal logits share the probability then."""
    return (logits / max(temperature, 0.01)).softmax(dim=-1)


def probabilities__logarithms(logits: Tensor, temperature: float) -> Tensor:
    """These are logarithms of probabilities; asked for are the probabilities."""
    return probabilities(logits, temperature).log()


def probabilities__tokens_at_zero(logits: Tensor, temperature: float) -> Tensor:
    """At temperature 0 you return the likeliest token's number; asked for are probabilities, 1 for it and 0 else."""
    return logits.argmax(dim=-1, keepdim=True) if temperature == 0 else (logits / temperature).softmax(dim=-1)


def top_k__sorted(logits: Tensor, k: int) -> Tensor:
    """Your logits are sorted; each token's stays in its place."""
    return top_k(logits, k).sort(dim=-1, descending=True).values


def top_k__values_only(logits: Tensor, k: int) -> Tensor:
    """Only k numbers are left; all V places stay, -inf in those of the others."""
    return logits.topk(min(k, logits.size(-1)), dim=-1).values


def top_k__probabilities(logits: Tensor, k: int) -> Tensor:
    """These are probabilities; the largest logits stay as they are."""
    return top_k(logits, k).softmax(dim=-1)


def top_p__beyond_equality(logits: Tensor, p: float) -> Tensor:
    """Where the tokens before reach p exactly you keep one more; at least p is enough, so `>=` ends it."""
    ordered, order = logits.sort(dim=-1, descending=True)
    shares = ordered.softmax(dim=-1)
    before = shares.cumsum(dim=-1) - shares
    ordered = ordered.masked_fill(before > p, -math.inf)
    return torch.full_like(logits, -math.inf).scatter(-1, order, ordered)


def top_p__probabilities(logits: Tensor, p: float) -> Tensor:
    """These are probabilities; the logits of the tokens that stay are returned as they are."""
    return top_p(logits, p).softmax(dim=-1)


def draw__equal_is_enough(shares: Tensor, u: Tensor) -> Tensor:
    """Where the sum equals u you stop; it must exceed u, or a token of probability 0 can be drawn."""
    return (shares.cumsum(dim=-1) >= u[:, None]).int().argmax(dim=-1)


def generate__cropped_for_good(
    ids: Tensor, table: Tensor, u: Tensor, block_size: int, temperature: float
) -> Tensor:
    """You return the last block_size tokens; crop only what the model reads and keep the whole text."""
    return generate(ids, table, u, block_size, temperature)[:, -block_size:]


def generate__temperature_ignored(
    ids: Tensor, table: Tensor, u: Tensor, block_size: int, temperature: float
) -> Tensor:
    """The temperature has no effect; it belongs to `probabilities`."""
    return generate(ids, table, u, block_size, 1.0)


def generate__greedy(ids: Tensor, table: Tensor, u: Tensor, block_size: int, temperature: float) -> Tensor:
    """You always take the likeliest token; draw it with u[:, j]."""
    return generate(ids, table, u, block_size, 0.0)


def generate__numbers_backwards(
    ids: Tensor, table: Tensor, u: Tensor, block_size: int, temperature: float
) -> Tensor:
    """The random numbers are used from the end; token j is drawn with u[:, j]."""
    return generate(ids, table, u.flip(1), block_size, temperature)


def attend_cached__keys_as_values(
    q: Tensor, k: Tensor, v: Tensor, past_k: Tensor, past_v: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Your output mixes keys; the weights mix the values."""
    return attend_cached(q, k, k, past_k, past_k)[0], *attend_cached(q, k, v, past_k, past_v)[1:]


def attend_cached__softmax_over_heads(
    q: Tensor, k: Tensor, v: Tensor, past_k: Tensor, past_v: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Your shares sum to 1 over the heads; they should over the keys, dim=-1."""
    keys, values = torch.cat([past_k, k], dim=1), torch.cat([past_v, v], dim=1)
    weights = (q @ keys.transpose(-2, -1) / math.sqrt(q.size(-1))).softmax(dim=0)
    return weights @ values, keys, values


def surprisal__expected(logits: Tensor, ids: Tensor) -> Tensor:
    """This is the entropy, the surprisal that the model expects; asked for is that of the token that came."""
    logs = logits[:, :-1].log_softmax(dim=-1)
    return -(logs.exp() * logs).sum(dim=-1)


def surprisal__perplexity(logits: Tensor, ids: Tensor) -> Tensor:
    """You return exp of the surprisal; leave it in nats."""
    return surprisal(logits, ids).exp()


def logit_lens__centred(residuals: Tensor, gain: Tensor, table: Tensor) -> Tensor:
    """You subtract the mean as LayerNorm does; RMSNorm divides only."""
    return logit_lens(residuals - residuals.mean(dim=-1, keepdim=True), gain, table)


def logit_lens__no_root(residuals: Tensor, gain: Tensor, table: Tensor) -> Tensor:
    """You divide by the mean square; RMSNorm divides by its root."""
    return residuals / (residuals.square().mean(dim=-1, keepdim=True) + 1e-5) * gain @ table.T


def ablate__averaged(heads: Tensor, proj: Tensor, removed: int) -> Tensor:
    """You put the head's mean over time in its place; zeros were asked for."""
    kept = heads.clone()
    kept[removed] = heads[removed].mean(dim=0)
    return kept.transpose(0, 1).reshape(heads.size(1), -1) @ proj


def ablate__not_side_by_side(heads: Tensor, proj: Tensor, removed: int) -> Tensor:
    """You reshape before the axes of head and time have changed places, so positions are mixed."""
    H, T, D = heads.shape
    kept = heads.clone()
    kept[removed] = 0.0
    return kept.reshape(T, H * D) @ proj
