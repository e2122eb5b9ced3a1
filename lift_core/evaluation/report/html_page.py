"""Pages as HTML: one file without script, and without anything to load from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from xml.etree import ElementTree

from lift_core.evaluation.report.blocks import (
    Block,
    Bullets,
    Code,
    Folded,
    Heading,
    Headline,
    Mark,
    Page,
    Paragraph,
    Part,
    Plot,
    Table,
    Words,
)
from lift_core.evaluation.report.colours import PALETTE
from lift_core.evaluation.report.words import SYMBOLS, clean

_WIDE = 3
"""A table of more columns becomes a list of cards where the screen is narrow."""


def write(page: Page) -> bytes:
    """The page as one HTML file, with its plots in it."""
    title = _text(page.title)
    body = "\n".join(_block(block, page) for block in page.blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{_css()}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{title}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    ).encode()


def _block(block: Block, page: Page) -> str:
    match block:
        case Heading(text):
            return f"<h2>{_text(text)}</h2>"
        case Headline(verdict):
            return f'<p class="headline {verdict}">{SYMBOLS[verdict]} {verdict}</p>'
        case Paragraph(words):
            return f"<p>{_words(words)}</p>"
        case Bullets(items):
            return "<ul>\n" + "\n".join(f"<li>{_words(item)}</li>" for item in items) + "\n</ul>"
        case Table():
            return _table(block)
        case Plot(file, shows):
            return f"<figure>{_inline(page.plots[file], file.partition('.')[0], shows)}</figure>"
        case Folded(title, blocks):
            inside = "\n".join(_block(each, page) for each in blocks)
            return f"<details>\n<summary>{_text(title)}</summary>\n{inside}\n</details>"


def _table(table: Table) -> str:
    heads = "".join(f'<th scope="col">{_text(column)}</th>' for column in table.columns)
    rows = "\n".join(
        "<tr>"
        + "".join(
            f'<td data-column="{_text(column)}"><div>{_words(cell)}</div></td>'
            for column, cell in zip(table.columns, row, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    kind = ' class="wide"' if len(table.columns) > _WIDE else ""
    body = f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>"
    return f'<div class="table">\n<table{kind}>\n{body}\n</table>\n</div>'


def _words(words: Words) -> str:
    return "".join(_part(part) for part in words)


def _part(part: Part) -> str:
    match part:
        case Code(text):
            return f"<code>{_text(text)}</code>"
        case Mark(verdict):
            return f'<span class="mark {verdict}">{SYMBOLS[verdict]} {verdict}</span>'
        case _:
            return _text(part)


def _text(text: str) -> str:
    return escape(clean(text))


def _inline(svg: bytes, name: str, shows: str) -> str:
    """The plot as an element of the page: its colours are the page's, and its ids no other plot's."""
    root = ElementTree.fromstring(svg)  # noqa: S314 - drawn in this process
    drawn = ElementTree.Element("svg", {"viewBox": root.attrib["viewBox"], "role": "img"})
    drawn.set("aria-label", clean(shows))
    drawn.extend(root)
    for element in drawn.iter():
        # What is not about drawing speaks to the whole page, or names places elsewhere.
        for child in [each for each in element if _bare(each.tag) in ("metadata", "style")]:
            element.remove(child)
        element.tag = _bare(element.tag)
        attributes = {_bare(key): value for key, value in element.attrib.items()}
        element.attrib.clear()
        element.attrib.update(_adopted(attributes, name))
    return ElementTree.tostring(drawn, encoding="unicode", short_empty_elements=False)


def _bare(name: str) -> str:
    """The name of an element or attribute without its namespace, which HTML does not write."""
    return name.rpartition("}")[2]


def _adopted(attributes: dict[str, str], name: str) -> Iterable[tuple[str, str]]:
    for key, value in attributes.items():
        if key == "id":
            yield key, f"{name}-{value}"
        elif key == "href":
            yield key, value.replace("#", f"#{name}-", 1)
        elif key == "clip-path":
            yield key, value.replace("url(#", f"url(#{name}-", 1)
        elif key == "style":
            yield key, re.sub(r"#[0-9a-f]{6}\b", lambda found: _OF_PAGE.get(found[0], found[0]), value)
        else:
            yield key, value


_OF_PAGE = {light: f"var(--{name})" for name, (light, _) in PALETTE.items()}


def _css() -> str:
    light = " ".join(f"--{name}: {colour};" for name, (colour, _) in PALETTE.items())
    dark = " ".join(f"--{name}: {colour};" for name, (_, colour) in PALETTE.items())
    verdicts = "\n".join(f".{name} {{ color: var(--{name}); }}" for name in SYMBOLS)
    return (
        f":root {{ color-scheme: light dark; {light} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        f"{_RULES}{verdicts}\n"
    )


_RULES = """\
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); overflow-wrap: break-word;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; }
.table { overflow-x: auto; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .25rem 0 .75rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p, li { max-width: 46rem; }
ul { padding-left: 1.25rem; }
code { font-family: ui-monospace, SFMono-Regular, Menlo, monospace; font-size: .9em; background: var(--shade);
  padding: .05em .3em; border-radius: 3px; overflow-wrap: anywhere; }
.headline { font-size: 2rem; font-weight: 700; line-height: 1.2; margin: 1rem 0; padding: .5rem .9rem;
  border-left: .4rem solid; }
.mark { font-weight: 600; white-space: nowrap; }
table { border-collapse: collapse; width: 100%; margin: .75rem 0; font-size: .875rem;
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0;
  border-bottom: 1px solid var(--line); }
th { color: var(--muted); font-weight: 600; }
figure { margin: .75rem 0; }
svg { display: block; width: 100%; max-width: 34rem; height: auto; overflow: visible;
  stroke-linejoin: round; stroke-linecap: butt; }
details { margin: 2rem 0; border-top: 1px solid var(--line); padding-top: .75rem; }
summary { cursor: pointer; font-weight: 600; }
@media screen and (max-width: 44rem) {
  .wide thead { display: none; }
  .wide, .wide tbody, .wide tr, .wide td { display: block; }
  .wide tr { border: 1px solid var(--line); border-radius: 6px; padding: .4rem .75rem;
    margin-bottom: .75rem; }
  .wide td { border: 0; padding: .15rem 0; display: grid; grid-template-columns: 7.5rem 1fr;
    column-gap: .5rem;
    overflow-wrap: anywhere; }
  .wide td::before { content: attr(data-column); color: var(--muted); }
}
@media print {
  body { font-size: 11pt; }
  main { max-width: none; padding: 0; }
  h2 { break-after: avoid; }
  .table { overflow: visible; }
  table { font-size: 8pt; }
  th, td { padding: .25rem .4rem .25rem 0; }
  tr, figure { break-inside: avoid; }
  svg { max-width: 14cm; max-height: 24cm; }
  details::details-content { content-visibility: visible; display: block; block-size: auto; }
}
"""
