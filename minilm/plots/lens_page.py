"""Builds the page that shows one text from inside a model: findings, then pictures, then every number in tables."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from minilm.plots import lens
from minilm.plots.layout import Headline, Section, Shown, Table, shown, write_page
from minilm.plots.lens import Inside, joined, percent, visible
from minilm.plots.style import Picture
from minilm.plots.verdict import NOISE, Sentence, bits

INDUCTION = 0.3  # a head with more than this share deserves the name
LARGE_MAPS = 2  # heads shown with letters


def lens_page(inside: Inside, path: str | Path, name: str) -> Path:
    """Writes the page, self-contained, and returns its path; `name` says whose model it is."""
    with _foreign_glyphs_are_the_browsers():
        sections = [_surprise(inside), _lens(inside), _attention(inside), _ablation(inside), _tables(inside)]
    title = joined(inside.tokens).strip().replace("\n", " ")
    return write_page(
        path,
        "Reading " + (f"\u201c{title[:57]}\u2026\u201d" if len(title) > 60 else f"\u201c{title}\u201d"),
        sections,
        kicker=f"minilm lens on {name}",
        sentences=findings(inside),
        headlines=_headlines(inside),
        made="Made by minilm.lens from the model and the text alone; blocks and heads count from 0.",
    )


@contextmanager
def _foreign_glyphs_are_the_browsers() -> Iterator[None]:
    """Matplotlib's font lacks many scripts and says so for every letter; in an SVG the browser's fonts speak."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def _headlines(inside: Inside) -> list[Headline]:
    right = sum(row[0].text == token for row, token in zip(inside.guesses, inside.tokens[1:], strict=True))
    layer, head = strongest(inside.head_effects)
    cards = [
        Headline(f"{inside.loss:.3f}", "nats per character", "the mean surprise at this text", "model"),
        Headline(f"{bits(inside.loss):.2f}", "bits per character", "the same in bits"),
        Headline(
            percent(right / len(inside.surprisal)),
            "guessed right",
            "its likeliest token was the one that came",
        ),
        Headline(
            f"{inside.head_effects[layer, head]:+.3f}",
            "nats per character without one head",
            f"the head that is missed most, block {layer} head {head}",
        ),
    ]
    if "induction" in inside.habits:
        layer, head = strongest(inside.habits["induction"])
        score = percent(float(inside.habits["induction"][layer, head]))
        cards.append(Headline(score, "induction", f"the highest score of a head, block {layer} head {head}"))
    return cards


def strongest(values: np.ndarray) -> tuple[int, int]:
    """(layer, head) of the largest value.

    >>> strongest(np.array([[0.0, 2.0], [1.0, 0.5]]))
    (0, 1)
    """
    layer, head = np.unravel_index(int(values.argmax()), values.shape)
    return int(layer), int(head)


def findings(inside: Inside) -> list[Sentence]:
    """What stands out, in words that claim no more than the numbers."""
    return [_worst(inside), _stage(inside), _missed(inside), *_induction(inside)]


def _worst(inside: Inside) -> Sentence:
    place = int(np.argmax(inside.surprisal)) + 1
    guess, nats = inside.guesses[place - 1][0], inside.surprisal[place - 1]
    before = joined(inside.tokens[max(0, place - 12) : place]).replace("\n", "\u21b5")
    return Sentence(
        "plain",
        f"Its greatest surprise was \u201c{visible(inside.tokens[place])}\u201d after \u201c{before}\u201d: {nats:.1f} "
        f"nats, a probability of {percent(math.exp(-nats))}; it had expected \u201c{visible(guess.text)}\u201d "
        f"({percent(guess.probability)}).",
    )


def _stage(inside: Inside) -> Sentence:
    named = zip(inside.stages[1:], inside.stage_losses[1:], strict=True)
    after = ", ".join(f"{loss:.2f} after {stage}" for stage, loss in named)
    if min(inside.stage_losses[1:]) > inside.stage_losses[0] - NOISE:
        words = f"No block improves on the embedding: read through the logit lens, the loss is {after}."
    else:
        words = f"Read through the logit lens, the loss of its guesses is {after}."
    return Sentence("plain", words)


def _missed(inside: Inside) -> Sentence:
    layer, head = strongest(inside.head_effects)
    effect = float(inside.head_effects[layer, head])
    if effect < NOISE:
        return Sentence(
            "plain", "No single head is missed on this text: without any one of them the others carry on."
        )
    return Sentence(
        "plain",
        f"Head {head} of block {layer} is missed most: without it the loss on this text rises by {effect:.2f} nats per "
        "character. (Another text may need another head.)",
    )


def _induction(inside: Inside) -> list[Sentence]:
    if "induction" not in inside.habits:
        return []
    layer, head = strongest(inside.habits["induction"])
    score = float(inside.habits["induction"][layer, head])
    if score < INDUCTION:
        words = f"No head is an induction head; the highest score on random repetitions is {percent(score)}."
    else:
        words = (
            f"Head {head} of block {layer} is an induction head: on random tokens said twice, {percent(score)} of its "
            "attention goes to what followed the first time."
        )
    return [Sentence("plain", words)]


