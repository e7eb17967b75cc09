"""Finds texts: the corpora that have a name, and the user's own files.

A source hands out its text in pieces, as often as asked, with the facts that identify it. It refuses to know
tokens and splits. To add a corpus: write a function that returns a Source, list it in CORPORA.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import os
import platform
import sysconfig
import unicodedata
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minilm import files
from minilm.errors import CorpusError, MinilmError
from minilm.text import formats, reading

SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
SHAKESPEARE_NAMES = ("tinyshakespeare.txt", "input.txt", "shakespeare.txt")
SHAKESPEARE_BYTES = 1_115_394
DOWNLOAD_SECONDS = 20.0

PYTHON_LICENCE = "Python Software Foundation License 2"


@dataclass(frozen=True)
class Source:
    """A text and what is known of it. `pieces()` starts from the beginning at every call."""

    name: str
    path: str  # what `load_corpus` needs to find it again
    pieces: Callable[[], Iterable[str]]
    facts: dict[str, Any] = field(default_factory=dict)
    sha256: str | None = None  # what the text must be, where that is known
    bounds: tuple[int, int] | None = None  # its own split, as character indexes
    floors: dict[str, float] | None = None  # its entropy, nats per character, of that split


@dataclass(frozen=True)
class Entry:
    about: str
    licence: str
    load: Callable[[], Source]


def cache_folder() -> Path:
    """Where downloads and large token arrays are kept between runs; may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if Path(base).is_absolute():
        return Path(base) / "minilm"
    try:
        return Path.home() / ".cache" / "minilm"
    except RuntimeError as error:  # a container's user without an entry in the password file
        raise CorpusError(
            "this user has no home folder to cache texts in; name one in XDG_CACHE_HOME"
        ) from error


def check_there(where: str) -> None:
    """CorpusError where no corpus, file or folder has that name."""
    if where not in CORPORA and not os.path.isdir(os.path.expanduser(where)):
        reading.find_files(where, CORPORA)


def own_files(where: str, raw: bool = False) -> Source:
    """The user's file, folder or glob; `raw`: its letters as they are, whatever format they are in."""
    paths = reading.find_files(where, CORPORA)
    path = Path(os.path.expanduser(where)).absolute()
    known = {} if raw else {one: found for one in paths if (found := formats.recognise(one))}
    if path.is_dir():  # of what only a format can open, the letters are nobody's text
        paths = [
            one for one in paths if raw or one in known or not one.name.lower().endswith(reading.WRAPPED)
        ]

    if len(paths) == 1 and known and not any(formats.written(paths[0], known[paths[0]])):
        raise CorpusError(
            f"{path} must hold words, and in {known[paths[0]].name} there are none; call the field of the texts "
            "'text', or read its letters with raw=True"
        )

    def read(one: Path) -> Iterator[str]:
        return formats.written(one, known[one]) if one in known else reading.read_file(one)

    return Source(
        name=path.stem if path.is_file() else path.name,
        path=str(path),
        pieces=lambda: reading.read_files(paths, read),
        facts={"files": len(paths)}
        | ({} if raw or not (told := _told(path, paths, known)) else {"read_as": told}),
    )


def _told(path: Path, paths: list[Path], known: dict[Path, formats.Format]) -> str:
    """How the files were read and which were not, in one line; nothing to tell of a plain file."""
    if len(paths) == 1 and paths[0] in known:
        return formats.told(paths[0], known[paths[0]])
    if not path.is_dir():
        return f"{len(paths):,} files, of {len(known):,} the words alone" if known else ""
    gone = reading.left_out(path, paths)
    opened = f", of {len(known):,} the words alone" if known else ""
    return f"{len(paths):,} files ({reading.kinds(paths)}){opened}; left out: {reading.kinds(gone) or 'none'}"


def _fables() -> Source:
    from minilm.text import fables

    loaded = fables.load()
    return Source("fables", "fables", lambda: [loaded.text], bounds=loaded.bounds, floors=dict(loaded.floors))


def _pydocs() -> Source:
    if importlib.util.find_spec("pydoc_data") is None:
        raise CorpusError("this Python came without pydoc_data; install a full Python or choose `fables`")
    from pydoc_data.topics import topics

    text = "\n".join(to_ascii(topics[name]).strip() + "\n" for name in sorted(topics))
    return Source("pydocs", "pydocs", lambda: [text], {"python": platform.python_version()})


