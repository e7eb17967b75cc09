"""Looks at the final model: samples, the mixture with counting, how its words compare with those of the text.

Each part is left out where its time has come; the helper that counts is given, and was begun before the training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from minilm.errors import StorageError
from minilm.text.characters import CharTokenizer
from minilm.text.corpora import Corpus
from minilm.text.ngram import SCORED_ON, counting_baseline
from minilm.training.mixture import mixture
from minilm.training.run import Run, add_to_result
from minilm.tuner import chores
from minilm.tuner.records import Trial, TrialState
from minilm.tuner.settings import Settings
from minilm.tuner.workers import Workers
from minilm.writing import sample_text

SAMPLES, SAMPLE_CHARS = 3, 280
PATIENCE = 600.0  # seconds that a study without a clock waits for a helper
# of the reserve: what is left of it when the samples, the numbers and the page must be there
MOMENTS = WRITTEN, SCORED = 0.75, 0.5
DRAWN = 0.15


class Job:
    """A call in a helper process, begun when this is made, and once more where that process dies."""

    def __init__(self, helper: Workers, function: Callable[..., Any], *arguments: Any) -> None:
        self.helper, self.call = helper, (function, *arguments)
        self.future = helper.submit(*self.call)

    def answer(self, end: float | None) -> Any:
        """None where it failed or is not ready by `end`; a failing disk is raised, it would fail the rest, too."""
        for _ in range(2):
            wait([self.future], timeout=PATIENCE if end is None else max(0.0, end - time.monotonic()))
            if not self.future.done():
                self.helper.kill(self.future)
                return None
            error = self.future.exception()
            if isinstance(error, StorageError):
                raise error
            if not isinstance(error, BrokenProcessPool):
                return None if error else self.future.result()
            self.future = self.helper.submit(*self.call)
        return None


class Counting:
    """Counting, begun in a helper process while the model trains."""

    def __init__(self, helper: Workers, corpus: Corpus) -> None:
        self.helper, self.corpus = helper, corpus
        letters = isinstance(corpus.tokenizer, CharTokenizer)  # then one counting tells both
        described = corpus.describe()
        self.chances = Job(helper, chores.counted, described, corpus.tokenizer)
        self.baseline = None if letters else Job(helper, chores.counting, described)

    def known(self, end: float | None) -> tuple[Any, dict[str, Any] | None]:
        """The probabilities that counting gives the model's own tokens, and the baseline; None what is not ready."""
        chances = self.chances.answer(end)
        if self.baseline is not None:
            return chances, self.baseline.answer(end)
        return chances, counting_baseline(self.corpus.first_part(SCORED_ON), chances) if chances else None


def looked_at(
    run: Run, corpus: Corpus, seed: int, counting: Counting, moments: Mapping[float, float] | None
) -> dict[str, Any]:
    """The samples and numbers of the final model; `moments`: when each share of the reserve is left."""
    written, scored = (moments[WRITTEN], moments[SCORED]) if moments else (None, None)
    samples: list[str] = []
    for number in range(SAMPLES):
        if not samples or written is None or time.monotonic() < written:
            samples.append(sample_text(run.model, run.tokenizer, SAMPLE_CHARS, seed + number, written))
    chances, baseline = counting.known(scored)
    compared = Job(counting.helper, chores.compared, corpus.describe(), samples)
    if chances:
        options = {"chars": run.result["eval_chars"], "deadline": scored}
        part = corpus.first_part(SCORED_ON)
        add_to_result(run, {"mixture": mixture(run.model, part, chances, **options)})
    return {"samples": samples, "counting": baseline, "writing": compared.answer(scored)}


def result_of(
    settings: Settings, run: Run, best: Trial | None, trials: Sequence[Trial], found: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of a study's result.json."""
    chosen = settings.chosen or {}
    law = {name: chosen[name] for name in ("seconds", "most_steps", "prospects") if name in chosen}
    if "taught" in run.config:
        law["most_steps"] = run.result["steps"]
    elif run.result.get("steps", 0) < (law.get("most_steps") or 0):
        law["most_steps"] = None  # the text is not used up
    return {
        "best": {
            "tid": None if best is None else best.tid,
            "point": chosen["point"] if best is None else best.point,
            "model": run.config["model"],
            "train": run.config["train"],
        },
        "best_trial_loss": None if best is None else best.loss,
        "trials": len(trials),
        "failed": sum(trial.state is TrialState.FAILED for trial in trials),
        **numbers_of(run),
        "floors": run.config["corpus"]["floors"],
        "law": law,
        **found,
    }


def numbers_of(run: Run) -> dict[str, Any]:
    """A run's own numbers; of a model that another one taught with the loss and the seconds of that."""
    found = {
        name: value for name, value in run.result.items() if name != "belongs"
    }  # marks of the run's files
    if first := run.config.get("taught"):
        found |= {name: found[name] + first[name] for name in ("seconds", "step_seconds")}
    return {**found, "teacher_loss": (first or {}).get("val_loss")}
