"""Builds the page of one training run from its folder's records alone: no weights opened, nothing measured."""

from __future__ import annotations

from pathlib import Path

from minilm.plots.ladder import draw_ladder, ladder_numbers
from minilm.plots.layout import Headline, Section, shown, write_page
from minilm.plots.parts import PAGE, curves_section, facts_section, loss_headlines, sample_section
from minilm.plots.reading import RunRecords, number, part, read_run, standing
from minilm.plots.verdict import Sentence, against_counting, against_floor


def run_page(folder: str | Path) -> Path:
    """(Re)builds `report.html` and its pictures in a run's folder; returns the page's path.

    Raises `RunError` if the folder is not a run.
    """
    folder = Path(folder)
    run = read_run(folder)
    corpus = part(run.config, "corpus")
    val, test = standing("val", corpus, run.result), standing("test", corpus, run.result)
    judged = test if test.model is not None else val
    findings = [against_counting(judged), against_floor(judged), _unfinished(run)]
    return write_page(
        folder / PAGE,
        _title(run),
        [
            *_ladder_section(run, folder),
            curves_section(run, folder, "How it learned"),
            *sample_section(run.result),
            facts_section(run),
        ],
        kicker="minilm run" + (f" on {corpus['name']}" if "name" in corpus else ""),
        sentences=[finding for finding in findings if finding],
        headlines=loss_headlines(val, test) + _size(run),
    )


def _title(run: RunRecords) -> str:
    name = part(run.config, "corpus").get("name", "a text")
    return f"A small language model of {name}"


def _unfinished(run: RunRecords) -> Sentence | None:
    return (
        None
        if run.result
        else Sentence("plain", "This run has not ended: its final numbers are not there yet.")
    )


def _size(run: RunRecords) -> list[Headline]:
    cards = []
    if parameters := number(run.result, "n_parameters"):
        cards.append(Headline(f"{parameters:,.0f}", "parameters"))
    if seconds := number(run.result, "seconds"):
        cards.append(Headline(f"{seconds / 60:.1f}", "minutes of training"))
    return cards


def _ladder_section(run: RunRecords, folder: Path) -> list[Section]:
    corpus = part(run.config, "corpus")
    val = standing("val", corpus, run.result)
    rungs = ladder_numbers(
        [
            ("this model", val.model, "model"),
            ("model and counting", val.mixture, "counting"),
            ("counting baseline", val.counting, "counting"),
            ("entropy floor", val.floor, "floor"),
        ]
    )
    if len(rungs) < 2:
        return []
    how = "Every dot is a validation loss; further left is better. No model can pass the entropy floor."
    picture = shown(draw_ladder(rungs), "Where it stands", how, folder / "ladder.png")
    return [Section("Where it stands", pictures=[picture])]
