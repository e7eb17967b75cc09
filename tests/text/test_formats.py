"""Texts as people have them: recognised, the words alone, what is left out is counted; plain text stays as it is."""

from __future__ import annotations

import json

import pytest

from minilm.errors import CorpusError
from minilm.text import formats
from minilm.text.corpora import load_corpus, load_described
from minilm.text.turns import find_dialogue

MANY = 30  # messages: a text needs 200 characters


def stamped(stamp: str, also: str = "") -> str:
    said = "".join(f"{stamp}{'Anna' if k % 2 else 'Ben'}: I have {k} plums, dear.\n" for k in range(MANY))
    return also + said


WHATSAPP = {  # as phones of several languages write them
    "android, british": "28/03/2024, 09:54 - ",
    "android, american": "3/28/24, 9:54 AM - ",
    "android, american, narrow space": "3/28/24, 9:54\u202fAM - ",
    "android, german": "28.03.24, 09:54 - ",
    "android, spanish": "28/3/2024, 9:54 a. m. - ",
    "android, italian": "28/03/24, 09:54 - ",
    "android, dutch": "28-03-2024 09:54 - ",
    "android, swedish": "2024-03-28 09:54 - ",
    "android, korean": "2024. 3. 28. 오전 9:54 - ",
    "android, portuguese": "28/03/2024 09:54 - ",
    "ios, british": "[28/03/2024, 09:54:12] ",
    "ios, american": "[3/28/24, 9:54:12\u202fAM] ",
    "ios, german": "[28.03.24, 09:54:12] ",
    "ios, with a mark": "\u200e[28.03.24, 09:54:12] ",
}


def loaded(tmp_path, name: str, text: str):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return load_corpus(tmp_path / name)


@pytest.mark.parametrize("phone", WHATSAPP)
def test_whatsapp(tmp_path, phone):
    stamp = WHATSAPP[phone]
    notice = f"{stamp}Messages and calls are end-to-end encrypted.\n"
    media = f"{stamp}Anna: <Media omitted>\n{stamp}Ben: \u200eimage omitted\n{stamp}Ben: IMG-1.jpg (file attached)\n"
    corpus = loaded(tmp_path, "WhatsApp Chat.txt", stamped(stamp, notice + media) + "and one more line\n")
    expected = "".join(f"{'Anna' if k % 2 else 'Ben'}: I have {k} plums, dear.\n" for k in range(MANY))
    assert corpus.text == expected[:-1] + " and one more line\n"
    assert corpus.source["read_as"] == (
        "a WhatsApp chat of Ben and Anna, 30 messages; time stamps, 3 media, 1 notice left out"
    )
    assert "a WhatsApp chat of Ben and Anna" in corpus.line()
    assert set(find_dialogue(corpus.text).speakers()) == {"Anna", "Ben"}


def test_letters_as_they_are(tmp_path):
    text = stamped(WHATSAPP["ios, german"])
    (tmp_path / "chat.txt").write_text(text)
    corpus = load_corpus(tmp_path / "chat.txt", raw=True)
    assert corpus.text == text and "read_as" not in corpus.source
    assert load_described(corpus.describe()).text == text  # also where it is found again


