"""Builds the page of a study from its folder's records alone, in the order in which a person asks.

Is it good, what does it write, how did it learn, why this recipe, what would more minutes buy; everything else is
folded away below. What has too little to show is not drawn. This file knows the order, the parts live elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minilm.plots.ladder import draw_ladder, ladder_numbers
from minilm.plots.law import default_of, draw_expected, more_numbers, size_numbers, token_numbers, words_of
from minilm.plots.layout import Headline, Section, Shown, shown, write_page
from minilm.plots.parts import (
    PAGE,
    learning_rate_section,
    learning_section,
    loss_headlines,
    samples_section,
)
from minilm.plots.reading import StudyRecords, corpus_of, number, part, read_study, result_of, standing
from minilm.plots.study_facts import facts
from minilm.plots.study_search import failures_section, search_section, settings_sections
from minilm.plots.trial_table import table_section
from minilm.plots.trials import best_trial
from minilm.plots.verdict import Sentence
from minilm.tuner.summary import COMPARED, SHORT, settings_text, verdict


def study_page(folder: str | Path) -> Path:
    """(Re)builds `report.html` and its pictures in a study's folder; returns the page's path.

    Raises `RunError` if the folder is not a study.
    """
    folder = Path(folder)
    study = read_study(folder)
    result = result_of(study)
    sections = [
        *samples_section(result),
        *_learning(study, folder),
        *_law(result, folder),
        *([search_section(study.trials, folder)] if study.trials else []),
    ]
    folded = [
        *(learning_rate_section(study.best, folder) if study.best else []),
        *settings_sections(study.trials, folder),
        *failures_section(study.trials),
        *([table_section(study.trials)] if study.trials else []),
        facts(study),
    ]
    return write_page(
        folder / PAGE,
        _title(study),
        sections,
        folded=folded,
        kicker=_kicker(study),
        sentences=_sentences(study, result),
        headlines=_headlines(study, result),
    )


def _title(study: StudyRecords) -> str:
    name, result = corpus_of(study).get("name", "your text"), result_of(study)
    if number(result, "val_loss") is None:
        return f"No model of {name} yet"
    test = standing("test", corpus_of(study), result)
    judged = (
        test
        if test.model is not None and test.counting is not None
        else standing("val", corpus_of(study), result)
    )
    if judged.counting is None or judged.model is None:
        return f"A small language model of {name}"
    if judged.model < judged.counting:
        return f"A small language model of {name} that predicts it better than counting"
    return f"A small language model of {name} that does not yet predict it as well as counting"


def _kicker(study: StudyRecords) -> str:
    settings = study.study
    words = ["minilm study"]
    words += [f"{settings['minutes']:g} minutes"] if number(settings, "minutes") else []
    words += [f"{len(study.trials)} trials by {settings.get('algo')}"] if study.trials else []
    return " · ".join(words + [f"seed {settings['seed']}"] * ("seed" in settings))


def _sentences(study: StudyRecords, result: dict[str, Any]) -> list[Sentence]:
    """The same as on the terminal."""
    if not study.result:
        return [Sentence("plain", "This study has not ended: its final numbers are not there yet.")]
    bounds = corpus_of(study).get("bounds") or [None]
    return verdict(result, bounds[0])


def _headlines(study: StudyRecords, result: dict[str, Any]) -> list[Headline]:
    cards = loss_headlines(
        standing("val", corpus_of(study), result), standing("test", corpus_of(study), result)
    )
    if parameters := number(result, "n_parameters"):
        size = f"{parameters / 1e6:.2g} M" if parameters >= 1e6 else f"{parameters / 1e3:.0f} k"
        cards.append(Headline(size, "parameters"))
    if seconds := number(result, "seconds"):
        cards.append(Headline(f"{seconds / 60:.1f}", "minutes of training"))
    return cards


def _learning(study: StudyRecords, folder: Path) -> list[Section]:
    """The ladder and the learning curves, side by side."""
    result = result_of(study)
    val, best = standing("val", corpus_of(study), result), best_trial(study.trials)
    others: Any = part(result, "compare")
    rungs = ladder_numbers(
        [
            ("final model", val.model, "model"),
            ("first model, its teacher", number(result, "teacher_loss"), "train"),
            ("best trial", best["loss"] if best else None, "train"),
            *((title, number(part(others, name), "val_loss"), "default") for name, title in COMPARED.items()),
            ("model and counting", val.mixture, "counting"),
            ("counting", val.counting, "counting"),
            ("entropy floor", val.floor, "floor"),
        ]
    )
    pictures: list[Shown] = []
    if len(rungs) > 1:
        how = "Validation losses, from zero; shorter is better."
        how += " No model can be shorter than the entropy floor." if val.floor is not None else ""
        how += " Trials are shorter trainings than the final one." if best else ""
        how += " The learning curves are the final model's." if number(result, "teacher_loss") else ""
        alt = "; ".join(f"{rung.name} {rung.loss:.3f}" for rung in rungs)
        pictures.append(shown(draw_ladder(rungs), "Where it stands", how, folder / "ladder.png", alt=alt))
    if study.best:
        pictures += learning_section(study.best, folder)
    return [Section("Is it good, and how did it learn?", pictures=pictures)] if pictures else []


def _law(result: dict[str, Any], folder: Path) -> list[Section]:
    """What the law expected of other recipes in the same minutes, and of more minutes."""
    law, point = part(result, "law"), part(part(result, "best"), "point")
    if not law:
        return []
    pictures, default = [], default_of(law)
    how = (
        "How much higher than the choice it was expected to end, in the same minutes on this machine, with 90 % "
        "intervals; nothing of it was trained. "
    )
    if sizes := size_numbers(law, point):
        drawn, alt = draw_expected(sizes, "layers x hidden size", default), words_of(sizes, default)
        words = how + "Small models see more text, large ones learn more from each piece of it."
        pictures.append(shown(drawn, "Why this size", words, folder / "sizes.png", alt=alt))
    if tokens := token_numbers(law, point):
        drawn, alt = draw_expected(tokens, "tokens"), words_of(tokens)
        words = how + "Longer pieces read more text in a step, and each is rarer."
        pictures.append(shown(drawn, "Why these tokens", words, folder / "tokens.png", alt=alt))
    if more := more_numbers(law):
        drawn, alt = draw_expected(more, "more minutes", against="now"), words_of(more)
        words = "How much lower the loss was expected to end after more minutes, with 90 % intervals."
        pictures.append(shown(drawn, "What more minutes would buy", words, folder / "more_time.png", alt=alt))
    chosen = settings_text(
        {name: value for name, value in point.items() if name in SHORT or name == "dropout"}
    )
    sure = "promises most, as far as it is sure"
    intro = f"Of imagined trainings Hyperopt chose the one of which a law of real ones {sure}: {chosen}."
    return [Section("Why this recipe?", intro, pictures=pictures)]
