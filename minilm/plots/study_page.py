"""Builds the page of a search from its folder's records alone, in the order in which a person asks.

Is it good, what does it write, was it worth it; how it was found, what mattered, what failed; and at the end
everything needed to do it again. This file knows the order, the parts live elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minilm.plots.ladder import draw_ladder, ladder_numbers
from minilm.plots.layout import Section, Shown, shown, write_page
from minilm.plots.more_time import MoreTime, draw_more_time
from minilm.plots.parts import PAGE, curves_section, sample_section
from minilm.plots.reading import StudyRecords, number, read_study
from minilm.plots.seeds import compared, draw_finalists, finalist_numbers
from minilm.plots.study_facts import facts
from minilm.plots.study_findings import corpus_of, headlines, more_time_of, result_of, sentences, standing_of
from minilm.plots.study_search import failures_section, proposals_section, search_section, settings_sections
from minilm.plots.trial_table import table_section
from minilm.plots.trials import DEFAULT_TID, Trial, best_trial, default_trial, succeeded


def study_page(folder: str | Path) -> Path:
    """(Re)builds `report.html` and its pictures in a study's folder; returns the page's path.

    Raises `RunError` if the folder is not a study.
    """
    folder = Path(folder)
    study = read_study(folder)
    future = more_time_of(study)
    return write_page(
        folder / PAGE,
        _title(study),
        [
            *_ladder_section(study, folder),
            *sample_section(result_of(study)),
            *_worth_section(study, future, folder),
            *([curves_section(study.best, folder, "The final model")] if study.best else []),
            search_section(study.trials, _longer(study), folder),
            *settings_sections(study.trials, folder),
            *proposals_section(study.trials, study.study, folder),
            *failures_section(study.trials),
            table_section(study.trials, study.result.get("incumbent", DEFAULT_TID)),
            facts(study),
        ],
        kicker=_kicker(study),
        sentences=sentences(study, future),
        headlines=headlines(study),
    )


def _title(study: StudyRecords) -> str:
    name = corpus_of(study).get("name", "your text")
    count = len(study.trials)
    if best_trial(study.trials) is None:
        return f"No model of {name} yet"
    return f"The best small language model of {name} found in {count} trial{'s' * (count != 1)}"


def _kicker(study: StudyRecords) -> str:
    settings = study.study
    words = ["minilm study"]
    words += [
        f"{key} {settings[key]}" for key in ("algo", "seed", "workers") if settings.get(key) is not None
    ]
    words += [f"{settings['minutes']:g} minutes"] if number(settings, "minutes") else []
    return " · ".join(words)


def _longer(study: StudyRecords) -> list[Trial]:
    """Trainings beside the trials, as studies with a race recorded them."""
    found: Any = study.result.get("legs")
    return [leg for leg in found if isinstance(leg, dict)] if isinstance(found, list) else []


def _ladder_section(study: StudyRecords, folder: Path) -> list[Section]:
    val = standing_of(study, "val")
    best, default = best_trial(study.trials), default_trial(study.trials)
    rungs = ladder_numbers(
        [
            ("final model", val.model, "model"),
            ("best trial", best["loss"] if best and best is not default else None, "train"),
            (
                "default recipe's trial",
                default["loss"] if default and succeeded(default) else None,
                "default",
            ),
            ("model and counting", val.mixture, "counting"),
            ("counting baseline", val.counting, "counting"),
            ("entropy floor", val.floor, "floor"),
        ]
    )
    if len(rungs) < 2:
        return []
    how = (
        "Every dot is a validation loss; further left is better. Trials are short, the final model has trained "
        "longer than any of them. No model can pass the entropy floor."
    )
    alt = "; ".join(f"{rung.name} {rung.loss:.3f}" for rung in rungs)
    picture = shown(draw_ladder(rungs), "Losses on one line", how, folder / "ladder.png", alt=alt)
    return [Section("Is it good?", pictures=[picture])]


def _worth_section(study: StudyRecords, future: MoreTime | None, folder: Path) -> list[Section]:
    pictures = [*_compared(study, folder), *_finalists(study, folder), *_future(future, folder)]
    return [Section("Was it worth it?", pictures=pictures)] if pictures else []


def _compared(study: StudyRecords, folder: Path) -> list[Shown]:
    rungs = ladder_numbers(compared(result_of(study)))
    if len(rungs) < 2:
        return []
    how = "The whole study against what else the same minutes could have bought, further left is better."
    alt = "; ".join(f"{rung.name} {rung.loss:.3f}" for rung in rungs)
    return [shown(draw_ladder(rungs), "Tuned against untuned", how, folder / "compared.png", alt=alt)]


def _finalists(study: StudyRecords, folder: Path) -> list[Shown]:
    found = finalist_numbers(study.result)
    if not found:
        return []
    how = "Every dot is one training of a finalist with another random seed, the line their mean. "
    if any(one.se is not None for one in found):
        how += "The band is its standard error. "
    how += "Where the dots of two mix, the difference may be luck."
    alt = "; ".join(f"{one.name} {one.mean:.3f} over {len(one.losses)} seeds" for one in found)
    return [
        shown(draw_finalists(found), "The finalists, seed by seed", how, folder / "finalists.png", alt=alt)
    ]


def _future(future: MoreTime | None, folder: Path) -> list[Shown]:
    if future is None:
        return []
    how = (
        "A power law through the loss at a high learning rate, the line, carried on to twice and four times the "
        "training. The final model lies lower because its rate came down; it is taken to gain as much. The bars "
        "held the truth in about nine of ten recorded trainings; what a longer search might find is not in them."
    )
    alt = f"loss now {future.now[1]:.3f}; " + "; ".join(
        f"after {gain.factor:g} times the training {gain.loss:.3f}, between {gain.low:.3f} and {gain.high:.3f}"
        for gain in future.gains
    )
    return [shown(draw_more_time(future), "What more time would buy", how, folder / "more_time.png", alt=alt)]
