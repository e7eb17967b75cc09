"""The page of a search, from its folder's records alone: the verdict, the trials, and the final run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minilm.plots.ladder import draw_ladder, ladder_numbers
from minilm.plots.layout import Headline, Section, Shown, Table, shown, write_page
from minilm.plots.parts import (
    PAGE,
    corpus_rows,
    curves_section,
    facts_section,
    loss_headlines,
    protocol,
    rows,
    sample_section,
)
from minilm.plots.reading import StudyRecords, number, part, read_study, standing
from minilm.plots.study import draw_search, draw_slice, draw_slices, draw_trial_curves
from minilm.plots.timeline import draw_timeline, timeline_numbers
from minilm.plots.trial_table import table_section
from minilm.plots.trials import (
    DEFAULT_TID,
    Trial,
    best_trial,
    default_trial,
    search_numbers,
    slice_numbers,
    succeeded,
    trial_curve_numbers,
)
from minilm.plots.verdict import (
    Sentence,
    Standing,
    against_counting,
    against_default,
    against_floor,
)

SLICES_INTRO = (
    "One panel per setting, every trial a dot at its loss: a valley shows where that setting should be, a "
    "level cloud that it hardly matters. The best trial is ringed in blue, the default recipe in orange. "
    "Other settings change at the same time, so this shows tendencies, not proofs."
)


def study_page(folder: str | Path) -> Path:
    """(Re)builds `report.html` and its pictures in a study's folder; returns the page's path.

    Raises `RunError` if the folder is not a study.
    """
    folder = Path(folder)
    study = read_study(folder)
    val, test = _standing(study, "val"), _standing(study, "test")
    sentences = _sentences(study, test if test.model is not None else val)
    return write_page(
        folder / PAGE,
        _title(study),
        [
            *_ladder_section(study, val, folder),
            *_search_sections(study, folder),
            *([curves_section(study.best, folder, "The final model")] if study.best else []),
            *sample_section(_result(study)),
            table_section(study.trials),
            _facts(study),
        ],
        kicker=_kicker(study),
        sentences=sentences,
        headlines=loss_headlines(val, test) + _counts(study),
    )


def _result(study: StudyRecords) -> dict[str, Any]:
    """Final numbers: the study's own, and those of its best run where the study has none."""
    return {**(study.best.result if study.best else {}), **study.result}


def _corpus(study: StudyRecords) -> dict[str, Any]:
    return part(study.study, "corpus") or (part(study.best.config, "corpus") if study.best else {})


def _standing(study: StudyRecords, split: str) -> Standing:
    return standing(split, _corpus(study), _result(study))


def _title(study: StudyRecords) -> str:
    name = _corpus(study).get("name", "your text")
    best = best_trial(study.trials)
    if best is None:
        return f"No model of {name} yet"
    return f"The best small language model of {name} found in {_tried(study.trials)}"


def _tried(trials: Sequence[Trial]) -> str:
    return f"{len(trials)} trial{'s' * (len(trials) != 1)}"


def _kicker(study: StudyRecords) -> str:
    settings = study.study
    words = ["minilm study"]
    words += [
        f"{key} {settings[key]}" for key in ("algo", "seed", "workers") if settings.get(key) is not None
    ]
    words += [f"{settings['minutes']:g} minutes"] if number(settings, "minutes") else []
    return " · ".join(words)


def _sentences(study: StudyRecords, judged: Standing) -> list[Sentence]:
    best, default = best_trial(study.trials), default_trial(study.trials)
    reason = str(default.get("reason") or "failed") if default and not succeeded(default) else None
    found = [
        against_default(
            best["loss"] if best else None,
            default["loss"] if default and succeeded(default) else None,
            reason,
        ),
        _chosen(study, best),
        against_counting(judged),
        against_floor(judged),
    ]
    if not study.result:
        found.append(Sentence("plain", "This study has not ended: its final numbers are not there yet."))
    return [sentence for sentence in found if sentence]


def _chosen(study: StudyRecords, best: Trial | None) -> Sentence | None:
    """Said where the final model does not follow the trial with the lowest loss, or where there was a race."""
    race = part(study.result, "race")
    names = ("challenger_loss", "default_loss", "seconds", "challenger_forecast", "default_forecast")
    losses = [number(race, name) for name in names]
    if all(value is not None for value in losses):
        end = "goes on from it" if race.get("won") else "goes on from the default recipe"
        return Sentence(
            "plain",
            f"Trial {race['challenger']} then trained on against the default recipe: after {losses[2]:.0f} s each "
            f"it stood at {losses[0]:.3f} and the default at {losses[1]:.3f}. Their curves were heading for "
            f"{losses[3]:.3f} and {losses[4]:.3f} at the end of the time, so the final model {end}.",
        )
    chosen = part(study.result, "best").get("tid")
    if best is None or chosen is None or chosen == best["tid"]:
        return None
    which = "the default recipe" if chosen == DEFAULT_TID else f"trial {chosen}"
    return Sentence("plain", f"That lead is too small to trust, so the final model follows {which}.")


