"""Sampling against brute force: the kept sets, the frequencies, the windows, the stop texts."""

from __future__ import annotations

import itertools
import math
from random import Random

import pytest
import torch

from minilm.config import PRESETS, ModelConfig
from minilm.errors import ConfigError, UnknownCharacterError
from minilm.model import GPT, Output
from minilm.sampling import Window, filter_logits, next_token, stream
from minilm.text.bpe import BPETokenizer
from minilm.text.characters import CharTokenizer
from minilm.writing import decode_pieces, prompt_ids, stream_text, stream_together, texts, until_stop


def kept_by_sorting(row, top_k, top_p):
    """The tokens to choose from, one decision at a time."""
    order = sorted(range(len(row)), key=lambda i: -row[i])
    order = order[: top_k or len(row)]
    total = sum(math.exp(row[i]) for i in order)
    kept, mass = [], 0.0
    for i in order:
        kept.append(i)
        mass += math.exp(row[i]) / total
        if top_p is not None and mass >= top_p:
            break
    return set(kept)


@pytest.mark.parametrize("top_p", [None, 1e-9, 0.3, 0.5, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("top_k", [None, 1, 2, 5, 50])
def test_the_kept_set_equals_sorting(top_k, top_p):
    logits = 3 * torch.randn(20, 13, generator=torch.Generator().manual_seed(0))
    kept = filter_logits(logits, 1.0, top_k, top_p).isfinite()
    for row, mask in zip(logits.tolist(), kept, strict=True):
        assert set(mask.nonzero()[:, 0].tolist()) == kept_by_sorting(row, top_k, top_p)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, None, None), (0.7, 4, None), (1.5, None, 0.8)]
)
def test_frequencies_follow_the_probabilities(temperature, top_k, top_p):
    """Pearson's chi-square over 40,000 draws; the bound is the 99.9 % quantile for five degrees of freedom."""
    logits = torch.tensor([[1.0, 0.2, -0.5, 2.0, -1.0, 0.0]])
    n = 40_000
    draws = next_token(logits.expand(n, -1), temperature, top_k, top_p, torch.Generator().manual_seed(3))
    kept = kept_by_sorting((logits[0] / temperature).tolist(), top_k, top_p)
    weights = [math.exp(x / temperature) if i in kept else 0.0 for i, x in enumerate(logits[0].tolist())]
    expected = [n * w / sum(weights) for w in weights]
    counts = torch.bincount(draws, minlength=6).tolist()
    assert all(count == 0 for count, e in zip(counts, expected, strict=True) if e == 0)
    assert sum((c - e) ** 2 / e for c, e in zip(counts, expected, strict=True) if e) < 20.5


