"""The bar in a terminal, in a file and in a real kernel: where it is drawn, and what is left behind."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from minilm.bars import in_notebook, progress_bar

ROOT = Path(__file__).parent.parent
SHAPE = "{desc}{percentage:3.0f}% |{bar}| {elapsed}"

STUDY = """
from minilm.tuner.records import Trial, TrialState
from minilm.tuner.watch import StudyBar, default_watch

import time

watch = default_watch(time.monotonic(), 60.0)
watch.phase("timing a few training steps on this machine")
for tid in range(3):
    watch.trial(Trial(tid, {}, {}, state=TrialState.OK, loss=2.0 - tid))
watch.record({"progress": 0.5, "val_loss": 1.234, "step": 7})
print(type(watch).__name__, isinstance(watch, StudyBar))
"""
TRAINING = """
from minilm.training.progress import ProgressBar

with ProgressBar(terminal=False) as bar:
    for step in (1, 2):
        bar({"step": step, "progress": step / 2, "seconds": step, "train_loss": 2.5, "val_loss": 2.25})
    line = str(bar._bar)
line
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_the_bar_and_is_left_clean(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_bar(10, SHAPE) as bar:
        bar.update(5)
        bar.refresh()
    drawn = screen.getvalue()
    assert "50% |" in drawn and "\n" not in drawn
    assert drawn.endswith("\r") and not drawn.split("\r")[-2].strip()


@pytest.mark.parametrize(("screen", "terminal"), [(io.StringIO(), True), (Terminal(), False)])
def test_nothing_is_drawn_where_nobody_looks(monkeypatch, screen, terminal):
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_bar(10, SHAPE, terminal=terminal) as bar:
        bar.update(5)
        bar.refresh()
    assert screen.getvalue() == ""


def test_this_is_no_notebook():
    assert not in_notebook()


@pytest.fixture(scope="module")
def executed(tmp_path_factory) -> list[Any]:
    """The outputs of each cell, from a real kernel."""
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    home = tmp_path_factory.mktemp("kernel")
    cells = [f"import sys; sys.path.insert(0, {str(ROOT)!r})", STUDY, TRAINING]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(home))
        resources = {"metadata": {"path": str(home)}}
        client.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    return [cell["outputs"] for cell in notebook.cells]


def test_a_study_shows_one_bar_below_its_cell(executed):
    study = executed[1]
    bars = [output["data"] for output in study if output["output_type"] == "display_data"]
    shown = [bar["text/plain"] for bar in bars]
    assert len(shown) == 1 and shown[0].startswith("0:00 of 1:00  training, step 7, validation loss 1.234")
    assert "<pre" in bars[-1]["text/html"]
    printed = [output for output in study if output["output_type"] == "stream"]
    assert [(one["name"], one["text"]) for one in printed] == [("stdout", "StudyBar True\n")]


def test_a_training_leaves_one_line_of_what_happened_and_the_cells_own_value(executed):
    bar, value = executed[2]
    assert bar["output_type"] == "display_data" and "steps in 00:" in bar["data"]["text/plain"]
    assert "validation loss 2.250" in bar["data"]["text/plain"] and "\n" not in bar["data"]["text/plain"]
    assert value["output_type"] == "execute_result"
    assert "100% |" in value["data"]["text/plain"] and "val 2.250" in value["data"]["text/plain"]
