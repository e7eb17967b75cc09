"""The board: runs ranked by their loss on a text that their makers have not seen.

A submission is the folder of a run. Three of its files are read as bytes, with limits, and judged in a confined
process; links, code and whatever the run says about its own loss are not looked at. This file sees no tensors and
starts nothing but through the runner.
"""

from __future__ import annotations

import csv
import io
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from minilm.classroom.reports import harmless
from minilm.classroom.runner import Limits, Outcome, Runner, judging, shared_out
from minilm.errors import ConfigError
from minilm.text import fables
from minilm.text.corpora import load_corpus
from minilm.text.ngram import KneserNey, best_order
from minilm.text.sources import own_files

NEEDED = {"config.json": 1 << 20, "tokenizer.json": 1 << 20, "model.safetensors": 128 << 20}  # bytes at most
LIMITS = Limits(seconds=60.0, megabytes=2048, scratch_megabytes=512)
CHARACTERS, PIECES = 65_536, 16  # of a text of fables; pieces give the loss its spread
UNKNOWN = math.log(0x110000)  # nats on top for a character that a model does not know: any of Unicode's
SURE = 2.0  # standard errors between two runs, or below the entropy of the text


@dataclass(frozen=True)
class Unseen:
    """The text that ranks; `floor` is its entropy in nats per character, where it is known."""

    name: str
    pieces: tuple[str, ...]
    floor: float | None = None


@dataclass(frozen=True)
class Entry:
    """One student's run, judged; `losses` of every piece in nats per character, none where it could not be read."""

    student: str
    losses: tuple[float, ...] = ()
    parameters: int = 0
    block_size: int = 0
    note: str = ""
    missing: tuple[str, ...] = ()

    @property
    def loss(self) -> float:
        return statistics.fmean(self.losses) if self.losses else math.inf


def handout(minutes: int = 10) -> str:
    """The exercise, for students."""
    return (
        (Path(__file__).parent / "board.md.txt")
        .read_text(encoding="utf-8")
        .format(
            minutes=minutes,
            pieces=PIECES,
            characters=CHARACTERS,
            unknown=UNKNOWN,
            sure=SURE,
            megabytes=NEEDED["model.safetensors"] >> 20,
            longest=CHARACTERS // PIECES,
            seconds=LIMITS.seconds,
        )
    )


def unseen(name: str) -> Unseen:
    """The text that `--unseen` names: `fables:SEED` tells new fables, anything else is a UTF-8 text file."""
    kind, _, seed = name.partition(":")
    if kind != "fables":
        text = "".join(own_files(name).pieces())
        if len(text) < 2 * PIECES:
            raise ConfigError(f"{name} has {len(text)} characters; a board needs {2 * PIECES} at least")
        return Unseen(name, _cut(text))
    if not seed.isdecimal() or int(seed) == fables.FABLES_SEED:
        raise ConfigError(
            f"fables:SEED needs a number other than {fables.FABLES_SEED}, got {name!r}; try fables:7"
        )
    told = fables.generate(int(seed), CHARACTERS)
    text = "".join(tale.text for tale in told)
    return Unseen(name, _cut(text), math.fsum(tale.information for tale in told) / len(text))


def counting(text: Unseen) -> list[Entry]:
    """What counting alone reaches on new fables, having read what everybody could read; nothing for other texts."""
    if text.floor is None:
        return []
    corpus = load_corpus("fables")
    order = best_order(corpus.train, corpus.val)
    model = KneserNey(order, corpus.tokenizer.vocab_size).fit(corpus.train)
    losses = tuple(model.loss(corpus.tokenizer.encode_array(piece)) for piece in text.pieces)
    return [Entry(f"counting (Kneser-Ney {order}-gram)", losses)]


def _cut(text: str) -> tuple[str, ...]:
    """Pieces of the same length but for the last, which takes what is left."""
    size = len(text) // PIECES
    return tuple(text[n * size : (n + 1) * size if n < PIECES - 1 else None] for n in range(PIECES))


