"""Records what made a study, versions, commit and machine, so that its numbers can be traced. Imports none of them."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import minilm

PACKAGES = ("torch", "hyperopt", "numpy")
GIT_TIMEOUT = 2.0  # seconds


def made_by() -> dict[str, Any]:
    """Names and values for study.json; what cannot be found out is left out.

    >>> made_by()["minilm"] == minilm.__version__
    True
    """
    found = {
        "minilm": minilm.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
    }
    return {name: value for name, value in found.items() if value}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that this package is in, with `-dirty` behind it where files differ from it."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():  # installed: a repository further up would be another project's
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--match", ""]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _processor() -> str | None:
    """The processor's name as the system tells it; Linux hides it in a file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
