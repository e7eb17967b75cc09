"""Pages from made-up records: whole, honest, self-contained, the same twice, without torch and pyplot."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from minilm import files
from minilm.errors import RunError
from minilm.plots.curves import curve_numbers, draw_curves
from minilm.plots.layout import Section, write_page
from minilm.plots.run_page import run_page
from minilm.plots.search import draw_search, search_numbers
from minilm.plots.slices import draw_slices, slice_numbers
from minilm.plots.study_page import study_page
from minilm.plots.style import COLOR, Picture
from minilm.tuner.propose import SearchSpace
from minilm.tuner.space import default_point, dimensions, limits_for
from minilm.tuner.summary import verdict
from tests.plots.made_up import (
    CHOSEN,
    COMPARE,
    CONFIG,
    CORPUS,
    RESULT,
    metrics,
    trials,
    with_legs,
    write_run,
    write_study,
)

LOADERS = {"script", "img", "link", "iframe", "object", "embed"}
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Reader(HTMLParser):
    """Checks that every tag is closed in order; keeps ids, links, styled text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: set[str] = set()
        self.loads: list[str] = []
        self.words: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        found = {name: value or "" for name, value in attributes}
        self.ids += [found["id"]] if "id" in found and tag == "tr" else []
        self.links |= {found["xlink:href"]} if tag == "a" and "xlink:href" in found else set()
        self.loads += [found.get("src", "") + found.get("href", "")] if tag in LOADERS else []

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study_page(write_study(tmp_path_factory.mktemp("study")))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_page(write_run(tmp_path_factory.mktemp("run")))


def test_study_page_says_what_the_records_say(study):
    text = Reader(study).text
    for words in (
        "A small language model of fables that predicts it better than counting",
        "24 trials by tpe",
        "1.019",
        "The network beats plain counting by 0.232",
        "1.011 model and counting the model's weight is 0.90",
        "Perfection is 0.160",
        "the loss became NaN at step 40, learning rate 0.018",
        "I am <tired> & wise.",
        "training 900,000, validation 50,000, test 50,000",
    ):
        assert words in text


def test_every_dot_leads_to_a_row(study):
    page = Reader(study)
    assert sorted(page.ids) == sorted(f"trial-{tid}" for tid in range(24))
    assert page.links == {f"#{row}" for row in page.ids}


def test_pictures_lie_beside_the_page(study):
    names = {"ladder", "search", "trial_curves", "slices", "curves", "learning_rate", "importance"}
    pictures = {path.stem: path.read_bytes() for path in study.parent.glob("*.png")}
    assert set(pictures) == names
    assert all(data.startswith(b"\x89PNG") and len(data) > 3000 for data in pictures.values())


@pytest.mark.parametrize("made", ["study", "run"])
def test_nothing_is_loaded_from_anywhere(made, request):
    page = request.getfixturevalue(made)
    assert Reader(page).loads == []
    html = page.read_text(encoding="utf-8")
    assert "<script" not in html
    names = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\s\"'<)]+", html)) <= names
    assert not re.search(r"url\((?!#)", html)


def test_same_records_same_bytes(tmp_path, run):
    again = run_page(write_run(tmp_path / "again"))
    assert again.read_bytes() == run.read_bytes()
    assert (again.parent / "curves.png").read_bytes() == (run.parent / "curves.png").read_bytes()


def test_colours_follow_the_page_so_that_dark_is_dark(run):
    body = run.read_text(encoding="utf-8").split("</style>", 1)[1]
    assert not [hue for hue in COLOR.values() if hue in body]
    assert "var(--model)" in body


def test_run_page_says_what_the_records_say(run):
    text = Reader(run).text
    for words in ("1.012", "1.47 bits per character", "2.77 perplexity", "59 % of the way", "n layer 4"):
        assert words in text


