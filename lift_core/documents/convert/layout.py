"""Words at places to lines, lines to Markdown: larger is a heading, aligned a table, dotted a list."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

_CELL_GAP = 2.0
"""Words so many sizes apart belong to two cells; no justified text has such gaps."""
_HEADING_FROM = 1.15
_MAX_HEADING = 200
_PARAGRAPH_GAP = 0.7
_MARGIN = 0.1
"""Running heads and feet lie in this share of the page's height."""
_RUNNING_FROM = 3
"""A line in the margin of so many pages belongs to none of them."""
_BULLET = re.compile(r"([•‣◦▪▫●○■□∙·*\-–—\uf0b7\uf0a7]|\(cid:\d+\))$")
_NUMBERED = re.compile(r"(\d{1,3}|[a-zA-Z])[.)]\s")
_PAGE_NUMBER = re.compile(r"\W*((page|seite)\s*)?(\d{1,4}|[ivxlc]{1,6})(\s*(/|of|von)\s*\d{1,4})?\W*", re.I)
_LETTERS = re.compile(r"[^\W\d_]+")
_WORD = re.compile(r"[^\W\d_]+(?!\w*-$)")
"""A word, but not the beginning of one at the end of a line."""
_LEADERS = re.compile(r"(\.\s?){5,}\s*\S{1,6}$")
"""An entry of a table of contents: dots lead to the number of a page."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word and its box; distances are in points from the page's upper left corner."""

    text: str
    x0: float
    x1: float
    top: float
    bottom: float
    size: float


@dataclass(slots=True)
class Table:
    """Rows of cells."""

    rows: list[list[str]]

    @property
    def text(self) -> str:
        """All it says."""
        return " ".join(cell for row in self.rows for cell in row)

    def markdown(self) -> str:
        """A Markdown table; its first row is the head."""
        width = max(map(len, self.rows))
        rows = [[*row, *[""] * (width - len(row))] for row in self.rows]
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        return "\n".join([lines[0], "| " + " | ".join(["---"] * width) + " |", *lines[1:]])


