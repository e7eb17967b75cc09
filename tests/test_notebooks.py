"""Every notebook's code runs as it stands, made small by replacements that must match exactly once.

The fast way needs no Jupyter: the code cells, one after another, in a fresh process. The slow way is a real
kernel.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
TRIAL_STEPS = "1"

# instead of all fables: 30,000 characters to learn from, 20,000 to compare on
SHORT_CORPUS = """from dataclasses import replace
corpus = load_corpus("fables")
corpus = replace(corpus, tokens=corpus.tokens[:60_000], bounds=(30_000, 50_000))"""

# notebook -> what its code says -> what the test runs instead
SMALLER: dict[str, dict[str, str]] = {
    "00_quickstart.ipynb": {
        'corpus = load_corpus("fables")': SHORT_CORPUS,
        "minutes=1.0": "minutes=0.5",
    },
    "01_text_and_counting.ipynb": {
        "text = corpus.text[:200_000]": "text = corpus.text[:20_000]",
        "sizes = [256, 320, 512, 1024, 2048]": "sizes = [256, 512, 2048]",
        "orders = range(1, 10)": "orders = (1, 2, 3, 5, 9)",
        'for name in ("characters", "bpe:512", "bpe:2048")': 'for name in ("characters", "bpe:512")',
        "for n in (2, 3, 4, 6, 9))": "for n in (2, 3))",
    },
    "02_attention_by_hand.ipynb": {
        "lengths = [128, 256, 512, 1024, 2048]": "lengths = [32, 64, 128]",
        "T = 2048\n": "T = 256\n",
        "steps=120": "steps=8",
    },
    "03_decoder.ipynb": {"steps=120": "steps=8", "steps=160": "steps=14", "DEEP = 32": "DEEP = 4"},
    "04_training.ipynb": {
        "for step in range(250)": "for step in range(12)",
        "steps=60": "steps=12",
        "steps=80": "steps=12",
        'race(corpus, "nano", 12)': 'race(corpus, "nano", 1)',
        'race(corpus, "fast", 12)': 'race(corpus, "fast", 1)',
        'race(of_pieces, "fast", 12)': 'race(of_pieces, "fast", 1)',
    },
    "05_hyperopt_by_hand.ipynb": {
        '"num_layers", [2, 4, 6]': '"num_layers", [1, 2]',
        '"hidden_size", [64, 128, 256]': '"hidden_size", [16, 32]',
        "algo=tpe.suggest, max_evals=8": "algo=tpe.suggest, max_evals=2",
        "steps=20": "steps=1",
        "np.geomspace(0.001, 1.0, 10)": "np.geomspace(0.001, 1.0, 3)",
        "SEEDS, EVALS = 16, 30": "SEEDS, EVALS = 1, 22",
        "for seed in range(8)": "for seed in range(1)",
    },
    "06_the_tuner.ipynb": {
        "minutes=1.0": "minutes=0.5",
        "for _ in range(400)": "for _ in range(4)",
        "SEEDS, BUDGET = 8, 27": "SEEDS, BUDGET = 2, 9",
        '"MINILM_TRIAL_STEPS"] = "27"': '"MINILM_TRIAL_STEPS"] = "9"',
        '"num_layers", [1, 2]': '"num_layers", [1]',
        '"hidden_size", [32, 64, 96]': '"hidden_size", [16, 32]',
    },
    "07_generation.ipynb": {
        "steps=280": "steps=3",
        "steps=200": "steps=3",
        "pieces=16, characters=240": "pieces=16, characters=120",
        "temperatures = [0.1, 0.3, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5]": "temperatures = [0.3]",
        "nuclei = [0.3, 0.6, 0.8, 0.9]": "nuclei = [0.9]",
        "places = [1, 32, 64, 128, 192, 256, 384, 511]": "places = [1, 64]",
        "finditer(held_out)][:80]": "finditer(held_out)][:3]",
        "code.tokens[:1_200_000], bounds=(1_080_000, 1_140_000)": "code.tokens[:60_000], bounds=(30_000, 45_000)",
        "n=300": "n=3",
        'edited("def borrowed(self, kettle, promise):")': 'edited("def borrowed(self): pass", lines=0)',
    },
    "08_looking_inside.ipynb": {
        "range(401)": "range(21)",
        "steps=250, evaluations=2, eval_chars=8192": "steps=2, evaluations=1, eval_chars=1024",
        "source = Source(corpus.text[: corpus.bounds[0]])": "source = Source(corpus.text[:20_000])",
    },
    "09_overfitting_and_honesty.ipynb": {
        'corpus = load_corpus("fables")': SHORT_CORPUS,
        "steps=400": "steps=8",
        "steps=80": "steps=2",
        'write(parrot, "\\n\\n", 3000)': 'write(parrot, "\\n\\n", 300)',
        'write(careful, "\\n\\n", 3000)': 'write(careful, "\\n\\n", 300)',
        "for seed in range(4)": "for seed in range(2)",
        "shares = [0, 0.02, 0.1, 0.3, 1.0]": "shares = [0, 1.0]",
    },
}

# Shows the last expression of a cell the way a notebook would: as a picture where it can be one.
RUN_CELLS = """
import ast, json, sys
names = {"__name__": "__main__"}
for cell in json.load(sys.stdin):
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
        picture = value._repr_png_() if hasattr(value, "_repr_png_") else None
        if value is not None:
            print("shown:", type(value).__name__, len(picture or b""))
"""


def smaller(name: str) -> dict[str, Any]:
    """The notebook with its code made small."""
    notebook = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    for old, new in SMALLER[name].items():
        cells = [c for c in notebook["cells"] if c["cell_type"] == "code" and old in "".join(c["source"])]
        assert len(cells) == 1, f"{name}: {old!r} must stand in one code cell, found it in {len(cells)}"
        cells[0]["source"] = "".join(cells[0]["source"]).replace(old, new)
    return notebook


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    path = os.pathsep.join([str(FOLDER.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    quick = {"MINILM_TRIAL_STEPS": TRIAL_STEPS, "MPLBACKEND": "Agg", "PYTHONPATH": path}
    return {**os.environ, **quick, "IPYTHONDIR": str(tmp_path)}


def test_every_notebook_is_known():
    assert set(SMALLER) == set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_format(name):
    """What any Jupyter and GitHub can show: nbformat 4, ASCII, the standard kernel, modest outputs."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert text.isascii()
    assert notebook["nbformat"] == 4
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert len(text) < 600_000
    kinds = {o["output_type"] for cell in notebook["cells"] for o in cell.get("outputs", [])}
    assert "error" not in kinds


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_code_cells_run(name, tmp_path, environment):
    cells = ["".join(c["source"]) for c in smaller(name)["cells"] if c["cell_type"] == "code"]
    answer = subprocess.run(
        [sys.executable, "-c", RUN_CELLS],
        input=json.dumps(cells),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    shown = [line.split() for line in answer.stdout.splitlines() if line.startswith("shown:")]
    assert shown
    assert all(kind == "Picture" and int(size) > 3000 for _, kind, size in shown)


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_in_a_real_kernel(name, tmp_path, environment, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    notebook = nbformat.reads(json.dumps(smaller(name)), as_version=4)
    client.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
