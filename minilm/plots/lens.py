"""Draws what goes on inside a model while it reads: surprise, attention, logit lens, ablation.

Numbers come in as plain lists and arrays, `Inside` holds them together. This file draws and counts nothing; it knows
no model and no torch. Blocks and heads count from 0, as in the names of the activations.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from minilm.plots.style import COLOR, FONT_SIZE, LOSS_LABEL, Picture, canvas, name_axes, note, style_axes

WIDTH, PHONE = 11.0, 4.4  # inches, of the pictures that take the whole page, there and on a phone
LONGEST = 10  # characters of a token that fit into a cell
MONO = "DejaVu Sans Mono"
MAP_TOKENS, LETTERED = 160, 64  # tokens of a long text that a map shows, and one with letters at its sides


class Guess(NamedTuple):
    """A token's text and the probability that it was given."""

    text: str
    probability: float


class Inside(NamedTuple):
    """One text of T tokens seen from inside a model of L blocks with H heads. Losses in nats per character."""

    tokens: list[str]  # T
    characters: int  # of every token but the first, whose nats by these are the loss
    surprisal: list[float]  # T - 1, nats of every token but the first
    guesses: list[list[Guess]]  # T - 1, what was expected there, best first
    loss: float
    maps: np.ndarray  # (L, H, T, T)
    stages: list[str]  # L + 1
    stage_losses: list[float]  # L + 1
    stage_guesses: list[list[str]]  # (L + 1, T - 1), the likeliest token
    stage_hopes: np.ndarray  # (L + 1, T - 1), the probability of the token that came
    head_effects: np.ndarray  # (L, H), rise of the loss without the head
    mlp_effects: np.ndarray  # (L,)
    habits: dict[str, np.ndarray]  # name -> (L, H), shares of attention from 0 to 1


