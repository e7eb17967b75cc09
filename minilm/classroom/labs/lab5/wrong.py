"""Known mistakes of lab 5. Each docstring is what a student who made it is told."""

from __future__ import annotations

import math
import statistics
from typing import Any

from minilm.classroom.labs.lab5.solution import (
    best_so_far,
    log_uniform,
    objective,
    read_report,
    score,
    space,
    split,
    training,
)


def log_uniform__linear(u: list[float], low: float, high: float) -> list[float]:
    """Your numbers are uniform, not log-uniform: most of them lie near the upper end. Multiply instead of adding:
    low times a power of high / low."""
    return [low + x * (high - low) for x in u]


def log_uniform__logarithms(u: list[float], low: float, high: float) -> list[float]:
    """You return the logarithms of the numbers; take exp of them at the end."""
    return [math.log(value) for value in log_uniform(u, low, high)]


def log_uniform__bounds_are_logarithms(u: list[float], low: float, high: float) -> list[float]:
    """You take low and high for logarithms, as hp.loguniform does. Here they are the ends themselves: take their
    logarithm first."""
    return [math.exp(low + x * (high - low)) for x in u]


def log_uniform__two_bases(u: list[float], low: float, high: float) -> list[float]:
    """You mix two logarithms: what log10 made small, only a power of 10 brings back; exp belongs to the natural log."""
    return [math.exp(math.log10(low) + x * (math.log10(high) - math.log10(low))) for x in u]


def log_uniform__upside_down(u: list[float], low: float, high: float) -> list[float]:
    """Your 0 gives the upper end and your 1 the lower one."""
    return log_uniform([1 - x for x in u], low, high)


def space__bounds_not_logarithms() -> dict[str, Any]:
    """hp.loguniform wants the natural logarithms of the ends: with 0.001 and 0.3 it draws rates from 1.001 to 1.35.
    Write math.log(0.001) and math.log(0.3)."""
    from hyperopt import hp

    return {
        "learning_rate": hp.loguniform("learning_rate", 0.001, 0.3),
        "num_layers": hp.choice("num_layers", [1, 2, 3]),
        "hidden_size": hp.quniform("hidden_size", 32, 256, 32),
    }


def space__linear_rate() -> dict[str, Any]:
    """Your learning rate is uniform: nine of ten draws are above 0.03. hp.loguniform draws every factor equally
    often."""
    from hyperopt import hp

    return {
        "learning_rate": hp.uniform("learning_rate", 0.001, 0.3),
        "num_layers": hp.choice("num_layers", [1, 2, 3]),
        "hidden_size": hp.quniform("hidden_size", 32, 256, 32),
    }


def space__common_logarithms() -> dict[str, Any]:
    """hp.loguniform computes exp, so its bounds are natural logarithms (math.log); with log10 your rates begin at
    0.05."""
    from hyperopt import hp

    return {
        "learning_rate": hp.loguniform("learning_rate", math.log10(0.001), math.log10(0.3)),
        "num_layers": hp.choice("num_layers", [1, 2, 3]),
        "hidden_size": hp.quniform("hidden_size", 32, 256, 32),
    }


def space__places_for_layers() -> dict[str, Any]:
    """Your num_layers is 0, 1 or 2: hp.randint("num_layers", 3) counts from zero. Name both ends, or use hp.choice."""
    from hyperopt import hp

    return {
        "learning_rate": hp.loguniform("learning_rate", math.log(0.001), math.log(0.3)),
        "num_layers": hp.randint("num_layers", 3),
        "hidden_size": hp.quniform("hidden_size", 32, 256, 32),
    }


def space__last_left_out() -> dict[str, Any]:
    """Three layers are never tried: the upper end of hp.randint (and of Python's range) is left out."""
    from hyperopt import hp

    return {
        "learning_rate": hp.loguniform("learning_rate", math.log(0.001), math.log(0.3)),
        "num_layers": hp.randint("num_layers", 1, 3),
        "hidden_size": hp.choice("hidden_size", list(range(32, 257, 32))),
    }


def space__powers_of_two() -> dict[str, Any]:
    """Your widths are powers of two; asked for are all multiples of 32 from 32 to 256, eight of them."""
    from hyperopt import hp

    return {
        "learning_rate": hp.loguniform("learning_rate", math.log(0.001), math.log(0.3)),
        "num_layers": hp.choice("num_layers", [1, 2, 3]),
        "hidden_size": hp.choice("hidden_size", [32, 64, 128, 256]),
    }


