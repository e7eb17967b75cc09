"""Holds the settings of a study, which its first trial fixes: the text, the space, the budget of a trial, the seed.

They are written to study.json and read back on resume. What a user may ask for is checked here too. No torch, no clock.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Any

from minilm.config import default_recipe
from minilm.errors import ConfigError, did_you_mean
from minilm.tuner.algorithms import ALGORITHMS
from minilm.tuner.rungs import SCHEDULERS, Ladder
from minilm.tuner.space import DEFAULT_TID, FITTED_TID, Limits

TRIAL_STEPS = 200
EVALUATIONS = 8  # of a full training
EVALUATION_SHARE = 0.1  # of a trial's work, for its evaluations
FORWARD_SHARE = (
    1 / 3
)  # of a training step's work: to evaluate a character costs a third of a step's work on it
CHARS_PER_SECOND = 250  # of a full training: a CPU core evaluates as many EVALUATIONS times in a tenth of it
EARLY_SHARE = 0.5  # of the minutes; the study's first line says where a text is used up before
FEWEST_CHARS = 4000  # an estimate from less would choose by luck


@dataclass(frozen=True)
class Budget:
    """What a fully trained trial gets: `steps`, or `seconds` of training; `chars` scored in each evaluation."""

    steps: int | None = None
    seconds: float | None = None
    chars: int | None = None  # None: as many as a tenth of the work pays for

    @property
    def eval_chars(self) -> int:
        """Characters per evaluation, the same for every trial so that losses compare."""
        return self.chars or max(FEWEST_CHARS, self._affordable_chars())

    def _affordable_chars(self) -> int:
        if self.seconds is not None:
            return int(CHARS_PER_SECOND * self.seconds)
        model, train = default_recipe()
        trained = (self.steps or 0) * train.batch_size * model.block_size
        return int(EVALUATION_SHARE / FORWARD_SHARE * trained / EVALUATIONS)

    def text(self) -> str:
        return f"{self.steps} steps" if self.seconds is None else f"{self.seconds:g} s"


@dataclass(frozen=True)
class Settings:
    """The content of study.json."""

    corpus: dict[str, Any]  # Corpus.describe()
    space: str  # SearchSpace.text
    limits: Limits
    budget: Budget
    algo: str
    seed: int
    workers: int
    device: str
    minutes: float | None = None
    trials: int | None = None
    scheduler: str = "none"  # a key of rungs.SCHEDULERS
    rungs: tuple[float, ...] = (1.0,)  # shares of a full training at which a trial pauses
    threads: int = 1  # of a worker
    pace: dict[str, float] = field(default_factory=dict)  # threads -> seconds of the default recipe's step
    engine: str | None = None  # dask://host:port where no local processes train
    fitted: dict[str, Any] | None = None  # the recipe for these minutes, where it is another than the default
    enough: float | None = None  # seconds of its training that use the text up, see sizing.useful_tokens

    @property
    def incumbent(self) -> int:
        """The trial whose recipe trains all along."""
        return DEFAULT_TID if self.fitted is None else FITTED_TID

    @property
    def ladder(self) -> Ladder:
        return Ladder(self.rungs)

    @property
    def races(self) -> bool:
        """Whether a worker is spared for the incumbent's long training."""
        return self.minutes is not None and (self.workers > 1 or self.engine is not None)

    def to_dict(self) -> dict[str, Any]:
        parts = {"limits": vars(self.limits), "budget": vars(self.budget)}
        return {**vars(self), **{name: dict(part) for name, part in parts.items()}}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Settings:
        kept = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        parts = {"limits": Limits(**values["limits"]), "budget": Budget(**values["budget"])}
        return cls(**{**kept, **parts, "rungs": tuple(values["rungs"])})

    def _pauses(self) -> str:
        if len(self.rungs) == 1:
            return ""
        shares = " and ".join(f"{share:.0%}" for share in self.rungs[:-1])
        return f" with pauses at {shares} ({self.scheduler})"

    def _why(self) -> str:
        if self.engine is not None:
            return "a call at a time on each"
        if self.device != "cpu":
            return "small models leave a GPU idle, so they share it"
        if len(self.pace) < 2:
            return "trainings side by side on a core each beat one on all cores"
        one, every = (self.pace[threads] for threads in sorted(self.pace, key=int))
        cores = max(map(int, self.pace))
        return f"measured: {cores / one:.0f} steps a second side by side, {1 / every:.0f} with all threads on one"

    def _fitted_text(self) -> str:
        assert self.fitted is not None
        names = ("num_layers", "hidden_size", "block_size", "batch_size")
        layers, width, context, batch = (self.fitted[name] for name in names)
        return f"what fits these minutes ({layers} layers, {width} wide, context {context}, batch {batch})"

    def text(self) -> str:
        """Workers, threads and why, in one line."""
        workers = f"{self.workers} worker{'s' * (self.workers > 1)} x {self.threads} thread{'s' * (self.threads > 1)}"
        why = self._why()
        if self.races:
            which = "the default recipe" if self.fitted is None else self._fitted_text()
            why += f"; one of them trains {which} all along"
        if self.enough is not None and self.enough < EARLY_SHARE * 60 * (self.minutes or 0.0):
            why += f"; {self.enough:.0f} s of training use this text up, so the search gets more time"
        trial = f"{self.budget.text()} per trial{self._pauses()}"
        return f"{workers} on {self.engine or self.device}, {trial}, {self.algo} ({why})"


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

    @property
    def engine(self) -> str | None:
        return self.workers if isinstance(self.workers, str) else None

    def checked(self) -> Request:
        """This request, or a ConfigError for what no study can do, before anything is loaded or written."""
        check_request(self.minutes, self.trials, self.algo, self.workers, self.seed)
        if self.scheduler is not None and self.scheduler not in SCHEDULERS:
            raise ConfigError(
                f"unknown scheduler {self.scheduler!r}, {did_you_mean(self.scheduler, SCHEDULERS)}"
            )
        return replace(self, workers=deterministic_workers(self)) if self.deterministic else self


def check_request(
    minutes: float | None, trials: int | None, algo: str, workers: int | str | None, seed: int
) -> None:
    """Refuses numbers and names that no study can have, new or continued."""
    if (minutes is None) == (trials is None):
        raise ConfigError(f"give minutes or trials, one of them, got minutes={minutes} and trials={trials}")
    if minutes is not None and not 0 < minutes < float("inf"):
        raise ConfigError(f"minutes must be a number above 0, got {minutes}; 3 is the default")
    if trials is not None and trials < 1:
        raise ConfigError(f"trials must be at least 1, got {trials}; 20 is a start")
    if isinstance(workers, int) and not 1 <= workers <= 1024:
        raise ConfigError(f"workers must be from 1 to 1024, got {workers}; leave it out for one per core")
    if not 0 <= seed < 2**63:
        raise ConfigError(f"seed must be from 0 to 2**63 - 1, got {seed}")
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
        raise ConfigError(f"MINILM_TRIAL_STEPS must be a whole number from 1 up, got {given!r}")
    return int(given)
