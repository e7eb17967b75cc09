"""The numbers behind the pictures, against values worked out by hand or by brute force."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest

from minilm.plots.curves import curve_numbers, loss_limits
from minilm.plots.ladder import draw_ladder, ladder_numbers
from minilm.plots.law import default_of, draw_expected, more_numbers, size_numbers, token_numbers, words_of
from minilm.plots.rungs import curve_window, trial_curve_numbers
from minilm.plots.search import search_numbers
from minilm.plots.slices import slice_numbers
from minilm.plots.style import PALETTE, spread
from minilm.plots.verdict import (
    NOISE,
    Standing,
    against_counting,
    against_floor,
    closed,
    perplexity,
)


def trial(tid: int, loss: float | None, started: float, ended: float, **changes: Any) -> dict[str, Any]:
    state = "failed" if loss is None else "ok"
    return {
        "tid": tid,
        "loss": loss,
        "state": state,
        "started": started,
        "ended": ended,
        "worker": 0,
        **changes,
    }


def test_best_is_the_lowest_and_earliest_evaluation():
    losses = [3.0, 2.0, 1.5, 1.5, 1.8]
    records = [{"step": i, "train_loss": 1.0, "val_loss": y} for i, y in enumerate(losses, start=1)]
    numbers = curve_numbers(records)
    assert numbers.best == (3, 1.5)
    assert numbers.gap == pytest.approx(0.8)  # at the end, not at the best


def test_records_without_an_evaluation_or_with_a_nan_leave_no_point():
    records = [
        {"step": 1, "train_loss": 3.0},
        {"step": 2, "train_loss": math.nan, "val_loss": 2.0},
        {"step": 3, "val_loss": None},
    ]
    numbers = curve_numbers(records, {"floor": None, "counting": 1.7, "unheard of": 1.0})
    assert numbers.train == [(1, 3.0)]
    assert numbers.val == [(2, 2.0)]
    assert numbers.lines == {"counting": 1.7}


def test_limits_hold_the_reference_lines_and_let_the_first_drop_go():
    losses = [5.0] + [2.0 - 0.01 * i for i in range(63)]
    records = [{"step": i, "train_loss": y} for i, y in enumerate(losses, start=1)]
    low, high = loss_limits(curve_numbers(records, {"floor": 0.9, "counting": 2.6}))
    assert low < 0.9
    assert 2.6 < high < 3.0


def test_staircase_against_every_prefix():
    dice = random.Random(3)
    trials = [
        trial(i, dice.choice([None, dice.uniform(1, 3)]), 0, 60 * dice.uniform(1, 9)) for i in range(40)
    ]
    numbers = search_numbers(trials)
    ended = sorted((t["ended"] / 60, t["loss"]) for t in trials if t["loss"] is not None)
    assert numbers.best_so_far == [(x, min(y for w, y in ended if w <= x)) for x, _ in ended]
    assert numbers.best is not None
    assert numbers.best.loss == min(y for _, y in ended)
    assert {tid for tid, _, _ in numbers.failures} == {t["tid"] for t in trials if t["loss"] is None}


def test_search_without_times_counts_trials():
    numbers = search_numbers([{"tid": 0, "state": "failed", "loss": None, "reason": "NaN"}])
    assert numbers.failures == [(0, 0, "NaN")]
    assert (numbers.best, numbers.default, numbers.x_label) == (None, None, "trial")


def test_slices_skip_constant_settings_and_pick_their_axis():
    points = [
        {"num_layers": n, "learning_rate": lr, "dropout": d, "seed": 1, "own": o}
        for n, lr, d, o in [(2, 1e-4, 0.0, 5), (4, 1e-3, 0.1, 6), (4, 1e-2, 0.2, 7)]
    ]
    slices = slice_numbers([trial(i, 1.0 + i, 0, 1, point=point) for i, point in enumerate(points)])
    assert [one.name for one in slices] == ["num_layers", "learning_rate", "dropout", "own"]
    assert {one.name: one.log for one in slices} == {
        "num_layers": False,
        "learning_rate": True,
        "dropout": False,  # holds a zero
        "own": False,
    }
    assert [one.ticks for one in slices] == [[2, 4], None, None, [5, 6, 7]]
    assert slices[0].default == slices[0].best == (0, 2, 1.0, 0)


def test_trial_curves_and_their_window():
    slow, fast = [[1.0, 3.0], [2.0, 2.5]], [[1.0, 2.0], [2.0, 1.0]]
    trials = [
        trial(0, 2.5, 0, 2, curve=slow),
        trial(1, 1.0, 0, 2, curve=fast),
        trial(2, None, 0, 1, curve=[]),
    ]
    numbers = trial_curve_numbers(trials)
    assert set(numbers.curves) == {0, 1}
    assert (numbers.best, numbers.default) == (1, 0)
    low, high = curve_window(numbers)
    assert low == 1.0
    assert high > low


def test_spread_keeps_order_and_gap_and_moves_nothing_without_need():
    dice = random.Random(0)
    for _ in range(200):
        wanted = [dice.uniform(0, 5) for _ in range(dice.randint(1, 7))]
        placed = spread(wanted, gap=0.6)
        order = sorted(range(len(wanted)), key=lambda i: wanted[i])
        assert all(placed[b] - placed[a] > 0.6 - 1e-9 for a, b in itertools.pairwise(order))
        lonely = [
            i for i, y in enumerate(wanted) if all(abs(y - z) > 5 for j, z in enumerate(wanted) if i != j)
        ]
        assert all(placed[i] == wanted[i] for i in lonely)
        assert sum(placed) == pytest.approx(sum(wanted))  # nothing drifts to one side
    assert spread([0.0, 10.0], gap=1.0) == [0.0, 10.0]


def test_counting_that_wins_is_said_to_win():
    found = against_counting(Standing(model=1.9, counting=1.5))
    assert found is not None
    assert found.tone == "bad"
    assert "still beats the network by 0.400" in found.text and "give it more minutes" in found.text
    used_up = against_counting(Standing(model=1.9, counting=1.5), used_up=True)
    assert used_up is not None and "minutes" not in used_up.text
    assert against_counting(Standing(model=1.9)) is None


@pytest.mark.parametrize(
    ("model", "tone"), [(0.5, "bad"), (1.0 - NOISE / 2, "good"), (1.0 + NOISE / 2, "good"), (1.5, "plain")]
)
def test_floor(model, tone):
    found = against_floor(Standing(model=model, counting=2.0, floor=1.0))
    assert found is not None
    assert found.tone == tone


def test_worse_than_counting_is_no_share_of_the_way():
    found = against_floor(Standing(model=2.5, counting=2.0, floor=1.0))
    assert found is not None
    assert "%" not in found.text
    assert closed(Standing(1.5, 1.0, 1.0)) is None


def test_perplexity_is_the_exponential():
    assert perplexity(math.log(7)) == pytest.approx(7)


def test_ladder_leaves_out_the_unknown():
    rungs = ladder_numbers([("a", 2.0, "ink"), ("b", None, "ink"), ("c", math.nan, "ink"), ("d", 1.0, "ink")])
    assert [rung.name for rung in rungs] == ["d", "a"]


def test_every_colour_of_words_is_read_on_both_papers():
    """Contrast of 4.5 to 1 at least, by WCAG 2's own formula."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for side in (0, 1):
        paper = luminance(PALETTE["paper"][side])
        for name, pair in PALETTE.items():
            low, high = sorted((luminance(pair[side]), paper))
            assert name in ("paper", "grid") or (high + 0.05) / (low + 0.05) >= 4.5, (name, side)


