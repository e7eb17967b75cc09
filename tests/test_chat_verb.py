"""The verb `chat` and its parts: whose turn it is, where a turn ends, and every wrong input as one sentence."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from functools import partial
from itertools import count
from pathlib import Path

import pytest
import torch

from minilm import chat, cli, files
from minilm.conversation import Conversation, unknown_characters
from minilm.model import GPT
from minilm.text.bpe import BPETokenizer
from minilm.text.turns import LAYOUTS, Layout, find_dialogue
from minilm.train import main as train_main
from minilm.training.run import load_run

ROOT = Path(__file__).parent.parent
TALK = "".join(f"Fox: I have {k} plums.\nOwl: And I have {k * 5 % 7} pears, dear fox.\n" for k in range(80))
PLAIN = "".join(
    f"There were {k} plums in the garden, and {k * 5 % 7} pears under the tree.\n" for k in range(80)
)
TINY = [
    "--layers",
    "1",
    "--hidden",
    "16",
    "--heads",
    "2",
    "--context",
    "48",
    "--batch",
    "8",
    "--threads",
    "1",
]
LINES = "I have 3 plums.\nI have 4 plums.\n\nI have 5 plums."


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a run on dialogue, one on plain text, and one whose text is gone."""
    folder = tmp_path_factory.mktemp("desk")
    for name, text in (("talk", TALK), ("plain", PLAIN)):
        (folder / f"{name}.txt").write_text(text)
        arguments = [str(folder / f"{name}.txt"), *TINY, "--steps", "60", "--lr", "0.02"]
        assert train_main([*arguments, "--out", str(folder / name)]) in (0, None)
    shutil.copytree(folder / "talk", folder / "lost")
    config = json.loads((folder / "talk" / "config.json").read_text())
    del config["sha256"], config["dialogue"]
    config["corpus"]["source"]["path"] = "lost.txt"
    files.write_json(folder / "lost" / "config.json", config, sealed=True)
    (folder / "lost" / "place.json").unlink()  # as older runs are, which do not carry how turns are written
    return folder


@pytest.fixture
def say(desk, monkeypatch, capsys):
    """Runs the verb in this process with these lines on its standard input: (exit code, stdout, stderr)."""

    def run(arguments: str, lines: str | None = LINES, stdin: type[io.StringIO] = io.StringIO):
        monkeypatch.setattr(sys, "stdin", None if lines is None else stdin(lines))
        name, *flags = arguments.split()
        with pytest.raises(SystemExit) as exit_:
            cli.run_verb(chat.main, [str(desk / name), *flags])
        shown = capsys.readouterr()
        return exit_.value.code or 0, shown.out, shown.err

    return run


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_through_a_pipe_one_line_gives_one_line(say):
    code, out, err = say("talk")
    assert code == 0 and err == "" and out.endswith("\n")
    answers = out.splitlines()
    assert len(answers) == 4 and all(answers) and not any(":" in answer for answer in answers)


def test_no_line_gives_nothing(say):
    assert say("talk", "") == (0, "", "")
    assert say("talk", None) == (0, "", "")  # closed by whoever started us


def test_the_same_seed_and_lines_give_the_same_conversation(say):
    talks = [say(f"talk --temperature 1.2 --seed {seed}")[1] for seed in (1, 1, 2)]
    assert talks[0] == talks[1] != talks[2]
    begun = say("talk --temperature 1.2 --seed 1", LINES.splitlines()[0])[1]
    assert talks[0].startswith(begun)  # what is said later changes nothing before


def test_answers_are_what_the_model_writes_after_the_whole_conversation(say, desk):
    """Brute force: greedy, one forward pass per character, cut at the end of the line."""
    run = load_run(desk / "talk")
    assert isinstance(run.model, GPT)
    said, expected = "\n", []
    for line in LINES.splitlines()[:2]:  # in a window that begins to slide
        said += f"Fox: {line}\nOwl:"
        answer = _greedy_line(run, said[-200:], 300)
        expected.append(answer.strip())
        said += f" {answer.strip()}\n"
    assert say("talk --temperature 0", LINES.split("\n\n")[0])[1].splitlines() == expected