def objective__lets_nan_through(point: dict[str, Any]) -> dict[str, Any]:
    """A NaN or an infinite loss leaves your objective with the status "ok". Hyperopt drops NaN silently and proposes
    the same region again, and minus infinity wins for ever: ask math.isfinite."""
    try:
        return {"loss": training(point), "status": "ok"}
    except Exception:
        return {"status": "fail"}


def objective__only_nan(point: dict[str, Any]) -> dict[str, Any]:
    """NaN is caught, infinities are not: math.isfinite sees all three."""
    try:
        loss = training(point)
    except Exception:
        return {"status": "fail"}
    return {"status": "fail"} if math.isnan(loss) else {"loss": loss, "status": "ok"}


def objective__minus_infinity(point: dict[str, Any]) -> dict[str, Any]:
    """A loss of minus infinity counts as a success and would win for ever; it is a fault like the others."""
    try:
        loss = training(point)
    except Exception:
        return {"status": "fail"}
    return {"loss": loss, "status": "ok"} if loss < math.inf else {"status": "fail"}


def objective__penalty(point: dict[str, Any]) -> dict[str, Any]:
    """You report a failed training as a success with a large loss. The number enters TPE's model as if it were
    measured; Hyperopt has a status for failures."""
    try:
        loss = training(point)
    except Exception:
        return {"loss": 1e9, "status": "ok"}
    return {"loss": loss if math.isfinite(loss) else 1e9, "status": "ok"}


def objective__errors_escape(point: dict[str, Any]) -> dict[str, Any]:
    """An error of the training leaves your objective, and Hyperopt stops the whole search. Catch it, and report a
    failure."""
    loss = training(point)
    return {"loss": loss, "status": "ok"} if math.isfinite(loss) else {"status": "fail"}


def objective__swallows_interrupts(point: dict[str, Any]) -> dict[str, Any]:
    """Nobody can stop your search: a bare `except:` also catches Ctrl-C. Write `except Exception:`."""
    try:
        loss = training(point)
    except BaseException:
        return {"status": "fail"}
    return {"loss": loss, "status": "ok"} if math.isfinite(loss) else {"status": "fail"}


def objective__negative(point: dict[str, Any]) -> dict[str, Any]:
    """Your loss has the wrong sign. Hyperopt minimises, so it wants the loss itself."""
    try:
        loss = training(point)
    except Exception:
        return {"status": "fail"}
    return {"loss": -loss, "status": "ok"} if math.isfinite(loss) else {"status": "fail"}


def best_so_far__failures_are_zero(losses: list[float | None]) -> list[float | None]:
    """A failed trial counts as a loss of zero in your curve, and nothing is ever better. Leave it out."""
    return best_so_far([loss or 0.0 for loss in losses])


def best_so_far__highest(losses: list[float | None]) -> list[float | None]:
    """Your curve follows the highest loss; the best one is the lowest."""
    return [
        None if best is None else -best for best in best_so_far([None if x is None else -x for x in losses])
    ]


def best_so_far__of_all(losses: list[float | None]) -> list[float | None]:
    """Every entry of yours is the best of all trials, the later ones included. Entry t may know trials 0 to t only."""
    return best_so_far(losses)[-1:] * len(losses)


def best_so_far__failures_left_out(losses: list[float | None]) -> list[float | None]:
    """Your curve is too short: a failed trial was a trial too, and repeats the best so far."""
    return best_so_far([loss for loss in losses if loss is not None])


def best_so_far__gaps(losses: list[float | None]) -> list[float | None]:
    """Your curve has holes where trials failed; the best so far is still known there."""
    return [
        best if loss is not None else None for loss, best in zip(losses, best_so_far(losses), strict=True)
    ]


def split__highest(losses: list[float | None], gamma: float) -> tuple[list[int], list[int]]:
    """Your good trials are those with the highest losses."""
    return split([None if loss is None else -loss for loss in losses], gamma)


def split__a_share(losses: list[float | None], gamma: float) -> tuple[list[int], list[int]]:
    """You take gamma n good trials; TPE takes gamma times the square root of n, so that the bar rises with time."""
    return split(losses, gamma * math.sqrt(len(losses)))


