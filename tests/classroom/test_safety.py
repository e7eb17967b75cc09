"""What a student's process holds, what its report tells, and what a loop without an end costs."""

from __future__ import annotations

import time
from dataclasses import replace

from minilm.classroom.book import public_part
from minilm.classroom.lab import part, stub
from minilm.classroom.marking import HELPED, UNWRITTEN, mark
from minilm.classroom.reports import lines, report
from minilm.classroom.runner import ENDINGS, Limits, Runner, submission

DUMP = """
import gc
def {task}(*arguments):
    held = [o.values() if isinstance(o, dict) else o for o in gc.get_objects() if isinstance(o, (dict, list, tuple))]
    texts = [s for one in held for s in list(one) if isinstance(s, str)]
    word = ''.join({word})
    raise ValueError(next((s[:80] for s in texts if word in s and s != word), 'nothing'))
"""


def named(marks):
    return {task.name: task for task in marks.tasks}


def test_the_process_holds_neither_reference_nor_titles_nor_expected_answers(book, runner):
    """A helped run can call our functions; their text is in another process."""
    # libraries' docstrings hold the bare word "expected"; a book or a job holds it as a key
    for word in (["def ", "softmax("], ["rows ", "far apart"], ['"exp', 'ected":'], ["masked_", "fill(~"]):
        source = DUMP.format(task="attention", word=word)
        (task,) = mark(replace(book, pages=(book.pages[3],)), source, "s", runner).tasks
        assert dict(task.faults)["no mask"] == "ValueError: nothing", word


def test_a_hidden_case_tells_no_words_of_the_file(book, runner):
    source = "def scores(q, k): raise ValueError(repr(q))"
    faults = dict(named(mark(book, source, "s", runner))["scores"].faults)
    assert "tensor(" in faults["a batch"] and faults["heads too"] == "ValueError"
    source = "class Odd(Exception): pass\ndef scores(q, k): raise Odd(repr(q))"
    assert (
        dict(named(mark(book, source, "s", runner))["scores"].faults)["heads too"]
        == "an error of the file's own"
    )


def test_given_functions_are_restored(runner, books):
    """Lab 3 gives self_attention; a file that breaks it is marked with the lab's."""
    book = books("lab3")
    page = next(page for page in book.pages if page.task.name == "block")
    source = part(book.lab, "solution.py") + "\n\ndef self_attention(*arguments): raise ValueError\n"
    (task,) = mark(replace(book, pages=(page,)), source, "s", runner).tasks
    assert task.right and not task.note


def test_a_loop_costs_its_seconds_once(book):
    """Not for every case, not once more with ours, and not for the tasks that call it."""
    source = part(book.lab, "solution.py").replace(
        "    return q @ k", "    while True: pass\n    return q @ k"
    )
    with Runner(Limits(seconds=2.0)) as runner:
        mark(replace(book, pages=book.pages[:1]), stub(book.lab), "starts the worker", runner)
        start = time.monotonic()
        marks = named(mark(book, source, "s", runner))
        seconds = time.monotonic() - start
    assert ENDINGS["time"][:20] in marks["scores"].faults[0][1]
    assert marks["attention"].right and marks["attention"].note == HELPED and marks["self_attention"].right
    assert seconds < 2 * 2.0 + 3  # of seven tasks only one waits


def test_a_file_that_does_not_load_is_told_once(book, runner):
    marks = mark(book, "def (", "s", runner)
    assert len(marks.notes) == 1 and "line 1" in marks.notes[0]
    assert report(marks, "t").count("invalid syntax") == 1 == "\n".join(lines(marks)).count("invalid syntax")


def test_what_stands_before_an_error_is_marked(book, runner):
    """A line at the end that tries a function out must not cost the functions."""
    marks = mark(book, part(book.lab, "solution.py") + "\nprint(scores(1, 2))\n", "s", runner)
    assert marks.points == 20 and "while loading the file, line 6" in marks.notes[0]


def test_unfinished_earlier_tasks_cost_nothing(book, runner):
    """2.4 calls 2.1 and 2.2, which are gaps: ours stand in their place, also in a student's own check."""
    text, solution = stub(book.lab), part(book.lab, "solution.py")
    kept = solution[solution.index("def attention") :]
    source = text[: text.index("def attention")] + kept
    for one in (book, public_part(book)):
        marks = named(mark(one, source, "s", runner))
        assert [marks[name].note for name in ("scores", "softmax", "causal_mask")] == [UNWRITTEN] * 3
        assert (
            marks["attention"].right and marks["attention"].note == HELPED and marks["self_attention"].right
        )


def test_arguments_changed_in_place_are_told(book, runner):
    source = "def softmax(x):\n    x -= x.max(dim=-1, keepdim=True).values\n    return x.softmax(dim=-1)"
    task = named(mark(book, source, "s", runner))["softmax"]
    assert task.right and task.changed == ("softmax, argument 1",)
    assert "it changes what it is given (softmax, argument 1)" in report(mark(book, source, "s", runner), "t")


def test_a_killed_worker_costs_nobody_a_mark(book):
    """The next job starts a new one, and the job that was hit runs again."""
    with Runner(Limits(seconds=20.0)) as runner:
        page = replace(book, pages=book.pages[:1])
        solution = part(book.lab, "solution.py")
        assert mark(page, solution, "s", runner).points == 2
        assert runner._process
        runner._process.kill()
        assert mark(page, solution, "s", runner).points == 2


def test_a_process_may_ask_for_earlier_functions_only(book, runner):
    """A line of the student's own that asks for the task itself gets a NameError."""
    page = book.pages[-1]
    job = submission("", "s.py", page.task.cases, "", [], page.helpers, ["scores"])
    source = f"def self_attention(*a): return scores.__closure__[1].cell_contents.far('{page.task.name}')(*a)"
    outcome = runner.run(replace(job, first={**job.first, "source": source}))
    assert all(case["error"] in ("NameError", "AttributeError") for case in outcome.cases)
