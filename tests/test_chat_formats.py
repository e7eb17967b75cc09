"""Chats of several kinds from file to conversation: the file as exported, a short training or study, two turns."""

from __future__ import annotations

import io

import pytest

from minilm import chat, sample, train, tune
from minilm.errors import note
from minilm.training.run import load_run
from tests.test_train_verb import FLAGS, verb
from tests.text.test_formats import CASES, WHATSAPP, stamped

LONG = 8  # so many times over: speakers are looked for in the training split
CHATS = {
    "android.txt": stamped(WHATSAPP["android, german"]) * LONG,
    "ios.txt": stamped(WHATSAPP["ios, american"]) * LONG,
    "result.json": CASES["result.json"][0],
    "roles.jsonl": CASES["roles.jsonl"][0] * LONG,
    "talk.tsv": CASES["talk.tsv"][0],
}


@pytest.mark.parametrize("name", CHATS)
def test_from_the_file_to_the_conversation(tmp_path, capsys, monkeypatch, name):
    content = CHATS[name].replace("I have", "What I have?") if name != "roles.jsonl" else CHATS[name]
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert verb(train, str(tmp_path / name), *FLAGS, "--out", str(tmp_path / "run")) == 0
    assert "\nread      " in capsys.readouterr().out
    assert load_run(tmp_path / "run").config["dialogue"]["exchanges"]
    monkeypatch.setattr("sys.stdin", io.StringIO("What\nWhat Ω\n"))
    assert verb(chat, str(tmp_path / "run"), "--chars", "40") == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 2 and all(line.strip() for line in shown.out.splitlines())
    assert len(shown.err.splitlines()) == 1 and "Ω" in shown.err and "instead" in shown.err
    note.cache_clear()  # the same line may have come in another test
    assert verb(sample, str(tmp_path / "run"), "--prompt", "plums Ω", "--chars", "9") == 0
    assert "'Ω'" in capsys.readouterr().err


CUE = "{n}\n00:00:{n:02},000 --> 00:00:{n:02},900\n{who}: What? I have {n} plums, dear.\n\n"
TUNED = {
    "android.txt": (CHATS["android.txt"], "a WhatsApp chat of "),
    "result.json": (CHATS["result.json"], "a Telegram chat of "),
    "roles.jsonl": (CHATS["roles.jsonl"], "lines of JSON of "),
    "table.csv": (CHATS["talk.tsv"].replace("\t", ",").replace("plums, my", "plums my"), "a table of "),
    "film.srt": (
        "".join(CUE.format(n=n, who=("Ben", "Anna")[n % 2]) for n in range(1, 60)),
        "subtitles, 59 cues; times left out",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TUNED)
def test_from_the_file_through_the_tuner_to_the_conversation(tmp_path, capsys, monkeypatch, name):
    """The main job on each kind: a study of one trial, and then the chat with its best model."""
    content, kind = TUNED[name]
    (tmp_path / name).write_text(content, encoding="utf-8")
    monkeypatch.setenv("MINILM_TRIAL_STEPS", "3")
    short = ["--trials", "1", "--workers", "1", "--out", str(tmp_path / "study")]
    assert verb(tune, str(tmp_path / name), *short) == 0
    assert f"\nread      {kind}" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO("What\nWhat Ω\n"))
    assert verb(chat, str(tmp_path / "study"), "--chars", "40") == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 2 and all(line.strip() for line in shown.out.splitlines())
    assert "no turns" not in shown.err and "Ω" in shown.err
    names = set(load_run(tmp_path / "study").config["dialogue"]["exchanges"][0][:2])
    assert names in ({"Anna", "Ben"}, {"User", "Assistant"})