def model_of(preset) -> GPT:
    torch.manual_seed(0)
    sizes = {"vocab_size": 11, "n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 10}
    model = GPT(ModelConfig.from_dict({**PRESETS[preset].model, **sizes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("prompt_length", [1, 7, 10, 14])
def test_greedy_text_is_the_same_with_and_without_cache(preset, prompt_length):
    """Also past block_size, against nanoGPT's rule spelled out: crop, run, take the best."""
    model = model_of(preset)
    ids = torch.randint(11, (2, prompt_length), generator=torch.Generator().manual_seed(5))
    expected = ids
    for _ in range(25):
        logits = model(expected[:, -10:]).logits[:, -1]
        expected = torch.cat((expected, logits.argmax(-1, keepdim=True)), dim=1)
    for use_cache in (True, False):
        assert torch.equal(model.generate(ids, 25, temperature=0, use_cache=use_cache), expected)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("keep", [1.0, 0.5])
def test_prompts_of_different_lengths_do_not_disturb_each_other(preset, keep):
    """Each greedy text is the one that its prompt has alone, counting windows from the same places."""
    model = model_of(preset)
    prompts = [[1], [2, 3, 4], [5, 6, 7, 8, 9, 10, 0, 1, 2], [3, 1]]
    together = stream_together(model, prompts, 6, temperature=0, keep=keep)
    for prompt, tokens in zip(prompts, together, strict=True):
        ids = list(prompt)
        for _ in range(6):
            ids.append(int(model(torch.tensor([ids[-view(len(ids), keep) :]])).logits[0, -1].argmax()))
        assert list(tokens) == ids[len(prompt) :]
    assert list(map(list, stream_together(model, prompts, 0))) == [[], [], [], []]


def view(length: int, keep: float) -> int:
    """How many of `length` tokens are in a window of 10, read one by one."""
    seen = 0
    for _ in range(length):
        seen = seen + 1 if seen < 10 else round(keep * 10)
    return seen


def test_together_needs_sound_prompts():
    with pytest.raises(ConfigError, match="at least one prompt"):
        stream_together(model_of("modern"), [], 3)
    with pytest.raises(ConfigError, match="between 0 and 10"):
        stream_together(model_of("modern"), [[1], [11]], 3)
    with pytest.raises(ConfigError, match="at least one"):
        stream_together(model_of("modern"), [[1], []], 3)


def test_several_texts_end_at_their_own_stop_texts():
    tokenizer = CharTokenizer.from_text("abcdefghij-")
    model = model_of("modern")
    written = texts(
        model, tokenizer, ["a", "abc", "-"], 60, stop="b", generator=torch.Generator().manual_seed(0)
    )
    assert len(written) == 3 and not any("b" in text for text in written)


def test_a_seed_decides_the_text():
    model, ids = model_of("modern"), torch.tensor([[1, 2, 3]])
    texts = [
        model.generate(ids, 30, generator=torch.Generator().manual_seed(seed)).tolist() for seed in (7, 7, 8)
    ]
    assert texts[0] == texts[1] != texts[2]
    cached, plain = (
        model.generate(ids, 30, generator=torch.Generator().manual_seed(7), use_cache=c)
        for c in (True, False)
    )
    assert torch.equal(cached, plain)


def test_training_mode_comes_back():
    model = model_of("modern").train()
    model.generate(torch.tensor([[1]]), 3)
    assert model.training
    tokens = stream(Window(model, 1), torch.tensor([[1]]), 3)
    next(tokens)
    tokens.close()  # a reader who leaves early
    assert model.training


def test_the_nucleus_ends_where_it_reaches_top_p_exactly():
    assert filter_logits(torch.zeros(1, 2), top_p=0.5).isfinite().sum() == 1


def test_ties_do_not_widen_top_k():
    assert filter_logits(torch.ones(1, 6), top_k=2).isfinite().sum() == 2
    assert filter_logits(torch.ones(1, 6), temperature=0).isfinite().sum() == 1


@pytest.mark.parametrize("temperature", [0, 1e-45, 1e-6])
def test_cold_is_greedy(temperature):
    logits = torch.tensor([[1.0, 3.0, 2.0], [9.0, -9.0, 0.0]])
    assert next_token(logits, temperature).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": 2.5}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_p": math.nan}, "top_p"),
        ({"max_new_tokens": -1}, "max_new_tokens"),
        ({"keep": 0.0}, "keep"),
        ({"keep": 1.5}, "keep"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ConfigError, match=message):
        model_of("modern").generate(torch.tensor([[1]]), **{"max_new_tokens": 2, **options})


@pytest.mark.parametrize(
    "ids", [torch.zeros(1, 0, dtype=torch.int64), torch.tensor([[11]]), torch.tensor([[-1]])]
)
def test_impossible_prompts(ids):
    with pytest.raises(ConfigError):
        model_of("modern").generate(ids, 2)


class Parrot:
    """A model that recites a text whatever it reads."""

    def __init__(self, text: str, tokenizer: CharTokenizer) -> None:
        self.config = ModelConfig(tokenizer.vocab_size, n_layer=1, n_head=1, n_embd=2, block_size=64)
        self.ids, self.said, self.training = tokenizer.encode(text), 0, False

    def __call__(self, ids, *, cache=None):
        logits = torch.full((ids.size(0), ids.size(1), self.config.vocab_size), -50.0)
        logits[:, -1, self.ids[self.said]] = 50.0
        self.said += 1
        return Output(None, logits)

    def train(self, mode=True):
        self.training = mode

    def parameters(self):
        return iter([torch.zeros(1)])


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        ((), "Fox: hi\nCrow: caw"),
        (("\nCrow:",), "Fox: hi"),
        (("zzz", " hi\nX", "\nC"), "Fox: hi"),
        (("Fox",), ""),
    ],
)
def test_stop_texts_end_the_text_and_are_never_shown(stop, expected):
    text = "Fox: hi\nCrow: caw"
    tokenizer = CharTokenizer.from_text(text + "zX")
    pieces = list(stream_text(Parrot(text, tokenizer), tokenizer, "F", len(text), stop=stop))
    assert "".join(pieces) == expected


def test_stop_texts_equal_searching_the_whole():
    """However a text is cut into pieces, it ends before the stop text that is complete first."""
    random = Random(0)
    for _ in range(2000):
        text = "".join(random.choices("ab", k=random.randrange(12)))
        stops = ["".join(random.choices("ab", k=random.randint(1, 4))) for _ in range(random.randrange(3))]
        cuts = sorted(random.choices(range(len(text) + 1), k=3))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        complete = [(text.index(stop) + len(stop), text.index(stop)) for stop in stops if stop in text]
        end = min(complete, default=(0, len(text)))[1]
        assert "".join(until_stop(iter(pieces), stops)) == text[:end], (text, stops, pieces)


def test_one_stop_text_may_stand_alone_but_not_be_empty():
    tokenizer = CharTokenizer.from_text("abcd")
    assert "".join(stream_text(Parrot("abcd", tokenizer), tokenizer, "a", 4, stop="cd")) == "ab"
    with pytest.raises(ConfigError, match="at least one character"):
        stream_text(Parrot("abcd", tokenizer), tokenizer, "a", 4, stop=("c", ""))