def visible(token: str) -> str:
    """A token as it can be seen: white space and control characters get a sign.

    >>> visible("a"), visible(" the"), visible("\\n")
    ('a', '\u00b7the', '\u21b5')
    """
    signs = {" ": "\u00b7", "\n": "\u21b5", "\t": "\u2192"}
    return "".join(
        signs.get(c, "\ufffd" if unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn") else c) for c in token
    )


def short(token: str) -> str:
    """A visible token that fits into a cell; of a long one beginning and end.

    >>> short("consider"), short("considered"), short(" considerably")
    ('consider', 'considered', '\u00b7consi\u2026bly')
    """
    seen = visible(token)
    return seen if len(seen) <= LONGEST else f"{seen[: LONGEST - 4]}\u2026{seen[-3:]}"


def readable(data: bytes) -> str:
    """The text of a token, and the bytes in it that are only a part of a character.

    >>> readable("\u4f60".encode()), readable(b" \\xe4"), readable(b"\\xbd\\xa0.")
    ('\u4f60', ' \u27e8e4\u27e9', '\u27e8bda0\u27e9.')
    """
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        parts = re.sub(r"((?:\\x..)+)", "\u27e8\\1\u27e9", data.decode("utf-8", "backslashreplace"))
        return parts.replace("\\x", "")


def joined(tokens: Sequence[str]) -> str:
    """The text of tokens in a row, characters put together from their bytes.

    >>> joined(["a", "\u27e8e4\u27e9", "\u27e8bda0\u27e9", "\u27e8e4\u27e9"])
    'a\u4f60\u27e8e4\u27e9'
    """
    parts = re.split("((?:\u27e8(?:[89a-f][0-9a-f])+\u27e9)+)", "".join(tokens))
    parts[1::2] = [readable(bytes.fromhex(re.sub("[\u27e8\u27e9]", "", part))) for part in parts[1::2]]
    return "".join(parts)


def per_row(tokens: Sequence[str], width: float = WIDTH) -> int:
    """How many tokens stand in a row of a picture so wide: as many as fit, evenly over the rows.

    >>> per_row(["a"] * 100), per_row(["a", "word"] * 20), per_row(["a"] * 100, PHONE)
    (50, 20, 20)
    """
    longest = max((len(short(token)) for token in tokens), default=1)
    letters = (width - 0.95) / (WIDTH - 0.95)  # 0.95 inches are for the axis
    fitting = int(64 * letters) if longest == 1 else max(3, int(80 * letters) // longest)
    return max(min(12, fitting), math.ceil(len(tokens) / math.ceil(len(tokens) / fitting)))


def address(place: int) -> str:
    """Where the page's table has this token's row."""
    return f"#token-{place}"


def describe(inside: Inside, place: int) -> str:
    """A token's surprise and what had been expected, in a line; `place` counts from 0, the first has none."""
    nats = inside.surprisal[place - 1]
    p, expected = percent(math.exp(-nats)), expected_at(inside, place)
    return f"{visible(inside.tokens[place])}: {nats:.2f} nats, p = {p}; expected {expected}"


def expected_at(inside: Inside, place: int) -> str:
    """The guesses at a token's place with their probabilities, best first."""
    guesses = inside.guesses[place - 1]
    return ", ".join(f"\u201c{visible(g.text)}\u201d {percent(g.probability)}" for g in guesses)


def percent(share: float) -> str:
    """
    >>> percent(0.5), percent(0.012), percent(0.0001)
    ('50 %', '1.2 %', '<0.1 %')
    """
    if share < 0.001:
        return "<0.1 %"
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"


def draw_surprise(inside: Inside, width: float = WIDTH) -> Picture:
    """A bar of nats over each token, in rows like the lines of a text; small letters say what was expected instead."""
    T, per = len(inside.tokens), per_row(inside.tokens, width)
    top = max(1.0, *inside.surprisal) * 1.25
    figure, rows = _rows(math.ceil(T / per), 1.15, width)
    for number, axes in enumerate(rows):
        first = number * per
        for place in range(first, min(T, first + per)):
            _token(axes, place - first, -0.045 * top, inside.tokens[place], va="top")
            if place:
                _bar(axes, inside, place, place - first, top)
        axes.set(xlim=(-0.6, per - 0.4), ylim=(0, top), xticks=[])
        name_axes(axes, "", "nats")
    figure.hovers = {address(place): describe(inside, place) for place in range(1, T)}
    return figure


def _bar(axes: Axes, inside: Inside, place: int, x: int, top: float) -> None:
    nats, guess = inside.surprisal[place - 1], inside.guesses[place - 1][0]
    wrong = guess.text != inside.tokens[place]
    (bar,) = axes.bar(x, nats, 0.78, color=COLOR["model" if wrong else "train"])
    bar.set_url(address(place))
    if wrong:
        _token(
            axes, x, nats + 0.025 * top, guess.text, color=COLOR["muted"], size=FONT_SIZE - 2.5, va="bottom"
        )


def _rows(count: int, height: float, width: float) -> tuple[Picture, list[Axes]]:
    """A picture of stacked axes with room for a line of letters under each."""
    under, total = 0.27, count * (height + 0.27) + 0.1
    figure, axes = canvas(width, total, left=0.85, right=0.1, top=0.1, bottom=total - 0.1 - height)
    rows = [axes]
    for number in range(1, count):
        bottom = total - 0.1 - height - number * (height + under)
        place = (0.85 / width, bottom / total, 1 - 0.95 / width, height / total)
        rows.append(style_axes(figure.add_axes(place)))
    return figure, rows


def _token(axes: Axes, x: float, y: float, token: str, **how: Any) -> None:
    """A token's letters. Its dollars are dollars: matplotlib would take a pair of them for a formula."""
    style = {"color": COLOR["ink"], "size": FONT_SIZE - 0.5, "ha": "center", "va": "center", "family": MONO}
    axes.text(x, y, short(token), parse_math=False, **{**style, **how})


def draw_maps(maps: np.ndarray, width: float = WIDTH) -> Picture:
    """All heads at a glance: a row of maps per block, (L, H, T, T); down the queries, across the keys."""
    L, H = maps.shape[:2]
    side = min(1.9, (width - 0.5) / H)
    width, height = max(0.6 + side * H, 4.0), 0.35 + side * L
    figure = Picture(width, height)
    for layer in range(L):
        for head in range(H):
            place = ((0.5 + side * head) / width, 1 - (0.3 + side * (layer + 1)) / height)
            axes = figure.add_axes((*place, 0.93 * side / width, 0.93 * side / height))
            _map(axes, maps[layer, head, :MAP_TOKENS, :MAP_TOKENS])
            if layer == 0:
                axes.set_title(f"head {head}", size=FONT_SIZE - 1, color=COLOR["muted"], pad=4)
            if head == 0:
                axes.set_ylabel(f"block {layer}", size=FONT_SIZE - 1, color=COLOR["muted"])
    return figure


def draw_map(tokens: Sequence[str], weights: np.ndarray) -> Picture:
    """One head with the text at its sides, (T, T): a row is a token that looks, a column one that is looked at."""
    T = min(len(tokens), LETTERED)
    longest = max(len(short(token)) for token in tokens[:T])
    size = max(4.0, min(FONT_SIZE - 0.5, 0.85 * 72 * 4.9 / T))
    margin = 0.15 + 0.61 * longest * size / 72  # inches; a letter of MONO is 0.6 of its size wide
    figure, axes = canvas(5.6, 5.6, left=max(0.55, margin), right=0.1, top=max(0.45, margin), bottom=0.2)
    _map(axes, weights[:T, :T])
    for place in range(T):
        _token(axes, -0.9, place, tokens[place], size=size, ha="right")
        _token(axes, place, -1.0, tokens[place], size=size, va="bottom", rotation=90 * (longest > 1))
    return figure


def _map(axes: Axes, weights: np.ndarray) -> None:
    """Ink where attention is. The root makes faint attention visible; clear where there is none, so that a page may
    be light or dark."""
    ink = np.empty((*weights.shape, 4))
    ink[..., :3] = to_rgb(COLOR["model"])
    ink[..., 3] = np.sqrt(np.clip(weights, 0, 1))
    axes.imshow(ink, interpolation="none", aspect="auto")
    axes.set(xticks=[], yticks=[], facecolor="none")
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=COLOR["grid"], linewidth=0.8)


def draw_logit_lens(inside: Inside, width: float = WIDTH) -> Picture:
    """What each stage would say next: letters are its likeliest token, ink the probability of what really came."""
    count, per = len(inside.tokens) - 1, per_row(inside.tokens, width)
    S = len(inside.stages)
    figure, rows = _rows(math.ceil(count / per), 0.24 * (S + 1), width)
    for number, axes in enumerate(rows):
        first = number * per
        for x, place in enumerate(range(first, min(count, first + per))):
            _token(axes, x, -1, inside.tokens[place + 1], weight="bold")
            for stage in range(S):
                _cell(axes, x, stage, inside.stage_guesses[stage][place], inside.stage_hopes[stage, place])
        axes.set(xlim=(-0.6, per - 0.4), ylim=(S - 0.5, -1.5), xticks=[])
        axes.set_yticks(range(-1, S), ["came", *inside.stages], size=FONT_SIZE - 2)
        axes.grid(False)
        axes.spines[:].set_visible(False)
    return figure


def _cell(axes: Axes, x: int, y: int, guess: str, hope: float) -> None:
    color = COLOR["model"]
    axes.add_patch(
        Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=color, alpha=0.75 * float(hope), linewidth=0)
    )
    _token(axes, x, y, guess, size=FONT_SIZE - 1.5, color=COLOR["ink" if hope > 0.02 else "muted"])


