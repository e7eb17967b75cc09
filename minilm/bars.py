"""Shows progress where a person looks on: one line of a terminal, or one line of a notebook that stays in its place.

Without a terminal or a notebook nothing is drawn: no log file fills up with bars. It knows nothing of what progresses.
"""

from __future__ import annotations

import html
import io
import sys
from typing import Any

from tqdm import tqdm

WIDTH = 88  # characters of the line in a notebook, which tells no width


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, and the call comes from one of its cells.

    >>> in_notebook()
    False
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def progress_bar(total: float | None, shape: str, *, terminal: bool = True, words: str = "") -> tqdm:
    """A bar of tqdm's `bar_format` `shape` that vanishes when it is closed.

    In a notebook it is drawn below the cell; elsewhere on stderr if that is a terminal and `terminal` is asked for.
    """
    look: dict[str, Any] = {"total": total, "leave": False, "bar_format": shape, "desc": words or None}
    if in_notebook():
        return NotebookBar(
            **look, file=io.StringIO(), ncols=WIDTH, ascii=False
        )  # the file gets what is not drawn in the cell
    return tqdm(**look, file=sys.stderr, disable=None if terminal else True)


class NotebookBar(tqdm):
    """tqdm's own line as one output of the cell, updated in place; needs no widgets, and none are saved with it."""

    monitor_interval = 0  # no thread of tqdm's: what a thread displays ends up below another cell
    _output: Any = None

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        from IPython.display import display  # there is one, or nobody could be in a notebook

        line = str(self) if msg is None else msg
        styled = f'<pre style="margin: 0">{html.escape(line)}</pre>' if line else ""
        data = {"text/plain": line, "text/html": styled}
        if self._output is None:
            self._output = display(data, raw=True, display_id=True)
        else:
            self._output.update(data, raw=True)
        return True
