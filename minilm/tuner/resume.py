"""Continues a study from its records: one that was interrupted, one that shall have more trials, one whose model goes
on for more minutes."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from minilm import files
from minilm.errors import ConfigError, RunError
from minilm.text.corpora import Corpus, load_described
from minilm.training.checkpoint import CHECKPOINT
from minilm.training.run import load_run
from minilm.training.session import resume_training
from minilm.tuner import chores, outcome
from minilm.tuner.budget import Minutes
from minilm.tuner.choose import space_for
from minilm.tuner.finish import Finish
from minilm.tuner.propose import SearchSpace, difference
from minilm.tuner.records import BEST, RESULT, STUDY, STUDY_SHAPE, Journal, read_study
from minilm.tuner.second import SECOND, second_model
from minilm.tuner.settings import Settings, check_request
from minilm.tuner.study import Sitting, Study, run_sitting
from minilm.tuner.trials import SEARCH_SHARE, search_space
from minilm.tuner.watch import Watch, default_watch
from minilm.tuner.workers import Workers


def resume_study(
    folder: str | Path,
    minutes: float | None = None,
    trials: int | None = None,
    *,
    corpus: Corpus | None = None,
    space: Any = None,
    watch: Watch | None = None,
    begun: float | None = None,
) -> Study:
    """Continues a study from its records. A finished one is only loaded, unless new `minutes`, for which its model
    goes on, or `trials` are given.

    Trials that were running when it stopped run again. `corpus` and `space` are refused with a RunError where
    they are not the study's own.
    """
    begun, folder = time.monotonic() if begun is None else begun, Path(folder)
    settings = _settings(folder, minutes, trials)
    corpus = _same_corpus(folder, settings, corpus)
    searched_space = _same_space(folder, settings, space, corpus.tokenizer.vocab_size)
    watch = watch or default_watch(begun, None if minutes is None else 60 * minutes)
    try:
        with files.held(folder):
            journal, is_done = Journal(folder), (folder / RESULT).exists()
            if is_done and minutes is None and trials is None:
                result = files.read_json(folder / RESULT)
                return Study(
                    load_run(folder / BEST), journal.trials, result, folder, searched_space, settings
                )
            sitting = Sitting(corpus, settings, searched_space, folder, journal, watch, None, begun)
            if is_done and minutes is not None:
                return _longer(sitting, Minutes(minutes, begun))
            if (folder / SECOND / RESULT).is_file() and not (folder / BEST).exists():
                files.copy_folder(
                    folder / SECOND, folder / BEST
                )  # a crash came while one took the other's place
            ends = any((folder / BEST / name).is_file() for name in (CHECKPOINT, RESULT))
            if settings.minutes is not None and not ends:
                spent = max((trial.ended or 0.0 for trial in journal.trials), default=0.0)
                # the final model keeps its share even where the trials have used everything
                sitting.begun = begun - min(spent, SEARCH_SHARE * 60 * settings.minutes)
                sitting.minutes = Minutes(settings.minutes, sitting.begun)
            elif settings.minutes is None:
                files.delete_folder(folder / BEST)  # half of one, or of fewer trials
                sitting.begun = begun - max((trial.ended or 0.0 for trial in journal.trials), default=0.0)
            return run_sitting(sitting)
    finally:
        watch.close()


def _longer(s: Sitting, minutes: Minutes) -> Study:
    """More minutes for a finished study: its model goes on, its rate rises and falls afresh, the best weights stay."""
    s.minutes = minutes
    if minutes.for_training() <= 0:
        raise ConfigError(
            f"minutes must be enough to train in, got {minutes.minutes:g}; give minutes=1 or more"
        )
    with Workers(2, background=True) as helper, Workers(1, background=True) as painter:
        counting = outcome.Counting(helper, s.corpus)
        s.watch.phase("training goes on")
        end, record, most = minutes.moment(1.0), s.watch.record, (s.settings.chosen or {}).get("most_steps")
        finish = Finish(s.corpus, s.settings, s.folder, end, record, most)
        run = second_model(finish, load_run(s.folder / BEST), s.watch) or resume_training(
            s.folder / BEST,
            corpus=s.corpus,
            changes={"minutes": minutes.for_training() / 60},
            deadline=end,
            on_record=record,
        )
        s.watch.phase("writing samples and comparing them with the text")
        moments = {share: minutes.moment(share) for share in (outcome.WRITTEN, outcome.SCORED)}
        found = outcome.looked_at(run, s.corpus, s.settings.seed, counting, moments)
        result = {**files.read_json(s.folder / RESULT), **outcome.numbers_of(run), **found}
        files.write_json(s.folder / RESULT, result, sealed=True)
        s.watch.phase("drawing the page")
        outcome.Job(painter, chores.draw_page, s.folder).answer(s.moment(outcome.DRAWN))
    return Study(run, s.journal.trials, result, s.folder, s.space, s.settings)


def _settings(folder: Path, minutes: float | None, trials: int | None) -> Settings:
    """The study's own settings; `trials` may be raised."""
    found = read_study(folder)
    files.check_shape(folder / STUDY, found, STUDY_SHAPE)
    try:
        settings = Settings.from_dict(found)
    except (KeyError, TypeError) as error:
        raise RunError(f"{folder} holds a damaged study.json ({error}); restore it from a copy") from error
    if trials is not None and settings.minutes is not None:
        raise ConfigError(f"the study {folder} runs by the clock; continue it with minutes, not trials")
    if minutes is not None and settings.minutes is None:
        raise ConfigError(f"the study {folder} counts trials; continue it with trials, not minutes")
    settings = settings if trials is None else dataclasses.replace(settings, trials=trials)
    check_request(
        minutes or settings.minutes, settings.trials, settings.algo, settings.workers, settings.seed
    )
    return settings


def _same_corpus(folder: Path, settings: Settings, corpus: Corpus | None) -> Corpus:
    if corpus is not None and corpus.source["sha256"] != settings.corpus["source"]["sha256"]:
        raise RunError(
            f"the study {folder} is about another text, {settings.corpus['name']}, not {corpus.name}; "
            "leave the text out, or start a new study"
        )
    return corpus or load_described(settings.corpus)


def _same_space(folder: Path, settings: Settings, space: Any, vocab_size: int) -> SearchSpace:
    if settings.budget is None and space is None:
        chosen = settings.chosen or {}
        # what was not looked at was fixed: for a library, or by an earlier version
        fixed = {"bigrams"}.difference(*(draw for draw, _ in chosen["looked"]))
        return space_for(settings.limits, settings.corpus["bounds"][0], tuple(chosen["tokens"]), fixed)
    found = search_space(space, settings.limits, settings.device, vocab_size)
    if found.text != settings.space:
        changed = difference(found.text, settings.space)
        raise RunError(f"the study {folder} searches another space ({changed}); start a new study")
    return found
