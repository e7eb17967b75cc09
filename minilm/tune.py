"""Turns a text into the best model that the minutes can buy, with a page that explains it: `python -m minilm.tune`.

Also the three names for programs: `tune` runs a whole study, `train_model` and `space` are what Hyperopt's
own `fmin` takes. Torch and Hyperopt are loaded only when something is computed.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minilm import cli, files
from minilm.errors import ConfigError, RunError, note, number_fault, shortened

if TYPE_CHECKING:
    from minilm.text.corpora import Corpus
    from minilm.tuner.study import Study

MINUTES = 3.0
# a test compares them with propose.ALGORITHMS, which needs Hyperopt
ALGORITHMS = ("tpe", "random", "anneal", "genetic", "mix")
BUDGET = ("minutes", "trials")
SCHEDULERS = ("asha", "none")  # and with rungs.SCHEDULERS
DEVICES = ("auto", "cpu", "cuda", "mps")  # and with settings.DEVICES
LIBRARIES = ("huggingface",)  # and with settings.LIBRARIES
SETTINGS = (*BUDGET, "algo", "scheduler", "deterministic", "workers", "device", "library", "seed")


def tune(
    corpus: Corpus,
    minutes: float | None = None,
    trials: int | None = None,
    space: Any = None,
    algo: str = "tpe",
    workers: int | str | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    *,
    scheduler: str | None = None,
    deterministic: bool = False,
    device: str = "auto",
    tokens: str | None = None,
) -> Study:
    """Chooses the best configuration and trains it; give `minutes` or `trials` (default: 3 minutes).

    By minutes Hyperopt chooses, by minimising the loss that a law of trainings expects after them, and all the minutes
    train that choice. With `trials`, and in a `space` of your own (a Hyperopt expression of named settings: fields of
    ModelConfig and TrainConfig, or num_layers, hidden_size), real trials choose. `scheduler`: "asha" pauses trials at
    rungs and lets the best third climb (the default by the clock), "none" trains each to its end (the default by
    count). `deterministic`, with `trials`: asha on one worker, the same study to the bit each time.

    The tokens are those of `corpus`; where it has characters, `tokens="auto"` lets Hyperopt choose these too.
    Without `out` the study lives in a temporary folder as long as the returned object. Raises the MinilmError family.
    Needs no `if __name__ == "__main__"` guard in a script.

    ```python
    study = tune(load_corpus("my.txt"), minutes=10, out="runs/mine")
    study.best.result["val_loss"], study.trials.best_trial, study.report()
    ```
    """
    from minilm.tuner.settings import Request
    from minilm.tuner.study import run_study

    if tokens is not None and (tokens != "auto" or corpus.choice != "characters"):
        raise ConfigError(
            f"tokens must be 'auto', for a corpus of characters, got {tokens!r} and one of {corpus.choice}; "
            "leave them out"
        )
    request = Request(
        MINUTES if minutes is None and trials is None else minutes,
        trials,
        space,
        algo,
        workers,
        seed,
        scheduler,
        deterministic,
        device,
    )
    if request.has_trials and (edits := edited_in_memory()):
        note(
            f"what was changed in memory ({', '.join(edits)}) does not reach this study's workers, which are processes "
            "of their own; edit the source, or use train_model in Hyperopt's fmin"
        )
    return run_study(corpus, request, out, open_tokens=tokens is not None)


def edited_in_memory() -> list[str]:
    """The functions of the first afternoon, by name, that are no longer the ones of the package's files."""
    from minilm import attention, model, sampling
    from minilm.training import evaluate, loop, optim

    home, found = str(Path(__file__).parent), []
    for module in (attention, model, sampling, evaluate, loop, optim):
        source = inspect.getsource(module)
        classes = [
            kind for kind in vars(module).values() if getattr(kind, "__module__", "") == module.__name__
        ]
        owners: list[Any] = [module, *filter(inspect.isclass, classes)]
        for owner in owners:
            for name, value in vars(owner).items():
                code = getattr(inspect.unwrap(value) if callable(value) else value, "__code__", None)
                if code and f"def {name}(" in source and not code.co_filename.startswith(home):
                    found.append(name if owner is module else f"{owner.__name__}.{name}")
    ours = ("manual", "blocked", "fused")
    return found + [f"BACKENDS[{name!r}]" for name in attention.BACKENDS if name not in ours]