@dataclass(slots=True)
class Line:
    """A line of text; ``cells`` are its pieces where wide gaps part it."""

    size: float
    x0: float
    x1: float
    top: float
    bottom: float
    in_margin: bool
    bullet: bool
    cells: list[tuple[float, float, str]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All it says."""
        return " ".join(cell[2] for cell in self.cells)


def lines_of(words: list[Word], page_height: float) -> list[Line]:
    """Lines of the words of a page, in the order of the words."""
    lines: list[list[Word]] = []
    for word in words:
        last = lines[-1][-1] if lines else None
        beside = last is not None and abs(word.bottom - last.bottom) < 0.5 * max(word.size, last.size)
        if last is not None and beside and word.x0 >= last.x1 - word.size:
            lines[-1].append(word)
        else:
            lines.append([word])
    return [_line(line, page_height) for line in lines]


def _line(words: list[Word], page_height: float) -> Line:
    sizes: Counter[float] = Counter()
    for word in words:
        sizes[round(word.size, 1)] += len(word.text)
    top, bottom = min(word.top for word in words), max(word.bottom for word in words)
    bullet = len(words) > 1 and bool(_BULLET.match(words[0].text))
    line = Line(
        size=sizes.most_common(1)[0][0],
        x0=words[0].x0,
        x1=words[-1].x1,
        top=top,
        bottom=bottom,
        in_margin=bottom < _MARGIN * page_height or top > (1 - _MARGIN) * page_height,
        bullet=bullet,
    )
    for word in words[1:] if bullet else words:
        if line.cells and word.x0 - line.cells[-1][1] <= _CELL_GAP * line.size:
            x0, _, text = line.cells[-1]
            line.cells[-1] = (x0, word.x1, f"{text} {word.text}")
        else:
            line.cells.append((word.x0, word.x1, word.text))
    return line


def markdown_of(pages: list[list[Line | Table]]) -> str:
    """Markdown of a document's pages.

    Running heads and feet, page numbers and the entries of a table of contents are left out.
    """
    running = _running(pages)
    blocks = [[b for b in page if isinstance(b, Table) or not _is_aside(b, running)] for page in pages]
    sizes: Counter[float] = Counter()
    for block in (b for page in blocks for b in page if isinstance(b, Line)):
        sizes[block.size] += len(block.text)
    body = sizes.most_common(1)[0][0] if sizes else 0.0
    larger = sorted((size for size in sizes if size >= _HEADING_FROM * body), reverse=True)
    levels = {size: min(rank, 6) for rank, size in enumerate(larger, 1)}
    words = {word.lower() for page in blocks for block in page for word in _WORD.findall(block.text)}
    pieces: list[str] = []
    for page in blocks:
        for piece in _pieces(page, levels, words):
            if pieces and _goes_on(pieces[-1], piece):
                pieces[-1] = _joined(pieces[-1], piece, words)
            elif pieces and piece.startswith("- ") and pieces[-1].rpartition("\n")[2].startswith("- "):
                pieces[-1] += f"\n{piece}"
            else:
                pieces.append(piece)
    return "\n\n".join(pieces)


def _is_aside(line: Line, running: set[str]) -> bool:
    return bool(_LEADERS.search(line.text[-60:])) or (line.in_margin and _key(line) in running)


def _key(line: Line) -> str:
    """What a running line says on each page: its text without the page's number at either end."""
    text = line.text
    return "#" if _PAGE_NUMBER.fullmatch(text) else re.sub(r"^\d{1,4}\s+|\s+\d{1,4}$", "", text)


def _running(pages: list[list[Line | Table]]) -> set[str]:
    seen: Counter[str] = Counter()
    for page in pages:
        seen.update({_key(b) for b in page if isinstance(b, Line) and b.in_margin})
    return {"#", *(text for text, times in seen.items() if times >= _RUNNING_FROM)}


def _pieces(blocks: list[Line | Table], levels: dict[float, int], words: set[str]) -> Iterator[str]:
    """Headings, paragraphs, lists and tables of a page."""
    position = 0
    while position < len(blocks):
        block = blocks[position]
        if isinstance(block, Table):
            yield block.markdown()
            position += 1
            continue
        run = [block]
        rows = _aligned(blocks, position)
        if rows:
            yield Table(rows=[[cell[2] for cell in row.cells] for row in rows]).markdown()
            position += len(rows)
            continue
        while position + len(run) < len(blocks):
            following = blocks[position + len(run)]
            if not isinstance(following, Line) or _aligned(blocks, position + len(run)):
                break
            if not _same_piece(run[-1], following, levels):
                break
            run.append(following)
        position += len(run)
        text = run[0].text
        for line in run[1:]:
            text = _joined(text, line.text, words)
        level = levels.get(block.size)
        if level and len(text) <= _MAX_HEADING and any(c.isalpha() for c in text) and not block.bullet:
            yield f"{'#' * level} {text}"
        else:
            yield f"- {text}" if block.bullet else text


def _aligned(blocks: list[Line | Table], position: int) -> list[Line]:
    """The lines from here on whose cells stand under each other: a table without rules.

    Two columns take three rows, for two are often a name and a date beside each other.
    """
    rows: list[Line] = []
    for index in range(position, len(blocks)):
        block = blocks[index]
        if not isinstance(block, Line) or block.bullet or len(block.cells) < 2:
            break
        if rows and (block.top - rows[-1].bottom > 2 * block.size or not _under(rows[-1], block)):
            break
        rows.append(block)
    enough = 2 if rows and len(rows[0].cells) > 2 else 3
    return rows if len(rows) >= enough else []


def _under(above: Line, below: Line) -> bool:
    if len(above.cells) != len(below.cells) or below.top <= above.top:
        return False
    return all(
        abs(a[0] - b[0]) <= below.size or abs(a[1] - b[1]) <= below.size
        for a, b in zip(above.cells, below.cells, strict=True)
    )


def _same_piece(line: Line, following: Line, levels: dict[float, int]) -> bool:
    """Whether two lines that follow each other belong to one heading, paragraph or item."""
    gap = following.top - line.bottom
    if following.bullet or levels.get(line.size) != levels.get(following.size):
        return False
    # Backwards is the next column, where a paragraph may go on.
    if gap > _PARAGRAPH_GAP * following.size or (gap < -2 * following.size and _ends(line.text)):
        return False
    starts = bool(_NUMBERED.match(following.text)) or following.x0 > line.x0 + 0.8 * following.size
    return not (starts and _ends(line.text))


def _ends(text: str) -> bool:
    return text.rstrip("\"'”’)»").endswith((".", "!", "?", ":", ";"))


def _goes_on(before: str, after: str) -> bool:
    """Whether a paragraph was cut by the end of a page."""
    plain = not before.startswith(("#", "|")) and not after.startswith(("#", "|", "- "))
    return plain and not _ends(before) and after[:1].islower()


def _joined(text: str, more: str, words: set[str]) -> str:
    """Two lines as one. A word that was parted between them is made whole.

    "expect-" and "ed" are one word; "non-" and "transferable" keep their hyphen where the document has both
    by themselves and not the one that they would make.
    """
    if not (text.endswith("-") and text[-2:-1].isalpha() and more[:1].islower()):
        return f"{text} {more}"
    first, second = _LETTERS.findall(text[-60:-1])[-1].lower(), _LETTERS.findall(more[:60])[0].lower()
    compound = first + second not in words and first in words and second in words
    return (text if compound else text[:-1]) + more
