"""The optimizers, by hand: Muon for matrices and AdamW for the rest, or AdamW alone; and what decays.

Knows parameters and their names in the decoder; no schedules and no losses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from minilm.config import TrainConfig

FUSED_ON = ("cpu", "cuda")  # where torch has AdamW as one kernel, instead of one per tensor and operation
EPS = 1e-8  # AdamW's, so that a parameter without gradients divides by no zero
STACKED = {"qkv.weight": 3, "gate_up.weight": 2}  # matrices that share a weight, each to be turned by itself
REST_SHARE = (
    0.7  # under Muon, AdamW's learning rate for embeddings, head and gains, as a share of the matrices'
)

# Newton-Schulz for the orthogonal part: x -> a x + b x^3 + c x^5 on every singular value, five times (Jordan et
# al., 2024, "Muon: An optimizer for hidden layers in neural networks"). It leads (0, 1] to about 0.7 .. 1.2,
# fast for small values; exactly 1 is not needed.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def orthogonalised(matrices: Tensor) -> Tensor:
    """U V^T of each matrix U S V^T, roughly: singular values from 0.7 to 1.2; (K, n, m) -> (K, n, m).

    In bfloat16 it follows the paper step by step: the squares of the short cut below lose small singular values.

    >>> torch.manual_seed(0) and None
    >>> singular = torch.linalg.svdvals(orthogonalised(torch.randn(3, 8, 16)))
    >>> bool((singular > 0.5).all() and (singular < 1.5).all())
    True
    """
    tall = matrices.size(-2) > matrices.size(-1)
    X = matrices.mT if tall else matrices  # the products below are of the shorter side n
    X = X / (X.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # now no singular value exceeds 1
    stepwise = X.size(-1) < 2 * X.size(-2) or X.dtype == torch.bfloat16
    X = _iterated(X) if stepwise else _iterated_gram(X) @ X
    return X.mT if tall else X


def _iterated(X: Tensor) -> Tensor:
    """Each round X <- P X with P = a + b A + c A^2 and A = X X^T, as the paper has it; (K, n, m) -> (K, n, m)."""
    a, b, c = NEWTON_SCHULZ
    for _ in range(ITERATIONS):
        A = X @ X.mT  # (K, n, n)
        X = torch.baddbmm(X, torch.baddbmm(A, A, A, beta=b, alpha=c), X, beta=a)
    return X


def _iterated_gram(X: Tensor) -> Tensor:
    """The product Q of all rounds' P, so that the result is Q X; (K, n, m) -> (K, n, n).

    P is a polynomial of A, so A <- P A P follows the rounds without X: the long side m, four times n in an MLP,
    is met once at the beginning and once at the end.
    """
    a, b, c = NEWTON_SCHULZ
    A, Q = X @ X.mT, None  # (K, n, n)
    for _ in range(ITERATIONS):
        P = torch.baddbmm(A, A, A, beta=b, alpha=c)
        P.diagonal(dim1=-2, dim2=-1).add_(a)
        Q = P if Q is None else P @ Q
        A = P @ A @ P
    assert Q is not None
    return Q


class Optimizer:
    """Parameters in groups, each with its settings, and what is kept of a parameter from one step to the next.

    torch's own base class has more, and loads torch's compiler for it: a second or more of every process.
    """

    def __init__(self, groups: list[dict[str, Any]], **settings: Any) -> None:
        self.param_groups = [{**settings, **group} for group in groups]
        self.state: dict[Tensor, dict[str, Tensor]] = {}

    @property
    def parameters(self) -> list[Tensor]:
        """In the order of the groups."""
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def step(self) -> None:
        """Moves every parameter that has a gradient."""
        raise NotImplementedError


class AdamW(Optimizer):
    """The mean of late gradients over the root of the mean of their squares; decay pulls at the parameter alone
    (Loshchilov & Hutter, 2017, arXiv:1711.05101, algorithm 2)."""

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, lr=lr, betas=betas)

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            rows = [(p, p.grad, self._kept(p)) for p in group["params"] if p.grad is not None]
            if rows:
                beta1, beta2 = group["betas"]
                update = _fused if rows[0][0].device.type in FUSED_ON else _one_by_one
                update(rows, group["lr"], beta1, beta2, group["weight_decay"])

    def _kept(self, parameter: Tensor) -> dict[str, Tensor]:
        if parameter not in self.state:
            self.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        return self.state[parameter]


Row = tuple[Tensor, Tensor, dict[str, Tensor]]  # parameter, gradient, what is kept


def _one_by_one(rows: list[Row], lr: float, beta1: float, beta2: float, decay: float) -> None:
    """AdamW as it is written; both means begin at zero, which the powers of beta make up for."""
    for parameter, gradient, kept in rows:
        step, mean, square = kept["step"], kept["exp_avg"], kept["exp_avg_sq"]
        step += 1
        mean.lerp_(gradient, 1 - beta1)
        square.lerp_(gradient * gradient, 1 - beta2)
        expected, spread = mean / (1 - beta1**step), (square / (1 - beta2**step)).sqrt()
        parameter.mul_(1 - lr * decay)
        parameter.addcdiv_(expected, spread + EPS, value=-lr)


def _fused(rows: list[Row], lr: float, beta1: float, beta2: float, decay: float) -> None:
    """The same in one kernel, the one that torch's own AdamW calls with `fused=True`."""
    parameters, gradients = [row[0] for row in rows], [row[1] for row in rows]
    steps, means, squares = ([row[2][name] for row in rows] for name in ("step", "exp_avg", "exp_avg_sq"))
    torch._foreach_add_(steps, 1)
    torch._fused_adamw_(
        parameters,
        gradients,
        means,
        squares,
        [],
        steps,
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        weight_decay=decay,
        eps=EPS,
        amsgrad=False,
        maximize=False,
    )


