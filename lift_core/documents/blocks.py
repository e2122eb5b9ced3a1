"""Text to blocks: headings, list items, rows of tables, code, and paragraphs of prose.

Told by looks alone: a text may be Markdown, reStructuredText, a flattened contract or nothing of the kind.
"""

from __future__ import annotations

import bisect
import re
from array import array
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple


class Role(Enum):
    """What a block is to its neighbours."""

    HEADING = "names what follows"
    ITEM = "one of several"
    ROW = "a row of a table"
    CODE = "is never cut between sentences"
    PROSE = "a paragraph"
    ASIDE = "a page's number, a rule"


class Block(NamedTuple):
    """A piece of the text without white space at its ends."""

    role: Role
    start: int
    end: int


class _Line(NamedTuple):
    start: int
    text: str

    @property
    def blank(self) -> bool:
        return not self.text or self.text.isspace()

    @property
    def indent(self) -> int:
        return len(self.text) - len(self.text.lstrip())


class _Lines:
    """The lines of a text, made when asked for: a text may be nothing but ends of lines."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = array("L", [0])
        self._starts.extend(found.end() for found in _LINE_END.finditer(text))
        if self._starts[-1] < len(text):
            self._starts.append(len(text))

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, number: int) -> _Line:
        start = self._starts[number]
        return _Line(start, self._text[start : self._starts[number + 1]])


_LINE_END = re.compile(r"\r\n|[\n\x0b\x0c\r\x1c-\x1e\x85\u2028\u2029]")
_MAX_HEADING = 100
_FIELDS_SHARE = 0.6
"""Of a paragraph's lines; the others go on with the value above them."""
_ENDS = re.compile(r"[.!?…:;,。！？；：।؟።၊။]['\"”’»)\]*_]*$")
_ATX = re.compile(r"\s{0,3}#{1,6}\s")
_UNDERLINE = re.compile(r"([=\-~'\"^`#*+])\1{2,}\s*$")
_RULE = re.compile(r"([=\-~*_^+#.·—–]\s?){3,}")
_PAGE = re.compile(r"[-–—\[(]?\s?(page|seite|p\.)?\s?\d{1,4}(\s?(/|of|von)\s?\d{1,4})?\s?[-–—\])]?", re.I)
_FENCE = re.compile(r"\s{0,3}(```|~~~)")
_ITEM = re.compile(
    r"\s*([-*+•‣◦▪●–]|\d{1,3}[.)]|[A-Za-z][.)]|[ivxl]{1,5}[.)]|\((\d{1,3}|[A-Za-z]|[ivxl]{1,5})\)"
    r"|\[\d{1,3}\]|\.\.(?=\s[_\[]))\s+\S"
)
_DIRECTIVE = re.compile(r"\s*\.\. [\w-]+::")
_CODE_DIRECTIVE = re.compile(r"\s*\.\. (code|code-block|sourcecode|parsed-literal|math|highlight)::")
_OPTION = re.compile(r"\s+:[\w-]+:")
_FIELD = re.compile(r"\s*[^\W\d_][\w .-]{0,30}:(\s|$)")
_ROW = re.compile(r"\s*\||\s*\+[-=+]{3,}\+\s*$|[^|]+\s\|\s|(?=.*-\|-)[\s:|-]++$|\S[^\t\n]*\t\S")
_DEFINITION = re.compile(r"\s{0,3}:\s+\S")
_BORDER = re.compile(r"\s*={2,}(\s+={2,})+\s*$")
_LINK = re.compile(r"https?://|www\.")


def blocks_of(text: str) -> Iterator[Block]:
    """The blocks of a text, in order; nothing but white space lies between two of them."""
    lines = _Lines(text)
    fences = [number for number in range(len(lines)) if _FENCE.match(lines[number].text)]
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.blank:
            at += 1
            continue
        last, found = _code(lines, at, fences)
        if found:
            yield _block(Role.CODE, lines, at, last)
        else:
            last = _paragraph_end(lines, at)
            yield from _paragraph(lines, at, last)
            if lines[last - 1].text.rstrip().endswith("::"):
                # What a double colon announces (reStructuredText) is set letter by letter.
                body = _indented(lines, last, lines[at].indent)
                if body > last:
                    yield _block(Role.CODE, lines, last, body)
                    last = body
        at = last


def _block(role: Role, lines: _Lines, first: int, last: int) -> Block:
    """Lines ``first`` to ``last``, the latter excluded."""
    while lines[first].blank:
        first += 1
    while lines[last - 1].blank:
        last -= 1
    ending = lines[last - 1]
    return Block(role, lines[first].start + lines[first].indent, ending.start + len(ending.text.rstrip()))


def _code(lines: _Lines, at: int, fences: list[int]) -> tuple[int, bool]:
    """Where code that begins here ends; a fence that nobody closes begins none."""
    if fence := _FENCE.match(lines[at].text):
        following = bisect.bisect(fences, at)
        closing = fences[following] if following < len(fences) else at
        if closing > at and lines[closing].text.strip().startswith(fence.group(1)):
            return closing + 1, True
    if _CODE_DIRECTIVE.match(lines[at].text):
        return _indented(lines, at + 1, lines[at].indent), True
    return at, False


