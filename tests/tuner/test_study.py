"""Decisions of the study and of its end that need no search."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from minilm.errors import AllTrialsFailedError
from minilm.tuner.decide import SEARCH_SHARE, plan, rest_of
from minilm.tuner.records import Trial, TrialState
from minilm.tuner.search import LATE
from minilm.tuner.selection import _chosen
from minilm.tuner.settings import Budget, Settings, trial_steps
from minilm.tuner.space import Limits
from minilm.tuner.summary import result_rows, verdict


def sitting(*reasons):
    failed = [Trial(tid, {}, {}, state=TrialState.FAILED, reason=why) for tid, why in enumerate(reasons)]
    return SimpleNamespace(
        journal=SimpleNamespace(trials=failed),
        space=SimpleNamespace(default={"num_layers": 4}),
        folder="here",
    )


def test_all_trials_failed_says_why_and_exits_with_3():
    with pytest.raises(AllTrialsFailedError, match="trial 1: diverged at step 3") as caught:
        _chosen(sitting("its worker died", "diverged at step 3"))
    assert caught.value.exit_code == 3


def test_too_little_time_for_any_trial_is_no_failure_of_the_recipe():
    assert _chosen(sitting(LATE, LATE)).point == {"num_layers": 4}


def test_settings_survive_the_file():
    settings = Settings(
        {"name": "x"}, "text", Limits(64, 1e9), Budget(seconds=4.0), "tpe", 0, 2, "cpu", minutes=3.0
    )
    assert Settings.from_dict(settings.to_dict()) == settings


def test_a_later_sitting_leaves_the_final_model_its_share():
    first, late = plan(10, 2), rest_of(10, 2, spent=500.0)
    assert late.search_end == 0.0 and late.total == pytest.approx((1 - SEARCH_SHARE) * first.total)
    half = rest_of(10, 2, spent=60.0)
    assert half.search_end == pytest.approx(SEARCH_SHARE * 600 - 60) and half.total == pytest.approx(540.0)
    assert half.search_end < half.race_end < half.final_end


def test_trial_steps_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("MINILM_TRIAL_STEPS", "7")
    assert trial_steps() == 7
    monkeypatch.setenv("MINILM_TRIAL_STEPS", "many")
    with pytest.raises(ValueError, match="MINILM_TRIAL_STEPS"):
        trial_steps()


def result(tid, best, default):
    return {
        "best": {"tid": tid},
        "best_trial_loss": best,
        "default_trial_loss": default,
        "val_loss": 1.0,
        "test_loss": 1.1,
    }


def test_the_verdict_is_honest():
    assert "no trial was clearly better" in verdict(result(0, 1.5, 1.5))
    assert "0.100 nats" in verdict(result(7, 1.4, 1.5))
    assert "failed" in verdict(result(7, 1.4, None))
    assert "trial 7 was ahead" in verdict({**result(0, 1.4, 1.5), "verdict": {"tid": 7}})
    assert [row["val"] for row in result_rows(result(7, 1.4, None))] == [1.0, 1.4]


def test_a_result_of_an_earlier_version_is_still_told():
    """Its race was against the default recipe, under other names."""
    race = {"challenger": 4, "challenger_loss": 1.4, "default_loss": 1.5, "seconds": 30.0, "won": False}
    old = {"best": {"tid": 0}, "best_trial_loss": 1.6, "default_trial_loss": 1.6, "race": race}
    assert verdict(old) == "the default recipe; no trial was clearly better"
