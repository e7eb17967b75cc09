"""Runs ranked on a text that their makers have not seen: true losses, fair ranks, and nothing believed or run."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace

import pytest
import torch

from minilm import classroom, cli
from minilm.classroom import board
from minilm.classroom.board import UNKNOWN, Entry, Unseen, collect_runs, judge, ranked, rows, unseen
from minilm.classroom.hostile_runs import TEXT, prove_hostile_runs
from minilm.classroom.referee import small_run
from minilm.classroom.runner import Runner
from minilm.errors import ConfigError
from minilm.model import GPT
from minilm.text.characters import CharTokenizer


@pytest.fixture(scope="module")
def referee():
    with Runner(replace(board.LIMITS, seconds=20.0), referee=True) as runner:
        yield runner


def test_the_loss_is_that_of_a_loop(tmp_path, referee):
    """Every character after a piece's first, in windows of block_size that do not overlap, one at a time."""
    small_run(tmp_path)
    model, tokenizer = GPT.from_pretrained(tmp_path), CharTokenizer.from_text("abcd")
    expected = []
    for piece in TEXT.pieces:
        ids, total = torch.tensor(tokenizer.encode(piece)), 0.0
        for t in range(1, len(ids)):
            start = (t - 1) // 16 * 16  # where the window of 16 begins that predicts t
            logits = model(ids[None, start:t])[1][0, -1]
            total -= logits.log_softmax(-1)[ids[t]].item()
        expected.append(total / (len(ids) - 1))
    entry = judge("s", tmp_path, TEXT, referee)
    assert entry.losses == pytest.approx(expected, rel=1e-5)
    assert (entry.block_size, entry.parameters) == (16, sum(p.numel() for p in model.parameters()))


def test_unknown_characters_cost_what_all_of_unicode_costs(tmp_path, referee):
    small_run(tmp_path)
    known, unknown = (
        Unseen("", (text, "abcd" * 8)) for text in ("?abc?abc".replace("?", "a") * 4, "?abc?abc" * 4)
    )
    dear, cheap = (judge("s", tmp_path, text, referee).losses[0] for text in (unknown, known))
    assert dear == pytest.approx(cheap + UNKNOWN * 7 / 31, rel=1e-6)


def test_hostile_runs_are_held(referee):
    held, count, loose = prove_hostile_runs(referee)
    assert not loose, "\n".join(loose)
    assert held == count >= 35


def test_ranks_are_shared_within_the_noise():
    level = [1.0, 1.1, 0.9, 1.2]
    entries = [
        Entry("late", tuple(x + 0.5 for x in level)),
        Entry("noisy", (1.2, 0.9, 1.1, 1.1)),
        Entry("best", tuple(level)),
        Entry("broken", note="no run"),
        Entry("close", tuple(x + 0.001 for x in level)),
    ]
    assert [(rank, entry.student) for rank, entry in ranked(entries)] == [
        ("1", "best"),
        ("2", "close"),  # always worse by the same amount, which is sure
        ("2", "noisy"),
        ("4", "late"),
        ("-", "broken"),
    ]
    assert rows(entries)[-1] == ("-", "broken", "", "", "", "", "no run")


def test_the_unseen_text_is_new_and_its_entropy_known(tmp_path):
    text = unseen("fables:5")
    assert len(text.pieces) == 16 and text.floor == pytest.approx(0.248, abs=0.01)
    from minilm.text.fables import shipped_text

    shipped = shipped_text()
    assert not any(piece in shipped for piece in text.pieces)
    assert unseen("fables:6").pieces != text.pieces == unseen("fables:5").pieces
    (tmp_path / "mine.txt").write_text("ab" * 20)
    assert "".join(unseen(str(tmp_path / "mine.txt")).pieces) == "ab" * 20
    (tmp_path / "short.txt").write_text("abc")
    for name in ("fables:1668", "fables:x", "fables", str(tmp_path / "short.txt")):
        with pytest.raises(ConfigError):
            unseen(name)


def test_a_loss_below_the_entropy_is_remarked(referee, tmp_path):
    small_run(tmp_path)
    honest = judge("s", tmp_path, replace(TEXT, floor=0.1), referee)
    assert honest.losses and not honest.note
    assert "below the entropy" in judge("s", tmp_path, replace(TEXT, floor=3.0), referee).note


def test_runs_are_found_and_links_are_not(tmp_path):
    for name in ("anna", "bert/best", "carl"):
        small_run(tmp_path / "pile" / name) if name != "carl" else (tmp_path / "pile" / name).mkdir()
    (tmp_path / "pile" / "link").symlink_to(tmp_path / "pile" / "anna")
    found = collect_runs(tmp_path / "pile")
    assert {name: path.name for name, path in found.items()} == {
        "anna": "anna",
        "bert": "best",
        "carl": "carl",
    }
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="holds no runs"):
        collect_runs(tmp_path / "none")


def test_a_run_that_takes_too_long_is_stopped(tmp_path):
    small_run(tmp_path)
    with Runner(replace(board.LIMITS, seconds=0.001), referee=True) as runner:
        entry = judge("s", tmp_path, TEXT, runner)
    assert not entry.losses and "did not finish" in entry.note


def test_the_board_as_a_teacher_meets_it(tmp_path, capsys):
    """On a text file; what a run claims is not read, and a spreadsheet takes no student's name for a formula."""
    small_run(tmp_path / "runs" / "=1+1")
    shutil.copytree(tmp_path / "runs" / "=1+1", tmp_path / "runs" / "bert")
    (tmp_path / "runs" / "bert" / "result.json").write_text('{"test_loss": 0.0}')
    (tmp_path / "unseen.txt").write_text("abcd" * 100)
    arguments = [
        "grade",
        tmp_path / "runs",
        "--unseen",
        tmp_path / "unseen.txt",
        "-j",
        2,
        "--out",
        tmp_path / "out",
    ]
    with pytest.raises(SystemExit) as exit_:
        cli.run_verb(classroom.main, [str(argument) for argument in arguments])
    shown = capsys.readouterr().out
    assert not exit_.value.code and "exact" in shown and "400 characters in 16 pieces" in shown
    header, first, second = (tmp_path / "out" / "board.csv").read_text().splitlines()
    assert (
        header.startswith("rank,student,nats")
        and first.startswith("1,'=1+1,")
        and second.startswith("1,bert,")
    )
    assert math.isclose(float(first.split(",")[2]), float(second.split(",")[2]))


def test_the_exercise_is_told(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.run_verb(classroom.main, ["build", "board", "--out", str(tmp_path / "x")])
    text = (tmp_path / "x" / "handout.md").read_text()
    assert not exit_.value.code and "handout.md" in capsys.readouterr().out
    assert "13.92 nats" in text and "65,536 characters" in text and "{" not in text
