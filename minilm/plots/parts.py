"""Builds the parts that the page of a run and the page of a study share.

Each function turns records (plain dicts) into headlines, a section or a table; none of them writes the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minilm.plots.curves import CurveNumbers, curve_numbers, draw_curves, draw_learning_rate
from minilm.plots.layout import Headline, Section, Shown, Table, shown
from minilm.plots.reading import RunRecords, number, part, standing
from minilm.plots.verdict import Standing, bits, closed, perplexity
from minilm.tuner.records import PAGE as PAGE

PROTOCOLS: dict[str, str] = {
    "exact": "exact: every character of the split scored once, in windows that do not overlap",
    "sliding": "sliding: windows that move by a quarter of the context, only the new tokens scored",
}
SPLITS = {"train": "training", "val": "validation", "test": "test"}


def loss_headlines(val: Standing, test: Standing) -> list[Headline]:
    """The numbers that come first: the losses in three units, and what they should be compared with."""
    cards = []
    if val.model is not None:
        cards.append(Headline(f"{val.model:.3f}", "nats per character", "validation loss", "model"))
    if test.model is not None:
        cards.append(
            Headline(
                f"{test.model:.3f}", "nats per character", "test loss, read once at the very end", "model"
            )
        )
    judged, split = (test, "test") if test.model is not None else (val, "validation")
    if judged.model is not None:
        cards.append(
            Headline(f"{bits(judged.model):.2f}", "bits per character", f"the same {split} loss in bits")
        )
        hesitation = perplexity(judged.model)
        words = f"as unsure as among {hesitation:.1f} equally likely characters"
        cards.append(Headline(f"{hesitation:.2f}", "perplexity", words))
    if judged.counting is not None:
        cards.append(
            Headline(f"{judged.counting:.3f}", "counting baseline", f"Kneser-Ney on {split}", "counting")
        )
    if judged.mixture is not None and judged.weight is not None:
        note = f"the model's weight is {judged.weight:.2f}, fitted on validation; {split} loss"
        cards.append(Headline(f"{judged.mixture:.3f}", "model and counting", note, "counting"))
    return cards + _floor_headlines(judged, split)


def _floor_headlines(judged: Standing, split: str) -> list[Headline]:
    if judged.floor is None:
        return []
    share = closed(judged)
    note = f"{100 * share:.0f}\u00a0% of the way from counting done" if share and 0 < share < 1 else ""
    cards = [Headline(f"{judged.floor:.3f}", "entropy floor", f"no model can beat it on {split}", "floor")]
    if judged.model is not None:
        cards.append(Headline(f"{judged.model - judged.floor:+.3f}", "distance to the floor", note, "floor"))
    return cards


def run_curves(run: RunRecords) -> CurveNumbers:
    """The run's curves with the validation lines of its corpus."""
    val = standing("val", part(run.config, "corpus"), run.result)
    return curve_numbers(run.metrics, {"counting": val.counting, "floor": val.floor})


def curves_section(run: RunRecords, folder: Path, title: str) -> Section:
    """Learning curves and the learning rate; pictures are written into `folder`."""
    pictures = learning_section(run, folder)
    if not pictures:
        return Section(title, "No measurement has been recorded yet.")
    rate = [picture for section in learning_rate_section(run, folder) for picture in section.pictures]
    return Section(title, pictures=[*pictures, *rate])


def learning_section(run: RunRecords, folder: Path) -> list[Shown]:
    """The picture of the learning curves, where something was measured."""
    numbers = run_curves(run)
    if not numbers.train and not numbers.val:
        return []
    alt = "Learning curves: " + "; ".join(
        f"{name} from {points[0][1]:.3f} to {points[-1][1]:.3f}"
        for name, points in (("training loss", numbers.train), ("validation loss", numbers.val))
        if points
    )
    drawn, caption = draw_curves(numbers), _curves_caption(numbers)
    return [shown(drawn, "Learning curves", caption, folder / "curves.png", alt=alt)]


def learning_rate_section(run: RunRecords, folder: Path) -> list[Section]:
    numbers = run_curves(run)
    if not numbers.learning_rate:
        return []
    return [Section("The learning rate", pictures=[_learning_rate(numbers, folder)])]


def _curves_caption(numbers: CurveNumbers) -> str:
    words = "Both lines fall while the model learns; the lower, the better it guesses what comes next. "
    if numbers.best:
        words += f"The ring marks the best validation loss, {numbers.best[1]:.3f}: those weights were kept. "
    if numbers.gap is None:
        return words
    if numbers.gap > 0.1:
        return words + (
            f"The gap at the end, {numbers.gap:.2f}, was learned by heart and does not help with new text."
        )
    return words + "The lines stay together: hardly anything was merely learned by heart."