def _surprise(inside: Inside) -> Section:
    how = (
        "Each bar is the surprise at the token under it, -ln p in nats: no bar means that it was foreseen. Where the "
        "model would have bet on another token, the colour is strong and that token stands above the bar. The first "
        "token has nothing before it and is not judged. A click leads to the numbers."
    )
    return Section(
        "Where it was surprised",
        pictures=[both(lambda width: lens.draw_surprise(inside, width), "Surprise", how)],
    )


def both(draw: Callable[[float], Picture], title: str, how: str, wide: bool = True) -> Shown:
    """A picture as wide as the page, and drawn anew as narrow as a phone."""
    return shown(draw(lens.WIDTH), title, how, wide=wide, narrow=draw(lens.PHONE))


def _lens(inside: Inside) -> Section:
    what = "Every stage is read as if the model had to answer right there, with the reading glasses made for the last."
    how = (
        "Upper row: the token that came. Below, from the embedding to the last block, the likeliest token of each "
        "stage; the stronger the colour, the more probable the stage held the token that came. The last row is the "
        "model's answer."
    )
    losses = (
        "The same by the loss of each stage; where the line drops, the work is done. An embedding whose table is read "
        "again at the end says its own token once more, hence a bad start."
    )
    return Section(
        "How the answer takes shape",
        what,
        [
            both(lambda width: lens.draw_logit_lens(inside, width), "Logit lens", how),
            shown(lens.draw_stage_losses(inside), "Loss from stage to stage", losses),
        ],
    )


def _attention(inside: Inside) -> Section:
    L, H, T, _ = inside.maps.shape
    cut = f" Of {T} tokens, the first {lens.MAP_TOKENS} are shown." if T > lens.MAP_TOKENS else ""
    how = (
        "One map per head. A row is a token that looks, from the first on top to the last; the ink in it, to the left "
        "of the diagonal, shows where it looks. A line beside the diagonal: a head that looks a fixed way back. A "
        "column at the left: a head at rest. Slanted lines further out: the text repeats itself, and the head has "
        "noticed." + cut
    )
    pictures = [both(lambda width: lens.draw_maps(inside.maps, width), "All heads", how, H * 1.9 > 6)]
    return Section("What the heads look at", pictures=[*pictures, *_large_maps(inside)])


def _large_maps(inside: Inside) -> list[Shown]:
    order = np.argsort(-inside.head_effects, axis=None, kind="stable")[:LARGE_MAPS]
    pictures = []
    for layer, head in (map(int, np.unravel_index(index, inside.head_effects.shape)) for index in order):
        effect = inside.head_effects[layer, head]
        how = "From a token at the left to the tokens it looks at. "
        how += f"Without this head: {effect:+.3f} nats per character."
        if len(inside.tokens) > lens.LETTERED:
            how += f" The first {lens.LETTERED} tokens."
        picture = lens.draw_map(inside.tokens, inside.maps[layer, head])
        pictures.append(shown(picture, f"Block {layer}, head {head}", how))
    return pictures


def _ablation(inside: Inside) -> Section:
    how = (
        "A full disc is a part that is missed: its area, and the number in it, is the rise of the loss without it, in "
        "nats per character of this text. A ring: without the part it went better, on this text."
    )
    return Section(
        "What it cannot do without",
        "Each head, and each MLP, is switched off alone. Parts can stand in for each other, so a small number does not "
        "prove that a part is idle.",
        [
            both(
                lambda width: lens.draw_effects(inside, width),
                "Ablation",
                how,
                inside.head_effects.shape[1] > 5,
            ),
        ],
    )


def _tables(inside: Inside) -> Section:
    L, H = inside.head_effects.shape
    heads = [
        [f"{layer}.{head}", f"{inside.head_effects[layer, head]:+.4f}"]
        + [percent(float(score[layer, head])) for score in inside.habits.values()]
        for layer in range(L)
        for head in range(H)
    ]
    habits = (
        "Shares of attention. First token and token before on this text; induction on random tokens said twice, "
        "towards what followed the first time."
    )
    tokens = [_token_row(inside, place) for place in range(1, len(inside.tokens))]
    return Section(
        "Every number",
        tables=[
            Table("Heads", ("block.head", "loss without", *inside.habits), heads, note=habits),
            Table(
                "Tokens",
                ("place", "token", "nats", "p", "expected"),
                tokens,
                ids=[lens.address(place).removeprefix("#") for place in range(1, len(inside.tokens))],
            ),
        ],
    )


def _token_row(inside: Inside, place: int) -> list[str]:
    nats = inside.surprisal[place - 1]
    p, expected = percent(math.exp(-nats)), lens.expected_at(inside, place)
    return [str(place), visible(inside.tokens[place]), f"{nats:.3f}", p, expected]
