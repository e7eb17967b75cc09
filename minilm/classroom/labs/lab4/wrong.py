"""Known mistakes of lab 4. Each docstring is what a student who made it is told."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from minilm.classroom.labs.lab4.solution import (
    adamw,
    clip,
    learning_rate,
    load_checkpoint,
    loss_and_gradient,
    read_json,
    save_checkpoint,
    train,
    write_json,
)


def learning_rate__cosine_off_by_one(step: int, steps: int, warmup: int, peak: float, floor: float) -> float:
    """Off by one: your cosine reaches the floor one step after the last. The last step is steps - 1."""
    if step < warmup:
        return peak * (step + 1) / warmup
    x = (step - warmup) / (steps - warmup)
    return floor + (peak - floor) * (1 + math.cos(math.pi * x)) / 2


def learning_rate__starts_at_zero(step: int, steps: int, warmup: int, peak: float, floor: float) -> float:
    """Your first step has a rate of zero and is wasted; step t takes peak (t + 1) / warmup."""
    if step < warmup:
        return peak * step / warmup
    return learning_rate(step, steps, warmup, peak, floor)


def learning_rate__linear(step: int, steps: int, warmup: int, peak: float, floor: float) -> float:
    """After the warm-up your rate falls in a straight line; asked for is half a cosine."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak + (floor - peak) * (step - warmup) / (steps - 1 - warmup)


def learning_rate__whole_cosine(step: int, steps: int, warmup: int, peak: float, floor: float) -> float:
    """Your rate falls and rises again: a whole cosine (2 pi). Half of one (pi) ends at the floor."""
    if step < warmup:
        return peak * (step + 1) / warmup
    x = (step - warmup) / (steps - 1 - warmup)
    return floor + (peak - floor) * (1 + math.cos(2 * math.pi * x)) / 2


def learning_rate__to_zero(step: int, steps: int, warmup: int, peak: float, floor: float) -> float:
    """Your rate ends at zero; it should end at `floor`."""
    return learning_rate(step, steps, warmup, peak, 0.0)


def learning_rate__floor_added(step: int, steps: int, warmup: int, peak: float, floor: float) -> float:
    """You add the floor to the whole cosine, so the peak is too high; the cosine spans peak - floor."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return floor + learning_rate(step, steps, warmup, peak, 0.0)


def learning_rate__cosine_from_step_zero(
    step: int, steps: int, warmup: int, peak: float, floor: float
) -> float:
    """The cosine begins after the warm-up; yours has begun at step 0, so the rate jumps down when the warm-up ends."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return floor + (peak - floor) * (1 + math.cos(math.pi * step / (steps - 1))) / 2


def clip__each_by_itself(gradients: list[Tensor], limit: float) -> tuple[list[Tensor], float]:
    """Each tensor is clipped by its own norm, which turns the direction; there is one norm for all of them."""
    return [clip([gradient], limit)[0][0] for gradient in gradients], clip(gradients, limit)[1]


def clip__values(gradients: list[Tensor], limit: float) -> tuple[list[Tensor], float]:
    """You clamp single numbers; the norm of all gradients together is to be limited, with one factor."""
    return [gradient.clamp(-limit, limit) for gradient in gradients], clip(gradients, limit)[1]


def clip__always(gradients: list[Tensor], limit: float) -> tuple[list[Tensor], float]:
    """Gradients shorter than the limit are stretched to it; they should stay as they are."""
    norm = clip(gradients, limit)[1]
    return [gradient * (limit / norm if norm else 1.0) for gradient in gradients], norm


def clip__squared_norm(gradients: list[Tensor], limit: float) -> tuple[list[Tensor], float]:
    """This is the square of the norm; the root is missing."""
    norm = clip(gradients, limit)[1] ** 2
    return [gradient * min(1.0, limit / norm if norm else 1.0) for gradient in gradients], norm


def clip__sum_of_norms(gradients: list[Tensor], limit: float) -> tuple[list[Tensor], float]:
    """Norms do not add up: the common norm is the root of the sum of their squares."""
    norm = sum(float(gradient.norm()) for gradient in gradients)
    return [gradient * min(1.0, limit / norm if norm else 1.0) for gradient in gradients], norm


def clip__norm_afterwards(gradients: list[Tensor], limit: float) -> tuple[list[Tensor], float]:
    """The norm that you return is the one after clipping; the one before tells how the training goes."""
    clipped, norm = clip(gradients, limit)
    return clipped, min(norm, limit)