class Bytes:
    """A tokenizer whose tokens are single bytes, so that most characters take several."""

    def decode(self, ids):
        return bytes(ids).decode("utf-8", errors="replace")


def test_no_half_character_is_shown():
    text = "aé€😀b"
    pieces = list(decode_pieces(Bytes(), iter(text.encode())))
    assert pieces == list(text)
    assert "".join(decode_pieces(Bytes(), iter(text.encode()[:-3]))).startswith("aé€")


def test_halves_wait_however_long_the_chain_of_pieces_is():
    """Pieces that each end a character and begin the next: nothing is shown of one that has not ended."""
    text = "狐狸在森林里走" * 3
    data = text.encode()
    cuts = [0, *range(1, len(data), 3), len(data)]
    halves = [data[a:b] for a, b in itertools.pairwise(cuts)]

    class Halves:
        def decode(self, ids):
            return b"".join(halves[i] for i in ids).decode("utf-8", "replace")

    assert list(decode_pieces(Halves(), iter(range(len(halves))))) == list(text)
    broken = "".join(decode_pieces(Bytes(), iter(b"a\xe7\xe7\x8bb")))
    assert broken == b"a\xe7\xe7\x8bb".decode("utf-8", "replace"), "what is no text is shown as such"


@pytest.mark.parametrize("base", [None, CharTokenizer.from_text("the foxwl狐狸,\n")])
def test_so_many_characters_are_written_and_no_token_too_many(base):
    text = "the fox, the owl\n狐狸, the fox the owl 狐狸\n"
    tokenizer = BPETokenizer.train(text * 5, 280 if base is None else 20, base=base)
    ids = tokenizer.encode(text)
    for n in range(len(text) + 1):
        parrot = Parrot(text, tokenizer)
        assert "".join(stream_text(parrot, tokenizer, "t", n)) == text[:n]
        assert n == 0 or parrot.said == next(k for k in range(99) if n <= whole(tokenizer, ids[:k]))
        together = Parrot(text, tokenizer)
        assert texts(together, tokenizer, ["t", "t"], n) == [text[:n]] * 2 and together.said == parrot.said
    assert "".join(stream_text(Parrot(text, tokenizer), tokenizer, "t", 99, stop="x, the ow")) == "the fo"
    parrot = Parrot(text, tokenizer)
    assert texts(parrot, tokenizer, ["t"], 99, stop=["fox"]) == ["the "] and parrot.said < 5


def whole(tokenizer: BPETokenizer, ids: list[int]) -> int:
    """The characters of which every byte is there."""
    return len(tokenizer.decode(ids).rstrip("\ufffd"))


def test_a_near_miss_of_a_stop_text_is_not_swallowed():
    assert "".join(until_stop(iter("a--b---c"), ["---"])) == "a--b"
    assert "".join(until_stop(iter("aab-"), ["aaab"])) == "aab-"


def test_prompts_of_text():
    tokenizer = CharTokenizer.from_text("ab\n")
    with pytest.raises(UnknownCharacterError, match="x"):
        list(stream_text(Parrot("ab", tokenizer), tokenizer, "ax", 2))
    assert "".join(stream_text(Parrot("ab", tokenizer), tokenizer, "", 2)) == "ab"


def test_an_empty_prompt_starts_from_a_newline_or_from_token_0():
    assert prompt_ids(CharTokenizer.from_text("\tab\n"), "") == [1]
    assert prompt_ids(CharTokenizer.from_text("ab"), "") == [0]


def test_generation_ends_after_its_stop_tokens():
    model, ids = model_of("modern"), torch.tensor([[1, 2], [3, 4]])
    whole = model.generate(ids, 60, temperature=0)
    for stop in (5, [5], [[5]], torch.tensor([5])):
        got = model.generate(ids, 60, temperature=0, stop=stop)
        ends = [row.tolist().index(5) for row in whole[:, 2:]]  # in both, or the test tests nothing
        assert torch.equal(got, whole[:, : 2 + max(ends) + 1])
    pair = whole[0, 10:12].tolist()
    assert model.generate(ids[:1], 60, temperature=0, stop=pair)[0, -2:].tolist() == pair
    for wrong in ("\n", ["."], [[]]):
        with pytest.raises(ConfigError, match=r"stop must be tokens.*give tokenizer\.encode\(text\)"):
            model.generate(ids, 3, stop=wrong)


@pytest.mark.parametrize("top_p", [1e-320, 1e-300, 1e-40, 1e-6])
def test_the_likeliest_token_always_stays(top_p):
    logits = torch.tensor([[0.0, 3.0, 1.0]])
    assert next_token(logits, 1.0, top_p=top_p).tolist() == [1]
