"""Holds the settings of a study, which its beginning fixes: the text, the space, the recipe or the budget of a trial.

They are written to study.json and read back on resume. What a user may ask for is checked here too. No torch, no clock.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from minilm.config import TrainConfig, default_recipe
from minilm.errors import ConfigError, did_you_mean
from minilm.tuner.algorithms import ALGORITHMS
from minilm.tuner.rungs import SCHEDULERS, Ladder
from minilm.tuner.space import Limits

TRIAL_STEPS = 200
EVALUATIONS = 8  # of a full training
EVALUATION_SHARE = 0.1  # of a trial's work, for its evaluations
FORWARD_SHARE = 1 / 3  # of a step's work on a character, what it costs to evaluate one
CHARS_PER_SECOND = 250  # of a full training: a CPU core evaluates as many EVALUATIONS times in a tenth of it
FEWEST_EVALUATIONS = 3  # of a final training without a clock; more would cost most of a short one's time
FEWEST_CHARS = 4000  # an estimate from less would choose by luck
DEVICES = ("auto", "cpu", "cuda", "mps")


# What a model may not have that is to go there: Hugging Face's has no architecture with a table of token pairs.
LIBRARIES: dict[str | None, dict[str, Any]] = {None: {}, "huggingface": {"bigrams": False}}


@dataclass(frozen=True)
class TrialBudget:
    """What a fully trained trial gets: `steps`, or `seconds` of training; `chars` scored in each evaluation."""

    steps: int | None = None
    seconds: float | None = None
    chars: int | None = None  # None: as many as a tenth of the work pays for

    @property
    def eval_chars(self) -> int:
        """Characters per evaluation, the same for every trial so that losses compare."""
        if self.chars:
            return self.chars
        if self.seconds is not None:
            return max(FEWEST_CHARS, int(CHARS_PER_SECOND * self.seconds))
        model, train = default_recipe()
        trained = (self.steps or 0) * train.batch_size * model.block_size
        return max(FEWEST_CHARS, int(EVALUATION_SHARE / FORWARD_SHARE * trained / EVALUATIONS))

    def text(self) -> str:
        return f"{self.steps} steps" if self.seconds is None else f"{self.seconds:g} s"


@dataclass(frozen=True)
class Settings:
    """The content of study.json."""

    corpus: dict[str, Any]  # Corpus.describe()
    space: str  # SearchSpace.text, of the trials or of what `fmin` imagined
    limits: Limits
    algo: str
    seed: int
    device: str
    minutes: float | None = None
    trials: int | None = None
    budget: TrialBudget | None = None  # of a trial; None: the study has no trials, the law has chosen
    workers: int = 1
    threads: int = 1  # of a worker
    scheduler: str = "none"  # a key of rungs.SCHEDULERS
    rungs: tuple[float, ...] = (1.0,)  # shares of a full training at which a trial pauses
    engine: str | None = None  # dask://host:port where no local processes train
    chosen: dict[str, Any] | None = (
        None  # by the law: the point, what is expected of it, what else was looked at
    )

    @property
    def ladder(self) -> Ladder:
        return Ladder(self.rungs)

    def to_dict(self) -> dict[str, Any]:
        parts = {"limits": vars(self.limits), "budget": vars(self.budget) if self.budget else None}
        return {**vars(self), **parts}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Settings:
        kept = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        budget = TrialBudget(**values["budget"]) if values["budget"] else None
        parts = {"limits": Limits(**values["limits"]), "budget": budget}
        return cls(**{**kept, **parts, "rungs": tuple(values["rungs"])})

    def text(self) -> str:
        """How the trials run, in one line."""
        assert self.budget is not None
        workers = f"{self.workers} worker{'s' * (self.workers > 1)} x {self.threads} thread{'s' * (self.threads > 1)}"
        shares = " and ".join(f"{share:.0%}" for share in self.rungs[:-1])
        pauses = f" with pauses at {shares} ({self.scheduler})" if shares else ""
        return (
            f"{workers} on {self.engine or self.device}, {self.budget.text()} per trial{pauses}, {self.algo}"
        )


@dataclass(frozen=True)
class Request:
    """What a new study was asked for; `workers` is a number, dask://host:port, or left to the machine."""

    minutes: float | None = None
    trials: int | None = None
    space: Any = None
    algo: str = "tpe"
    workers: int | str | None = None
    seed: int = 0
    scheduler: str | None = None
    deterministic: bool = False
    device: str = "auto"
    library: str | None = None  # a key of LIBRARIES, which the final model must be able to go to

    @property
    def engine(self) -> str | None:
        return self.workers if isinstance(self.workers, str) else None

    @property
    def has_trials(self) -> bool:
        """By minutes the law chooses within the default space; it knows no other."""
        return self.trials is not None or self.space is not None

    def settings(
        self, corpus: dict[str, Any], space: str, limits: Limits, device: str, **more: Any
    ) -> Settings:
        """What the study keeps of it, and `more` of what was decided."""
        return Settings(
            corpus, space, limits, self.algo, self.seed, device, self.minutes, self.trials, **more
        )

    def checked(self) -> Request:
        """This request, or a ConfigError for what no study can do, before anything is loaded or written."""
        check_request(self.minutes, self.trials, self.algo, self.workers, self.seed)
        if self.scheduler is not None and self.scheduler not in SCHEDULERS:
            raise ConfigError(
                f"unknown scheduler {self.scheduler!r}, {did_you_mean(self.scheduler, SCHEDULERS)}"
            )
        if self.library is not None and self.has_trials:
            raise ConfigError(
                f"a study for {self.library} must be one by minutes, got trials or a space; give minutes, or a space "
                "with bigrams=False"
            )
        if self.device not in DEVICES:
            raise ConfigError(f"unknown device {self.device!r}, {did_you_mean(self.device, DEVICES)}")
        return replace(self, workers=deterministic_workers(self)) if self.deterministic else self


