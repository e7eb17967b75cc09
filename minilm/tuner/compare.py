"""Gives the same minutes to others: to one training of the default recipe, and to a random search.

It runs after a study has finished, since two things timed at once slow each other. It decides nothing; the page and
the terminal show the result.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from minilm import files
from minilm.errors import ConfigError
from minilm.text.corpora import Corpus
from minilm.training.run import RESULT as RUN_RESULT
from minilm.training.run import load_run
from minilm.training.session import resume_training, run_training
from minilm.tuner.records import RESULT, STUDY
from minilm.tuner.resume import resume_study
from minilm.tuner.settings import Request
from minilm.tuner.space import default_point, dimensions, to_configs, to_hyperopt
from minilm.tuner.study import Study, run_study
from minilm.tuner.watch import Watch

COMPARE, DEFAULT, RANDOM = "compare", "default", "random"


def check_compare(minutes: float | None) -> None:
    """Only minutes can be given to others too."""
    if minutes is None:
        raise ConfigError("a comparison gives all sides the same minutes, got a study by count; give minutes")


def compare(study: Study, corpus: Corpus, watch: Watch | None = None) -> dict[str, Any]:
    """Trains both for the study's minutes, each, and adds them to its result and its page.

    What an earlier, interrupted comparison has finished is kept.
    """
    settings = study.settings
    check_compare(settings.minutes)
    assert settings.minutes is not None
    folder = study.folder / COMPARE
    default = _default(study, corpus, folder / DEFAULT, settings.minutes)
    random = _random(study, corpus, folder / RANDOM, settings.minutes, watch)
    found = {"minutes": settings.minutes, DEFAULT: default, RANDOM: random}
    study.result["compare"] = found
    files.write_json(study.folder / RESULT, study.result, sealed=True)
    study.report()
    return found


def _default(study: Study, corpus: Corpus, out: Path, minutes: float) -> dict[str, Any]:
    """The default recipe for the whole of the time, on all cores."""
    if (out / RUN_RESULT).is_file():
        return _numbers(load_run(out).result)
    if out.is_dir():
        return _numbers(resume_training(out, corpus=corpus).result)
    model, train = to_configs(
        default_point(study.settings.limits), corpus.tokenizer.vocab_size, study.settings.limits
    )
    config = train.replace(minutes=minutes, seed=study.settings.seed)
    return _numbers(run_training(corpus, model, config, out, deadline=time.monotonic() + 60 * minutes).result)


def _random(study: Study, corpus: Corpus, out: Path, minutes: float, watch: Watch | None) -> dict[str, Any]:
    """Points drawn blindly, each trained to its end, with the same finish."""
    settings = study.settings
    mine = to_hyperopt(dimensions(settings.limits)) if settings.budget is None else study.space.expression
    if (out / STUDY).is_file():
        return _numbers(resume_study(out, space=mine, watch=watch).result)
    workers = settings.engine if settings.budget else None
    request = Request(minutes, None, mine, "random", workers, settings.seed, scheduler="none")
    return _numbers(run_study(corpus, request, out, watch=watch).result)


def _numbers(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result.get(name) for name in ("val_loss", "test_loss", "n_parameters", "steps", "seconds")}
