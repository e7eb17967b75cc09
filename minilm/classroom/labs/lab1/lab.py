"""Lab 1, tokens and batches: tasks, hints and cases."""

from __future__ import annotations

from minilm.classroom.lab import Lab, Task, case
from minilm.classroom.plain import tensor

TEXT = "The fox saw the crow. The crow saw ten plums!"
TOKENS = tensor([7, 3, 9, 1, 4, 4, 8, 2, 6, 0, 5, 11, 10, 13, 12], "int64")
HELLO = tensor([1, 0, 2, 2, 3], "int64")

LAB = Lab(
    "lab1",
    "Tokens and batches",
    (
        Task(
            "vocabulary",
            "all characters, once",
            1,
            5,
            1,
            "a text of the different characters, sorted",
            (
                "Which type of Python's keeps every element once?",
                "set(text) forgets order and repetition; sorted brings an order.",
                'Join sorted(set(text)) with "".join.',
            ),
            (
                case("hello", ("vocabulary", ("hello",)), public=True),
                case("a sentence", ("vocabulary", (TEXT,)), public=True),
                case("other alphabets", ("vocabulary", ("Grüße, Ärger! ß\n\tA a",))),
            ),
        ),
        Task(
            "encode",
            "characters to ids",
            2,
            10,
            1,
            "a list of whole numbers",
            (
                "What is the id of the first character of the vocabulary?",
                "A dictionary from character to place is looked up once per character of the text.",
                "places = {c: n for n, c in enumerate(characters)}, then places[c] for every c in text.",
            ),
            (
                case("hello", ("encode", ("hello", "ehlo")), public=True),
                case("a sentence", ("encode", ("the fox", " efhotx"))),
                case("no text", ("encode", ("", "ab"))),
            ),
        ),
        Task(
            "decode",
            "ids to characters",
            1,
            5,
            1,
            "a text",
            (
                "What does an id say about a character?",
                "Indexing the vocabulary with an id gives its character.",
                'characters[i] for every id, joined with "".join.',
            ),
            (
                case("hello", ("decode", ([1, 0, 2, 2, 3], "ehlo")), public=True),
                case("a sentence", ("decode", ([6, 3, 1, 0, 2, 4, 5], " efhoxt"))),
                case("nothing", ("decode", ([], "ab"))),
            ),
        ),
        Task(
            "split",
            "train and validation",
            2,
            10,
            2,
            "(train, val)",
            (
                "Which part of the text must the model never see in training?",
                "Compute the size of val first, rounded down; the cut is N minus that.",
                "cut = len(ids) - int(share * len(ids)), then ids[:cut] and ids[cut:].",
            ),
            (
                case("ten tokens", ("split", (list(range(10)), 0.2)), public=True),
                case("rounded down", ("split", (list(range(20, 37)), 0.25)), public=True),
                case("nearly one more", ("split", ([5, 3, 8, 1, 9, 2, 7, 7, 4, 0, 6], 0.25)), public=True),
                case("a small share", ("split", ([5, 3, 8, 1, 9, 2, 7, 7, 4, 0, 6], 0.1))),
                case("no validation", ("split", ([4, 1, 3], 0.0)), edge=True, public=True),
                case("too short for any", ("split", ([6, 2], 0.3)), edge=True, public=True),
                case("no training", ("split", ([6, 2, 5], 1.0)), edge=True, public=True),
            ),
        ),
        Task(
            "batch",
            "inputs and targets",
            4,
            20,
            3,
            "two tensors (B, T)",
            (
                "How many tokens must a window have so that each of its T inputs has a target?",
                "Cut windows of T + 1 tokens; inputs are all but the last, targets all but the first.",
                "windows = torch.stack([tokens[s : s + block_size + 1] for s in starts]); cut its columns.",
            ),
            (
                case("hello", ("batch", (HELLO, [0], 4)), public=True),
                case("three rows", ("batch", (TOKENS, [0, 5, 2], 3)), public=True),
                case("longer rows", ("batch", (TOKENS, [4, 0, 7, 1], 6))),
                case("one column", ("batch", (TOKENS, [3, 11], 1))),
            ),
        ),
        Task(
            "window_starts",
            "an epoch's windows",
            3,
            15,
            3,
            "a list of starts",
            (
                "A window that starts at s needs the tokens s ... s + T. Which is the last s that is possible?",
                "s + T must be at most count - 1. The step between two starts is T.",
                "range(offset, count - block_size, block_size): range leaves its end out.",
            ),
            (
                case("no offset", ("window_starts", (20, 4, 0)), public=True),
                case("an offset", ("window_starts", (20, 4, 3)), public=True),
                case("the last window just fits", ("window_starts", (17, 4, 0))),
                case("the last one just does not fit", ("window_starts", (16, 4, 0))),
                case("just fits, with offset", ("window_starts", (33, 5, 2))),
                case("the offset leaves no room", ("window_starts", (21, 4, 2)), public=True),
            ),
        ),
        Task(
            "most_frequent_pair",
            "what byte-pair encoding merges",
            3,
            15,
            3,
            "(a, b)",
            (
                "How many pairs of neighbours do N tokens have?",
                "zip(ids, ids[1:]) gives all pairs; a Counter counts them. Then look at ties.",
                "min(counts, key=lambda pair: (-counts[pair], pair)).",
            ),
            (
                case("one winner", ("most_frequent_pair", ([1, 2, 3, 1, 2, 4, 1, 2],)), public=True),
                case("a row of equals", ("most_frequent_pair", ([5, 5, 5, 5, 2, 3, 2, 3],)), public=True),
                case(
                    "the ends are no neighbours",
                    ("most_frequent_pair", ([4, 7, 4, 7, 1, 4, 9, 1],)),
                    public=True,
                ),
                case("order matters", ("most_frequent_pair", ([3, 1, 4, 1, 3, 9, 1, 3, 9, 8, 3, 9, 7],))),
                case(
                    "a tie",
                    ("most_frequent_pair", ([5, 6, 0, 9, 1, 4, 2, 3, 5, 6, 7, 9, 1, 8, 2, 3],)),
                    edge=True,
                    public=True,
                ),
            ),
        ),
        Task(
            "merge",
            "one step of byte-pair encoding",
            4,
            20,
            3,
            "a list of ids",
            (
                "After a replacement, which place do you look at next?",
                "A while loop with a place that goes on by 2 after a replacement and by 1 otherwise.",
                "Compare ids[n : n + 2] with the pair; append new or ids[n]; go on while n < len(ids).",
            ),
            (
                case("two places", ("merge", ([1, 2, 3, 1, 2], [1, 2], 9)), public=True),
                case("the last stays", ("merge", ([4, 1, 2, 1, 2, 7], [1, 2], 9)), public=True),
                case("longer numbers", ("merge", ([11, 2, 1, 2, 1, 21, 2, 1], [1, 2], 9)), public=True),
                case("three equals", ("merge", ([7, 7, 7], [7, 7], 9)), public=True),
                case("a row of equals", ("merge", ([5, 5, 5, 1, 5, 5, 5, 5], [5, 5], 6))),
                case("not there", ("merge", ([1, 3, 2], [1, 2], 9))),
                case("nothing", ("merge", ([], [1, 2], 9)), edge=True),
            ),
        ),
    ),
)
