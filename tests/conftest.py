"""Fixtures that more than one test file needs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shakespeare_folder() -> Path:
    """The folder that holds tinyshakespeare.txt: MINILM_DATA, or shared/data beside the repository."""
    for folder in (os.environ.get("MINILM_DATA"), ROOT.parent / "shared" / "data"):
        if folder and Path(folder, "tinyshakespeare.txt").is_file():
            return Path(folder)
    pytest.skip("needs tinyshakespeare.txt in the folder that MINILM_DATA names")


@pytest.fixture
def shakespeare(shakespeare_folder, monkeypatch):
    """Tiny Shakespeare with the usual split, never downloaded."""
    from minilm.text.corpora import load_corpus

    monkeypatch.setenv("MINILM_DATA", str(shakespeare_folder))
    return load_corpus("shakespeare")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """What trainings keep for the machine goes to a folder of the tests, in child processes too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A line forty times, in characters; a file whose tests need another text has a fixture of its own."""
    from minilm.text.corpora import load_corpus

    path = tmp_path_factory.mktemp("text") / "tale.txt"
    path.write_text("a fox and a crane met at the well, and the crane said no.\n" * 40)
    return load_corpus(path)
