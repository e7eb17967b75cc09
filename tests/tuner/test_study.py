"""Decisions of a study and of its end that need no training."""

from __future__ import annotations

import pytest

from minilm.errors import AllTrialsFailedError, ConfigError
from minilm.tuner.propose import SearchSpace
from minilm.tuner.records import Trial, TrialState
from minilm.tuner.search import LATE
from minilm.tuner.settings import Request, Settings, TrialBudget, trial_steps
from minilm.tuner.space import Limits
from minilm.tuner.summary import more_time, next_commands, result_rows, verdict
from minilm.tuner.trials import best_or_default


def best_of(*reasons):
    failed = [Trial(tid, {}, {}, state=TrialState.FAILED, reason=why) for tid, why in enumerate(reasons)]
    return best_or_default(failed, SearchSpace({}, {"num_layers": 4}), "here")


def test_all_trials_failed_says_why_and_exits_with_3():
    with pytest.raises(AllTrialsFailedError, match="trial 1: diverged at step 3") as caught:
        best_of("its worker died", "diverged at step 3")
    assert caught.value.exit_code == 3


def test_too_little_time_for_any_trial_is_no_failure_of_the_recipe():
    assert best_of(LATE, LATE).point == {"num_layers": 4}


@pytest.mark.parametrize("budget", [None, TrialBudget(seconds=4.0)])
def test_settings_survive_the_file(budget):
    settings = Settings({"name": "x"}, "text", Limits(64, 1e9), "tpe", 0, "cpu", minutes=3.0, budget=budget)
    assert Settings.from_dict(settings.to_dict()) == settings


def test_trial_steps_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("MINILM_TRIAL_STEPS", "7")
    assert trial_steps() == 7
    monkeypatch.setenv("MINILM_TRIAL_STEPS", "many")
    with pytest.raises(ValueError, match="MINILM_TRIAL_STEPS"):
        trial_steps()


def test_only_a_count_or_a_space_of_ones_own_asks_for_trials():
    assert not Request(minutes=3.0).has_trials
    assert Request(trials=2).has_trials and Request(minutes=3.0, space={"dropout": 0.1}).has_trials
    with pytest.raises(ConfigError, match="did you mean 'cuda'"):
        Request(minutes=1.0, device="cudda").checked()


LAW = {
    "expected": 1.5,
    "sd": 0.1,
    "most_steps": None,
    "prospects": {"default": [0.03, 0.01], "more": [[1, 0.01, 0.01], [10, 0.05, 0.01]]},
}
RESULT = {
    "best": {"tid": None},
    "best_trial_loss": None,
    "val_loss": 1.0,
    "test_loss": 1.1,
    "stopped": "deadline",
    "counting": {"val": 1.2, "test": 1.3},
    "writing": {
        "words": 50,
        "in_text": 0.9,
        "in_unseen": 0.7,
        "invented": 0.06,
        "copied": 0.123,
        "copied_unseen": 0.05,
        "dialogue": True,
    },
    "law": LAW,
}


def told(**changes):
    return " ".join(sentence.text for sentence in verdict({**RESULT, **changes}, 900_000))


def test_the_verdict_says_what_the_numbers_say():
    text = told()
    for words in (
        "beats plain counting by 0.200",
        "90 occur in the text that it learnt from, 70 in the part that it has never seen, and 6 are invented",
        "12\u00a0% of what it wrote here stands word for word in the text",
        "expected to end 0.030 nats per character lower than the default recipe in the same minutes "
        "(90 % interval 0.014 to 0.046)",
        "10 more minutes would have bought about 0.050 nats per character (90 % interval 0.034 to 0.066)",
    ):
        assert words in text, words
    assert "short for a network" not in text and "trial" not in text.lower()


def test_a_short_text_that_counting_knows_better_is_said_to_be_short():
    lost = {"counting": {"val": 0.9, "test": 0.9}}
    assert "50,000 would be a start" in " ".join(s.text for s in verdict({**RESULT, **lost}, 5_000))
    assert "50,000" not in " ".join(s.text for s in verdict(RESULT, 5_000))


def test_a_text_that_is_used_up_is_promised_nothing():
    used = {"law": {**LAW, "most_steps": 500}, "stopped": "finished"}
    assert "no more to teach" in told(**used) and "would have bought" not in told(**used)
    assert more_time({**RESULT, **used}) is None
    assert not any("--resume" in one for one in next_commands({**RESULT, **used}, "x"))


def test_of_a_second_model_it_is_said_which_of_the_two_is_kept():
    used = {"law": {**LAW, "most_steps": 500}, "stopped": "finished", "step_seconds": 100.0}
    assert "with 3 minutes more (--resume) a second model could learn from it" in told(**used)
    better = told(**used, teacher_loss=1.05)
    assert "a second model learnt from it and from the first: 1.000 instead of 1.050" in better
    assert "--resume" not in better and "would have bought" not in better
    assert "it was no better, 1.020 against 1.000" in told(**used, student=1.02)
    assert "1.000 instead of 1.050" in told(teacher_loss=1.05), "also where its minutes ended it"


def test_what_is_not_known_is_not_said():
    assert verdict({"best": {"tid": None}}) == []
    assert told(law={}, writing=None, counting=None) == ""


def test_the_next_commands_can_be_pasted():
    assert next_commands(RESULT, "runs/a") == [
        "python -m minilm.sample runs/a",
        "python -m minilm.chat runs/a",
        "python -m minilm.tune --resume runs/a --minutes 10",
    ]


def test_rows_of_a_study_with_trials_have_the_best_one():
    assert [row["name"] for row in result_rows(RESULT)] == ["final model"]
    of_trials = {**RESULT, "best": {"tid": 7}, "best_trial_loss": 1.4}
    assert [row["val"] for row in result_rows(of_trials)] == [1.0, 1.4]