def _indented(lines: _Lines, at: int, indent: int) -> int:
    """The line after the last one from here on that is indented deeper; blank lines do not end them."""
    last = at
    while at < len(lines) and (lines[at].blank or lines[at].indent > indent):
        at += 1
        if not lines[at - 1].blank:
            last = at
    return last


def _paragraph_end(lines: _Lines, at: int) -> int:
    """The line after a paragraph: a blank one, or one that begins something else."""
    if _ATX.match(lines[at].text):
        return at + 1
    end = at + 1
    while end < len(lines) and not lines[end].blank:
        if (
            _ATX.match(lines[end].text)
            or _FENCE.match(lines[end].text)
            or _CODE_DIRECTIVE.match(lines[end].text)
        ):
            break
        end += 1
    return end


def _paragraph(lines: _Lines, first: int, last: int) -> Iterator[Block]:
    """The blocks of lines that no blank one parts."""
    if _ATX.match(lines[first].text):
        yield _block(Role.HEADING, lines, first, last)
        return
    if any(_BORDER.match(lines[number].text) for number in range(first, last)):
        yield from (_block(Role.ROW, lines, n, n + 1) for n in range(first, last))
        return
    if _are_fields(lines, first, last):
        yield from _items(lines, first, last, _FIELD)
        return
    while first < last:
        end, role = _run(lines, first, last)
        if role is Role.ITEM:
            yield from _items(lines, first, end, _ITEM)
        elif role is Role.ROW:
            yield from (_block(Role.ROW, lines, n, n + 1) for n in range(first, end))
        else:
            yield _block(role, lines, first, end)
        first = end


def _are_fields(lines: _Lines, first: int, last: int) -> bool:
    """Whether lines are of the form ``Name: value``; a single one may be a sentence with a colon in it."""
    if not _FIELD.match(lines[first].text):
        return False
    if last - first == 1:
        return not _ENDS.search(lines[first].text.rstrip())
    fields = sum(bool(_FIELD.match(lines[number].text)) for number in range(first, last))
    return fields > _FIELDS_SHARE * (last - first)


def _run(lines: _Lines, first: int, last: int) -> tuple[int, Role]:
    """Where lines of one kind end, and what they are."""
    line = lines[first].text.rstrip()
    bare = line.lstrip()
    following = lines[first + 1].text if first + 1 < last else ""
    alone = first + 1 == last
    if _UNDERLINE.match(line) and first + 2 < last and lines[first + 2].text.rstrip() == line:
        return first + 3, Role.HEADING
    if _UNDERLINE.match(following) and line[-1] not in ".:;," and len(line) <= _MAX_HEADING:
        return first + 2, Role.HEADING
    if _ROW.match(line) and (bare.startswith(("|", "+-", "+=")) or _ROW.match(following)):
        end = first + 1
        while end < last and _ROW.match(lines[end].text):
            end += 1
        return end, Role.ROW
    if _PAGE.fullmatch(bare) or _RULE.fullmatch(bare) or sum(map(str.isalnum, line)) < (2 if alone else 1):
        return first + 1, Role.ASIDE
    if _DEFINITION.match(following):
        return _definition_end(lines, first, last), Role.ITEM
    if _DIRECTIVE.match(line):
        end = first + 1
        while end < last and _OPTION.match(lines[end].text):
            end += 1
        return end, Role.HEADING
    if _ITEM.match(line):
        return _items_end(lines, first, last), Role.ITEM
    if _is_title(line, alone=alone):
        return first + 1, Role.HEADING
    end = first + 1
    while end < last and not _interrupts(lines, end):
        end += 1
    return end, Role.PROSE


def _items_end(lines: _Lines, first: int, last: int) -> int:
    """Items that follow each other, with the lines that belong to them."""
    end = first + 1
    while end < last and not lines[end].text.lstrip().startswith("|"):
        end += 1
    return end


def _definition_end(lines: _Lines, first: int, last: int) -> int:
    """A term and the lines that define it, each of which a colon or an indent begins."""
    end = first + 1
    while end < last and (_DEFINITION.match(lines[end].text) or lines[end].indent > lines[first].indent):
        end += 1
    return end


def _interrupts(lines: _Lines, at: int) -> bool:
    """Whether a line within a paragraph begins a list or a table: not where a sentence merely goes on."""
    line = lines[at].text
    if line.lstrip().startswith("|") or not any(map(str.isalnum, line)):
        return True
    return bool(_ITEM.match(line)) and bool(_ENDS.search(lines[at - 1].text.rstrip()))


def _is_title(line: str, *, alone: bool) -> bool:
    """Whether a line without marks is a heading: a short one by itself, or one in capitals above its text."""
    stripped = line.strip()
    letters = [c for c in stripped if c.isalpha()]
    if not letters or len(stripped) > _MAX_HEADING or _ENDS.search(stripped) or _LINK.search(stripped):
        return False
    if alone:
        return not letters[0].islower() and not _FIELD.match(stripped)
    return len(letters) > 3 and stripped == stripped.upper() and stripped != stripped.lower()


def _items(lines: _Lines, first: int, last: int, mark: re.Pattern[str]) -> Iterator[Block]:
    """Lines that begin with a mark, each with the lines up to the next."""
    start = first
    for at in range(first + 1, last):
        if mark.match(lines[at].text):
            yield _block(Role.ITEM, lines, start, at)
            start = at
    yield _block(Role.ITEM, lines, start, last)
