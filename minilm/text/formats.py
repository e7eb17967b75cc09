"""Reads texts as people have them, chats, lines of JSON, tables, subtitles: the words alone, and says what it left out.

Each format becomes parts, somebody's words or words alone; speakers are written "Name: words", so that a model can
learn whose turn it is. What no reader knows is read letter by letter. Knows nothing of tokens.
"""

from __future__ import annotations

import csv
import html
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from minilm.errors import CorpusError
from minilm.text.reading import read_file

HEAD = 200  # lines that are looked at to recognise a format
ROWS = 200  # rows of a table that tell which column is its text
SURROGATE = re.compile(r"[\ud800-\udfff]")  # half a character, as JSON can hold it
WORDS = 20  # characters that a column of text has on average, at least
TEXTS = ("text", "content", "body", "message", "story", "article", "document")
SPEAKERS = ("speaker", "author", "name", "from", "sender", "role", "user", "character")
PAIRS = (("prompt", "completion"), ("instruction", "output"), ("question", "answer"), ("input", "output"))


class Part(NamedTuple):
    """Somebody's words, or words alone; `left` names what was left out instead. No words: a conversation ends."""

    words: str = ""
    speaker: str | None = None
    left: str = ""


class Format(NamedTuple):
    """One way to keep a text in a file."""

    name: str
    looks: Callable[[Path, list[str]], bool]  # by the file's name and first lines
    parts: Callable[[Path], Iterator[Part]]
    each: str  # what a part is, in the plural
    end: str = "\n"  # of a part
    always: str = ""  # what is always left out


def recognise(path: Path) -> Format | None:
    """How the file keeps its text; None for plain text."""
    first = [] if path.suffix.lower() == ".parquet" else list(islice(lines(path), HEAD))
    return next((format for format in FORMATS if format.looks(path, first)), None)


def written(path: Path, format: Format) -> Iterator[str]:
    """The text of the file, some at a time."""
    some: list[str] = []
    for part in format.parts(path):
        if part.words:
            words = re.sub(r"\s*\n\s*", " " if format.end == "\n" else "\n", part.words.strip())
            some.append((f"{plain_name(part.speaker)}: " if part.speaker else "") + words + format.end)
        elif not part.left:
            some.append("\n")
        if len(some) > HEAD:
            yield "".join(some)
            some = []
    if some:
        yield "".join(some)


def told(path: Path, format: Format) -> str:
    """What was recognised and what is left out, in one line."""
    names, left, count = Counter[str](), Counter[str](), 0
    for part in format.parts(path):
        count += bool(part.words)
        names.update([plain_name(part.speaker)] if part.speaker else [])
        left.update([part.left] if part.left else [])
    known = [name for name, _ in names.most_common(3)]
    who = ", ".join(known) + f" and {len(names) - 3} others" if len(names) > 3 else " and ".join(known)
    out = [format.always] * bool(format.always) + [
        f"{number:,} {what if number > 1 else re.sub('s( |$)', ' ', what, count=1).strip()}"
        for what, number in left.most_common()
    ]
    gone = f"; {', '.join(out)} left out" if out else ""
    return f"{format.name}{f' of {who}' if who else ''}, {count:,} {format.each}{gone}"


def plain_name(name: str) -> str:
    """The name as `minilm.text.turns` knows names.

    >>> plain_name("~ Anna 🌻"), plain_name("+49 170 123")
    ('Anna', '49 170 123')
    """
    kept = re.sub(r"[^\w'’.&() -]", "", name.replace("_", " ")).strip(" -.'’&()")
    return kept[:30].strip() or "Somebody"


def lines(path: Path) -> Iterator[str]:
    """The lines of a text file without their ends."""
    rest = ""
    for piece in read_file(path):
        *whole, rest = (rest + piece).split("\n")
        yield from whole
    if rest:
        yield rest


