"""Small real documents, made as bytes."""

import io
import zipfile
from collections.abc import Callable, Iterable, Sequence

import pytest

from lift_core.documents import Document, read_document
from lift_core.settings import Settings

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml"


def paragraph(text: str, style: str = "", item: bool = False) -> str:
    """A paragraph of a Word document, as XML."""
    looks = f'<w:pStyle w:val="{style}"/>' if style else ""
    looks += '<w:numPr><w:ilvl w:val="0"/><w:numId w:val="1"/></w:numPr>' if item else ""
    return f"<w:p><w:pPr>{looks}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def table(*rows: Sequence[str]) -> str:
    """A table of a Word document, as XML."""
    cells = ("".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) for row in rows)
    return "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in cells) + "</w:tbl>"


def docx(body: str, *, title: str = "", before: str = "", parts: dict[str, bytes] | None = None) -> bytes:
    """A Word document; ``before`` stands before its root element, ``parts`` lie beside it."""
    kept = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/word/document.xml" ContentType="{_TYPE}.document.main+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
        f'<Relationship Id="d" Type="{_OFFICE}/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
        f'<Relationship Id="s" Type="{_OFFICE}/styles" Target="styles.xml"/>'
        f'<Relationship Id="n" Type="{_OFFICE}/numbering" Target="numbering.xml"/></Relationships>',
        "word/styles.xml": f'<w:styles xmlns:w="{_WORD}">'
        + "".join(
            f'<w:style w:type="paragraph" w:styleId="H{n}"><w:name w:val="heading {n}"/></w:style>'
            for n in (1, 2)
        )
        + "</w:styles>",
        "word/numbering.xml": f'<w:numbering xmlns:w="{_WORD}"><w:abstractNum w:abstractNumId="0">'
        '<w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/></w:lvl></w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num></w:numbering>',
        "docProps/core.xml": f'<p:coreProperties xmlns:p="{_PACKAGE}/metadata/core-properties" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<dc:title>{title}</dc:title><dc:language>de-DE</dc:language></p:coreProperties>",
        "word/document.xml": f'{before}<w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>',
    }
    return zipped({**{name: text.encode() for name, text in kept.items()}, **(parts or {})})


def zipped(parts: dict[str, bytes]) -> bytes:
    """A ZIP file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        for name, data in parts.items():
            package.writestr(name, data)
    return out.getvalue()


def pdf(
    pages: Iterable[Iterable[tuple[float, float, float, str]]],
    *,
    drawn: str = "",
    title: str = "",
    trailer: str = "",
) -> bytes:
    """A PDF of pages of (size, x, y from below, text); ``drawn`` are drawing commands on each page."""
    contents = [
        f"{drawn} BT "
        + " ".join(f"/F {size} Tf 1 0 0 1 {x} {y} Tm ({text}) Tj" for size, x, y, text in page)
        + " ET"
        for page in pages
    ]
    numbers = [5 + 2 * n for n in range(len(contents))]
    objects = [
        "<< /Type /Catalog /Pages 2 0 R /Lang (en-GB) >>",
        f"<< /Type /Pages /Kids [{' '.join(f'{n} 0 R' for n in numbers)}] /Count {len(numbers)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        f"<< /Title ({title}) >>",
    ]
    for number, content in zip(numbers, contents, strict=True):
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            f"/Resources << /Font << /F 3 0 R >> >> /Contents {number + 1} 0 R >>"
        )
        objects.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
    out = io.BytesIO()
    out.write(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1"))
    table_at, size = out.tell(), len(objects) + 1
    out.write(f"xref\n0 {size}\n0000000000 65535 f \n".encode())
    out.writelines(f"{offset:010d} 00000 n \n".encode() for offset in offsets)
    out.write(f"trailer << /Size {size} /Root 1 0 R /Info 4 0 R {trailer} >>\n".encode())
    out.write(f"startxref\n{table_at}\n%%EOF\n".encode())
    return out.getvalue()


@pytest.fixture
def read() -> Callable[..., Document]:
    """Read bytes under a name; keywords are settings."""

    def reader(data: bytes, key: str, **settings: object) -> Document:
        return read_document(data, key, converter="text/1", settings=Settings(**settings))

    return reader


@pytest.fixture
def make_docx() -> Callable[..., bytes]:
    """Makes Word documents of XML."""
    return docx


@pytest.fixture
def make_pdf() -> Callable[..., bytes]:
    """Makes PDFs of placed text."""
    return pdf


@pytest.fixture
def make_zip() -> Callable[..., bytes]:
    """Makes ZIP files."""
    return zipped


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
