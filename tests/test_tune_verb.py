"""The verb, the names for `fmin`, and a real study of three tiny trials, run once for most tests here."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import minilm.tune
from minilm.errors import ConfigError, RunError
from minilm.files import read_json, read_records, write_json
from minilm.tune import main, train_model
from minilm.tuner.records import Journal, TrialState

ROOT = Path(__file__).parent.parent
LETTERS = "the quick brown fox jumps over a lazy dog, and "


def write_text(folder: Path, word: str = "so on; ") -> Path:
    path = folder / "tale.txt"
    path.write_text("".join(f"{LETTERS}{number % 7} {word}\n" for number in range(60)))
    return path


def environment(**more: str) -> dict[str, str]:
    threads = {"OMP_NUM_THREADS": "1", "MINILM_TRIAL_STEPS": "3"}
    return {**os.environ, "PYTHONPATH": str(ROOT), **threads, **more}


def tune(*arguments: str, **more: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "minilm.tune", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(**more), timeout=300)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """(folder, text, what the verb printed)"""
    home = tmp_path_factory.mktemp("study")
    text, folder = write_text(home), home / "out"
    done = tune(str(text), "--trials", "3", "--workers", "2", "--out", str(folder), "--seed", "5")
    assert done.returncode == 0, done.stderr
    return folder, text, done.stdout


def test_what_the_verb_prints(study):
    folder, _, printed = study
    lines = printed.splitlines()
    assert lines[0].startswith("minilm    reads") and lines[1].startswith("corpus    tale")
    assert any("2 workers x 1 thread on cpu, 3 steps per trial" in line for line in lines)
    for words in (
        "final model",
        "model and counting (weight",
        "counting (Kneser-Ney",
        "sample 1",
        "next      python -m minilm.sample",
        f"run       {folder / 'best'}",
        "learning",
    ):
        assert words in printed.replace("lr ", "learning "), words
    assert f"page      {folder / 'report.html'}" in printed and (folder / "report.html").is_file()


def test_the_numbers_hold(study):
    from minilm import load_corpus, load_run
    from minilm.training.evaluate import exact_loss

    folder, text, _ = study
    result, run, corpus = (
        json.loads((folder / "result.json").read_text()),
        load_run(folder),
        load_corpus(text, json.loads((folder / "study.json").read_text())["corpus"]["tokens"]),
    )
    found = exact_loss(run.model, **corpus.scored("val"))  # per character, whatever the tokens are
    assert result["val_loss"] == pytest.approx(found, abs=1e-6)
    assert result["protocol"] == "exact" and result["test_loss"] > 0 and result["counting"]["val"] > 0
    assert result["val_loss"] <= result["best_trial_loss"] + 1e-6
    assert run.config["train"]["steps"] == 4 * 3 or run.result["steps"] == 3
    assert len(result["samples"]) == 3 and len(result["samples"][0]) > 100
    assert not (folder / "models").exists()


def test_the_records_hold(study):
    from minilm.tuner.space import DEFAULT_POINT

    trials = sorted(Journal(study[0]).trials, key=lambda trial: trial.tid)
    assert [trial.tid for trial in trials] == [0, 1, 2]
    first = trials[0]
    assert first.state is TrialState.OK and first.point == DEFAULT_POINT
    assert first.steps == 3 and first.curve and first.n_parameters > 0 and first.tokens_per_second > 0
    assert first.worker in (0, 1) and 0 <= first.started < first.ended


def test_a_finished_study_is_only_loaded(study, capsys):
    folder, _, printed = study
    before = (folder / "trials.jsonl").read_bytes()
    assert main(["--resume", str(folder), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["val_loss"] == json.loads((folder / "result.json").read_text())["val_loss"]
    assert (folder / "trials.jsonl").read_bytes() == before


def test_a_study_of_an_earlier_format_is_told_in_one_sentence(study, tmp_path):
    folder = shutil.copytree(study[0], tmp_path / "old")
    write_json(folder / "study.json", {**read_json(folder / "study.json"), "version": 1})
    with pytest.raises(RunError, match="must be 'minilm-study' version 2.*its model is whole, use .*best"):
        main(["--resume", str(folder)])


def test_study_as_an_object(study):
    import hyperopt

    from minilm.tuner.resume import resume_study

    again = resume_study(study[0])
    assert isinstance(again.trials, hyperopt.Trials) and len(again.trials) == 3
    assert again.trials.best_trial["result"]["loss"] == min(trial.loss for trial in again.records)
    assert again.best.model.n_parameters == again.result["n_parameters"]
    assert again.report() == study[0] / "report.html"


def test_resume_refuses_another_text_space_or_setting(study, tmp_path):
    from hyperopt import hp

    from minilm.tuner.resume import resume_study

    other = write_text(tmp_path, "not so; ")
    with pytest.raises(RunError, match="another text"):
        main([str(other), "--resume", str(study[0])])
    with pytest.raises(RunError, match="another space"):
        resume_study(study[0], space={"dropout": hp.uniform("dropout", 0, 0.5)})
    with pytest.raises(ConfigError, match="--seed"):
        main(["--resume", str(study[0]), "--seed", "1"])
    with pytest.raises(ConfigError, match="counts trials"):
        main(["--resume", str(study[0]), "--minutes", "1"])
    with pytest.raises(RunError, match="not a study"):
        main(["--resume", str(tmp_path)])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trials", "0"], "at least 1"),
        (["--minutes", "0"], "minutes must be at least 0.001, got 0"),
        (["--minutes", "nan"], "minutes must be finite, got nan"),
        (["--workers", "0"], "workers must be at least 1, got 0"),
        (["--seed", "-1"], "seed"),
        (["--deterministic", "--minutes", "1"], "clock"),
        (["--deterministic", "--trials", "2", "--workers", "2"], "1 worker"),
        (["--compare", "--trials", "2"], "--compare"),
        (["--workers", "dask://nowhere"], "dask://host:port"),
    ],
)
def test_impossible_requests_are_sentences(tmp_path, arguments, words):
    with pytest.raises(ConfigError, match=words):
        main([str(write_text(tmp_path)), *arguments, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys, minilm.tune\n"
        "try: minilm.tune.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'hyperopt', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.stdout.splitlines()[-1] == "[]" and "--minutes" in done.stdout


def test_the_verbs_algorithms_and_schedulers_are_the_tuners():
    from minilm.tuner.algorithms import ALGORITHMS
    from minilm.tuner.rungs import SCHEDULERS
    from minilm.tuner.settings import DEVICES

    assert tuple(ALGORITHMS) == minilm.tune.ALGORITHMS
    assert tuple(SCHEDULERS) == minilm.tune.SCHEDULERS
    assert DEVICES == minilm.tune.DEVICES


@pytest.fixture
def bare(tmp_path, monkeypatch):
    monkeypatch.setenv("MINILM_CORPUS", str(write_text(tmp_path)))
    monkeypatch.setenv("MINILM_TRIAL_STEPS", "2")


def test_the_documents_snippet(bare):
    import numpy as np
    from hyperopt import fmin, hp, space_eval, tpe

    space = {
        "learning_rate": hp.loguniform("learning_rate", -5, -2),
        "num_layers": hp.choice("num_layers", [2, 4, 6]),
        "hidden_size": hp.choice("hidden_size", [64, 128, 256]),
    }
    quiet = {"show_progressbar": False, "rstate": np.random.default_rng(0)}
    best = fmin(fn=train_model, space=space, algo=tpe.suggest, max_evals=2, **quiet)
    with pytest.raises(ConfigError, match="space_eval"):
        train_model(best)  # indexes of hp.choice, which only their space can resolve
    again = train_model(space_eval(space, best))
    assert again["status"] == "ok" and again["params"]["hidden_size"] in (64, 128, 256)
    assert again["params"]["num_layers"] in (2, 4, 6)


def test_our_own_space_and_what_fmin_returns(bare):
    import numpy as np
    from hyperopt import Trials, fmin, tpe

    trials = Trials()
    best = fmin(
        fn=pickle.loads(pickle.dumps(train_model)),  # noqa: S301 (ours, of this moment)
        space=minilm.tune.space,
        algo=tpe.suggest,
        max_evals=2,
        trials=trials,
        show_progressbar=False,
        rstate=np.random.default_rng(3),
    )
    assert all(isinstance(result["loss"], float) for result in trials.results)
    assert train_model(best)["loss"] == pytest.approx(min(trials.losses()), abs=1e-5)  # np.float64 values
    assert train_model(**{name: value.item() for name, value in best.items()})["status"] == "ok"


def test_a_diverging_training_is_a_failure_without_a_loss(bare):
    answer = train_model({"learning_rate": 1e30, "num_layers": 1, "hidden_size": 32})
    assert answer["status"] == "fail" and "loss" not in answer and "diverged" in answer["reason"]


def test_an_expensive_point_trains_with_a_smaller_batch_and_says_so(bare):
    answer = train_model({"num_layers": 1, "hidden_size": 128, "batch_size": 128})
    assert answer["status"] == "ok" and answer["params"]["batch_size"] < 128


def test_train_model_names_what_it_does_not_know(bare):
    with pytest.raises(ConfigError, match="did you mean 'learning_rate'"):
        train_model({"learning_rat": 0.1})
    with pytest.raises(ConfigError, match="space_eval"):
        train_model({"hidden_size": 5, "num_layers": 1})


@pytest.mark.slow
def test_more_trials_continue_as_one_study(study, tmp_path):
    """3 trials and then 2 more are the same 5 trials, losses included."""
    folder, text, _ = study
    kept = (folder / "trials.jsonl").read_bytes()
    assert tune("--resume", str(folder), "--trials", "5").returncode == 0
    assert (folder / "trials.jsonl").read_bytes().startswith(kept)
    whole = tmp_path / "whole"
    arguments = ["--trials", "5", "--workers", "2", "--seed", "5", "--out", str(whole)]
    assert tune(str(text), *arguments).returncode == 0
    parts, undisturbed = ({t.tid: (t.point, t.loss) for t in Journal(f).trials} for f in (folder, whole))
    assert parts == undisturbed


def group(leader: int) -> list[str]:
    """What is left of a process group."""
    listed = subprocess.run(
        ["ps", "-e", "-o", "pgid=,stat=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    return [row[2] for row in rows if int(row[0]) == leader and not row[1].startswith("Z")]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_keeps_the_records_and_leaves_no_process(tmp_path):
    folder = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "minilm.tune",
        str(write_text(tmp_path)),
        "--trials",
        "40",
        "--out",
        str(folder),
    ]
    process = subprocess.Popen(
        command, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not (folder / "trials.jsonl").exists():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and f"--resume {folder}" in told
    kept = Journal(folder).trials
    assert kept and all(trial.state is TrialState.OK for trial in kept)
    end = time.monotonic() + 10
    while members := group(process.pid):
        assert time.monotonic() < end, members
        time.sleep(0.05)
    done = tune("--resume", str(folder), "--trials", str(len(kept) + 1))
    assert done.returncode == 0, done.stderr
    assert len(Journal(folder).trials) == len(kept) + 1


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_deterministic_study_killed_and_continued_equals_the_undisturbed_one(tmp_path):
    def outcome(folder: Path) -> tuple:
        trials = sorted(Journal(folder).trials, key=lambda trial: trial.tid)
        result = json.loads((folder / "result.json").read_text())
        told = [(trial.tid, trial.point, trial.losses, trial.state) for trial in trials]
        return told, result["val_loss"], result["test_loss"], result["samples"]

    given = [str(write_text(tmp_path)), "--trials", "9", "--deterministic", "--out"]
    more = {"MINILM_TRIAL_STEPS": "9"}
    assert tune(*given, str(tmp_path / "whole"), **more).returncode == 0
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "minilm.tune", *given, str(folder)]
    process = subprocess.Popen(command, env=environment(**more), start_new_session=True)
    while not (folder / "trials.jsonl").exists() or len(Journal(folder).lines) < 6:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = tune("--resume", str(folder), **more)
    assert done.returncode == 0, done.stderr
    assert outcome(folder) == outcome(tmp_path / "whole")
    assert max(len(trial.losses) for trial in Journal(folder).trials) == 3


@pytest.mark.slow
def test_a_comparison_is_added_to_result_and_page(tmp_path):
    folder = tmp_path / "out"
    done = tune(str(write_text(tmp_path)), "--minutes", "0.6", "--compare", "--out", str(folder))
    assert done.returncode == 0, done.stderr
    compare = json.loads((folder / "result.json").read_text())["compare"]
    assert compare["minutes"] == 0.6 and all(compare[side]["test_loss"] > 0 for side in ("default", "random"))
    assert "default recipe, same time" in done.stdout and "random search, same time" in done.stdout
    before = (folder / "compare" / "random" / "result.json").read_bytes()
    again = tune("--resume", str(folder), "--compare")
    assert again.returncode == 0 and (folder / "compare" / "random" / "result.json").read_bytes() == before


@pytest.mark.slow
def test_a_script_without_guard_runs_its_lines_once(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from minilm import load_corpus\nfrom minilm.tune import tune\nprint('once')\n"
        f"study = tune(load_corpus({str(write_text(tmp_path))!r}), trials=2, workers=2)\n"
        "print(study.best.result['steps'], study.trials.losses(), study.report())\n"
    )
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("once") == 1 and "report.html" in done.stdout


@pytest.mark.slow
def test_the_deadline_is_kept(tmp_path):
    began = time.monotonic()
    done = tune("--minutes", "0.5", "--out", str(tmp_path / "out"))
    assert time.monotonic() - began <= 30.0
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "best" / "model.safetensors").is_file()


def test_minutes_that_are_too_few_are_refused_before_anything_is_written(tmp_path):
    began = time.monotonic()
    done = tune(str(write_text(tmp_path)), "--minutes", "0.01", "--out", str(tmp_path / "out"))
    assert done.returncode == 2 and "100 training steps" in done.stderr and "give --minutes" in done.stderr
    assert time.monotonic() - began < 30 and not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """(folder, what the verb printed) of a study by minutes on a text that is soon used up."""
    home = tmp_path_factory.mktemp("chosen")
    done = tune(str(write_text(home)), "--minutes", "4", "--out", str(home / "out"))
    assert done.returncode == 0, done.stderr
    return home / "out", done.stdout


def test_by_minutes_hyperopt_chooses_and_nothing_is_said_of_trials(chosen):
    folder, printed = chosen
    assert "imagined trainings Hyperopt chose" in printed and "trial" not in printed.replace(
        "imagined tr", ""
    )
    settings = json.loads((folder / "study.json").read_text())
    assert settings["budget"] is None and not (folder / "trials.jsonl").exists()
    point = json.loads((folder / "result.json").read_text())["best"]["point"]
    assert {"tokens", "num_layers", "hidden_size", "learning_rate", "batch_size"} <= set(point)


def test_a_text_that_is_used_up_ends_early_and_says_so_beforehand(chosen):
    folder, printed = chosen
    assert "of 4:00: then this text has no more to teach" in printed.partition("final model")[0]
    result = json.loads((folder / "result.json").read_text())
    assert result["law"]["most_steps"] == result["steps"]


def test_a_crash_while_the_second_model_takes_the_place_of_the_first_costs_no_training(chosen, tmp_path):
    import shutil

    from minilm.tuner import finish
    from minilm.tuner.resume import resume_study

    folder = shutil.copytree(chosen[0], tmp_path / "study")
    before = json.loads((folder / "result.json").read_text())
    assert before["teacher_loss"] is not None or "student" in before
    (folder / "best").rename(folder / "second")
    (folder / "result.json").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish, "run_training", None)  # nothing is trained
        study = resume_study(folder)
    assert study.result["val_loss"] == before["val_loss"] and not (folder / "second").exists()


def test_the_imagined_trainings_are_hyperopts_own_trials(chosen):
    from hyperopt import Trials, space_eval

    from minilm.tuner.resume import resume_study

    study = resume_study(chosen[0])
    trials = study.trials
    assert isinstance(trials, Trials) and len(trials) > 50 and not study.records
    best = space_eval(study.space.expression, trials.argmin)
    assert all(study.result["best"]["point"][name] == pytest.approx(value) for name, value in best.items())
    assert "no trials" in repr(study)


@pytest.mark.slow
def test_more_minutes_go_on_with_a_finished_model(chosen):
    folder, _ = chosen
    before = json.loads((folder / "result.json").read_text())
    done = tune("--resume", str(folder), "--minutes", "1")
    assert done.returncode == 0, done.stderr
    after = json.loads((folder / "result.json").read_text())
    assert after["steps"] > before["steps"] and after["val_loss"] <= before["val_loss"] + 1e-9


def test_train_model_takes_a_corpus_nested_points_and_lr(bare, tmp_path):
    from minilm import load_corpus

    other = load_corpus(write_text(tmp_path / "..", "quite another tale; "))
    point = {"shape": {"num_layers": 1, "hidden_size": 32}, "lr": 0.01}
    one, two = train_model(point), train_model(point, corpus=other)
    assert one["params"] == two["params"] == {"num_layers": 1, "hidden_size": 32, "learning_rate": 0.01}
    assert one["loss"] != two["loss"]
    with pytest.raises(ConfigError, match="learning_rate once, got it twice"):
        train_model({"lr": 0.01, "learning_rate": 0.02})


@pytest.mark.parametrize(
    "point", [{"hidden_size": 1}, {"num_layers": 0}, {"hidden_size": 5, "num_layers": 2}]
)
def test_what_can_only_be_an_index_is_refused(bare, point):
    with pytest.raises(ConfigError, match="space_eval"):
        train_model(point)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_study_by_minutes_killed_and_continued_ends_with_its_own_training(tmp_path):
    folder = tmp_path / "out"
    command = [sys.executable, "-m", "minilm.tune", "fables", "--minutes", "1.5", "--out", str(folder)]
    process = subprocess.Popen(command, env=environment(), start_new_session=True)
    while not (folder / "best" / "checkpoint.safetensors").exists():
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = read_records(folder / "best" / "metrics.jsonl")
    done = tune("--resume", str(folder))
    assert done.returncode == 0, done.stderr
    after = read_records(folder / "best" / "metrics.jsonl")
    kept = [record for record in before if record in after]
    assert kept and after[: len(kept)] == kept and len(after) > len(kept)
    assert json.loads((folder / "result.json").read_text())["steps"] == after[-1]["step"]


@pytest.mark.slow
def test_a_space_of_ones_own_by_minutes_has_real_trials(tmp_path):
    from hyperopt import hp

    from minilm import load_corpus

    space = {"learning_rate": hp.loguniform("learning_rate", -6, -2), "num_layers": 1, "hidden_size": 32}
    study = minilm.tune.tune(load_corpus(write_text(tmp_path)), minutes=1.5, space=space, workers=1)
    assert len(study.records) >= 2 and study.result["best"]["tid"] is not None
    assert study.result["val_loss"] <= min(trial.loss for trial in study.records if trial.loss) + 0.02
