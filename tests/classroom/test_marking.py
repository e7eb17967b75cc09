"""Answers, marks and piles: every rule on small cases."""

from __future__ import annotations

import json
import os

import pytest

from minilm.classroom import reports
from minilm.classroom.book import public_part, read_book, to_json, write_book
from minilm.classroom.lab import case, load_lab, part, stub, variants
from minilm.classroom.marking import judge, mark, mark_file
from minilm.classroom.pile import mark_pile, write_pile
from minilm.classroom.plain import difference, parse, tensor
from minilm.classroom.runner import Limits
from minilm.classroom.submissions import collect, read_submission
from minilm.classroom.summary import mistake_numbers, points_numbers, task_numbers
from minilm.errors import ConfigError, RunError

INF = float("inf")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (tensor([1.0, 2.0], "float64"), tensor([1.0, 2.0])),
        ([1.0, 2.0], tensor([1.0, 2.0])),
        ([[True], [False]], tensor([[1], [0]], "bool")),
        ([tensor(1.5), 2.5], [1.5, 2.5]),
        (tensor([1, 2], "int32"), [1, 2]),
        (tensor([-INF, 1.0]), tensor([-INF, 1.0])),
        (tensor(2.0), 2.0),
        ({"a": 1, "b": [1.0]}, {"b": [1.0], "a": 1}),
        ([], []),
        (None, None),
        ("ab", "ab"),
    ],
)
def test_equal_answers(answer, expected):
    assert difference(answer, expected) == ""


@pytest.mark.parametrize(
    ("answer", "expected", "said"),
    [
        (tensor([1.0, 2.1]), tensor([1.0, 2.0]), "at [1] 2.1, expected 2"),
        (tensor([[1.0]]), tensor([1.0]), "shape (1, 1), expected (1,)"),
        (tensor([1, 0], "int64"), tensor([1, 0], "bool"), "whole numbers, expected boolean"),
        (tensor([1, 0], "int64"), tensor([1.0, 0.0]), "whole numbers, expected real"),
        (tensor([float("nan")]), tensor([1.0]), "nan"),
        ([[1.0], [1.0, 2.0]], tensor([1.0]), "not a tensor"),
        ({"tensor": "float32", "values": "x"}, tensor([1.0]), "not a tensor"),
        ("1.0", 1.0, "not a tensor"),
        (None, 1.0, "not a tensor"),
        (True, 1, "boolean"),
        (10**400, 1.0, "not a tensor"),
        (["a", "b"], ["a", "c"], "in value 2"),
        ({"a": 1}, {"a": 1, "b": 2}, "keys"),
        (1, None, "expected None"),
        ("a", "b", "expected 'b'"),
    ],
)
def test_different_answers(answer, expected, said):
    assert said in difference(answer, expected)


def test_a_line_that_is_no_json_is_nothing():
    assert parse(b"{") is None and parse(b"[" * 100_000) is None and parse(b"\xff") is None


def test_core_and_edges_share_the_points(book):
    page = next(page for page in book.pages if page.task.name == "softmax")
    wrong = [{"error": "E", "message": ""}]

    def points(*failed):
        answers = [wrong[0] if n in failed else answer for n, answer in enumerate(page.expected)]
        return judge(book, page, answers).points

    assert page.task.points == 3 and [case.edge for case in page.task.cases] == [False] * 3 + [True] * 3
    assert [points(), points(5), points(4, 5), points(3, 4, 5), points(0), points(2)] == [
        3,
        2.6,
        2.2,
        1.8,
        0,
        0,
    ]


def test_a_later_task_does_not_suffer_from_an_earlier_one(book, runner):
    lab, solution = book.lab, part(book.lab, "solution.py")
    wrong = next(v for v in variants(lab, "wrong.py") if (v.task, v.name) == ("scores", "unscaled"))
    marks = mark(book, wrong.module(solution), "s", runner)
    by_name = {task.name: task for task in marks.tasks}
    assert by_name["scores"].points == 0 and by_name["scores"].mistake == "unscaled"
    assert by_name["attention"].right and "in the place of yours" in by_name["attention"].note
    assert marks.points == lab.points - lab.task("scores").points


