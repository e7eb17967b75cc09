"""Three hundred wrong inputs: each is told at once, in one sentence of four parts, before anything is loaded."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from minilm import cli
from minilm.errors import printable

ROOT = Path(__file__).parent.parent
WHOLE = ("0", "-1", "1.5", "x", "nan", "", "1e3", "99999999999999999999999")
REAL = ("-1", "nan", "inf", "x", "", "1e999")
SEEDS = ("-1", "1.5", "x", str(2**64))


def options(verb: str, place: str, flags: dict[str, tuple[str, ...]]) -> list[tuple[str, list[str]]]:
    return [(verb, [place, f"{flag}={value}"]) for flag, values in flags.items() for value in values]


TRAIN = {
    **dict.fromkeys(("--layers", "--heads", "--hidden", "--batch"), WHOLE[:-1]),
    **{"--context": (*WHOLE, str(2**30)), "--steps": WHOLE[:-1], "--patience": WHOLE[:-1]},
    **{"--evaluations": (*WHOLE, "99999999"), "--threads": (*WHOLE, "4096"), "--seed": SEEDS},
    **{"--lr": (*REAL, "0", "1e-320"), "--minutes": (*REAL, "0", "1e-9"), "--dropout": (*REAL, "1", "2")},
    **{"--warmup": (*REAL, "1"), "--weight-decay": REAL, "--device": ("gpu", ""), "--precision": ("fp8", "")},
    **{
        "--schedule": ("cosin", ""),
        "--preset": ("fast2", ""),
        "--attention": ("flash", ""),
        "--out": ("", "{text}"),
    },
    **{"--tokens": ("", "bpe", "bpe:", "bpe:x", "bpe:-1", "words", "bpe:99999999")},
    **{"--resume": ("", "{text}", "{missing}", "{folder}")},
}
SAMPLE = {
    **{"--chars": (*WHOLE, "10000001"), "--streams": (*WHOLE, "200000"), "--seed": SEEDS},
    **{"--temperature": REAL},
    **{"--top-k": (*WHOLE[:-1], "-99"), "--top-p": (*REAL, "0", "1.5"), "--keep": (*REAL, "0", "2")},
    **{"--draft": ("ngrams", "")},
}
CHAT = {
    "--chars": WHOLE,
    "--temperature": REAL,
    "--top-k": WHOLE[:5],
    "--top-p": (*REAL, "0"),
    "--seed": SEEDS,
}
TUNE = {
    **{
        "--minutes": (*REAL, "0", "1e-9"),
        "--trials": WHOLE[:-1],
        "--workers": (*WHOLE, "1025"),
        "--seed": SEEDS,
    },
    **{
        "--algo": ("tpo", ""),
        "--scheduler": ("ash", ""),
        "--tokens": ("", "bpe", "words"),
        "--out": ("", "{text}"),
    },
}
NAMES = ("", "{missing}", "{text}", "{folder}", "n" * 300, "{long}", "{loop}", "{dangling}")
CASES = [
    *options("train", "{text}", TRAIN),
    *options("sample", "{run}", SAMPLE),
    *options("chat", "{run}", CHAT),
    *options("tune", "{text}", TUNE),
    *[(verb, [name]) for verb in ("sample", "chat", "evaluate") for name in NAMES],
    *[("lens", [name, "--text=a"]) for name in NAMES],
    *[("report", [name]) for name in NAMES[1:]],
    *[("train", ["{text}", f"--init={name}"]) for name in NAMES[1:]],
    *[("evaluate", ["{run}", f"--text={name}"]) for name in (*NAMES[1:2], *NAMES[4:])],
    *[("tune", ["--resume", name]) for name in NAMES[1:]],
    *[("lens", ["{run}", "--text=a", f"--out={name}"]) for name in ("{text}",)],
    ("sample", ["{run}", "--stop="]),
    *[("data", ["show", name]) for name in (*NAMES[:2], *NAMES[4:])],
    *[
        ("train", [f"{{{name}}}"])
        for name in ("missing", "empty", "nul", "latin", "utf16", "utf32", "short", "same")
    ],
    *[
        ("train", [name])
        for name in ("", "n" * 300, "{loop}", "{dangling}", "{folder}", "{pipe}", "{folder}/*.txt")
    ],
    *[("tune", ["{text}", "--deterministic"]), ("tune", ["{text}", "--trials=1", "--minutes=1"])],
    *[
        ("train", ["{text}", "--steps=5", "--minutes=1"]),
        ("train", ["{text}", "--layrs=2"]),
        ("train", ["a", "b"]),
    ],
    *[
        ("sample", []),
        ("chat", []),
        ("lens", ["{run}"]),
        ("data", ["shw"]),
        ("tune", ["--resume", "{folder}"]),
    ],
]


# What a sentence about the place that a verb was given calls it.
PLACE = dict.fromkeys(("sample", "chat", "evaluate", "lens", "report"), ("a run", "RUN"))
PLACE["data"] = PLACE["tune"] = PLACE["train"] = ("data", "text", "folder", "pattern", "DATA", "NAME")
# What tells a wrong text from others; of the rest, that is what was given.
FOUND = {"{empty}": "0 bytes", "{nul}": "byte 6", "{latin}": "0xe9", "{utf16}": "UTF-16", "{utf32}": "UTF-32"}
FOUND |= {"{short}": "5", "{same}": "the character 'a'"}
# Here the rule is that there must be something to learn in a text, and "must" is not in the sentence.
RULES = {"{same}": "nothing to learn"}


def missing_parts(verb: str, written: list[str], given: list[str], sentence: str) -> list[str]:
    """Which of the four parts a sentence lacks: the thing, the rule, what arrived, what to do."""
    last = written[-1] if written else ""
    flag, equals, value = (given[-1] if given else "").partition("=")
    said, _, advice = sentence.rpartition("; ") if "; " in sentence else (sentence, "", "")
    if flag == "--layrs":
        things, arrived = ("an option",), ["--layrs=2"]
    elif "--minutes=1" in written and len(written) == 3:
        things, arrived = (flag, "steps or minutes"), ["both", "5 and 1.0"]
    elif flag.startswith("--") and (flag != "--text" or verb == "evaluate") and equals:
        also = {"--resume": ("a run",), "--text": PLACE["data"]}.get(flag, ())
        things, arrived = (flag, *also), [*shapes(value), value[:200]]
    elif written == ["tune"] or flag == "--deterministic":
        things, arrived = (flag,), ["none"]
    elif written in ([], ["{run}"]):
        things, arrived = ("a run", "required"), ["none", "no run", "no --text"]
    else:
        place = written.index("--text=a") - 1 if "--text=a" in written else -1
        things = (*PLACE[verb], "an option", "command", "--resume")
        told = printable(given[place])
        arrived = [FOUND.get(last, told if len(told) < 200 else told[:200])] + (["''"] if not told else [])
    rule = RULES.get(last, " must ")
    found = said.partition("got ")[2] if "got " in said else said.partition("argument ")[2]
    found = said if last in RULES else found
    hint = re.search(r"did you mean '|known: \w", sentence)
    parts = {
        "the thing": any(thing in said.partition(" got ")[0] or last in RULES for thing in things),
        "the rule": rule in said,
        "what arrived": any(one in found for one in arrived if one),
        "what to do": bool(hint) or len(advice.split()) >= 2,
    }
    return [part for part, there in parts.items() if not there]


def shapes(value: str) -> list[str]:
    """How a sentence may write a value."""
    found = [repr(value), value]
    with suppress(ValueError, OverflowError):
        found.append(repr(float(value)))
        found.append(str(int(value)))
    return found


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """What the names in braces stand for."""
    home = tmp_path_factory.mktemp("desk")
    text = "".join(f"{k} green bottles hanging on the wall.\n" for k in range(60))
    contents = {
        **{
            "text": text.encode(),
            "empty": b"",
            "nul": b"GIF89a\0" * 300,
            "latin": text.replace("g", "\u00e9").encode("latin-1"),
        },
        **{
            "utf16": text.encode("utf-16"),
            "utf32": text.encode("utf-32"),
            "short": b"short",
            "same": b"a" * 3000,
        },
    }
    for name, data in contents.items():
        (home / f"{name}.txt").write_bytes(data)
    found = {name: str(home / f"{name}.txt") for name in contents} | {
        "missing": str(home / "missing"),
        "run": str(home / "run"),
    }
    for folder in ("folder", "run"):
        (home / folder).mkdir()
    (home / "run" / "config.json").write_text("{}")
    (home / "loop").symlink_to(home / "loop")
    (home / "dangling").symlink_to(home / "nowhere")
    os.mkfifo(home / "pipe")
    links = {name: str(home / name) for name in ("folder", "loop", "dangling", "pipe")}
    return {**found, **links, "long": str(home / ("n/" * 1500))}


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_wrong_input_is_one_sentence_of_four_parts(places, capfd, monkeypatch, number):
    verb, arguments = CASES[number]
    arguments = [argument.format(**places) for argument in arguments]
    monkeypatch.chdir(Path(places["text"]).parent)
    before = sorted(path.name for path in Path.cwd().iterdir())
    with pytest.raises(SystemExit) as exit_:
        cli.run_verb(importlib.import_module(f"minilm.{verb}").main, arguments)
    shown = capfd.readouterr().err.strip()
    assert exit_.value.code == 2 and "Traceback" not in shown
    sentence = shown.splitlines()[-1]
    assert len(shown.splitlines()) <= 2, shown  # a note may stand before it
    assert not (missing := missing_parts(verb, CASES[number][1], arguments, sentence)), (
        f"{missing}: {sentence}"
    )
    assert len(sentence) < 1200, "a path of thousands of letters says nothing"
    assert sorted(path.name for path in Path.cwd().iterdir()) == before


@pytest.mark.parametrize(
    ("sentence", "part"),
    [
        ("it must be at least 1, got 0; leave it out", "the thing"),
        ("--layers got 0, at least 1 is needed; leave it out", "the rule"),
        ("--layers must be at least 1, got something; leave it out", "what arrived"),
        ("--layers must be at least 1, got 0", "what to do"),
    ],
)
def test_each_part_is_missed(sentence, part):
    written = ["{text}", "--layers=0"]
    assert part in missing_parts("train", written, written, sentence)
    assert not missing_parts("train", written, written, "--layers must be at least 1, got 0; leave it out")


def test_there_are_three_hundred():
    assert len(CASES) >= 300


def test_options_are_told_before_torch_is_loaded():
    """For each verb one that is wrong; seconds are not asserted on a busy machine, but what was loaded is."""
    program = (
        "import sys, importlib\n"
        "from minilm import cli\n"
        "for verb, *words in (c.split() for c in {cases!r}):\n"
        "    try:\n"
        "        cli.run_verb(importlib.import_module('minilm.' + verb).main, words)\n"
        "    except SystemExit as error:\n"
        "        assert error.code == 2, (verb, error.code)\n"
        "assert 'torch' not in sys.modules and 'hyperopt' not in sys.modules\n"
    )
    cases = [
        "train x --lr=0",
        "train x --out=/proc",
        "tune x --minutes=0",
        "tune x --trials=1 --workers=0",
        "sample x",
    ]
    cases += [
        "sample x --streams=0",
        "chat x --chars=0",
        "chat x",
        "evaluate x",
        "lens x --text=a",
        "report x",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program.format(cases=cases)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.strip().splitlines()) == len(cases)


def test_a_reader_that_leaves_does_not_stop_a_training(tmp_path, places):
    """`train ... | head -1` finishes; what only writes may stop."""
    flags = "--layers=1 --heads=1 --hidden=8 --context=8 --batch=2 --steps=3 --threads=1 --device=cpu"
    run = tmp_path / "run"
    command = [sys.executable, "-m", "minilm.train", places["text"], *flags.split(), "--out", str(run)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        assert process.stdout and process.stderr and process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == "" and process.wait() == 0
    assert (run / "report.html").is_file() and (run / "result.json").is_file()
