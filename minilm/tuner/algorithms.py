"""Lists the search algorithms by name: Hyperopt's own, ours, and a mixture.

Each is `suggest(new_ids, domain, trials, seed)`, Hyperopt's plug-in signature; `propose` calls them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from hyperopt import Trials
from hyperopt import anneal as anneal_search
from hyperopt import mix as mixed_search
from hyperopt import rand as random_search
from hyperopt import tpe as tpe_search
from hyperopt.base import Domain

from minilm.tuner import genetic


def _anneal(new_ids: Any, domain: Domain, trials: Trials, seed: int) -> Any:
    """Hyperopt's annealing, without its warning where a rounded gene is 0 and has no logarithm: it clips that."""
    with np.errstate(divide="ignore"):
        return anneal_search.suggest(new_ids, domain, trials, seed)


# TPE draws at random until it has seen n_startup_jobs trials; its own 20 are more than most studies here have
ALGORITHMS: dict[str, Callable[..., Any]] = {
    "tpe": partial(tpe_search.suggest, n_startup_jobs=8, verbose=False),
    "random": random_search.suggest,
    "anneal": _anneal,
    "genetic": genetic.suggest,
}
# each proposal is drawn by one of them: where one is stuck, another goes on
MIXTURE = (("tpe", 0.4), ("anneal", 0.25), ("genetic", 0.25), ("random", 0.1))
ALGORITHMS["mix"] = partial(
    mixed_search.suggest, p_suggest=[(share, ALGORITHMS[name]) for name, share in MIXTURE]
)