def split__rounded_down(losses: list[float | None], gamma: float) -> tuple[list[int], list[int]]:
    """You round the number of good trials down; it is rounded up, so that there is always one."""
    return split(losses, math.floor(gamma * math.sqrt(len(losses))) / math.sqrt(len(losses)))


def split__failures_are_good(losses: list[float | None], gamma: float) -> tuple[list[int], list[int]]:
    """Failed trials are among your good ones, as if None were a loss of zero."""
    return split([loss or 0.0 for loss in losses], gamma)


def split__failures_left_out(losses: list[float | None], gamma: float) -> tuple[list[int], list[int]]:
    """Failed trials are in neither of your lists. They are bad ones: that is how TPE learns to stay away."""
    good, bad = split(losses, gamma)
    return good, [trial for trial in bad if losses[trial] is not None]


def split__by_loss(losses: list[float | None], gamma: float) -> tuple[list[int], list[int]]:
    """The right trials, but in the order of their losses; both lists are to be in ascending order of the trials."""
    good, bad = (sorted(part, key=lambda t: losses[t] or math.inf) for part in split(losses, gamma))
    return good, bad


def score__upside_down(
    x: list[float], good: list[list[float]], bad: list[list[float]], width: float
) -> float:
    """Your score has the wrong sign: it is high where the bad points lie. log l comes first, log g is subtracted."""
    return score(x, bad, good, width)


def score__ratio(x: list[float], good: list[list[float]], bad: list[list[float]], width: float) -> float:
    """You return l / g itself; asked for is its logarithm, a sum over the coordinates."""
    return math.exp(score(x, good, bad, width))


def score__no_uniform(x: list[float], good: list[list[float]], bad: list[list[float]], width: float) -> float:
    """The uniform density is missing in your mixtures: far from all points both are zero and their ratio is noise."""
    total = 0.0
    for d, value in enumerate(x):
        for points, sign in ((good, 1), (bad, -1)):
            bells = [math.exp(-(((value - p[d]) / width) ** 2) / 2) for p in points]
            density = sum(bells) / (width * math.sqrt(2 * math.pi)) / max(1, len(points))
            total += sign * math.log(max(density, 1e-300))
    return total


def score__not_normalised(
    x: list[float], good: list[list[float]], bad: list[list[float]], width: float
) -> float:
    """Your Gaussians are no densities: divide each by width sqrt(2 pi), else the uniform one weighs too much."""
    total = 0.0
    for d, value in enumerate(x):
        for points, sign in ((good, 1), (bad, -1)):
            bells = [math.exp(-(((value - p[d]) / width) ** 2) / 2) for p in points]
            total += sign * math.log((1 + sum(bells)) / (1 + len(points)))
    return total


def score__sums(x: list[float], good: list[list[float]], bad: list[list[float]], width: float) -> float:
    """You add the densities up instead of taking their mean: divide by 1 + the number of points, else whichever list is
    longer wins everywhere."""
    extra = math.log(1 + len(good)) - math.log(1 + len(bad))
    return score(x, good, bad, width) + len(x) * extra


def score__all_coordinates_at_once(
    x: list[float], good: list[list[float]], bad: list[list[float]], width: float
) -> float:
    """You use one Gaussian over all coordinates. TPE looks at each coordinate by itself and adds the logarithms up."""
    total = 0.0
    for points, sign in ((good, 1), (bad, -1)):
        squares = [sum(((a - b) / width) ** 2 for a, b in zip(x, p, strict=True)) for p in points]
        bells = [math.exp(-square / 2) / (width * math.sqrt(2 * math.pi)) ** len(x) for square in squares]
        total += sign * math.log((1 + sum(bells)) / (1 + len(points)))
    return total


def score__variance(x: list[float], good: list[list[float]], bad: list[list[float]], width: float) -> float:
    """You take width for the variance; it is the standard deviation: divide by it before you square."""
    total = 0.0
    for d, value in enumerate(x):
        for points, sign in ((good, 1), (bad, -1)):
            bells = [math.exp(-((value - p[d]) ** 2) / width / 2) for p in points]
            density = (1 + sum(bells) / math.sqrt(2 * math.pi * width)) / (1 + len(points))
            total += sign * math.log(density)
    return total


