"""The verbs as a user meets them, end to end, and every wrong input as one sentence."""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minilm import __main__ as root
from minilm import cli, disk
from minilm.training.run import newest_run

ROOT = Path(__file__).parent.parent
TEXT = "".join(f"Fox: I have {k} plums.\nCrow: And I have {k * 5 % 7} pears, dear fox.\n" for k in range(80))
TINY = ["--layers", "1", "--hidden", "16", "--heads", "2", "--context", "16", "--batch", "4"]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a text and a trained run."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "my.txt").write_text(TEXT)
    arguments = [
        str(folder / "my.txt"),
        *TINY,
        "--steps",
        "30",
        "--threads",
        "1",
        "--out",
        str(folder / "run"),
    ]
    assert verb("train", arguments) == 0
    return folder


def verb(name: str, arguments: list[str]) -> int:
    """Runs a verb in this process, as `python -m minilm.NAME` does, and returns its exit code."""
    module = importlib.import_module(f"minilm.{name}")
    with pytest.raises(SystemExit) as exit_:
        cli.run_verb(module.main, arguments)
    return exit_.value.code or 0


def test_a_run_folder_is_whole(desk):
    names = {path.name for path in (desk / "run").iterdir()}
    assert {"config.json", "tokenizer.json", "model.safetensors", "metrics.jsonl", "report.html"} <= names
    assert any(name.endswith(".png") for name in names)
    result = json.loads((desk / "run" / "result.json").read_text())
    assert (
        result["steps"] == 30 and result["counting"]["order"] >= 2 and 0 <= result["mixture"]["weight"] <= 1
    )


