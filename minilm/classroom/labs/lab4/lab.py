"""Lab 4, the training loop: tasks, hints and cases."""

from __future__ import annotations

from typing import Any

from minilm.classroom.lab import Case, Lab, Task, case
from minilm.classroom.plain import numbers, tensor

SMALL = [numbers(2, 3, seed=1, scale=0.1), numbers(4, seed=2, scale=0.1)]
LARGE = [numbers(2, 3, seed=3), numbers(4, seed=4), numbers(2, 2, seed=5, scale=5.0)]
ZERO = [tensor([0.0, 0.0]), tensor([[0.0]])]
OPTIONS: dict[str, Any] = {"steps": 12, "warmup": 3, "peak": 0.3, "floor": 0.03, "limit": 0.2}
OPTIONS |= {"betas": [0.9, 0.95], "eps": 1e-8, "decay": 0.1}
TOKENS = [0, 1, 2, 3, 0, 2, 1, 3, 3, 0, 1, 2, 0, 3, 2, 2, 1, 0, 3, 1, 2, 0]


def positive(*shape: int, seed: int) -> dict[str, Any]:
    """Squares have a mean that is not negative."""
    value = numbers(*shape, seed=seed)
    return tensor([[x * x for x in row] for row in value["values"]])


def moments(t: int, seed: int) -> tuple[Any, ...]:
    """p, g, m, v and t; at the first step m and v are zero."""
    zero = tensor([[0.0] * 3] * 2)
    m, v = (
        (zero, zero) if t == 1 else (numbers(2, 3, seed=seed + 2, scale=0.3), positive(2, 3, seed=seed + 3))
    )
    return numbers(2, 3, seed=seed), numbers(2, 3, seed=seed + 1), m, v, t


def state(step: int, seed: int) -> dict[str, Any]:
    """A training that is `step` steps old."""
    table = numbers(4, 4, seed=seed)
    zero = tensor([[0.0] * 4] * 4)
    old = {"m": numbers(4, 4, seed=seed + 1, scale=0.05), "v": positive(4, 4, seed=seed + 2)}
    return {"table": table, **(old if step else {"m": zero, "v": zero}), "step": step}


def batches(count: int, first: int = 0) -> list[Any]:
    """Batches of two rows of three tokens."""
    found = []
    for n in range(first, first + count):
        rows = [TOKENS[n + k : n + k + 4] for k in (0, 7)]
        found.append([tensor([r[:-1] for r in rows], "int64"), tensor([r[1:] for r in rows], "int64")])
    return found


def rates(title: str, places: list[int], shape: tuple[Any, ...], public: bool = False) -> Case:
    """The learning rate at some steps of one schedule."""
    return case(title, *(("learning_rate", (place, *shape)) for place in places), public=public)


FILE = "{scratch}/checkpoint.json"
STORED = {
    "table": [[0.5, -1.0], [2.0, 0.25]],
    "m": [[0.1, 0.2], [0.3, 0.4]],
    "v": [[1.0, 2.0], [3.0, 4.0]],
    "step": 7,
}
OTHER = {
    "table": [[1.5, 3.0], [-2.0, 0.125]],
    "m": [[0.0, 0.5], [1.0, 0.75]],
    "v": [[0.1, 0.0], [2.0, 1e-9]],
    "step": 1,
}