LAW = {
    "prospects": {
        "sizes": [[9, 2, 64, 0.1, 0.01], [20, 3, 96, 0.0, 0.0], "damage", [1, 2], [30, 4, 96, None, 0.1]],
        "tokens": [["characters", 0.2, 0.05], ["bpe:512", 0.0, 0.0]],
        "default": [0.03, 0.02],
        "more": [[1, 0.01, 0.004], [10, 0.05, 0.01]],
    }
}


def test_what_the_law_expected_of_others():
    point = {"num_layers": 3, "hidden_size": 96, "tokens": "bpe:512"}
    sizes, tokens = size_numbers(LAW, point), token_numbers(LAW, point)
    assert [(one.x, one.name, one.above, one.chosen) for one in sizes] == [
        (9, "2 x 64", 0.1, False),
        (20, "3 x 96", 0.0, True),
    ]
    assert [one.name for one in tokens if one.chosen] == ["bpe:512"]
    assert [(one.name, one.above) for one in more_numbers(LAW)] == [
        ("now", 0.0),
        ("+1", -0.01),
        ("+10", -0.05),
    ]
    assert more_numbers({**LAW, "most_steps": 9}) == [] == size_numbers({}, point)
    words = words_of(sizes, default_of(LAW))
    assert words == "2 x 64 +0.100 ± 0.016; 3 x 96 +0.000 ± 0.000 (chosen); default recipe +0.030 ± 0.033"
    assert "chosen" in draw_expected(sizes, "layers x hidden size", default_of(LAW)).svg()


def test_a_single_alternative_is_no_picture():
    assert token_numbers({"prospects": {"tokens": [["characters", 0.0, 0.0]]}}, {}) == []


def test_the_ladder_begins_at_zero():
    figure = draw_ladder(ladder_numbers([("a", 1.50, "model"), ("b", 1.51, "counting")]))
    assert figure.axes[0].get_xlim()[0] == 0.0