def collect_runs(folder: Path) -> dict[str, Path]:
    """Students and the folders of their runs: NAME holds the run, or one folder that does. Links are left out."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; give the folder that holds the runs")
    found = {}
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink() and not entry.name.startswith((".", "_")):
            inside = [
                entry,
                *sorted(path for path in entry.iterdir() if path.is_dir() and not path.is_symlink()),
            ]
            runs = [path for path in inside if (path / "config.json").is_file()]
            found[entry.name] = runs[0] if runs else entry
    if not found:
        raise ConfigError(f"{folder} holds no runs; expected one folder for each student")
    return found


def read_run(folder: Path) -> dict[str, bytes]:
    """The files of a run that are looked at. What is missing, too large or no plain file raises `ConfigError`."""
    return {name: _read(folder / name, limit) for name, limit in NEEDED.items()}


def _read(path: Path, limit: int) -> bytes:
    flags = (
        os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    )  # no links, no waiting pipes
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            if not path.is_file() or path.is_symlink():
                raise ConfigError(f"{path.name} is not a plain file; hand in the file itself")
            data = file.read(limit + 1)
    except OSError as error:
        reason = "it is a link" if path.is_symlink() else error.strerror
        raise ConfigError(f"{path.name} cannot be read: {reason}; hand in the file itself") from error
    if len(data) > limit:
        raise ConfigError(f"{path.name} is larger than {limit:,} bytes; hand in a smaller model")
    return data


def judge_pile(found: Mapping[str, Path], text: Unseen, limits: Limits, jobs: int) -> list[Entry]:
    """Every run's entry, `jobs` at a time."""
    make = partial(Runner, limits, referee=True)
    return shared_out(list(found), lambda name, runner: judge(name, found[name], text, runner), make, jobs)


def judge(student: str, folder: Path, text: Unseen, runner: Runner) -> Entry:
    """A run's entry; one that cannot be judged gets its reason as a note."""
    try:
        contents = read_run(folder)
    except ConfigError as error:
        return Entry(student, note=str(error))
    return entry_of(student, runner.run(judging(text.pieces, UNKNOWN), contents), text)


def entry_of(student: str, outcome: Outcome, text: Unseen) -> Entry:
    """What came back, made an entry; a pure function."""
    (answer,), missing = outcome.cases, tuple(outcome.missing)
    if "answers" not in answer:
        return Entry(student, note=(answer["message"] or answer["error"]).split(";")[0], missing=missing)
    found = answer["answers"][0]
    entry = Entry(student, tuple(found["losses"]), found["parameters"], found["block_size"], "", missing)
    if text.floor is not None and entry.loss < text.floor - SURE * _error(entry.losses):
        note = f"below the entropy of the text, {text.floor:.4f}: no model can know that much, look into it"
        return Entry(**{**entry.__dict__, "note": note})
    return entry


def _error(values: Sequence[float]) -> float:
    """The standard error of their mean."""
    return statistics.stdev(values) / math.sqrt(len(values))


def ranked(entries: Sequence[Entry]) -> list[tuple[str, Entry]]:
    """(rank, entry), the lowest loss first. A run that is not surely worse than the first of the rank above shares it:
    the difference is less than SURE standard errors over the pieces. Those without a loss have the rank "-"."""
    order, places, leader = sorted(entries, key=lambda entry: (entry.loss, entry.student)), [], None
    for place, entry in enumerate(order, start=1):
        if leader is None or not entry.losses or _surely_worse(entry, leader):
            leader, rank = entry, str(place)
        places.append((rank if entry.losses else "-", entry))
    return places


def _surely_worse(entry: Entry, other: Entry) -> bool:
    apart = [a - b for a, b in zip(entry.losses, other.losses, strict=True)]
    return statistics.fmean(apart) > SURE * _error(apart)


COLUMNS = ("rank", "student", "nats", "bits", "parameters", "context", "note")


def rows(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """The board as texts, one row for each run, under COLUMNS."""
    return [(rank, entry.student, *_numbers(entry), entry.note) for rank, entry in ranked(entries)]


def _numbers(entry: Entry) -> tuple[str, str, str, str]:
    if not entry.losses:
        return "", "", "", ""
    size = (f"{entry.parameters}", f"{entry.block_size}") if entry.parameters else ("", "")
    return f"{entry.loss:.4f}", f"{entry.loss / math.log(2):.3f}", *size


def board_csv(entries: Sequence[Entry]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        [[harmless(cell) for cell in row] for row in [COLUMNS, *rows(entries)]]
    )
    return out.getvalue()


def board_lines(entries: Sequence[Entry], text: Unseen) -> list[str]:
    """The board for the terminal, with its protocol."""
    table = [COLUMNS, *rows(entries)]
    widths = [max(len(row[n]) for row in table) for n in range(len(COLUMNS) - 1)]
    cells = [[cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)] for row in table]
    shown = ["  ".join([*padded, row[-1]]).rstrip() for padded, row in zip(cells, table, strict=True)]
    floor = "" if text.floor is None else f", its entropy {text.floor:.4f}"
    size = sum(map(len, text.pieces))
    told = (
        f"nats per character, exact, on {text.name} ({size:,} characters in {len(text.pieces)} pieces{floor})"
    )
    return [*shown, told, f"runs of one rank are less than {SURE:g} standard errors apart"]
