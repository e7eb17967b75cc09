from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from minilm.errors import ConfigError
from minilm.tuner.decide import (
    LONGEST,
    SHORTEST,
    Act,
    Decision,
    Rules,
    decide,
    plan,
    process_age,
    rest_of,
    seconds_needed,
)
from minilm.tuner.legs import ladder_for
from minilm.tuner.rungs import Ladder, Standing
from minilm.tuner.settings import Budget

START, WAIT, STOP = Act.START, Act.WAIT, Act.STOP


@pytest.mark.parametrize(
    ("ended", "running", "rules", "now", "expected"),
    [
        ([], [], Rules(2, trials=3), 0, Decision(START, 0)),
        ([0, 1], [2], Rules(2, trials=3), 0, Decision(WAIT)),
        ([0, 1, 2], [], Rules(2, trials=3), 0, Decision(STOP)),
        ([0, 2], [], Rules(2, trials=3), 0, Decision(START, 1)),  # was running when the study was killed
        ([0, 1], [], Rules(2, search_end=10), 4, Decision(START, 2)),
        ([0, 1], [], Rules(2, search_end=10), 6, Decision(STOP)),  # it would need 5 seconds
        ([0, 1], [2], Rules(2, search_end=10), 6, Decision(WAIT)),
        ([1], [0], Rules(2, trials=9, in_order=True), 0, Decision(WAIT)),  # trial 2 must know trial 0
        ([0], [1], Rules(2, trials=9, in_order=True), 0, Decision(START, 2)),
        ([0], [], Rules(1, trials=9, in_order=True), 0, Decision(START, 1)),
    ],
)
def test_decisions(ended, running, rules, now, expected):
    standings = [Standing(tid, (2.0,)) for tid in ended] + [Standing(tid, running=True) for tid in running]
    assert decide(standings, rules, now, needed=lambda reached: 5) == expected


def test_the_default_recipe_climbs_first_then_the_schedulers_choice_then_a_new_trial():
    rules, three = (
        Rules(1, scheduler="asha", ladder=Ladder(), trials=99),
        [Standing(t, (2.0 - t,)) for t in range(4)],
    )
    free = {"now": 0, "needed": lambda reached: 1}
    assert decide(three, rules, **free) == Decision(Act.GO_ON, 0)
    done = Standing(0, (2.0, 1.9, 1.8))
    assert decide([done, *three[1:]], rules, **free) == Decision(Act.GO_ON, 3)
    assert decide([done, *three[1:3]], rules, **free) == Decision(Act.GO_ON, 2)
    assert decide([done, three[1]], rules, **free) == Decision(START, 2)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (0, Decision(START, 3)),  # a new trial could still reach the top: 1 + 2 + 6 seconds
        (2, Decision(Act.GO_ON, 1)),  # it could not; the furthest of the paused ones can: 6 seconds
        (5, Decision(Act.GO_ON, 2)),  # only the leg to the middle fits now
        (9, Decision(STOP)),
    ],
)
def test_at_the_end_of_a_search_by_the_clock_the_best_climb_as_far_as_they_can(now, expected):
    rules = Rules(1, search_end=10, scheduler="asha", ladder=Ladder())
    trials = [Standing(0, (3.0, 2.9, 2.8)), Standing(1, (2.0, 1.9)), Standing(2, (2.5,))]
    assert decide(trials, rules, now, needed=[1, 2, 6].__getitem__) == expected


def test_by_count_one_trial_reaches_the_top_even_where_too_few_began_to_promote_any():
    rules = Rules(1, trials=2, scheduler="asha", ladder=Ladder())
    trials = [Standing(0, failed=True), Standing(1, (2.0,))]
    assert decide(trials, rules, 0, lambda reached: 0) == Decision(Act.GO_ON, 1)
    assert decide([trials[0], Standing(1, (2.0, 1.9, 1.8))], rules, 0, lambda reached: 0) == Decision(STOP)


@pytest.mark.parametrize("minutes", [0.2, 0.5, 1, 3, 10, 60, 600])
@pytest.mark.parametrize("workers", [1, 2, 16])
def test_plans_keep_their_promises(minutes, workers):
    p = plan(minutes, workers, started=6.0)
    assert SHORTEST <= p.trial <= LONGEST
    assert 0 <= p.search_end < p.final_end < p.total == 60 * minutes
    assert p.reserve == pytest.approx(p.total - p.final_end) and p.reserve >= min(3, p.total / 4)
    assert p.final_end - p.search_end >= 0.2 * p.total  # the final model always has a fair share
    if minutes >= 3:
        ladder = ladder_for("asha", Budget(seconds=p.trial))
        climbs = [ladder.leg(rung) / ladder.eta**rung for rung in range(ladder.top + 1)]
        searched = (p.search_end - 6) * workers
        assert searched / (p.trial * sum(climbs)) >= 8  # enough trials to learn from
        assert 2 * p.trial < p.search_end - 6  # and time to climb after others have shown what is good
        assert p.final_end - p.search_end >= 0.4 * p.total


@pytest.mark.parametrize("minutes", [0.2, 1, 3, 10, 60])
@pytest.mark.parametrize("useful_seconds", [0.5, 10.0, 60.0, 1e6])
def test_the_search_gets_what_a_final_training_cannot_use(minutes, useful_seconds):
    usual, p = plan(minutes, 2, started=6.0), plan(minutes, 2, started=6.0, useful_seconds=useful_seconds)
    assert (p.total, p.final_end, p.reserve) == (usual.total, usual.final_end, usual.reserve)
    assert p.search_end >= usual.search_end and p.search_end <= p.confirm_end <= p.race_end < p.final_end
    final, usual_final = p.final_end - p.race_end, usual.final_end - usual.race_end
    assert final >= min(0.99 * useful_seconds, usual_final - 1e-9)
    assert p.trial <= max(useful_seconds, SHORTEST) or p.trial == usual.trial
    if useful_seconds > usual.total:
        assert p == usual
    if minutes == 10 and useful_seconds == 60:
        assert p.confirm_end > 0.75 * p.total and p.trial == 60
    later = rest_of(minutes, 2, spent=p.search_end, started=6.0, useful_seconds=useful_seconds)
    assert later.search_end <= 12 and later.total >= p.total - p.search_end


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_impossible_minutes(minutes):
    with pytest.raises(ConfigError, match="minutes must be above 0"):
        plan(minutes, 1)


def test_a_trial_is_expected_to_take_as_long_as_the_slowest():
    assert seconds_needed(10, [10.5, 12.0]) == 12.0
    assert seconds_needed(10, []) > 10


@pytest.mark.clock
@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="the system does not tell")  # noqa: PTH110
def test_the_interpreters_start_counts():
    code = "import time; time.sleep(0.3); from minilm.tuner.decide import process_age; print(process_age())"
    began = time.monotonic()
    told = float(
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    )
    assert 0.28 <= told <= time.monotonic() - began + 0.05
    assert process_age() > 0
