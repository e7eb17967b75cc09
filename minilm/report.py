"""Rebuilds the page and pictures of a run or a study from its records: `python -m minilm.report RUN`.

It measures nothing, so it works on a folder from elsewhere, and on one still growing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from minilm import files
from minilm.cli import parser, run_verb
from minilm.errors import MinilmError, RunError, shortened
from minilm.files import BEST, CONFIG


def report(folder: str | Path) -> Path:
    """Rebuilds `report.html` in a study's or run's folder, returns its path; `RunError` for other folders."""
    from minilm.plots.reading import is_run, is_study
    from minilm.plots.run_page import run_page
    from minilm.plots.study_page import study_page

    folder = Path(folder)
    try:
        if is_study(folder):
            if (folder / BEST / CONFIG).is_file():
                _whole(folder / BEST)
            return study_page(folder)
        if is_run(folder):
            _whole(folder)
            return run_page(folder)
    except OSError as error:
        raise RunError(
            f"a run must be a folder that one can look into, got {shortened(str(folder))}: {error.strerror}; "
            "give the folder that training wrote"
        ) from error
    except (TypeError, KeyError, IndexError, AttributeError, ValueError, ArithmeticError) as error:
        if isinstance(error, MinilmError):
            raise
        raise RunError(
            f"the records in {folder} are not as this package writes them and no page can show them ({error!r:.80}); "
            "restore them from a copy"
        ) from error
    raise RunError(
        f"a run must hold config.json and a study study.json, got {shortened(str(folder))} with neither; "
        "give the folder that training wrote"
    )


def _whole(folder: Path) -> None:
    """RunError where the run's files are not all of one run."""
    from minilm.training.run import read_numbers

    read_numbers(folder, files.read_json(folder / CONFIG, sealed_with="tokenizer"))


def _parser() -> argparse.ArgumentParser:
    arguments = parser("report", "python -m minilm.report runs/fables")
    arguments.add_argument("run", metavar="RUN", help="folder of a run or a study")
    arguments.add_argument(
        "--json", action="store_true", help="print the paths as JSON (default: for a person)"
    )
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(argv)
    page = report(given.run)
    pictures = sorted(page.parent.glob("*.png"))
    if given.json:
        print(json.dumps({"page": str(page), "pictures": [str(path) for path in pictures]}))
    else:
        print("\n".join(["page      " + str(page), *(f"picture   {path}" for path in pictures)]))
    return 0


if __name__ == "__main__":
    run_verb(main)