def test_a_students_own_check_helps_as_the_teachers_does(book, runner):
    """It has no reference, but the answers that ours gives where the public cases ask for them."""
    source = part(book.lab, "solution.py").replace("def scores(", "def scores(*_): return 1\n\n\ndef unused(")
    own, teachers = mark(public_part(book), source, "s", runner), mark(book, source, "s", runner)
    assert [task.points for task in own.tasks] == [task.points for task in teachers.tasks]
    marks = {task.name: task for task in own.tasks}
    assert "in the place of yours" in marks["attention"].note and marks["attention"].right
    assert marks["causal_mask"].right and not marks["scores"].note


def test_a_students_own_check_says_where_to_begin(book, runner):
    """Where a function asks an earlier one for what ours was never asked, the check can only name it."""
    source = part(book.lab, "solution.py").replace("def scores(", "def scores(*_): return 1\n\n\ndef unused(")
    source = source.replace("fit = scores(q, k)", "fit = scores(2 * q, k) / 2")
    marks = {task.name: task for task in mark(public_part(book), source, "s", runner).tasks}
    assert "calls scores, which is not right yet" in marks["attention"].note and not marks["attention"].right
    assert marks["causal_mask"].right and not marks["scores"].note
    broken = mark(public_part(book), "def (", "s", runner)
    assert not broken.points and not any(task.note for task in broken.tasks)


def test_hints_are_said_and_helpers_give_nothing_away(book):
    page = book.pages[-1]
    assert "def attention" in page.helpers and "def self_attention" not in page.helpers
    first = book.pages[0]
    assert "def " not in first.helpers


def test_the_book_survives_its_file_and_the_students_copy_has_no_secrets(book, tmp_path):
    write_book(book, tmp_path / "cases.json")
    assert json.dumps(to_json(read_book(tmp_path / "cases.json"))) == json.dumps(to_json(book))
    write_book(public_part(book), tmp_path / "public.json")
    text = (tmp_path / "public.json").read_text()
    assert "def " not in text and "more axes" in (tmp_path / "cases.json").read_text()
    assert "more axes" not in text and "the handout's example" in text
    (tmp_path / "public.json").write_text('{"lab": 1}')
    with pytest.raises(RunError, match="not the cases of a lab"):
        read_book(tmp_path / "public.json")


def test_only_plain_readable_files_are_read(tmp_path):
    (tmp_path / "big.py").write_bytes(b"#" * (1 << 20) + b"##")
    (tmp_path / "latin.py").write_bytes(b"# \xe9")
    (tmp_path / "bom.py").write_bytes(b"\xef\xbb\xbfx = 1")
    for name in ("missing.py", "big.py", "latin.py", "."):
        with pytest.raises(ConfigError):
            read_submission(tmp_path / name)
    assert read_submission(tmp_path / "bom.py") == "x = 1"
    if os.name == "posix":
        (tmp_path / "link.py").symlink_to(tmp_path / "bom.py")
        os.mkfifo(tmp_path / "pipe.py")
        for name in ("link.py", "pipe.py"):
            with pytest.raises(ConfigError, match="plain file"):
                read_submission(tmp_path / name)


