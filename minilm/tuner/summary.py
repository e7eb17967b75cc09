"""Words a study for a person: the choice, the verdict, the next commands. Terminal and page say the same sentences.

Plain records in, lines and sentences out; it computes nothing that is not in them.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minilm.config import ModelConfig
from minilm.plots.verdict import Sentence, Standing, against_counting, against_floor
from minilm.tuner.budget import TEACHER_PRICE
from minilm.tuner.records import BEST, PAGE

SHORT = {
    "tokens": "tokens",
    "num_layers": "layers",
    "hidden_size": "hidden",
    "learning_rate": "lr",
    "batch_size": "batch",
    "weight_decay": "decay",
    "block_size": "context",
    "bigrams": "table of pairs",
}
# keys of result.json's "compare": what got the same minutes
COMPARED = {"default": "default recipe, same time", "random": "random search, same time"}
SHORT_TEXT = 50_000  # characters; below, counting is hard to beat, benchmarks/RESULTS.md
MORE_MINUTES = 10  # of which the verdict speaks
COVERED = 1.645  # standard deviations of a 90 % interval
AROUND = 15.0  # seconds before and after a training


def settings_text(point: Mapping[str, Any]) -> str:
    """A point on one line.

    >>> settings_text({"num_layers": 4, "learning_rate": 0.0030001, "dropout": 0.0})
    'layers 4, lr 0.003, dropout 0'
    """
    names = [name for name in SHORT if name in point] + [name for name in point if name not in SHORT]
    return ", ".join(f"{SHORT.get(name, name)} {_short(point[name])}" for name in names)


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def choice_text(chosen: Mapping[str, Any], model: ModelConfig, looked: int) -> str:
    """What Hyperopt chose, on one line."""
    words = f"of {looked} imagined trainings Hyperopt chose {settings_text(chosen['point'])}"
    return f"{words}; {model.n_parameters:,} parameters{_against_default(chosen['prospects'])}"


def _against_default(prospects: Mapping[str, Any]) -> str:
    """What the law expects of the choice against the default recipe, as the end of a sentence."""
    above, sd = prospects.get("default") or (0.0, 0.0)
    if not above and not sd:
        return ""
    side, low = ("lower", above - COVERED * sd) if above >= 0 else ("higher", -above - COVERED * sd)
    high = abs(above) + COVERED * sd
    return (
        f", expected to end {abs(above):.3f} nats per character {side} than the default recipe in the same minutes "
        f"(90 % interval {low:.3f} to {high:.3f})"
    )


def result_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The final model, its trial where there is one, and what got the same minutes; losses in nats per character."""
    rows = [{"name": "final model", "val": result["val_loss"], "test": result["test_loss"]}]
    if result["best"]["tid"] is not None:
        name = f"best trial ({result['best']['tid']})"
        rows.append({"name": name, "val": result["best_trial_loss"], "test": None})
    for name, title in COMPARED.items():
        if numbers := (result.get("compare") or {}).get(name):
            rows.append({"name": title, "val": numbers["val_loss"], "test": numbers["test_loss"]})
    return [row for row in rows if row["val"] is not None]


def verdict(result: Mapping[str, Any], characters: int | None = None) -> list[Sentence]:
    """The sentences in the order in which a person asks: is it good, what does it write, is it copied, is the text long
    enough, what would more minutes buy. `characters` are those of the training split."""
    counting, floors = result.get("counting") or {}, result.get("floors") or {}
    split = "test" if result.get("test_loss") is not None and counting.get("test") is not None else "val"
    mixed = (result.get("mixture") or {}).get(split)
    standing = Standing(result.get(f"{split}_loss"), counting.get(split), floors.get(split), mixed, None)
    used_up = _used_up(result)
    found = [
        against_counting(standing, used_up is not None),
        _too_short(standing, characters),
        *_writing(result.get("writing") or {}),
    ]
    found += [against_floor(standing), used_up, _expected(result), _more(result)]
    return [sentence for sentence in found if sentence is not None]


def _too_short(standing: Standing, characters: int | None) -> Sentence | None:
    if characters is None or characters >= SHORT_TEXT or standing.model is None or standing.counting is None:
        return None
    if standing.model < standing.counting:
        return None
    return Sentence(
        "bad",
        f"The text is short for a network, {characters:,} characters to learn from: {SHORT_TEXT:,} would be a start.",
    )