def _counts(study: StudyRecords) -> list[Headline]:
    failed = sum(not succeeded(trial) for trial in study.trials)
    cards = [
        Headline(
            str(len(study.trials)),
            "trial" + "s" * (len(study.trials) != 1),
            f"{failed} of them failed" if failed else "none failed",
        )
    ]
    if parameters := number(_result(study), "n_parameters"):
        cards.append(Headline(f"{parameters:,.0f}", "parameters", "in the final model"))
    return cards


def _ladder_section(study: StudyRecords, val: Standing, folder: Path) -> list[Section]:
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
            ("counting baseline", val.counting, "counting"),
            ("entropy floor", val.floor, "floor"),
        ]
    )
    if len(rungs) < 2:
        return []
    how = (
        "Every dot is a validation loss; further left is better. The two trials had equal budgets: "
        "compare them; the final model has trained longer. No model can pass the entropy floor."
    )
    picture = shown(draw_ladder(rungs), "Losses on one line", how, folder / "ladder.png")
    return [Section("Where it stands", pictures=[picture])]


def _search_sections(study: StudyRecords, folder: Path) -> list[Section]:
    trials = study.trials
    if not trials:
        return [Section("The search", "No trial has ended yet.")]
    numbers = search_numbers(trials)
    found = study.result.get("legs")
    legs = [leg for leg in found if isinstance(leg, dict)] if isinstance(found, list) else []
    pictures = [*_search_pictures(trials, legs, folder), *_race_picture(legs, folder)]
    sections = [Section("The search", pictures=pictures)]
    slices = slice_numbers(trials)
    if slices:
        draw_slices(slices, folder / "slices.png")
        panels = [shown(draw_slice(one, numbers.hovers), one.name, "").svg for one in slices]
        sections.append(Section("Which settings matter", SLICES_INTRO, panels=panels))
    return sections


def _race_picture(legs: Sequence[Trial], folder: Path) -> list[Shown]:
    """The default recipe's long training and the challenger's, where there was one."""
    race = trial_curve_numbers(legs)
    challenger = next((tid for tid in race.curves if tid != DEFAULT_TID), None)
    if challenger is None or DEFAULT_TID not in race.curves:
        return []
    how = (
        "The best trial trains on beside the default recipe. Small models lead early and large ones late, so look "
        "at the slopes: the challenger wins only if its curve is heading clearly lower."
    )
    drawn = draw_trial_curves(race._replace(best=challenger, default=DEFAULT_TID))
    return [shown(drawn, "The race", how, folder / "race.png")]


def _search_pictures(trials: Sequence[Trial], legs: Sequence[Trial], folder: Path) -> list[Shown]:
    how = (
        "Every dot is a trial at its validation loss, the blue staircase the best so far; a triangle is a "
        "loss above the picture, a red cross a trial that failed. Rest on a dot to see its settings, click "
        "it to find its row."
    )
    pictures = [shown(draw_search(search_numbers(trials)), "Loss over time", how, folder / "search.png")]
    curves = trial_curve_numbers(trials)
    if curves.curves:
        how = "Every line is one trial's validation loss on the way. Good settings often lead early."
        drawn = draw_trial_curves(curves)
        pictures.append(shown(drawn, "The trials' learning curves", how, folder / "trial_curves.png"))
    timeline = timeline_numbers(trials, legs)
    if timeline.bars:
        how = (
            "Every bar is one training, as long as it took: strong blue the best trial, orange the default "
            "recipe, red a failure. Gaps are idle time."
        )
        pictures.append(shown(draw_timeline(timeline), "Who did what when", how, folder / "timeline.png"))
    return pictures


# of study.json; the rest is either shown elsewhere or, like the space as Hyperopt prints it, for programs
SETTINGS = ("minutes", "trials", "algo", "seed", "workers", "device")


def _facts(study: StudyRecords) -> Section:
    found = study.study
    budget = {f"{unit} per trial": size for unit, size in part(found, "budget").items()}
    settings = Table("Search", (), rows({name: found.get(name) for name in SETTINGS}, budget))
    if study.best:
        facts = facts_section(study.best)
        return facts._replace(tables=[settings, *facts.tables])
    text = Table("Text", (), corpus_rows(_corpus(study)) + rows({"protocol": protocol(study.result)}))
    return Section("Everything needed to do it again", tables=[t for t in (settings, text) if t.rows])
