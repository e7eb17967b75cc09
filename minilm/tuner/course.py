"""Runs a sitting: search and choice, final training, sample, page, one after the other, within the deadline.

It joins the parts and prints nothing: a `Watch` tells a verb or a notebook what happens.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from concurrent.futures import Future, wait
from typing import Any

from minilm import files
from minilm.text.characters import CharTokenizer
from minilm.text.ngram import counting_baseline
from minilm.training.mixture import mixture
from minilm.training.run import Run, add_to_result
from minilm.tuner.chores import counted, counting, draw_page
from minilm.tuner.final import Finish
from minilm.tuner.finalists import seed_noise
from minilm.tuner.records import BEST, MODELS, RESULT
from minilm.tuner.selection import Chosen, select
from minilm.tuner.sitting import Sitting
from minilm.tuner.summary import outcome_of, result_of
from minilm.tuner.workers import Workers
from minilm.writing import sample_text

SAMPLE_CHARS = 600
PAGE_SHARE = 0.6  # of the reserve at the end, what the page gets; the sample has what comes before
EXIT_SHARE = 0.15  # and what is kept for ending the processes
HELPER_TIMEOUT = 600.0  # seconds that a study without a clock waits for its counting baseline and its page


def run_sitting(sitting: Sitting) -> tuple[Run, dict[str, Any]]:
    """The final model's run and the content of result.json; both are in the study's folder too."""
    (sitting.folder / RESULT).unlink(missing_ok=True)  # of an earlier sitting
    shutil.rmtree(sitting.folder / BEST, ignore_errors=True)  # or half of one
    with Workers(2, background=True) as counters, Workers(1) as painter:
        letters = isinstance(sitting.corpus.tokenizer, CharTokenizer)  # then one counting tells both
        baseline = None if letters else counters.submit(counting, sitting.settings.corpus)
        chances = counters.submit(counted, sitting.settings.corpus, sitting.corpus.tokenizer)
        # an empty page, to load what pages need while others load torch: later it would disturb the final training
        sketch = painter.submit(draw_page, sitting.folder)
        chosen = select(sitting)
        sitting.watch.final(chosen.trial)
        run = _finished(sitting, chosen)
        sample = sample_text(
            run.model, run.tokenizer, SAMPLE_CHARS, sitting.settings.seed, sitting.moment(PAGE_SHARE)
        )
        end = sitting.moment(PAGE_SHARE)
        known = _answer(counters, chances, end)
        numbers = (
            counting_baseline(sitting.corpus, known)
            if letters and known
            else _answer(counters, baseline, end)
        )
        if known:
            options = {"chars": run.result["eval_chars"], "deadline": end}
            add_to_result(run, {"mixture": mixture(run.model, sitting.corpus, known, **options)})
        result = result_of(chosen.trial, sitting.journal.trials, run.config, run.result, numbers, sample)
        result["race"] = None if chosen.race is None else dataclasses.asdict(chosen.race)
        result["incumbent"] = sitting.settings.incumbent
        result["legs"] = list(chosen.legs)
        result |= chosen_facts(chosen)
        files.write_json(sitting.folder / RESULT, result)
        shutil.rmtree(sitting.folder / MODELS, ignore_errors=True)
        _answer(painter, sketch, sitting.moment(PAGE_SHARE))
        _answer(painter, painter.submit(draw_page, sitting.folder), sitting.moment(EXIT_SHARE))
    return run, result


def _finished(sitting: Sitting, chosen: Chosen) -> Run:
    end, tell = sitting.moment(1.0), sitting.watch.record
    finish = Finish(sitting.corpus, sitting.settings, sitting.folder, end, tell)
    return finish.run(chosen.trial, chosen.folder, chosen.trained)


def chosen_facts(chosen: Chosen) -> dict[str, Any]:
    """The finalists and the verdict, for result.json; nothing where none was trained again."""
    if chosen.outcome is None:
        return {}
    noise = seed_noise(chosen.finalists)
    compared = [
        {
            "tid": one.tid,
            "n_parameters": one.n_parameters,
            "losses": dict(one.losses),
            "mean": one.mean,
            "se": noise / math.sqrt(len(one.losses)),
        }
        for one in chosen.finalists
    ]
    return {"finalists": compared, "verdict": outcome_of(chosen.outcome)}


def _answer(helper: Workers, future: Future | None, end: float | None) -> Any:
    """What the helper answered, or None where it failed or is not ready by `end`."""
    if future is None:
        return None
    wait([future], timeout=HELPER_TIMEOUT if end is None else max(0.0, end - time.monotonic()))
    if not future.done():
        helper.kill(future)
        return None
    return None if future.exception() else future.result()
