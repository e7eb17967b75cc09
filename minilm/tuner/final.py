"""Trains the final model of a study from the chosen configuration, or takes its trial's own model where that is better.

The final model is never worse than the chosen trial's on the validation split. The test split is read here, once.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minilm import files
from minilm.config import TrainConfig
from minilm.errors import DivergenceError
from minilm.text.corpora import Corpus
from minilm.training.checkpoint import CHECKPOINT, WEIGHTS
from minilm.training.evaluate import exact_loss
from minilm.training.run import RESULT, Run, load_run
from minilm.training.session import run_training
from minilm.tuner.legs import HOLD, rung_folder
from minilm.tuner.records import BEST, MODELS, Trial
from minilm.tuner.settings import FEWEST_CHARS, FORWARD_SHARE, Settings
from minilm.tuner.sizing import useful_tokens
from minilm.tuner.space import to_configs

FINAL_STEPS = 4  # times a trial's steps, for the final model of a study without a clock
FEWEST_EVALUATIONS = 3  # of a training without a clock; more would cost most of a short one's time
FEWEST_STEPS = 10  # of what is left by the clock
COMPARED_WITHIN = 0.02  # nats per character; a final loss that is not lower by more is compared exactly


@dataclass(frozen=True)
class Finish:
    """One final training; `deadline` is a moment of `time.monotonic()`, None where there is none."""

    corpus: Corpus
    settings: Settings
    folder: Path
    deadline: float | None
    on_record: Callable[[dict[str, Any]], None]

    def run(self, chosen: Trial, kept: Path | None = None, trained: float = 0.0) -> Run:
        """The final model in the study's folder `best`, scored on both splits.

        `kept` is the folder of the model that `chosen` has trained so far; by itself its trial's. By the clock the
        training continues from there, after `trained` seconds of one worker, or from where its learning rate was still
        high, so that little of it is lost.
        """
        trained = trained if kept is not None else (chosen.held or 0.0)
        home = self.folder / MODELS / str(chosen.tid)
        held = home / HOLD if kept is None else kept
        kept = home / rung_folder(self.settings.ladder.top) if kept is None else kept
        has_model = (kept / WEIGHTS).is_file()
        if has_model and self._too_short():
            return self._adopt(kept, chars=FEWEST_CHARS)
        try:
            run = self._train(chosen, held / CHECKPOINT, trained)
        except DivergenceError:  # the longer schedule stays at the high learning rate for more steps
            if not has_model:
                raise
            return self._adopt(kept)
        return self._adopt(kept) if has_model and self._trial_is_better(chosen, kept, run) else run

    def _too_short(self) -> bool:
        trial = self.settings.budget.seconds
        return self.deadline is not None and self.deadline - time.monotonic() < (trial or 0.0) / 2

    def _train(self, chosen: Trial, start: Path, trained: float) -> Run:
        """With the whole machine and all evaluations, on a schedule fitted to the time."""
        model, train = to_configs(chosen.point, self.corpus.tokenizer.vocab_size, self.settings.limits)
        goes_on = self.deadline is not None and start.is_file()
        tokens_per_step, most_steps = train.batch_size * model.block_size, None
        if self.deadline is None:
            whole = FINAL_STEPS * (self.settings.budget.steps or 1)
            evaluations = evaluations_for(whole * tokens_per_step, len(self.corpus.val))
            config = train.replace(steps=whole, evaluations=evaluations)
        else:
            # its rate stays high for long, and at a high rate nothing need improve before it falls: no early stop
            left = max(self.deadline - time.monotonic(), 0.1)
            config = train.replace(minutes=left / 60, patience=None)
            most_steps = self._steps_left(chosen, tokens_per_step, trained if goes_on else 0.0)
        return run_training(
            self.corpus,
            model,
            config.replace(seed=self.settings.seed, **({"warmup": 0.0} if goes_on else {})),
            self.folder / BEST,
            start=start if goes_on else None,
            deadline=self.deadline,
            most_steps=most_steps,
            on_record=self.on_record,
        )

    def _steps_left(self, chosen: Trial, tokens_per_step: int, trained: float) -> int | None:
        """How many steps use the text up, None where that is unknown. A longer training would hold its rate high until
        it knows the text by heart, and only then let it fall."""
        if self.settings.enough is None:
            return None
        seen = trained * (chosen.tokens_per_second or 0.0)
        tokens = useful_tokens(len(self.corpus.train), float(chosen.point.get("dropout", 0.0))) - seen
        return max(round(tokens / tokens_per_step), FEWEST_STEPS)

    def _trial_is_better(self, chosen: Trial, kept: Path, run: Run) -> bool:
        """On the same characters: a trial's own loss is of a part of the split."""
        if chosen.loss is None or run.result["val_loss"] <= chosen.loss - COMPARED_WITHIN:
            return False
        return _loss(load_run(kept), self.corpus, "val") < _loss(run, self.corpus, "val")

    def _adopt(self, kept: Path, chars: int | None = None) -> Run:
        """Makes a trial's model the final one; `chars` where there is no time to score whole splits."""
        best = self.folder / BEST
        shutil.rmtree(best, ignore_errors=True)
        kept.rename(best)
        run = load_run(best)
        run.result = {
            **run.result,
            "protocol": "exact" if chars is None else f"exact windows, {chars} characters of each split",
            "eval_chars": chars,
            "mixture": None,
            "val_loss": _loss(run, self.corpus, "val", chars),
            "test_loss": _loss(run, self.corpus, "test", chars) if len(self.corpus.test) else None,
        }
        files.write_json(best / RESULT, run.result)
        return run


def evaluations_for(tokens: int, chars: int) -> int:
    """How often a training on so many tokens scores a split of so many characters: for half of its own work at most,
    but a few times.

    >>> evaluations_for(100_000, 50_000), evaluations_for(10_000_000, 50_000)
    (3, 20)
    """
    worth = 0.5 * tokens / (FORWARD_SHARE * chars)
    return min(TrainConfig.evaluations, max(FEWEST_EVALUATIONS, round(worth)))


def _loss(run: Run, corpus: Corpus, split: str, chars: int | None = None) -> float:
    return exact_loss(run.model, **corpus.scored(split), chars=chars)