# WhatsApp: a stamp begins a message, its order and marks are the phone's language's; a line without one goes on.
DATE = r"\d{1,4}[./-]\s?\d{1,2}[./-]\s?\d{1,4}\.?"
HALF = r"[^\W\d]\.?\s?[^\W\d]\.?"  # AM, p.m., a. m., 오전
TIME = rf"(?:{HALF}\s?)?\d{{1,2}}[:.]\d{{2}}(?:[:.]\d{{2}})?(?:\s?{HALF})?"
MARKS = "\u200e\u200f\u202a\u202c\ufeff"  # of the direction of writing
STAMP = re.compile(rf"[{MARKS}]*(?:{DATE},?\s{TIME}\s[-–]\s|\[{DATE},?\s{TIME}\]\s)(?P<rest>.*)")
SAID = re.compile(r"(?P<name>[^:\n]{1,60}?):\s(?P<words>.*)", re.DOTALL)
NO_WORDS = re.compile(
    rf"[{MARKS}]|<[^<>\n]+>\s*$|\S+ \([^()]+\)\s*$|null$"
)  # <Media omitted>, a.jpg (file attached)


def is_whatsapp(path: Path, first: list[str]) -> bool:
    stamped = sum(bool(STAMP.match(line)) for line in first)
    return stamped >= 3 and 2 * stamped >= len(list(filter(None, first)))


def whatsapp(path: Path) -> Iterator[Part]:
    message: str | None = None
    for line in chain(lines(path), [None]):
        stamp = None if line is None else STAMP.match(line)
        if message is not None and (line is None or stamp):
            said = SAID.match(message)
            if said is None:
                yield Part(left="notices")  # Messages are end-to-end encrypted
            elif NO_WORDS.match(said["words"]) or not said["words"].strip():
                yield Part(left="media")
            else:
                yield Part(said["words"], said["name"])
        message = stamp["rest"] if stamp else None if message is None else f"{message}\n{line}"


def read_json(path: Path) -> Any:
    try:
        return json.loads("".join(read_file(path)))
    except (ValueError, RecursionError) as error:
        raise CorpusError(
            f"{path} must be whole JSON, and is not ({error}); export it again, or read its letters with raw=True"
        ) from error


def is_telegram(path: Path, first: list[str]) -> bool:
    return (
        path.suffix.lower() == ".json"
        and any('"messages": [' in line for line in first)
        and (len(first) == 1 or not is_lines(first))  # all on one line: a program has written it again
    )


def telegram(path: Path) -> Iterator[Part]:
    """One chat's result.json, or a whole account's."""
    export = read_json(path)
    chats = export.get("chats", {}).get("list", [export])
    for number, one in enumerate(chats):
        if number:
            yield Part()
        for message in one.get("messages", ()):
            words = content(message.get("text"))
            if message.get("type") != "message" or not words.strip():
                yield Part(left="notices" if message.get("type") != "message" else "media")
            else:
                yield Part(words, str(message.get("from") or "Somebody"))


def content(value: Any) -> str:
    """The words of a field that may be a list of texts and of objects with a text.

    >>> content(["see ", {"type": "link", "text": "here"}])
    'see here'
    """
    if isinstance(value, list):
        return "".join(map(content, value))
    if isinstance(value, dict):
        return content(value.get("text"))
    return SURROGATE.sub("\ufffd", value) if isinstance(value, str) else ""


def is_lines(first: list[str]) -> bool:
    return bool(first) and first[0].startswith("{") and first[0].rstrip().endswith("}")


def is_json(path: Path, first: list[str]) -> bool:
    if (
        path.suffix.lower() == ".json"
    ):  # an array of objects, or lines in spite of the name; not a program's settings
        return "".join(first[:2]).lstrip().startswith("[") and "{" in "".join(first) or is_lines(first[1:])
    return path.suffix.lower() in (".jsonl", ".ndjson") and is_lines(first)


def json_rows(path: Path) -> Iterator[Any]:
    if not is_lines(list(islice(lines(path), 1))):
        yield from read_json(path)
        return
    for number, line in enumerate(lines(path), start=1):
        try:
            if line.strip():
                yield json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(
                f"{path} must have one JSON object on each line, line {number:,} is none ({error}); mend it, or read "
                "its letters with raw=True"
            ) from error


def conversations(path: Path) -> Iterator[Part]:
    """Rows that hold turns, one turn, a question and its answer, or a text."""
    column = text_column((row for row in json_rows(path) if isinstance(row, dict)), path)
    for row in json_rows(path):
        if not isinstance(row, dict):
            continue
        turns = next((row[key] for key in ("messages", "conversations", "turns") if key in row), None)
        pair = next((pair for pair in PAIRS if set(pair) <= set(row)), None)
        if isinstance(turns, list):
            for turn in turns:
                yield from turn_of(turn)
            yield Part()
        elif pair:
            extra = content(row.get("input")) if pair[0] == "instruction" else ""
            yield Part(f"{content(row[pair[0]])}\n{extra}", "User")
            yield Part(content(row[pair[1]]), "Assistant")
            yield Part()
        elif any(key in row for key in SPEAKERS) and column:
            yield from turn_of(row)
        elif column:
            yield (
                Part(content(row.get(column))) if content(row.get(column)) else Part(left="rows without text")
            )


