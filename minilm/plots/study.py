"""Offers the pictures of a search that a notebook asks for by name; each lives with its numbers in its own file."""

from minilm.plots.rungs import draw_trial_curves, trial_curve_numbers
from minilm.plots.search import draw_search, search_numbers
from minilm.plots.slices import draw_slice, draw_slices, slice_numbers

__all__ = [
    "draw_search",
    "draw_slice",
    "draw_slices",
    "draw_trial_curves",
    "search_numbers",
    "slice_numbers",
    "trial_curve_numbers",
]