def train_model(
    params: Mapping[str, Any] | None = None, *, corpus: Corpus | str | None = None, **settings: Any
) -> dict[str, Any]:
    """Trains one configuration: the objective for `fmin(fn=train_model, space=space, ...)`.

    Takes an evaluated point, nested where a space is conditional, or keyword arguments. Where the space says hp.choice,
    what `fmin` returns is an index: pass `space_eval(space, best)`; a hidden size below 8, or no layers, can only be
    one and is refused. `lr` is understood. Trains on `corpus`, a loaded one or what `load_corpus` takes, else on
    MINILM_CORPUS (default fables), for MINILM_TRIAL_STEPS steps (default 200), with a smaller batch where a step would
    cost more than four of the default recipe's. `functools.partial(train_model, corpus=...)` goes into `fmin`.

    Returns `loss`, the lowest one measured, in validation nats per character, `status`, and as `params` what was
    trained; a training that diverged has status "fail", a `reason` and no loss, so that Hyperopt never sees a NaN.
    """
    from minilm.tuner import objective

    return objective.train_model(params, corpus=corpus, **settings)


def __getattr__(name: str) -> Any:
    if name == "space":  # Hyperopt's form of the default space, built on first use
        from minilm.tuner.space import to_hyperopt

        return to_hyperopt()
    raise AttributeError(f"module 'minilm.tune' has no attribute {name!r}")


def _parser() -> argparse.ArgumentParser:
    parser, off = cli.parser("tune", "python -m minilm.tune my.txt --minutes 10"), argparse.SUPPRESS
    parser.add_argument(
        "data", nargs="?", default=off, help="corpus, text file, folder or glob (default: fables)"
    )
    most, search, machine = (
        parser.add_argument_group(title) for title in ("what most need", "the search", "the machine")
    )
    budget = most.add_mutually_exclusive_group()
    budget.add_argument(
        "--minutes", type=float, default=off, help=f"for everything, page included (default: {MINUTES:g})"
    )
    budget.add_argument(
        "--trials", type=int, default=off, help="real trials by count, reproducible for a seed"
    )
    most.add_argument("--tokens", default=off, help=f"{cli.TOKENS} (default: auto)")
    most.add_argument("--raw", action="store_true", help="letters as they are, chats and tables too")
    most.add_argument("--out", default=off, help="new folder (default: runs/tune-CORPUS-TIME)")
    most.add_argument("--resume", metavar="DIR", default=off, help="continue the study in DIR")
    most.add_argument(
        "--for",
        dest="library",
        choices=LIBRARIES,
        default=off,
        help="choose only what `convert` can take there (default: what is best here)",
    )
    most.add_argument("--device", choices=DEVICES, default=off, help="where to compute (default: auto)")
    search.add_argument("--algo", choices=ALGORITHMS, default=off, help="who proposes (default: tpe)")
    search.add_argument(
        "--scheduler",
        choices=SCHEDULERS,
        default=off,
        help="with --trials: what stops them early (default: none)",
    )
    search.add_argument(
        "--deterministic", action="store_true", default=off, help="with --trials: early stopping, one worker"
    )
    search.add_argument(
        "--seed", type=int, default=off, help="of proposals, weights and batches (default: 0)"
    )
    search.add_argument(
        "--compare",
        action="store_true",
        help="give the default recipe and a random search the same minutes afterwards, and show all three",
    )
    machine.add_argument(
        "--workers",
        type=_workers,
        default=off,
        help="with --trials: so many side by side, or dask://host:port (default: one per core)",
    )
    machine.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _workers(text: str) -> int | str:
    return text if "://" in text else int(text)


