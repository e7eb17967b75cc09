"""Legs: the arithmetic of their parts by table, and real ones of a tiny model against one another, bit by bit."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from minilm import files, load_corpus
from minilm.config import TrainConfig
from minilm.tuner.legs import HOLD, HOLD_SHARE, Part, ladder_for, leg_parts, long_part
from minilm.tuner.objective import run_leg
from minilm.tuner.records import MODELS, Trial, TrialState
from minilm.tuner.rungs import Ladder
from minilm.tuner.settings import Budget, Settings
from minilm.tuner.space import limits_for
from minilm.tuner.tasks import leg_task, prune, seed_task

POINT = {
    "num_layers": 1,
    "hidden_size": 16,
    "block_size": 8,
    "batch_size": 4,
    "learning_rate": 1e-2,
    "dropout": 0.1,
}
LADDER = Ladder((1 / 9, 1 / 3, 1.0))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "tale.txt"
    path.write_text("a fox and a crane met at the well, and the crane said no.\n" * 40)
    corpus = load_corpus(path)
    fixed = (limits_for(len(corpus.train)), Budget(steps=36, chars=64), "tpe", 0, 1, "cpu")
    return Settings(corpus.describe(), "", *fixed, scheduler="asha", rungs=LADDER.shares)


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 200])
@pytest.mark.parametrize("ladder", [LADDER, Ladder((0.5, 1.0)), Ladder((1.0,))])
def test_the_legs_of_a_trial_are_its_whole_training(steps, ladder):
    budget, train = Budget(steps=steps), TrainConfig()
    legs = [leg_parts(budget, ladder, rung, train) for rung in range(ladder.top + 1)]
    assert sum(part.steps for parts in legs for part in parts) == steps
    assert sum(part.steps for part in leg_parts(budget, ladder, ladder.top, train, begin=0.0)) == steps
    assert all(part.steps > 0 and part.evaluations >= 1 for parts in legs for part in parts)


def test_the_rate_rises_once_and_falls_once():
    parts = [
        part for rung in range(3) for part in leg_parts(Budget(seconds=90.0), LADDER, rung, TrainConfig())
    ]
    assert [part.schedule for part in parts] == ["constant", "constant", "constant", "linear"]
    assert parts[0].warmup == pytest.approx(9 * TrainConfig().warmup)  # the same seconds as in the whole
    assert all(part.warmup == 0 for part in parts[1:])
    assert [part.seconds for part in parts] == pytest.approx([10, 20, 42, 18])
    assert (
        sum(part.seconds for part in parts[:3]) == pytest.approx(HOLD_SHARE * 90) and parts[2].folder == HOLD
    )
    config = parts[1].config(TrainConfig(patience=3), seed=4, threads=1)
    assert (config.seed, config.patience) == (4, None)
    assert Part("x", 2, None, "constant", 0.0, 8, 64).config(TrainConfig(), 0, None).evaluations == 2


def test_no_leg_is_too_short_to_be_worth_its_start():
    assert [ladder_for("median", Budget(seconds=s)).shares for s in (5.9, 6.1)] == [(1.0,), (1 / 3, 1.0)]
    assert ladder_for("asha", Budget(steps=9)).top == 2 and ladder_for("none", Budget(seconds=99.0)).top == 0
    assert long_part(Budget(seconds=10.0), 60.0).evaluations == 48


def climbed(settings: Settings, folder: Path, until: int) -> list[dict]:
    """A trial's answers, leg by leg, each from the checkpoint of the one before."""
    answers, legs = [], []
    for rung in range(until + 1):
        answers.append(run_leg(leg_task(settings, folder, Trial(3, POINT, {}, legs=list(legs)))))
        legs.append({"rung": rung, "loss": answers[-1]["loss"]})
    return answers


def same_tensors(one: Path, other: Path) -> bool:
    (a, _), (b, _) = files.read_tensors(one), files.read_tensors(other)
    return a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)


