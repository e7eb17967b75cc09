"""Legs: the arithmetic of their parts by table, and real ones of a tiny model against one another, bit by bit."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from minilm import files, load_corpus, load_run
from minilm.config import TrainConfig
from minilm.training.evaluate import exact_loss
from minilm.training.optim import schedule
from minilm.tuner.records import MODELS, Trial, TrialState
from minilm.tuner.rungs import Ladder
from minilm.tuner.settings import Settings, TrialBudget
from minilm.tuner.space import limits_for
from minilm.tuner.trial import HOLD_SHARE, best_folder, ladder_for, leg_of, leg_task, prune, run_leg

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
    fixed = (limits_for(len(corpus.train)), "tpe", 0, "cpu")
    budget = TrialBudget(steps=36, chars=64)
    return Settings(corpus.describe(), "", *fixed, budget=budget, scheduler="asha", rungs=LADDER.shares)


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 200])
@pytest.mark.parametrize("ladder", [LADDER, Ladder((0.5, 1.0)), Ladder((1.0,))])
def test_the_legs_of_a_trial_are_its_whole_training(steps, ladder):
    budget, train = TrialBudget(steps=steps), TrainConfig()
    legs = [leg_of(budget, ladder, rung, train) for rung in range(ladder.top + 1)]
    assert sum(leg["steps"] for leg in legs) == steps
    assert leg_of(budget, ladder, ladder.top, train, begin=0.0)["steps"] == steps


def test_the_rate_rises_once_and_falls_once():
    """What all legs do to the rate, one after another, is what one training does whose rate is held for 80 %."""
    train = TrainConfig()
    legs = [train.replace(**leg_of(TrialBudget(steps=900), LADDER, rung, train)) for rung in range(3)]
    rates = [schedule(leg, (step + 1) / (leg.steps + 1)) for leg in legs for step in range(leg.steps)]
    assert len(rates) == 900
    top = max(rates)
    rise, fall = rates.index(top), len(rates) - rates[::-1].index(top)
    assert rates[:rise] == sorted(rates[:rise]) and rates[fall:] == sorted(rates[fall:], reverse=True)
    assert rise == pytest.approx(train.warmup * 900, abs=3) and fall == pytest.approx(HOLD_SHARE * 900, abs=3)
    assert all(rate == top for rate in rates[rise:fall]) and rates[-1] < 0.02 * top


def test_a_training_without_pauses_keeps_the_recipes_own_schedule():
    leg = leg_of(TrialBudget(steps=90), Ladder((1.0,)), 0, TrainConfig())
    assert set(leg) == {"steps", "minutes", "evaluations", "eval_chars"} and leg["minutes"] is None


def test_no_leg_is_too_short_to_be_worth_its_start():
    assert [ladder_for("asha", TrialBudget(seconds=s)).shares for s in (5.9, 6.1)] == [(1.0,), (1 / 3, 1.0)]
    assert ladder_for("asha", TrialBudget(steps=9)).top == 2
    assert ladder_for("none", TrialBudget(seconds=99.0)).top == 0


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


def test_what_diverges_says_at_which_step(settings, tmp_path):
    task = leg_task(settings, tmp_path, Trial(3, {**POINT, "learning_rate": 1e30}, {}))
    answer = run_leg(task)
    assert answer["loss"] is None and "diverged at step" in answer["reason"]


def test_the_loss_of_a_leg_is_that_of_the_weights_it_keeps(settings, tmp_path):
    """A small text is soon known by heart: the last loss is not the lowest one."""
    point = {**POINT, "learning_rate": 0.05, "dropout": 0.0}
    budget = dataclasses.replace(settings.budget, steps=400)
    whole = dataclasses.replace(settings, budget=budget, rungs=(1.0,))
    task = leg_task(whole, tmp_path, Trial(3, point, {}))
    answer = run_leg(task)
    assert answer["loss"] == min(loss for _, loss in answer["curve"])
    run = load_run(task.out)
    corpus = load_corpus(settings.corpus["source"]["path"])
    assert exact_loss(run.model, **corpus.scored("val"), chars=64) == pytest.approx(answer["loss"], abs=1e-6)


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
    ended += [trial(33, 2.5, 1.9, 2.0, state=TrialState.OK)]  # its best weights are those of its second rung
    failed = [trial(40, 2.0, state=TrialState.FAILED)]
    (tmp_path / "19" / "rung1").mkdir()  # a worker is about to write there
    prune(tmp_path, [*paused, *ended, *failed], LADDER, busy={19})
    assert {path.name for path in (tmp_path / "19").iterdir()} == {"rung0", "rung1"}
    prune(tmp_path, [*paused, *ended, *failed], LADDER)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")}
    assert best_folder(tmp_path, ended[-1]) == tmp_path / "33" / "rung1"
    assert left == {f"{tid}/rung0" for tid in range(1, 13)} | {"33/rung1"}