class Muon(Optimizer):
    """Nesterov momentum, orthogonalised: every direction of a matrix moves equally far (Jordan et al., 2024).

    An update has spectral norm about max(1, n/m)^0.5 times the learning rate for an (n, m) matrix, so the same
    rate serves every width. Parameters are matrices; a group's "parts" says how many lie stacked in each.
    Matrices of one shape are turned together, since many small products cost more than one batch of them.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        momentum: float,
        weight_decay: float,
        turn_in: torch.dtype = torch.float32,  # the directions are turned in this format; the rest is float32
    ) -> None:
        self.turn_in = turn_in
        super().__init__(groups, lr=lr, momentum=momentum, weight_decay=weight_decay, parts=1)

    @torch.no_grad()
    def step(self) -> None:
        by_shape: dict[torch.Size, list[tuple[Tensor, Tensor, dict[str, Any]]]] = {}
        for parameter, group in self._with_gradient():
            direction = self._direction(parameter, group["momentum"])
            parts = zip(parameter.chunk(group["parts"]), direction.chunk(group["parts"]), strict=True)
            for matrix, part in parts:
                by_shape.setdefault(matrix.shape, []).append((matrix, part, group))
        for shape, rows in by_shape.items():
            stacked = torch.stack([direction for _, direction, _ in rows])  # (K, n, m)
            turned = orthogonalised(stacked.to(self.turn_in)).to(stacked.dtype)
            stretch = max(1.0, shape[0] / shape[1]) ** 0.5
            for (matrix, _, group), update in zip(rows, turned.unbind(), strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(update, alpha=-group["lr"] * stretch)

    def _with_gradient(self) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    yield parameter, group

    def _direction(self, parameter: Tensor, momentum: float) -> Tensor:
        """Where Nesterov's momentum points: the mean of gradients, one gradient ahead."""
        gradient = parameter.grad
        assert gradient is not None
        if parameter not in self.state:
            self.state[parameter] = {"momentum": torch.zeros_like(parameter)}
        mean = self.state[parameter]["momentum"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(mean, momentum)


class Joined:
    """Several optimizers as one: their groups and states in a row, stepped together."""

    def __init__(self, *optimizers: Optimizer) -> None:
        self.optimizers = optimizers

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    @property
    def parameters(self) -> list[Tensor]:
        return [parameter for optimizer in self.optimizers for parameter in optimizer.parameters]

    def step(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self) -> None:
        """Forgets the gradients; the next backward pass makes new ones instead of adding to zeros."""
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[int, dict[str, Tensor]]:
        """The tensors of every parameter that has been updated, by its number over all groups."""
        kept = {p: tensors for optimizer in self.optimizers for p, tensors in optimizer.state.items()}
        return {number: kept[p] for number, p in enumerate(self.parameters) if p in kept}

    def load_state(self, tensors: dict[int, dict[str, Tensor]]) -> None:
        """Goes back to what `state` gave."""
        numbers = {parameter: number for number, parameter in enumerate(self.parameters)}
        for optimizer in self.optimizers:
            optimizer.state = {
                p: {name: tensor.to(p.device) for name, tensor in tensors[numbers[p]].items()}
                for p in optimizer.parameters
                if numbers[p] in tensors
            }


def matrices_and_rest(model: nn.Module) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """The parameters by name: matrices between activations, and embeddings, the head, gains and biases.

    Only the former are linear maps of a dense input. An embedding is a table: the row of a rare character has
    its own small gradient, which nothing should mix with the others', and decay would pull it to zero by every
    step in which the character does not occur. A head is the same table read the other way.

    >>> from minilm.config import ModelConfig
    >>> from minilm.model import GPT
    >>> model = GPT(ModelConfig(vocab_size=5, n_layer=1, n_head=1, n_embd=4, tie_embeddings=False))
    >>> matrices, rest = matrices_and_rest(model)
    >>> "blocks.0.attention.qkv.weight" in matrices, "lm_head.weight" in rest, "norm_f.weight" in rest
    (True, True, True)
    """
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}  # a tied one is listed once
    matrices = {
        name: p
        for name, p in named.items()
        if p.ndim == 2 and id(p) not in tables and not name.endswith("lm_head.weight")
    }
    return matrices, {name: p for name, p in named.items() if name not in matrices}