@pytest.fixture(scope="module")
def pile(book, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pile")
    lab, solution = book.lab, part(book.lab, "solution.py")
    wrong = next(v for v in variants(lab, "wrong.py") if (v.task, v.name) == ("causal_mask", "strict"))
    (folder / "anna.py").write_text(solution)
    (folder / "=bert").mkdir()
    (folder / "=bert" / "lab2.py").write_text(wrong.module(solution))
    (folder / "=bert" / "notes.txt").write_text("")
    (folder / "carl.py").write_text(stub(lab))
    (folder / "dora.py").write_bytes(b"\xff")
    (folder / "emil").mkdir()
    return folder


@pytest.fixture(scope="module")
def marked(book, pile):
    return mark_pile(book, collect(pile), Limits(seconds=20.0), jobs=2)


def test_a_pile_is_marked_in_order(marked):
    assert [marks.student for marks in marked] == ["=bert", "anna", "carl", "dora", "emil"]
    assert [marks.points for marks in marked] == [18, 20, 0, 0, 0]
    assert "UTF-8" in marked[3].tasks[0].note and "plain file" in marked[4].tasks[0].note


def test_reports_say_what_is_needed(book, marked, tmp_path):
    write_pile(book, marked, tmp_path / "out")
    report = (tmp_path / "out" / "students" / "=bert" / "report.md").read_text()
    assert "18 of 20 points" in report and "Off by one: a position may see itself" in report
    results = json.loads((tmp_path / "out" / "students" / "anna" / "results.json").read_text())
    assert results["score"] == 20 and sum(test["max_score"] for test in results["tests"]) == 20
    assert {"name", "score", "max_score", "output", "visibility"} == set(results["tests"][0])
    rows = (tmp_path / "out" / "scores.csv").read_text().splitlines()
    assert len(rows) == 6 and rows[1].startswith("'=bert,18") and "causal_mask: strict" in rows[1]
    assert rows[3].startswith("carl,0.0,20,0.0,") and rows[4].startswith("dora,,20,,")  # not read is no zero
    page = (tmp_path / "out" / "class.html").read_text()
    assert "<svg" in page and "Off by one" in page and "=bert" not in page and "anna" not in page
    assert "=bert" in (tmp_path / "out" / "students.html").read_text()
    with pytest.raises(ConfigError):
        write_pile(book, marked, tmp_path / "out")


def test_class_numbers(marked):
    """Of five, two could not be read, which says nothing about the students."""
    assert [marks.student for marks in marked if marks.unread] == ["dora", "emil"]
    assert points_numbers(marked) == [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    shares = {share.name: share for share in task_numbers(marked)}
    assert [shares[name].share for name in ("scores", "causal_mask")] == pytest.approx([2 / 3, 1 / 3])
    assert [shares["causal_mask"][2:], shares["scores"][2:]] == [(1, 1, 0, 1), (2, 0, 0, 1)]
    (frequent,) = mistake_numbers(marked)
    assert (frequent.task, frequent.mistake, frequent.students) == ("causal_mask", "strict", 1)


def test_classroom50(marked):
    names = {"CLASSROOM": "c", "ASSIGNMENT": "a", "SUBMISSION_TAG": "s", "COMMIT_URL": "u"}
    value = reports.classroom50(marked[1], names)
    assert value["schema"] == "classroom50/result/v1" and value["score"] == value["max-score"] == 20
    assert (value["classroom"], value["assignment"], value["submission"], value["commit"]) == (
        "c",
        "a",
        "s",
        "u",
    )
    assert {"test-name", "passed", "score", "max-score"} == set(value["tests"][0])


def test_words_of_a_student_cannot_become_markup(book):
    page = book.pages[0]
    mean = {"error": "E", "message": "<script>\n# 100 points | x"}
    faults = judge(book, page, [mean] * len(page.expected))
    text = reports.report(
        type("M", (), {"student": "s", "points": 0, "possible": 1, "tasks": [faults]})(), "t"
    )
    assert "<script>" not in text and "\n# 100" not in text


def test_the_same_fault_in_all_cases_is_told_once(book, runner):
    marks = mark(book, "def scores(q, k): return None", "s", runner)
    text = reports.report(marks, "t")
    assert text.count("there is no function softmax") == 1 and "missing:" not in text
    empty = reports.report(mark(book, stub(book.lab), "s", runner), "t")
    assert empty.count("not written yet") == 7 and "##" not in empty


def test_unknown_names_are_one_sentence():
    with pytest.raises(ConfigError, match="did you mean 'lab2'"):
        load_lab("lab22")
    with pytest.raises(ConfigError, match="did you mean 'scores'"):
        load_lab("lab2").task("score")
    assert case("x", ("f", ())).calls == (("f", ()),)


def test_an_unreadable_file_gets_no_points(book, tmp_path, runner):
    assert mark_file(book, tmp_path / "missing.py", "s", runner).points == 0
