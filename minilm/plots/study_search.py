"""Builds the parts of a study's page about its search: what happened, which settings matter, why what was proposed.

Each function turns trials into sections of pictures; the numbers come from the files of the pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from minilm.plots.contour import contour_numbers, draw_contour
from minilm.plots.densities import (
    Belief,
    belief_numbers,
    draw_belief,
    draw_beliefs,
    late_rows,
    startup_trials,
)
from minilm.plots.failures import failure_numbers, refused_numbers, region_numbers
from minilm.plots.importance import FEWEST, Importance, draw_importance, importance_numbers
from minilm.plots.layout import Png, Section, Shown, Table, panel, shown
from minilm.plots.legs import last_rung
from minilm.plots.parallel import draw_parallel, parallel_numbers
from minilm.plots.parts import duration
from minilm.plots.rungs import TrialCurves, draw_trial_curves, trial_curve_numbers
from minilm.plots.scales import scales
from minilm.plots.search import draw_search, search_numbers
from minilm.plots.slices import draw_slice, draw_slices, slice_numbers
from minilm.plots.timeline import draw_timeline, timeline_numbers
from minilm.plots.trials import Trial, hovers_of, short_name, succeeded
from minilm.tuner.race import INCUMBENT
from minilm.tuner.space import DEFAULT_TID

SLICES_INTRO = (
    "One panel per setting, every trial a dot at its loss: a valley shows where that setting should be, a "
    "level cloud that it hardly matters. The best trial is ringed in blue, the default recipe in orange. "
    "Other settings change at the same time, so this shows tendencies, not proofs."
)
EQUAL = " Losses are those of the first rung, where all trials had trained equally long; larger dots came further."


def search_section(trials: Sequence[Trial], longer: Sequence[Trial], folder: Path) -> Section:
    """The search over time, the trials' curves, the workers; `longer` are trainings beside the trials."""
    if not trials:
        return Section("The search", "No trial has ended yet.")
    return Section(
        "The search",
        pictures=[
            _over_time(trials, folder),
            *_curves(trials, folder),
            *_workers(trials, longer, folder),
            *_race(longer, folder),
        ],
    )


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
    return [shown(drawn, "The trials' learning curves", how, folder / "trial_curves.png")]


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


def _workers(trials: Sequence[Trial], longer: Sequence[Trial], folder: Path) -> list[Shown]:
    timeline = timeline_numbers(trials, longer)
    if not timeline.bars:
        return []
    how = (
        "Every bar is one training, as long as it took: strong blue the best trial, orange the default "
        f"recipe, red a failure. Gaps are idle time: {100 * timeline.busy:.0f}\u00a0% of the workers' time went "
        "into trainings."
    )
    if any(bar.rung for bar in timeline.bars):
        how += " Pale bars are first legs, stronger ones go on from a rung."
    return [shown(draw_timeline(timeline), "What each worker did", how, folder / "timeline.png")]


def _race(longer: Sequence[Trial], folder: Path) -> list[Shown]:
    """The incumbent's long training and the challenger's, where there was one."""
    race = trial_curve_numbers(longer)
    incumbent = next((trial["tid"] for trial in longer if trial["worker"] == INCUMBENT), None)
    challenger = next((tid for tid in race.curves if tid != incumbent), None)
    if challenger is None or incumbent not in race.curves:
        return []
    how = (
        "The best trial continues beside the recipe that has trained all along. Small models lead early and large "
        "ones late, so look at the slopes: the challenger wins only if its curve is heading clearly lower."
    )
    other = "default" if incumbent == DEFAULT_TID else "fitted"
    drawn = draw_trial_curves(TrialCurves(race.curves, challenger, incumbent, other=other))
    return [shown(drawn, "The race", how, folder / "race.png")]


