"""PDFs that are broken, or made to do harm."""

import zlib
from collections.abc import Iterator

from .hostile import Case, either, reads, refuses
from .made import assembled, pdf

SAID = "The keeper wrote it down in his book."
TEXT = "keeper wrote it down"
_DAMAGED = (
    "cannot be read as PDF .*damaged or cut short; open it and save it anew|PDF without pages.*save it anew"
)
_TOO_MUCH = "nests deeper|not converted within .*LIFT_CONVERT_SECONDS|LIFT_CONVERT_MEMORY_BYTES"
_SCANNED = "no text: it was scanned; run text recognition"
_CATALOG = "<< /Type /Catalog /Pages 2 0 R >>"
_FONT = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
_ABOVE = "<< /Type /Font /Subtype /Type0 /BaseFont /X /Encoding /{} /DescendantFonts [7 0 R] >>"
_BELOW = (
    "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /X /CIDSystemInfo << /Registry {} /Ordering {} >> >>"
)
_ENCRYPTED = (
    f"/Encrypt << /Filter /Standard /V 1 /R 2 /O <{'41' * 32}> /U <{'42' * 32}> /P -4 >> /ID [<00><00>]"
)


def cases() -> Iterator[Case]:
    """Every case."""
    yield from _broken()
    yield from _circles()
    yield from _sizes()
    yield from _content()
    yield from _what_runs()


def _line(text: str = SAID) -> bytes:
    return pdf([[(11, 72, 700, text)]])


def _stream(content: bytes, more: str = "") -> bytes:
    return b"<< /Length %d %b >>\nstream\n%b\nendstream" % (len(content), more.encode(), content)


def _page(
    content: bytes = b"",
    *,
    catalog: str = _CATALOG,
    pages: str = "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
    page: str = "/MediaBox [0 0 612 792]",
    resources: str = "/Font << /F 4 0 R >>",
    filters: str = "",
    more: tuple[str | bytes, ...] = (),
    trailer: str = "",
) -> bytes:
    """A PDF of one page, whose objects are 1 catalog, 2 pages, 3 page, 4 font, 5 content and what follows."""
    shown = content or f"BT /F 11 Tf 1 0 0 1 72 700 Tm ({SAID}) Tj ET".encode()
    body = f"<< /Type /Page /Parent 2 0 R {page} /Resources << {resources} >> /Contents 5 0 R >>"
    return assembled([catalog, pages, body, _FONT, _stream(shown, filters), *more], trailer)


