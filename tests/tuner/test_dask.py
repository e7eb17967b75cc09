"""Trials on a real Dask cluster: a scheduler and two workers with their nannies, processes on this machine."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from minilm.config import default_recipe
from minilm.errors import ConfigError, EngineError
from minilm.tuner import engines
from minilm.tuner.engines import address_of, pool_for
from minilm.tuner.propose import Proposer, SearchSpace
from minilm.tuner.records import Journal, TrialState
from minilm.tuner.rungs import Ladder
from minilm.tuner.search import Rules, Search
from minilm.tuner.settings import TrialBudget
from minilm.tuner.space import Dimension, limits_for
from minilm.tuner.trial import Task, leg_of, prepare, run_leg
from tests.test_tune_verb import write_text
from tests.tuner import stubs
from tests.tuner.test_workers import gone

ROOT = Path(__file__).parents[2]
needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None or os.name != "posix",
    reason="the package distributed is not installed, or the system has no signals",
)


@pytest.mark.parametrize(
    "wrong",
    [
        "dask://",
        "dask://box",
        "dask://box:port",
        "dask://:8786",
        "dask:box:1",
        "tcp://box:1",
        "dask://b:1/x",
        "two",
    ],
)
def test_a_wrong_address_is_a_sentence(wrong):
    with pytest.raises(ConfigError, match="workers must be a number or dask://host:port, got"):
        pool_for(wrong)


def test_addresses():
    assert address_of("dask://localhost:8786") == "localhost:8786"
    assert address_of("dask://[::1]:8786/") == "[::1]:8786"


def test_without_the_package_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"minilm\[dask\]"):
        pool_for("dask://localhost:8786")


@needs_dask
def test_nobody_at_the_address(monkeypatch):
    monkeypatch.setattr(engines, "ANSWER", 0.5)
    with pytest.raises(EngineError, match=r"must answer at 127.0.0.1:9, and none did within 0.5 s"):
        pool_for("dask://127.0.0.1:9")


@dataclasses.dataclass
class Cluster:
    """A scheduler and its workers, stopped with the block."""

    folder: Path
    processes: list[subprocess.Popen] = dataclasses.field(default_factory=list)

    def start(self, module: str, *options: str) -> None:
        # a home of its own: the workers must not find what the study left in this user's cache
        settings = {
            "PYTHONPATH": str(ROOT),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", f"distributed.cli.{module}", *options, "--no-dashboard"]
        env = {**os.environ, **settings}
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=env, stdout=log, stderr=log, start_new_session=True
            )
        self.processes.append(process)

    def scheduler(self) -> str:
        file = self.folder / "scheduler.json"
        self.start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        end = time.monotonic() + 60
        while not file.exists() or not file.read_text():
            assert time.monotonic() < end, (self.folder / "log").read_text()
            time.sleep(0.05)
        return json.loads(file.read_text())["address"].replace("tcp://", "dask://")

    def worker(self) -> None:
        file, folder = self.folder / "scheduler.json", self.folder / "scratch"
        self.start(
            "dask_worker", "--scheduler-file", str(file), "--nthreads", "1", "--local-directory", str(folder)
        )

    def stop(self) -> None:
        for process in self.processes:  # with the nannies' children, which share their group
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    found = Cluster(tmp_path_factory.mktemp("dask"))
    try:
        found.address = found.scheduler()
        found.worker(), found.worker()
        yield found
    finally:
        found.stop()


@pytest.fixture
def pool(cluster):
    end = time.monotonic() + 90
    while True:  # they take their time to start, and the last test may have killed one
        with pool_for(cluster.address) as found:
            if found.count == 2:
                yield found
                return
        assert time.monotonic() < end
        time.sleep(0.2)


@needs_dask
def test_calls_run_side_by_side_one_in_each_worker(pool):
    assert pool.free == 2
    calls = [pool.submit(stubs.pid_and_threads, None) for _ in range(2)]
    assert {pool.worker_of(call) for call in calls} == {0, 1}
    assert len({call.result(30)[0] for call in calls}) == 2
    assert pool.free == 2
    again = [pool.submit(stubs.pid_and_threads, None) for _ in range(2)]  # the same call, and run again
    assert {call.result(30) for call in again} == {call.result(30) for call in calls}


@needs_dask
def test_an_error_of_the_function_arrives(pool):
    with pytest.raises(ValueError, match="could not convert"):
        pool.submit(float, "one").result(30)


@needs_dask
def test_a_killed_worker_costs_one_call_and_is_replaced(pool, tmp_path):
    mark = tmp_path / "pid"
    victim = pool.submit(stubs.touch_and_sleep, str(mark))
    other = pool.submit(stubs.pid_and_threads, None)
    while not mark.exists() or not mark.read_text():
        time.sleep(0.02)
    os.kill(int(mark.read_text()), signal.SIGKILL)
    wait([victim], timeout=10)
    assert isinstance(victim.exception(0), BrokenProcessPool)
    assert other.result(30)
    assert _within(60, lambda: pool.free == 2), "the nanny's new worker fills the slot"
    assert pool.submit(stubs.pid_and_threads, None).result(30)


@needs_dask
def test_kill_stops_the_call_itself(pool, tmp_path):
    mark = tmp_path / "pid"
    call = pool.submit(stubs.touch_and_sleep, str(mark))
    while not mark.exists() or not mark.read_text():
        time.sleep(0.02)
    pool.kill(call)
    assert isinstance(call.exception(0), BrokenProcessPool) and pool.free == 1
    assert gone(int(mark.read_text()), within=20), "the process is stopped, not only forgotten"
    assert _within(60, lambda: pool.free == 2)


def _within(seconds, condition):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


@needs_dask
@pytest.mark.parametrize("as_file", [True, False])
def test_files_travel_both_ways(pool, tmp_path, as_file):
    (tmp_path / "old" / "inner").mkdir(parents=True)
    (tmp_path / "old" / "weights").write_bytes(b"\0\1 weights")
    (tmp_path / "old" / "inner" / "more").write_text("deep")
    (tmp_path / "new" / "inner").mkdir(parents=True)
    (tmp_path / "new" / "inner" / "left").write_text("of a call that was lost")
    (tmp_path / "new" / "rung0").write_text("of an earlier leg")
    start = tmp_path / "old" / ("weights" if as_file else "")
    note = stubs.Note(str(start), str(tmp_path / "new"))
    there = pool.submit(stubs.copy_start, note).result(30)
    assert there["start"] != note.start and not there["start"].startswith(str(tmp_path))
    found = {p.relative_to(tmp_path / "new").as_posix() for p in (tmp_path / "new").rglob("*") if p.is_file()}
    assert found == {"rung0", "weights", *(["inner/left"] if as_file else ["inner/more"])}
    assert (tmp_path / "new" / "weights").read_bytes() == b"\0\1 weights"
    assert not Path(there["out"]).exists(), "the worker keeps nothing"


@needs_dask
def test_without_workers_there_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "ARRIVE", 0.5)
    empty = Cluster(tmp_path)
    try:
        with pytest.raises(EngineError, match="has no workers; start some with `dask worker 127.0.0.1"):
            pool_for(empty.scheduler())
    finally:
        empty.stop()


@needs_dask
@pytest.mark.slow
def test_a_study_goes_on_after_a_worker_is_killed_in_mid_trial(pool, tmp_path):
    """Real trainings; the text is the user's own and lies where the workers cannot read it."""
    import minilm

    text = write_text(tmp_path)
    corpus = minilm.load_corpus(text)
    limits = limits_for(len(corpus.train))
    space = SearchSpace.of((Dimension("learning_rate", "log", 1e-3, 1e-1),), {"learning_rate": 0.01})
    _, train = default_recipe(corpus.tokenizer.vocab_size)
    leg = leg_of(TrialBudget(seconds=1.5, chars=100), Ladder((1.0,)), 0, train)

    def task(trial):
        out = str(tmp_path / "models" / str(trial.tid))
        return Task(trial.point, corpus.describe(), limits, leg, out=out)

    pool.warm_up(prepare, corpus.describe())
    assert _within(120, lambda: pool.free == 2)
    text.rename(tmp_path / "elsewhere.txt")
    pids = sorted(pool._client.run(os.getpid).values())
    killed = []

    def on_tick():
        if len(search.running) == 2 and len(search.journal.trials) >= 2 and not killed:
            killed.append(pids[0])
            os.kill(pids[0], signal.SIGKILL)

    rules = Rules(workers=2, trials=7)
    journal = Journal(tmp_path)
    search = Search(Proposer(space, "random"), pool, journal, rules, run_leg, task, on_tick=on_tick)
    search.run()
    assert killed and [trial.state for trial in journal.trials] == 7 * [TrialState.OK]
    reasons = [leg.get("reason") for trial in journal.trials for leg in trial.legs]
    assert len(reasons) == 8 and sum("its worker died" in (reason or "") for reason in reasons) == 1
    for trial in journal.trials:
        assert list((tmp_path / "models" / str(trial.tid)).rglob("model.safetensors")), "it came home"
