"""Computes the cost of a training from its two configurations: floating-point operations of a step, bytes of memory.

Arithmetic on shapes; a test counts the same with torch's own counters. It knows no machine and no clock, and imports
in milliseconds.
"""

from __future__ import annotations

from minilm.config import ModelConfig, TrainConfig

NUMBER = 4  # bytes of a float32
PASSES = 3  # a backward pass has two products for each one of the forward pass
SLACK = 1.3  # what allocators lose on activations of many sizes
COPIES = 3  # of the parameters: value, gradient, best value
WORKING_COPIES = 4  # of the matrices of one shape, while Muon turns them
ITERATIONS = 5  # of Muon's Newton-Schulz, see training/optim.py
SHORT, BLOCK, LONG_BLOCK = (
    128,
    64,
    128,
)  # blocked attention takes so many queries at a time, see fast/blocked.py


def matrices(model: ModelConfig) -> list[tuple[int, int]]:
    """The (out, in) sizes of one layer's matrices, each as Muon turns it: queries, keys and values by themselves.

    >>> matrices(ModelConfig(vocab_size=65, n_embd=64, n_head=2, mlp="gelu"))
    [(64, 64), (64, 64), (64, 64), (64, 64), (256, 64), (64, 256)]
    """
    C, W, A = model.n_embd, model.mlp_width, model.n_head * model.head_size
    up = [(W, C)] * (2 if model.mlp == "swiglu" else 1)
    return [(A, C)] * 3 + [(C, A)] + up + [(C, W)]


def pairs_seen(T: int, backend: str) -> int:
    """How many (query, key) pairs attention computes for T queries: all, or by blocks only what the mask may allow."""
    if backend != "blocked":
        return T * T
    size = BLOCK if T <= SHORT else LONG_BLOCK
    return sum((min(first + size, T) - first) * min(first + size, T) for first in range(0, T, size))


def forward_flops(model: ModelConfig, batch_size: int, backend: str = "blocked") -> int:
    """Operations of the products of one forward pass; a multiplication and an addition are two.

    >>> forward_flops(ModelConfig(vocab_size=65), batch_size=8) // 10**6
    1401
    """
    B, T, C, L = batch_size, model.block_size, model.n_embd, model.n_layer
    weights = L * sum(rows * columns for rows, columns in matrices(model)) + model.vocab_size * C
    attention = 2 * L * model.n_head * model.head_size * pairs_seen(T, backend)  # QK^T and PV
    return 2 * B * (T * weights + attention)


def update_flops(model: ModelConfig, train: TrainConfig) -> int:
    """Operations of the optimizer's own products, whatever the batch: Muon's, AdamW has none."""
    if train.optimizer != "muon":
        return 0
    return model.n_layer * sum(_turned(min(shape), max(shape)) for shape in matrices(model))


def _turned(n: int, m: int) -> int:
    """Of turning one (n, m) matrix, n <= m: in steps, or for a long one through its (n, n) products."""
    if m < 2 * n:
        return ITERATIONS * (4 * n * n * m + 2 * n**3)
    return 4 * n * n * m + (8 * ITERATIONS - 2) * n**3


def step_flops(model: ModelConfig, train: TrainConfig, backend: str = "blocked") -> int:
    """Operations of one training step: forward, backward, optimizer."""
    return PASSES * forward_flops(model, train.batch_size, backend) + update_flops(model, train)


def kept_numbers(model: ModelConfig, batch_size: int, backend: str = "blocked") -> int:
    """How many activations the forward pass keeps for the backward one, attention's weights not counted with `fused`.

    Per token and layer 6 C, both norms' results and inputs; 8 A of all heads' channels, queries and keys before and
    after their norms and rotation, values, attention's result; four times the MLP's width. Three times the logits.
    """
    B, T, C, L = batch_size, model.block_size, model.n_embd, model.n_layer
    A = model.n_head * model.head_size
    tokens = B * T * (L * (6 * C + 8 * A + 4 * model.mlp_width) + 3 * model.vocab_size)
    weights = 0 if backend == "fused" else B * model.n_head * pairs_seen(T, backend)
    return tokens + weights * L


def needed_bytes(model: ModelConfig, train: TrainConfig, backend: str = "manual") -> int:
    """A training's memory at its peak, the interpreter itself left out: weights, optimizer, activations.

    A parameter has its gradient, Muon's momentum or AdamW's two moments, and its value in the best step so far. Muon
    works on copies besides: a direction for every matrix, and all of one shape at once.
    The layer in work holds its attention three times: scores, weights, gradient.
    """
    scores = (
        0 if backend == "fused" else train.batch_size * model.n_head * pairs_seen(model.block_size, backend)
    )
    activations = int(SLACK * (kept_numbers(model, train.batch_size, backend) + 2 * scores))
    return NUMBER * (COPIES * model.n_parameters + optimizer_numbers(model, train) + activations)


def optimizer_numbers(model: ModelConfig, train: TrainConfig) -> int:
    """What the optimizer holds besides parameters and gradients, its working copies included."""
    if train.optimizer != "muon":
        return 2 * model.n_parameters
    by_shape: dict[tuple[int, int], int] = {}
    for rows, columns in matrices(model):
        by_shape[rows, columns] = by_shape.get((rows, columns), 0) + model.n_layer * rows * columns
    largest = max(by_shape.values())
    return 2 * model.n_parameters + WORKING_COPIES * largest  # moments of AdamW; or momentum and direction


# What a step costs besides its products, as if it were products: each kept number passes through memory several
# times, each layer's calls have to be made. Measured on one CPU thread over 72 shapes, benchmarks/RESULTS.md.
PER_NUMBER, PER_LAYER = 155, 155_000_000


def work(model: ModelConfig, train: TrainConfig, backend: str = "blocked") -> float:
    """The cost of one training step in operations: proportional to its seconds on one CPU thread, within 15 %.

    >>> small, large = (work(ModelConfig(vocab_size=65, n_embd=C), TrainConfig()) for C in (64, 256))
    >>> 8 < large / small < 16
    True
    """
    kept = kept_numbers(model, train.batch_size, backend)
    return step_flops(model, train, backend) + PER_NUMBER * kept + PER_LAYER * (model.n_layer + 1)
