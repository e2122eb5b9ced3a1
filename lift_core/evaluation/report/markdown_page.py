"""Pages as Markdown (CommonMark with tables), with the plots in files beside them."""

from __future__ import annotations

import re

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
from lift_core.evaluation.report.words import SYMBOLS, clean


def write(page: Page) -> bytes:
    """The page as one Markdown file; its plots are to lie in the same folder."""
    return ("\n\n".join([f"# {_text(page.title)}", *map(_block, page.blocks)]) + "\n").encode()


def _block(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {_text(text)}"
        case Headline(verdict):
            return f"**{SYMBOLS[verdict]} {verdict}**"
        case Paragraph(words):
            return _line(words)
        case Bullets(items):
            return "\n".join(f"- {_line(item)}" for item in items)
        case Table(columns, rows):
            lines = [[_text(column) for column in columns], ["---"] * len(columns)]
            lines += [[_cell(cell) for cell in row] for row in rows]
            return "\n".join(f"| {' | '.join(line)} |" for line in lines)
        case Plot(file, shows):
            return f"![{_text(shows)}]({file})"
        case Folded(title, blocks):
            return "\n\n".join([f"## {_text(title)}", *map(_block, blocks)])


def _line(words: Words) -> str:
    """Text that begins a line, where a dash would make a list and a number with a dot a numbered one."""
    line = "".join(_part(part) for part in words).strip()
    return re.sub(r"^(\d*)(?=[-+=.)])", r"\1\\", line, count=1)


def _cell(words: Words) -> str:
    return "".join(_part(part, in_table=True) for part in words)


def _part(part: Part, *, in_table: bool = False) -> str:
    match part:
        case Code(text):
            return _code(clean(text), in_table)
        case Mark(verdict):
            return f"**{SYMBOLS[verdict]} {verdict}**"
        case _:
            return _text(part)


def _text(text: str) -> str:
    """Plain text: what would be markup, a link or a formula is escaped."""
    return re.sub(r"[\\`*_\[\]<>|~#&$!]|:(?=//)|(?<=\bwww)\.|@", r"\\\g<0>", clean(text))


def _code(text: str, in_table: bool) -> str:
    if in_table:
        # A table takes its own bars first, even those in code.
        text = text.replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    air = " " if text.startswith(("`", " ")) or text.endswith(("`", " ")) else ""
    return f"{fence}{air}{text}{air}{fence}"
