"""Lab 5, tuning: tasks, hints and cases."""

from __future__ import annotations

from typing import Any

from minilm.classroom.lab import Case, Lab, Task, case
from minilm.classroom.labs.lab5.recorded import TABLE
from minilm.classroom.plain import numbers


def unit(*shape: int, seed: int) -> list[Any]:
    """Coordinates between 0 and 1."""
    values = numbers(*shape, seed=seed)["values"]
    return [[round(x / 4 + 0.5, 3) for x in row] for row in values]


def losses(count: int, seed: int, failed: tuple[int, ...] = ()) -> list[float | None]:
    """Losses around 2, all different, None at the places that failed."""
    values = numbers(count, seed=seed)["values"]
    return [None if n in failed else round(2 + x / 4 + n / 1e4, 4) for n, x in enumerate(values)]


def table(count: int, seed: int, failed: tuple[int, ...] = ()) -> dict[str, Any]:
    """A made-up table: the loss is the distance from a good place, and some luck."""
    points, luck = unit(count, 2, seed=seed), unit(count, 1, seed=seed + 1)
    valley = [1 + abs(x - 0.3) + abs(y - 0.7) + 0.1 * z for (x, y), (z,) in zip(points, luck, strict=True)]
    return {
        "points": points,
        "losses": [None if n in failed else round(v, 4) for n, v in enumerate(valley)],
    }


def twins(count: int, seed: int) -> dict[str, Any]:
    """A table in which every point stands twice, with a loss of its own, so that scores are equal."""
    once, again = table(count, seed), table(count, seed + 5)
    return {"points": [*once["points"], *once["points"]], "losses": [*once["losses"], *again["losses"]]}


def shuffled(count: int, seed: int) -> list[int]:
    """All numbers below `count`, in an order that is the same everywhere."""
    keys = numbers(count, seed=seed)["values"]
    return sorted(range(count), key=lambda n: (keys[n], n))


def told(title: str, rate: float, width: int, edge: bool = False, public: bool = False) -> Case:
    """What the objective tells of one point."""
    point = {"learning_rate": rate, "hidden_size": width}
    return case(title, ("objective", (point,)), edge=edge, public=public)


def report(default: list[float], tuned: list[float], counting: float, trials: list[float | None]) -> Any:
    return {"default": default, "tuned": tuned, "counting": counting, "trials": trials}


INTERRUPTED = {"learning_rate": 0.01, "hidden_size": 0}
CLEAR = report([1.71, 1.69, 1.73], [1.52, 1.55, 1.50], 1.66, [1.7, None, 1.6, 1.55, None, 1.5])
NOISY = report([1.52, 1.66, 1.58], [1.50, 1.63, 1.49], 1.50, [1.8, 1.7, 1.55, 1.6])
WORSE = report([1.40, 1.41, 1.42, 1.43], [1.60, 1.58], 1.45, [None, None, None, 1.6])
EQUAL = report([1.5, 1.5], [1.5, 1.5], 1.5, [1.5, 1.5])
NOTHING = report([0.5, 0.25], [0.125, 0.0], 0.5, [0.0, None, 0.25, 0.0])
SLIGHT = report([1.500, 1.502], [1.481, 1.483, 1.482], 1.7, [1.5, 1.49, None, 1.48, 1.481])

