"""A program that kills, signals and damages, counts what came of it, and can be taken up again: `make test-crash`.

    python tests/crash.py FOLDER --kills 1000 --signals 200 --studies 300 --flips 20000

One process loads torch and forks every training, so that a kill costs no start-up. FOLDER/counts.jsonl gains a line for
each finished run, each damage, each caught writer; what it holds already is not done again. Ends with 1 where
anything was lost, changed in silence or died of an exception that is none of ours.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from minilm import cli, disk, files, train
from minilm.errors import MinilmError
from minilm.text.corpora import load_corpus
from minilm.training.run import load_run
from minilm.tuner.records import Journal, Trial, TrialState, create_study, read_study

TEXT = "".join(f"{k} green bottles hanging on the wall, and {k * 7 % 13} fell.\n" for k in range(120))
FLAGS = [
    f"--{name}={value}" for name, value in {"layers": 1, "heads": 2, "hidden": 16, "context": 16}.items()
]
FLAGS += ["--dropout=0.1", "--batch=4", "--steps=100", "--evaluations=10", "--threads=1", "--device=cpu"]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPED = {128 + number: number for number in SIGNALS}
STOPPED_AT_ONCE = 130
LATE = 30.0  # seconds, on a machine that others use too; what it took is printed
SMALL = 4096  # bytes: of a file as small as this every byte is flipped in a full count


def forked(arguments: list[str], naive: bool = False) -> int:
    """The process id of a training by the verb."""
    if process := os.fork():
        return process
    code: Any = 1
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        if naive:
            disk.replace = naive_replace
        cli.run_verb(train.main, arguments)
    except KeyboardInterrupt:  # before the verb had begun
        code = STOPPED_AT_ONCE
    except SystemExit as end:
        code = end.code or 0
    finally:
        os._exit(code if isinstance(code, int) else 1)  # no clean-up of what belongs to the parent


def naive_replace(path: str | Path, chunks: Any, size: int) -> None:
    """What most programs do: open, write, close; here on a slow disk, which takes a millisecond for four kilobytes."""
    with Path(path).open("wb", buffering=0) as file:
        for chunk in chunks:
            data = bytes(chunk)
            for place in range(0, len(data), SMALL):
                time.sleep(0.001)
                file.write(data[place : place + SMALL])


def ended(process: int) -> int:
    """Exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def fingerprint(folder: Path) -> str:
    """Of weights and checkpoint byte for byte, and of the records without their times."""
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes())
    for name in ("checkpoint.safetensors",):
        tensors, _ = files.read_tensors(folder / name)
        for key in sorted(tensors):
            digest.update(key.encode() + tensors[key].contiguous().numpy().tobytes())
    for record in files.read_records(folder / "metrics.jsonl"):
        digest.update(repr((record["step"], record["train_loss"], record.get("val_loss"))).encode())
    return digest.hexdigest()


def attacked(
    text: Path, folder: Path, kinds: tuple[int, ...], seconds: float, draw: random.Random, naive: bool
) -> dict:
    """One training, stopped again and again at random moments and taken up as a user would, to its end."""
    shutil.rmtree(folder, ignore_errors=True)
    stops: Counter = Counter()
    slowest = 0.0
    for _ in range(60):
        resumes = (folder / "config.json").exists()
        arguments = ["--resume", str(folder)] if resumes else [str(text), *FLAGS, "--out", str(folder)]
        process, kind = forked(arguments, naive), draw.choice(kinds)
        # a machine that grew busy needs longer, and each stop costs a start
        time.sleep(draw.uniform(0.05, 0.9) * seconds * (1 + sum(stops.values()) / 10))
        started = time.monotonic()
        os.kill(process, kind)
        code = ended(process)
        if code == 0:
            return {"stops": dict(stops), "fault": None, "slowest": slowest}
        if code not in (-kind, *STOPPED) or (code > 0 and STOPPED[code] != kind):
            return {"stops": dict(stops), "fault": f"exit code {code} after signal {kind}"}
        slowest = max(slowest, time.monotonic() - started)
        if slowest > LATE:
            return {"stops": dict(stops), "fault": f"{slowest:.1f} s to stop after signal {kind}"}
        stops[signal.Signals(kind).name] += 1
    return {"stops": dict(stops), "fault": "it never came to its end"}


