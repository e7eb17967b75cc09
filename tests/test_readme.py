"""What README shows is what happens: its commands run, its Python runs, its reading order counts right.

Long runs are made short by substitutions; one that no longer matches README fails the test.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHORTER = {  # in README -> in this test
    "minilm.tune fables": "minilm.tune fables --trials 2 --workers 1",
    # three sides by the clock: the slow test of a comparison has them, and a crowded machine would refuse short ones
    "--minutes 10 --compare": "--trials 2 --workers 1",
    "--minutes 10": "--trials 2 --workers 1",
    "minutes=10": "trials=2, workers=1",
    "max_evals=100": "max_evals=2",
    "--steps 200": "--steps 20",
    "TrainConfig(steps=200)": "TrainConfig(steps=10, eval_chars=2000)",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def shortened(text: str) -> str:
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    return text


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a text that nobody prepared for us."""
    folder = tmp_path_factory.mktemp("desk")
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8") + README
    (folder / "my.txt").write_text(text + "Once upon a time.\n", encoding="utf-8")
    return folder


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "MINILM_TRIAL_STEPS": "3", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_every_substitution_still_matches():
    for long in SHORTER:
        assert long in README, f"README no longer shows {long!r}"


def chains(lines: list[str]) -> list[list[str]]:
    """The commands, those that speak of the same run one after another; the others need not wait for each other."""
    found: dict[str, list[str]] = {}
    for line in lines:
        folder = re.search(r"runs/[\w-]+", line)
        found.setdefault(folder[0] if folder else line, []).append(line)
    return list(found.values())


def test_commands_run(desk):
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    verbs = [shortened(line) for line in lines if line.startswith("python -m minilm")]
    assert len(verbs) >= 7

    def one_after_another(chain: list[str]) -> int:
        for line in chain:
            words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', line)]
            done = run([sys.executable, *words[1:]], desk)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr
        return len(chain)

    with ThreadPoolExecutor(2) as two:
        assert sum(two.map(one_after_another, chains(verbs))) == len(verbs)


def test_python_runs(desk):
    programs = [block for block in blocks("python") if ">>>" not in block]
    assert programs
    for program in programs:
        done = run([sys.executable, "-c", shortened(program)], desk)
        assert done.returncode == 0, f"{program}\n{done.stderr}"


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    shown = set(re.findall(r"^make ([a-z-]+)", "\n".join(blocks("sh")), flags=re.MULTILINE))
    assert {"tune", "test"} <= shown <= targets


def test_the_reading_order_counts_right():
    """Within 15 per cent, so that README need not change with every line."""
    rows = re.findall(r"^\| `(minilm/[\w./]+)` \| (\d+) \|", README, flags=re.MULTILINE)
    assert len(rows) >= 10
    wrong = []
    for name, lines in rows:
        count = len((ROOT / name).read_text(encoding="utf-8").splitlines())
        if abs(count - int(lines)) > 0.15 * count:
            wrong.append(f"{name}: README says {lines}, it has {count}")
    assert not wrong, wrong
