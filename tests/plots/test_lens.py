"""The lens: made-up numbers drawn, the page whole and honest, the verb end to end with every wrong input."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import torch

from minilm.config import ModelConfig
from minilm.errors import ConfigError
from minilm.model import GPT
from minilm.plots import lens
from minilm.plots.lens import Guess, Inside
from minilm.plots.lens_page import findings, lens_page, strongest
from minilm.text.bpe import BPETokenizer
from tests.plots.test_pages import Reader
from tests.test_verbs import desk, verb  # noqa: F401 (a fixture)

TEXT = "to $be$ or\nnot <b> to be \u4f60"


def made_up(text: str = TEXT, L: int = 2, H: int = 3) -> Inside:
    """An inside in which every number differs from every other."""
    tokens, T = list(text), len(text)
    maps = np.random.default_rng(0).random((L, H, T, T)) * np.tri(T)
    return Inside(
        tokens=tokens,
        characters=T - 1,
        surprisal=[0.1 * place for place in range(1, T)],
        guesses=[[Guess("t", 0.6), Guess("&", 0.2)] for _ in tokens[1:]],
        loss=1.25,
        maps=maps / maps.sum(-1, keepdims=True),
        stages=["embedding", *(f"block {layer}" for layer in range(L))],
        stage_losses=[3.0 - stage for stage in range(L + 1)],
        stage_guesses=[["e"] * (T - 1) for _ in range(L + 1)],
        stage_hopes=np.linspace(0, 1, (L + 1) * (T - 1)).reshape(L + 1, T - 1),
        head_effects=np.arange(L * H).reshape(L, H) / 10 - 0.1,
        mlp_effects=np.arange(L) / 7,
        habits={"induction": np.arange(L * H).reshape(L, H) / 10},
    )


def test_the_page_is_whole_and_loads_nothing(tmp_path):
    path = lens_page(made_up(), tmp_path / "lens.html", "runs/<mine>")
    page = Reader(path)
    source = path.read_text(encoding="utf-8")
    assert not page.loads and "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", source)
    assert "<b>" not in re.sub(r"<b>How to read this\.</b>", "", source), "the text must be escaped"
    assert page.ids == [f"token-{place}" for place in range(1, len(TEXT))]
    assert page.links == {f"#{name}" for name in page.ids}
    for words in ("Logit lens", "Ablation", "All heads", "Block 1, head 2", "Every number", "runs/<mine>"):
        assert words in page.text
    assert path.read_bytes() == lens_page(made_up(), tmp_path / "again.html", "runs/<mine>").read_bytes()


def test_findings_say_what_the_numbers_say():
    words = [finding.text for finding in findings(made_up())]
    last = f"{lens.percent(math.exp(-0.1 * (len(TEXT) - 1)))}"
    assert "\u201c\u4f60\u201d" in words[0] and last in words[0] and "\u201ct\u201d (60 %)" in words[0]
    assert "2.00 after block 0, 1.00 after block 1" in words[1]
    assert "Head 2 of block 1" in words[2] and "0.40" in words[2]
    assert "Head 2 of block 1 is an induction head" in words[3] and "50 %" in words[3]


def test_findings_do_not_flatter():
    dull = made_up()._replace(
        stage_losses=[3.0, 3.0, 3.1],
        head_effects=np.full((2, 3), 0.001),
        habits={"induction": np.full((2, 3), 0.05)},
    )
    words = " ".join(finding.text for finding in findings(dull))
    assert (
        "No block improves" in words
        and "No single head is missed" in words
        and "No head is an induction" in words
    )
    assert len(findings(dull._replace(habits={}))) == 3


def test_rows_hold_every_token_once():
    for T in (2, 64, 65, 300):
        per = lens.per_row(["a"] * T)
        assert 1 <= per <= 64 and math.ceil(T / per) == math.ceil(T / 64)
    assert strongest(np.array([[1.0, 5.0], [2.0, 3.0]])) == (0, 1)


@pytest.mark.filterwarnings("ignore:Glyph .* missing from")  # matplotlib's font, in the PNG
@pytest.mark.parametrize("inside", [made_up(), made_up("ab", 1, 1), made_up("x" * 200, 3, 8)])
def test_pictures_are_drawn(inside):
    for picture in (
        lens.draw_surprise(inside),
        lens.draw_maps(inside.maps),
        lens.draw_map(inside.tokens, inside.maps[0, 0]),
        lens.draw_logit_lens(inside),
        lens.draw_stage_losses(inside),
        lens.draw_effects(inside),
    ):
        assert "<svg" in picture.svg() and len(picture.png()) > 3000


def test_words_as_tokens_get_wider_cells():
    words = made_up()._replace(tokens=["word "] * len(TEXT))
    assert lens.per_row(words.tokens) < lens.per_row(made_up().tokens)
    assert "word\u00b7" in lens.draw_logit_lens(words).svg()


@pytest.fixture
def run(desk):  # noqa: F811
    return desk / "run"


def test_the_verb_writes_a_page_and_tells_its_findings(run, tmp_path, capsys):
    out = tmp_path / "mine.html"
    assert verb("lens", [str(run), "--text", "Fox: I have", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert str(out) in shown and "greatest surprise" in shown and "nats per character" in shown
    assert "Fox: I have" in Reader(out).text


def test_the_verb_gives_its_numbers(run, capsys):
    from minilm.training.run import load_run

    before = {path: path.read_bytes() for path in run.iterdir() if path.name != "lens.html"}
    assert verb("lens", [str(run), "--text", "Crow: 7", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    loaded = load_run(run)
    ids = loaded.tokenizer.encode("Crow: 7", return_tensors="pt")
    assert answer["loss"] == pytest.approx(loaded.model(ids, labels=ids).loss.item(), abs=1e-5)
    assert sum(answer["surprisal"]) / 6 == pytest.approx(answer["loss"], abs=1e-5)
    assert answer["stage_losses"][-1] == pytest.approx(answer["loss"], abs=1e-5)
    assert np.shape(answer["head_effects"]) == (1, 2) and answer["tokens"] == list("Crow: 7")
    assert answer["page"] == str(run / "lens.html")
    assert before == {path: path.read_bytes() for path in before}, "only its own page is written"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["{run}", "--text", ""], "the text must have 2 to 16 tokens, the model's context, got 0"),
        (["{run}", "--text", "F"], "got 1; give a longer one"),
        (["{run}", "--text", "Fox: I have plums"], "got 17; give a shorter one"),
        (["{run}", "--text", "Fox\u4f60"], "\u4f60"),
        (["{run}"], "--text"),
        (["{folder}", "--text", "Fox"], "not a run"),
        (["{missing}", "--text", "Fox"], "does not exist"),
        (["{run}", "--text", "Fox", "--out", "{folder}"], "{folder}"),
        (["{run}", "--text", "Fox", "--outt", "x"], "did you mean '--out'"),
    ],
)
def test_wrong_input_is_one_sentence(run, tmp_path, capsys, arguments, part):
    places = {"run": str(run), "folder": str(tmp_path), "missing": str(tmp_path / "missing")}
    assert verb("lens", [argument.format(**places) for argument in arguments]) == 2
    shown = capsys.readouterr().err
    assert (
        part.format(**places) in shown and len(shown.strip().splitlines()) == 1 and "Traceback" not in shown
    )


def test_numbers_and_pictures_agree_about_the_context():
    from minilm.interpret.overview import look_inside
    from minilm.text.characters import CharTokenizer
    from tests.test_taps import built

    for kind in ("gpt2", "pairs"):
        inside = look_inside(
            built(kind), CharTokenizer.from_text("abcdefghijk"), "badge hide".replace(" ", "k")
        )
        assert inside.maps.shape == (3, 2, 10, 10) and len(inside.guesses) == 9
        assert inside.stage_hopes[-1] == pytest.approx(np.exp(-np.array(inside.surprisal)), abs=1e-6)
    with pytest.raises(ConfigError, match="2 to 12"):
        look_inside(built("gpt2"), CharTokenizer.from_text("abcdefghijk"), "a" * 13)


def test_pieces_are_judged_per_character_and_named():
    """A byte base cuts Chinese in the middle of characters: losses against a sum by hand, names that differ."""
    from minilm.interpret.ablation import ablated
    from minilm.interpret.overview import look_inside

    text = "\u72d0\u72f8, the fox\n \u72d0 and the owl"
    tokenizer = BPETokenizer.train(text * 3 + "the fox" * 9, 262)
    torch.manual_seed(0)
    model = GPT(ModelConfig(tokenizer.vocab_size, n_layer=2, n_head=2, n_embd=8, block_size=64, init="gpt2"))
    inside, ids = look_inside(model, tokenizer, text), tokenizer.encode(text)

    def by_hand() -> float:
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].double()
        nats = -sum(logits[t].log_softmax(-1)[ids[t + 1]].item() for t in range(len(ids) - 1))
        return nats / (len(text) - tokenizer.lengths[ids[0]])

    assert inside.loss == pytest.approx(loss := by_hand(), abs=1e-6)
    assert inside.stage_losses[-1] == pytest.approx(loss, abs=1e-6)
    assert sum(inside.surprisal) / inside.characters == pytest.approx(loss, abs=1e-6)
    with ablated(model, heads=[(1, 0)]):
        assert inside.head_effects[1, 0] == pytest.approx(by_hand() - loss, abs=1e-6)
    assert inside.tokens[0] == "\u27e8e78b\u27e9" and lens.joined(inside.tokens) == text
    names = [lens.readable(piece) for piece in tokenizer.pieces]
    assert len(set(names)) == len(names) and "\ufffd" not in "".join(names)


def test_long_pieces_differ_in_the_cells_too():
    assert lens.short(" considerable") != lens.short(" considerably") and len(lens.short("x" * 99)) == 10
    words = made_up()._replace(tokens=[" considerably"] * len(TEXT))
    assert "\u00b7consi\u2026bly" in lens.draw_map(words.tokens, words.maps[0, 0]).svg()
