"""A page to read results on: one HTML file that needs nothing else, in the light and in the dark, on a desk and on a telephone.

Its looks are in page.css, its one behaviour, sorting tables, in page.js. Whatever comes from a file is escaped, and the page's own policy
lets no other script run and nothing be fetched.
"""

import base64
import hashlib
import html
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, NamedTuple

from ultragcn.experiments.plots import COLOURS, Plot

_LONG = 48
"""Letters from which on a cell is broken into lines."""


class Cell(NamedTuple):
    """What a table shows in a place, and the number it is sorted by."""

    text: str
    number: float | None = None
    """None for words, and for what is not there."""


@dataclass(frozen=True)
class Table:
    """Rows under named columns."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    """How it is to be read."""
    sorted_by: str = ""
    """The column by which the rows already are in order."""
    descending: bool = True
    """Largest first."""
    folded: bool = False
    """Shown when asked for."""


@dataclass
class Section:
    """What is said about one study, one comparison or some runs."""

    title: str
    facts: list[tuple[str, str]]
    """Data, protocol, dates, versions: name and value."""
    command: str = ""
    """Does it again; a line each where there are several."""
    warning: str = ""
    """What the reader must know before any number."""
    summary: str = ""
    """What came out, in a sentence or two."""
    notes: list[str] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


def number_cell(value: float | None, form: str = ".4f", half_width: float | None = None) -> Cell:
    """Return the cell of a number, with ± half the width of its interval; an empty one where there is none."""
    if value is None or not math.isfinite(value):
        return Cell("" if value is None or math.isnan(value) else f"{value}")
    return Cell(f"{value:{form}}" + ("" if half_width is None else f" ± {half_width:{form}}"), value)


def value_cell(value: object) -> Cell:
    """Return the cell of a parameter's value: numbers as numbers, anything else as text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Cell(f"{value:g}" if isinstance(value, float) else str(value), float(value) if math.isfinite(value) else None)
    return Cell(str(value))


def hashes(about: Mapping[str, Any]) -> str:
    """Return the beginnings of the hashes that a folder keeps of its data and of their split."""
    return ", ".join(f"{what} {about[name][:12]}" for what, name in (("data", "data_hash"), ("split", "split_hash")) if about.get(name))


def period(moments: Sequence[str]) -> str:
    """Return the first and the last of some moments (ISO, UTC), in order, to the minute."""
    if not moments:
        return ""
    first, last = (moment[:16].replace("T", " ") for moment in (moments[0], moments[-1]))
    return f"{first} UTC" if first == last else f"{first} to {last.removeprefix(first[:11])} UTC"


def command_line(words: Sequence[str]) -> str:
    """Return the command that was given as `words`, as one types it."""
    # Where the program was is no matter; a script is run by Python.
    program = [] if not words else ["python", words[0]] if words[0].endswith(".py") else ["ultragcn"]
    if words and words[0].endswith(("ultragcn/__main__.py", "ultragcn\\__main__.py")):
        program = ["ultragcn"]
    return shlex.join([*program, *map(str, words[1:])])


