"""Every state in which a crash or a power cut may leave a run, a study or marks: nothing acknowledged is lost."""

from __future__ import annotations

import pytest

from minilm import disk
from minilm.classroom.marking import Marks
from minilm.classroom.pile import open_ledger
from minilm.config import ModelConfig, TrainConfig
from minilm.errors import MinilmError
from minilm.text.corpora import load_corpus
from minilm.training.run import load_run
from minilm.training.session import resume_training, run_training
from minilm.tuner.records import Journal, Trial, TrialState, create_study, read_study
from tests.crash_states import Recorder, careless_replace, lay_out, naive_replace, states
from tests.faults import watched
from tests.training.test_trainer import QUICK, TEXT, fingerprint

SHAPE = {"n_layer": 1, "n_head": 1, "n_embd": 8, "block_size": 8, "dropout": 0.1}
CONFIG = TrainConfig(**{**QUICK, "steps": 4, "evaluations": 2, "patience": None})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "bottles.txt"
    path.write_text(TEXT[:3000])
    return load_corpus(path)


def trained(corpus, folder):
    return run_training(corpus, ModelConfig(corpus.tokenizer.vocab_size, **SHAPE), CONFIG, folder)


def recorded_run(corpus, folder) -> Recorder:
    recorder = Recorder(folder)
    with watched(recorder):
        trained(corpus, folder)
    return recorder


def recovered(corpus, folder) -> None:
    """What a user does after a crash: resume where there is a run, else the same command."""
    if (folder / "config.json").exists():
        resume_training(folder, corpus=corpus)
    else:
        trained(corpus, folder)


def bad_run_states(corpus, recorder, folder, every) -> list[str]:
    """The states from which the run does not come back to the same bytes."""
    expected, bad, count = fingerprint(recorder.folder), [], 0
    for done, kind, files, _ in states(recorder, every):
        place, count = folder / f"{done}-{kind}", count + 1
        lay_out(files, place)
        try:
            recovered(corpus, place)
            load_run(place)
            same = fingerprint(place) == expected
        except MinilmError as error:
            same, kind = False, f"{kind}: {error}"
        if not same:
            bad.append(f"after operation {done}, {kind}")
    assert count > 10, "there must be something to recover from"
    return bad


@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_comes_back_from_every_state(tmp_path, corpus, every):
    assert bad_run_states(corpus, recorded_run(corpus, tmp_path / "run"), tmp_path / "states", every) == []


@pytest.mark.parametrize("writer", [naive_replace, careless_replace])
def test_a_naive_writer_is_caught(tmp_path, corpus, monkeypatch, writer):
    with monkeypatch.context() as patch:
        patch.setattr(disk, "replace", writer)
        recorder = recorded_run(corpus, tmp_path / "run")
    assert bad_run_states(corpus, recorder, tmp_path / "states", every=3)


def write_study(folder, recorder):
    disk.new_folder(folder)
    create_study(folder, {"corpus": {"name": "bottles"}})
    journal = Journal(folder)
    for tid in range(6):
        journal.add(
            Trial(tid, {"lr": 0.1 * tid}, {"lr": 0.1 * tid}, state=TrialState.OK, loss=2.0 - 0.1 * tid)
        )
        recorder.acknowledged.append(tid)


def write_marks(folder, recorder):
    with open_ledger(folder, resume=False) as ledger:
        for number in range(6):
            ledger.add(Marks(f"student {number}", "lab2", ()), f"digest {number}")
            recorder.acknowledged.append(f"student {number}")


def read_trials(folder):
    if not (folder / "study.json").exists():
        disk.new_folder(folder)  # the same command begins anew
        return []
    read_study(folder)
    journal = Journal(folder)
    known = [trial.tid for trial in journal.trials]
    journal.add(Trial(99, {}, {}, state=TrialState.OK, loss=1.0))  # and goes on
    assert [trial.tid for trial in Journal(folder).trials] == [*known, 99]
    return known


def read_marks(folder):
    with open_ledger(folder, resume=(folder / "grading.json").exists()) as ledger:
        known = list(ledger.done)
        ledger.add(Marks("late", "lab2", ()), "digest")
    with open_ledger(folder, resume=True) as ledger:
        assert list(ledger.done) == [*known, "late"]
    return known


@pytest.mark.parametrize(("write", "read"), [(write_study, read_trials), (write_marks, read_marks)])
def test_what_was_acknowledged_is_there_in_every_state(tmp_path, write, read):
    recorder, count = Recorder(tmp_path / "whole"), 0
    with watched(recorder):
        write(tmp_path / "whole", recorder)
    for done, kind, files, known in states(recorder):
        place, count = tmp_path / f"{done}-{kind}", count + 1
        lay_out(files, place)
        found = read(place)
        assert found[: len(known)] == known, f"after operation {done}, {kind}"
        assert len(found) <= len(known) + 1, "at most the line that was being written"
    assert count > 20