def _greedy_line(run, prompt: str, longest: int) -> str:
    """As `sample` slides: a full window goes on with its newer half."""
    block, answer = run.model.config.block_size, ""
    window = run.tokenizer.encode(prompt)[-block:]
    while len(answer) < longest:
        with torch.no_grad():
            best = int(run.model.eval()(torch.tensor([window])).logits[0, -1].argmax())
        answer += run.tokenizer.decode([best])
        if answer.strip() and answer.endswith("\n"):
            return answer
        window = [*window, best] if len(window) < block else [*window, best][-(block // 2) :]
    return answer


def test_a_turn_ends_at_the_first_stop_wherever_pieces_are_cut():
    draw = random.Random(0)
    names, seen = ("Fox", "Owl"), set()
    for layout in LAYOUTS:
        stops = layout.stops(names)
        for _ in range(400):
            text = "".join(
                draw.choices(["Fox", "Owl", ":", "\n", "a", " ", "Fo", "x:"], k=draw.randint(1, 14))
            )
            body = text.lstrip()
            ends = [n for n in range(len(body) + 1) if any(body[:n].endswith(stop) for stop in stops)]
            whole = body[: ends[0]] if ends else body
            expected = next((whole[: -len(s)] for s in stops if ends and whole.endswith(s)), whole)
            places = sorted(draw.sample(range(len(text) + 1), min(len(text), 4)))
            pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
            talk = Conversation(lambda prompt, pieces=pieces: iter(pieces), layout, names, 10_000)
            assert "".join(talk.answer("Hm.")) == expected, (text, layout)
            assert talk.said == layout.end + layout.turn("Fox", "Hm.") + layout.turn("Owl", expected.strip())
            seen.add((layout, bool(ends)))
    assert len(seen) == 2 * len(LAYOUTS)


def test_the_conversation_is_remembered_and_the_oldest_forgotten():
    prompts: list[str] = []

    def speak(prompt: str):
        prompts.append(prompt)
        return iter([f" {len(prompts)}", "\n", "never read"])

    talk = Conversation(speak, LAYOUTS[0], ("A", "B"), memory=20)
    for line in ("x", "", "y"):
        list(talk.answer(line))
    assert prompts == ["\nA: x\nB:", "\nA: x\nB: 1\nB:", "\nA: x\nB: 1\nB: 2\nA: y\nB:"]
    assert talk.said == "\nA: x\nB: 1\nB: 2\nA: y\nB: 3\n"[-20:]


def test_a_turn_is_written_as_it_comes():
    asked = count()
    talk = Conversation(lambda prompt: (f"{next(asked)}," for _ in range(9)), LAYOUTS[0], ("A", "B"), 99)
    pieces = talk.answer("x")
    assert [next(pieces), next(pieces)] == ["0,", "1,"] and next(asked) == 2


PLAY = "KING LEAR:\nWhat, art mad?\nLook.\n\nFool:\nThou shouldst not have been old.\n\nKENT:\nHark.\n\n"
TEXTS = {
    "one line each": (TALK, Layout(" ", "\n"), ("Fox", "Owl")),
    "a blank line between": (
        "Ann: Oh?\nWell.\n\nBob Lee: So.\n\n" * 5,
        Layout(" ", "\n\n"),
        ("Ann", "Bob Lee"),
    ),
    "a play": (PLAY * 5, Layout("\n", "\n\n"), ("KING LEAR", "Fool")),
    "lines among prose": ("Once upon a time:\n" + TALK + "So it was.\n", Layout(" ", "\n"), ("Fox", "Owl")),
}


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_shows_who_speaks_and_how(name):
    text, layout, speakers = TEXTS[name]
    found = find_dialogue(text)
    assert (found.layout, found.speakers()) == (layout, speakers)
    answered = found.speakers(me=speakers[1])
    assert answered[0] == speakers[1] and answered[1] != speakers[1]


@pytest.mark.parametrize(
    "text", [PLAIN, (ROOT / "minilm" / "cli.py").read_text(), "Note: a.\nNote: b.\n" * 9, ""]
)
def test_what_is_no_dialogue_has_no_turns(text):
    assert not find_dialogue(text) and find_dialogue(text).speakers() == ("You", "It")


def test_our_own_corpus_is_dialogue():
    found = find_dialogue((ROOT / "data" / "fables.txt").read_text(encoding="utf-8")[:200_000])
    me, it = found.speakers()
    assert found.layout == Layout(" ", "\n") and me != it and len(found.exchanges) > 100


def test_in_a_terminal_names_stand_in_front(say):
    code, out, err = say("talk --to Ada --temperature 0", "I have 3 plums.\n", Terminal)
    assert code == 0 and err == ""
    assert out.startswith("You are Fox, the model is Ada.") and "\nFox: Ada: " in out and out.endswith("\n")
    assert say("talk --as Ada", "fox\n", Terminal)[1].startswith("You are Ada, the model is Owl.")


def test_without_dialogue_it_says_so_and_answers(say):
    code, out, err = say("plain --as plum --to pear", "There were 3 plums")
    assert code == 0 and len(out.splitlines()) == 1 and out.strip()
    assert len(err.splitlines()) == 1 and "no turns" in err
    code, out, err = say("lost", LINES)
    assert code == 0 and len(out.splitlines()) == 4
    assert len(err.splitlines()) == 1 and "cannot be read" in err
    assert say("lost", "", Terminal)[1].startswith(
        "You are You, the model is It."
    )  # Y is not in its vocabulary


def test_characters_it_has_never_seen_do_not_end_the_conversation(say):
    code, out, err = say("talk", "I have \u4f60 plums \u4f60!\nI have 3 plums.")
    assert code == 0 and len(out.splitlines()) == 2
    assert len(err.splitlines()) == 1 and "'\u4f60' '!'" in err
    assert unknown_characters(BPETokenizer.train("abc", 256), "\u4f60!") == []


WRONG = [
    ("missing", "does not exist"),
    ("talk --chars 0", "--chars must be at least 1, got 0"),
    ("talk --temperature -1", "temperature"),
    ("talk --temperature nan", "temperature"),
    ("talk --top-k 0", "--top-k must be at least 1"),
    ("talk --top-p 2", "--top-p must be at most 1"),
    ("talk --seed -1", "--seed"),
    ("talk --as Fox --to Fox", "two names, got 'Fox' twice"),
    ("talk --as Fox:", "without a colon, got 'Fox:'"),
    ("talk --to \u4f60", "--to must be made of characters that the model has seen"),
    ("talk --too Owl", "did you mean '--to'"),
]


@pytest.mark.parametrize(("arguments", "part"), WRONG)
def test_wrong_input_is_one_sentence_before_the_first_line(say, arguments, part):
    code, out, err = say(arguments, "")
    assert code == 2 and out == "" and part in err and len(err.strip().splitlines()) == 1


def test_chars_is_the_longest_turn(say):
    assert all(len(answer) <= 5 for answer in say("talk --chars 5")[1].splitlines())


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_bytes_that_are_no_text_and_an_interrupt(desk):
    """A program of its own: what comes over a real pipe, the answer while the pipe is open, and Ctrl-C."""
    command = [sys.executable, "-m", "minilm.chat", str(desk / "talk")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # where the tests themselves run in a shell's background, an interrupt is ignored, and children inherit that
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, env=environment, preexec_fn=heard, **pipes) as talk:
        assert talk.stdin and talk.stdout and talk.stderr
        talk.stdin.write(b"I have \xff plums.\r\n")
        talk.stdin.flush()
        assert talk.stdout.readline().strip()
        talk.send_signal(signal.SIGINT)
        errors = talk.communicate(timeout=60)[1].decode()
        assert talk.returncode == cli.EXIT_INTERRUPTED
    assert "Traceback" not in errors and "interrupted" in errors
