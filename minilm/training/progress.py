"""Shows one training as a bar: share of the budget, losses, time left. Knows metrics records only."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from tqdm import tqdm

from minilm.bars import progress_bar

SHAPE = "{percentage:3.0f}% |{bar}| {elapsed}, {remaining} left{postfix}"


class ProgressBar:
    """Call it with each metrics record; it draws below a notebook's cell or on a terminal, see `progress_bar`."""

    def __init__(self, terminal: bool = True) -> None:
        self._bar = progress_bar(100, SHAPE, terminal=terminal)
        self._val, self._last = "-", dict[str, Any]()

    def __call__(self, record: dict[str, Any]) -> None:
        if self._bar.disable:
            return
        self._last = record
        if "val_loss" in record:
            self._val = f"{record['val_loss']:.3f}"
        self._bar.set_postfix_str(
            f"step {record['step']}, train {record['train_loss']:.3f}, val {self._val}", refresh=False
        )
        if not self._bar.n:  # a resumed run: the share done before says nothing of the time left
            self._bar.initial = 0.0 if record["progress"] < 0.05 else 100 * record["progress"]
        self._bar.update(100 * record["progress"] - self._bar.n)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._bar.disable and self._last:  # one line of what happened stays
            spent = tqdm.format_interval(self._last["seconds"])
            losses = f"training loss {self._last['train_loss']:.3f}, validation loss {self._val}"
            self._bar.bar_format, self._bar.leave = f"{self._last['step']} steps in {spent}: {losses}", True
        self._bar.close()
