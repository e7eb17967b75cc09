"""The handout of a lab in Markdown: theory, how to work, and a table of tasks made from the lab itself."""

from __future__ import annotations

from minilm.classroom.lab import Lab, Task, part


def handout(lab: Lab) -> str:
    """The page that students read first."""
    minutes = sum(task.minutes for task in lab.tasks)
    number = lab.name.removeprefix("lab")
    parts = [f"# Lab {number}: {lab.title}", "", f"{lab.points} points, about {minutes} minutes.", ""]
    parts += ["## Theory", "", part(lab, "theory.md").strip(), "", "## Tasks", ""]
    parts += [
        f"Fill the gaps of `{lab.name}.py`, in any order. Every task is marked on its own: where one needs an earlier "
        "one that is not right yet, ours takes its place.",
        "",
        "| task | function | deliverable | points | minutes | difficulty |",
        "|---|---|---|---|---|---|",
        *(_row(lab, task) for task in lab.tasks),
        "",
        "## How far am I?",
        "",
        "```sh",
        f"python -m pytest -q test_{lab.name}.py",
        f"python -m minilm.classroom check {lab.name}.py",
        f"python -m minilm.classroom hint {lab.name} {lab.tasks[0].name} --level 1",
        "```",
        "",
        "The first line needs pytest and torch only. The second also names common mistakes. Hints have three levels: a "
        "question, a direction, and nearly the answer. There are more cases than you see here, with other shapes and "
        "numbers; what is right in general is right there too.",
        "",
        "## What is allowed",
        "",
        "torch and the standard library. Answers may be tensors of any width or nested lists; loops, einsum and "
        "torch's own functions are all fine where the text does not ask for a certain way. When your file is marked it "
        "runs without network, writes only to its own folder, and has ten seconds and one gigabyte for each task.",
        "",
    ]
    return "\n".join(parts)


def _row(lab: Lab, task: Task) -> str:
    dots = "●" * task.difficulty + "○" * (5 - task.difficulty)
    cells = [lab.number(task), f"`{task.name}`: {task.title}", task.deliverable]
    return "| " + " | ".join([*cells, str(task.points), str(task.minutes), dots]) + " |"