def settings_sections(trials: Sequence[Trial], folder: Path) -> list[Section]:
    """Importance, map and parallel coordinates; then every setting by itself."""
    slices = slice_numbers(trials)
    if not slices:
        return []
    found = importance_numbers(trials)
    order = [one.name for one in found] or [one.name for one in slices]
    pictures = [
        *_importance(found, folder),
        *_contour(trials, order, folder),
        *_parallel(trials, order, folder),
    ]
    hovers = hovers_of(trials)
    panels = [
        panel(draw_slice(one, hovers), f"loss against {short_name(one.name)}, {len(one.dots)} trials")
        for one in slices
    ]
    png = Png(folder / "slices.png", partial(draw_slices, slices))
    intro = SLICES_INTRO + (EQUAL if any(last_rung(trial) for trial in trials) else "")
    few = (
        f"It takes {FEWEST} trials to say which settings matter; here are {len(trials)}." if not found else ""
    )
    return [
        Section("Which settings matter", few, pictures=pictures),
        Section("Each setting by itself", intro, panels=panels, png=png),
    ]


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


def _contour(trials: Sequence[Trial], order: Sequence[str], folder: Path) -> list[Shown]:
    """The map over the two foremost settings that are numbers."""
    done = [trial for trial in trials if succeeded(trial)]
    numeric = {scale.name: scale for scale in scales(done) if not scale.named}
    both = [numeric[name] for name in order if name in numeric][:2]
    numbers = contour_numbers(trials, *both) if len(both) == 2 else None
    if numbers is None:
        return []
    how = (
        "A map of the loss over the two settings at the head of the list: the darker, the better. Between trials "
        "it is a guess, and far from all trials it is left empty."
    )
    title = f"{short_name(both[0].name)} and {short_name(both[1].name)}"
    title = title[0].upper() + title[1:]
    return [
        shown(draw_contour(numbers), title, how, folder / "contour.png", alt=f"map of the loss over {title}")
    ]


def _parallel(trials: Sequence[Trial], order: Sequence[str], folder: Path) -> list[Shown]:
    numbers = parallel_numbers(trials, order)
    if not numbers.rows:
        return []
    how = (
        "Every line is a trial on its way down through the settings to its loss, left is low. The better the trial, "
        "the stronger its line: where the strong ones bundle, that value matters. Failures are dashed."
    )
    return [shown(draw_parallel(numbers), "All settings at once", how, folder / "parallel.png")]


def proposals_section(trials: Sequence[Trial], study: Mapping[str, Any], folder: Path) -> list[Section]:
    """TPE's two densities and the last proposals; nothing where another algorithm searched."""
    space, rungs = str(study.get("space") or ""), study.get("rungs") or (1.0,)
    if study.get("algo") != "tpe" or not space:
        return []
    title = "Why the last points were proposed"
    # of an empty study too: a search draws one early, to load Hyperopt before it would disturb
    beliefs = belief_numbers(trials, space, rungs)
    if not trials:
        return []
    if not beliefs:
        few = f"TPE draws its first {startup_trials()} trials at random, and hardly any came after: nothing to explain."
        return [Section(title, few)]
    intro = (
        "TPE keeps two pictures of every setting: where its few best trials lie (blue), and where all others lie "
        "(grey, dashed). It proposes values where blue is high and grey is low. Shown as it stood before the last "
        "proposals, the orange ticks, as nearly as the records tell."
    )
    panels = [
        panel(draw_belief(one), f"density of good and other trials over {short_name(one.prior.label)}")
        for one in beliefs
    ]
    png = Png(folder / "proposals.png", partial(draw_beliefs, beliefs))
    return [Section(title, intro, panels=panels, tables=[_late_table(beliefs)], png=png)]


def _late_table(beliefs: Sequence[Belief]) -> Table:
    head = ["trial", *(short_name(one.prior.label) for one in beliefs), "together"]
    note = (
        "In brackets: how many times denser the good trials lie at that value than the others; TPE multiplies them. "
        "Below 1, the value came along with better ones or was all that was drawn."
    )
    return Table("The last proposals", head, late_rows(beliefs), note=note)


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
