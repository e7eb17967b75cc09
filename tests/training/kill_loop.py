"""A program: trains to the end once, then again and again with a kill at random moments, each time to the end.

    python kill_loop.py TEXT FOLDER ROUNDS

One process loads torch and forks every training, so that a kill costs no start-up. FOLDER/whole is the run that
nothing interrupted, FOLDER/0, FOLDER/1, ... are the others: killed for good in even rounds, interrupted as by
Ctrl-C in odd ones. Prints how often it killed and what it interrupted.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from minilm.config import ModelConfig, TrainConfig
from minilm.text.corpora import load_corpus
from minilm.training.session import resume_training, run_training

INTERRUPTED = 130


def train(text: Path, folder: Path) -> None:
    if (folder / "config.json").exists():
        resume_training(folder)
        return
    for leftover in folder.glob("*"):  # killed before there was a run
        leftover.unlink()
    corpus = load_corpus(text)
    shape = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "dropout": 0.1}
    config = TrainConfig(steps=100, batch_size=4, evaluations=10, patience=None, threads=1, device="cpu")
    run_training(corpus, ModelConfig(corpus.tokenizer.vocab_size, **shape), config, folder)


def forked(text: Path, folder: Path) -> int:
    """The process id of a training of its own."""
    if process := os.fork():
        return process
    code = 1
    try:
        train(text, folder)
        code = 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    finally:
        os._exit(code)  # no clean-up of what belongs to the parent


def ended(process: int) -> int:
    """Exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main() -> None:
    text, folder, rounds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    started = time.monotonic()
    assert ended(forked(text, folder / "whole")) == 0
    duration = time.monotonic() - started
    kills = dict.fromkeys((signal.SIGKILL, signal.SIGINT), 0)
    for number in range(rounds):
        kind = (signal.SIGKILL, signal.SIGINT)[number % 2]
        while True:
            process = forked(text, folder / str(number))
            time.sleep(random.uniform(0.1, 0.8) * duration)
            os.kill(process, kind)
            code = ended(process)
            if code == 0 and kills[kind]:
                break
            if code == 0:  # over before the signal: the training that told how long one takes was a slow one
                shutil.rmtree(folder / str(number))
                duration *= 0.7
                continue
            assert code in (-kind, INTERRUPTED), f"the training failed with {code}"
            kills[kind] += 1
            duration *= 1.05  # or a machine that got busier kills them all too early, for ever
    print(kills[signal.SIGKILL], kills[signal.SIGINT])


if __name__ == "__main__":
    main()
