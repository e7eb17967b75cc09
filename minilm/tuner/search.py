"""Searches: asks for points, hands their legs to workers, records what comes back, until the rules say stop.

It joins `propose`, `decide`, `rungs`, `records` and a pool, and knows neither torch nor what a leg computes: the
function, the pool and the clock are given. A worker that dies or hangs costs its trial one leg, which is tried once
more from where the trial had paused; one that dies twice, or answers nonsense, is a failed trial with a reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from typing import Any

from minilm.errors import StorageError
from minilm.tuner.decide import Act, Rules, decide, known_to, seconds_allowed, seconds_needed
from minilm.tuner.propose import Proposer, is_loss
from minilm.tuner.records import Journal, Trial, TrialState
from minilm.tuner.rungs import Standing, levelled
from minilm.tuner.workers import Pool

LATE = "stopped: too slow for the time left"
DIED = "its worker died; out of memory, or killed from outside"
CLOCK_TICK, WORKER_TICK = 0.5, 0.05  # seconds between looks at the clock, at workers that are getting ready
RECENT = 8  # legs whose durations tell how long the next one takes
FACTS = ("seconds", "steps")  # of a leg, summed up over a trial

OnTrial = Callable[[Trial], None]
MakeTask = Callable[[Trial], Any]


@dataclass
class Search:
    """One sitting of a study. `run()` returns when the rules allow no more legs and none is running.

    `function` is what workers run on `make_task(trial)`, the next leg of a trial that has reached
    `len(trial.losses)` rungs; it returns a dict with `loss`. `clock` gives seconds since the study began.
    """

    proposer: Proposer
    pool: Pool
    journal: Journal
    rules: Rules
    function: Callable[[Any], dict[str, Any]]
    make_task: MakeTask
    clock: Callable[[], float] = time.monotonic
    trial_seconds: float | None = None  # of a full training; None: a trial's budget is steps
    on_trial: OnTrial | None = None
    on_tick: Callable[[], None] | None = None
    running: dict[Future, Trial] = field(default_factory=dict)
    _retries: list[Trial] = field(default_factory=list)  # lost a leg and get one more chance
    _durations: dict[int, list[float]] = field(default_factory=dict)  # rung -> seconds of legs to it
    _cold: set[int] = field(default_factory=set)  # workers that replace a dead one and have ended no leg yet
    _late: set[Future] = field(default_factory=set)  # whose worker was stopped

    def run(self) -> None:
        """Raises what the user's Ctrl-C raises; everything recorded until then stays."""
        for trial in self.journal.trials:
            self.proposer.draws[trial.tid] = dict(trial.draw)
        while True:
            if self._fill():
                return
            if not self.running:  # the workers are still preparing themselves
                time.sleep(WORKER_TICK)
            done, _ = wait(self.running, timeout=CLOCK_TICK, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda one: self.running[one].tid):
                self._collect(future)
            self._kill_late()
            if self.on_tick is not None:
                self.on_tick()

    def standings(self) -> list[Standing]:
        """What every trial has reached, in the order of their ids."""
        found = {
            t.tid: Standing(t.tid, t.losses, failed=t.state is TrialState.FAILED) for t in self.journal.trials
        }
        for trial in (*self.running.values(), *self._retries):
            found[trial.tid] = Standing(trial.tid, trial.losses, running=True)
        return [found[tid] for tid in sorted(found)]

    def _fill(self) -> bool:
        """Starts legs while workers are free; whether the rules want no more and none is running."""
        while True:
            if self._retries and self.pool.free:
                self._submit(self._retries.pop(0))
                continue
            decision = decide(self.standings(), self.rules, self.clock(), self._needed)
            if decision.act in (Act.WAIT, Act.STOP) or not self.pool.free:
                return decision.act is Act.STOP
            self._submit(self._new(decision.tid) if decision.act is Act.START else self._paused(decision.tid))

    def _needed(self, reached: int) -> float:
        if self.trial_seconds is None:
            return 0.0
        leg = self.trial_seconds * self.rules.ladder.leg(reached)
        return seconds_needed(leg, self._durations.get(reached, [])[-RECENT:])

    def _new(self, tid: int) -> Trial:
        self._tell()
        known = known_to(tid, self.rules.workers) if self.rules.in_order else None
        _, point = self.proposer.ask(tid, known)
        draw, known_lines = self.proposer.draws[tid], len(self.journal.lines)
        refused = [one.why for one in self.proposer.refused.get(tid, [])]
        return Trial(tid=tid, point=point, draw=draw, known=known_lines, refused=refused)

    def _tell(self) -> None:
        """Hands the proposer a loss for each trial: what it would reach at the end, as far as one can tell."""
        standings = self.standings()
        for tid, loss in levelled(standings, self.rules.ladder).items():
            self.proposer.tell(tid, loss)
        for trial in standings:
            if trial.failed:
                self.proposer.tell(trial.tid, None)

    def _paused(self, tid: int) -> Trial:
        return next(trial for trial in self.journal.trials if trial.tid == tid)

    def _submit(self, trial: Trial) -> None:
        begun = round(self.clock(), 3)
        future = self.pool.submit(self.function, self.make_task(trial))
        worker = self.pool.worker_of(future)
        leg = {"rung": len(trial.losses), "worker": worker, "started": begun}
        first = begun if trial.started is None else trial.started
        self.running[future] = replace(
            trial, started=first, worker=worker, state=TrialState.RUNNING, legs=[*trial.legs, leg]
        )

    def _collect(self, future: Future) -> None:
        trial = self.running.pop(future)
        ended = self._with_leg(trial, future)
        if ended.state is TrialState.RUNNING:
            self._retries.append(ended)
            return
        self.journal.add(ended)
        if self.on_trial is not None:
            self.on_trial(ended)

    def _with_leg(self, trial: Trial, future: Future) -> Trial:
        """The trial with what its worker answered, or with the reason why there is no answer."""
        leg = {
            **trial.legs[-1],
            "ended": round(self.clock(), 3),
            "seconds": None,
            "steps": None,
            "loss": None,
        }
        late, error = future in self._late, future.exception()
        if late or isinstance(error, BrokenProcessPool):
            self._cold.add(leg["worker"])
            return self._without_answer(trial, leg, LATE if late else DIED)
        if isinstance(error, StorageError):  # its trial has not failed, and the others would meet it too
            raise error
        if error is not None:
            reason = f"crashed: {type(error).__name__}: {error}"
            return _failed(trial, leg, reason)
        ended = _with_answer(trial, leg, future.result(), self.rules.ladder.top)
        self._note_duration(ended)
        return ended

    def _without_answer(self, trial: Trial, leg: dict[str, Any], reason: str) -> Trial:
        """Once more, if there is time and it is the first time; a trial that is at a rung stays there."""
        is_first_loss = len(trial.legs) == len(trial.losses) + 1
        end = self.rules.search_end
        in_time = end is None or self.clock() + self._needed(leg["rung"]) <= end
        if is_first_loss and in_time:
            return replace(trial, legs=[*trial.legs[:-1], {**leg, "reason": reason}])
        if trial.losses and not in_time:
            return replace(_failed(trial, leg, reason), state=TrialState.PAUSED, reason=None)
        return _failed(trial, leg, reason)

    def _note_duration(self, trial: Trial) -> None:
        """A new worker's first leg also loads what the others have, and says nothing of the next."""
        leg = trial.legs[-1]
        if leg["loss"] is not None:
            if leg["worker"] not in self._cold:
                self._durations.setdefault(leg["rung"], []).append(leg["ended"] - leg["started"])
            self._cold.discard(leg["worker"])

    def _kill_late(self) -> None:
        for future, trial in list(self.running.items()):
            leg = trial.legs[-1]
            share = self.rules.ladder.leg(leg["rung"])
            length = None if self.trial_seconds is None else share * self.trial_seconds
            end = leg["started"] + seconds_allowed(length, warm=leg["worker"] not in self._cold)
            if self.rules.search_end is not None:
                end = min(end, self.rules.search_end)
            if self.clock() > end and not future.done():
                self._late.add(future)
                self.pool.kill(future)


