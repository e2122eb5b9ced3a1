"""Text to segments. Offsets are exact: ``text[start:end] == segment.text``.

A generator is shown one segment at a time, so each should state something whole: a heading stands with what
it names, a list with what announces it, short items and rows with their neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from lift_core.documents.blocks import Block, Role, blocks_of
from lift_core.documents.languages import COMMON_WORDS, language_of
from lift_core.documents.sentences import Splitter, ends_sentence, is_clause_title, trimmed
from lift_core.errors import RecipeError
from lift_core.records import Segment, SegmentationRecipe

SPLITTERS = ("blocks/1",)
"""The sets of rules that a recipe can name. Rules that cut the same text otherwise are another set."""
_MIN_BYTES = 15
"""What is shorter in UTF-8 joins its neighbour: "So I try." is no fact, and "とても高い。" may be one."""
_TOGETHER = 600
"""Characters of short items or rows that make one segment."""
_FRAGMENT = 160
"""Characters from which an item or a row says enough by itself."""
_MAX_HEADINGS = 300
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_CUTS = (re.compile(r"[.!?;:。！？；]\s"), re.compile(r"[,、，]\s?"), re.compile(r"\s"))
"""Where what is longer than the recipe allows is cut, best first."""


class _Kind(Enum):
    HEADING = 1
    FRAGMENT = 2
    STATEMENT = 3
    ASIDE = 4


@dataclass(slots=True)
class _Piece:
    """Some of the text, and what its last unit was."""

    start: int
    end: int
    kind: _Kind
    block: int
    new_section: bool = False


def split(text: str, recipe: SegmentationRecipe) -> list[Segment]:
    """Cut text into segments of the recipe's grain, at most ``max_chars`` characters each.

    Nothing but white space lies between two segments. A sentence is cut only where it alone is longer than
    the recipe allows. A window holds sentences of one section. Time and memory are in proportion to the text.

    Raises:
        RecipeError: the recipe names a splitter that this version does not have.
    """
    if recipe.splitter not in SPLITTERS:
        raise RecipeError(f"splitter '{recipe.splitter}' is unknown; this version has {', '.join(SPLITTERS)}")
    language = language_of(text)
    splitter = Splitter(language)
    blocks = _mended(text, blocks_of(text), COMMON_WORDS.get(language, frozenset()))
    pieces = _joined(text, _units(text, blocks, splitter, recipe), recipe.max_chars)
    if recipe.grain == "window":
        pieces = _windows(pieces, recipe.max_chars)
    spans = (span for piece in pieces for span in _cut(text, piece.start, piece.end, recipe.max_chars))
    return [
        Segment(number=number, start=start, end=end, text=text[start:end])
        for number, (start, end) in enumerate(spans)
    ]


def _mended(text: str, blocks: Iterator[Block], common_words: frozenset[str]) -> Iterator[Block]:
    """The blocks, with those made one that a page's end, and perhaps its number, had parted."""
    held: list[Block] = []
    for block in blocks:
        if held and block.role is Role.ASIDE:
            held.append(block)
            continue
        if held and _goes_on(text, held[0], block, common_words):
            role = Role.PROSE if held[0].role is Role.HEADING else held[0].role
            held = [Block(role, held[0].start, block.end)]
            continue
        yield from held
        held = [block]
    yield from held


def _goes_on(text: str, before: Block, block: Block, common_words: frozenset[str]) -> bool:
    """Whether a block begins in the middle of a sentence of the block before."""
    if block.role is not Role.PROSE or before.role in (Role.CODE, Role.ROW, Role.ASIDE):
        return False
    # A heading without marks may be a short line of prose.
    if before.role is Role.HEADING and (
        text[before.start] in "#." or "\n" in text[before.start : before.end]
    ):
        return False
    left = text[max(before.start, before.end - 100) : before.end]
    if ends_sentence(left) or left.endswith(":"):
        return False
    last = left.split()[-1].lower()
    unfinished = before.role is Role.PROSE and (last in common_words or last.endswith(","))
    return text[block.start].islower() or unfinished