def search__peeks(
    table: dict[str, Any], order: list[int], trials: int, first: int, candidates: int
) -> list[int]:
    """You choose the candidate with the lowest loss, but its loss is known only after it has been trained. Choose by
    score."""
    tried = order[:first]
    while len(tried) < trials:
        offered = [row for row in order if row not in tried][:candidates]
        losses = table["losses"]
        tried = [*tried, min(offered, key=lambda row: (losses[row] is None, losses[row] or 0))]
    return tried


def search__all_losses(
    table: dict[str, Any], order: list[int], trials: int, first: int, candidates: int
) -> list[int]:
    """You split the whole table into good and bad; only the rows tried so far may count."""
    points, losses = table["points"], table["losses"]
    good, bad = split(losses, 0.5)
    near, far = [points[t] for t in good], [points[t] for t in bad]
    tried = order[:first]
    while len(tried) < trials:
        offered = [row for row in order if row not in tried][:candidates]
        tried = [*tried, max(offered, key=lambda row: score(points[row], near, far, 0.2))]
    return tried


def search__random(
    table: dict[str, Any], order: list[int], trials: int, first: int, candidates: int
) -> list[int]:
    """That is random search: you take the rows as they come and never ask for a score."""
    return order[:trials]


def search__lowest_score(
    table: dict[str, Any], order: list[int], trials: int, first: int, candidates: int
) -> list[int]:
    """You take the candidate with the lowest score, the one that looks most like the bad points."""
    points, losses = table["points"], table["losses"]
    tried = order[:first]
    while len(tried) < trials:
        good, bad = split([losses[row] for row in tried], 0.5)
        near, far = [points[tried[t]] for t in good], [points[tried[t]] for t in bad]
        offered = [row for row in order if row not in tried][:candidates]
        tried = [*tried, min(offered, key=lambda row: score(points[row], near, far, 0.2))]
    return tried


def search__trials_are_not_rows(
    table: dict[str, Any], order: list[int], trials: int, first: int, candidates: int
) -> list[int]:
    """`split` answers with numbers of trials, and you use them as rows of the table: trial t is row tried[t]."""
    points, losses = table["points"], table["losses"]
    tried = order[:first]
    while len(tried) < trials:
        good, bad = split([losses[row] for row in tried], 0.5)
        near, far = [points[t] for t in good], [points[t] for t in bad]
        offered = [row for row in order if row not in tried][:candidates]
        tried = [*tried, max(offered, key=lambda row: score(points[row], near, far, 0.2))]
    return tried


def search__again_and_again(
    table: dict[str, Any], order: list[int], trials: int, first: int, candidates: int
) -> list[int]:
    """You offer rows that have been tried already, and try them again; leave them out."""
    points, losses = table["points"], table["losses"]
    tried = order[:first]
    while len(tried) < trials:
        good, bad = split([losses[row] for row in tried], 0.5)
        near, far = [points[tried[t]] for t in good], [points[tried[t]] for t in bad]
        tried = [*tried, max(order[:candidates], key=lambda row: score(points[row], near, far, 0.2))]
    return tried


def read_report__means_only(report: dict[str, Any]) -> dict[str, Any]:
    """Your verdict looks at the means only. A gain smaller than the noise is no gain."""
    found = read_report(report)
    return {**found, "verdict": "better" if found["gain"] > 0 else "worse"}


def read_report__best_seeds(report: dict[str, Any]) -> dict[str, Any]:
    """You compare the luckiest seeds. Compare means: the best of three is luck."""
    found = read_report(report)
    gain = min(report["default"]) - min(report["tuned"])
    verdict = "better" if gain > found["noise"] else "worse" if gain < -found["noise"] else "within the noise"
    return {**found, "gain": gain, "verdict": verdict}


def read_report__wrong_sign(report: dict[str, Any]) -> dict[str, Any]:
    """Your gain has the wrong sign: a lower loss is a gain, so it is default minus tuned."""
    found = read_report(report)
    verdict = {"better": "worse", "worse": "better"}.get(found["verdict"], found["verdict"])
    return {**found, "gain": -found["gain"], "verdict": verdict}