def check_request(
    minutes: float | None, trials: int | None, algo: str, workers: int | str | None, seed: int
) -> None:
    """Refuses numbers and names that no study can have, new or continued."""
    if (minutes is None) == (trials is None):
        raise ConfigError(
            f"give minutes or trials, one of them, got minutes={minutes} and trials={trials}; leave one out"
        )
    if minutes is not None and not 0 < minutes < float("inf"):
        raise ConfigError(f"minutes must be a number above 0, got {minutes}; 3 is the default")
    if trials is not None and trials < 1:
        raise ConfigError(f"trials must be at least 1, got {trials}; 20 is a start")
    if isinstance(workers, int) and not 1 <= workers <= 1024:
        raise ConfigError(f"workers must be from 1 to 1024, got {workers}; leave it out for one per core")
    if not 0 <= seed < 2**63:
        raise ConfigError(f"seed must be from 0 to 2**63 - 1, got {seed}; try 0")
    if algo not in ALGORITHMS:
        raise ConfigError(f"unknown search algorithm {algo!r}, {did_you_mean(algo, ALGORITHMS)}")


def deterministic_workers(request: Request) -> int:
    """The one worker of a study that is the same to the bit each time; refuses what cannot be."""
    if request.minutes is not None:
        raise ConfigError(
            "a clock never reads the same twice: a deterministic study counts trials, got minutes="
            f"{request.minutes:g}; give trials instead"
        )
    if request.workers not in (None, 1):
        raise ConfigError(f"a deterministic study has 1 worker, got workers={request.workers}; leave it out")
    return 1


def trial_steps() -> int:
    """Steps of a trial with a fixed budget: MINILM_TRIAL_STEPS, or TRIAL_STEPS."""
    given = os.environ.get("MINILM_TRIAL_STEPS", str(TRIAL_STEPS))
    if not given.isdecimal() or int(given) < 1:
        raise ConfigError(f"MINILM_TRIAL_STEPS must be a whole number from 1 up, got {given!r}; try 200")
    return int(given)


def evaluations_for(tokens: int, chars: int) -> int:
    """How often a training on so many tokens scores a split of so many characters: for half of its own work at most,
    but a few times.

    >>> evaluations_for(100_000, 50_000), evaluations_for(10_000_000, 50_000)
    (3, 20)
    """
    worth = 0.5 * tokens / (FORWARD_SHARE * chars)
    return min(TrainConfig.evaluations, max(FEWEST_EVALUATIONS, round(worth)))
