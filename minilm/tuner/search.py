"""The search: asks for points, hands them to workers, records what comes back, until the rules say stop.

It joins `propose`, `decide`, `records` and a pool, and knows neither torch nor what a trial computes: the
function, the pool and the clock are given. A worker that dies, hangs or answers nonsense is a failed trial
with a reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from typing import Any

from minilm.tuner.decide import Act, Rules, decide, known_to, seconds_allowed, seconds_needed
from minilm.tuner.propose import Proposer, is_loss
from minilm.tuner.records import Journal, Trial, TrialState
from minilm.tuner.space import Point
from minilm.tuner.workers import Pool

LATE = "stopped: too slow for the time left"
TICK, SOON = 0.5, 0.05  # seconds between two looks at the clock, at the workers
RECENT = 8  # trials whose durations tell how long the next one takes

OnTrial = Callable[[Trial], None]
MakeTask = Callable[[int, Point], Any]


@dataclass
class Search:
    """One sitting of a study. `run()` returns when the rules allow no more trials and none is running.

    `function` is what workers run on `make_task(tid, point)`; it returns a dict with `loss`. `clock` gives
    seconds since the study began.
    """

    proposer: Proposer
    pool: Pool
    journal: Journal
    rules: Rules
    function: Callable[[Any], dict[str, Any]]
    make_task: MakeTask
    clock: Callable[[], float] = time.monotonic
    trial_seconds: float | None = None  # None: a trial's budget is steps
    on_trial: OnTrial | None = None
    on_tick: Callable[[], None] | None = None
    running: dict[Future, Trial] = field(default_factory=dict)
    _spent: list[float] = field(default_factory=list)  # seconds from start to end, of trials that succeeded
    _cold: set[int] = field(
        default_factory=set
    )  # workers that replace a dead one and have ended no trial yet
    _late: set[int] = field(default_factory=set)  # trials whose worker was stopped

    def run(self) -> None:
        """Raises what the user's Ctrl-C raises; everything recorded until then stays."""
        self._remember()
        while True:
            if self._fill():
                return
            if not self.running:  # the workers are still preparing themselves
                time.sleep(SOON)
            done, _ = wait(self.running, timeout=TICK, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda one: self.running[one].tid):
                self._collect(future)
            self._kill_late()
            if self.on_tick is not None:
                self.on_tick()

    def _remember(self) -> None:
        for trial in self.journal.trials:
            self.proposer.replay(trial.tid, trial.draw, trial.loss)

    def _fill(self) -> bool:
        """Starts trials while workers are free; whether the rules want no more and none is running."""
        while True:
            ended = [trial.tid for trial in self.journal.trials]
            running = [trial.tid for trial in self.running.values()]
            decision = decide(ended, running, self.rules, self.clock(), self._needed())
            if decision.act is not Act.START or not self.pool.free:
                return decision.act is Act.STOP
            self._start(decision.tid)

    def _needed(self) -> float:
        if self.trial_seconds is None:
            return 0.0
        return seconds_needed(self.trial_seconds, self._spent[-RECENT:])

    def _start(self, tid: int) -> None:
        known = known_to(tid, self.rules.workers) if self.rules.in_order else None
        _, point = self.proposer.ask(tid, known)
        started = round(self.clock(), 3)
        future = self.pool.submit(self.function, self.make_task(tid, point))
        self.running[future] = Trial(
            tid=tid,
            point=point,
            draw=self.proposer.draws[tid],
            known=len(self.journal.trials),
            worker=self.pool.worker_of(future),
            started=started,
        )

    def _collect(self, future: Future) -> None:
        trial = self.running.pop(future)
        ended = self._judged(trial, future)
        self._note_duration(ended)
        self.journal.add(ended)
        self.proposer.tell(ended.tid, ended.loss)
        if self.on_trial is not None:
            self.on_trial(ended)

    def _note_duration(self, trial: Trial) -> None:
        """A new worker's first trial also loads what the others have, and says nothing of the next."""
        assert trial.worker is not None and trial.started is not None and trial.ended is not None
        if trial.state is TrialState.OK:
            if trial.worker not in self._cold:
                self._spent.append(trial.ended - trial.started)
            self._cold.discard(trial.worker)

    def _judged(self, trial: Trial, future: Future) -> Trial:
        """The trial with what its worker answered, or with the reason why there is no answer."""
        trial = replace(trial, ended=round(self.clock(), 3), state=TrialState.FAILED)
        error = future.exception()
        if trial.tid in self._late:
            return replace(trial, reason=LATE)
        if isinstance(error, BrokenProcessPool):
            self._cold.add(trial.worker or 0)
            return replace(trial, reason="its worker died; out of memory, or killed from outside")
        if error is not None:
            return replace(trial, reason=f"crashed: {type(error).__name__}: {error}")
        return _with_answer(trial, future.result())

    def _kill_late(self) -> None:
        for future, trial in list(self.running.items()):
            allowed = seconds_allowed(self.trial_seconds, warm=trial.worker not in self._cold)
            end = (trial.started or 0.0) + allowed
            if self.rules.search_end is not None:
                end = min(end, self.rules.search_end)
            if self.clock() > end and not future.done():
                self._late.add(trial.tid)
                self._cold.add(trial.worker or 0)
                self.pool.kill(future)


def _with_answer(trial: Trial, answer: Any) -> Trial:
    if not isinstance(answer, dict):
        return replace(trial, reason=f"answered {type(answer).__name__} instead of a dict with a loss")
    facts = ("n_parameters", "steps", "seconds", "tokens_per_second", "reason")
    trial = replace(trial, **{name: answer[name] for name in facts if answer.get(name) is not None})
    trial = replace(trial, curve=[[x, y] for x, y in answer.get("curve", []) if is_loss(x) and is_loss(y)])
    loss = answer.get("loss")
    if not is_loss(loss):
        return replace(trial, reason=trial.reason or f"the loss was {loss!r}, not a finite number")
    assert loss is not None
    return replace(trial, state=TrialState.OK, loss=float(loss), reason=None)


def best_trial(trials: list[Trial], margin: float = 0.0) -> Trial | None:
    """The lowest loss wins; the default recipe, trial 0, unless another is better by more than `margin`."""
    done = [trial for trial in trials if trial.state is TrialState.OK]
    if not done:
        return None
    best = min(done, key=lambda trial: (trial.loss, trial.tid))
    default = next((trial for trial in done if trial.tid == 0), None)
    if default is not None and best.loss is not None and default.loss is not None:
        return best if best.loss < default.loss - margin else default
    return best