def facts(answer: dict) -> tuple:
    return answer["loss"], answer["steps"], [loss for _, loss in answer["curve"]]


def test_a_leg_is_a_pure_function_of_its_task_and_checkpoint(settings, tmp_path):
    one, other = climbed(settings, tmp_path / "a", 2), climbed(settings, tmp_path / "b", 2)
    assert [facts(answer) for answer in one] == [facts(answer) for answer in other]
    assert [answer["steps"] for answer in one] == [4, 8, 24]
    last = Path(MODELS, "3", "rung2", "model.safetensors")
    assert same_tensors(tmp_path / "a" / last, tmp_path / "b" / last)
    half = tmp_path / "b" / MODELS / "3" / "rung1"
    (half / "checkpoint.safetensors").write_bytes(b"half a file, as a killed worker leaves it")
    again = climbed(settings, tmp_path / "b", 1)
    assert facts(again[1]) == facts(one[1])


def test_a_lost_checkpoint_costs_the_time_and_nothing_else(settings, tmp_path):
    whole = climbed(settings, tmp_path, 2)
    shutil.rmtree(tmp_path / MODELS)
    task = leg_task(settings, tmp_path, Trial(3, POINT, {}, legs=[{"loss": a["loss"]} for a in whole[:2]]))
    assert task.start is None
    answer = run_leg(task)
    assert answer["steps"] == 36 and answer["loss"] == pytest.approx(whole[2]["loss"], abs=0.05)
    assert answer["held"] < answer["seconds"]


def test_another_seed_is_another_whole_training(settings, tmp_path):
    losses = {seed: run_leg(seed_task(settings, tmp_path, POINT, 3, seed))["loss"] for seed in (1, 2)}
    assert losses[1] != losses[2]
    assert (tmp_path / MODELS / "3-seed2" / "rung2" / "model.safetensors").is_file()


def test_what_diverges_in_a_later_leg_says_at_which_step_of_all(settings, tmp_path):
    task = seed_task(settings, tmp_path, {**POINT, "learning_rate": 1e30}, 3, 0)
    answer = run_leg(dataclasses.replace(task, parts=(task.parts[1], task.parts[0])))
    assert answer["loss"] is None and "diverged at step" in answer["reason"]


def test_only_models_that_may_be_wanted_again_are_kept(tmp_path):
    def trial(tid: int, *losses: float, state: TrialState = TrialState.PAUSED) -> Trial:
        for rung in range(len(losses)):
            (tmp_path / str(tid) / f"rung{rung}").mkdir(parents=True)
        legs = [{"loss": loss} for loss in losses]
        return Trial(tid, {}, {}, state=state, loss=losses[-1] if losses else None, legs=legs)

    paused = [trial(tid, 2.0 + tid / 100) for tid in range(1, 20)]
    done = {30: 2.71, 31: 2.7, 32: 2.75}
    ended = [trial(0, 3.0, 2.9, 2.8, state=TrialState.OK)]
    ended += [trial(tid, 2.9, 2.8, loss, state=TrialState.OK) for tid, loss in done.items()]
    for tid in (0, *done):
        (tmp_path / str(tid) / HOLD).mkdir()
    failed = [trial(40, 2.0, state=TrialState.FAILED)]
    (tmp_path / "19" / "rung1").mkdir()  # a worker is about to write there
    prune(tmp_path, [*paused, *ended, *failed], LADDER, busy={19})
    assert {path.name for path in (tmp_path / "19").iterdir()} == {"rung0", "rung1"}
    prune(tmp_path, [*paused, *ended, *failed], LADDER)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")}
    # any finalist may be chosen, not only the one with the lowest loss
    finalists = {f"{tid}/{folder}" for tid in (31, 30, 0) for folder in (HOLD, "rung2")}
    assert left == {f"{tid}/rung0" for tid in range(1, 13)} | finalists