def _writing(writing: Mapping[str, Any]) -> list[Sentence]:
    found = []
    if writing.get("words"):
        text, unseen, invented = (round(100 * writing[name]) for name in ("in_text", "in_unseen", "invented"))
        tone = "good" if invented <= 10 else "plain"
        found.append(
            Sentence(
                tone,
                f"Of 100 words that it writes, {text} occur in the text that it learnt from, {unseen} in the part that "
                f"it has never seen, and {invented} are invented.",
            )
        )
    if writing.get("copied") is not None:
        copied, chance = round(100 * writing["copied"]), round(100 * writing["copied_unseen"])
        if copied == 0:
            words = "Nothing that it wrote here stands word for word in the text for 20 characters or more."
        else:
            words = (
                f"{copied}\u00a0% of what it wrote here stands word for word in the text, in runs of 20 characters or "
                f"more; {chance}\u00a0% in the part that it has never seen."
            )
        found.append(Sentence("plain", words))
    return found


def _used_up(result: Mapping[str, Any]) -> Sentence | None:
    val, first, second = (result.get(name) for name in ("val_loss", "teacher_loss", "student"))
    tale = "This text was used up early, and a second model learnt from it and from the first"
    if first is not None and val is not None:
        return Sentence("good", f"{tale}: {val:.3f} instead of {first:.3f} nats per character on validation.")
    if not (result.get("law") or {}).get("most_steps") or result.get("stopped") != "finished":
        return None
    if second is not None and val is not None:
        words = f"{tale}; it was no better, {second:.3f} against {val:.3f} nats per character on validation."
        return Sentence("plain", words)
    more = (
        f"with {minutes_for_second(result)} more (--resume) a second model could learn from it and the text"
    )
    return Sentence("plain", f"It ended early because the text has no more to teach; {more}.")


def minutes_for_second(result: Mapping[str, Any]) -> str:
    """How much more time would let a second model learn from this one."""
    minutes = math.ceil((AROUND + TEACHER_PRICE * (result.get("step_seconds") or 0.0)) / 60)
    return f"{minutes} minute{'s' * (minutes > 1)}"


def _expected(result: Mapping[str, Any]) -> Sentence | None:
    words = _against_default((result.get("law") or {}).get("prospects") or {})
    return Sentence("plain", f"Its recipe was{words[1:]}, by a law of recorded trainings.") if words else None


def _more(result: Mapping[str, Any]) -> Sentence | None:
    if (more := more_time(result)) is None:
        return None
    minutes, gain, low, high = more
    return Sentence(
        "plain",
        f"{minutes:g} more minutes would have bought about {gain:.3f} nats per character (90 % interval {low:.3f} to "
        f"{high:.3f}), by the law.",
    )


def more_time(result: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """How many minutes more would have bought how much, and the 90 % interval of that; None where nothing is known, or
    nothing is to be had."""
    rows = ((result.get("law") or {}).get("prospects") or {}).get("more") or []
    row = next((row for row in rows if row[0] == MORE_MINUTES), None)
    if row is None or row[1] <= 0 or (result.get("law") or {}).get("most_steps"):
        return None
    low, high = (max(0.0, row[1] + side * COVERED * row[2]) for side in (-1, 1))
    return row[0], row[1], low, high


def next_commands(result: Mapping[str, Any], folder: Path) -> list[str]:
    """What to type next."""
    commands = [f"python -m minilm.sample {folder}"]
    if (result.get("writing") or {}).get("dialogue"):
        commands.append(f"python -m minilm.chat {folder}")
    if (more := more_time(result)) is not None:
        commands.append(f"python -m minilm.tune --resume {folder} --minutes {more[0]:g}")
    return commands


def closing(result: Mapping[str, Any], folder: Path, characters: int | None = None) -> str:
    """Under the table: the verdict, what the model writes, where everything is, what to type next."""
    lines = [""]
    for sentence in verdict(result, characters):
        lines += textwrap.wrap(sentence.text, 100, initial_indent="- ", subsequent_indent="  ")
    for number, sample in enumerate(result.get("samples") or [], start=1):
        lines += ["", f"sample {number}", textwrap.indent(sample, "  | ", lambda line: True)]
    lines += ["", f"study     {folder}", f"run       {folder / BEST}"]
    if (folder / PAGE).exists():
        lines.append(f"page      {folder / PAGE}")
    lines += [f"next      {command}" for command in next_commands(result, folder)]
    return "\n".join(lines)