def _failed(trial: Trial, leg: dict[str, Any], reason: str) -> Trial:
    legs = [*trial.legs[:-1], {**leg, "reason": reason}]
    return replace(trial, state=TrialState.FAILED, reason=reason, loss=None, legs=legs, ended=leg["ended"])


def _with_answer(trial: Trial, leg: dict[str, Any], answer: Any, top: int) -> Trial:
    if not isinstance(answer, dict):
        return _failed(trial, leg, f"answered {type(answer).__name__} instead of a dict with a loss")
    facts = ("n_parameters", "tokens_per_second")
    trial = replace(trial, **{name: answer[name] for name in facts if answer.get(name) is not None})
    offset = trial.seconds or 0.0
    points = [[round(offset + x, 3), y] for x, y in answer.get("curve", []) if is_loss(x) and is_loss(y)]
    amounts = {name: answer[name] for name in FACTS if answer.get(name) is not None}
    sums = {name: value + (getattr(trial, name) or 0) for name, value in amounts.items()}
    trial, leg = replace(trial, **sums, curve=[*trial.curve, *points]), {**leg, **amounts}
    loss = answer.get("loss")
    if not is_loss(loss):
        return _failed(trial, leg, answer.get("reason") or f"the loss was {loss!r}, not a finite number")
    assert loss is not None
    best = (
        min(float(loss), *trial.losses) if trial.losses else float(loss)
    )  # a trial is as good as its best weights
    state = TrialState.OK if leg["rung"] >= top else TrialState.PAUSED
    legs = [*trial.legs[:-1], {**leg, "loss": best, "reason": None}]
    return replace(trial, state=state, loss=best, reason=None, legs=legs, ended=leg["ended"])


def best_trial(trials: list[Trial]) -> Trial | None:
    """The trial with the lowest loss that was measured, the earliest among equals; failed ones are out."""
    able = [trial for trial in trials if trial.losses and trial.state is not TrialState.FAILED]
    return min(able, key=lambda trial: (min(trial.losses), trial.tid), default=None)
