"""A teacher's grading: never lost, resumed, marked again; what platforms hand out, and what they take."""

from __future__ import annotations

import csv
import errno
import io
import itertools
import json
import os
import tracemalloc
import unicodedata
import zipfile

import pytest

from minilm import classroom, cli, files
from minilm.classroom import pile, stress, submissions
from minilm.classroom.book import write_book
from minilm.classroom.lab import part, stub
from minilm.classroom.marking import from_record, to_record
from minilm.classroom.platforms import Person, matched, read_roster
from minilm.classroom.runner import Limits
from minilm.classroom.similarity import fingerprints, similar
from minilm.classroom.submissions import collect, collect_one, read_noted
from minilm.errors import ConfigError, RunError
from tests.faults import failing, watched

LIMITS = Limits(seconds=20.0)
pytestmark = pytest.mark.usefixtures("warm")


def verb(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.run_verb(classroom.main, [str(argument) for argument in arguments])
    return exit_.value.code or 0


def rows(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))


@pytest.fixture(scope="module")
def cases(book, tmp_path_factory):
    path = tmp_path_factory.mktemp("cases") / "cases.json"
    write_book(book, path)
    return path


@pytest.fixture
def folder(book, tmp_path):
    folder = tmp_path / "pile"
    folder.mkdir()
    (folder / "anna.py").write_text(part(book.lab, "solution.py"))
    (folder / "bert.py").write_text("def scores(q, k): return q")
    (folder / "carl.py").write_text(stub(book.lab))
    return folder


def test_every_odd_way_to_hand_in_a_right_file_is_right(book, tmp_path):
    """The submissions of the stress test that deserve all points, found and read; their code is the reference's."""
    for name, data in stress.right_ones(book).items():
        stress._put(tmp_path, name, data)
    found = collect(tmp_path, "lab2")
    assert len(found) >= 36
    for name, one in found.items():
        text, _ = read_noted(one)
        assert "def self_attention" in text and not one.problem, name
        name.encode("utf-8")
    assert unicodedata.normalize("NFC", "José Núñez") in found
    assert found["Anna Müller"].id == "412345" and found["mulleranna"].late and "Müller" in found
    notes = {name: " ".join(read_noted(one)[1]) for name, one in found.items()}
    assert "Windows-1252" in notes["windows"] and "UTF-16" in notes["powershell"]
    assert notes["both"] == "lab2.py was marked, not lab2.ipynb" and "lab2 (2).py" in notes["downloaded"]


def test_every_other_odd_thing_has_a_line(book, tmp_path):
    for name, data in stress.odd_ones("x = 1").items():
        stress._put(tmp_path, name, data)
    found = collect(tmp_path, "lab2")
    assert len(found) == len({name.split(b"/")[0] for name in stress.odd_ones("x = 1")})
    said = {}
    for name, one in found.items():
        try:
            read_noted(one)
        except ConfigError as error:
            said[name] = str(error)
    assert "the zip cannot be read" in said["torn archive"] and "1,048,576" in said["bomb"]
    assert "not clear" in said["unclear"] and "deep" in said["a"] and "essay.pdf is no .py" in said["essay"]
    assert not any(str(tmp_path) in text for text in said.values())


def test_a_notebook_keeps_its_future_and_its_guarded_imports(tmp_path):
    cells = [
        "import torch",
        "from __future__ import annotations\n\ndef f(): return 1",
        "try:\n    import math\nexcept ImportError:\n    pass",
    ]
    (tmp_path / "n.ipynb").write_bytes(stress._notebook(*cells))
    text, _ = read_noted(tmp_path / "n.ipynb")
    assert text.startswith("from __future__") and text.count("__future__") == 1 and "import math" in text
    compile(text, "n", "exec")


def test_grading_resumes_and_marks_again(book, cases, folder, tmp_path, capsys):
    out = tmp_path / "out"
    grade = ["grade", folder, "--cases", cases, "--out", out]
    assert verb(*grade) == 0
    assert verb(*grade) == 2 and "--resume" in capsys.readouterr().err  # said before anything is marked
    before = (out / pile.LOG).read_text().count("\n")
    assert before == 3 and verb(*grade, "--resume") == 0
    assert (out / pile.LOG).read_text().count("\n") == before  # nothing new, nothing marked
    (folder / "bert.py").write_text(part(book.lab, "solution.py"))
    (folder / "dora.py").write_text("def (")
    assert verb(*grade, "--resume") == 0
    assert {row["student"]: float(row["points"]) for row in rows(out / "scores.csv")} == {
        "anna": 20,
        "bert": 20,
        "carl": 0,
        "dora": 0,
    }
    assert (out / pile.LOG).read_text().count("\n") == before + 2
    assert verb(*grade, "--again", "anna", "--task", "scores") == 0
    assert (out / pile.LOG).read_text().count("\n") == before + 3
    capsys.readouterr()
    assert verb(*grade, "--again", "ana") == 2 and "did you mean 'anna'" in capsys.readouterr().err
    assert verb(*grade, "--task", "score") == 2 and "did you mean 'scores'" in capsys.readouterr().err