def draw_stage_losses(inside: Inside) -> Picture:
    """How the loss falls from stage to stage, in nats and bits."""
    figure, axes = canvas(5.6, 3.0, bottom=0.4)
    x = range(len(inside.stages))
    axes.plot(x, inside.stage_losses, color=COLOR["model"], linewidth=2, marker="o", markersize=6)
    for place, loss in zip(x, inside.stage_losses, strict=True):
        note(axes, f"{loss:.2f}", (place, loss), (0, 8), COLOR["ink"], ha="center")
    axes.set_xticks(list(x), inside.stages)
    axes.set_ylim(0, max(inside.stage_losses) * 1.15)
    axes.set_xlim(-0.3, len(inside.stages) - 0.7)
    name_axes(axes, "", LOSS_LABEL)
    return figure


def draw_effects(inside: Inside, width: float = WIDTH) -> Picture:
    """A disc for every part, its area the rise of the loss without it; a ring where the loss falls."""
    L, H = inside.head_effects.shape
    effects = np.concatenate([inside.head_effects, inside.mlp_effects[:, None]], axis=1)  # (L, H + 1)
    cell = min(1.0, (width - 1.2) / (H + 1))
    size = {"width": max(min(5.6, width), 1.0 + cell * (H + 1)), "height": 0.6 + cell * L}
    figure, axes = canvas(**size, left=0.85, right=0.1, top=0.4, bottom=0.1)
    largest = max(float(np.abs(effects).max()), 1e-9)
    points = (0.72 * 72 * cell) ** 2  # a scatter's size is an area in square points
    for layer in range(L):
        for column in range(H + 1):
            _disc(axes, column, layer, float(effects[layer, column]), largest, points)
    axes.set(xlim=(-0.55, H + 0.55), ylim=(L - 0.45, -0.55))
    axes.set_xticks(range(H + 1), [*(f"head {head}" for head in range(H)), "MLP"])
    axes.xaxis.tick_top()
    axes.set_yticks(range(L), [f"block {layer}" for layer in range(L)])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return figure


def _disc(axes: Axes, x: int, y: int, effect: float, largest: float, points: float) -> None:
    share, gain = abs(effect) / largest, effect > 0
    color = COLOR["train"] if gain else "none"
    axes.scatter(x, y, max(1.0, points * share), c=color, edgecolors=COLOR["train"], linewidths=1)
    axes.text(x, y, f"{effect:+.2f}", ha="center", va="center", size=FONT_SIZE - 1, color=COLOR["ink"])
