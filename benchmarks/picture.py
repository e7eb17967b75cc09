"""Draws README's picture from the records: what minutes buy, tuned against the default recipe, on three texts.

python benchmarks/picture.py notebooks/pictures/minutes.png
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from minilm.plots.style import COLOR, Picture, name_axes, save_png, style_axes

HERE = Path(__file__).parent
RECORDS = "tuning_law.jsonl"  # of the tuner that is here; the others are of the one before
TEXTS = {"fables": "fables", "shakespeare": "Tiny Shakespeare", "lo_ko": "a manual in Korean"}
SIDES = {"ours": ("tuned", COLOR["model"]), "default": ("the default recipe", COLOR["default"])}


def losses() -> dict[tuple[str, str], dict[float, list[float]]]:
    """Test losses of all seeds, nats per character: (side, text) -> minutes -> losses."""
    found: dict[tuple[str, str], dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in (HERE / RECORDS).read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        found[record["side"], Path(record["corpus"]).stem][record["minutes"]].append(record["test_loss"])
    return found


def main() -> None:
    figure, found = Picture(10, 2.9), losses()
    figure.subplots_adjust(left=0.06, right=0.99, top=0.88, bottom=0.18, wspace=0.22)
    for axes, (text, title) in zip(figure.subplots(1, 3), TEXTS.items(), strict=True):
        style_axes(axes)
        for side, (words, color) in SIDES.items():
            by_minutes = sorted(found[side, text].items())
            minutes, means = [m for m, _ in by_minutes], [statistics.mean(all_) for _, all_ in by_minutes]
            axes.plot(minutes, means, color=color, marker="o", linewidth=2, label=words)
            for m, all_ in by_minutes:
                axes.plot([m] * len(all_), all_, ".", color=color, alpha=0.5)
        axes.set_xscale("log")
        axes.set_xticks(minutes, [f"{m:g}" for m in minutes])
        axes.minorticks_off()
        axes.set_title(title, fontsize=11)
        name_axes(axes, "minutes of one core", "nats per character, test" if text == "fables" else "")
    axes.legend(frameon=False, fontsize=9)
    save_png(figure, sys.argv[1])


if __name__ == "__main__":
    main()
