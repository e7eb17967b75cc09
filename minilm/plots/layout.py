"""Builds one self-contained HTML page from headline numbers, sentences and sections.

The page needs no network, no script and no font of its own; every text is escaped. It arranges what it is
given and knows nothing of runs or studies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


class Png(NamedTuple):
    """A picture to be written beside the page, once the page is there: a deadline may cut this short."""

    path: Path
    draw: Callable[[], Picture]


class Shown(NamedTuple):
    """A picture with the one or two sentences that tell how to read it."""

    title: str
    how_to_read: str
    svg: Markup
    wide: bool = False
    png: Png | None = None
    narrow: Markup | None = None  # the same for a phone


class Table(NamedTuple):
    """Rows of cells; `ids` are the rows' addresses, where there are any, `marks` their palette colours."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    ids: Sequence[str] = ()
    marks: Sequence[str] = ()
    note: str = ""


class Section(NamedTuple):
    """A heading with pictures, small panels, tables and texts, whichever there are; `png` shows the panels at once."""

    title: str
    intro: str = ""
    pictures: Sequence[Shown] = ()
    panels: Sequence[Markup] = ()
    tables: Sequence[Table] = ()
    texts: Sequence[str] = ()
    png: Png | None = None


def shown(
    figure: Picture,
    title: str,
    how_to_read: str,
    png: Path | None = None,
    wide: bool = False,
    alt: str = "",
    narrow: Picture | None = None,
) -> Shown:
    """The picture for the page, and its PNG where a path is given; `alt` says in words what it shows, `narrow` is drawn
    for a phone."""
    drawn = panel(figure, alt or title)
    small = None if narrow is None else panel(narrow, alt or title)
    return Shown(title, how_to_read, drawn, wide, None if png is None else Png(png, lambda: figure), small)


def panel(figure: Picture, alt: str) -> Markup:
    """A picture as it stands in a page, a small one for a section's `panels`."""
    return Markup(figure.svg(alt))  # noqa: S704 (we drew it; its words are escaped)


def write_page(
    path: str | Path,
    title: str,
    sections: Sequence[Section],
    *,
    kicker: str = "",
    sentences: Sequence[Sentence] = (),
    headlines: Sequence[Headline] = (),
    made: str = "",
    folded: Sequence[Section] = (),
) -> Path:
    """Writes the page, then its pictures as PNG, and returns its path; the same content gives the same bytes.

    `made` replaces the last line, which says how pages of a folder's records are rebuilt. `folded` sections stand at
    the end and open when asked.
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
        folded=folded,
        made=made,
        colors=style_sheet_colors(),
    )
    files.write_text(path, html)
    for png in [
        one for part in (*sections, *folded) for one in (*(p.png for p in part.pictures), part.png) if one
    ]:
        files.write_bytes(png.path, png.draw().png())
    return Path(path)
