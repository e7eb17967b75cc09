"""Hyperopt's own SparkTrials with our objective: a local Spark stands in for a cluster."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_tune_verb import write_text

pytestmark = [
    pytest.mark.slow,  # a Java machine must start, and every worker loads torch
    pytest.mark.skipif(importlib.util.find_spec("pyspark") is None, reason="pyspark is not installed"),
    pytest.mark.skipif(
        not shutil.which("java") and "JAVA_HOME" not in os.environ,
        reason="Spark needs Java, which is not here",
    ),
]

PROGRAM = """
import json
import numpy as np
from hyperopt import SparkTrials, fmin, hp
from minilm.tune import train_model
from minilm.tuner import genetic
from pyspark.sql import SparkSession

settings = {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1"}
builder = SparkSession.builder.master("local[2]")
for name, value in settings.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
trials = SparkTrials(parallelism=2, spark_session=spark)
space = {
    "learning_rate": hp.loguniform("learning_rate", -5, -2),
    "hidden_size": hp.choice("hidden_size", [16, 32]),
    "num_layers": hp.choice("num_layers", [1, 20_000_000_000]),  # one of them fits into no machine
}
best = fmin(train_model, space, algo=genetic.suggest, max_evals=4, trials=trials, show_progressbar=False,
            rstate=np.random.default_rng(0))
print("ANSWER", json.dumps([[r["status"], r.get("loss")] for r in trials.results]))
spark.stop()
"""


def test_spark_trials_train_our_models(tmp_path):
    program = tmp_path / "mine.py"
    program.write_text(PROGRAM)
    settings = {
        "MINILM_CORPUS": str(write_text(tmp_path)),
        "MINILM_TRIAL_STEPS": "2",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYSPARK_PYTHON": sys.executable,
    }
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=300, env={**os.environ, **settings}
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answer = next(line for line in done.stdout.splitlines() if line.startswith("ANSWER"))
    outcomes = json.loads(answer.removeprefix("ANSWER"))
    assert len(outcomes) == 4
    for status, loss in outcomes:
        assert (status == "ok") == isinstance(loss, float), outcomes
    assert {status for status, _ in outcomes} == {"ok", "fail"}, outcomes
