"""Compares the finalists over several seeds, since a winner may only be lucky. The numbers, then the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from minilm.plots.reading import number, part
from minilm.plots.style import COLOR, Picture, canvas, name_axes, note, save_png, style_axes
from minilm.plots.trials import DEFAULT_TID
from minilm.plots.verdict import Sentence, is_number


class Finalist(NamedTuple):
    """One configuration and its losses, one per seed; nats per character. `se` is the mean's standard error."""

    tid: int
    losses: list[float]
    mean: float
    se: float | None
    n_parameters: float | None

    @property
    def role(self) -> str:
        return "default" if self.tid == DEFAULT_TID else "train"

    @property
    def name(self) -> str:
        return "default recipe" if self.tid == DEFAULT_TID else f"trial {self.tid}"


def finalist_numbers(result: Mapping[str, Any]) -> list[Finalist]:
    """The finalists of a study's result, best first; those without a loss are left out.

    >>> found = finalist_numbers({"finalists": [{"tid": 4, "losses": {"0": 1.5, "1": 1.7}}]})
    >>> found[0].name, round(found[0].mean, 2), found[0].se
    ('trial 4', 1.6, None)
    """
    recorded = result.get("finalists")
    entries = [one for one in recorded if isinstance(one, dict)] if isinstance(recorded, list) else []
    found = [_finalist(one) for one in entries if isinstance(one.get("tid"), int)]
    return sorted((one for one in found if one is not None), key=lambda one: one.mean)


def _finalist(record: Mapping[str, Any]) -> Finalist | None:
    losses = [loss for loss in part(record, "losses").values() if is_number(loss)]
    if not losses:
        return None
    mean = number(record, "mean")
    mean = sum(losses) / len(losses) if mean is None else mean
    return Finalist(record["tid"], losses, mean, number(record, "se"), number(record, "n_parameters"))


def judged(result: Mapping[str, Any]) -> Sentence | None:
    """The study's own conclusion in its own words. It compared short trainings, which is said where the final
    model does not follow the winner of them."""
    verdict, chosen = part(result, "verdict"), part(result, "best").get("tid")
    text = str(verdict.get("text") or "").rstrip(".")
    if not text:
        return None
    if not verdict.get("better"):
        return Sentence("plain", f"{text[0].upper()}{text[1:]}.")
    if chosen not in (None, verdict.get("tid")):
        return Sentence("plain", f"In short trainings {text}.")
    return Sentence("good", f"{text[0].upper()}{text[1:]}.")


def compared(result: Mapping[str, Any]) -> list[tuple[str, float | None, str]]:
    """The rows of the ladder "tuned against ...": (name, loss, palette colour); empty where nothing was compared.

    On the test split where all have been there, else on validation.
    """
    others = {name: part(part(result, "compare"), name) for name in ("default", "random")}
    others = {name: found for name, found in others.items() if found}
    if not others:
        return []
    whole = all(number(found, "test_loss") is not None for found in (result, *others.values()))
    split = "test_loss" if whole else "val_loss"
    words = {"default": "default recipe", "random": "random search"}
    rows = [(words[name], _loss(found, split), name) for name, found in others.items()]
    return [("tuned", number(result, split), "model"), *((n, x, ROLES[role]) for n, x, role in rows)]


ROLES = {"default": "default", "random": "counting"}  # what was compared with -> its colour in the palette


def _loss(found: Mapping[str, Any], split: str) -> float | None:
    loss = number(found, split)
    return number(found, "loss") if loss is None and split == "val_loss" else loss


def draw_finalists(found: Sequence[Finalist], path_png: str | Path | None = None) -> Picture:
    """A row per finalist: every seed a dot, the mean a line, its standard error a bar."""
    figure, axes = canvas(5.6, 0.8 + 0.5 * max(1, len(found)), left=1.25, right=0.55)
    style_axes(axes, grid="x")
    for row, one in enumerate(found):
        color = COLOR["model" if row == 0 and one.role != "default" else one.role]
        if one.se is not None:
            axes.plot(
                [one.mean - one.se, one.mean + one.se], [row, row], color=color, linewidth=9, alpha=0.25
            )
        axes.plot(one.losses, [row] * len(one.losses), "o", color=color, markersize=6, alpha=0.85)
        axes.plot([one.mean] * 2, [row - 0.28, row + 0.28], color=color, linewidth=2)
        right = ("axes fraction", "data")
        note(axes, f"{one.mean:.3f}", (1.0, row), (6, 0), color, xycoords=right, va="center")
    axes.set_yticks(range(len(found)), [one.name for one in found])
    axes.set_ylim(max(1, len(found)) - 0.5, -0.5)
    axes.margins(x=0.12)
    name_axes(axes, "validation loss (nats per character)", "")
    return save_png(figure, path_png)
