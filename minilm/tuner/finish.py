"""Trains the final model on all cores and keeps the weights with the lowest exact validation loss ever measured.

A trial's own weights are kept where a longer training did no better. The test split is read here, once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minilm import files
from minilm.errors import DivergenceError
from minilm.text.corpora import Corpus
from minilm.training.checkpoint import CHECKPOINT, WEIGHTS
from minilm.training.evaluate import exact_loss
from minilm.training.run import RESULT, Run, add_to_result, load_run
from minilm.training.session import resume_training, run_training
from minilm.tuner.records import BEST
from minilm.tuner.settings import FEWEST_CHARS, Settings, evaluations_for
from minilm.tuner.space import Point, to_configs

FINAL_STEPS = 4  # times a trial's steps, for the final model of a study without a clock
SHORTEST = 2.0  # seconds; in less nothing is trained that a trial's model would not be better than
CALMER = 0.25  # times the rate of a training that diverged, for the one that takes its place
COMPARED_WITHIN = 0.02  # nats per character; a final loss that is not lower by more is compared exactly


@dataclass(frozen=True)
class Finish:
    """One final training; `end` is a moment of `time.monotonic()`, None where there is none."""

    corpus: Corpus
    settings: Settings
    folder: Path
    end: float | None
    on_record: Callable[[dict[str, Any]], None]
    most_steps: int | None = None  # with which the text is used up

    def run(self, point: Point, kept: Path | None = None, kept_loss: float | None = None) -> Run:
        """The final model in the study's folder `best`, scored on both splits. `kept` is the folder of the best trial's
        weights, `kept_loss` their loss."""
        has_model = kept is not None and (kept / WEIGHTS).is_file()
        if has_model and self.end is not None and self.end - time.monotonic() < SHORTEST:
            assert kept is not None
            return self._adopt(kept, chars=FEWEST_CHARS)
        try:
            run = self._train(point)
        except DivergenceError:
            if has_model:
                assert kept is not None
                return self._adopt(kept)
            if self.end is None:
                raise
            files.delete_folder(self.folder / BEST)
            run = self._train({**point, "learning_rate": CALMER * point["learning_rate"]})
        if has_model and kept is not None and self._is_better(kept, kept_loss, run):
            return self._adopt(kept)
        return run

    def _train(self, point: Point) -> Run:
        """With the whole machine and all evaluations, on a schedule fitted to the time; an interrupted one goes on."""
        best = self.folder / BEST
        if (best / RESULT).is_file():  # its end was reached, the study's was not
            return load_run(best)
        if (best / CHECKPOINT).is_file():
            return resume_training(
                best,
                corpus=self.corpus,
                deadline=self.end,
                most_steps=self.most_steps,
                on_record=self.on_record,
            )
        files.delete_folder(best)
        model, train = to_configs(point, self.corpus.tokenizer.vocab_size, self.settings.limits)
        changes: dict[str, Any] = {"seed": self.settings.seed, "device": self.settings.device}
        if self.end is not None:
            # a high rate is held for long, during which nothing need improve: no early stop
            changes |= {"minutes": max(self.end - time.monotonic(), 0.1) / 60, "patience": None}
        else:
            assert self.settings.budget is not None and self.settings.budget.steps is not None
            steps = FINAL_STEPS * self.settings.budget.steps
            tokens = steps * train.batch_size * model.block_size
            changes |= {"steps": steps, "evaluations": evaluations_for(tokens, len(self.corpus.val))}
        return run_training(
            self.corpus,
            model,
            train.replace(**changes),
            best,
            deadline=self.end,
            most_steps=self.most_steps,
            on_record=self.on_record,
        )

    def _is_better(self, kept: Path, kept_loss: float | None, run: Run) -> bool:
        """On the same characters: a trial's own loss is of a part of the split."""
        if kept_loss is None or run.result["val_loss"] <= kept_loss - COMPARED_WITHIN:
            return False
        chars = run.result["eval_chars"]
        return _loss(load_run(kept), self.corpus, "val", chars) < _loss(run, self.corpus, "val", chars)

    def _adopt(self, kept: Path, chars: int | None = None) -> Run:
        """Makes a trial's model the final one; `chars` where there is no time to score whole splits."""
        run = load_run(kept)
        numbers = {
            "protocol": "exact" if chars is None else f"exact windows, {chars} characters of each split",
            "eval_chars": chars,
            "mixture": None,
            "val_loss": _loss(run, self.corpus, "val", chars),
            "test_loss": _loss(run, self.corpus, "test", chars) if len(self.corpus.test) else None,
        }
        add_to_result(run, numbers)
        # no move: after a crash here a study by count begins its end anew
        return load_run(files.copy_folder(kept, self.folder / BEST))


def _loss(run: Run, corpus: Corpus, split: str, chars: int | None = None) -> float:
    return exact_loss(run.model, **corpus.scored(split), chars=chars)