def without(values: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"result": None}, "has not ended"),
        ({"result": None, "metrics": []}, "No measurement"),
        ({"result": {**RESULT, "test_loss": None, "counting": None}}, "1.012"),
        ({"config": {**CONFIG, "corpus": {**CORPUS, "floors": None}}}, "beats plain counting"),
        ({"config": without(CONFIG, "corpus", "hardware", "train")}, "n layer"),
        ({"metrics": metrics()[:1]}, "Learning curves"),
        ({"result": {**RESULT, "counting": {"val": 0.9, "test": 0.9}}}, "still beats the network by 0.119"),
        ({"result": {**RESULT, "val_loss": 0.5, "test_loss": 0.5}}, "impossible"),
    ],
)
def test_run_page_bears_what_is_missing(tmp_path, changes, words):
    assert words in Reader(run_page(write_run(tmp_path / "run", **changes))).text


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ([], "No model of fables yet"),
        (trials(1, ()), "1 of its trials have ended"),
        (trials(3, (0, 1, 2)), "What failed"),
        ([{"tid": 0, "state": "ok", "loss": 2.0}, {"tid": 1, "state": "ok", "loss": 2.0}], "2 trials"),
    ],
)
def test_study_page_bears_what_is_missing(tmp_path, made, words):
    text = Reader(study_page(write_study(tmp_path, made, finished=False))).text
    assert words in text and "has not ended" in text


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a search from rung to rung, with a comparison."""
    folder = tmp_path_factory.mktemp("climbed")
    made = with_legs(trials(40, (3, 9)))
    for trial in made:
        trial["draw"] = {name: float(value) for name, value in trial["point"].items()}
    return study_page(write_study(folder, made, space=to_space_text(), result={**RESULT, **COMPARE}))


def to_space_text() -> str:
    limits = limits_for(900_000)
    return SearchSpace.of(dimensions(limits), default_point(limits)).text


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a study by minutes, which had no trials."""
    folder = tmp_path_factory.mktemp("chosen")
    return study_page(write_study(folder, [], result={**RESULT, **CHOSEN}))


def test_the_page_answers_in_the_order_of_a_persons_questions(chosen, climbed):
    html = chosen.read_text(encoding="utf-8")
    open_part, folded = html.split("<details>")
    assert re.findall(r"<h2>(.*?)</h2>", open_part) == [
        "What it writes",
        "Is it good, and how did it learn?",
        "Why this recipe?",
    ]
    assert re.findall(r"<h2>(.*?)</h2>", folded) == ["The learning rate", "Everything needed to do it again"]
    folded = climbed.read_text(encoding="utf-8").split("<details>")[1]
    assert re.findall(r"<h2>(.*?)</h2>", folded) == [
        "The learning rate",
        "Which settings matter",
        "Each setting by itself",
        "What failed",
        "All trials",
        "Everything needed to do it again",
    ]


def test_where_there_were_no_trials_no_word_is_said_about_any(chosen):
    text = Reader(chosen).text
    assert "trial" not in text.lower() and "search" not in text.lower()
    for words in (
        "Of 100 words that it writes, 95 occur in the text",
        "20 % of what it wrote here stands word for word",
        "Hyperopt chose",
        "expected to end 0.030 nats per character lower than the default recipe",
        "10 more minutes would have bought about 0.080",
    ):
        assert words in text, words
    pictures = {path.stem for path in chosen.parent.glob("*.png")}
    assert pictures == {"ladder", "curves", "learning_rate", "sizes", "tokens", "more_time"}


def test_no_floor_is_spoken_of_where_there_is_none(tmp_path):
    folder = write_study(tmp_path, [], result={**RESULT, **CHOSEN, "floors": None})
    for path in (folder / "study.json", folder / "best" / "config.json"):
        content = files.read_json(path)
        content["corpus"] = {**content["corpus"], "floors": None}
        files.write_json(path, content)
    assert "floor" not in Reader(study_page(folder)).text


def test_the_page_and_the_terminal_say_the_same(chosen):
    text = Reader(chosen).text
    result = files.read_json(chosen.parent / "result.json")
    for sentence in verdict(result, CORPUS["bounds"][0]):
        assert sentence.text.replace("\u00a0", " ") in text


def test_no_path_of_the_users_machine_is_on_the_page(tmp_path):
    source = {**CORPUS["source"], "path": "/home/somebody/secret/my.txt"}
    corpus = {**CORPUS, "name": "my.txt", "source": source}
    folder = write_study(tmp_path / "study", result={**RESULT, **CHOSEN})
    settings = files.read_json(folder / "study.json")
    files.write_json(folder / "study.json", {**settings, "corpus": corpus})
    files.write_json(folder / "best" / "config.json", {**CONFIG, "corpus": corpus})
    html = study_page(folder).read_text(encoding="utf-8")
    assert "somebody" not in html and str(tmp_path) not in html and "my.txt" in html


def test_every_head_of_a_table_says_what_it_heads(climbed):
    heads = re.findall(r"<th\b[^>]*>", climbed.read_text(encoding="utf-8"))
    assert heads and all('scope="col"' in head for head in heads)


def test_a_search_from_rung_to_rung_is_told(climbed):
    text = Reader(climbed).text
    for words in (
        "the rest wait, empty dots: 38, then 12, then 4 trials.",
        "those that came furthest first",
        "from 64 to 256 in steps of 32, by ratios",
        "training of the final model 1 min 33 s",
        "random search, same time",
    ):
        assert words in text
    names = {path.stem for path in climbed.parent.glob("*.png")}
    assert names >= {"ladder", "search", "trial_curves", "importance", "slices"}


