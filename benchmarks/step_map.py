"""Maps one training step: which functions of the package it calls at least once, and in which files they stand.

The step is an ordinary one of the default recipe, in float32 on a CPU: a batch, the loss, its gradient, clipping, the
optimizer, and the questions to the clock before and after; no evaluation, no record, no checkpoint. Functions of
`minilm/fast/` are counted apart: they stand in for others, and the first step asks whether they agree with them. A
lambda is a function, a comprehension is none. The loop itself, `Trainer.fit`, is running all along and is counted.

    python benchmarks/step_map.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import common

STEPS, STEP = 200, 26  # behind the warm-up, and no record is due after it
PACKAGE = common.ROOT / "minilm"


class Watch:
    """Notes the code of the package's functions that are called between `begin` and `end`."""

    def __init__(self) -> None:
        self.seen: set[CodeType] = set()

    def begin(self) -> None:
        sys.setprofile(self.notice)

    def end(self) -> None:
        sys.setprofile(None)

    def notice(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            self.add(frame.f_code)

    def add(self, code: CodeType) -> None:
        comprehension = code.co_name.startswith("<") and code.co_name != "<lambda>"
        if Path(code.co_filename).is_relative_to(PACKAGE) and not comprehension:
            self.seen.add(code)

    def functions(self) -> dict[str, list[str]]:
        """File -> its functions in the order in which they stand there."""
        found: dict[str, list[str]] = {}
        for code in sorted(self.seen, key=lambda code: (code.co_filename, code.co_firstlineno)):
            name = getattr(code, "co_qualname", code.co_name).replace(".<locals>", "")
            found.setdefault(Path(code.co_filename).relative_to(PACKAGE.parent).as_posix(), []).append(name)
        return found


def one_step() -> dict[str, list[str]]:
    """What the step calls: file -> functions."""
    from minilm import load_corpus
    from minilm.config import default_recipe
    from minilm.training.clock import Clock
    from minilm.training.hardware import choose_hardware
    from minilm.training.loop import Trainer
    from minilm.training.session import build

    corpus = load_corpus("fables")
    shape, config = default_recipe(corpus.tokenizer.vocab_size)
    config = config.replace(device="cpu", precision="fp32", steps=STEPS, evaluations=1, eval_chars=1)
    clock, watch = Clock(config, (len(corpus.val), 0), shape.vocab_size), Watch()
    model, hardware = build(shape, config.seed), choose_hardware(config, shape.attention)
    trainer = Trainer(model, corpus.train, {"tokens": corpus.val}, config, hardware, clock)
    watch.add(trainer.fit.__func__.__code__)
    clock.stop = stopping(clock.stop, watch)
    trainer.fit()
    return watch.functions()


def stopping(ask: Callable[[int, int], Any], watch: Watch) -> Callable[[int, int], Any]:
    """The clock's own question, asked before each step; the step is watched from there to the next one."""
    from minilm.training.clock import Stop

    def stop(step: int, stale: int) -> Any:
        watch.end()
        if step > STEP:
            return Stop.FINISHED
        if step == STEP:
            watch.begin()
        return ask(step, stale)

    return stop


def show(title: str, files: dict[str, list[str]]) -> None:
    print(f"{title}: {sum(map(len, files.values()))} functions in {len(files)} files")
    for file, functions in files.items():
        print(f"  {file:<32}{len(functions):3}  {', '.join(functions)}")


def main() -> None:
    files = one_step()
    quick = {file: functions for file, functions in files.items() if file.startswith("minilm/fast/")}
    show("the spine", {file: functions for file, functions in files.items() if file not in quick})
    show("minilm/fast", quick)


if __name__ == "__main__":
    main()