TURNS = [("user", "What are plums?"), ("assistant", "Fruit.\n\nThey are blue.")]
TELEGRAM = {
    "name": "Anna",
    "type": "personal_chat",
    "messages": [
        {"type": "service", "actor": "Anna", "action": "phone_call", "text": ""},
        {"type": "message", "from": "Anna", "text": "", "photo": "p.jpg"},
        *(
            {
                "type": "message",
                "from": ["Ben", "Anna 🌻"][k % 2],
                "text": [f"I have {k} ", {"type": "bold", "text": "plums"}],
            }
            for k in range(MANY)
        ),
    ],
}
SUBTITLE = "{n}\n00:00:{n:02},000 --> 00:00:{n:02},900\n<i>I have {n} plums,</i>\n{{\\an8}}dear.\n\n"
CASES = {
    "result.json": (
        json.dumps(TELEGRAM, indent=1, ensure_ascii=False),
        "".join(f"{['Ben', 'Anna'][k % 2]}: I have {k} plums\n" for k in range(MANY)),
        "a Telegram chat of Ben and Anna, 30 messages; time stamps, 1 notice, 1 media left out",
    ),
    "on_one_line.json": (
        json.dumps(TELEGRAM),
        "".join(f"{['Ben', 'Anna'][k % 2]}: I have {k} plums\n" for k in range(MANY)),
        "a Telegram chat of Ben and Anna, 30 messages; time stamps, 1 notice, 1 media left out",
    ),
    "account.json": (
        json.dumps({"chats": {"list": [{**TELEGRAM, "messages": TELEGRAM["messages"][2:]}]}}, indent=1),
        "".join(f"{['Ben', 'Anna'][k % 2]}: I have {k} plums\n" for k in range(MANY)),
        "a Telegram chat of Ben and Anna, 30 messages; time stamps left out",
    ),
    "roles.jsonl": (
        "".join(
            json.dumps({"messages": [{"role": r, "content": c} for r, c in TURNS]}) + "\n" for _ in range(9)
        ),
        "User: What are plums?\n\nAssistant: Fruit.\nThey are blue.\n\n\n" * 9,
        "lines of JSON of User and Assistant, 18 texts; all other fields left out",
    ),
    "sharegpt.json": (
        json.dumps(
            [{"conversations": [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "Plums."}]}]
            * 9,
            indent=1,
        ),
        "User: What?\n\nAssistant: Plums.\n\n\n" * 9,
        "lines of JSON of User and Assistant, 18 texts; all other fields left out",
    ),
    "pairs.jsonl": (
        json.dumps({"id": 1, "instruction": "Count plums.", "input": "a plum", "output": "One."})
        + "\n" * 2
        + (json.dumps({"instruction": "Say plum.", "input": "", "output": "Plum."}) + "\n") * 9,
        "User: Count plums.\na plum\n\nAssistant: One.\n\n\n"
        + "User: Say plum.\n\nAssistant: Plum.\n\n\n" * 9,
        "lines of JSON of User and Assistant, 20 texts; all other fields left out",
    ),
    "texts.jsonl": (
        "".join(json.dumps({"id": k, "text": f"I have {k} plums, dear."}) + "\n" for k in range(MANY)),
        "".join(f"I have {k} plums, dear.\n\n" for k in range(MANY)),
        "lines of JSON, 30 texts; all other fields left out",
    ),
    "table.csv": (
        "id,text,date\n"
        + "".join(f'{k},"I have {k} ""plums"",\nmy dear",2024\n' for k in range(MANY))
        + "9,,2024\n",
        "".join(f'I have {k} "plums", my dear\n' for k in range(MANY)),
        "a table, 30 rows; all other columns, 1 row without text left out",
    ),
    "talk.tsv": (
        "speaker\tline\n"
        + "".join(f"{['Ben', 'Anna'][k % 2]}\tI have {k} plums, my dear friend.\n" for k in range(MANY)),
        "".join(f"{['Ben', 'Anna'][k % 2]}: I have {k} plums, my dear friend.\n" for k in range(MANY)),
        "a table of Ben and Anna, 30 rows; all other columns left out",
    ),
    "semicolons.csv": (
        "nr;Geschichte\n" + "".join(f"{k};Ich habe {k} Pflaumen, mein Lieber.\n" for k in range(MANY)),
        "".join(f"Ich habe {k} Pflaumen, mein Lieber.\n" for k in range(MANY)),
        "a table, 30 rows; all other columns left out",
    ),
    "film.srt": (
        "".join(SUBTITLE.format(n=n) for n in range(1, MANY)),
        "".join(f"I have {n} plums, dear.\n" for n in range(1, MANY)),
        "subtitles, 29 cues; times left out",
    ),
    "talk.vtt": (
        "WEBVTT\n\nNOTE made by hand\n\n"
        + "".join(
            f"00:0{n}.000 --> 00:0{n}.900 line:0\n<v Anna>I have {n} plums &amp; more\n\n" for n in range(9)
        ),
        "".join(f"Anna: I have {n} plums & more\n" for n in range(9)),
        "subtitles of Anna, 9 cues; times left out",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_other_formats(tmp_path, name):
    content, text, told = CASES[name]
    corpus = loaded(tmp_path, name, content)
    assert corpus.text == text
    assert corpus.source["read_as"] == told
    assert load_described(corpus.describe()).source == corpus.source


def test_dialogue_is_found_in_each(tmp_path):
    for name in ("result.json", "roles.jsonl", "talk.tsv", "pairs.jsonl"):
        dialogue = find_dialogue(loaded(tmp_path, name, CASES[name][0]).text)
        assert set(dialogue.speakers()) in ({"Anna", "Ben"}, {"User", "Assistant"}), name


PLAIN = {
    "numbers.csv": "a,b\n" + "1,2\n" * 90,  # no column of text
    "one.csv": "C" * 200 + "\nD\n",
    "notes.txt": "12:30 - lunch with Anna\n" * 20,
    "dates.txt": "On 28/03/2024 we met. " * 20,
    "code.py": 'names = {"messages": []}\n' * 20,
}


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_no_such_format_is_read_letter_by_letter(tmp_path, name):
    corpus = loaded(tmp_path, name, PLAIN[name])
    assert corpus.text == PLAIN[name] and "read_as" not in corpus.source


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("broken.jsonl", '{"text": "a plum"}\n{"text": \n', "line 2"),
        ("broken.json", '{\n "messages": [\n  {"type": ', "whole JSON"),
        ("deep.json", "[" * 100_000 + "{", "whole JSON"),
    ],
)
def test_damage_is_one_sentence(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(CorpusError, match=words):
        load_corpus(tmp_path / name)


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install pyarrow")
    from pyarrow.parquet import write_table

    rows = {"id": list(range(MANY)), "text": [f"I have {k} plums." for k in range(MANY)]}
    write_table(pyarrow.table(rows), tmp_path / "t.parquet")
    corpus = load_corpus(tmp_path / "t.parquet")
    assert corpus.text == "".join(f"I have {k} plums.\n" for k in range(MANY))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(CorpusError, match="whole parquet"):
        load_corpus(tmp_path / "bad.parquet")


def test_parquet_without_its_library(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorpusError, match="pip install pyarrow"):
        load_corpus(tmp_path / "t.parquet")


def test_a_folder_says_what_it_leaves_out(tmp_path):
    for name in ("src/a.py", "src/b.py", "README.md", ".git/c.txt", "node_modules/d.js"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"# {name}\n" * 20)
    for name in ("logo.png", "b.pdf", "package.json", "LICENSE"):
        (tmp_path / name).write_bytes(b'{"name": "plum"}\n')
    (tmp_path / "talk.srt").write_text(CASES["film.srt"][0])
    corpus = load_corpus(tmp_path)
    assert "node_modules" not in corpus.text and ".git" not in corpus.text and "-->" not in corpus.text
    assert corpus.source["read_as"] == (
        "4 files (2 py, 1 md, 1 srt), of 1 the words alone; left out: 1 json, 1 pdf, 1 png, 1 without an ending"
    )
    assert load_described(corpus.describe()).text == corpus.text


def test_a_format_is_as_quick_as_its_file_is_long(tmp_path):
    """A long text without a stamp must not make the stamps' pattern think: bounded steps for each line."""
    (tmp_path / "t.txt").write_text("1" * 100_000 + "\n" + "[1/1/1, 1:1" * 20_000)
    assert formats.recognise(tmp_path / "t.txt") is None
