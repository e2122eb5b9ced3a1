"""Readers, and makers of small documents."""

from collections.abc import Callable

import pytest

from lift_core.documents import Document, read_document
from lift_core.settings import Settings

from .made import docx, paragraph, pdf, table


@pytest.fixture
def read() -> Callable[..., Document]:
    """Read bytes under a name; keywords are settings."""

    def reader(data: bytes, key: str, **settings: object) -> Document:
        return read_document(data, key, converter="text/1", settings=Settings(**settings))

    return reader


@pytest.fixture
def make_pdf() -> Callable[..., bytes]:
    """Makes PDFs of placed text."""
    return pdf


@pytest.fixture
def lighthouse_docx() -> bytes:
    """Headings, a list and a table in Word."""
    return docx(
        paragraph("The Lighthouse", "H1")
        + paragraph("Dr. Krell built it in 1712 for 4.5 * 10^6 crowns.")
        + paragraph("Lamps", "H2")
        + paragraph("first lamp: seal oil", item=True)
        + paragraph("second lamp: coal_gas", item=True)
        + table(("lamp", "year"), ("oil", "1712"), ("gas", "1801"))
        + paragraph("Nobody remembers the dark."),
        title="On a Lighthouse",
    )


@pytest.fixture
def lighthouse_pdf() -> bytes:
    """Headings, a list, a table with rules and one without in a PDF, and a paragraph over two pages."""
    first = [
        (24, 72, 700, "The Lighthouse"),
        (11, 72, 670, "Dr. Krell built it in 1712. It took many years of work, which nobody had expect-"),
        (11, 72, 656, "ed at the time."),
        (16, 72, 620, "Lamps"),
        (11, 72, 596, "- first lamp: seal oil"),
        (11, 72, 582, "- second lamp: coal gas"),
        *(
            (11, x, 540 - 14 * n, cell)
            for n, row in enumerate(_LAMPS)
            for x, cell in zip(_AT, row, strict=True)
        ),
        (11, 72, 450, "Its keepers were:"),
        *(
            (11, x, 420 - 14 * n, cell)
            for n, row in enumerate(_KEEPERS)
            for x, cell in zip(_AT, row, strict=True)
        ),
        (11, 72, 300, "It burned every night until the year 1950 and nobody"),
    ]
    second = [(11, 72, 700, "remembers that it was ever dark.")]
    pages = [first, second, [(11, 72, 700, "The end of the story.")]]
    running = [
        [(9, 72, 760, "The Keeper's Almanac"), *page, (9, 300, 30, str(n))] for n, page in enumerate(pages, 1)
    ]
    rules = " ".join(f"70 {y} m 420 {y} l S" for y in (552, 536, 522, 508))
    rules += " " + " ".join(f"{x} 552 m {x} 508 l S" for x in (70, 190, 310, 420))
    return pdf(running, drawn=rules, title="On a Lighthouse")


_AT = (72, 200, 320)
_LAMPS = (("lamp", "year", "fuel"), ("oil", "1712", "seal"), ("gas", "1801", "coal"))
_KEEPERS = (("name", "from", "until"), ("Krell", "1712", "1730"), ("Vanterpool", "1730", "1755"))