def build_optimizer(model: nn.Module, train: TrainConfig, precision: str = "fp32") -> Joined:
    """The optimizer of the configuration: AdamW (Loshchilov & Hutter, 2017, arXiv:1711.05101) for everything, or
    Muon for matrices and AdamW for the rest. Under "bf16" Muon's
    products are bfloat16, as in the paper. Matrices decay and nothing else. A group's "share" of the learning
    rate is its own."""
    matrices, rest = matrices_and_rest(model)
    decay, betas = train.weight_decay, (train.beta1, train.beta2)
    if train.optimizer == "adamw" or not matrices:
        groups = [
            {"params": list(matrices.values()), "weight_decay": decay, "share": 1.0},
            {"params": list(rest.values()), "weight_decay": 0.0, "share": 1.0},
        ]
        return Joined(AdamW(groups, train.learning_rate, betas))
    turn_in = torch.bfloat16 if precision == "bf16" else torch.float32
    muon = Muon(_by_parts(matrices), train.learning_rate, train.momentum, decay, turn_in)
    others = [{"params": list(rest.values()), "weight_decay": 0.0, "share": REST_SHARE}]
    return Joined(muon, AdamW(others, train.learning_rate, betas))


def _by_parts(matrices: dict[str, nn.Parameter]) -> list[dict[str, Any]]:
    groups: dict[int, list[nn.Parameter]] = {}
    for name, parameter in matrices.items():
        parts = next((count for end, count in STACKED.items() if name.endswith(end)), 1)
        groups.setdefault(parts, []).append(parameter)
    return [{"params": found, "parts": parts, "share": 1.0} for parts, found in groups.items()]
