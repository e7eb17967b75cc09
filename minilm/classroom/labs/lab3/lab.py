"""Lab 3, the decoder: tasks, hints and cases."""

from __future__ import annotations

from typing import Any

from minilm.classroom.lab import Lab, Task, case
from minilm.classroom.plain import numbers, tensor

LABELS = tensor([[3, 1, 4, 1, 0], [2, 0, 2, 4, 3]], "int64")
PARTLY = tensor([[3, 1, -100, 1, -100], [-100, 0, 2, 4, 3]], "int64")
CONSTANT = tensor([[2.0, 2.0, 2.0], [1.0, 2.0, 4.0]])


def weights(C: int, seed: int) -> dict[str, Any]:
    """The numbers of one block."""
    shapes = {"norm_1": (C,), "norm_1_bias": (C,), "qkv": (C, 3 * C), "proj": (C, C)}
    shapes |= {"norm_2": (C,), "norm_2_bias": (C,), "up": (C, 4 * C), "down": (4 * C, C)}
    return {name: numbers(*shape, seed=seed + n, scale=0.4) for n, (name, shape) in enumerate(shapes.items())}


def decoder(V: int, C: int, blocks: int, seed: int) -> dict[str, Any]:
    """The numbers of a whole decoder with positions for 8 tokens."""
    inner = [weights(C, seed + 10 * n) for n in range(1, blocks + 1)]
    names = {"wte": (V, C), "wpe": (8, C), "norm_f": (C,), "norm_f_bias": (C,)}
    outer = {name: numbers(*shape, seed=seed + n) for n, (name, shape) in enumerate(names.items())}
    return {**outer, "blocks": inner}


LAB = Lab(
    "lab3",
    "The decoder",
    (
        Task(
            "layer_norm",
            "layer norm",
            3,
            15,
            2,
            "(..., C)",
            (
                "Over which axis is one position's mean taken?",
                "mean and variance with dim=-1 and keepdim=True; the variance is a mean of squares.",
                "(x - mean) / (var + 1e-5).sqrt() * weight + bias, with x.var(..., unbiased=False).",
            ),
            (
                case(
                    "a matrix",
                    ("layer_norm", (numbers(3, 4, seed=1), numbers(4, seed=2), numbers(4, seed=3))),
                    public=True,
                ),
                case(
                    "a batch",
                    ("layer_norm", (numbers(2, 3, 5, seed=4), numbers(5, seed=5), numbers(5, seed=6))),
                ),
                case(
                    "equal channels",
                    ("layer_norm", (CONSTANT, numbers(3, seed=7), numbers(3, seed=8))),
                    edge=True,
                ),
                case(
                    "hardly any difference",
                    (
                        "layer_norm",
                        (numbers(2, 4, seed=40, scale=1e-3), numbers(4, seed=41), numbers(4, seed=42)),
                    ),
                    edge=True,
                    public=True,
                ),
            ),
        ),
        Task(
            "gelu",
            "GPT-2's activation",
            2,
            10,
            1,
            "the shape of x",
            (
                "What is gelu(0), and what is gelu(x) for a large x?",
                "Write the formula down term by term; torch.tanh works on each number.",
                "0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))).",
            ),
            (
                case("a few numbers", ("gelu", (tensor([-3.0, -1.0, 0.0, 0.5, 2.3]),)), public=True),
                case("a matrix", ("gelu", (numbers(4, 5, seed=9, scale=1.5),))),
            ),
        ),
        Task(
            "mlp",
            "the layer for each position",
            2,
            10,
            1,
            "(..., C)",
            (
                "What would two linear maps in a row be without something between them?",
                "A product, gelu, a product.",
                "gelu(x @ up) @ down.",
            ),
            (
                case(
                    "two positions",
                    ("mlp", (numbers(2, 3, seed=10), numbers(3, 12, seed=11), numbers(12, 3, seed=12))),
                    public=True,
                ),
                case(
                    "a batch",
                    ("mlp", (numbers(2, 3, 4, seed=13), numbers(4, 16, seed=14), numbers(16, 4, seed=15))),
                ),
            ),
        ),
        Task(
            "block",
            "a decoder block",
            4,
            25,
            4,
            "(B, T, C)",
            (
                "What does the attention read, and what is its result added to?",
                "Twice the same pattern: x = x + branch(layer_norm(x)).",
                "x = x + self_attention(layer_norm(x, norm_1, norm_1_bias), ...), then the same with mlp and norm_2.",
            ),
            (
                case("two heads", ("block", (numbers(1, 3, 4, seed=16), weights(4, 20), 2)), public=True),
                case("a batch", ("block", (numbers(2, 5, 6, seed=17), weights(6, 30), 3))),
            ),
        ),
        Task(
            "embed",
            "tokens and positions",
            2,
            10,
            2,
            "(B, T, C)",
            (
                "Which rows of wpe belong to T tokens at the beginning of a text?",
                "A table indexed with ids gives one row for each; positions are the same for every row of the batch.",
                "wte[ids] + wpe[:T]; broadcasting repeats the positions over the batch.",
            ),
            (
                case(
                    "one row",
                    ("embed", (tensor([[2, 0, 1]], "int64"), numbers(3, 4, seed=18), numbers(8, 4, seed=19))),
                    public=True,
                ),
                case(
                    "three rows",
                    (
                        "embed",
                        (
                            tensor([[4, 0, 1], [2, 2, 3], [1, 4, 0]], "int64"),
                            numbers(5, 2, seed=50),
                            numbers(6, 2, seed=51),
                        ),
                    ),
                ),
            ),
        ),
        Task(
            "gpt",
            "the whole decoder",
            4,
            20,
            3,
            "logits (B, T, V)",
            (
                "In which order do embeddings, blocks, norm and the output table come?",
                "Every block takes the last one's result; one more norm stands before the logits.",
                "layer_norm(x, norm_f, norm_f_bias) @ wte.T after the loop over the blocks.",
            ),
            (
                case(
                    "two blocks",
                    ("gpt", (tensor([[1, 0, 2]], "int64"), decoder(3, 4, 2, 60), 2)),
                    public=True,
                ),
                case("three blocks, a batch", ("gpt", (LABELS, decoder(5, 6, 3, 100), 3))),
            ),
        ),
        Task(
            "loss",
            "labels to loss",
            4,
            20,
            3,
            "one number, in nats",
            (
                "Which logits predict the first label, and which label do the last logits predict?",
                "logits[:, :-1] meet labels[:, 1:]. Choose the pairs whose label is not -100, then average once.",
                "F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100).",
            ),
            (
                case("all count", ("loss", (numbers(2, 5, 5, seed=70), LABELS)), public=True),
                case("one row", ("loss", (numbers(1, 3, 4, seed=71), tensor([[0, 3, 1]], "int64")))),
                case(
                    "some do not count", ("loss", (numbers(2, 5, 5, seed=72), PARTLY)), edge=True, public=True
                ),
                case("many do not count", ("loss", (numbers(2, 5, 6, seed=73), PARTLY)), edge=True),
            ),
        ),
    ),
)
