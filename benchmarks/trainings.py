"""Records trainings of one core: each a line with its recipe, its price and its losses in nats per character.

    python benchmarks/trainings.py --records FILE --texts shakespeare de.txt --tokens characters bpe:1024 --seconds 60

Every combination of the lists is one training. First its step and one of the default at 2 layers, 96 wide on
characters are timed in turns on one thread; then it gets as many steps as the seconds buy where that default's step
takes --base-ms. So neither a busy machine nor a slow one takes anything from a training, and the seconds of two
machines are the same. What FILE holds already is not trained again; --table prints the lines, best first within each
text and number of seconds. The law of the tuner is fitted to such records.

    python benchmarks/trainings.py --records FILE --draw 100 --texts shakespeare de.txt --layers 1 2 3 --seconds 5 90

draws instead: each training takes one value of every list at random, and seconds and passes over the text between the
least and the most. For a law prices do not matter, so here they are computed and not timed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import statistics
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import common

MANY_PASSES = 2.0  # over a text: after more its best weights lie before the end, and are looked for
FEWEST_STEPS, MOST_STEP_TOKENS = 60, 8192  # of a training that is drawn
PRICE_STEPS, PRICE_ROUNDS = 14, 3  # of which the first steps are not counted
LISTS: dict[str, tuple[type, list[Any]]] = {
    "texts": (str, ["shakespeare", "fables"]),
    "tokens": (str, ["characters"]),
    "seconds": (float, [60.0]),
    "layers": (int, [2]),
    "hidden": (int, [96]),
    "contexts": (int, [128]),
    "batches": (int, [8]),
    "rates": (float, [0.03]),
    "dropouts": (float, [0.0]),
    "decays": (float, [0.1]),
    "presets": (str, ["fast"]),
    "seeds": (int, [0]),
    "passes": (float, [1000.0]),  # over the text, at most
    "precisions": (str, ["auto"]),
}
USUAL = {name: default[0] for name, (_, default) in LISTS.items()}
RANGES = ("seconds", "passes")  # drawn between the least and the most, their logarithm uniform


@lru_cache(maxsize=3)
def corpus_of(text: str, tokens: str, split: tuple[float, float, float]) -> tuple[Any, float]:
    """The corpus and the CPU seconds that loading it took, its pieces learnt and applied."""
    from minilm import load_corpus

    started = time.process_time()
    return load_corpus(text, tokens, split=split), time.process_time() - started


def one(corpus: Any, recipe: dict[str, Any], steps: int) -> dict[str, Any]:
    """Trains one recipe and measures it."""
    from minilm.training.evaluate import exact_loss

    trainer = trainer_of(corpus, recipe, steps)
    started = time.process_time()
    trainer.fit()
    spent = time.process_time() - started
    losses = {
        split: exact_loss(trainer.model, **corpus.scored(split))
        for split in ("val", "test")
        if corpus.characters[split]
    }
    model = trainer.model.config
    return {
        **losses,
        "train": trainer.state.train_loss * len(corpus.train) / corpus.characters["train"],
        "steps": steps,
        "tokens_seen": steps * recipe["batches"] * recipe["contexts"],
        "train_tokens": len(corpus.train),
        "train_characters": corpus.characters["train"],
        "vocab_size": model.vocab_size,
        "n_parameters": model.n_parameters,
        "spent": round(spent, 2),
    }


def price(corpus: Any, recipe: dict[str, Any], base_ms: float) -> float:
    """Milliseconds of one step where the base takes `base_ms`: by the median of their ratios in turns."""
    ratios = []
    letters = corpus_of("fables", "characters", (0.9, 0.05, 0.05))[0]
    for _ in range(PRICE_ROUNDS):
        took = [median_step(*side) for side in ((corpus, recipe), (letters, USUAL))]
        ratios.append(took[0] / took[1])
    return base_ms * statistics.median(ratios)


def computed_price(corpus: Any, recipe: dict[str, Any], base_ms: float) -> float:
    """Milliseconds of one step by arithmetic: operations and numbers kept, as many times as the base's."""
    from minilm.tuner.budget import Prices

    here, letters = (
        configs_of(size, side, 1) for size, side in ((corpus.tokenizer.vocab_size, recipe), (65, USUAL))
    )
    return base_ms * Prices(1.0, 0.1).step(*here) / Prices(1.0, 0.1).step(*letters)


def median_step(corpus: Any, recipe: dict[str, Any]) -> float:
    """CPU seconds of one step, on one thread."""
    trainer = trainer_of(corpus, recipe, PRICE_STEPS, evaluations=1)
    return statistics.median(common.step_seconds(trainer, PRICE_STEPS, time.process_time)[4:])


def trainer_of(corpus: Any, recipe: dict[str, Any], steps: int, evaluations: int | None = None) -> Any:
    from minilm.training.clock import Clock
    from minilm.training.hardware import choose_hardware
    from minilm.training.loop import Trainer
    from minilm.training.session import build, give_rows

    passes = steps * recipe["batches"] * recipe["contexts"] / len(corpus.train)
    shape, config = configs_of(
        corpus.tokenizer.vocab_size, recipe, steps, evaluations or (20 if passes > MANY_PASSES else 1)
    )
    hardware = choose_hardware(config, shape.attention)
    clock = Clock(config, (corpus.characters["val"], 0), shape.vocab_size)
    network = build(shape.replace(attention=hardware.attention), config.seed)
    give_rows(network, corpus.train)
    return Trainer(network, corpus.train, corpus.scored("val"), config, hardware, clock)


