"""Holds a table of real trainings: every combination of a grid, with validation losses on the way and at the end.

`benchmarks/record.py` trained them, and this file only looks up what a trial of that point would have shown after a
share of its training. Search algorithms are then compared for many seeds without training anything. The losses are
measured, not modelled, so they hold one training's luck, as in life.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from minilm import files
from minilm.errors import RunError
from minilm.tuner.space import DEFAULT_POINT, Dimension, Point

FILE = Path(__file__).with_name("recorded.npz")
GRID = "grid_"  # before a dimension's name, among the file's arrays


@dataclass(frozen=True)
class Table:
    """Trainings of every point of `grid`, in the order of `itertools.product`; all last equally long.

    Axes: P points, R seeds (the first has every point, the others some: NaN), M marks in equal distances.
    """

    grid: Mapping[str, tuple[float, ...]]
    curves: np.ndarray  # (P, R, M), nats per character; NaN from where a training diverged
    finals: np.ndarray  # (P, R), the loss at the end on more characters; NaN where it diverged
    ends: np.ndarray  # (P, R), the share of its training after which it diverged; 1 where it did not
    steps: np.ndarray  # (P,), of a training
    made: Mapping[str, Any]  # how: seconds, machine, commit, text, date

    @property
    def marks(self) -> int:
        return int(self.curves.shape[2])

    @cached_property
    def best(self) -> float:
        """The lowest loss that a search can find."""
        return float(np.nanmin(self.finals[:, 0]))

    @property
    def default(self) -> Point:
        """The default recipe, at its nearest values of the grid."""
        return {name: self.nearest(name, DEFAULT_POINT[name]) for name in self.grid}

    def nearest(self, name: str, value: float) -> float:
        """The recorded value that is nearest by ratio."""
        return min(self.grid[name], key=lambda known: abs(math.log(known / value)))

    def index(self, point: Mapping[str, float]) -> int:
        """The number of the recorded point that is nearest in every dimension."""
        index = 0
        for name, values in self.grid.items():
            index = index * len(values) + values.index(self.nearest(name, point[name]))
        return index

    def loss(self, index: int, share: float, seed: int = 0) -> float | None:
        """What a training shows after that share of it: the last mark's loss; None where it has diverged.

        After the whole training it is the final loss.
        """
        if share >= 1.0:
            loss = self.finals[index, seed]
        else:
            loss = self.curves[index, seed, max(0, math.floor(share * self.marks + 1e-9) - 1)]
        return float(loss) if self.ends[index, seed] >= share and math.isfinite(loss) else None

    def dimensions(self) -> tuple[Dimension, ...]:
        """The grid as a space of numbers, log-uniform; half a cell beyond the outer values, which get their part."""
        return tuple(_dimension(name, values) for name, values in self.grid.items())


def _dimension(name: str, values: tuple[float, ...]) -> Dimension:
    low = values[0] / math.sqrt(values[1] / values[0])
    return Dimension(name, "log", low, values[-1] * math.sqrt(values[-1] / values[-2]))


def load_table(path: str | Path | None = None) -> Table:
    """The table beside this file, or another that `save_table` wrote; a damaged one raises `RunError`."""
    source = FILE if path is None else Path(path)
    try:
        with np.load(BytesIO(source.read_bytes()), allow_pickle=False) as held:
            return _table({name: held[name] for name in held.files})
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise RunError(f"cannot read {source}: no table of recorded trainings; check it out again") from error


def _table(arrays: dict[str, np.ndarray]) -> Table:
    grid = {n.removeprefix(GRID): tuple(v.tolist()) for n, v in arrays.items() if n.startswith(GRID)}
    curves, finals, ends, steps = (arrays[name] for name in ("curves", "finals", "ends", "steps"))
    return Table(grid, curves, finals, ends, steps, made=json.loads(str(arrays["made"])))


def save_table(table: Table, path: str | Path) -> None:
    """Writes the table as float32 in an .npz without pickle; equal tables make equal files."""
    buffer = BytesIO()
    arrays = {GRID + name: np.array(values) for name, values in table.grid.items()}
    arrays |= {name: getattr(table, name).astype(np.float32) for name in ("curves", "finals", "ends")}
    arrays |= {"steps": table.steps.astype(np.int32)}
    arrays |= {"made": np.array(json.dumps(dict(table.made), sort_keys=True))}
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    files.write_bytes(path, buffer.getvalue())