_workers.__name__ = "number or dask://host:port"  # argparse names it in its sentence


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    given = {name: value for name, value in vars(arguments).items() if name in SETTINGS}
    fixed = [f"--{name}" for name in (*given, "tokens", "out") if name in arguments and name not in BUDGET]
    if "resume" in arguments and fixed:
        raise ConfigError(f"a resumed study keeps its settings, got {', '.join(fixed)}; leave them out")
    if arguments.compare and "trials" in arguments:
        raise ConfigError("--compare gives all sides the same minutes, got --trials; give --minutes instead")
    _check(arguments)
    say = partial(print, file=sys.stderr if arguments.json else sys.stdout, flush=True)
    say(f"minilm    reads {getattr(arguments, 'resume', getattr(arguments, 'data', 'fables'))}")
    from minilm.training.clock import process_started

    begun = process_started() if argv is None else time.monotonic()
    corpus = _corpus(arguments)
    say(f"corpus    {corpus.line()}")
    folder = Path(arguments.resume if "resume" in arguments else _out(arguments, corpus))
    try:
        study = _study(arguments, given, corpus, folder, begun, say)
    except KeyboardInterrupt:
        return cli.interrupted("tune", folder, (folder / "study.json").is_file())
    _show(study, arguments.json)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Tells at once, before a text or torch is loaded, what no study can have."""
    bounds = {
        "minutes": f">= {cli.SHORTEST}, <= 1000000",
        "trials": ">= 1",
        "workers": ">= 1, <= 1024",
        "seed": f">= 0, < {2**63}",
    }
    for name, limits in bounds.items():
        value = getattr(arguments, name, None)
        given = value is not None and not isinstance(value, str)
        if given and (fault := number_fault(f"--{name}", value, limits, whole=name != "minutes")):
            raise ConfigError(f"{fault}; leave it out for its default")
    cli.check_tokens(arguments)
    if "://" in str(workers := getattr(arguments, "workers", "")):
        from minilm.tuner.engines import address_of

        address_of(workers)
    if "deterministic" in arguments and "trials" not in arguments:
        raise ConfigError(
            "--deterministic must count trials, since no clock reads the same twice, got none; add --trials 20"
        )
    if "out" in arguments:
        files.refuse_used(arguments.out)
    if "resume" in arguments and not files.is_there(arguments.resume, "study.json"):
        raise RunError(
            f"--resume must be given a study, got {shortened(arguments.resume)}, which is not a study: it has no "
            "study.json; give the folder that minilm.tune printed"
        )


def _corpus(arguments: argparse.Namespace) -> Corpus:
    """The text; in characters where the tokens are still to be chosen."""
    from minilm.text.corpora import load_corpus, load_described
    from minilm.tuner.records import read_study

    if "resume" in arguments:
        stored = read_study(Path(arguments.resume))["corpus"]
        if "data" not in arguments:
            return load_described(stored)
        return load_corpus(arguments.data, stored.get("tokens", "characters"))
    tokens = getattr(arguments, "tokens", "auto")
    if "trials" in arguments:  # no law chooses
        return load_corpus(getattr(arguments, "data", "fables"), tokens, raw=arguments.raw)
    tokens = "characters" if tokens == "auto" else tokens
    return load_corpus(getattr(arguments, "data", "fables"), tokens, raw=arguments.raw)


def _out(arguments: argparse.Namespace, corpus: Corpus) -> str:
    name = re.sub(r"[^\w.-]+", "-", Path(corpus.name).stem) or "text"
    return getattr(arguments, "out", f"runs/tune-{name}-{time.strftime('%Y%m%d-%H%M%S')}")


def _study(
    arguments: argparse.Namespace,
    given: dict[str, Any],
    corpus: Corpus,
    folder: Path,
    begun: float,
    say: Any,
) -> Study:
    from minilm.tuner.watch import StudyBar

    if "resume" not in arguments:
        given |= {} if "trials" in given else {"minutes": given.get("minutes", MINUTES)}
    total = 60 * given["minutes"] if "minutes" in given else None
    with StudyBar(say, begun, total) as bar:
        bar.phase("loading torch and Hyperopt")
        from minilm.tuner.resume import resume_study
        from minilm.tuner.settings import Request
        from minilm.tuner.study import run_study

        if "resume" in arguments:
            study = resume_study(folder, **given, corpus=corpus, watch=bar, begun=begun)
        else:
            opened = getattr(arguments, "tokens", "auto") == "auto"
            study = run_study(corpus, Request(**given), folder, watch=bar, begun=begun, open_tokens=opened)
    if arguments.compare:
        _compare(study, corpus, say)
    return study


def _compare(study: Study, corpus: Corpus, say: Any) -> None:
    from minilm.tuner.compare import check_compare, compare
    from minilm.tuner.watch import StudyBar

    check_compare(study.settings.minutes)
    say(f"compare   the default recipe and a random search get {study.settings.minutes:g} minutes each now")
    with StudyBar(say) as bar:
        compare(study, corpus, bar)


def _show(study: Study, as_json: bool) -> None:
    from minilm.tuner.summary import closing, settings_text

    result = study.result
    if as_json:
        print(json.dumps({"folder": str(study.folder), **result}, ensure_ascii=False))
        return
    print(f"best      {settings_text(result['best']['point'])}\n\n{study.table()}")
    print(closing(result, study.folder, study.settings.corpus["bounds"][0]))


if __name__ == "__main__":
    try:
        cli.run_verb(main)
    except SystemExit as end:  # torch takes seconds to tidy up after itself, and the deadline is near
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