def configs_of(vocab_size: int, recipe: dict[str, Any], steps: int, evaluations: int = 1) -> tuple[Any, Any]:
    from minilm.config import PRESETS
    from minilm.tuner.space import heads_for

    shape, config = PRESETS[recipe["presets"]].configs(vocab_size)
    width = recipe["hidden"]
    shape = shape.replace(
        n_layer=recipe["layers"], n_embd=width, n_head=heads_for(width), dropout=recipe["dropouts"]
    )
    shape = shape.replace(block_size=recipe["contexts"])
    config = config.replace(
        steps=steps,
        seed=recipe["seeds"],
        batch_size=recipe["batches"],
        learning_rate=recipe["rates"],
        weight_decay=recipe["decays"],
        precision=recipe["precisions"],
        evaluations=evaluations,
        **{"eval_chars": 16384, "patience": None, "threads": 1},
    )
    return shape, config


def lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def table(path: Path) -> None:
    """What was recorded, best first within each text and number of seconds."""
    found = [{**USUAL, **line} for line in lines(path)]
    found.sort(key=lambda line: (line["texts"], line["split"], line["seconds"], line["val"]))
    shown = [name for name in LISTS if name not in ("texts", *RANGES)]
    print(f"| text | s | {' | '.join(shown)} | val | test | train | steps | passes |")
    print("|---" * (len(shown) + 7) + "|")
    for line in found:
        passes = line["tokens_seen"] / line["train_tokens"]
        cells = " | ".join(
            f"{line[name]:g}" if isinstance(line[name], float) else str(line[name]) for name in shown
        )
        test = f"{line['test']:.4f}" if "test" in line else "-"
        numbers = f"{line['val']:.4f} | {test} | {line['train']:.3f} | {line['steps']} | {passes:.1f}"
        print(f"| {Path(line['texts']).stem} | {line['seconds']:g} | {cells} | {numbers} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, (kind, default) in LISTS.items():
        parser.add_argument(f"--{name}", type=kind, nargs="*", default=default)
    parser.add_argument("--split", type=float, nargs=3, default=[0.9, 0.05, 0.05])
    parser.add_argument(
        "--base-ms", type=float, default=20.0, help="of the default's step on the machine that is meant"
    )
    parser.add_argument("--draw", type=int, metavar="N", help="draw N trainings instead of all combinations")
    parser.add_argument(
        "--rest", type=int, help="characters at each text's end to score on, instead of --split"
    )
    parser.add_argument("--records", required=True, help="file of finished trainings")
    parser.add_argument("--table", action="store_true", help="only print what is recorded")
    arguments = parser.parse_args()
    path = Path(arguments.records)
    if arguments.table:
        table(path)
    else:
        record(arguments, path)


def record(arguments: argparse.Namespace, path: Path) -> None:
    """Trains what `path` does not hold."""
    import torch

    torch.set_num_threads(1)
    keys = [*LISTS, "split"]
    done = {tuple(str({**USUAL, **line}[key]) for key in keys) for line in lines(path)}
    price_of = computed_price if arguments.draw else price
    for values in drawn(arguments) if arguments.draw else combinations(arguments):
        recipe = {**dict(zip(LISTS, values, strict=True)), "split": arguments.split}
        if arguments.rest:
            recipe["split"] = rest_split(recipe["texts"], arguments.rest)
        if tuple(map(str, (recipe[key] for key in keys))) in done:
            continue
        corpus, loading = corpus_of(recipe["texts"], recipe["tokens"], tuple(recipe["split"]))
        steps = max(1, round(1000 * recipe["seconds"] / price_of(corpus, recipe, arguments.base_ms)))
        most = recipe["passes"] * len(corpus.train) / (recipe["batches"] * recipe["contexts"])
        steps = min(steps, round(most))
        if arguments.draw and (
            steps < FEWEST_STEPS or recipe["batches"] * recipe["contexts"] > MOST_STEP_TOKENS
        ):
            continue
        result = {
            **recipe,
            **one(corpus, recipe, steps),
            "base_ms": arguments.base_ms,
            "loading": round(loading, 2),
            "commit": common.commit(),
        }
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        varied = [key for key in LISTS if len(getattr(arguments, key)) > 1]
        facts = {key: recipe[key] for key in varied}
        print(f"{facts}: val {result['val']:.4f} after {result['steps']} steps", flush=True)


def combinations(arguments: argparse.Namespace) -> Iterator[tuple[Any, ...]]:
    return itertools.product(*(getattr(arguments, name) for name in LISTS))


def drawn(arguments: argparse.Namespace) -> Iterator[tuple[Any, ...]]:
    random_ = random.Random(arguments.seeds[0])
    for _ in range(arguments.draw):
        values = {name: random_.choice(getattr(arguments, name)) for name in LISTS if name != "precisions"}
        values["precisions"] = arguments.precisions[0]
        for name in RANGES:
            least, most = (math.log(end(getattr(arguments, name))) for end in (min, max))
            values[name] = round(math.exp(random_.uniform(least, most)), 1)
        yield tuple(values[name] for name in LISTS)


def rest_split(text: str, rest: int) -> list[float]:
    """Shares that leave the last `rest` characters of a text to validation and test, half each."""
    length = len(Path(text).read_text(encoding="utf-8"))
    return [1 - rest / length, rest / 2 / length, rest / 2 / length]


if __name__ == "__main__":
    main()
