"""One self-contained HTML page from headline numbers, sentences and sections.

The page needs no network, no script and no font of its own; every text is escaped. It arranges what it is
given and knows nothing of runs or studies.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from minilm import files
from minilm.plots.style import Picture, style_sheet_colors
from minilm.plots.verdict import Sentence


class Headline(NamedTuple):
    """A big number: `role` is its colour in the palette."""

    number: str
    name: str
    note: str = ""
    role: str = "ink"


class Shown(NamedTuple):
    """A picture with the one or two sentences that tell how to read it."""

    title: str
    how_to_read: str
    svg: Markup
    wide: bool = False


class Table(NamedTuple):
    """Rows of cells; `ids` are the rows' addresses, where there are any, `marks` their palette colours."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    ids: Sequence[str] = ()
    marks: Sequence[str] = ()
    note: str = ""


class Section(NamedTuple):
    """A heading with pictures, small panels, tables and a text, whichever there are."""

    title: str
    intro: str = ""
    pictures: Sequence[Shown] = ()
    panels: Sequence[Markup] = ()
    tables: Sequence[Table] = ()
    text: str = ""


def shown(
    figure: Picture, title: str, how_to_read: str, png: Path | None = None, wide: bool = False
) -> Shown:
    """The picture for the page; its PNG is written too where a path is given."""
    if png is not None:
        files.write_bytes(png, figure.png())
    return Shown(title, how_to_read, Markup(figure.svg()), wide)  # noqa: S704 (we drew it; its words are escaped)


def write_page(
    path: str | Path,
    title: str,
    sections: Sequence[Section],
    *,
    kicker: str = "",
    sentences: Sequence[Sentence] = (),
    headlines: Sequence[Headline] = (),
    made: str = "",
) -> Path:
    """Writes the page and returns its path; the same content gives the same bytes.

    `made` replaces the last line, which says how pages of a folder's records are rebuilt.
    """
    environment = Environment(
        loader=PackageLoader("minilm.plots", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("page.html.j2").render(
        title=title,
        kicker=kicker,
        sentences=sentences,
        headlines=headlines,
        sections=sections,
        made=made,
        colors=style_sheet_colors(),
    )
    files.write_text(path, html)
    return Path(path)
