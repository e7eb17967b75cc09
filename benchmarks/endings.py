"""Measures what could be done at the end of a training: weights averaged over its tail, probabilities of several seeds.

    python benchmarks/endings.py tail --text shakespeare --tokens bpe:1024 --steps 1500
    python benchmarks/endings.py seeds --text poem.txt --tokens characters --steps 3000
    python benchmarks/endings.py snapshots --text poem.txt --tokens characters --steps 3000

`tail` trains once and scores the last weights, the means of the weights of the last shares of the steps, and blends of
both. `seeds` compares one training with the mean probabilities of two and of three trainings of other seeds that have a
half and a third of its steps, on a text that is used up by then. `snapshots` trains in two and in three cycles, each
with a whole schedule of the rate and from where the one before ended, and takes the mean probabilities of their ends.
Losses exact, in nats per character.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from typing import Any

import common
import torch
from trainings import USUAL, trainer_of

SHARES = (0.05, 0.1, 0.2)  # of the steps, at the end
BLENDS = (0.5, 1.0)


def tail(corpus: Any, recipe: dict[str, Any], steps: int) -> dict[str, float]:
    from minilm.training.evaluate import exact_loss

    trainer = trainer_of(corpus, recipe, steps)
    sums = {share: [torch.zeros_like(p) for p in trainer.model.parameters()] for share in SHARES}
    step = trainer.optimizer.step

    def stepped(rate: float) -> None:
        step(rate)
        for share, parts in sums.items():
            if trainer.state.step >= steps - round(share * steps):
                torch._foreach_add_(parts, [p.detach() for p in trainer.model.parameters()])

    trainer.optimizer.step = stepped
    trainer.fit()
    last = [p.detach().clone() for p in trainer.model.parameters()]
    found = {"last": exact_loss(trainer.model, **corpus.scored("val"))}
    for share, parts in sums.items():
        for blend in BLENDS:
            with torch.no_grad():
                for p, end, part in zip(trainer.model.parameters(), last, parts, strict=True):
                    p.copy_(end.lerp(part / round(share * steps), blend))
            found[f"{blend:g} of the mean of the last {share:g}"] = exact_loss(
                trainer.model, **corpus.scored("val")
            )
    return found


class Together(torch.nn.Module):
    """The mean probabilities of several models, as logits."""

    def __init__(self, models: list[Any]) -> None:
        super().__init__()
        self.models, self.config = torch.nn.ModuleList(models), models[0].config

    def forward(self, ids: torch.Tensor) -> tuple[None, torch.Tensor]:
        logs = torch.stack([model(ids)[1].log_softmax(-1) for model in self.models])
        return None, logs.logsumexp(0) - math.log(len(self.models))


def seeds(corpus: Any, recipe: dict[str, Any], steps: int) -> dict[str, float]:
    from minilm.training.evaluate import exact_loss

    found = {}
    for count in (1, 2, 3):
        models = []
        for seed in range(count):
            trainer = trainer_of(corpus, {**recipe, "seeds": seed}, steps // count)
            trainer.fit()
            models.append(trainer.model)
        found[f"{count} x {steps // count} steps"] = exact_loss(Together(models), **corpus.scored("val"))
    return found


def snapshots(corpus: Any, recipe: dict[str, Any], steps: int) -> dict[str, float]:
    from minilm.training.evaluate import exact_loss

    found = {}
    for count in (1, 2, 3):
        ends: list[Any] = []
        for _ in range(count):
            trainer = trainer_of(corpus, recipe, steps // count)
            if ends:
                trainer.model.load_state_dict(ends[-1].state_dict())
            trainer.fit()
            ends.append(trainer.model)
            found[f"{count} x {steps // count} steps, after {len(ends)}, the last alone"] = exact_loss(
                ends[-1], **corpus.scored("val")
            )
        found[f"{count} x {steps // count} steps, all ends"] = exact_loss(
            Together(ends), **corpus.scored("val")
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("tail", "seeds", "snapshots"))
    parser.add_argument("--text", default="shakespeare")
    parser.add_argument("--tokens", default="characters")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=96)
    parser.add_argument("--dropout", type=float, default=0.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    from minilm import load_corpus

    changes = {"layers": arguments.layers, "hidden": arguments.hidden, "dropouts": arguments.dropout}
    recipe = {**USUAL, **changes}
    corpus = load_corpus(arguments.text, arguments.tokens)
    found = {"tail": tail, "seeds": seeds, "snapshots": snapshots}[arguments.what](
        corpus, recipe, arguments.steps
    )
    for name, loss in found.items():
        print(f"{loss:.4f}  {name}")
    facts = {**vars(arguments), "losses": found, "date": time.strftime("%Y-%m-%d"), "commit": common.commit()}
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