def read_report__population(report: dict[str, Any]) -> dict[str, Any]:
    """You divide by n in the standard deviation. Of a sample it is n - 1: statistics.stdev, not pstdev."""
    found = read_report(report)
    parts = [statistics.pvariance(report[name]) / len(report[name]) for name in ("default", "tuned")]
    noise, gain = 2 * math.sqrt(sum(parts)), found["gain"]
    verdict = "better" if gain > noise else "worse" if gain < -noise else "within the noise"
    return {**found, "noise": noise, "verdict": verdict}


def read_report__of_single_runs(report: dict[str, Any]) -> dict[str, Any]:
    """Your noise is that of single trainings: the mean of n seeds is surer, divide each variance by its n."""
    found = read_report(report)
    noise = 2 * math.sqrt(sum(statistics.variance(report[name]) for name in ("default", "tuned")))
    gain = found["gain"]
    verdict = "better" if gain > noise else "worse" if gain < -noise else "within the noise"
    return {**found, "noise": noise, "verdict": verdict}


def read_report__bits_multiplied(report: dict[str, Any]) -> dict[str, Any]:
    """Nats become bits when divided by log(2), not multiplied: a character needs more bits than nats."""
    return {**read_report(report), "bits": statistics.fmean(report["tuned"]) * math.log(2)}


def read_report__counting_upside_down(report: dict[str, Any]) -> dict[str, Any]:
    """The lower loss is the better one: the tuned model beats counting if its mean is below."""
    found = read_report(report)
    return {**found, "beats_counting": not found["beats_counting"]}


def read_report__share_of_the_finished(report: dict[str, Any]) -> dict[str, Any]:
    """The share of failures is one of all trials, not of those that finished."""
    trials = report["trials"]
    failed = sum(loss is None for loss in trials)
    return {**read_report(report), "failed": failed / max(1, len(trials) - failed)}


def log_uniform__squared(u: list[float], low: float, high: float) -> list[float]:
    """You square u; low numbers become likelier than their factor deserves. The exponent is u itself."""
    return [low * (high / low) ** (x * x) for x in u]


def log_uniform__product(u: list[float], low: float, high: float) -> list[float]:
    """At u = 1 you get low * high; the factor that grows is high / low."""
    return [low * high**x for x in u]


def space__from_zero() -> dict[str, Any]:
    """A width of 0 can be drawn; the smallest is 32."""
    from hyperopt import hp

    return {**space(), "hidden_size": hp.quniform("hidden_size", 0, 256, 32)}


def space__four_layers() -> dict[str, Any]:
    """Four layers can be drawn; there are 1, 2 or 3."""
    from hyperopt import hp

    return {**space(), "num_layers": hp.choice("num_layers", [1, 2, 3, 4])}


def space__half_steps() -> dict[str, Any]:
    """Widths are multiples of 16 here; asked for are multiples of 32."""
    from hyperopt import hp

    return {**space(), "hidden_size": hp.quniform("hidden_size", 32, 256, 16)}


def objective__loss_of_failures(point: dict[str, Any]) -> dict[str, Any]:
    """You tell a loss for a training that failed; Hyperopt would learn from it. Only the status is told then."""
    told = objective(point)
    return told if told["status"] == "ok" else {"loss": 1e9, **told}


def objective__status_true(point: dict[str, Any]) -> dict[str, Any]:
    """The status is a text for Hyperopt, "ok" or "fail", not a truth value."""
    told = objective(point)
    return {**told, "status": told["status"] == "ok"}


def best_so_far__zero_is_none(losses: list[float | None]) -> list[float | None]:
    """A loss of 0.0 counts as false in Python, so you take it for a failure; ask `is not None`."""
    best: float | None = None
    found = []
    for loss in losses:
        if loss and (best is None or loss < best):
            best = loss
        found.append(best)
    return found


def best_so_far__best_zero_lost(losses: list[float | None]) -> list[float | None]:
    """Once the best loss is 0.0 you take the next one, since `not best` is true then; ask `best is None`."""
    best: float | None = None
    found = []
    for loss in losses:
        if loss is not None and (not best or loss < best):
            best = loss
        found.append(best)
    return found


def best_so_far__forgets_at_failures(losses: list[float | None]) -> list[float | None]:
    """After a failure you begin anew; the best of all trials so far stays."""
    best: float | None = None
    found = []
    for loss in losses:
        best = None if loss is None else loss if best is None else min(best, loss)
        found.append(best)
    return found


