"""The pictures of the notebooks: their numbers, the words beside them, and drawing as a smoke test."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from minilm.plots import lessons

METRICS = [
    {"step": 1, "train_loss": 3.0},
    {"step": 2, "train_loss": 2.0, "val_loss": 2.5},
    {"step": 4, "train_loss": 1.5, "val_loss": 2.25},
]
TRIALS = [
    {"tid": 0, "state": "ok", "loss": 2.0, "point": {"n_layer": 1, "learning_rate": 0.01}},
    {"tid": 1, "state": "ok", "loss": 1.5, "point": {"n_layer": 2, "learning_rate": 0.03}},
]


def shown(figure) -> tuple[bytes, str]:
    """What a notebook keeps of a picture: the image and its words."""
    data, metadata = figure._repr_mimebundle_(include=None, exclude=None)
    return base64.b64decode(data["image/png"]), metadata["image/png"]["alt"]


def test_lines_and_guides():
    lines = lessons.line_numbers(
        {"one": (range(3), np.array([3.0, 2.0, 1.0])), "two": ([1, 4], [5, 6])},
        {"level": 2.5, "slope": ([0, 2], [0, 4])},
        colors=["floor"],
    )
    assert [(line.name, line.color, line.guide) for line in lines] == [
        ("one", "floor", False),
        ("two", "model", False),
        ("level", "muted", True),
        ("slope", "muted", True),
    ]
    assert lines[2].x == [0, 4] and lines[2].y == [2.5, 2.5]
    words = lessons.lines_in_words(lines[:2], "step", "loss")
    assert words == "Lines of loss over step. one: from 3 at 0 to 1 at 2; two: from 5 at 1 to 6 at 4."


def test_labels_stay_beside_the_axes_and_apart():
    figure = lessons.draw_lines({name: ([1, 2], [1, 1]) for name in "abcde"}, "x", "y", y_limits=(1, 2))
    places = sorted(text.get_position()[1] for text in figure.axes[0].texts)
    assert places[0] >= 0 and places[-1] <= 1
    assert np.diff(places).min() > 0.05


@pytest.mark.parametrize("log", ["", "x", "y", "xy"])
def test_axes(log):
    x = [2**n for n in range(1, 12)]
    figure = lessons.draw_lines({"power": (x, [y * y for y in x])}, "x", "y", log=log, dots=True)
    assert figure.axes[0].get_xscale() == ("log" if "x" in log else "linear")
    assert figure.axes[0].get_yscale() == ("log" if "y" in log else "linear")
    image, words = shown(figure)
    assert len(image) > 3000 and "power: from 4 at 2 to 4,194,304 at 2,048" in words


def test_changes_are_sorted_and_their_noise_is_the_bases():
    changes = lessons.change_numbers({"base": [1.0, 1.25], "worse": [2.0, 2.0], "better": [1.0, 1.0]}, "base")
    assert changes.noise == 0.25
    assert [name for name, _, _ in changes.rows] == ["worse", "better"]
    assert shown(lessons.draw_changes(changes))[1].endswith("worse +0.875, better -0.125.")


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        (
            lambda: lessons.draw_metrics(METRICS, floor=0.5),
            "validation loss from 2.500 to 2.250, floor at 0.500",
        ),
        (lambda: lessons.draw_metrics([]), "Learning curves"),
        (lambda: lessons.draw_trials(TRIALS), "2 losses of trials, the lowest 1.500; 0 trials failed."),
        (lambda: lessons.draw_trials([]), "No trial has ended in this time."),
        (lambda: lessons.draw_settings(TRIALS), "Losses against"),
        (lambda: lessons.draw_settings([]), "Too few trials"),
        (lambda: lessons.draw_weights("abc", np.tril(np.ones((3, 3)))), "3 tokens, none above the diagonal"),
        (lambda: lessons.draw_rotary(np.ones((4, 2)), {1: [1, 2, 1, 0]}), "cosines"),
        (
            lambda: lessons.draw_layers([1, 2], dict.fromkeys("abcd", [0.25, 0.25]), "T", "share"),
            "a 25% at 1",
        ),
    ],
)
def test_pictures_and_their_words(figure, words):
    image, said = shown(figure())
    assert words in said and len(image) > 2500