def test_every_picture_has_words_and_numbers_for_those_who_do_not_see(climbed, chosen):
    for page, least in ((climbed, 11), (chosen, 6)):
        svgs = re.findall(r"<svg[^>]*>", page.read_text(encoding="utf-8"))
        assert len(svgs) >= least
        for svg in svgs:
            words = re.search(r'role="(?:img|group)" aria-label="([^"]{5,})"', svg)
            assert words and re.search(r"\d", words[1]), svg


def test_two_hundred_trials_are_a_page_of_modest_size(tmp_path):
    made = with_legs(trials(200, (5, 17, 50)))
    page = study_page(write_study(tmp_path, made, result={**RESULT, **COMPARE}))
    assert page.stat().st_size < 3_000_000
    assert len(Reader(page).ids) == 200


def test_the_page_is_whole_before_its_pictures_are_written(tmp_path, monkeypatch):
    """A deadline may end the drawing at any moment: what a person opens first must be there first."""
    folder = write_study(tmp_path)
    monkeypatch.setattr(Picture, "png", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        study_page(folder)
    assert "24 trials" in Reader(folder / "report.html").text


def test_a_trial_recorded_after_every_leg_counts_once(tmp_path):
    made = with_legs(trials(6, ()))
    early = [{**trial, "legs": trial["legs"][:1], "state": "paused"} for trial in made]
    page = study_page(write_study(tmp_path, [*early, *made]))
    assert sorted(Reader(page).ids) == [f"trial-{tid}" for tid in range(6)]


def test_settings_that_are_words_and_not_in_every_trial(tmp_path):
    made = trials(30)
    for trial in made:
        kind = "muon" if trial["tid"] % 2 else "adamw"
        extra = (
            {"momentum": trial["tid"] / 30}
            if kind == "muon"
            else {"schedule": {"name": "cosine", "end": 0.1}}
        )
        trial["point"] = {"optimizer": kind, "learning_rate": trial["point"]["learning_rate"], **extra}
    text = Reader(study_page(write_study(tmp_path, made))).text
    assert "adamw" in text and "schedule.name" in text and "cosine" in text


def test_a_study_of_an_earlier_version_gets_one_sentence(tmp_path):
    folder = write_study(tmp_path)
    old = {**files.read_json(folder / "study.json"), "version": 1}
    files.write_json(folder / "study.json", old)
    with pytest.raises(RunError, match="version 2, got 'minilm-study' version 1; its model is whole, use"):
        study_page(folder)


@pytest.mark.parametrize("page", [run_page, study_page])
def test_other_folders_are_refused(tmp_path, page):
    with pytest.raises(RunError, match="is not a (run|study)"):
        page(tmp_path)


def test_a_hostile_text_stays_text(tmp_path):
    evil = "</pre><script>alert(1)</script>"
    config = {**CONFIG, "corpus": {**CORPUS, "name": evil, "source": {"path": evil}}}
    made = [{**t, "reason": evil, "point": {evil: t["tid"]}} for t in trials(3, (2,))]
    folder = write_study(tmp_path, made)
    write_run(tmp_path / "run", config=config, result={**RESULT, "sample": evil})
    for page in (study_page(folder), run_page(tmp_path / "run")):
        assert "<script" not in page.read_text(encoding="utf-8")
        assert "alert(1)" in Reader(page).text


def test_any_content_makes_a_page(tmp_path):
    page = write_page(tmp_path / "page.html", "A title", [Section("Part one", "Words <here>.")])
    assert "Words <here>." in Reader(page).text


def test_drawing_in_threads_equals_drawing_alone():
    drawn: list[bytes] = []
    numbers = curve_numbers(metrics())
    threads = [threading.Thread(target=lambda: drawn.append(draw_curves(numbers).png())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(drawn) == {draw_curves(numbers).png()}


def test_a_picture_shows_itself_in_a_notebook(tmp_path):
    figure = draw_search(search_numbers(trials()), tmp_path / "search.png")
    assert isinstance(figure, Picture)
    assert figure._repr_png_() == (tmp_path / "search.png").read_bytes()
    assert len(draw_slices(slice_numbers(trials())).axes) == 7
    assert "Too few trials" in draw_slices([]).svg()


def test_pages_need_neither_torch_nor_pyplot():
    code = (
        "import sys, minilm.plots.run_page, minilm.plots.study_page; "
        "print(sorted({'torch', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
