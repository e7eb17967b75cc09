"""Names the pages: `run_page` and `study_page` rebuild one from a folder's records, `write_page` writes any."""

from minilm.plots.layout import write_page
from minilm.plots.run_page import run_page
from minilm.plots.study_page import study_page

__all__ = ["run_page", "study_page", "write_page"]
