"""Measures what a proposal costs beside a long history: asking, telling, recording, Hyperopt's own part taken out.

A study of random points is told up to `--trials`; then each part is timed many times, in turns. `suggest` is Hyperopt's
algorithm alone on a history that stands ready, which nobody but Hyperopt can shorten; `ours` is everything else.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import common
import numpy as np


def study(trials: int, algo: str) -> tuple[object, object]:
    """A proposer with so many ended trials, and their journal in a temporary folder."""
    from minilm.tuner.propose import Proposer, SearchSpace
    from minilm.tuner.space import DEFAULT_POINT, SPACE

    rng = np.random.default_rng(0)
    proposer = Proposer(SearchSpace.of(SPACE, DEFAULT_POINT), "random", seed=0)
    for _ in range(trials):
        tid, _ = proposer.ask()
        proposer.tell(tid, float(rng.normal(2.0, 0.1)) if rng.random() < 0.9 else None)
    proposer.algo = algo
    return proposer


def measure(arguments: argparse.Namespace, trials: int) -> None:
    from minilm.tuner.propose import ALGORITHMS, hyperopt_trials, seed_of
    from minilm.tuner.records import Journal, Trial, TrialState
    from minilm.tuner.rungs import SCHEDULERS, Ladder, Standing

    proposer = study(trials, arguments.algo)
    space, tid = proposer.space, trials
    ready = hyperopt_trials(space, proposer.history())
    rng = np.random.default_rng(1)
    standings = [Standing(t, tuple(rng.normal(2, 0.1, rng.integers(1, 4)))) for t in range(trials)]
    suggest, seed = ALGORITHMS[arguments.algo], seed_of(0, tid)
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder))
        point = space.point(proposer.draws[1])
        ended = Trial(tid, point, proposer.draws[1], state=TrialState.OK, loss=2.0)
        sides = {
            "ask": lambda: common.seconds(lambda: proposer.ask(tid)),
            "suggest alone": lambda: common.seconds(lambda: suggest([tid], space.domain, ready, seed)),
            "history as documents": lambda: common.seconds(
                lambda: hyperopt_trials(space, proposer.history(but=tid))
            ),
            "tell": lambda: common.seconds(lambda: proposer.tell(0, 2.0)),
            "record": lambda: common.seconds(lambda: journal.add(ended)),
            "whom to promote": lambda: common.seconds(lambda: SCHEDULERS["asha"](standings, Ladder())),
        }
        values = common.in_turns(sides, arguments.rounds)
    values["ours"] = [
        ask + tell + record + promote - alone
        for ask, alone, _, tell, record, promote in zip(*values.values(), strict=True)
    ]
    milliseconds = {name: [1000 * value for value in taken] for name, taken in values.items()}
    common.report(f"a proposal after {trials} trials, {arguments.algo}", milliseconds, "ms", arguments)


def main() -> None:
    parser = common.parser(__doc__ or "")
    parser.set_defaults(rounds=15)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--algo", default="tpe")
    arguments = parser.parse_args()
    for trials in arguments.trials:
        measure(arguments, trials)


if __name__ == "__main__":
    main()
