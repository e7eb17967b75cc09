"""The handout of a lab in Markdown: theory, how to work, and a table of tasks made from the lab itself."""

from __future__ import annotations

from minilm.classroom.lab import Lab, Task, part
from minilm.classroom.marking import CORE_SHARE

EDGES = round(100 * (1 - CORE_SHARE))


def handout(lab: Lab, notebook: bool = False) -> str:
    """The page that students read first."""
    minutes, number = sum(task.minutes for task in lab.tasks), lab.name.removeprefix("lab")
    file = f"{lab.name}.{'ipynb' if notebook else 'py'}"
    parts = [f"# Lab {number}: {lab.title}", "", f"{lab.points} points, about {minutes} minutes.", ""]
    parts += ["## Theory", "", theory(lab), "", "## Tasks", ""]
    parts += [
        f"Fill the gaps of `{file}`, in any order. Every task is marked on its own: where it calls an earlier one of "
        "yours that is not right or not written, ours stands in its place (your own check knows what ours answers to "
        "the calls that our solution makes, and no others). A function must not change what it is given. A task counts "
        f"once its main cases are right; where it has cases at the edge, these bring the last {EDGES} per cent.",
        "",
        "| task | function | deliverable | points | minutes | difficulty |",
        "|---|---|---|---|---|---|",
        *(_row(lab, task) for task in lab.tasks),
        "",
        "## How far am I?",
        "",
        *(_in_notebook(lab) if notebook else _in_files(lab)),
        "Hints have three levels: a question, a direction, and nearly the answer. There are more cases than you see "
        "here, with other shapes and numbers; what is right in general is right there too.",
        "",
        "## What is allowed",
        "",
        f"{lab.needs} and the standard library. Answers may be tensors of any width or nested lists; loops, einsum and "
        "torch's own functions are all fine where the text does not ask for a certain way. When your file is marked it "
        "runs without network, writes only to its own folder, and has ten seconds and one gigabyte for each task.",
        "",
    ]
    return "\n".join(parts)


def _hint(lab: Lab) -> str:
    return f"python -m minilm.classroom hint {lab.name} {lab.tasks[0].name} --level 1"


def _in_files(lab: Lab) -> list[str]:
    tests, check = (
        f"python -m pytest -q test_{lab.name}.py",
        f"python -m minilm.classroom check {lab.name}.py",
    )
    shown = ["```sh", tests, f"{tests} -k {lab.tasks[0].name}", check, _hint(lab), "```", ""]
    needs = f"The first two lines need pytest and {lab.needs}, the others minilm: its README says how to install it."
    return [*shown, f"{needs} `check` also names common mistakes. Run them all in this folder."]


def _in_notebook(lab: Lab) -> list[str]:
    how = "Run the cell after each function: it says which cases are right and names common mistakes."
    needs = "That line needs minilm: its README says how to install it. The notebook itself does not."
    return [how, "", "```sh", _hint(lab), "```", "", needs]


def theory(lab: Lab) -> str:
    """What has to be known, with the formulas."""
    return part(lab, "theory.md").strip()


def dots(task: Task) -> str:
    """The difficulty, five at most."""
    return "●" * task.difficulty + "○" * (5 - task.difficulty)


def _row(lab: Lab, task: Task) -> str:
    cells = [lab.number(task), f"`{task.name}`: {task.title}", task.deliverable]
    return "| " + " | ".join([*cells, str(task.points), str(task.minutes), dots(task)]) + " |"
