from __future__ import annotations

import pytest

from minilm.tuner.decide import Act, Decision, Rules, decide, seconds_needed
from minilm.tuner.rungs import Ladder, Standing

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


def test_a_trial_is_expected_to_take_as_long_as_the_slowest():
    assert seconds_needed(10, [10.5, 12.0]) == 12.0
    assert seconds_needed(10, []) > 10