def turn_of(turn: Any) -> Iterator[Part]:
    known = turn if isinstance(turn, dict) else {}
    speaker = next((known[key] for key in SPEAKERS if isinstance(known.get(key), str)), "Somebody")
    words = next((content(known[key]) for key in (*TEXTS, "value") if content(known.get(key))), "")
    speaker = {"human": "user", "gpt": "assistant"}.get(speaker, speaker)
    yield (
        Part(words, speaker[:1].upper() + speaker[1:]) if words.strip() else Part(left="turns without words")
    )


def text_column(rows: Iterable[dict[str, Any]], path: Path) -> str | None:
    """The column of a table that is its text: by its name, else the one with most to read; None where none has."""
    some = list(islice(rows, ROWS))
    names = list(dict.fromkeys(name for row in some for name in row if isinstance(name, str)))
    named = next((name for known in TEXTS for name in names if name.lower() == known), None)
    if named is not None:
        return named
    mean = {name: sum(len(content(row.get(name))) for row in some) / len(some) for name in names}
    longest = max(mean, key=lambda name: mean[name], default=None)
    return longest if longest is not None and mean[longest] >= WORDS else None


def is_table(path: Path, first: list[str]) -> bool:
    if path.suffix.lower() == ".parquet":
        return True
    return path.suffix.lower() in (".csv", ".tsv") and text_column(table_rows(path), path) is not None


def table_rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix.lower() == ".parquet":
        yield from parquet_rows(path)
        return
    first = "\n".join(islice(lines(path), HEAD))
    mark = max("\t" if path.suffix.lower() == ".tsv" else ",;\t|", key=first.split("\n")[0].count)
    csv.field_size_limit(2**31 - 1)
    yield from csv.DictReader((line + "\n" for line in lines(path)), delimiter=mark, restkey="")


def parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise CorpusError(
            f"{path} is a parquet file, which the library pyarrow reads: pip install pyarrow"
        ) from error
    try:
        for batch in ParquetFile(path).iter_batches(1000):
            yield from batch.to_pylist()
    except (ArrowException, OSError) as error:
        raise CorpusError(f"{path} is not a whole parquet file ({error}); copy it again") from error


def table(path: Path) -> Iterator[Part]:
    column = text_column(table_rows(path), path)
    if column is None:
        raise CorpusError(
            f"{path} has no column of text; name the column 'text', or write the texts to a file"
        )
    for row in table_rows(path):
        speaker = next((row[name] for name in row if str(name).lower() in SPEAKERS and name != column), None)
        words = content(row.get(column))
        yield Part(words, speaker or None) if words.strip() else Part(left="rows without text")


def is_subtitles(path: Path, first: list[str]) -> bool:
    return path.suffix.lower() in (".srt", ".vtt") and any("-->" in line for line in first)


def subtitles(path: Path) -> Iterator[Part]:
    """The cues in a row; a cue is a time and the lines under it, and may name who speaks."""
    for cue in re.split(r"\n\s*\n", "".join(read_file(path))):
        _, arrow, rest = cue.partition("-->")
        if arrow:
            _, _, words = rest.partition("\n")  # what follows the time on its line is a place on the screen
            voice = re.search(r"<v(?:\.\S+)? ([^>]+)>", words)
            words = html.unescape(re.sub(r"<[^<>]*>|\{\\[^{}]*\}", "", words))
            yield Part(words, voice[1] if voice else None) if words.strip() else Part(left="empty cues")


FORMATS = (
    Format("a WhatsApp chat", is_whatsapp, whatsapp, "messages", always="time stamps"),
    Format("a Telegram chat", is_telegram, telegram, "messages", always="time stamps"),
    Format("lines of JSON", is_json, conversations, "texts", "\n\n", always="all other fields"),
    Format("a table", is_table, table, "rows", always="all other columns"),
    Format("subtitles", is_subtitles, subtitles, "cues", always="times"),
)
