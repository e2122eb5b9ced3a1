"""Text to segments. Offsets are exact: ``text[start:end] == segment.text``."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pysbd

from lift_core.records import Segment, SegmentationRecipe

_MIN_CHARS = 15
"""What is shorter joins its neighbour: a lone "No." is no fact."""
_OWN_LINE = re.compile(r"^\s*(#{1,6}\s|[-*+]\s|\d+[.)]\s|\|)")


def split(text: str, recipe: SegmentationRecipe) -> list[Segment]:
    """Cut text into segments of the recipe's grain.

    Headings, list items and table rows stand alone; the other lines of a paragraph belong
    together. Nothing but white space lies between two segments.
    """
    spans: list[tuple[int, int]] = []
    for start, end in _blocks(text):
        if recipe.grain == "sentence" and not _OWN_LINE.match(text[start:end]):
            spans.extend(_sentences(text, start, end))
        else:
            spans.append((start, end))
    pieces = [piece for span in _merge_short(text, spans) for piece in _cut(text, span, recipe.max_chars)]
    return [
        Segment(number=number, start=start, end=end, text=text[start:end])
        for number, (start, end) in enumerate(pieces)
    ]


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Paragraphs, and lines that stand alone."""
    start: int | None = None
    position = 0
    for line in text.splitlines(keepends=True):
        begin, position = position, position + len(line)
        if not line.strip() or _OWN_LINE.match(line):
            if start is not None:
                yield _trim(text, start, begin)
            start = None
            if line.strip():
                yield _trim(text, begin, position)
        elif start is None:
            start = begin
    if start is not None:
        yield _trim(text, start, position)


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Sentences of a paragraph, by pysbd's rules for abbreviations, initials and numbers."""
    # Line breaks inside a paragraph are not ends of sentences; a blank has the same length.
    flat = text[start:end].replace("\n", " ")
    position = 0
    for sentence in pysbd.Segmenter(language="en", clean=False).segment(flat):
        stripped = sentence.strip()
        if not stripped:
            continue
        found = flat.find(stripped, position)
        if found < 0:
            # pysbd rewrites some characters; what it returned cannot be placed, so the rest stays whole.
            yield _trim(text, start + position, end)
            return
        position = found + len(stripped)
        yield start + found, start + position


def _merge_short(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        short = merged and (end - start < _MIN_CHARS or merged[-1][1] - merged[-1][0] < _MIN_CHARS)
        if short and "\n\n" not in text[merged[-1][1] : start]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def _cut(text: str, span: tuple[int, int], limit: int) -> Iterator[tuple[int, int]]:
    """Cut what is longer than ``limit`` characters at white space."""
    start, end = span
    while end - start > limit:
        at = text.rfind(" ", start + 1, start + limit)
        at = at if at > start else start + limit
        yield _trim(text, start, at)
        start = at
    start, end = _trim(text, start, end)
    if end > start:
        yield start, end


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    lead = len(piece) - len(piece.lstrip())
    return start + lead, start + lead + len(piece.strip())
