"""A whole study that takes a second: real trials, a final training, counting and a page, all of them tiny.

Its workers may be forks of this process, or nobody: then each call is done at once and here, and every operation on
the disk can be watched.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hyperopt import hp

from minilm import files
from minilm.text.corpora import load_corpus
from minilm.tuner import chores, engines, finish, outcome, resume, settings, trial, trials, workers
from minilm.tuner import study as studies
from minilm.tuner.records import Journal
from minilm.tuner.resume import resume_study
from minilm.tuner.settings import Request
from minilm.tuner.study import run_study
from minilm.tuner.watch import Watch
from tests.tuner import stubs

STEPS, TRIALS = 9, 5  # of a trial, of a study
TINY = {"num_layers": 1, "hidden_size": 16, "num_heads": 1, "learning_rate": 0.01, "batch_size": 4}
TINY |= {"block_size": 16}
SPACE = {**TINY, "hidden_size": hp.choice("hidden_size", [8, 16]),
         "learning_rate": hp.loguniform("learning_rate", -6, -3)}  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {"whole": {"workers": 2}, "rungs": {"deterministic": True}}


def study(text: Path, folder: Path, way: str, count: int = TRIALS, watch: Watch | None = None) -> None:
    """The study, or what is left of it, as a user's script or `--resume` would run it."""
    if (folder / "study.json").exists():
        resume_study(folder, space=SPACE, watch=watch)
    else:
        request = Request(trials=count, space=SPACE, device="cpu", **WAYS[way])
        run_study(load_corpus(text), request, folder, watch=watch)


def small(patch: Any, steps: int = STEPS, page: bool = True) -> None:
    """Makes everything cheap; `patch` has pytest's `setattr`. Without the `page` a word stands there."""
    patch.setattr(settings, "TRIAL_STEPS", steps)
    patch.setattr(trial, "EVALUATIONS", steps - 1)
    patch.setattr(trials, "default_point", lambda limits: dict(TINY))
    patch.setattr(outcome, "SAMPLE_CHARS", 30)
    patch.setattr(finish, "FINAL_STEPS", 2)
    draw_page = chores.draw_page

    def drawn(folder: Path) -> Path:  # not the empty page, which only loads what is here already
        if page and (Path(folder) / "result.json").exists():
            return draw_page(folder)
        files.write_text(Path(folder) / "report.html", "a page")
        return Path(folder)

    patch.setattr(chores, "draw_page", drawn)


def with_forks(patch: Any) -> None:
    """Workers are forks of their tuner."""
    patch.setattr(workers, "multiprocessing", SimpleNamespace(
        get_context=lambda kind: multiprocessing.get_context("fork"),
        parent_process=multiprocessing.parent_process,
    ))  # fmt: skip
    patch.setattr(os, "nice", lambda more: more)


class Here(workers.Workers):
    """Does each call at once, in this process."""

    def _submit(self, slot: int, function: Callable[..., Any], *arguments: Any) -> Future:
        return stubs.at_once(function, *arguments)


def with_nobody(patch: Any) -> None:
    """No process but this one."""
    for module in (studies, resume, engines):
        patch.setattr(module, "Workers", Here)


def fingerprint(folder: Path) -> dict[str, Any]:
    """All of a finished study but its times."""
    result = files.read_json(folder / "result.json")
    numbers = ("val_loss", "test_loss", "best", "best_trial_loss", "trials", "failed", "steps", "samples")
    numbers += ("counting", "mixture", "writing", "protocol")
    told = {t.tid: (t.point, t.draw, t.losses, t.loss, t.state.value) for t in Journal(folder).trials}
    return {
        "weights": (folder / "best" / "model.safetensors").read_bytes(),
        "trials": told,
        "page": (folder / "report.html").exists(),
        **{name: result[name] for name in numbers},
    }
