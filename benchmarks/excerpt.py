"""Writes the table of lab 5 from the records of `record.py`: the trainings with context 64, first seed, final losses.

    python benchmarks/excerpt.py record.jsonl
    ruff format minilm/classroom/labs/lab5/recorded.py

Run it again when more has been recorded; the lab takes a table of any length. Knows no model and trains nothing.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import common
from recipe import lines

TABLE = common.ROOT / "minilm" / "classroom" / "labs" / "lab5" / "recorded.py"
NAMES = ("num_layers", "hidden_size", "batch_size", "learning_rate")
CONTEXT = 64
BEGIN, END = "ROWS = (", ")\n"  # what stands between them in the table's file is replaced


def rows(records: Path) -> list[tuple[Any, ...]]:
    """(layers, width, batch, rate, loss), in order; the loss is None where a training diverged."""
    found = []
    for line in lines(records):
        point, loss = line["point"], line["loss"]
        if line["seed"] == 0 and point["block_size"] == CONTEXT:
            known = loss is not None and math.isfinite(loss)
            found.append((*(point[name] for name in NAMES), round(loss, 3) if known else None))
    return sorted(found, key=lambda row: row[:-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path)
    found = rows(parser.parse_args().records)
    before, _, rest = TABLE.read_text(encoding="utf-8").partition(BEGIN)
    comment, _, rest = rest.partition("\n")
    after = rest.partition("\n" + END)[2]
    body = "".join(f"    {row!r},\n" for row in found)
    from minilm import files

    files.write_text(TABLE, f"{before}{BEGIN}{comment}\n{body}{END}{after}")
    print(f"{len(found)} trainings, {sum(row[-1] is None for row in found)} diverged")


if __name__ == "__main__":
    main()
