"""The verb as students and teachers meet it, and the packages that it writes, run as they would be run."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import zipfile

import pytest

from minilm import classroom, cli
from minilm.classroom.lab import lab_names, load_lab, part

pytestmark = pytest.mark.usefixtures("warm")


def verb(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.run_verb(classroom.main, [str(argument) for argument in arguments])
    return exit_.value.code or 0


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    out = tmp_path_factory.mktemp("packages") / "lab2"
    assert verb("build", "lab2", "--format", "gradescope", "--out", out) == 0
    return out


def pytest_in(folder) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", "."]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True).stdout


def test_the_student_gets_no_solution(package):
    names = {path.name for path in (package / "student").iterdir()}
    assert names == {"handout.md", "lab2.py", "test_lab2.py", "cases.json"}
    text = "".join(path.read_text(encoding="utf-8") for path in (package / "student").iterdir())
    tree = ast.parse(part(load_lab("lab2"), "solution.py"))
    bodies = [node.body[1:] for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert len(bodies) == 7 and not any(ast.unparse(line) in text for body in bodies for line in body)
    handout = (package / "student" / "handout.md").read_text(encoding="utf-8")
    assert all(word in handout for word in ("20 points", "Theory", "●●●○○", "deliverable", "minutes"))


OFTEN = "lab4"  # the one that also uses files; the others are marked slow, each starts pytest twice
NAMES = [name if name == OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in lab_names()]


@pytest.mark.parametrize("name", NAMES)
def test_public_tests_run_without_minilm(name, tmp_path, books):
    """The gaps fail them all, the reference passes them all."""
    from minilm.classroom.builders import build

    build(books(name), "pytest", tmp_path / "x")
    student, teacher = tmp_path / "x" / "student", tmp_path / "x" / "teacher"
    shown = pytest_in(student)
    assert " passed" not in shown and "NotImplementedError: task" in shown
    shown = pytest_in(teacher)
    assert " passed" in shown and "failed" not in shown, shown


def test_check_tells_and_counts(package, tmp_path, capsys):
    for name in ("cases.json", "lab2.py"):
        (tmp_path / name).write_bytes((package / "student" / name).read_bytes())
    assert verb("check", tmp_path / "lab2.py") == 1
    assert "not written yet" in capsys.readouterr().out
    text = part(load_lab("lab2"), "solution.py")
    (tmp_path / "lab2.py").write_text(text)
    assert verb("check", tmp_path / "lab2.py") == 0 == verb("check", tmp_path / "lab2.py", "--lab", "lab2")
    (tmp_path / "lab2.py").write_text(text.replace("/ math.sqrt(q.size(-1))", "/ q.size(-1)"))
    assert verb("check", tmp_path / "lab2.py") == 1
    assert "hint: You divide by D." in capsys.readouterr().out


def test_hints_have_three_levels(capsys):
    shown = set()
    for level in (1, 2, 3):
        assert verb("hint", "lab2", "scores", "--level", level) == 0
        shown.add(capsys.readouterr().out)
    assert len(shown) == 3


def test_gradescope_package_runs_as_it_is_run_there(package, tmp_path):
    home = tmp_path / "autograder"
    for name in ("source", "submission", "results"):
        (home / name).mkdir(parents=True)
    with zipfile.ZipFile(package / "teacher" / "autograder.zip") as archive:
        names = archive.namelist()
        archive.extractall(home / "source")
    assert {"setup.sh", "run_autograder", "cases.json"} <= set(names) and not any(
        "labs/" in name for name in names
    )
    (home / "submission" / "lab2.py").write_text(part(load_lab("lab2"), "solution.py"))
    environment = {"PATH": os.environ["PATH"], "HOME_OF_GRADER": str(home), "PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", str(home / "source" / "run_autograder")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((home / "results" / "results.json").read_text())["score"] == 20


def test_grade_one_and_many(package, tmp_path, capsys):
    cases, pile = package / "teacher" / "cases.json", tmp_path / "pile"
    pile.mkdir()
    (pile / "anna.py").write_text(part(load_lab("lab2"), "solution.py"))
    (pile / "bert.py").write_text("import sys\nsys.exit(0)\n")
    arguments = ["grade", pile, "--cases", cases, "-j", 2, "--csv", "--out", tmp_path / "out"]
    assert verb(*arguments) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[1].startswith("anna,20.0,20") and rows[2].startswith("bert,0.0,20") and len(rows) == 3
    assert (tmp_path / "out" / "class.html").is_file()
    one = ["grade", pile / "anna.py", "--cases", cases, "--classroom50", tmp_path / "result.json"]
    assert verb(*one) == 0 and json.loads((tmp_path / "result.json").read_text())["score"] == 20
    assert "submissions are confined" in capsys.readouterr().out or sys.platform != "linux"


WRONG = [
    (["build", "lab9"], "must be one that there is, got 'lab9'; did you mean"),
    (["build", "lab2", "--out", "{full}"], "not empty"),
    (
        ["build", "lab2", "--format", "otterr"],
        "--format must be one that is known, got 'otterr', did you mean 'otter'",
    ),
    (["check", "{full}/nothing.py"], "cannot read"),
    (["check", "{full}/my.py"], "cases.json"),
    (["hint", "lab2", "score"], "did you mean 'scores'"),
    (["hint", "lab2", "scores", "--level", "4"], "--level"),
    (["grade", "{full}"], "one of --lab, --cases, --unseen must be given"),
    (["grade", "{full}/empty", "--lab", "lab2"], "holds no submissions"),
    (["grade", "{full}", "--lab", "lab2", "-j", "0"], "--jobs"),
    (["grade", "{full}", "--lab", "lab2", "--gradescope", "x"], "one submission"),
    (["grade", "{full}", "--cases", "{full}/my.py"], "my.py"),
    (["grade", "{full}", "--lab", "lab2", "--unseen", "fables:1"], "--unseen"),
    (["grade", "{full}/empty", "--unseen", "fables:1"], "holds no runs"),
    (["grade", "{full}/my.py", "--unseen", "fables:1"], "not a folder"),
    (["grade", "{full}", "--unseen", "fables:1668"], "1668"),
    (["grade", "{full}", "--unseen", "nothing.txt"], "nothing.txt"),
    (["selftest", "lab"], "did you mean"),
    ([], "required"),
]


@pytest.mark.parametrize(("arguments", "part_"), WRONG)
def test_wrong_input_is_one_sentence(tmp_path, capfd, arguments, part_):
    (tmp_path / "my.py").write_text("x = 1")
    (tmp_path / "empty").mkdir()
    assert verb(*[argument.format(full=tmp_path) for argument in arguments]) == 2
    shown = capfd.readouterr().err
    assert part_ in shown and len(shown.strip().splitlines()) == 1, shown


def test_formats_are_those_of_the_builders():
    from minilm.classroom.builders import FORMATS

    assert tuple(FORMATS) == classroom.FORMATS