def scored(out):
    return [{**row, "seconds": ""} for row in rows(out / "scores.csv")]


@pytest.mark.parametrize("every", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_a_disk_that_fails_at_any_operation_of_a_grading(cases, folder, tmp_path, capsys, every):
    """Exit code 4 and a sentence; once the disk is mended the same command, or `--resume`, ends as it would have."""
    whole, number, codes = tmp_path / "whole", 0, itertools.cycle((errno.ENOSPC, errno.EROFS, errno.EIO))
    assert verb("grade", folder, "--cases", cases, "--out", whole) == 0
    while True:
        out, fault = tmp_path / f"out-{number}", failing(number, next(codes))
        grade = ["grade", folder, "--cases", cases, "--out", out]
        capsys.readouterr()
        with watched(fault):
            code = verb(*grade)
        if not fault.reached:
            break
        told = capsys.readouterr().err
        assert code == 4 and "; " in told and "Traceback" not in told, f"operation {number}: {code}, {told}"
        assert verb(*grade, *(["--resume"] if (out / "grading.json").exists() else [])) == 0, (
            f"operation {number}"
        )
        assert scored(out) == scored(whole) and not list(out.rglob("*.partial"))
        assert sorted(p.relative_to(out) for p in out.rglob("*")) == sorted(
            p.relative_to(whole) for p in whole.rglob("*")
        )
        number += every
    assert code == 0 and number > 20


def test_marks_are_on_the_disk_before_the_next_submission(book, folder, tmp_path):
    def told(marks):
        if marks.student == "bert":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), pile.open_ledger(tmp_path / "out", resume=False) as ledger:
        pile.mark_pile(book, collect(folder), LIMITS, ledger=ledger, told=told)
    with pile.open_ledger(tmp_path / "out", resume=True) as again:
        pass
    assert set(again.done) >= {"anna", "bert"} and again.done["anna"][1].points == 20
    assert (tmp_path / "out" / "students" / "anna" / "report.html").is_file()


def test_a_torn_last_line_is_cut_and_other_cases_are_refused(book, tmp_path, folder):
    with pile.open_ledger(tmp_path / "out", resume=False) as ledger:
        pile.fits(ledger, book)
        marked = pile.mark_pile(book, collect(folder), LIMITS, ledger=ledger)
    with (tmp_path / "out" / pile.LOG).open("ab") as log:
        log.write(b'{"half')
    with pile.open_ledger(tmp_path / "out", resume=True) as again:
        assert len(again.done) == 3
    assert from_record(json.loads(json.dumps(to_record(marked[1])))) == marked[1]
    with pytest.raises(ConfigError, match="other cases"):
        pile.fits(ledger, type(book)(book.lab, book.pages[:1]))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "x").touch()
    for resume in (True, False):
        with (
            pytest.raises(RunError, match="no marks of ours"),
            pile.open_ledger(tmp_path / "foreign", resume=resume),
        ):
            pass


def test_two_graders_in_one_folder_are_kept_apart(book, cases, folder, tmp_path, capsys):
    out = tmp_path / "out"
    with pile.open_ledger(out, resume=False) as ledger:
        before = sorted(path.read_bytes() for path in out.rglob("*") if path.is_file())
        assert verb("grade", folder, "--cases", cases, "--out", out, "--resume") == 2
        assert "another process" in capsys.readouterr().err and not ledger.done
        assert sorted(path.read_bytes() for path in out.rglob("*") if path.is_file()) == before
    assert verb("grade", folder, "--cases", cases, "--out", out, "--resume") == 0


def test_one_that_breaks_stops_nobody(book, tmp_path):
    """Injected: an error of ours while a file is read, a name of any bytes, words that no file can hold."""
    (tmp_path / "anna.py").write_text(part(book.lab, "solution.py"))
    (tmp_path / "bert.py").write_text("def scores(q, k): raise ValueError('\\udc80')")
    (tmp_path / os.fsdecode(b"m\xfcller.py")).write_text("x = 1")
    found = collect(tmp_path, "lab2")
    from dataclasses import replace

    def fails():
        raise MemoryError("\udc80")

    found["zoe"] = replace(found["anna"], student="zoe", data=fails)
    with pile.open_ledger(tmp_path / "out", resume=False) as ledger:
        marks = {m.student: m for m in pile.mark_pile(book, found, LIMITS, 2, ledger)}
        pile.write_tables(book, list(marks.values()), ledger.out)
    assert (
        marks["anna"].points == 20
        and marks["zoe"].unread
        and "marking itself failed" in marks["zoe"].notes[0]
    )
    assert {row["student"] for row in rows(tmp_path / "out" / "scores.csv")} == {
        "anna",
        "bert",
        "müller",
        "zoe",
    }