LAB = Lab(
    "lab4",
    "The training loop",
    (
        Task(
            "learning_rate",
            "warm-up and cosine",
            3,
            20,
            3,
            "one number",
            (
                "What are the rates of step 0, of the first step after the warm-up, and of the last step?",
                "Two cases. In the second, x runs from 0 to 1: at which step must it be exactly 1?",
                "x = (step - warmup) / (steps - 1 - warmup), then floor + (peak - floor) * (1 + cos(pi x)) / 2.",
            ),
            (
                rates("ten steps", [0, 1, 2, 5, 9], (10, 2, 1.0, 0.1), public=True),
                rates("the peak", [1, 2, 3], (9, 2, 2.0, 0.5), public=True),
                rates("all of eight", list(range(8)), (8, 3, 0.5, 0.05)),
                rates("no warm-up", [0, 3, 6], (7, 0, 0.02, 0.01)),
            ),
        ),
        Task(
            "clip",
            "gradient clipping",
            3,
            15,
            2,
            "(gradients, norm)",
            (
                "How long is a vector made of two vectors laid end to end?",
                "One norm over all tensors, one factor for all of them, and never a factor above 1.",
                "norm = sqrt of the sum of all squares; factor = min(1, limit / norm), with care for a norm of 0.",
            ),
            (
                case("too long", ("clip", (LARGE, 1.0)), public=True),
                case("short enough", ("clip", (SMALL, 1.0)), public=True),
                case("a limit other than one", ("clip", (LARGE, 3.0)), public=True),
                case("a small limit", ("clip", (LARGE, 0.25))),
                case("one number too long", ("clip", ([tensor([3.0])], 2.0)), edge=True, public=True),
                case("zeros", ("clip", (ZERO, 1.0)), edge=True, public=True),
            ),
        ),
        Task(
            "adamw",
            "AdamW from its paper",
            5,
            30,
            4,
            "the new (p, m, v)",
            (
                "Which of the lines of the algorithm read p, and which the gradient?",
                "Update m and v, correct copies of both, then one line for p: the decay stands outside the fraction.",
                "p - lr * (m_hat / (v_hat.sqrt() + eps) + decay * p), with m_hat = m / (1 - beta1**t).",
            ),
            (
                case(
                    "the first step", ("adamw", (*moments(1, 10), 0.1, [0.9, 0.99], 1e-3, 0.1)), public=True
                ),
                case("a later step", ("adamw", (*moments(5, 20), 0.1, [0.9, 0.99], 1e-2, 0.1)), public=True),
                case("other constants", ("adamw", (*moments(3, 30), 0.03, [0.8, 0.95], 0.05, 0.5))),
                case("no decay", ("adamw", (*moments(2, 40), 0.2, [0.5, 0.9], 1e-2, 0.0))),
            ),
        ),
        Task(
            "train",
            "the loop",
            5,
            30,
            4,
            "(state, losses)",
            (
                "Which numbers must survive from one step to the next?",
                "Loss and gradient of the batch, clip, learning rate of the step that is done now, AdamW.",
                "learning_rate(done, ...) first, then done += 1, then adamw(..., done, lr, ...).",
            ),
            (
                case("three steps", ("train", (state(0, 50), batches(3), OPTIONS)), public=True),
                case("ten steps", ("train", (state(0, 60), batches(10), OPTIONS))),
                case(
                    "goes on after a break",
                    ("train", (state(5, 70), batches(4, 5), OPTIONS)),
                    edge=True,
                    public=True,
                ),
                case("goes on to the end", ("train", (state(8, 80), batches(4, 8), OPTIONS)), edge=True),
            ),
        ),
        Task(
            "save_checkpoint",
            "what must be kept",
            2,
            10,
            2,
            "a JSON file",
            (
                "What does the next step read?",
                "JSON knows no tensors: which method of theirs gives nested lists?",
                "A dictionary with the same names, value.tolist() for tensors, then write_json.",
            ),
            (
                case(
                    "a young training",
                    ("save_checkpoint", (FILE, state(1, 90))),
                    ("read_json", (FILE,)),
                    public=True,
                ),
                case("an old one", ("save_checkpoint", (FILE, state(500, 95))), ("read_json", (FILE,))),
            ),
        ),
        Task(
            "load_checkpoint",
            "and taken up again",
            2,
            10,
            2,
            "the state",
            (
                "Which of the four values are tensors?",
                "torch.tensor of nested lists of Python floats is float32.",
                'torch.tensor for "table", "m" and "v"; "step" stays a number.',
            ),
            (
                case("a file", ("write_json", (FILE, STORED)), ("load_checkpoint", (FILE,)), public=True),
                case("another one", ("write_json", (FILE, OTHER)), ("load_checkpoint", (FILE,))),
            ),
        ),
    ),
)
