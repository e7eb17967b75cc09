"""The study's logic with stub objectives and real worker processes; nothing is trained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from minilm.errors import StorageError
from minilm.tuner.decide import Rules, known_to
from minilm.tuner.propose import Proposer, SearchSpace
from minilm.tuner.records import Journal, Trial, TrialState
from minilm.tuner.rungs import Ladder
from minilm.tuner.search import LATE, Search, best_trial
from minilm.tuner.space import Dimension
from minilm.tuner.workers import Workers
from tests.tuner import stubs

SPACE = SearchSpace.of((Dimension("learning_rate", "log", 1e-4, 1.0),), {"learning_rate": 3e-3})


class Here:
    """A pool that computes at once in this process, and a clock that such a call moves by ten seconds."""

    def __init__(self, seconds: float = 10.0) -> None:
        self.now, self.seconds, self.started = 0.0, seconds, False

    @property
    def free(self) -> int:
        """None right after a start, so that the search looks for the answer before it asks again."""
        free, self.started = int(not self.started), False
        return free

    def submit(self, function, *arguments) -> Future:
        self.now += self.seconds
        self.started = True
        return stubs.at_once(function, *arguments)

    def worker_of(self, future) -> int:
        return 0

    def kill(self, future) -> None:
        raise AssertionError("nothing can hang here")

    def clock(self) -> float:
        return self.now


def search(pool, journal, rules, function=stubs.bowl, seed=0, **more) -> list[Trial]:
    Search(
        Proposer(SPACE, "tpe", seed),
        pool,
        journal,
        rules,
        function,
        lambda trial: (trial.tid, trial.point),
        **more,
    ).run()
    return journal.trials


def test_trials_until_there_are_enough():
    pool = Here()
    trials = search(pool, Journal(None), Rules(1, trials=12, in_order=True), clock=pool.clock)
    assert [trial.tid for trial in trials] == list(range(12))
    assert trials[0].point == {"learning_rate": 3e-3}
    assert best_trial(trials).loss < 1.1
    assert (trials[3].started, trials[3].ended) == (30.0, 40.0) and trials[3].curve == [[0.1, 2.0]]


def test_by_the_clock_no_trial_starts_that_cannot_end():
    pool, seen = Here(), []
    trials = search(
        pool,
        Journal(None),
        Rules(1, search_end=47.0),
        clock=pool.clock,
        trial_seconds=6.0,
        on_trial=lambda trial: seen.append(pool.now),
    )
    assert len(trials) == 4 and max(seen) <= 47


def test_every_kind_of_trouble_is_a_failed_trial_with_its_reason():
    with Workers(2) as pool:
        trials = search(pool, Journal(None), Rules(2, trials=9, in_order=True), stubs.treacherous)
    told = {trial.tid: (trial.state, trial.reason or "") for trial in trials}
    assert {tid for tid in told if told[tid][0] is TrialState.OK} == {0, 7, 8}
    for tid, words in {
        1: "worker died",
        2: "a bug of ours",
        3: "nan",
        4: "-inf",
        5: "None",
        6: "low",
    }.items():
        assert words in told[tid][1]
    assert all(trial.loss is None for trial in trials if trial.state is TrialState.FAILED)


def test_an_answer_of_the_wrong_kind():
    (trial,) = search(Here(), Journal(None), Rules(1, trials=1), stubs.no_dict)
    assert trial.state is TrialState.FAILED and "float" in trial.reason


@pytest.mark.clock
def test_a_hung_worker_is_stopped_and_the_others_go_on():
    with Workers(2) as pool:
        pool.warm_up(stubs.pid_and_threads, None)
        while pool.free < 2:
            time.sleep(0.02)
        began = time.monotonic()
        clock = lambda: time.monotonic() - began  # noqa: E731
        trials = search(
            pool,
            Journal(None),
            Rules(2, trials=6, search_end=3.0),
            stubs.hangs,
            clock=clock,
            trial_seconds=0.1,
        )
        assert clock() < 6
    assert next(trial for trial in trials if trial.tid == 1).reason == LATE
    assert sum(trial.state is TrialState.OK for trial in trials) >= 4


def test_the_same_seed_and_workers_give_the_same_study_whoever_is_faster():
    def points() -> list[dict]:
        with Workers(3) as pool:
            trials = search(pool, Journal(None), Rules(3, trials=15, in_order=True), stubs.uneven, seed=4)
        return [trial.point for trial in sorted(trials, key=lambda trial: trial.tid)]

    assert points() == points()


def test_every_recorded_proposal_follows_from_the_record():
    """By the clock too: what a proposal could know is the first `known` lines."""
    pool = Here()
    trials = search(pool, Journal(None), Rules(1, search_end=200.0), clock=pool.clock, trial_seconds=5.0)
    assert len(trials) > 12
    for trial in trials:
        proposer = Proposer(SPACE, "tpe", 0)
        for earlier in trials[: trial.known]:
            proposer.draws[earlier.tid] = earlier.draw
            proposer.tell(earlier.tid, earlier.loss)
        assert proposer.ask(trial.tid)[1] == trial.point


def climb(pool, journal, rules, function=stubs.climbing, extra=(), **more) -> list[Trial]:
    """A search in legs."""
    make = lambda trial: (trial.tid, trial.point, len(trial.losses), *extra)  # noqa: E731
    Search(Proposer(SPACE, "tpe", 0), pool, journal, rules, function, make, **more).run()
    return sorted(journal.trials, key=lambda trial: trial.tid)


ASHA = Rules(1, trials=12, scheduler="asha", ladder=Ladder())


def test_trials_pause_at_rungs_and_the_best_climb():
    pool, journal = Here(), Journal(None)
    trials = climb(pool, journal, ASHA, clock=pool.clock)
    reached = [len(trial.losses) for trial in trials]
    assert reached[0] == 3 and max(reached[1:]) == 3 and reached.count(1) >= 6
    assert [trial.state for trial in trials].count(TrialState.OK) == reached.count(3)
    assert len(journal.lines) == sum(reached) + 1  # a line for each leg, the failed one included
    best_at_the_bottom = sorted(trials, key=lambda trial: trial.losses[0])[:2]
    assert all(len(trial.legs) > 1 for trial in best_at_the_bottom)
    whole = trials[0]
    assert (whole.steps, whole.seconds) == (30, 6.0)
    assert [x for x, _ in whole.curve] == [2.0, 4.0, 6.0] and whole.loss == whole.losses[-1]


def test_a_trial_that_fails_on_its_way_up_has_failed_with_its_reason():
    pool = Here()
    rules = Rules(1, trials=12, scheduler="none", ladder=Ladder())
    failed = [t for t in climb(pool, Journal(None), rules, clock=pool.clock) if t.state is TrialState.FAILED]
    assert [(t.tid, t.reason, t.loss, len(t.losses)) for t in failed] == [(4, "diverged at step 7", None, 1)]
    assert best_trial(failed) is None


def test_a_killed_worker_costs_its_trial_one_leg(tmp_path):
    with Workers(2) as pool:
        rules = Rules(2, trials=6, scheduler="asha", ladder=Ladder())
        trials = climb(pool, Journal(None), rules, stubs.dies_once, [str(tmp_path / "died")])
    lost, again = trials[1].legs[:2]
    assert "worker died" in lost["reason"] and lost["loss"] is None and again["rung"] == lost["rung"] == 0
    assert trials[1].losses and trials[1].state is not TrialState.FAILED


def test_a_search_in_legs_by_the_clock_ends_in_time_with_somebody_at_the_top():
    pool = Here(seconds=2.0)
    rules = Rules(1, search_end=61.0, scheduler="asha", ladder=Ladder())
    trials = climb(pool, Journal(None), rules, clock=pool.clock, trial_seconds=4.0)
    assert pool.now <= 61 and len(trials) >= 10
    assert sum(len(trial.losses) == 3 for trial in trials) >= 2


def _killed(program: str, folder: Path, after: int) -> list[Trial]:
    """What a search has recorded in the folder when it is killed after so many lines."""
    lines, root = folder / "trials.jsonl", Path(__file__).parent.parent.parent
    study = subprocess.Popen([sys.executable, "-c", program, str(folder)], cwd=root)
    while not lines.exists() or lines.read_bytes().count(b"\n") < after:
        time.sleep(0.02)
    study.send_signal(signal.SIGKILL)
    study.wait()
    return Journal(folder).lines


CLIMB = """
import sys
from pathlib import Path
from tests.tuner.test_search import ASHA, climb, stubs
from minilm.tuner.records import Journal
from minilm.tuner.workers import Workers
with Workers(1) as pool:
    climb(pool, Journal(Path(sys.argv[1])), ASHA, stubs.slow_climbing)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_search_in_legs_killed_and_continued_equals_undisturbed(tmp_path):
    kept = _killed(CLIMB, tmp_path, after=6)
    pool = Here()
    continued = climb(pool, Journal(tmp_path), ASHA, clock=pool.clock)
    undisturbed = climb(Here(), Journal(None), ASHA, clock=pool.clock)
    assert len(kept) < sum(len(trial.legs) for trial in continued)
    assert [(t.tid, t.point, t.losses) for t in continued] == [
        (t.tid, t.point, t.losses) for t in undisturbed
    ]