LAB = Lab(
    "lab5",
    "Tuning",
    (
        Task(
            "log_uniform",
            "every factor equally likely",
            2,
            10,
            2,
            "a list of numbers",
            (
                "Which number lies halfway between 0.001 and 0.1, if factors count?",
                "Go halfway between the logarithms, then come back with exp.",
                "exp(log(low) + u (log(high) - log(low))), which is low * (high / low) ** u.",
            ),
            (
                case("halfway", ("log_uniform", ([0.5], 0.001, 0.1)), public=True),
                case("learning rates", ("log_uniform", ([0.1, 0.25, 0.6, 0.9], 0.001, 0.3)), public=True),
                case("the ends", ("log_uniform", ([0.0, 1.0], 1e-5, 0.2))),
                case("above one", ("log_uniform", ([0.2, 0.7], 2.0, 512.0))),
            ),
        ),
        Task(
            "space",
            "a space for Hyperopt",
            3,
            20,
            2,
            "a dictionary of Hyperopt's expressions",
            (
                "Are the bounds of hp.loguniform rates, or logarithms of rates?",
                "hp.loguniform for the rate, hp.choice for a few numbers, hp.quniform for multiples.",
                'hp.loguniform("learning_rate", math.log(0.001), math.log(0.3)), the name once in the call too.',
            ),
            (
                case("layers and widths", ("portrait", ()), public=True),
                case("once more", ("portrait", ())),
            ),
        ),
        Task(
            "objective",
            "failures included",
            4,
            25,
            3,
            "a dictionary for Hyperopt",
            (
                "In how many ways can a training go wrong, and which of them raise an error?",
                "try ... except Exception around the training, then math.isfinite.",
                'One return {"loss": loss, "status": "ok"} for a finite loss, {"status": "fail"} everywhere else.',
            ),
            (
                told("a training", 0.01, 64, public=True),
                told("another one", 0.003, 128),
                told("not a number", 0.7, 64, public=True),
                told("too large", 0.01, 8192, public=True),
                told("far too large a rate", 3.0, 32, public=True),
                told("infinite", 2.0, 96),
                told("minus infinity", -0.1, 64, edge=True, public=True),
                case("Ctrl-C", ("stops", (INTERRUPTED,)), edge=True, public=True),
            ),
        ),
        Task(
            "best_so_far",
            "the curve of a search",
            2,
            10,
            1,
            "a list as long as the trials",
            (
                "What does a trial that is worse than the best one change?",
                "Go through the list once and remember the lowest loss.",
                "Append the remembered loss for every trial, failed ones too; it starts as None.",
            ),
            (
                case("five trials", ("best_so_far", ([2.0, 2.5, 1.8, 1.9, 1.7],)), public=True),
                case("one failed", ("best_so_far", ([2.0, None, 1.5, None, 1.6],)), public=True),
                case("many", ("best_so_far", (losses(12, 1, (4, 5, 9)),))),
                case("a loss of nothing", ("best_so_far", ([0.5, 0.0, 0.25, None],)), edge=True, public=True),
                case("nothing at once", ("best_so_far", ([0.0, 0.5],)), edge=True, public=True),
                case("the first failed", ("best_so_far", ([None, None, 1.5, 1.4],)), edge=True, public=True),
                case("all failed", ("best_so_far", ([None, None],)), edge=True, public=True),
            ),
        ),
        Task(
            "split",
            "the good and the bad",
            3,
            20,
            3,
            "(good, bad), two lists of trial numbers",
            (
                "How many of 16 trials are good with gamma 0.5?",
                "Sort the numbers of the trials that did not fail by their losses; take the first few.",
                "sorted((loss, trial) for ... if loss is not None)[:n], n = math.ceil(gamma * math.sqrt(len(losses))).",
            ),
            (
                case("nine trials", ("split", (losses(9, 2), 0.5)), public=True),
                case("some failed", ("split", (losses(10, 3, (0, 6)), 1.0)), public=True),
                case("others", ("split", (losses(20, 4, (3, 11)), 0.6))),
                case("Hyperopt's gamma", ("split", (losses(30, 5, (7,)), 0.25))),
                case(
                    "a loss of nothing",
                    ("split", ([0.5, 0.0, 0.25, None, 0.75], 0.8)),
                    edge=True,
                    public=True,
                ),
                case("equal losses", ("split", ([1.5, 1.4, 1.5, 1.5, 1.6], 0.8)), edge=True, public=True),
                case("hardly any left", ("split", ([None, 1.5, None, None], 1.0)), edge=True, public=True),
            ),
        ),
        Task(
            "score",
            "which place looks good",
            5,
            30,
            4,
            "one number",
            (
                "Where must the score be high: near the good points, or near the bad ones?",
                "For one coordinate: the sum of the Gaussians, plus 1, divided by 1 + how many; then its logarithm.",
                "math.exp(-(((x - p) / width) ** 2) / 2) / (width * math.sqrt(2 * math.pi)) is one Gaussian.",
            ),
            (
                case("one coordinate", ("score", ([0.5], [[0.4]], [[0.9], [0.1]], 0.2)), public=True),
                case(
                    "two coordinates", ("score", ([0.2, 0.7], [[0.3, 0.6]], [[0.9, 0.1]], 0.25)), public=True
                ),
                case(
                    "many points",
                    ("score", ([0.3, 0.6, 0.1], unit(4, 3, seed=6), unit(9, 3, seed=7), 0.15)),
                ),
                case("wide", ("score", ([0.8, 0.2], unit(2, 2, seed=8), unit(5, 2, seed=9), 0.5))),
                case("far from all", ("score", ([1.0], [[0.0]], [[0.05], [0.1]], 0.02)), edge=True),
                case("nothing good yet", ("score", ([0.4], [], [[0.5], [0.2]], 0.2)), edge=True),
            ),
        ),
        Task(
            "search",
            "TPE on a table",
            6,
            40,
            5,
            "a list of row numbers",
            (
                "What does the search know when it chooses its next row?",
                "A loop: losses of the rows tried, split, their points, the rows on offer, the highest score.",
                "split gives numbers of trials; trial t is row tried[t], and its point is points[tried[t]].",
            ),
            (
                case(
                    "a dozen rows",
                    ("search", (table(12, 10), shuffled(12, 11), 7, 4, 3)),
                    public=True,
                ),
                case("nine rows", ("search", (table(9, 30), shuffled(9, 31), 7, 4, 3)), public=True),
                case("thirty rows", ("search", (table(30, 12), shuffled(30, 13), 14, 5, 6))),
                case("real trainings", ("search", (TABLE, shuffled(len(TABLE["losses"]), 14), 20, 8, 24))),
                case(
                    "one candidate is random search",
                    ("search", (table(12, 15), shuffled(12, 16), 8, 3, 1)),
                    edge=True,
                    public=True,
                ),
                case(
                    "every row twice",
                    ("search", (twins(10, 19), shuffled(20, 20), 12, 4, 6)),
                    edge=True,
                    public=True,
                ),
                case(
                    "some fail",
                    ("search", (table(20, 17, (2, 5, 9, 12)), shuffled(20, 18), 12, 5, 5)),
                    edge=True,
                    public=True,
                ),
            ),
        ),
        Task(
            "read_report",
            "better, or lucky?",
            5,
            25,
            3,
            "a dictionary with six entries",
            (
                "If you trained the default recipe with another seed, how much would its loss move?",
                "Means, sample variances divided by the number of seeds, and twice the root of their sum.",
                "statistics.fmean and statistics.variance; the verdict compares gain with noise and with -noise.",
            ),
            (
                case("a clear gain", ("read_report", (CLEAR,)), public=True),
                case("a noisy one", ("read_report", (NOISY,)), public=True),
                case("worse", ("read_report", (WORSE,))),
                case("small and sure", ("read_report", (SLIGHT,))),
                case("no difference at all", ("read_report", (EQUAL,)), edge=True, public=True),
                case("a loss of nothing", ("read_report", (NOTHING,)), edge=True, public=True),
            ),
        ),
    ),
    needs="torch, numpy, Hyperopt",
    data=TABLE,
)
