"""Finds what the page of a search says first: its sentences and its big numbers, from the records alone."""

from __future__ import annotations

from typing import Any

from minilm.plots.layout import Headline
from minilm.plots.legs import common_rung, loss_at_rung
from minilm.plots.more_time import MoreTime, more_time_numbers, steady
from minilm.plots.parts import loss_headlines
from minilm.plots.reading import StudyRecords, number, part, standing
from minilm.plots.seeds import judged
from minilm.plots.trials import Point, Trial, best_trial, default_trial, reason_of, succeeded
from minilm.plots.verdict import (
    Sentence,
    Standing,
    against_counting,
    against_default,
    against_floor,
    is_number,
)
from minilm.tuner.space import DEFAULT_TID, recipe_name

FLAT = 0.005  # nats per character; a gain that may be smaller is not promised


def result_of(study: StudyRecords) -> dict[str, Any]:
    """Final numbers: the study's own, and those of its best run where the study has none."""
    return {**(study.best.result if study.best else {}), **study.result}


def corpus_of(study: StudyRecords) -> dict[str, Any]:
    return part(study.study, "corpus") or (part(study.best.config, "corpus") if study.best else {})


def standing_of(study: StudyRecords, split: str) -> Standing:
    return standing(split, corpus_of(study), result_of(study))


def sentences(study: StudyRecords, future: MoreTime | None) -> list[Sentence]:
    test = standing_of(study, "test")
    final = test if test.model is not None else standing_of(study, "val")
    found = [
        judged(study.result) or _against_default(study),
        _chosen(study),
        against_counting(final),
        against_floor(final),
        _future(future),
        _unfinished(study),
    ]
    return [sentence for sentence in found if sentence]


def _unfinished(study: StudyRecords) -> Sentence | None:
    if study.result:
        return None
    return Sentence("plain", "This study has not ended: its final numbers are not there yet.")


def _against_default(study: StudyRecords) -> Sentence:
    """The best trial against the default recipe's, where both had trained equally long."""
    best, default = best_trial(study.trials), default_trial(study.trials)
    if default is not None and not succeeded(default):
        return against_default(best["loss"] if best else None, None, reason_of(default))
    rung = common_rung(best, default) if best and default else None
    if best is None or default is None or rung is None:
        return against_default(best["loss"] if best else None, None)
    return against_default(loss_at_rung(best, rung), loss_at_rung(default, rung))


def _chosen(study: StudyRecords) -> Sentence | None:
    """Said where the final model does not follow the trial with the lowest loss, or where there was a race."""
    race, incumbent = part(study.result, "race"), study.result.get("incumbent", DEFAULT_TID)
    names = ("challenger_loss", "incumbent_loss", "seconds", "challenger_forecast", "incumbent_forecast")
    losses = [number(race, name) for name in names]
    if all(value is not None for value in losses):
        mine, theirs = (recipe_name(tid, incumbent) for tid in (race["challenger"], incumbent))
        end = f"continues from {mine if race.get('won') else theirs}"
        return Sentence(
            "plain",
            f"Then {mine} continued beside {theirs}: after {losses[2]:.0f} s each it stood at {losses[0]:.3f}, "
            f"the other at {losses[1]:.3f}. Their curves were heading for "
            f"{losses[3]:.3f} and {losses[4]:.3f} at the end of the time, so the final model {end}.",
        )
    chosen, verdict = part(study.result, "best").get("tid"), part(study.result, "verdict")
    if verdict:
        ahead = verdict.get("tid")
        if ahead is None or ahead == chosen or chosen != incumbent:
            return None
        leader, follows = recipe_name(ahead, incumbent), recipe_name(incumbent, incumbent)
        told = f"{leader[0].upper()}{leader[1:]}"
        if _parameters(study, ahead) < _parameters(study, incumbent):
            why = "what is small mostly leads early and falls behind later"
            return Sentence(
                "plain", f"{told} is smaller than {follows}, which the final model follows: {why}."
            )
        could_not = "could not race over a longer time, and short trainings prefer what learns quickly"
        return Sentence("plain", f"{told} {could_not}, so the final model follows {follows}.")
    best = best_trial(study.trials)
    if best is None or chosen is None or chosen == best["tid"]:
        return None
    which = recipe_name(chosen, incumbent)
    return Sentence("plain", f"That lead is too small to trust, so the final model follows {which}.")


def _parameters(study: StudyRecords, tid: int) -> float:
    """How many the trial's model has; 0 where that is unknown."""
    return next(
        (number(trial, "n_parameters") or 0.0 for trial in study.trials if trial.get("tid") == tid), 0.0
    )


def _future(future: MoreTime | None) -> Sentence | None:
    if future is None:
        return None
    twice, now = future.gains[0], future.now[1]
    if now - twice.low < FLAT:
        return Sentence("plain", "More training time would buy hardly anything: the curve is flat.")
    return Sentence(
        "plain",
        f"Twice the training time would buy about {now - twice.loss:.3f} nats per character "
        f"(90\u00a0% interval {now - twice.high:.3f} to {now - twice.low:.3f}).",
    )


def more_time_of(study: StudyRecords) -> MoreTime | None:
    """The forecast for the final model, from the longest curve at a steady learning rate that the records hold.

    A study by the clock keeps the rate of its trials steady; the final model then goes on from one of them.
    """
    result = result_of(study)
    loss, seconds = number(result, "val_loss"), number(result, "seconds")
    if loss is None or seconds is None or study.best is None:
        return None
    curve = _trial_curve(study) if number(part(study.study, "budget"), "seconds") else []
    before = curve[-1][0] if curve else 0.0
    own = steady(study.best.metrics)
    floor = number(part(corpus_of(study), "floors"), "val")
    made = more_time_numbers(curve, (before + seconds, loss), floor) if curve else None
    return made or (more_time_numbers(own, (seconds, loss), floor) if own else None)


def _trial_curve(study: StudyRecords) -> list[Point]:
    """The longest curve of the trial that the final model goes on from, as far as its learning rate was steady."""
    tid = part(study.result, "best").get("tid")
    beside = study.result.get("legs")
    trainings = [*study.trials, *(beside if isinstance(beside, list) else [])]
    curves = [_points(t) for t in trainings if isinstance(t, dict) and t.get("tid") == tid]
    return max(curves, key=lambda curve: curve[-1][0] if curve else 0.0, default=[])


def _points(training: Trial) -> list[Point]:
    held = number(training, "held")  # seconds until the rate began to fall
    points = [(x, y) for x, y in training.get("curve") or [] if is_number(x) and is_number(y)]
    return [(x, y) for x, y in points if held is None or x <= held * 1.001]


def headlines(study: StudyRecords) -> list[Headline]:
    failed = sum(not succeeded(trial) for trial in study.trials)
    count = len(study.trials)
    cards = loss_headlines(standing_of(study, "val"), standing_of(study, "test"))
    note = f"{failed} of them failed" if failed else "none failed"
    cards.append(Headline(str(count), "trial" + "s" * (count != 1), note))
    if parameters := number(result_of(study), "n_parameters"):
        cards.append(Headline(f"{parameters:,.0f}", "parameters", "in the final model"))
    return cards
