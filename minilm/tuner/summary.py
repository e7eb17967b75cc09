"""What a person sees of a study in a terminal: the bar while it runs, the lines and rows at its end.

Text and rows from plain records; nothing is measured here.
"""

from __future__ import annotations

import math
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minilm.plots.parts import PAGE
from minilm.text.corpora import Corpus
from minilm.tuner.records import BEST, Trial

SHORT = {
    "num_layers": "layers",
    "hidden_size": "hidden",
    "learning_rate": "lr",
    "batch_size": "batch",
    "weight_decay": "decay",
    "block_size": "context",
}


def settings_text(point: Mapping[str, Any]) -> str:
    """A point on one line.

    >>> settings_text({"num_layers": 4, "learning_rate": 0.0030001, "dropout": 0.0})
    'layers 4, lr 0.003, dropout 0'
    """
    return ", ".join(f"{SHORT.get(name, name)} {_short(value)}" for name, value in point.items())


def _short(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def left_text(seconds: float) -> str:
    """A time that is left.

    >>> left_text(75.2), left_text(-3)
    ('1:15', '0:00')
    """
    minutes, rest = divmod(max(0, int(seconds)), 60)
    return f"{minutes}:{rest:02d}"


def result_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The final model and the two trials to compare; losses in nats per character, None where unknown."""
    chosen = result["best"]["tid"]
    rows = [
        {"name": "final model", "val": result["val_loss"], "test": result["test_loss"]},
        {"name": f"its trial ({chosen})", "val": result["best_trial_loss"], "test": None},
        {"name": "default recipe's trial", "val": result["default_trial_loss"], "test": None},
    ]
    return [
        row for row in rows if row["val"] is not None and (chosen or row["name"] != f"its trial ({chosen})")
    ]


def verdict(result: Mapping[str, Any]) -> str:
    """What the search has found, said plainly."""
    best, default = result["best_trial_loss"], result["default_trial_loss"]
    if result["best"]["tid"] == 0:
        return "the default recipe; no trial was clearly better"
    if default is None:
        return f"trial {result['best']['tid']}; the default recipe's own trial failed"
    return f"trial {result['best']['tid']}, {default - best:.3f} nats per character below the default recipe"


def corpus_line(corpus: Corpus) -> str:
    sizes = " / ".join(f"{len(part):,}" for part in (corpus.train, corpus.val, corpus.test))
    size, kinds = len(corpus.tokens), corpus.tokenizer.vocab_size
    return f"corpus    {corpus.name}: {size:,} characters, {kinds} different; train / val / test {sizes}"


def closing(result: Mapping[str, Any], folder: Path) -> str:
    """Under the table: what the model writes, and where everything is."""
    text = textwrap.indent(result["sample"], "  | ", lambda line: True)
    page = folder / PAGE
    lines = ["", "a sample", text, "", f"study     {folder}", f"run       {folder / BEST}"]
    if page.exists():
        lines += [f"pictures  {folder}/*.png", f"page      {page}"]
    return "\n".join(lines)


class StudyBar:
    """Trials done, the best loss so far, and the time left, on stderr where that is a terminal.

    >>> with StudyBar() as bar:
    ...     bar.start(None, [])
    """

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._next: Any = None
        self._count, self._best = 0, math.inf

    def start(self, trials: int | None, done: Sequence[Trial]) -> None:
        shape = "{desc} |{bar}| {elapsed}{postfix}" if trials else "{desc}, {elapsed}{postfix}"
        self._bar = tqdm(total=trials, file=sys.stderr, disable=None, leave=False, bar_format=shape)
        for trial in done:
            self.trial(trial)

    def trial(self, trial: Trial) -> None:
        self._count, self._best = self._count + 1, min(self._best, _loss(trial))
        if self._bar is not None:
            best = "-" if math.isinf(self._best) else f"{self._best:.3f}"
            self._bar.set_description_str(f"{self._count} trials done, best loss {best}", refresh=False)
            self._bar.update(1)

    def tick(self, seconds_left: float | None) -> None:
        if self._bar is not None:
            if seconds_left is not None:
                self._bar.set_postfix_str(f"{left_text(seconds_left)} left", refresh=False)
            self._bar.refresh()

    def follow(self, other: Any) -> None:
        """The search is over; the bar of the final training takes the line."""
        self.close()
        self._next = other

    def close(self) -> None:
        for bar in (self._bar, self._next):
            if bar is not None:
                bar.__exit__(None, None, None)
        self._bar = self._next = None

    def __enter__(self) -> StudyBar:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _loss(trial: Trial) -> float:
    return math.inf if trial.loss is None else trial.loss
