"""Builds the parts of a study's page about its trials: what happened, which settings matter, what failed.

Each function turns trials into sections of pictures; the numbers come from the files of the pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from minilm.plots.failures import failure_numbers, refused_numbers, region_numbers
from minilm.plots.importance import Importance, draw_importance, importance_numbers
from minilm.plots.layout import Png, Section, Shown, Table, panel, shown
from minilm.plots.legs import last_rung
from minilm.plots.parts import duration
from minilm.plots.rungs import TrialCurves, draw_trial_curves, trial_curve_numbers
from minilm.plots.search import draw_search, search_numbers
from minilm.plots.slices import Slice, draw_slice, draw_slices, slice_numbers
from minilm.plots.trials import Trial, hovers_of, short_name, succeeded

SLICES_INTRO = (
    "One panel per setting, every trial a dot at its loss: a valley shows where that setting should be, a "
    "level cloud that it hardly matters. The best trial is ringed in blue, the default recipe in orange. "
    "Other settings change at the same time, so this shows tendencies, not proofs."
)
EQUAL = " Losses are those of the first rung, where all trials had trained equally long; larger dots came further."


FEWEST_TRIALS = 3  # fewer are a table, no picture


def search_section(trials: Sequence[Trial], folder: Path) -> Section:
    """The search over time and the trials' curves, where there are enough."""
    if len(trials) < FEWEST_TRIALS:
        return Section("The search", f"{len(trials)} of its trials have ended; the table below has them.")
    return Section("The search", pictures=[_over_time(trials, folder), *_curves(trials, folder)])


def _over_time(trials: Sequence[Trial], folder: Path) -> Shown:
    how = (
        "Every dot is a trial at its validation loss, the blue staircase the best so far; a triangle is a "
        "loss above the picture, a red cross a trial that failed. Rest on a dot to see its settings, click "
        "it to find its row."
    )
    if any(last_rung(trial) for trial in trials):
        how += " A thin line joins the losses of a trial that was promoted; its dots grow."
    numbers = search_numbers(trials)
    best = f", the best {numbers.best.loss:.3f} nats per character" if numbers.best else ""
    alt = f"{len(numbers.dots)} losses and {len(numbers.failures)} failures over time{best}"
    return shown(draw_search(numbers), "Loss over time", how, folder / "search.png", alt=alt)


def _curves(trials: Sequence[Trial], folder: Path) -> list[Shown]:
    curves = trial_curve_numbers(trials)
    if not curves.curves:
        return []
    how = "Every line is one trial's validation loss on the way. Good settings often lead early."
    if len(curves.rungs) > 1:
        how += " " + _rung_words(curves)
    drawn = draw_trial_curves(curves)
    ends = [points[-1][1] for points in curves.curves.values() if points]
    alt = f"{len(ends)} learning curves, their last losses from {min(ends):.3f} to {max(ends):.3f}"
    return [shown(drawn, "The trials' learning curves", how, folder / "trial_curves.png", alt=alt)]


def _rung_words(curves: TrialCurves) -> str:
    """
    >>> from minilm.plots.rungs import RungCount
    >>> _rung_words(TrialCurves({}, None, None, rungs=[RungCount(0, 5.0, 9, 3), RungCount(1, 15.0, 3, 0)]))
    'At each rung (grey lines, at 5 s, 15 s) the best go on, full dots; the rest wait, empty dots: 9, then 3 trials.'
    """
    places = ", ".join(f"{rung.seconds:.3g} s" for rung in curves.rungs)
    counts = ", then ".join(str(rung.arrived) for rung in curves.rungs)
    return (
        f"At each rung (grey lines, at {places}) the best go on, full dots; the rest wait, empty dots: "
        f"{counts} trials."
    )


def settings_sections(trials: Sequence[Trial], folder: Path) -> list[Section]:
    """Importance, map and parallel coordinates; then every setting by itself."""
    slices = slice_numbers(trials)
    if not slices or sum(map(succeeded, trials)) < FEWEST_TRIALS:
        return []
    found = importance_numbers(trials)
    pictures = _importance(found, folder)
    hovers = hovers_of(trials)
    panels = [panel(draw_slice(one, hovers), _slice_words(one)) for one in slices]
    png = Png(folder / "slices.png", partial(draw_slices, slices))
    intro = SLICES_INTRO + (EQUAL if any(last_rung(trial) for trial in trials) else "")
    important = [Section("Which settings matter", pictures=pictures)] if pictures else []
    return [*important, Section("Each setting by itself", intro, panels=panels, png=png)]


def _slice_words(one: Slice) -> str:
    best = min(one.dots, key=lambda dot: dot.loss)
    lowest = f"the lowest {best.loss:.3f} of trial {best.tid}"
    return f"loss against {short_name(one.name)}, {len(one.dots)} trials, {lowest}"


def _importance(found: Sequence[Importance], folder: Path) -> list[Shown]:
    if not found:
        return []
    clear = [short_name(one.name) for one in found if one.clear]
    how = (
        "How differently the best quarter of the trials is spread over each setting than all trials are "
        "(PED-ANOVA). The black tick is what mere chance reaches in one of twenty settings; a pale bar does not "
        "pass it and means nothing. "
    )
    how += (
        f"Beyond chance: {', '.join(clear)}."
        if clear
        else "Here nothing passes: the trials are too few or alike."
    )
    alt = "; ".join(f"{short_name(one.name)} {100 * one.share:.0f} %" for one in found)
    return [
        shown(draw_importance(found), "Importance", how, folder / "importance.png", alt="importance: " + alt)
    ]


def failures_section(trials: Sequence[Trial]) -> list[Section]:
    """Failures by reason, and what they have in common; and what was not tried, with the reason."""
    found, refused = failure_numbers(trials), refused_numbers(trials)
    if not found and not refused:
        return []
    region = region_numbers(trials)
    rows = [
        [
            str(len(one.tids)),
            one.reason,
            ", ".join(map(str, one.tids[:12])) + (", ..." if len(one.tids) > 12 else ""),
            duration(one.seconds),
        ]
        for one in found
    ]
    tables = (
        [Table("", ["how many", "reason (of the first)", "trials", "training time lost"], rows)]
        if found
        else []
    )
    if refused:
        head, cells = (
            ["how many", "reason (of the first)"],
            [[str(count), reason] for reason, count in refused],
        )
        note = "These points were proposed and drawn again before they cost anything."
        tables.append(Table("Never tried", head, cells, note=note))
    title = "What failed" if found else "What was not tried"
    return [Section(title, region.text() if region else "", tables=tables)]