def best_so_far__of_two(losses: list[float | None]) -> list[float | None]:
    """You compare each trial with the one before only; remember the lowest of all."""
    found: list[float | None] = []
    for place, loss in enumerate(losses):
        pair = [one for one in (loss, losses[place - 1] if place else None) if one is not None]
        found.append(min(pair) if pair else None)
    return found


def split__one_good(losses: list[float | None], gamma: float) -> tuple[list[int], list[int]]:
    """Only one trial is good here; there are ceil(gamma * sqrt(n))."""
    best = split(losses, 1e-9)[0]
    return best, [trial for trial in range(len(losses)) if trial not in best]


def split__root_of_the_product(losses: list[float | None], gamma: float) -> tuple[list[int], list[int]]:
    """You take the root of gamma * n; gamma stands before the root."""
    return split(losses, math.sqrt(gamma))


def split__later_of_equals(losses: list[float | None], gamma: float) -> tuple[list[int], list[int]]:
    """Of equal losses you take the later trials; the earlier ones are good."""
    n = math.ceil(gamma * math.sqrt(len(losses)))
    done = sorted((loss, -trial) for trial, loss in enumerate(losses) if loss is not None)
    good = sorted(-trial for _, trial in done[:n])
    return good, [trial for trial in range(len(losses)) if trial not in good]


def split__zero_is_a_failure(losses: list[float | None], gamma: float) -> tuple[list[int], list[int]]:
    """A loss of 0.0 counts as false in Python, so you take it for a failure; ask `is not None`."""
    return split([loss or None for loss in losses], gamma)


def score__mean_of_coordinates(
    x: list[float], good: list[list[float]], bad: list[list[float]], width: float
) -> float:
    """You average over the coordinates; the logarithms are added up."""
    return score(x, good, bad, width) / len(x)


def score__no_half(x: list[float], good: list[list[float]], bad: list[list[float]], width: float) -> float:
    """The 2 in the exponent is missing: exp(-z^2 / 2)."""
    total = 0.0
    for d, value in enumerate(x):
        for points, sign in ((good, 1), (bad, -1)):
            bells = [math.exp(-(((value - p[d]) / width) ** 2)) for p in points]
            density = (1 + sum(bells) / (width * math.sqrt(2 * math.pi))) / (1 + len(points))
            total += sign * math.log(density)
    return total


def search__last_of_equals(
    table: dict[str, Any], order: list[int], trials: int, first: int, candidates: int
) -> list[int]:
    """Where scores are equal you take the last row; the earliest counts."""
    points, losses = table["points"], table["losses"]
    tried = order[:first]
    while len(tried) < trials:
        good, bad = split([losses[row] for row in tried], 0.5)
        near, far = [points[tried[t]] for t in good], [points[tried[t]] for t in bad]
        offered = [row for row in order if row not in tried][:candidates][::-1]
        tried = [*tried, max(offered, key=lambda row: score(points[row], near, far, 0.2))]
    return tried


def read_report__equal_is_better(report: dict[str, Any]) -> dict[str, Any]:
    """Where gain and noise are equal you say better; the gain must be larger."""
    found = read_report(report)
    return {**found, "verdict": "better" if found["gain"] >= found["noise"] else found["verdict"]}


def read_report__equal_beats_counting(report: dict[str, Any]) -> dict[str, Any]:
    """A tuned mean equal to the counting model's does not beat it; it must be below."""
    return {**read_report(report), "beats_counting": statistics.fmean(report["tuned"]) <= report["counting"]}


def read_report__zero_failed(report: dict[str, Any]) -> dict[str, Any]:
    """A trial with a loss of 0.0 has not failed; ask `is None`, since 0.0 counts as false."""
    trials = report["trials"]
    return {**read_report(report), "failed": sum(not loss for loss in trials) / len(trials)}


def read_report__noise_not_doubled(report: dict[str, Any]) -> dict[str, Any]:
    """The 2 before the root is missing in the noise."""
    found = read_report(report)
    gain, noise = found["gain"], found["noise"] / 2
    verdict = "better" if gain > noise else "worse" if gain < -noise else "within the noise"
    return {**found, "noise": noise, "verdict": verdict}