def _broken() -> Iterator[Case]:
    whole = _line()
    for share in (5, 30, 60):
        yield refuses(f"cut at {share} %", "a.pdf", whole[: len(whole) * share // 100], _DAMAGED)
    yield either("cut at 95 %", "a.pdf", whole[: len(whole) * 95 // 100], TEXT, _DAMAGED)
    yield refuses("header alone", "a.pdf", b"%PDF-1.7\n", _DAMAGED)
    yield refuses("header and noise", "a.pdf", b"%PDF-1.7\n" + bytes(range(256)) * 400, _DAMAGED)
    for name, old, new in (
        ("table of objects that points nowhere", b"startxref\n", b"startxref\n9"),
        ("table of objects of words", b"0000000000 65535 f", b"keeper wrote down."),
        ("offsets that are wrong", b" 00000 n", b" 00000 f"),
        ("objects without an end", b"endobj", b"endo"),
        ("streams without an end", b"endstream", b"end"),
        ("catalog that is none", b"/Type /Catalog", b"/Type /Keeper"),
        ("root that is not there", b"/Root 1 0 R", b"/Root 9 0 R"),
        ("root that is a number", b"/Root 1 0 R", b"/Root 1712 "),
        ("pages that are a number", b"/Pages 2 0 R", b"/Pages 1712 "),
        ("kids that are words", b"/Kids [5 0 R]", b"/Kids [(kee)]"),
        ("no font", b"/BaseFont", b"/BaseLamp"),
        ("font that is a number", b"/F 3 0 R", b"/F 1712 "),
        ("page without a size", b"/MediaBox", b"/Keeper00"),
        ("length that is a lie", b"/Length ", b"/Length 99999"),
        ("length below zero", b"/Length ", b"/Length -"),
    ):
        changed = whole.replace(old, new)
        yield either(name, "a.pdf", changed, TEXT, f"{_DAMAGED}|{_SCANNED}|fonts that do not name")
    yield reads("bytes before", "a.pdf", b"junk\n" * 100 + whole, TEXT)
    yield reads("bytes after", "a.pdf", whole + b"junk" * 1000, TEXT)
    yield reads("named text", "a.txt", whole, TEXT)
    yield refuses(
        "locked", "a.pdf", pdf([[(11, 72, 700, SAID)]], trailer=_ENCRYPTED), "is encrypted: save it without"
    )
    unknown = pdf([[(11, 72, 700, SAID)]], trailer=_ENCRYPTED.replace("Standard", "Klingon"))
    yield refuses("locked in an unknown way", "a.pdf", unknown, f"is encrypted: save it without|{_DAMAGED}")


def _circles() -> Iterator[Case]:
    for name, kids in {
        "one": "[2 0 R]",
        "two": "[2 0 R 2 0 R]",
        "page and tree": "[3 0 R 2 0 R 1 0 R]",
    }.items():
        data = _page(pages=f"<< /Type /Pages /Kids {kids} /Count 3 >>")
        yield either(f"tree of pages in a circle ({name})", "a.pdf", data, TEXT, f"{_DAMAGED}|{_TOO_MUCH}")
    yield either(
        "page within itself", "a.pdf", _page(page="/MediaBox [0 0 612 792] /Kids [3 0 R]"), TEXT, _DAMAGED
    )
    for name, more, content in (
        ("form within itself", (_form("/X 6 0 R", b"/X Do"),), b"/X Do"),
        ("forms in a circle", (_form("/X 7 0 R", b"/X Do"), _form("/X 6 0 R", b"/X Do")), b"/X Do"),
    ):
        said = content + f" BT /F 11 Tf 1 0 0 1 72 700 Tm ({SAID}) Tj ET".encode()
        data = _page(said, resources="/Font << /F 4 0 R >> /XObject << /X 6 0 R >>", more=more)
        yield either(name, "a.pdf", data, TEXT, f"{_TOO_MUCH}|{_DAMAGED}")
    # Each form shows the next one ten times.
    forms = (*(_form(f"/X {n + 1} 0 R", b"/X Do " * 10) for n in range(6, 26)), _form("", b"0 0 9 9 re f"))
    doubling = _page(b"/X Do", resources="/XObject << /X 6 0 R >>", more=forms)
    yield refuses("forms that multiply", "a.pdf", doubling, f"{_TOO_MUCH}|{_SCANNED}", convert_seconds=8)
    circle = _line().replace(b"/Info 4 0 R", b"/Prev 1 /Info 4 0 R")
    yield either("tables of objects in a circle", "a.pdf", circle, TEXT, f"{_DAMAGED}|{_TOO_MUCH}")
    itself = _page(more=("6 0 R",), trailer="/Info 6 0 R")
    refusal = f"{_DAMAGED}|{_TOO_MUCH}"
    yield either("reference to itself", "a.pdf", itself, TEXT, refusal, convert_seconds=8)
    parent = _page(page="", pages="<< /Type /Pages /Kids [3 0 R] /Count 1 /Parent 2 0 R >>")
    yield either("parent of itself", "a.pdf", parent, TEXT, f"{_DAMAGED}|{_TOO_MUCH}")
    glyph = (
        "<< /Type /Font /Subtype /Type3 /FontBBox [0 0 9 9] /FontMatrix [1 0 0 1 0 0] /FirstChar 84 "
        "/LastChar 84 /Widths [9] /Encoding << /Differences [84 /a] >> /CharProcs << /a 7 0 R >> "
        "/Resources << /Font << /G 6 0 R >> >> >>"
    )
    drawn = _stream(b"BT /G 9 Tf (T) Tj ET")
    own = _page(
        resources="/Font << /F 4 0 R /G 6 0 R >>",
        more=(glyph, drawn),
        content=f"BT /F 11 Tf 1 0 0 1 72 700 Tm ({SAID}) Tj /G 9 Tf (T) Tj ET".encode(),
    )
    yield reads("letter drawn with itself", "a.pdf", own, TEXT)


def _form(resources: str, content: bytes) -> bytes:
    more = f"/Type /XObject /Subtype /Form /BBox [0 0 612 792] /Resources << /XObject << {resources} >> >>"
    return _stream(content, more)


def _sizes() -> Iterator[Case]:
    said = f"BT /F 11 Tf 1 0 0 1 72 700 Tm ({SAID}) Tj ET".encode()
    bomb = zlib.compress(said + b" " * 100_000_000, 9)
    yield either("content that swells", "a.pdf", _page(bomb, filters="/Filter /FlateDecode"), TEXT, _TOO_MUCH)
    twice = zlib.compress(zlib.compress(b" " * 100_000_000, 9), 9)
    data = _page(twice, filters="/Filter [/FlateDecode /FlateDecode]")
    yield refuses("content that swells twice", "a.pdf", data, f"{_TOO_MUCH}|{_SCANNED}")
    hexed = _page(b"20" * 2_000_000, filters="/Filter [/ASCIIHexDecode]")
    yield refuses("content of digits", "a.pdf", hexed, f"{_TOO_MUCH}|{_SCANNED}")
    endless = b"A" * 100_000
    for name in ("LZWDecode", "RunLengthDecode", "ASCII85Decode", "FlateDecode", "DCTDecode", "Klingon"):
        refusal = f"{_DAMAGED}|{_SCANNED}|{_TOO_MUCH}"
        yield refuses(f"noise as {name}", "a.pdf", _page(endless, filters=f"/Filter /{name}"), refusal)
    yield refuses("arrays in arrays", "a.pdf", _page(b"[" * 300_000), f"{_TOO_MUCH}|{_SCANNED}|{_DAMAGED}")
    deep = _page(
        more=("[" * 100_000 + "]" * 100_000, "<< /A " * 50_000 + ">> " * 50_000), trailer="/Info 6 0 R"
    )
    yield either("objects in objects", "a.pdf", deep, TEXT, f"{_TOO_MUCH}|{_DAMAGED}")
    yield either("saved states", "a.pdf", _page(b"q " * 300_000 + said), TEXT, _TOO_MUCH)
    lines = b" ".join(b"%d %d m %d %d l S" % (n % 612, n % 792, n % 600, n % 700) for n in range(30_000))
    yield either("thirty thousand lines", "a.pdf", _page(lines + b" " + said), TEXT, _TOO_MUCH)
    yield either(
        "a hundred thousand letters at one place",
        "a.pdf",
        _page(said + b" BT /F 11 Tf 1 0 0 1 72 600 Tm " + b"(keeper) Tj 1 0 0 1 72 600 Tm " * 15_000 + b"ET"),
        TEXT,
        _TOO_MUCH,
    )
    for name, box in {
        "giant": "[0 0 1e30 1e30]",
        "empty": "[0 0 0 0]",
        "turned around": "[612 792 0 0]",
        "words": "[(a) (b) (c) (d)]",
        "short": "[0 0]",
    }.items():
        data = _page(page=f"/MediaBox {box}")
        yield either(
            f"page of a size that is {name}", "a.pdf", data, TEXT, f"{_DAMAGED}|{_SCANNED}|{_TOO_MUCH}"
        )
    yield reads("letters of a giant size", "a.pdf", _page(said.replace(b"/F 11", b"/F 1e9")), "keeper|The")
    count = _line().replace(b"/Count 1", b"/Count 2147483647")
    yield reads("count of pages that is a lie", "a.pdf", count, TEXT)
    size = _line().replace(b"/Size ", b"/Size 99999999")
    yield either("count of objects that is a lie", "a.pdf", size, TEXT, _DAMAGED)
    yield refuses(
        "twenty thousand pages", "a.pdf", lambda: pdf([[]] * 20_000), "more than 1,000 pages: split it"
    )
    same = _page(pages=f"<< /Type /Pages /Kids [{'3 0 R ' * 50_000}] /Count 50000 >>")
    yield either("one page fifty thousand times", "a.pdf", same, TEXT, "more than 1,000 pages: split it")
    parts = assembled(
        [
            _CATALOG,
            "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F 4 0 R >> >> "
            f"/Contents [{'5 0 R ' * 2000}] >>",
            _FONT,
            _stream(said),
        ]
    )
    yield either("one content two thousand times", "a.pdf", parts, TEXT, _TOO_MUCH)
    rows = [
        [
            (9, x, 750 - 14 * r, f"{word}{p * 50 + r}")
            for r in range(50)
            for x, word in ((72, "lamp "), (300, "oil "))
        ]
        for p in range(300)
    ]
    yield reads(
        "table of 300 pages", "a.pdf", lambda: pdf(rows), r"\| lamp \d+ \| oil \d+ \|", convert_seconds=500
    )
    yield refuses(
        "too many pages for the settings",
        "a.pdf",
        pdf([[(11, 72, 700, SAID)]] * 3),
        "more than 2 pages: split it.*LIFT_MAX_DOCUMENT_PAGES",
        max_document_pages=2,
    )


def _content() -> Iterator[Case]:
    yield refuses(
        "scan",
        "a.pdf",
        _page(
            b"q 612 0 0 792 0 0 cm /I Do Q",
            resources="/XObject << /I 6 0 R >>",
            more=(
                _stream(
                    bytes(10_000),
                    "/Type /XObject /Subtype /Image /Width 100 /Height 100 /BitsPerComponent 8 "
                    "/ColorSpace /DeviceGray",
                ),
            ),
        ),
        _SCANNED,
    )
    yield refuses("empty pages", "a.pdf", pdf([[], [], []]), _SCANNED)
    giant = "/Type /XObject /Subtype /Image /Width 1000000000 /Height 1000000000 /BitsPerComponent 8"
    picture = _page(b"/I Do", resources="/XObject << /I 6 0 R >>", more=(_stream(b"x", giant),))
    yield refuses("picture of a giant size", "a.pdf", picture, f"{_SCANNED}|{_TOO_MUCH}|{_DAMAGED}")
    unclosed = f"BI /W 10 /H 10 ID {'x' * 10_000}".encode()
    yield refuses("picture that never ends", "a.pdf", _page(unclosed), f"{_SCANNED}|{_DAMAGED}|{_TOO_MUCH}")
    yield reads(
        "brackets that are not closed",
        "a.pdf",
        _page(f"BT /F 11 Tf 1 0 0 1 72 700 Tm ({SAID}) Tj ET (((( << [".encode()),
        TEXT,
    )
    yield reads(
        "operators that are none",
        "a.pdf",
        _page(f"keeper lamp 1 2 3 oil BT /F 11 Tf 1 0 0 1 72 700 Tm ({SAID}) Tj ET".encode()),
        TEXT,
    )
    yield reads(
        "operators without operands",
        "a.pdf",
        _page(f"Tf Tm Td cm re l Do BT /F 11 Tf 1 0 0 1 72 700 Tm ({SAID}) Tj ET".encode()),
        TEXT,
    )
    unnamed = _ABOVE.format("Identity-H")
    below = _BELOW.format("(A)", "(I)")
    data = _page(
        f"BT /G 11 Tf 1 0 0 1 72 700 Tm <{'00410042' * 40}> Tj ET".encode(),
        resources="/Font << /G 6 0 R >>",
        more=(unnamed, below),
    )
    yield refuses("font that does not name its letters", "a.pdf", data, "fonts that do not name.*print it")
    mapped = b"1 beginbfrange <0000> <FFFF> <0000> endbfrange " * 50
    table = _page(
        f"BT /G 11 Tf 1 0 0 1 72 700 Tm ({SAID}) Tj ET".encode(),
        resources="/Font << /G 6 0 R >>",
        more=(_FONT.replace(" >>", " /ToUnicode 7 0 R >>"), _stream(mapped)),
    )
    yield either(
        "table of letters that swells",
        "a.pdf",
        table,
        "keeper|The|\\w",
        f"{_TOO_MUCH}|{_DAMAGED}|{_SCANNED}|few|little",
    )
    titled = pdf([[(11, 72, 700, SAID)]], title="keeper " * 100_000)
    yield reads("title of 700 kB", "a.pdf", titled, TEXT)


def _what_runs() -> Iterator[Case]:
    actions = {
        "JavaScript": "<< /S /JavaScript /JS (app.alert\\(1\\)) >>",
        "program": "<< /S /Launch /F (/bin/sh) >>",
        "address": "<< /S /URI /URI (http://127.0.0.1:9/) >>",
        "form sent away": "<< /S /SubmitForm /F (http://127.0.0.1:9/) >>",
        "other file": "<< /S /GoToR /F (/etc/passwd) /D [0 /Fit] >>",
    }
    for name, action in actions.items():
        data = _page(catalog=f"<< /Type /Catalog /Pages 2 0 R /OpenAction {action} /AA << /WC {action} >> >>")
        yield reads(name, "a.pdf", data, f"^The {TEXT} in his book\\.\n$")
    file = "<< /Type /Filespec /F (x.exe) /EF << /F 6 0 R >> >>"
    files = f"/Names << /EmbeddedFiles << /Names [(x.exe) {file}] >> >>"
    embedded = _page(
        catalog=f"<< /Type /Catalog /Pages 2 0 R {files} >>", more=(_stream(b"MZ" + bytes(1000)),)
    )
    yield reads("embedded file", "a.pdf", embedded, f"^The {TEXT} in his book\\.\n$")
    outside = _page(page="/MediaBox [0 0 612 792] /X << /F (/etc/passwd) >>", filters="/F (/etc/passwd)")
    yield either("content in another file", "a.pdf", outside, TEXT, f"{_SCANNED}|{_DAMAGED}")
    font = _FONT.replace(" >>", " /Encoding /../../../../etc/passwd /FontDescriptor << /FontFile 9 0 R >> >>")
    path = _page(
        f"BT /G 11 Tf 1 0 0 1 72 700 Tm ({SAID}) Tj ET".encode(),
        resources="/Font << /G 6 0 R >>",
        more=(font,),
    )
    yield either("encoding named as a path", "a.pdf", path, "\\w", f"{_DAMAGED}|{_SCANNED}")
    cmap = _ABOVE.format("..#2F..#2F..#2Fetc#2Fpasswd")
    below = _BELOW.format("(../..)", "(/etc)")
    map_path = _page(
        f"BT /G 11 Tf 1 0 0 1 72 700 Tm ({SAID}) Tj ET".encode(),
        resources="/Font << /G 6 0 R >>",
        more=(cmap, below),
    )
    yield either(
        "table of letters named as a path",
        "a.pdf",
        map_path,
        "\\w",
        f"{_DAMAGED}|{_SCANNED}|fonts that do not",
    )
    declared = '<!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]>'
    xfa = f"<< /Type /Catalog /Pages 2 0 R /AcroForm << /XFA ({declared}) >> >>"
    yield reads("form of XML", "a.pdf", _page(catalog=xfa), TEXT)