def clip__zero_divides(gradients: list[Tensor], limit: float) -> tuple[list[Tensor], float]:
    """Right but for gradients of zero, where limit / norm divides by zero."""
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    factor = limit / norm if norm > limit or norm == 0 else 1.0
    return [gradient * factor for gradient in gradients], float(norm)


def adamw__decay_inside_the_moment(
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: int,
    lr: float,
    betas: list[float],
    eps: float,
    decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The decay is added to the gradient and enters m and v: that is Adam with L2. In AdamW it pulls at p alone."""
    return adamw(p, g + decay * p, m, v, t, lr, betas, eps, 0.0)


def adamw__no_correction(
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: int,
    lr: float,
    betas: list[float],
    eps: float,
    decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """m and v are not divided by 1 - beta^t; the first steps are far from their right size."""
    m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
    return p - lr * (m / (v.sqrt() + eps) + decay * p), m, v


def adamw__correction_off_by_one(
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: int,
    lr: float,
    betas: list[float],
    eps: float,
    decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Off by one: t is 1 at the first step already, you correct with t + 1."""
    return adamw(p, g, m, v, t + 1, lr, betas, eps, decay)


def adamw__corrected_moments_kept(
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: int,
    lr: float,
    betas: list[float],
    eps: float,
    decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The step is right, but you return the corrected m and v; the next step needs those before the correction."""
    p, m, v = adamw(p, g, m, v, t, lr, betas, eps, decay)
    return p, m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)


def adamw__epsilon_inside_the_root(
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: int,
    lr: float,
    betas: list[float],
    eps: float,
    decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """eps stands under the root; it is added to the root."""
    m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
    m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    return p - lr * (m_hat / (v_hat + eps).sqrt() + decay * p), m, v


def adamw__decay_without_rate(
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: int,
    lr: float,
    betas: list[float],
    eps: float,
    decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The decay is not multiplied by the learning rate."""
    moved, m, v = adamw(p, g, m, v, t, lr, betas, eps, 0.0)
    return moved - decay * p, m, v


def adamw__no_root(
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: int,
    lr: float,
    betas: list[float],
    eps: float,
    decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """You divide by v; divide by its root."""
    m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
    return p - lr * (m / (1 - betas[0] ** t) / (v / (1 - betas[1] ** t) + eps) + decay * p), m, v


def adamw__gradient_not_squared(
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: int,
    lr: float,
    betas: list[float],
    eps: float,
    decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """v is the mean of the gradient's square; you take its absolute value."""
    m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g.abs()
    m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    return p - lr * (m_hat / (v_hat.sqrt() + eps) + decay * p), m, v


def adamw__uphill(
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: int,
    lr: float,
    betas: list[float],
    eps: float,
    decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """You add the step; the gradient points uphill, so it is subtracted."""
    moved, m, v = adamw(p, g, m, v, t, lr, betas, eps, decay)
    return 2 * p - moved, m, v


def train__loss_after_the_step(
    state: dict[str, Any], batches: list[list[Tensor]], options: dict[str, Any]
) -> tuple[dict[str, Any], list[float]]:
    """You measure the loss after the step, on the batch that it has just learned; measure it before."""
    table, m, v, done = (state[name] for name in ("table", "m", "v", "step"))
    o, losses = options, []
    for x, y in batches:
        (gradient,), _ = clip([loss_and_gradient(table, x, y)[1]], o["limit"])
        lr = learning_rate(done, o["steps"], o["warmup"], o["peak"], o["floor"])
        done += 1
        table, m, v = adamw(table, gradient, m, v, done, lr, o["betas"], o["eps"], o["decay"])
        losses.append(loss_and_gradient(table, x, y)[0])
    return {"table": table, "m": m, "v": v, "step": done}, losses


def train__rate_restarts(
    state: dict[str, Any], batches: list[list[Tensor]], options: dict[str, Any]
) -> tuple[dict[str, Any], list[float]]:
    """Right from the beginning, wrong after a break: the learning rate's step starts at 0 again instead of at
    state["step"]."""
    table, m, v, done = (state[name] for name in ("table", "m", "v", "step"))
    o, losses = options, []
    for number, (x, y) in enumerate(batches):
        loss, gradient = loss_and_gradient(table, x, y)
        losses.append(loss)
        (gradient,), _ = clip([gradient], o["limit"])
        lr = learning_rate(number, o["steps"], o["warmup"], o["peak"], o["floor"])
        done += 1
        table, m, v = adamw(table, gradient, m, v, done, lr, o["betas"], o["eps"], o["decay"])
    return {"table": table, "m": m, "v": v, "step": done}, losses


def train__rate_one_ahead(
    state: dict[str, Any], batches: list[list[Tensor]], options: dict[str, Any]
) -> tuple[dict[str, Any], list[float]]:
    """Off by one: the learning rate's steps are counted from 0, AdamW's t from 1; you give both the same number."""
    table, m, v, done = (state[name] for name in ("table", "m", "v", "step"))
    o, losses = options, []
    for x, y in batches:
        loss, gradient = loss_and_gradient(table, x, y)
        losses.append(loss)
        (gradient,), _ = clip([gradient], o["limit"])
        done += 1
        lr = learning_rate(done, o["steps"], o["warmup"], o["peak"], o["floor"])
        table, m, v = adamw(table, gradient, m, v, done, lr, o["betas"], o["eps"], o["decay"])
    return {"table": table, "m": m, "v": v, "step": done}, losses


def train__not_clipped(
    state: dict[str, Any], batches: list[list[Tensor]], options: dict[str, Any]
) -> tuple[dict[str, Any], list[float]]:
    """The gradients are not clipped, or the clipped ones are not used."""
    table, m, v, done = (state[name] for name in ("table", "m", "v", "step"))
    o, losses = options, []
    for x, y in batches:
        loss, gradient = loss_and_gradient(table, x, y)
        losses.append(loss)
        lr = learning_rate(done, o["steps"], o["warmup"], o["peak"], o["floor"])
        done += 1
        table, m, v = adamw(table, gradient, m, v, done, lr, o["betas"], o["eps"], o["decay"])
    return {"table": table, "m": m, "v": v, "step": done}, losses


def train__moments_forgotten(
    state: dict[str, Any], batches: list[list[Tensor]], options: dict[str, Any]
) -> tuple[dict[str, Any], list[float]]:
    """m and v start at zero in every step; they must live on from one step to the next."""
    table, m, v, done = (state[name] for name in ("table", "m", "v", "step"))
    o, losses = options, []
    for x, y in batches:
        loss, gradient = loss_and_gradient(table, x, y)
        losses.append(loss)
        (gradient,), _ = clip([gradient], o["limit"])
        lr = learning_rate(done, o["steps"], o["warmup"], o["peak"], o["floor"])
        done += 1
        none = torch.zeros_like(table)
        table, m, v = adamw(table, gradient, none, none, done, lr, o["betas"], o["eps"], o["decay"])
    return {"table": table, "m": m, "v": v, "step": done}, losses


def train__gradients_pile_up(
    state: dict[str, Any], batches: list[list[Tensor]], options: dict[str, Any]
) -> tuple[dict[str, Any], list[float]]:
    """Gradients of earlier batches are still in the sum; every step starts with a gradient of zero."""
    table, m, v, done = (state[name] for name in ("table", "m", "v", "step"))
    o, losses, total = options, [], torch.zeros_like(table)
    for x, y in batches:
        loss, gradient = loss_and_gradient(table, x, y)
        losses.append(loss)
        total = total + gradient
        (gradient,), _ = clip([total], o["limit"])
        lr = learning_rate(done, o["steps"], o["warmup"], o["peak"], o["floor"])
        done += 1
        table, m, v = adamw(table, gradient, m, v, done, lr, o["betas"], o["eps"], o["decay"])
    return {"table": table, "m": m, "v": v, "step": done}, losses


def train__mean_loss(
    state: dict[str, Any], batches: list[list[Tensor]], options: dict[str, Any]
) -> tuple[dict[str, Any], float]:
    """You return the mean of the losses; asked for is a list, one loss for each batch."""
    table, m, v, done = (state[name] for name in ("table", "m", "v", "step"))
    o, losses = options, []
    for x, y in batches:
        loss, gradient = loss_and_gradient(table, x, y)
        losses.append(loss)
        (gradient,), _ = clip([gradient], o["limit"])
        lr = learning_rate(done, o["steps"], o["warmup"], o["peak"], o["floor"])
        done += 1
        table, m, v = adamw(table, gradient, m, v, done, lr, o["betas"], o["eps"], o["decay"])
    return {"table": table, "m": m, "v": v, "step": done}, sum(losses) / len(losses)


def save_checkpoint__weights_only(path: str, state: dict[str, Any]) -> None:
    """Only the table is saved. The next step also reads m, v and the step, so a training that goes on would differ."""
    write_json(path, {"table": state["table"].tolist()})


def save_checkpoint__no_step(path: str, state: dict[str, Any]) -> None:
    """The step is not saved; learning rate and bias correction would start anew."""
    write_json(path, {name: state[name].tolist() for name in ("table", "m", "v")})


def save_checkpoint__rounded(path: str, state: dict[str, Any]) -> None:
    """The numbers are rounded; a training that goes on from them differs from one that was never interrupted."""
    kept = {
        name: [[round(x, 3) for x in row] for row in state[name].tolist()] for name in ("table", "m", "v")
    }
    write_json(path, {**kept, "step": state["step"]})


def save_checkpoint__flat(path: str, state: dict[str, Any]) -> None:
    """The tensors are saved as flat lists and their shapes are lost; tolist keeps them nested."""
    kept = {name: state[name].flatten().tolist() for name in ("table", "m", "v")}
    write_json(path, {**kept, "step": state["step"]})


def load_checkpoint__fresh_moments(path: str) -> dict[str, Any]:
    """m and v begin at zero again; take them from the file."""
    state = read_json(path)
    table = torch.tensor(state["table"])
    return {"table": table, "m": torch.zeros_like(table), "v": torch.zeros_like(table), "step": state["step"]}


def load_checkpoint__step_zero(path: str) -> dict[str, Any]:
    """The step begins at 0 again; take it from the file."""
    state = read_json(path)
    return {**{name: torch.tensor(state[name]) for name in ("table", "m", "v")}, "step": 0}


def load_checkpoint__table_only(path: str) -> dict[str, Any]:
    """You return the table only; `train` also needs m, v and step."""
    return {"table": torch.tensor(read_json(path)["table"])}


def load_checkpoint__one_step_on(path: str) -> dict[str, Any]:
    """Off by one: the step in the file is how many are done, and so is the one in the state."""
    state = read_json(path)
    return {**{name: torch.tensor(state[name]) for name in ("table", "m", "v")}, "step": state["step"] + 1}


def load_checkpoint__transposed(path: str) -> dict[str, Any]:
    """Rows and columns are swapped; row i of the list is row i of the tensor."""
    state = read_json(path)
    return {**{name: torch.tensor(state[name]).T for name in ("table", "m", "v")}, "step": state["step"]}


def learning_rate__one_more_step(step: int, steps: int, warmup: int, peak: float, floor: float) -> float:
    """You divide by warmup + 1, as nanoGPT does, so that the peak comes one step late; here step t has
    peak (t + 1) / warmup."""
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return learning_rate(step, steps, warmup, peak, floor)


def learning_rate__rises_from_the_floor(
    step: int, steps: int, warmup: int, peak: float, floor: float
) -> float:
    """Your warm-up begins at the floor; it begins at zero, and step t has peak (t + 1) / warmup."""
    if step < warmup:
        return floor + (peak - floor) * (step + 1) / warmup
    return learning_rate(step, steps, warmup, peak, floor)


def learning_rate__too_long_a_rise(step: int, steps: int, warmup: int, peak: float, floor: float) -> float:
    """At step = warmup you still rise, above the peak; the cosine begins there: step < warmup."""
    if step <= warmup and warmup:
        return peak * (step + 1) / warmup
    return learning_rate(step, steps, warmup, peak, floor)


def learning_rate__quarter_of_a_cosine(
    step: int, steps: int, warmup: int, peak: float, floor: float
) -> float:
    """You go down a quarter of a cosine; half of one is (1 + cos(pi x)) / 2."""
    if step < warmup:
        return learning_rate(step, steps, warmup, peak, floor)
    x = (step - warmup) / (steps - 1 - warmup)
    return floor + (peak - floor) * math.cos(math.pi * x / 2)


def learning_rate__cut_at_the_floor(step: int, steps: int, warmup: int, peak: float, floor: float) -> float:
    """Your cosine goes to zero and is cut at the floor; it should reach the floor at the last step."""
    if step < warmup:
        return learning_rate(step, steps, warmup, peak, floor)
    return max(floor, learning_rate(step, steps, warmup, peak, 0.0))


def clip__to_length_one(gradients: list[Tensor], limit: float) -> tuple[list[Tensor], float]:
    """Your gradients have the norm 1 afterwards; it should be the limit."""
    clipped, norm = clip(gradients, limit)
    return ([gradient / norm for gradient in gradients] if norm > limit else clipped), norm


def clip__mean_square(gradients: list[Tensor], limit: float) -> tuple[list[Tensor], float]:
    """You average the squares; a norm is the root of their sum."""
    squares = torch.cat([gradient.flatten().square() for gradient in gradients])
    norm = float(squares.mean().sqrt())
    factor = min(1.0, limit / norm) if norm else 1.0
    return [gradient * factor for gradient in gradients], norm


def clip__largest_entry(gradients: list[Tensor], limit: float) -> tuple[list[Tensor], float]:
    """You take the largest entry for the norm; it is the root of the sum of all squares."""
    norm = max(float(gradient.abs().max()) for gradient in gradients)
    factor = min(1.0, limit / norm) if norm else 1.0
    return [gradient * factor for gradient in gradients], norm


def adamw__decay_at_the_end(
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: int,
    lr: float,
    betas: list[float],
    eps: float,
    decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """You take the decay from the p after the step; it is decay times the p before it."""
    p, m, v = adamw(p, g, m, v, t, lr, betas, eps, 0.0)
    return p - lr * decay * p, m, v


def adamw__corrected_by_beta(
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: int,
    lr: float,
    betas: list[float],
    eps: float,
    decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """You divide by 1 - beta at every step; the correction is 1 - beta**t and fades."""
    _, m, v = adamw(p, g, m, v, t, lr, betas, eps, decay)
    m_hat, v_hat = m / (1 - betas[0]), v / (1 - betas[1])
    return p - lr * (m_hat / (v_hat.sqrt() + eps) + decay * p), m, v


def adamw__betas_swapped(
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: int,
    lr: float,
    betas: list[float],
    eps: float,
    decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The betas are swapped: the first is that of m."""
    return adamw(p, g, m, v, t, lr, betas[::-1], eps, decay)


def adamw__only_v_corrected(
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: int,
    lr: float,
    betas: list[float],
    eps: float,
    decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Only v is corrected; m starts at zero, too, and is divided by 1 - beta1**t."""
    _, m, v = adamw(p, g, m, v, t, lr, betas, eps, decay)
    return p - lr * (m / ((v / (1 - betas[1] ** t)).sqrt() + eps) + decay * p), m, v


def adamw__decays_to_the_wrong_side(
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: int,
    lr: float,
    betas: list[float],
    eps: float,
    decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Your decay makes weights larger; it is subtracted like the rest."""
    return adamw(p, g, m, v, t, lr, betas, eps, -decay)


def train__first_batch_only(
    state: dict[str, Any], batches: list[list[Tensor]], options: dict[str, Any]
) -> tuple[dict[str, Any], list[float]]:
    """Every step reads the first batch; step n reads batch n."""
    return train(state, [batches[0]] * len(batches), options)


def train__t_restarts(
    state: dict[str, Any], batches: list[list[Tensor]], options: dict[str, Any]
) -> tuple[dict[str, Any], list[float]]:
    """After a break AdamW's t begins at 1 again, so that the old moments are corrected as if they were new; it is the
    number of all steps, state["step"] included."""
    table, m, v, done = (state[name] for name in ("table", "m", "v", "step"))
    o, losses = options, []
    for t, (x, y) in enumerate(batches, start=1):
        loss, gradient = loss_and_gradient(table, x, y)
        losses.append(loss)
        (gradient,), _ = clip([gradient], o["limit"])
        lr = learning_rate(done, o["steps"], o["warmup"], o["peak"], o["floor"])
        done += 1
        table, m, v = adamw(table, gradient, m, v, t, lr, o["betas"], o["eps"], o["decay"])
    return {"table": table, "m": m, "v": v, "step": done}, losses


def train__step_not_counted(
    state: dict[str, Any], batches: list[list[Tensor]], options: dict[str, Any]
) -> tuple[dict[str, Any], list[float]]:
    """The new state has the old step; whoever goes on from it repeats the schedule."""
    new, losses = train(state, batches, options)
    return {**new, "step": state["step"]}, losses


def save_checkpoint__step_as_text(path: str, state: dict[str, Any]) -> None:
    """The step is a text in your file; it stays a number."""
    plain = {name: value.tolist() if torch.is_tensor(value) else str(value) for name, value in state.items()}
    write_json(path, plain)


def save_checkpoint__moments_swapped(path: str, state: dict[str, Any]) -> None:
    """m and v are swapped in your file."""
    save_checkpoint(path, {**state, "m": state["v"], "v": state["m"]})


def load_checkpoint__moments_swapped(path: str) -> dict[str, Any]:
    """m and v are swapped in what you return."""
    state = load_checkpoint(path)
    return {**state, "m": state["v"], "v": state["m"]}


def load_checkpoint__whole_numbers(path: str) -> dict[str, Any]:
    """Your tensors hold whole numbers; the parts behind the points are lost. They are float32."""
    state = load_checkpoint(path)
    return {name: value if name == "step" else value.long() for name, value in state.items()}
