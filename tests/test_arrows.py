"""The arrows of the architecture: a module imports only from lower floors, nothing imports a verb, no cycle.

The floors are listed bottom up; within one floor modules may import each other as long as no cycle results.
"""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "minilm"

FLOORS = [
    ["errors", "signals"],
    ["config", "disk", "files", "bars"],
    ["cost"],
    ["fast.agreement", "fast.blocked", "fast.draft", "fast.pieces", "text", "plots", "interop", "tuner"],
    ["attention"],
    ["training.optim"],
    ["fast.step"],
    ["training.checkpoint", "training.hardware", "training.clock", "sampling"],
    ["model"],
    ["fast"],
    ["taps", "writing"],
    ["conversation"],
    ["training"],
    ["interpret"],
    ["tuner.measure", "tuner.trial", "tuner.objective", "tuner.finish", "tuner.chores"],
    ["tuner.second", "tuner.plan", "tuner.outcome"],
    ["tuner.trials", "tuner.study", "tuner.resume", "tuner.compare"],
    ["classroom.plain", "classroom.sandbox", "classroom.lab", "classroom.labs"],
    ["classroom.submissions", "classroom.wire", "classroom.platforms", "classroom.similarity"],
    ["classroom.worker", "classroom.referee", "classroom.runner", "classroom.book", "classroom.marking"],
    [
        "classroom.reports",
        "classroom.summary",
        "classroom.handout",
        "classroom.pile",
        "classroom.board",
        "classroom.notebooks",
        "classroom.builders",
    ],
    ["classroom.selftest", "classroom.hostile", "classroom.hostile_runs"],
    ["cli"],
    ["train", "tune", "evaluate", "sample", "chat", "lens", "report", "convert", "data", "classroom"],
    ["__main__"],
]
VERBS = {
    "train",
    "tune",
    "evaluate",
    "sample",
    "chat",
    "lens",
    "report",
    "convert",
    "data",
    "classroom",
    "__main__",
}
NO_TORCH = ("plots", "errors", "config", "cost", "cli", "tuner", "classroom")
# the study only through the objective, see its test; students' code runs in the classroom's worker
MAY_SEE_TORCH = {"tuner.objective", "tuner.study", "classroom.worker", "classroom.wire", "classroom.referee"}
LABS = "classroom.labs."  # what students write, read as text and run in the worker


def modules() -> dict[str, Path]:
    names = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        names[name.removesuffix(".__init__")] = path
    names.pop("__init__")
    return names


def imports(path: Path) -> set[str]:
    """Every minilm module that a file imports, wherever the import stands, TYPE_CHECKING blocks included."""
    found: set[str] = set()
    known = modules()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full, not relative"
            module = str(node.module)
            inner = {f"{module}.{alias.name}" for alias in node.names}
            found |= {n for n in inner if n.removeprefix("minilm.") in known} or {module}
    return {name.removeprefix("minilm.") for name in found if name.startswith("minilm.")}


def floor(module: str) -> int:
    best = max(
        (len(entry), number) for number, entries in enumerate(FLOORS) for entry in _matches(module, entries)
    )
    return best[1]


def _matches(module: str, entries: list[str]) -> list[str]:
    return [entry for entry in entries if module == entry or module.startswith(entry + ".")]


def test_every_module_has_a_floor():
    lost = [m for m in modules() if not any(_matches(m, entries) for entries in FLOORS)]
    assert not lost, f"say in FLOORS where these belong: {lost}"


def test_no_arrow_points_up():
    upward = [
        f"{module} -> {target}"
        for module, path in modules().items()
        for target in imports(path)
        if target in modules() and floor(target) > floor(module)
    ]
    assert not upward, upward


def test_nothing_imports_a_verb():
    guilty = [f"{m} -> {t}" for m, path in modules().items() for t in imports(path) if t in VERBS]
    guilty = [arrow for arrow in guilty if arrow != "classroom.__main__ -> classroom"]  # how a package is run
    assert not guilty, guilty


def test_no_cycle():
    arrows = {module: imports(path) & set(modules()) for module, path in modules().items()}
    while leaves := [module for module, targets in arrows.items() if not targets]:
        for leaf in leaves:
            del arrows[leaf]
        arrows = {module: targets - set(leaves) for module, targets in arrows.items()}
    assert not arrows, f"a cycle among {sorted(arrows)}"


def test_torch_stays_where_it_belongs():
    """Only the tuner's objective computes; plots and the command line never load torch."""
    guilty = []
    for module, path in modules().items():
        if module in MAY_SEE_TORCH or module.startswith(LABS) or not module.startswith(NO_TORCH):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        names |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        guilty += [module for name in names if name.split(".")[0] == "torch"]
    assert not guilty, guilty


# One afternoon, top down; a file of it imports only files of it and the named leaves.
ORDER = [
    *("config", "text.characters", "text.batches", "attention", "model", "sampling"),
    *("training.optim", "training.evaluate", "training.loop"),
]
LEAVES = {"errors", "files", "signals", "bars", "training.clock", "training.checkpoint", "training.hardware"}
MOST_LINES = 1300


def test_the_first_afternoon_is_closed_and_short():
    allowed, lines = {*ORDER, *LEAVES}, 0
    for module in ORDER:
        path = modules()[module]
        targets = imports(path) & set(modules()) - {
            "text",
            "training",
            "fast",
        }  # packages, empty but for a sentence
        through_backends = {t for t in targets if t.startswith("fast.")} if module == "attention" else set()
        assert targets <= allowed | through_backends, (module, targets - allowed)
        lines += len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES


# The second one: what runs in a study by minutes. It may import the first, and these besides.
SECOND = [f"tuner.{name}" for name in ("study", "budget", "space", "law", "choose", "plan", "finish")]
SECOND_LEAVES = {
    *("cost", "text.corpora", "text.tokenizers", "training.run", "training.session", "training.scores"),
    *(
        "tuner.algorithms",
        "tuner.measure",
        "tuner.prospects",
        "tuner.second",
        "tuner.outcome",
        "tuner.chores",
    ),
    *("tuner.propose", "tuner.records", "tuner.settings", "tuner.summary", "tuner.watch", "tuner.workers"),
    *("tuner.engines", "tuner.decide", "tuner.trial", "tuner.trials"),  # the door to real trials
}
MOST_LINES_SECOND = 1100


def test_the_second_afternoon_is_closed_and_short():
    lines = 0
    for module in SECOND:
        targets = imports(modules()[module]) & set(modules()) - {"tuner", "text", "training"}
        assert targets <= {*ORDER, *LEAVES, *SECOND, *SECOND_LEAVES}, (module, targets)
        lines += len(modules()[module].read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES_SECOND


def test_a_training_step_is_seen_in_one_function():
    tree = ast.parse(modules()["training.loop"].read_text(encoding="utf-8"))
    (fit,) = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "fit")
    assert fit.end_lineno is not None and fit.end_lineno - fit.lineno < 50
    called = {
        n.func.attr for n in ast.walk(fit) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)
    }
    assert {"loss_of", "backward", "clip_grad_norm_", "step", "evaluate", "save"} <= called


def test_the_check_can_fail(tmp_path):
    """The walker sees an import wherever it hides."""
    file = tmp_path / "hidden.py"
    file.write_text("def f():\n    from minilm.train import train\n    import minilm.tune\n")
    assert imports(file) == {"train", "tune"}