@pytest.mark.slow
def test_a_class_of_odd_files_with_crashes():
    found = stress.prove_pile(2, 20, 30)
    assert not found.failures, "\n".join(found.failures)


ROSTER = """id;email;name;late days
412345;anna@x.org;Anna Müller;0
1234;mulleranna@x.org;Müller, Anna B;2
9;zoe@x.org;Zoe Absent;
"""


def test_a_class_comes_from_moodle_and_canvas_and_goes_back(book, cases, tmp_path):
    """Names as both platforms write them, a roster, and the grade columns that both import."""
    solution = part(book.lab, "solution.py").encode()
    archive = stress._zip(
        {
            "Anna Müller_412345_assignsubmission_file_/lab2.py": solution,
            "mulleranna_LATE_1234_5678_lab2-1.py": solution,
        }
    )
    (tmp_path / "download.zip").write_bytes(archive)
    (tmp_path / "students.csv").write_bytes(ROSTER.encode("cp1252"))
    out = tmp_path / "out"
    grade = ["grade", tmp_path / "download.zip", "--cases", cases, "--roster", tmp_path / "students.csv"]
    assert verb(*grade, "--out", out) == 0
    moodle = {row["Identifier"]: row for row in rows(out / "grades" / "moodle.csv")}
    assert (
        moodle["Participant 412345"]["Grade"] == "20"
        and moodle["Participant 412345"]["Maximum grade"] == "20"
    )
    assert moodle["Participant 9"]["Grade"] == "" and moodle["Participant 9"]["Status"] == "No submission"
    points, *canvas = rows(out / "grades" / "canvas.csv")
    assert points["Student"].strip() == "Points Possible" and points["Lab 2 Attention"] == "20"
    assert {row["ID"]: row["Lab 2 Attention"] for row in canvas} == {"412345": "20", "1234": "20", "9": ""}
    gradescope = {row["SID"]: row for row in rows(out / "grades" / "gradescope.csv")}
    assert gradescope["9"]["Status"] == "Missing"
    scores = {row["student"]: row for row in rows(out / "scores.csv")}
    assert (scores["mulleranna"]["late days"], scores["Anna Müller"]["email"]) == ("2", "anna@x.org")
    assert (out / "scores.csv").read_bytes().startswith(b"\xef\xbb\xbf")  # or Excel shows other letters
    again = read_roster(out / "grades" / "moodle.csv")  # a platform's own file is a roster, too
    assert {person.id for person in again} == {"412345", "1234", "9"}


