"""Lab 2, attention: tasks, hints and cases."""

from __future__ import annotations

from minilm.classroom.lab import Lab, Task, case
from minilm.classroom.plain import numbers, tensor

LOW = tensor([[-20.0, 0.0]])
HAND = (tensor([[1.0, 0.0]]), tensor([[1.0, 0.0], [0.0, 1.0]]))
MASK = tensor([[1, 0, 0, 1], [1, 1, 0, 0], [0, 0, 1, 0]], "bool")
FIRST = tensor([[1, 0]], "bool")
LATER = tensor([[1, 1, 0], [1, 1, 1]], "bool")

LAB = Lab(
    "lab2",
    "Attention",
    (
        Task(
            "scores",
            "scores of queries and keys",
            2,
            10,
            1,
            "(..., T, S): entry (t, s) says how well query t fits key s",
            (
                "Which axis do a query and a key share, and which one is left of each?",
                "The last two axes of k must swap for a matrix product; any axes in front stay as they are.",
                "q @ k.transpose(-2, -1), divided by the square root of q.size(-1).",
            ),
            (
                case("the handout's example", ("scores", HAND), public=True),
                case(
                    "a batch", ("scores", (numbers(2, 3, 4, seed=1), numbers(2, 5, 4, seed=2))), public=True
                ),
                case("heads too", ("scores", (numbers(2, 3, 4, 6, seed=3), numbers(2, 3, 5, 6, seed=4)))),
                case("as many queries as keys", ("scores", (numbers(4, 7, seed=5), numbers(4, 7, seed=6)))),
            ),
        ),
        Task(
            "softmax",
            "softmax without overflow",
            3,
            15,
            2,
            "(..., S): shares that sum to 1 over the last axis",
            (
                "What does softmax do to a number that is added to all its inputs?",
                "Subtract each row's own maximum before exp; keepdim=True keeps the axis for the division.",
                "e = (x - x.max(dim=-1, keepdim=True).values).exp(), then e divided by its own sum over dim=-1.",
            ),
            (
                case("one row", ("softmax", (tensor([0.7071, 0.0]),)), public=True),
                case("a matrix", ("softmax", (numbers(3, 4, seed=7),)), public=True),
                case("more axes", ("softmax", (numbers(2, 3, 4, 5, seed=8),))),
                case(
                    "large numbers",
                    ("softmax", (tensor([[1000.0, 999.0], [-300.0, 400.0]]),)),
                    edge=True,
                    public=True,
                ),
                case(
                    "rows far apart",
                    ("softmax", (tensor([[500.0, 499.0], [-500.0, -501.0]]),)),
                    edge=True,
                    public=True,
                ),
                case(
                    "hidden scores",
                    ("softmax", (tensor([[0.5, -float("inf"), 1.0]]),)),
                    edge=True,
                    public=True,
                ),
            ),
        ),
        Task(
            "causal_mask",
            "who may see whom",
            2,
            10,
            2,
            "boolean (T, S), True = may attend",
            (
                "Write down the mask for T = S = 3. Which entries does query 0 have?",
                "With S > T the queries come last: which key has the same moment as query 0?",
                "torch.ones(T, S, dtype=torch.bool).tril(d), with d = S - T.",
            ),
            (
                case("three moments", ("causal_mask", (3, 3)), public=True),
                case("five moments", ("causal_mask", (5, 5))),
                case("two new, three in all", ("causal_mask", (2, 3)), edge=True, public=True),
                case("one new", ("causal_mask", (1, 6)), edge=True),
                case("three new", ("causal_mask", (3, 7)), edge=True),
            ),
        ),
        Task(
            "attention",
            "the formula",
            4,
            20,
            3,
            "(..., T, D): every query's mixture of the values",
            (
                "At which point must a hidden key lose its share so that the others still sum to 1?",
                "scores, then hide, then softmax, then the product with v. Hidden means a score of minus infinity.",
                "fit.masked_fill(~mask, -math.inf) returns a new tensor: keep it, then softmax(fit) @ v.",
            ),
            (
                case("no mask", ("attention", (*HAND, tensor([[10.0], [20.0]]))), public=True),
                case(
                    "two queries, three keys",
                    (
                        "attention",
                        (numbers(2, 2, seed=9), numbers(3, 2, seed=10), numbers(3, 2, seed=11), LATER),
                    ),
                    public=True,
                ),
                case("heads", ("attention", tuple(numbers(2, 3, 5, 4, seed=s) for s in (12, 13, 14)))),
                case(
                    "a mask of any form",
                    (
                        "attention",
                        (
                            numbers(2, 3, 4, seed=15),
                            numbers(2, 4, 4, seed=16),
                            numbers(2, 4, 4, seed=17),
                            MASK,
                        ),
                    ),
                ),
                case(
                    "scores far below zero",
                    (
                        "attention",
                        (LOW, tensor([[10.0, 0.0], [9.0, 0.0]]), tensor([[10.0], [20.0]]), FIRST),
                    ),
                    edge=True,
                    public=True,
                ),
                case(
                    "scores far apart",
                    (
                        "attention",
                        (
                            numbers(3, 2, seed=34, scale=2.0),
                            numbers(4, 2, seed=35, scale=2.0),
                            numbers(4, 2, seed=36),
                            MASK,
                        ),
                    ),
                    edge=True,
                    public=True,
                ),
            ),
        ),
        Task(
            "split_heads",
            "channels to heads",
            3,
            15,
            3,
            "(B, H, T, D)",
            (
                "In which order do the numbers of one row (C,) lie in memory?",
                "A view may only cut an axis into neighbours: C into (H, D). Changing places is transpose's work.",
                "x.view(B, T, n_head, C // n_head), then .transpose(1, 2).",
            ),
            (
                case("two heads", ("split_heads", (numbers(1, 2, 4, seed=18), 2)), public=True),
                case("three heads", ("split_heads", (numbers(2, 4, 6, seed=19), 3)), public=True),
                case("one channel each", ("split_heads", (numbers(2, 3, 4, seed=20), 4))),
                case("unequal sizes", ("split_heads", (numbers(3, 5, 8, seed=21), 2))),
            ),
        ),
        Task(
            "merge_heads",
            "heads to channels",
            2,
            10,
            2,
            "(B, T, C)",
            (
                "What undoes a view followed by a transpose, and in which order?",
                "After a transpose the memory is no longer in order; reshape copies where view refuses.",
                "x.transpose(1, 2), then .reshape(B, T, H * D).",
            ),
            (
                case("two heads", ("merge_heads", (numbers(1, 2, 3, 2, seed=22),)), public=True),
                case("three heads", ("merge_heads", (numbers(2, 3, 4, 2, seed=23),)), public=True),
                case("unequal sizes", ("merge_heads", (numbers(3, 2, 5, 4, seed=24),))),
            ),
        ),
        Task(
            "self_attention",
            "the layer",
            4,
            20,
            4,
            "(B, T, C)",
            (
                "Which of your functions turn (B, T, 3 C) into three tensors of heads, and which turn heads back?",
                "chunk(3, dim=-1) gives queries, keys and values; each is split into heads before attention.",
                "merge_heads(attention(q, k, v, causal_mask(T, T))) @ proj, with q, k, v split.",
            ),
            (
                case(
                    "two heads",
                    (
                        "self_attention",
                        (numbers(1, 3, 4, seed=25), numbers(4, 12, seed=26), numbers(4, 4, seed=27), 2),
                    ),
                    public=True,
                ),
                case(
                    "three heads, a batch",
                    (
                        "self_attention",
                        (numbers(2, 5, 6, seed=28), numbers(6, 18, seed=29), numbers(6, 6, seed=30), 3),
                    ),
                ),
                case(
                    "one head",
                    (
                        "self_attention",
                        (numbers(2, 4, 4, seed=31), numbers(4, 12, seed=32), numbers(4, 4, seed=33), 1),
                    ),
                ),
            ),
        ),
    ),
)
