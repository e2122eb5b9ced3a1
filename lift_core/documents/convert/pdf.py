"""PDF to Markdown. A PDF knows characters and places; headings, lists and tables are told by their looks."""

from __future__ import annotations

import io
import itertools
from typing import TYPE_CHECKING, Any

import pdfplumber
from pdfminer.pdfdocument import PDFEncryptionError, PDFPasswordIncorrect
from pdfminer.pdfpage import PDFPage
from pdfplumber.utils.exceptions import PdfminerException

from lift_core.documents.convert.layout import Line, Table, Word, lines_of, markdown_of
from lift_core.documents.converting import Converted
from lift_core.errors import DocumentError

if TYPE_CHECKING:
    from lift_core.documents.converting import ConversionJob

_SPACE = 0.15
"""Words lie at least so much of a character's size apart; in justified text there is no space character."""
_MAX_RULES = 2000
"""A page with more lines and boxes is a drawing: looking for tables in it takes for ever."""
_UNNAMED = "(cid:"
"""How pdfminer writes a character whose font does not say what it is."""
_MAX_UNNAMED_SHARE = 0.2


def convert(data: bytes, job: ConversionJob) -> Converted:
    """Markdown of a PDF.

    Raises:
        DocumentError: it is locked, has too many pages, no text, or fonts that do not name their characters.
        Exception: whatever pdfminer raises about a damaged file.
    """
    try:
        document = pdfplumber.open(io.BytesIO(data))
    except PdfminerException as error:
        cause = error.args[0] if error.args else error
        if isinstance(cause, PDFPasswordIncorrect | PDFEncryptionError):
            raise DocumentError(
                f"'{job.key}' is encrypted: save it without a password, and without restrictions"
            ) from error
        raise cause from error
    count = sum(1 for _ in itertools.islice(PDFPage.create_pages(document.doc), job.max_pages + 1))
    if count > job.max_pages:
        raise DocumentError(
            f"'{job.key}' has more than {job.max_pages:,} pages: split it, "
            "or allow more (LIFT_MAX_DOCUMENT_PAGES)"
        )
    if not count:
        raise DocumentError(f"'{job.key}' is a PDF without pages: it is damaged; save it anew")
    pages: list[list[Line | Table]] = []
    for page in document.pages:
        pages.append(_blocks(page))
        page.close()
    _check_text(pages, job)
    return Converted(
        text=markdown_of(pages),
        title=_text(document.metadata.get("Title")),
        language=_text(document.doc.catalog.get("Lang")),
        pages=count,
    )


def _blocks(page: Any) -> list[Line | Table]:
    """Lines and tables of a page, in the order in which it writes them, which is that of columns."""
    rules = len(page.lines) + len(page.rects) + len(page.curves)
    found = page.find_tables() if rules <= _MAX_RULES else []
    tables = {}
    for table in found:
        rows = [[" ".join((cell or "").split()) for cell in row] for row in table.extract()]
        rows = [row for row in rows if any(row)]
        # A frame around a paragraph is no table.
        if len(rows) >= 2 and max(map(len, rows)) >= 2:
            tables[table.bbox] = Table(rows=rows)
    words = [
        # The largest character counts: in small capitals a word has two sizes.
        Word(w["text"], w["x0"], w["x1"], w["top"], w["bottom"], max(float(c["size"]) for c in w["chars"]))
        for w in page.extract_words(x_tolerance_ratio=_SPACE, use_text_flow=True, return_chars=True)
    ]
    blocks: list[Line | Table] = []
    outside: list[Word] = []
    placed = set()
    for word in words:
        box = next((b for b in tables if _inside(word, b)), None)
        if box is None:
            outside.append(word)
        elif box not in placed:
            # A table stands where its first word does.
            placed.add(box)
            blocks.extend(lines_of(outside, float(page.height)))
            blocks.append(tables[box])
            outside = []
    blocks.extend(lines_of(outside, float(page.height)))
    return blocks


def _inside(word: Word, box: tuple[float, float, float, float]) -> bool:
    x, y = (word.x0 + word.x1) / 2, (word.top + word.bottom) / 2
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


def _check_text(pages: list[list[Line | Table]], job: ConversionJob) -> None:
    text = " ".join(block.text for page in pages for block in page)
    if not any(character.isalnum() for character in text):
        raise DocumentError(
            f"'{job.key}' has {len(pages):,} page{'s' * (len(pages) != 1)} and no text: it was scanned; "
            "run text recognition (OCR) over it first"
        )
    if text.count(_UNNAMED) > _MAX_UNNAMED_SHARE * len(text.replace(_UNNAMED, "")):
        raise DocumentError(
            f"'{job.key}' has fonts that do not name their characters: print it to a new PDF, "
            "or run text recognition (OCR) over it"
        )


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-16" if value[:2] in (b"\xfe\xff", b"\xff\xfe") else "latin-1", "replace")
    return value if isinstance(value, str) and value.strip() else None
