"""Lab 6, generation and looking inside: tasks, hints and cases."""

from __future__ import annotations

from minilm.classroom.lab import Lab, Task, case
from minilm.classroom.plain import numbers, tensor

ROW = tensor([[1.0, 3.0, 0.0, 2.0]])
TWO = tensor([[0.1, 2.0, -1.0, 0.7, 1.5], [3.0, -0.4, 2.2, 0.3, 2.6]])
CLOSE = tensor([[1.0, 1.001, 0.5], [-2.0, -2.0, -1.999]])
HALF = tensor([[0.0, 0.6931472, 0.0]])  # shares of a quarter, a half, a quarter
NEVER = tensor([[0.0, 1.0], [0.0, 1.0]])
QUARTERS = tensor([[0.25, 0.25, 0.5], [0.25, 0.25, 0.5], [0.0, 0.5, 0.5]])
SHARES = tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.1, 0.1, 0.8]])
IDS = tensor([[0, 3, 1, 2, 4, 1], [2, 2, 0, 4, 3, 1]], "int64")
U = tensor([[0.1, 0.8, 0.4, 0.95, 0.3], [0.6, 0.2, 0.9, 0.5, 0.7]])

LAB = Lab(
    "lab6",
    "Generation and looking inside",
    (
        Task(
            "probabilities",
            "temperature",
            2,
            10,
            1,
            "(B, V)",
            (
                "What does a division by 0.5 do to the distance between two logits?",
                "Divide before the softmax; a temperature of 0 needs a case of its own.",
                "(logits / temperature).softmax(dim=-1), and one_hot of the argmax at 0.",
            ),
            (
                case("half", ("probabilities", (ROW, 0.5)), public=True),
                case("a batch", ("probabilities", (numbers(3, 5, seed=1), 1.7))),
                case("zero", ("probabilities", (TWO, 0)), edge=True, public=True, whole=True),
                case(
                    "zero again",
                    ("probabilities", (numbers(3, 4, seed=2), 0.0)),
                    edge=True,
                    whole=True,
                    public=True,
                ),
                case("zero, nearly equal", ("probabilities", (CLOSE, 0)), edge=True, public=True, whole=True),
            ),
        ),
        Task(
            "top_k",
            "the k most likely",
            2,
            10,
            2,
            "(B, V)",
            (
                "Which probability has a logit of 0, and which one has none?",
                "topk gives values and places; scatter puts values into places.",
                "full_like(logits, -inf).scatter(-1, best, logits.gather(-1, best)) with best = topk(...).indices.",
            ),
            (
                case("two of four", ("top_k", (ROW, 2)), public=True),
                case("a batch", ("top_k", (TWO, 3)), public=True),
                case("one", ("top_k", (numbers(3, 6, seed=3), 1))),
                case("more than there are", ("top_k", (TWO, 9)), edge=True),
            ),
        ),
        Task(
            "top_p",
            "the nucleus",
            4,
            25,
            4,
            "(B, V)",
            (
                "With probabilities 0.5, 0.3, 0.2 and p = 0.6: which tokens are in?",
                "Sort; a token is out if the tokens before it reach p already. Then put everything back in place.",
                "before = shares.cumsum(-1) - shares; fill where before >= p; scatter with the order of the sort.",
            ),
            (
                case("two of four", ("top_p", (ROW, 0.8)), public=True),
                case("a batch", ("top_p", (TWO, 0.7)), public=True),
                case("nearly all", ("top_p", (numbers(3, 6, seed=4), 0.95))),
                case("one is enough", ("top_p", (TWO, 0.2)), edge=True, public=True),
                case("exactly p", ("top_p", (HALF, 0.5)), edge=True, public=True),
                case("very small", ("top_p", (numbers(2, 5, seed=5), 0.01)), edge=True, public=True),
            ),
        ),
        Task(
            "draw",
            "a token for a number",
            2,
            15,
            2,
            "(B,) whole numbers",
            (
                "Lay the probabilities end to end from 0 to 1: into which one does u fall?",
                "cumsum gives the ends; the first end above u belongs to the token.",
                "(shares.cumsum(-1) > u[:, None]).int().argmax(-1): argmax gives the first 1.",
            ),
            (
                case("three rows", ("draw", (SHARES, tensor([0.1, 0.65, 0.9]))), public=True),
                case("other numbers", ("draw", (SHARES, tensor([0.69, 0.05, 0.15]))), public=True),
                case("the ends", ("draw", (SHARES, tensor([0.0, 0.99, 0.21])))),
                case("once more", ("draw", (SHARES, tensor([0.75, 0.5, 0.05])))),
                case(
                    "exactly the end", ("draw", (QUARTERS, tensor([0.25, 0.5, 0.0]))), edge=True, public=True
                ),
                case(
                    "no share, not drawn",
                    ("draw", (tensor([[0.0, 1.0], [0.0, 1.0]]), tensor([0.0, 0.5]))),
                    edge=True,
                ),
            ),
        ),
        Task(
            "generate",
            "token after token",
            4,
            25,
            3,
            "(B, T + n)",
            (
                "What must the model read before it can say the second new token?",
                "A loop: crop, model, last position, probabilities, draw, append.",
                "torch.cat([ids, new[:, None]], dim=1) at the end of a round, ids[:, -block_size:] at its beginning.",
            ),
            (
                case(
                    "within the context", ("generate", (IDS, numbers(5, 5, seed=6), U, 16, 1.0)), public=True
                ),
                case(
                    "longer than the context",
                    ("generate", (IDS, numbers(5, 5, seed=7), U, 4, 1.0)),
                    public=True,
                ),
                case("hotter", ("generate", (IDS, numbers(5, 5, seed=8), U, 3, 1.5)), public=True),
                case("colder", ("generate", (IDS, numbers(5, 5, seed=9), U, 7, 0.8))),
            ),
        ),
        Task(
            "attend_cached",
            "the key-value cache",
            4,
            20,
            3,
            "(output, keys, values)",
            (
                "How many keys does the new position see, and is its own among them?",
                "First append along the axis of time, then attend to everything; no mask is needed.",
                "torch.cat([past_k, k], dim=1), then softmax(q @ keys^T / sqrt(D)) @ values; return all three.",
            ),
            (
                case(
                    "two heads",
                    (
                        "attend_cached",
                        (
                            *(numbers(2, 1, 3, seed=s) for s in (10, 11, 12)),
                            *(numbers(2, 4, 3, seed=s) for s in (13, 14)),
                        ),
                    ),
                    public=True,
                ),
                case(
                    "three heads",
                    (
                        "attend_cached",
                        (
                            *(numbers(3, 1, 4, seed=s) for s in (15, 16, 17)),
                            *(numbers(3, 2, 4, seed=s) for s in (18, 19)),
                        ),
                    ),
                ),
            ),
        ),
        Task(
            "surprisal",
            "how unexpected was that?",
            3,
            15,
            2,
            "(B, T - 1)",
            (
                "Which position's logits speak of the second token?",
                "log_softmax of all logits but the last ones, looked up at all tokens but the first.",
                "-logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0].",
            ),
            (
                case(
                    "one row",
                    ("surprisal", (numbers(1, 3, 4, seed=20), tensor([[3, 0, 2]], "int64"))),
                    public=True,
                ),
                case("a batch", ("surprisal", (numbers(2, 6, 5, seed=21), IDS))),
            ),
        ),
        Task(
            "logit_lens",
            "what each layer would say",
            3,
            20,
            3,
            "(L, T, V)",
            (
                "What happens to the last layer's residual stream before it becomes logits?",
                "The same norm and the same table for every layer; leading axes look after themselves.",
                "x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain @ table.T.",
            ),
            (
                case(
                    "two layers",
                    ("logit_lens", (numbers(2, 3, 4, seed=22), numbers(4, seed=23), numbers(5, 4, seed=24))),
                    public=True,
                ),
                case(
                    "four layers",
                    ("logit_lens", (numbers(4, 2, 6, seed=25), numbers(6, seed=26), numbers(3, 6, seed=27))),
                ),
            ),
        ),
        Task(
            "ablate",
            "a head less",
            3,
            15,
            2,
            "(T, C)",
            (
                "Which rows of proj belong to head h?",
                "Put zeros in the head's place and leave everything else as it was.",
                "kept = heads.clone(); kept[removed] = 0; then side by side, and times proj.",
            ),
            (
                case(
                    "the first of two",
                    ("ablate", (numbers(2, 3, 4, seed=28), numbers(8, 5, seed=29), 0)),
                    public=True,
                ),
                case(
                    "the second of three",
                    ("ablate", (numbers(3, 4, 2, seed=30), numbers(6, 3, seed=31), 1)),
                    public=True,
                ),
                case("the last of four", ("ablate", (numbers(4, 2, 3, seed=32), numbers(12, 4, seed=33), 3))),
            ),
        ),
    ),
)