def test_rosters_know_a_student_by_number_address_or_name(tmp_path):
    people = [Person("7", "ann.lee@x.org", "Ann Lee"), Person("8", "", "Öz, Cem"), Person("9", "", "Ann Lee")]
    found, absent = matched({"x": "7", "ann.lee": "", "cem öz": "", "Ann Lee": "", "9": ""}, people)
    assert {name: person.id for name, person in found.items()} == {
        "x": "7",
        "ann.lee": "7",
        "cem öz": "8",
        "9": "9",
    }
    assert not absent  # two of one name are nobody by name
    (tmp_path / "r.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="no column id"):
        read_roster(tmp_path / "r.csv")


def test_anonymous_marks_name_nobody(cases, folder, tmp_path):
    out = tmp_path / "out"
    assert verb("grade", folder, "--cases", cases, "--out", out, "--anonymous") == 0
    parts = [path for path in out.rglob("*") if path.is_file() and path.name != "names.csv"]
    told = "".join(path.read_text(encoding="utf-8") + str(path.relative_to(out)) for path in parts)
    assert not any(name in told for name in ("anna", "bert", "carl"))
    assert {row["student"] for row in rows(out / "names.csv")} == {"anna", "bert", "carl"}


def test_similar_code_is_found_and_other_code_is_not(book, cases, tmp_path):
    solution = part(book.lab, "solution.py")
    copied = solution.replace("shifted", "e").replace("fit", "raw").replace("part", "piece")
    assert fingerprints(solution) == fingerprints(copied)
    other = "def f(x):\n" + "".join(f"    if x == {n}:\n        x = x + [{n}, x]\n" for n in range(30))
    pairs = similar({"a": solution, "b": copied, "c": other}, stub(book.lab))
    assert [(pair.first, pair.second, pair.share) for pair in pairs] == [("a", "b", 1.0)]
    assert not similar({"a": stub(book.lab), "b": stub(book.lab)}, stub(book.lab))
    folder = tmp_path / "pile"
    folder.mkdir()
    for name, text in {"a": solution, "b": copied, "c": other}.items():
        (folder / f"{name}.py").write_text(text)
    assert verb("grade", folder, "--cases", cases, "--out", tmp_path / "out", "--similar") == 0
    assert (
        "winnowing" in (tmp_path / "out" / "similarity.html").read_text()
        and len(rows(tmp_path / "out" / "similarity.csv")) == 1
    )


def test_one_students_folder_may_hold_any_name(book, tmp_path):
    (tmp_path / "lab2_final.py").write_text("x = 1")
    (tmp_path / "notes.txt").write_text("")
    assert collect_one(tmp_path, "lab2")["student"].file == "lab2_final.py"


def test_reports_name_no_folder_of_the_teachers(book, folder, tmp_path):
    (folder / "large.py").write_bytes(b"#" * (1 << 20) + b"##")
    with pile.open_ledger(tmp_path / "out", resume=False) as ledger:
        marks = pile.mark_pile(book, collect(folder), LIMITS, ledger=ledger)
        pile.write_tables(book, marks, ledger.out)
    for path in (tmp_path / "out").rglob("*"):
        assert not path.is_file() or str(tmp_path) not in path.read_text(encoding="utf-8"), path
    page = (tmp_path / "out" / "class.html").read_text()
    assert "files could not be read" in page and "Mistakes recognised" not in page  # nobody made a known one


@pytest.mark.parametrize("name", ["a" * 300, "x/y", "..", "con:*?", "\u202eabc", "é" * 100, "new\nline", ""])
def test_folders_of_students_exist_on_any_system(name, tmp_path):
    safe = pile.folder_name(name)
    files.make_folder(tmp_path / safe)
    assert (tmp_path / safe).parent == tmp_path and len(safe.encode()) < 255 and safe not in ("", ".", "..")


def test_check_takes_a_lab_and_says_how(tmp_path, capsys, book):
    (tmp_path / "mine.py").write_text(part(book.lab, "solution.py"))
    assert verb("check", "lab2", tmp_path / "mine.py") == 0
    capsys.readouterr()
    assert verb("check", "lab2") == 2 and "check lab2 FILE" in capsys.readouterr().err
    assert (
        verb("grade", tmp_path / "missing", "--lab", "lab2") == 2
        and "does not exist" in capsys.readouterr().err
    )


def test_labs_of_an_installation_without_them(tmp_path):
    """A wheel has none; a teacher names the folder."""
    import shutil
    import subprocess
    import sys
    from pathlib import Path

    package = Path(classroom.__file__).parents[1]
    shutil.copytree(package, tmp_path / "minilm", ignore=shutil.ignore_patterns("labs", "__pycache__"))
    code = "from minilm.classroom.lab import lab_names, load_lab; print(lab_names(), load_lab('lab5').points)"
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "MINILM_LABS": str(package / "classroom" / "labs"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert "'lab6'" in done.stdout and "30" in done.stdout, done.stderr
    del environment["MINILM_LABS"]
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert "MINILM_LABS" in done.stderr


def test_zips_in_zips_and_many_folders_cost_little(tmp_path, monkeypatch):
    """Nothing that is unpacked on the way is kept, and no more of it is read than a homework may have."""
    monkeypatch.setattr(submissions, "MOST_FILES", 20)
    monkeypatch.setattr(submissions, "MOST_FOLDERS", 5)
    inside = stress._zip({"lab2.py": b"x = 1", "pad": bytes(8 << 20)}, zipfile.ZIP_STORED)
    (tmp_path / "large.zip").write_bytes(stress._zip({f"{n}.zip": inside for n in range(20)}))
    small = stress._zip({f"{n}.zip": stress._zip({f"{k}.py": b"x" for k in range(9)}) for n in range(9)})
    (tmp_path / "many.zip").write_bytes(stress._zip({f"{n}.zip": small for n in range(9)}))
    for n in range(6):
        (tmp_path / "folders" / str(n)).mkdir(parents=True)
    tracemalloc.start()
    found = collect(tmp_path, "lab2")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 4 << 20 and sorted(found) == ["folders", "large", "many"]
    assert found["large"].data() == b"x = 1" and "more than 5 folders" in found["folders"].problem
    assert len(list(submissions._of_one(tmp_path / "many.zip", (), False))) == 20
