"""Known mistakes of lab 3. Each docstring is what a student who made it is told."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from minilm.classroom.labs.lab3.solution import block, embed, gelu, gpt, layer_norm, mlp, self_attention


def layer_norm__over_time(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Mean and variance run over the positions; a position is normed by itself, over its channels (dim=-1)."""
    mean, var = x.mean(dim=-2, keepdim=True), x.var(dim=-2, keepdim=True, unbiased=False)
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def layer_norm__over_everything(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Mean and variance are those of the whole tensor; each position needs its own, with dim=-1 and keepdim=True."""
    return (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt() * weight + bias


def layer_norm__unbiased(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The variance divides by C - 1; torch's var does so unless it is told unbiased=False."""
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt() * weight + bias


def layer_norm__no_root(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """You divide by the variance; divide by its square root."""
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5) * weight + bias


def layer_norm__no_epsilon(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Right for most inputs, but where all channels are equal the variance is 0 and 0 / 0 is NaN: add 1e-5."""
    return (x - x.mean(-1, keepdim=True)) / x.var(-1, keepdim=True, unbiased=False).sqrt() * weight + bias


def layer_norm__rms(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The mean is not subtracted; that is RMSNorm, another norm."""
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight + bias


def layer_norm__no_gain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """weight and bias are not used."""
    return F.layer_norm(x, x.shape[-1:])


def gelu__exact(x: Tensor) -> Tensor:
    """This is the exact GELU with erf; GPT-2 uses the formula with tanh, which differs in the fourth decimal."""
    return F.gelu(x)


def gelu__relu(x: Tensor) -> Tensor:
    """This is ReLU; negative numbers are not simply cut off by GELU."""
    return x.relu()


def gelu__silu(x: Tensor) -> Tensor:
    """This is x sigmoid(x), called SiLU or swish."""
    return F.silu(x)


def gelu__no_half(x: Tensor) -> Tensor:
    """The factor 0.5 is missing."""
    return 2 * F.gelu(x, approximate="tanh")


def gelu__pi_over_two(x: Tensor) -> Tensor:
    """The root is of 2 / pi, not of pi / 2."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(math.pi / 2) * (x + 0.044715 * x**3)))


def gelu__no_cube(x: Tensor) -> Tensor:
    """The term 0.044715 x^3 is missing."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * x))


def mlp__no_activation(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Without gelu between them the two products are one, and the layer is linear."""
    return x @ up @ down


def mlp__activation_last(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """gelu comes after the second product; it stands between the two."""
    return gelu(x @ up @ down)


def mlp__activation_twice(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """gelu stands between the products only; you apply it to the result too, so the branch could hardly subtract."""
    return gelu(gelu(x @ up) @ down)


def mlp__with_residual(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """The residual is the block's business; you add x here already."""
    return x + gelu(x @ up) @ down


def block__post_norm(x: Tensor, weights: dict[str, Tensor], n_head: int) -> Tensor:
    """You norm after the addition, as the first transformer did; GPT-2 norms what goes into a branch and leaves the
    residual free."""
    w = weights
    x = layer_norm(x + self_attention(x, w["qkv"], w["proj"], n_head), w["norm_1"], w["norm_1_bias"])
    return layer_norm(x + mlp(x, w["up"], w["down"]), w["norm_2"], w["norm_2_bias"])


def block__no_residual(x: Tensor, weights: dict[str, Tensor], n_head: int) -> Tensor:
    """The residuals are missing: each branch is added to x."""
    w = weights
    x = self_attention(layer_norm(x, w["norm_1"], w["norm_1_bias"]), w["qkv"], w["proj"], n_head)
    return mlp(layer_norm(x, w["norm_2"], w["norm_2_bias"]), w["up"], w["down"])


def block__residual_of_the_normed(x: Tensor, weights: dict[str, Tensor], n_head: int) -> Tensor:
    """You add the branch to the normed x; add it to x itself."""
    w = weights
    x = layer_norm(x, w["norm_1"], w["norm_1_bias"])
    x = x + self_attention(x, w["qkv"], w["proj"], n_head)
    x = layer_norm(x, w["norm_2"], w["norm_2_bias"])
    return x + mlp(x, w["up"], w["down"])


def block__parallel(x: Tensor, weights: dict[str, Tensor], n_head: int) -> Tensor:
    """The MLP reads what the attention has written; in yours both read the block's input."""
    w = weights
    attended = self_attention(layer_norm(x, w["norm_1"], w["norm_1_bias"]), w["qkv"], w["proj"], n_head)
    return x + attended + mlp(layer_norm(x, w["norm_2"], w["norm_2_bias"]), w["up"], w["down"])


def block__one_norm_twice(x: Tensor, weights: dict[str, Tensor], n_head: int) -> Tensor:
    """The second branch uses the first norm's numbers; it has norm_2 and norm_2_bias."""
    w = weights
    x = x + self_attention(layer_norm(x, w["norm_1"], w["norm_1_bias"]), w["qkv"], w["proj"], n_head)
    return x + mlp(layer_norm(x, w["norm_1"], w["norm_1_bias"]), w["up"], w["down"])


def block__mlp_first(x: Tensor, weights: dict[str, Tensor], n_head: int) -> Tensor:
    """The order is attention, then MLP; yours is the other one."""
    w = weights
    x = x + mlp(layer_norm(x, w["norm_2"], w["norm_2_bias"]), w["up"], w["down"])
    return x + self_attention(layer_norm(x, w["norm_1"], w["norm_1_bias"]), w["qkv"], w["proj"], n_head)


def embed__no_positions(ids: Tensor, wte: Tensor, wpe: Tensor) -> Tensor:
    """Positions are missing; without them a decoder hardly knows the order of its tokens."""
    return wte[ids]


def embed__positions_from_one(ids: Tensor, wte: Tensor, wpe: Tensor) -> Tensor:
    """Off by one: the first position is 0."""
    return wte[ids] + wpe[1 : ids.size(1) + 1]


def embed__last_positions(ids: Tensor, wte: Tensor, wpe: Tensor) -> Tensor:
    """You take the last T rows of wpe; the first position of the text is row 0."""
    return wte[ids] + wpe[-ids.size(1) :]


def embed__positions_by_batch(ids: Tensor, wte: Tensor, wpe: Tensor) -> Tensor:
    """The position is the place in time; you use the number of the row in the batch."""
    return wte[ids] + wpe[: ids.size(0), None]


def embed__positions_by_token(ids: Tensor, wte: Tensor, wpe: Tensor) -> Tensor:
    """You look positions up with the tokens' ids. Position t gets row t, whatever token stands there."""
    return wte[ids] + wpe[ids % len(wpe)]


def gpt__no_final_norm(ids: Tensor, weights: dict[str, Any], n_head: int) -> Tensor:
    """The last norm, norm_f, is missing before the logits."""
    x = embed(ids, weights["wte"], weights["wpe"])
    for each in weights["blocks"]:
        x = block(x, each, n_head)
    return x @ weights["wte"].T


def gpt__first_block_only(ids: Tensor, weights: dict[str, Any], n_head: int) -> Tensor:
    """Only the first block is used; perhaps a return stands inside the loop."""
    x = block(embed(ids, weights["wte"], weights["wpe"]), weights["blocks"][0], n_head)
    return layer_norm(x, weights["norm_f"], weights["norm_f_bias"]) @ weights["wte"].T


def gpt__last_block_only(ids: Tensor, weights: dict[str, Any], n_head: int) -> Tensor:
    """Every block must read what the one before has written; in yours each begins with the embeddings again."""
    start = embed(ids, weights["wte"], weights["wpe"])
    for each in weights["blocks"]:
        x = block(start, each, n_head)
    return layer_norm(x, weights["norm_f"], weights["norm_f_bias"]) @ weights["wte"].T


def gpt__probabilities(ids: Tensor, weights: dict[str, Any], n_head: int) -> Tensor:
    """These are probabilities; logits are what goes into the softmax."""
    x = embed(ids, weights["wte"], weights["wpe"])
    for each in weights["blocks"]:
        x = block(x, each, n_head)
    return (layer_norm(x, weights["norm_f"], weights["norm_f_bias"]) @ weights["wte"].T).softmax(-1)


def gpt__last_position_only(ids: Tensor, weights: dict[str, Any], n_head: int) -> Tensor:
    """These are the logits of the last position; training needs those of all, (B, T, V)."""
    x = embed(ids, weights["wte"], weights["wpe"])
    for each in weights["blocks"]:
        x = block(x, each, n_head)
    return layer_norm(x[:, -1], weights["norm_f"], weights["norm_f_bias"]) @ weights["wte"].T


def loss__not_shifted(logits: Tensor, labels: Tensor) -> Tensor:
    """The labels are not shifted: position t is asked for token t, which it has just read. It predicts t + 1."""
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def loss__shifted_back(logits: Tensor, labels: Tensor) -> Tensor:
    """Shifted the wrong way: position t is asked for token t - 1."""
    return F.cross_entropy(logits[:, 1:].flatten(0, 1), labels[:, :-1].flatten())


def loss__sum(logits: Tensor, labels: Tensor) -> Tensor:
    """This is the sum; the loss is the mean over the counted labels."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")


def loss__mean_over_ignored_too(logits: Tensor, labels: Tensor) -> Tensor:
    """You divide by the number of all labels; those of -100 do not count."""
    logits, labels = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    return F.cross_entropy(logits, labels, reduction="sum") / labels.numel()


def loss__ignored_counted(logits: Tensor, labels: Tensor) -> Tensor:
    """Labels of -100 are counted as if they were token 0; leave them out."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten().clamp(min=0))


def loss__bits(logits: Tensor, labels: Tensor) -> Tensor:
    """This is in bits (log2); asked for are nats (log)."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()) / math.log(2)


def loss__mean_of_rows(logits: Tensor, labels: Tensor) -> Tensor:
    """You average each row and then the rows; with labels of -100 rows count differently many. Average once, over all
    counted labels."""
    rows = zip(logits, labels, strict=True)
    return torch.stack([F.cross_entropy(x[:-1], y[1:]) for x, y in rows]).mean()


def loss__softmax_twice(logits: Tensor, labels: Tensor) -> Tensor:
    """cross_entropy takes logits; it applies log_softmax itself, so do not softmax before."""
    return F.cross_entropy(logits.softmax(-1)[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


def layer_norm__epsilon_outside(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """You add epsilon to the root; it stands under it. Where the channels hardly differ, that is a factor."""
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True).sqrt() + 1e-5) * weight + bias


def layer_norm__no_bias(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The bias is missing at the end."""
    return layer_norm(x, weight, bias) - bias


def layer_norm__centred_only(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """You subtract the mean and do not divide by the standard deviation."""
    return (x - x.mean(dim=-1, keepdim=True)) * weight + bias


def layer_norm__bias_scaled(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """You add the bias before the weight multiplies; it comes last."""
    return (layer_norm(x, torch.ones_like(weight), torch.zeros_like(bias)) + bias) * weight


def gelu__quick(x: Tensor) -> Tensor:
    """This is x sigmoid(1.702 x), another approximation; the one asked for has a tanh."""
    return x * torch.sigmoid(1.702 * x)


def gelu__no_one(x: Tensor) -> Tensor:
    """The 1 before the tanh is missing, so that large negative numbers do not vanish."""
    return 0.5 * x * torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def mlp__relu(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Between the two products stands relu; asked for is gelu."""
    return (x @ up).relu() @ down


def mlp__not_back(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """You stop at 4 C channels; one more product leads back."""
    return gelu(x @ up)


def block__mlp_not_normed(x: Tensor, weights: dict[str, Tensor], n_head: int) -> Tensor:
    """The second branch reads x as it is; norm_2 stands before the mlp."""
    normed = layer_norm(x, weights["norm_1"], weights["norm_1_bias"])
    x = x + self_attention(normed, weights["qkv"], weights["proj"], n_head)
    return x + mlp(x, weights["up"], weights["down"])


def block__attention_not_normed(x: Tensor, weights: dict[str, Tensor], n_head: int) -> Tensor:
    """The first branch reads x as it is; norm_1 stands before the attention."""
    x = x + self_attention(x, weights["qkv"], weights["proj"], n_head)
    normed = layer_norm(x, weights["norm_2"], weights["norm_2_bias"])
    return x + mlp(normed, weights["up"], weights["down"])


def block__norms_swapped(x: Tensor, weights: dict[str, Tensor], n_head: int) -> Tensor:
    """norm_1 and norm_2 are swapped: the first stands before the attention."""
    swapped = {**weights, "norm_1": weights["norm_2"], "norm_1_bias": weights["norm_2_bias"]}
    return block(x, {**swapped, "norm_2": weights["norm_1"], "norm_2_bias": weights["norm_1_bias"]}, n_head)


def block__attention_twice(x: Tensor, weights: dict[str, Tensor], n_head: int) -> Tensor:
    """The mlp is missing; the second branch is not another attention."""
    for norm in ("norm_1", "norm_2"):
        normed = layer_norm(x, weights[norm], weights[f"{norm}_bias"])
        x = x + self_attention(normed, weights["qkv"], weights["proj"], n_head)
    return x


def embed__multiplied(ids: Tensor, wte: Tensor, wpe: Tensor) -> Tensor:
    """You multiply tokens and positions; they are added."""
    return wte[ids] * wpe[: ids.size(1)]


def embed__scaled(ids: Tensor, wte: Tensor, wpe: Tensor) -> Tensor:
    """You multiply the tokens by the root of C, as the first Transformer did; GPT-2 does not."""
    return wte[ids] * math.sqrt(wte.size(1)) + wpe[: ids.size(1)]


def gpt__norm_between(ids: Tensor, weights: dict[str, Any], n_head: int) -> Tensor:
    """You norm after every block; norm_f stands once, after the last."""
    x = embed(ids, weights["wte"], weights["wpe"])
    for each in weights["blocks"]:
        x = layer_norm(block(x, each, n_head), weights["norm_f"], weights["norm_f_bias"])
    return x @ weights["wte"].T


def gpt__blocks_backwards(ids: Tensor, weights: dict[str, Any], n_head: int) -> Tensor:
    """The blocks run in the wrong order; the first of the list comes first."""
    return gpt(ids, {**weights, "blocks": weights["blocks"][::-1]}, n_head)


def gpt__log_probabilities(ids: Tensor, weights: dict[str, Any], n_head: int) -> Tensor:
    """These are logarithms of probabilities; asked for are the logits before any softmax."""
    return gpt(ids, weights, n_head).log_softmax(dim=-1)


def loss__rolled(logits: Tensor, labels: Tensor) -> Tensor:
    """roll brings the first label to the end, where nothing can predict it; leave out the last logits."""
    return F.cross_entropy(logits.flatten(0, 1), labels.roll(-1, dims=1).flatten(), ignore_index=-100)


def loss__last_position_only(logits: Tensor, labels: Tensor) -> Tensor:
    """Only the last label counts here; all do but the first."""
    return F.cross_entropy(logits[:, -2], labels[:, -1], ignore_index=-100)


def loss__without_logarithm(logits: Tensor, labels: Tensor) -> Tensor:
    """You average probabilities; average their negative logarithms."""
    shares = logits[:, :-1].softmax(dim=-1)
    kept = labels[:, 1:] != -100
    return -shares.gather(-1, labels[:, 1:].clamp(min=0)[..., None])[..., 0][kept].mean()