def write_page(sections: Sequence[Section], footer: Sequence[tuple[str, str]], files: Sequence[Sequence[str]]) -> str:
    """Return the page.

    Parameters
    ----------
    sections : list of Section
        With one, its title is the page's.
    footer : list of (name, value)
        About the page itself.
    files : list of list of str
        For each plot of each section, where its PNG is, relative to the page; the SVG lies beside it.
    """
    several = len(sections) > 1
    title = "Results: " + ", ".join(section.title for section in sections) if several else sections[0].title
    body = []
    if several:
        links = "".join(f'<li><a href="#part-{number}">{_escaped(section.title)}</a></li>' for number, section in enumerate(sections, 1))
        body.append(f'<header><h1>{len(sections)} results</h1><nav aria-label="Contents"><ul>{links}</ul></nav></header>')
    for number, (section, of_section) in enumerate(zip(sections, files, strict=True), 1):
        body.append(_section(section, of_section, number, level=2 if several else 1))
    body.append(f"<footer>{_facts(footer)}</footer>")
    style, script = (resources.files(__package__).joinpath(f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'; img-src data:; base-uri 'none'"
    return "\n".join([
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">',
        '<meta name="generator" content="ultragcn report">',
        f"<title>{_escaped(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>",
        *body,
        f"</main>\n<script>{script}</script>\n</body>\n</html>\n",
    ])  # fmt: skip


def _section(section: Section, files: Sequence[str], number: int, level: int) -> str:
    below = f"h{level + 1}"
    parts = [f'<section aria-labelledby="part-{number}">\n<h{level} id="part-{number}">{_escaped(section.title)}</h{level}>']
    if section.warning:
        parts.append(f'<p class="warning"><strong>Read with care.</strong> {_escaped(section.warning)}</p>')
    if section.summary:
        parts.append(f'<p class="summary">{_escaped(section.summary)}</p>')
    parts += [f'<p class="note">{_escaped(note)}</p>' for note in section.notes]
    parts.append(_facts(section.facts))
    if section.command:
        parts.append(f'<p class="label" id="again-{number}">To repeat</p>')
        parts.append(f'<pre tabindex="0" role="region" aria-labelledby="again-{number}"><code>{_escaped(section.command)}</code></pre>')
    if section.plots:
        figures = [_figure(plot, file, f"p{number}-{index}") for index, (plot, file) in enumerate(zip(section.plots, files, strict=True))]
        parts.append(f'<{below}>Plots</{below}>\n<div class="plots">\n' + "\n".join(figures) + "\n</div>")
    parts += [_table(table, below) for table in section.tables]
    return "\n".join([*parts, "</section>"])


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    pairs = (f"<div><dt>{_escaped(name)}</dt><dd>{_escaped(value)}</dd></div>" for name, value in facts)
    return f'<dl class="facts">{"".join(pairs)}</dl>'


def _figure(plot: Plot, file: str, prefix: str) -> str:
    links = "".join(f' <a href="{_escaped(file[: -len("png")] + kind)}" download>{kind.upper()}</a>' for kind in ("png", "svg"))
    caption = f"<figcaption>{_escaped(plot.description)}<span>{links}</span></figcaption>"
    return f"<figure>{_inline(plot, prefix)}{caption}</figure>"


def _inline(plot: Plot, prefix: str) -> str:
    """Return the SVG for the page: its size is the page's matter, its colours are the page's, and its ids no other plot's."""
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", plot.svg(), flags=re.S)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    for name, colour in COLOURS.items():
        svg = svg.replace(f": {colour}", f": var(--{name})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{_escaped(plot.title)}. {_escaped(plot.description)}" ', 1)


def _table(table: Table, heading: str) -> str:
    numeric = [any(row[column].number is not None for row in table.rows) for column in range(len(table.columns))]
    head = "".join(_head(table, name, is_numeric) for name, is_numeric in zip(table.columns, numeric, strict=True))
    cells = ("".join(_cell(cell, numeric[column], column) for column, cell in enumerate(row)) for row in table.rows)
    rows = "\n".join(f"<tr>{of_row}</tr>" for of_row in cells)
    note = f'<p class="note">{_escaped(table.note)}</p>' if table.note else ""
    box = (
        f'<div class="wide" tabindex="0" role="region" aria-label="{_escaped(table.title)}">'
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )
    if table.folded:
        return f"<details><summary><{heading}>{_escaped(table.title)}</{heading}></summary>{note}{box}</details>"
    return f"<{heading}>{_escaped(table.title)}</{heading}>{note}{box}"


def _head(table: Table, name: str, numeric: bool) -> str:
    marks = " class=number" if numeric else ""
    if name == table.sorted_by:
        marks += f' aria-sort="{"descending" if table.descending else "ascending"}"'
    return f'<th scope="col"{marks}><button type="button">{_escaped(name)}</button></th>'


def _cell(cell: Cell, numeric: bool, column: int) -> str:
    tag = 'th scope="row"' if column == 0 else "td"
    words = " class=long" if len(cell.text) > _LONG else ""
    marks = (" class=number" if numeric else words) + ("" if cell.number is None else f' data-number="{cell.number!r}"')
    return f"<{tag}{marks}>{_escaped(cell.text)}</{tag[:2]}>"


def _escaped(text: str) -> str:
    return html.escape(str(text), quote=True)