def _learning_rate(numbers: CurveNumbers, folder: Path) -> Shown:
    rises = numbers.learning_rate[0][1] < 0.5 * max(rate for _, rate in numbers.learning_rate)
    first = (
        "small at first so that nothing breaks, then large, then" if rises else "large at first, then ever"
    )
    words = f"How large each step was: {first} smaller, so that the weights settle."
    highest = max(rate for _, rate in numbers.learning_rate)
    alt = f"learning rate over {len(numbers.learning_rate)} records, highest {highest:.3g}"
    return shown(draw_learning_rate(numbers), "Learning rate", words, folder / "learning_rate.png", alt=alt)


def facts_section(run: RunRecords) -> Section:
    """What was trained on what, and how it was measured."""
    config, result = run.config, run.result
    tables = [
        Table("Text", (), corpus_rows(part(config, "corpus"))),
        Table("Model", (), rows(part(config, "model"), {"parameters": number(result, "n_parameters")})),
        Table("Training", (), rows(part(config, "train"))),
        Table("How it ended", (), _end_rows(result)),
        Table("Machine", (), rows(part(config, "hardware"))),
    ]
    return Section("Everything needed to do it again", tables=[table for table in tables if table.rows])


def _end_rows(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = {
        "best_step": "best step",
        "steps": "steps done",
        "tokens_seen": "tokens seen",
        "stopped": "ended by",
    }
    ends = {words: result.get(key) for key, words in names.items()}
    seconds = number(result, "seconds")
    return rows(ends, {"time": None if seconds is None else duration(seconds), "protocol": protocol(result)})


def protocol(result: Mapping[str, Any]) -> str | None:
    name = result.get("protocol")
    return PROTOCOLS.get(str(name), str(name)) if name else None


def corpus_rows(corpus: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name, size, splits, floors and source of a described corpus."""
    source, kinds = part(corpus, "source"), corpus.get("vocab_size")
    tokens = corpus.get("in_words") or (f"{cell(kinds)} different characters" if kinds else None)
    found = rows({"name": corpus.get("name"), "characters": corpus.get("characters"), "tokens": tokens})
    bounds, total = corpus.get("bounds"), number(corpus, "characters")
    if isinstance(bounds, (list, tuple)) and len(bounds) == 2 and total:
        sizes = [bounds[0], bounds[1] - bounds[0], int(total) - bounds[1]]
        named = zip(SPLITS.values(), sizes, strict=True)
        found.append(("splits", ", ".join(f"{name} {size:,}" for name, size in named)))
    floors = [f"{SPLITS.get(k, k)} {v:.4f}" for k, v in part(corpus, "floors").items() if number({k: v}, k)]
    if floors:
        found.append(("entropy floor", ", ".join(floors) + " nats per character"))
    where = {"path": Path(source["path"]).name} if "path" in source else {}  # a page is made to be shared
    return found + rows({key: value for key, value in {**source, **where}.items() if key not in corpus})


def rows(*parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of every setting that is there; keys become words.

    >>> rows({"n_layer": 4, "patience": None}, {"steps": 1000})
    [('n layer', '4'), ('steps', '1,000')]
    """
    return [
        (key.replace("_", " "), cell(value))
        for values in parts
        for key, value in values.items()
        if value is not None and not isinstance(value, dict)
    ]


def cell(value: Any) -> str:
    """
    >>> cell(0.003), cell(1115394), cell(True), cell([1, 2])
    ('0.003', '1,115,394', 'yes', '1, 2')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(cell, value)) if isinstance(value, (list, tuple)) else str(value)


def duration(seconds: float) -> str:
    """
    >>> duration(5.2), duration(90), duration(3720)
    ('5.2 s', '1 min 30 s', '1 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min {int(seconds) % 60} s"
    return f"{int(seconds) // 3600} h {int(seconds) % 3600 // 60} min"


def sample_section(result: Mapping[str, Any]) -> list[Section]:
    """What the model writes, if a sample was recorded."""
    sample = result.get("sample")
    text = sample.get("text") if isinstance(sample, dict) else sample
    return _written([str(text)]) if text else []


def samples_section(result: Mapping[str, Any]) -> list[Section]:
    """Several short samples side by side."""
    found: Any = result.get("samples")
    return (
        _written([str(text) for text in found if text]) if isinstance(found, list) else sample_section(result)
    )


def _written(texts: Sequence[str]) -> list[Section]:
    words = "Made up by the model, one token at a time" + (
        ", each with other dice." if len(texts) > 1 else "."
    )
    return [Section("What it writes", words, texts=texts)] if texts else []