def to_ascii(text: str) -> str:
    """`text` with curly quotes, dashes and accents replaced by their nearest ASCII; the rest is left out.

    >>> to_ascii("“Straße” – café…")
    '"Strasse" - cafe...'
    """
    plain: dict[str, str | int | None] = {
        "“": '"',
        "”": '"',
        "‘": "'",
        "’": "'",
        "–": "-",
        "—": "-",
        "ß": "ss",
        "°": " degrees",
    }
    folded = unicodedata.normalize("NFKD", text.translate(str.maketrans(plain)))
    return folded.encode("ascii", "ignore").decode("ascii")


def _python() -> Source:
    """The top-level modules of the standard library that are pure ASCII."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(path for path in folder.glob("*.py") if not path.name.startswith("_sysconfigdata"))
    paths = [path for path in paths if path.is_file() and path.stat().st_size and path.read_bytes().isascii()]
    if not paths:
        raise CorpusError(f"this Python came without its sources in {folder}; choose another corpus")
    facts = {"python": platform.python_version(), "files": len(paths)}
    return Source("python", "python", lambda: reading.read_files(paths), facts)


def _shakespeare() -> Source:
    path = next((path for path in _shakespeare_places() if os.path.isfile(path)), None)
    if path is None:
        text = _download_shakespeare()
        return Source("shakespeare", "shakespeare", lambda: [text], sha256=SHAKESPEARE_SHA256)
    return Source("shakespeare", "shakespeare", lambda: _whole_shakespeare(path), sha256=SHAKESPEARE_SHA256)


def _whole_shakespeare(path: Path) -> Iterator[str]:
    """The text in `path`; the sentence about a wrong file must name it, which only this function can."""
    reading.find_files(str(path))
    pieces = list(reading.read_file(path))
    if _digest(pieces) != SHAKESPEARE_SHA256:
        raise CorpusError(
            f"{path} is not Tiny Shakespeare: its sha256 must begin with {SHAKESPEARE_SHA256[:12]}, got "
            f"{_digest(pieces)[:12]}; delete or rename the file to have it fetched again"
        )
    yield from pieces


def _shakespeare_places() -> Iterator[Path]:
    if folder := os.environ.get("MINILM_DATA"):
        yield from (Path(folder) / name for name in SHAKESPEARE_NAMES)
    yield cache_folder() / SHAKESPEARE_NAMES[0]


def _download_shakespeare() -> str:
    try:
        with urllib.request.urlopen(SHAKESPEARE_URL, timeout=DOWNLOAD_SECONDS) as answer:
            data = answer.read(SHAKESPEARE_BYTES + 1)  # one more shows that the file is another one
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise CorpusError(
            f"cannot download Tiny Shakespeare ({error}); fetch {SHAKESPEARE_URL} elsewhere and put it "
            f"at {cache_folder() / SHAKESPEARE_NAMES[0]}, or name its folder in MINILM_DATA"
        ) from error
    if (digest := hashlib.sha256(data).hexdigest()) != SHAKESPEARE_SHA256:
        raise CorpusError(
            f"the download from {SHAKESPEARE_URL} is not Tiny Shakespeare: its sha256 must begin with "
            f"{SHAKESPEARE_SHA256[:12]}, got {digest[:12]}; is a proxy or login page in between?"
        )
    _keep(data)
    return data.decode("ascii")


def _keep(data: bytes) -> None:
    try:
        files.make_folder(cache_folder())
        files.write_bytes(cache_folder() / SHAKESPEARE_NAMES[0], data)
    except MinilmError:
        pass  # a cache that cannot be written costs a download next time, nothing more


def _digest(pieces: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece.encode("utf-8"))
    return digest.hexdigest()


CORPORA: dict[str, Entry] = {
    "fables": Entry("short fables from a grammar whose entropy is known exactly", "MIT", _fables),
    "pydocs": Entry(
        "the reference topics inside this Python, English prose with rules", PYTHON_LICENCE, _pydocs
    ),
    "python": Entry("this Python's top-level standard modules, source code", PYTHON_LICENCE, _python),
    "shakespeare": Entry(
        "Tiny Shakespeare, the usual yardstick; downloaded once", "public domain", _shakespeare
    ),
}
