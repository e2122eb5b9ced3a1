"""What a page is made of, whichever format it is written in.

Text in it is plain, whoever wrote it: the writers of the formats escape all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lift_core.evaluation_records import Verdict


@dataclass(frozen=True)
class Code:
    """A name, or something to type."""

    text: str


@dataclass(frozen=True)
class Mark:
    """A verdict: its word and its symbol."""

    verdict: Verdict


Part = str | Code | Mark
Words = Sequence[Part]


@dataclass(frozen=True)
class Heading:
    """Begins a section."""

    text: str


@dataclass(frozen=True)
class Headline:
    """The verdict that the whole page is about."""

    verdict: Verdict


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    words: Words


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: Sequence[Words]


@dataclass(frozen=True)
class Table:
    """Rows of as many cells as there are columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Words]]


@dataclass(frozen=True)
class Plot:
    """One of the page's plots, by its file's name; ``shows`` says in words what is in it."""

    file: str
    shows: str


@dataclass(frozen=True)
class Folded:
    """What few will look up: folded where the format can fold."""

    title: str
    blocks: Sequence[Block]


Block = Heading | Headline | Paragraph | Bullets | Table | Plot | Folded


@dataclass(frozen=True)
class Page:
    """A page, with the content of its plots (SVG) by their files' names."""

    title: str
    blocks: Sequence[Block]
    plots: Mapping[str, bytes]