def damages(path: Path, wanted: int, draw: random.Random) -> Iterator[tuple[str, bytes]]:
    """Flips of one bit, at every byte of a small file and at random ones of a larger, and cuts."""
    data = path.read_bytes()
    places = list(range(len(data))) if len(data) <= SMALL else []
    draw.shuffle(places)
    while len(places) < wanted:
        places.append(draw.randrange(len(data)))
    for place in places[: max(1, 4 * wanted // 5)]:
        bit = 1 << draw.randrange(8)
        yield (
            f"{path.name} byte {place} bit {bit}",
            data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :],
        )
    for _ in range(wanted // 5):
        yield f"{path.name} cut at {(place := draw.randrange(len(data)))}", data[:place]


def seen(folder: Path) -> Any:
    """All that a reader of the folder learns from it."""
    if (folder / "study.json").exists():
        return read_study(folder), [trial.to_dict() for trial in Journal(folder).trials]
    run = load_run(folder)
    weights = [tensor.numpy().tobytes() for tensor in run.model.state_dict().values()]
    return run.config, run.result, run.metrics, run.tokenizer, weights


def verdict(folder: Path, name: str, data: bytes, expected: Any) -> str:
    """What comes of a file with other bytes: "noticed", "harmless", or what is wrong."""
    path = folder / name
    whole = path.read_bytes()
    path.write_bytes(data)
    try:
        found = seen(folder)
    except MinilmError as error:
        return "noticed" if ";" in str(error) else f"half a sentence: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        path.write_bytes(whole)
    if found == expected:
        return "harmless"
    # half a last line of an unfinished log is what a crash leaves
    cut = name == "trials.jsonl" and found[1] == expected[1][: len(found[1])]
    return "harmless" if cut else "changed in silence"


def a_study(folder: Path) -> None:
    disk.new_folder(folder)
    create_study(folder, {"corpus": {"name": "bottles"}, "seed": 0})
    journal = Journal(folder)
    for tid in range(5):
        journal.add(
            Trial(tid, {"lr": 0.1 * tid}, {"lr": 0.1 * tid}, state=TrialState.OK, loss=2.0 - 0.1 * tid)
        )


def studies(
    home: Path, text: Path, wanted: int, count: Callable[[str], int], add: Callable[[dict], None]
) -> None:
    """Kills of tuners and workers, see `study_kills`."""
    if count("study") >= wanted:
        return
    from tests import study_kills as kills

    expected, seconds = {}, {}
    for way in kills.WAYS:
        shutil.rmtree(home / f"study-{way}", ignore_errors=True)
        for _ in range(1 if seconds else 2):  # the first one finds out the machine's timings
            shutil.rmtree(home / f"study-{way}", ignore_errors=True)
            started = time.monotonic()
            assert ended(kills.forked(lambda way=way: kills.study(text, home / f"study-{way}", way))) == 0
            seconds[way] = time.monotonic() - started
        expected[way] = kills.fingerprint(home / f"study-{way}")
    while (done := count("study")) < wanted:
        draw = random.Random(f"study {done}")
        way = draw.choice(list(kills.WAYS))
        result = kills.attacked(text, home / "killed", way, seconds[way], draw)
        if result["fault"] is None:
            result["fault"] = kills.unlike(kills.fingerprint(home / "killed"), expected[way])
        add({"kind": "study", "way": way, **result})
        if not result["stops"]:  # the machine has grown faster
            seconds[way] /= 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    for name, count in {"kills": 40, "signals": 20, "studies": 12, "flips": 1000}.items():
        parser.add_argument(f"--{name}", type=int, default=count)
    wanted = parser.parse_args()
    home: Path = wanted.folder
    home.mkdir(parents=True, exist_ok=True)
    log, text = home / "counts.jsonl", home / "bottles.txt"
    text.write_text(TEXT)
    os.environ["XDG_CACHE_HOME"] = str(home / "cache")
    done = files.read_records(log) if log.exists() else []
    load_corpus(text)  # what a training imports is imported here, once
    whole = home / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    ended(
        forked([str(text), *FLAGS, "--out", str(home / "first")])
    )  # the machine's timings are found out once
    shutil.rmtree(home / "first", ignore_errors=True)
    started = time.monotonic()
    assert ended(forked([str(text), *FLAGS, "--out", str(whole)])) == 0
    seconds, expected = time.monotonic() - started, fingerprint(whole)

    def count(kind: str) -> int:
        return sum(sum(one["stops"].values()) for one in done if one["kind"] == kind)

    def add(record: dict[str, Any]) -> None:
        files.append_record(log, record)
        done.append(record)

    for kind, kinds, most in (("kill", (signal.SIGKILL,), wanted.kills), ("signal", SIGNALS, wanted.signals)):
        while count(kind) < most:
            draw = random.Random(f"{kind} {len(done)}")
            result = attacked(text, home / "run", kinds, seconds, draw, naive=False)
            if result["fault"] is None and fingerprint(home / "run") != expected:
                result["fault"] = "other weights or records"
            left = [path.name for path in (home / "run").glob("*.partial")]
            add({"kind": kind, **result, "fault": result["fault"] or (f"left {left}" if left else None)})
    if not any(one["kind"] == "naive" for one in done):
        for number in range(40):  # the same test must catch a writer that opens, writes and closes
            draw = random.Random(number)
            result = attacked(text, home / "run", (signal.SIGKILL,), seconds, draw, naive=True)
            if result["fault"] is not None:
                break
        add({"kind": "naive", "stops": result["stops"], "caught": result["fault"]})
    studies(home, text, wanted.studies, count, add)
    a_study(home / "study") if not (home / "study").exists() else None
    places = [(whole, name) for name in ("config.json", "tokenizer.json", "result.json", "metrics.jsonl")]
    places += [(whole, "model.safetensors"), (home / "study", "study.json"), (home / "study", "trials.jsonl")]
    known, had = {folder: seen(folder) for folder, _ in places}, {one.get("what") for one in done}
    for folder, name in places:
        for what, data in damages(folder / name, wanted.flips // len(places), random.Random(name)):
            if what not in had and data != (folder / name).read_bytes():
                add({"kind": "damage", "what": what, "verdict": verdict(folder, name, data, known[folder])})
    return told(done)


def told(done: list[dict[str, Any]]) -> int:
    """Prints the counts; 1 where anything is wrong."""
    runs, studied = [
        [one for one in done if one["kind"] in kinds] for kinds in (("kill", "signal"), ("study",))
    ]
    stops, killed = [sum((Counter(one["stops"]) for one in ones), Counter()) for ones in (runs, studied)]
    verdicts = Counter(one["verdict"] for one in done if one["kind"] == "damage")
    faults = [str(one["fault"]) for one in runs + studied if one["fault"]]
    faults += [f"{one['what']}: {one['verdict']}" for one in done if one["kind"] == "damage"
               and one["verdict"] not in ("noticed", "harmless")]  # fmt: skip
    caught = [one["caught"] for one in done if one["kind"] == "naive"]
    print(f"stops     {', '.join(f'{name} {count}' for name, count in sorted(stops.items()))}")
    print(
        f"runs      {len(runs)} came to their end, {sum(not one['fault'] for one in runs)} of them bit for bit"
    )
    print(
        f"studies   {len(studied)}, their tuner killed {killed['tuner']} times and a worker {killed['worker']} times: "
        f"{sum(not one['fault'] for one in studied)} as if undisturbed"
    )
    print(f"naive     caught: {caught[0]}" if caught and caught[0] else "naive     not caught")
    print(f"damages   {sum(verdicts.values())}: {dict(verdicts)}")
    for fault in faults[:20]:
        print(f"fault     {fault}")
    return int(bool(faults) or not (caught and caught[0]))


if __name__ == "__main__":
    sys.exit(main())