def test_train_tells_what_it_chose_and_reached(desk, capsys):
    out = desk / "again"
    assert verb("train", [str(desk / "my.txt"), *TINY, "--steps", "10", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    for part in ("corpus", "characters", "hardware", "cpu", "counting (Kneser-Ney", "nats", "bits", str(out)):
        assert part in shown
    assert re.search(r"^model and counting \(weight [01]\.\d\d\) +\d", shown, re.MULTILINE)


def test_evaluate_gives_all_rows(desk, capsys):
    assert verb("evaluate", [str(desk / "run"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    names = [row["name"] for row in answer["rows"]]
    assert (
        names[0] == "model" and {"gzip", "xz"} <= set(names) and any("Kneser-Ney" in name for name in names)
    )
    stored = json.loads((desk / "run" / "result.json").read_text())
    assert answer["rows"][0]["val"] == pytest.approx(stored["val_loss"], abs=1e-4)
    assert answer["rows"][0]["test"] == pytest.approx(stored["test_loss"], abs=1e-4)
    mixed = answer["rows"][1]
    assert mixed["name"].startswith("model and counting (weight ")
    assert mixed["val"] == pytest.approx(stored["mixture"]["val"], abs=1e-4)
    assert verb("evaluate", [str(desk / "run"), "--json", "--sliding"]) == 0
    model, mixed = json.loads(capsys.readouterr().out)["rows"][:2]
    assert mixed["name"].startswith("model and counting") and mixed["val"] < model["val"]


def test_sample_follows_seed_and_stop(desk, capsys):
    texts = []
    for seed in ("1", "1", "2"):
        assert verb("sample", [str(desk / "run"), "--prompt", "Fox: ", "--chars", "60", "--seed", seed]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2] and texts[0].startswith("Fox: ")
    assert verb("sample", [str(desk / "run"), "--chars", "300", "--stop", "a", "--stop", "e", "--json"]) == 0
    text = json.loads(capsys.readouterr().out)["text"]
    assert "a" not in text and "e" not in text


def test_sample_without_a_run_takes_the_newest(desk, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert verb("sample", ["--chars", "5"]) == 2
    assert "runs holds none; train one" in capsys.readouterr().err
    for name, age in (("old", 100), ("study/best", 0), ("older", 200)):
        folder = shutil.copytree(desk / "run", tmp_path / "runs" / name)
        written = (folder / "model.safetensors").stat().st_mtime - age
        os.utime(folder / "model.safetensors", (written, written))
    (tmp_path / "runs" / "not-a-run").mkdir()
    assert newest_run() == Path("runs/study")
    assert verb("sample", ["--prompt", "Fox: ", "--chars", "5"]) == 0
    assert capsys.readouterr().out.startswith("Fox: ")


def test_sample_writes_several_at_once(desk, capsys):
    run = str(desk / "run")
    arguments = ["--prompt", "Fox: ", "--prompt", "an", "--streams", "2", "--chars", "90"]
    assert verb("sample", [run, *arguments]) == 0
    shown = capsys.readouterr().out
    assert all(f"--- {number} of 4" in shown for number in (1, 2, 3, 4)) and shown.count("Fox: ") >= 2
    assert verb("sample", [run, *arguments, "--json"]) == 0
    texts = json.loads(capsys.readouterr().out)["texts"]
    assert [text["prompt"] for text in texts] == ["Fox: ", "Fox: ", "an", "an"]
    assert all(len(text["text"]) == 90 for text in texts) and len({text["text"] for text in texts}) == 4


def test_sample_with_a_draft_is_greedy_text_all_the_same(desk, capsys):
    answers = []
    for extra in ([], ["--draft", "ngram"]):
        arguments = ["--chars", "120", "--temperature", "0", "--json", *extra]
        assert verb("sample", [str(desk / "run"), *arguments]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1]
    assert verb("sample", [str(desk / "run"), "--chars", "50", "--draft", "ngram"]) == 0
    assert capsys.readouterr().out.strip()


def test_sample_writes_with_counting(desk, capsys):
    options = ["--counting", "--chars", "40", "--top-k", "5", "--top-p", "0.9", "--stop", "z"]
    texts = []
    for seed in ("1", "1", "2"):
        assert verb("sample", [str(desk / "run"), *options, "--seed", seed]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    several = ["--prompt", "Fox: ", "--prompt", "an", "--streams", "2", "--json"]
    for temperature in ("0", "1"):
        assert verb("sample", [str(desk / "run"), *options, *several, "--temperature", temperature]) == 0
        found = json.loads(capsys.readouterr().out)["texts"]
        assert len(found) == 4 and all(text["text"] for text in found)


def test_a_text_that_is_gone_is_one_sentence(desk, tmp_path, capfd):
    text = tmp_path / "short-lived.txt"
    text.write_text(TEXT)
    run = str(tmp_path / "run")
    assert verb("train", [str(text), *TINY, "--steps", "2", "--out", run]) == 0
    text.unlink()
    capfd.readouterr()
    assert verb("sample", [run, "--counting"]) == 2
    shown = capfd.readouterr().err
    assert "short-lived.txt" in shown and len(shown.strip().splitlines()) == 1


def test_a_finished_run_resumes_to_itself(desk, capsys):
    before = (desk / "run" / "model.safetensors").read_bytes()
    assert verb("train", ["--resume", str(desk / "run")]) == 0
    assert (desk / "run" / "model.safetensors").read_bytes() == before


WRONG = [
    ("train", ["{missing}.txt"], "missing.txt"),
    ("train", ["shakespear"], "did you mean"),
    ("train", ["{text}", "--preset", "modrn"], "did you mean 'modern'"),
    ("train", ["{text}", "--layrs", "2"], "did you mean '--layers'"),
    ("train", ["{text}", "--steps", "0"], "--steps must be at least 1, got 0"),
    ("train", ["{text}", "--steps", "many"], "--steps"),
    ("train", ["{text}", "--lr", "nan"], "--lr must be finite"),
    ("train", ["{text}", "--hidden", "100", "--heads", "3"], "--heads must divide --hidden, got 3 and 100"),
    ("train", ["{text}", "--hidden", "1000000", "--heads", "1000"], "fit into memory"),
    ("train", ["{text}", "--context", "100000"], "context"),
    ("train", ["{text}", "--device", "cuda"], "--device cpu"),
    ("train", ["{text}", "--steps", "5", "--minutes", "1"], "not both"),
    ("train", ["{text}", "--steps", "5", "--out", "{run}"], "not empty"),
    ("train", ["{text}", "--steps", "5", "--out", "{text}"], "a file of that name"),
    ("train", ["--resume", "{missing}"], "missing"),
    ("train", ["--resume", "{run}", "--lr", "0.5"], "--lr was 0.03, now 0.5"),
    ("train", ["{empty}"], "empty"),
    ("train", ["{binary}"], "binary.txt"),
    ("train", ["{same}"], "same.txt"),
    ("train", ["{short}"], "short.txt"),
    ("train", ["{text}", "--tokens", "bpe"], "--tokens must be 'auto', 'characters' or 'bpe:N'"),
    ("train", ["{text}", "--tokens", "words"], "got 'words'; try --tokens bpe:1024"),
    ("train", ["{text}", "--tokens", "bpe:999999999"], "at most 9,999,999, got 'bpe:999999999'"),
    ("train", ["{text}", "--tokens", "bpe:0"], "--tokens bpe:0 must hold the base at least"),
    ("tune", ["{text}", "--tokens", "bpe:3"], "256 bytes; ask for --tokens bpe:35 or more"),
    ("train", ["--resume", "{run}", "--tokens", "bpe:300"], "keeps its tokens, got --tokens bpe:300"),
    ("tune", ["--resume", "{run}", "--tokens", "bpe:300"], "keeps its settings, got --tokens"),
    ("evaluate", ["{missing}"], "does not exist"),
    ("evaluate", ["{folder}"], "not a run"),
    ("evaluate", [], "required"),
    ("sample", ["{run}", "--temperature", "-1"], "--temperature must be at least 0"),
    ("sample", ["{run}", "--top-k", "0"], "--top-k must be at least 1, got 0"),
    ("sample", ["{run}", "--chars", "0"], "--chars"),
    ("sample", ["{run}", "--streams", "0"], "--streams"),
    ("sample", ["{run}", "--keep", "0"], "keep"),
    ("sample", ["{run}", "--draft", "ngram", "--streams", "2"], "one text at a time, got 2"),
    ("sample", ["{run}", "--draft", "ngrams"], "did you mean 'ngram'"),
    ("sample", ["{run}", "--draft", "ngram", "--counting"], "leave one of them out"),
    ("sample", ["{folder}"], "not a run"),
    ("report", ["{folder}"], "{folder}"),
    ("tune", ["{text}", "--minutes", "0"], "minutes"),
    ("tune", ["{text}", "--minutes", "nan"], "minutes"),
    ("tune", ["{text}", "--trials", "0"], "trials"),
    ("tune", ["{text}", "--algo", "tpo"], "did you mean 'tpe'"),
    ("tune", ["{text}", "--workers", "0", "--trials", "1"], "workers"),
    ("tune", ["--resume", "{folder}"], "not a study"),
    ("data", ["show", "fabels"], "did you mean 'fables'"),
]


@pytest.mark.parametrize(("name", "arguments", "part"), WRONG)
def test_wrong_input_is_one_sentence(desk, capfd, monkeypatch, name, arguments, part):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)  # `--device cuda` must be wrong here too
    empty_folder = desk / "folder"
    empty_folder.mkdir(exist_ok=True)
    contents = {"empty": b"", "binary": b"GIF89a\x00\x01" * 300, "same": b"a" * 3000, "short": b"short"}
    for file, data in contents.items():
        (desk / f"{file}.txt").write_bytes(data)
    places = {key: str(desk / f"{key}.txt") for key in contents}
    places |= {key: str(desk / key) for key in ("missing", "run", "folder")} | {"text": str(desk / "my.txt")}
    before = sorted(path.name for path in (desk / "run").iterdir())
    here = Path.cwd()
    os.chdir(desk)
    try:
        code = verb(name, [argument.format(**places) for argument in arguments])
    finally:
        os.chdir(here)
    shown = capfd.readouterr()
    assert code == 2
    assert "Traceback" not in shown.err and part.format(**places) in shown.err
    assert len(shown.err.strip().splitlines()) == 1, shown.err
    assert sorted(path.name for path in (desk / "run").iterdir()) == before


def test_a_full_disk_is_one_sentence(desk, capfd, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(disk.os, "fsync", full)
    assert verb("train", [str(desk / "my.txt"), *TINY, "--steps", "5", "--out", str(desk / "full")]) == 4
    shown = capfd.readouterr().err
    assert "the disk is full" in shown and "Traceback" not in shown


def test_divergence_has_its_own_code(desk, capfd):
    arguments = [str(desk / "my.txt"), *TINY, "--steps", "300", "--lr", "1e9", "--warmup", "0"]
    assert verb("train", [*arguments, "--out", str(desk / "diverged")]) == 3
    assert "diverged at step" in capfd.readouterr().err


@pytest.mark.parametrize("name", cli.VERBS)
def test_help_is_quick_and_says_enough(name):
    """Without torch and its like, which take seconds to load; seconds are not asserted on a busy machine."""
    program = (
        "import sys, runpy\n"
        f"sys.argv = ['minilm.{name}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('minilm.{name}', run_name='__main__')\n"
        "except SystemExit as error:\n"
        "    assert not error.code\n"
        "heavy = {'torch', 'hyperopt', 'matplotlib', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "example: python -m minilm." in " ".join(done.stdout.split()) and "default" in done.stdout


def test_the_root_lists_the_verbs(capsys):
    with pytest.raises(SystemExit) as exit_:
        root.main([])
    assert not exit_.value.code
    shown = capsys.readouterr().out
    assert all(name in shown for name in cli.VERBS)
    with pytest.raises(SystemExit) as exit_:
        root.main(["tun"])
    assert exit_.value.code == 2 and "did you mean 'tune'?" in capsys.readouterr().err


def root_says(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        root.main(list(arguments))
    return exit_.value.code or 0, capsys.readouterr()


def test_the_root_says_its_version_and_helps(capsys):
    import minilm

    code, shown = root_says(capsys, "--version")
    assert code == 0 and shown.out == f"minilm {minilm.__version__}\n"
    assert root_says(capsys, "help") == root_says(capsys, "--help")
    code, shown = root_says(capsys, "help", "sample")
    assert code == 0 and "--temperature" in shown.out
    assert root_says(capsys, "help", "sampel")[0] == 2


def test_a_shell_can_complete_every_verb_and_option(capsys, monkeypatch):
    pytest.importorskip("shtab", reason="shtab is not installed: pip install -e .[completion]")
    code, shown = root_says(capsys, "--completion", "bash")
    assert code == 0 and all(verb in shown.out for verb in cli.VERBS) and "--temperature" in shown.out
    done = subprocess.run(["bash", "-n"], input=shown.out, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    code, shown = root_says(capsys, "--completion", "fishy")
    assert code == 2 and "did you mean 'fish'?" in shown.err
    monkeypatch.setitem(sys.modules, "shtab", None)
    code, shown = root_says(capsys, "--completion", "bash")
    assert code == 2 and "pip install shtab" in shown.err


@pytest.mark.parametrize("name", cli.VERBS)
def test_no_help_says_that_a_default_is_nothing(name, capsys):
    with pytest.raises(SystemExit):
        importlib.import_module(f"minilm.{name}").main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "default: None" not in shown and "default: False" not in shown and ") (default" not in shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train", ("--minutes", "--init", "the model:", "--layers", "--lr", "the machine:", "--threads")),
        ("tune", ("--minutes", "--for", "the search:", "--algo", "--compare", "the machine:", "--workers")),
    ],
)
def test_help_begins_with_what_most_need(capsys, name, expected):
    with pytest.raises(SystemExit):
        importlib.import_module(f"minilm.{name}").main(["--help"])
    shown = capsys.readouterr().out
    places = [shown.index(words if words.endswith(":") else f"  {words} ") for words in expected]
    assert shown.index("what most need:") < places[0] and places == sorted(places)


@pytest.mark.parametrize("name", ["sample", "chat", "lens", "evaluate"])
def test_a_device_that_is_not_there(desk, capsys, name):
    text = ["--text", "Fox: I"] if name == "lens" else []
    assert verb(name, [str(desk / "run"), *text, "--device", "mps"]) == 2
    assert "--device must be one that this machine has" in capsys.readouterr().err


def test_columns_of_a_table_grow_together():
    from minilm.training.scores import table

    rows = [
        {"name": "model", "val": 9.5, "test": 12.25},
        {"name": "a long name for a row", "val": 0.1, "test": None},
    ]
    for protocol in ("exact", "exact windows, 2000 characters of each split"):
        lines = table(rows, protocol).splitlines()
        assert len({len(line) for line in lines}) == 1
        ends = [[match.end() for match in re.finditer(r"\S+", line)][-6:] for line in lines[1:]]
        assert ends[0] == ends[1]


def test_data_lists_shows_and_prepares(desk, capsys):
    assert verb("data", ["list", "--json"]) == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"fables", "pydocs", "python", "shakespeare"} <= set(listed) and all(
        r["licence"] for r in listed.values()
    )
    assert verb("data", ["show", str(desk / "my.txt")]) == 0
    shown = capsys.readouterr().out
    assert "Fox: I have 0 plums." in shown and f"{len(TEXT):,} characters" in shown and "sha256" in shown
    assert verb("data", ["prepare", "fables", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["floors"]["val"] > 0


def test_public_names():
    import minilm

    for name in minilm.__all__:
        assert getattr(minilm, name) is not None
    assert not {"train", "tune"} & set(minilm.__all__)