def _units(
    text: str, blocks: Iterator[Block], splitter: Splitter, recipe: SegmentationRecipe
) -> Iterator[_Piece]:
    """The smallest pieces: sentences, or paragraphs if the recipe wants these and they are not too long."""
    for number, block in enumerate(blocks):
        start, end = block.start, block.end
        if block.role is Role.HEADING:
            yield _Piece(start, end, _Kind.HEADING, number, new_section=True)
        elif block.role is Role.ASIDE:
            yield _Piece(start, end, _Kind.ASIDE, number)
        elif block.role is Role.CODE:
            yield _Piece(start, end, _Kind.STATEMENT, number)
        elif block.role is Role.ROW or (recipe.grain == "paragraph" and end - start <= recipe.max_chars):
            yield _Piece(start, end, _kind(text, start, end, block.role), number)
        else:
            spans = splitter.split(text, start, end)
            found = [_Piece(s, e, _kind(text, s, e, block.role), number) for s, e in spans]
            yield from _windows(found, recipe.max_chars) if recipe.grain == "paragraph" else found


def _kind(text: str, start: int, end: int, role: Role) -> _Kind:
    said = text[start:end]
    if role is not Role.ROW and not any(map(str.isalnum, _TAG.sub("", said))):
        return _Kind.ASIDE
    if is_clause_title(said):
        return _Kind.HEADING
    if role is Role.PROSE or end - start > _FRAGMENT or (role is Role.ITEM and ends_sentence(said)):
        return _Kind.STATEMENT
    return _Kind.FRAGMENT


def _joined(text: str, units: Iterator[_Piece], limit: int) -> Iterator[_Piece]:
    """Units that state something only together, made one where the limit allows."""
    held: _Piece | None = None
    for unit in units:
        if held and unit.end - held.start <= limit and _belongs(text, held, unit):
            held.end = unit.end
            held.block = unit.block
            held.kind = held.kind if unit.kind is _Kind.ASIDE else unit.kind
        else:
            if held:
                yield held
            held = unit
    if held:
        yield held


def _belongs(text: str, held: _Piece, unit: _Piece) -> bool:
    if unit.kind is _Kind.ASIDE or held.kind is _Kind.ASIDE:
        return True
    length = unit.end - held.start
    if unit.kind is _Kind.HEADING:
        return held.kind is _Kind.HEADING and length <= _MAX_HEADINGS
    if held.kind is _Kind.HEADING or text[held.end - 1] == ":":
        return True
    # A question in front of short items is one that they answer.
    asks = text[held.end - 1] in "?？؟"
    if unit.kind is _Kind.FRAGMENT and (held.kind is _Kind.FRAGMENT or asks):
        return length <= _TOGETHER
    # Encoding all of what is held, again and again, would take time in proportion to its square.
    said = (text[piece.start : min(piece.end, piece.start + _MIN_BYTES)] for piece in (held, unit))
    return unit.block == held.block and min(len(each.encode(errors="replace")) for each in said) < _MIN_BYTES


def _windows(pieces: Iterable[_Piece], limit: int) -> Iterator[_Piece]:
    held: _Piece | None = None
    for piece in pieces:
        if held and not piece.new_section and piece.end - held.start <= limit:
            held.end = piece.end
        else:
            if held:
                yield held
            held = piece
    if held:
        yield held


def _cut(text: str, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
    """Cut what is longer than ``limit`` characters, after a mark in its second half or at white space."""
    while end - start > limit:
        half = start + limit // 2
        places = ([m.end() for m in cut.finditer(text, half, start + limit)] for cut in _CUTS)
        at = next((found[-1] for found in places if found), start + limit)
        yield trimmed(text, start, at)
        start = trimmed(text, at, end)[0]
    if end > start:
        yield start, end