STUDY = """
import sys
from pathlib import Path
from tests.tuner.test_search import search, stubs
from minilm.tuner.decide import Rules
from minilm.tuner.records import Journal
from minilm.tuner.workers import Workers
with Workers(2) as pool:
    search(pool, Journal(Path(sys.argv[1])), Rules(2, trials=14, in_order=True), stubs.slow)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_killed_and_continued_equals_undisturbed(tmp_path):
    kept = _killed(STUDY, tmp_path, after=5)
    assert 5 <= len(kept) < 14
    with Workers(2) as pool:
        continued = search(pool, Journal(tmp_path), Rules(2, trials=14, in_order=True))
    undisturbed = Proposer(SPACE, "tpe", 0)
    for tid in range(14):
        _, point = undisturbed.ask(tid, known_to(tid, 2))
        undisturbed.tell(tid, stubs.bowl((tid, point))["loss"])
    assert continued[: len(kept)] == kept
    assert {t.tid: (t.point, t.loss) for t in continued} == {
        tid: (SPACE.point(undisturbed.draws[tid]), undisturbed.losses[tid]) for tid in range(14)
    }


def test_a_trial_is_judged_by_the_lowest_loss_that_was_measured():
    def trial(tid: int, *losses: float, failed: bool = False) -> Trial:
        state = TrialState.FAILED if failed else TrialState.PAUSED
        return Trial(tid, {}, {}, state=state, legs=[{"loss": loss} for loss in losses])

    early, far = trial(1, 1.40), trial(2, 1.60, 1.45, 1.41)
    assert best_trial([trial(0, 1.5), far, early]).tid == 1
    assert best_trial([trial(0, 1.40), early]).tid == 0
    assert best_trial([trial(0, 1.0, failed=True), far]).tid == 2
    assert best_trial([trial(0, failed=True)]) is None


def test_a_leg_that_ends_worse_than_the_one_before_does_not_lower_the_trial():
    """Its weights of the first rung are as good as they were."""
    pool = Here()

    def overfits(task):
        tid, _, rung = task
        return {"loss": 1.0 + tid / 100 + rung, "steps": 1, "seconds": 1.0, "curve": []}

    rules = Rules(1, trials=3, scheduler="none", ladder=Ladder())
    trials = climb(pool, Journal(None), rules, overfits, clock=pool.clock)
    assert [trial.losses for trial in trials] == [(1.0 + tid / 100,) * 3 for tid in range(3)]
    assert [trial.loss for trial in trials] == [1.0, 1.01, 1.02]


def test_a_full_disk_is_no_trials_fault(tmp_path):
    """It stops the study with its sentence; nothing is recorded, and the same search goes on once there is room."""
    room = [4]

    def training(task):
        room[0] -= 1
        if room[0] < 0:
            raise StorageError("cannot write models/4/model.safetensors: the disk is full; free some space")
        return stubs.bowl(task)

    (tmp_path / "whole").mkdir()
    (tmp_path / "full").mkdir()
    rules = Rules(1, trials=8, in_order=True)
    expected = search(Here(), Journal(tmp_path / "whole"), rules, clock=Here().clock)
    with pytest.raises(StorageError, match="the disk is full") as caught:
        search(Here(), Journal(tmp_path / "full"), rules, training, clock=Here().clock)
    assert caught.value.exit_code == 4 and len(Journal(tmp_path / "full").trials) == 4
    room[0] = 10**6
    trials = search(Here(), Journal(tmp_path / "full"), rules, training, clock=Here().clock)
    assert [(t.tid, t.point, t.loss, t.state) for t in trials] == [
        (t.tid, t.point, t.loss, t.state) for t in expected
    ]
