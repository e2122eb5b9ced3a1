"""Word documents, and other ZIP files, that are broken or made to do harm."""

import io
import warnings
import zipfile
from collections.abc import Iterator

from .hostile import Case, either, reads, refuses
from .made import docx, paragraph, zipped

SAID = paragraph("The keeper wrote it down.")
TEXT = "^The keeper wrote it down"
_DAMAGED = "cannot be read as DOCX .*damaged or cut short; open it and save it anew"
_BOMB = "unpacks to more than 200 times its size"
_TOO_MUCH = "nests deeper|not converted within .*LIFT_CONVERT_SECONDS|LIFT_CONVERT_MEMORY_BYTES"
_DOCUMENT = "word/document.xml"
_RELS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def cases() -> Iterator[Case]:
    """Every case."""
    yield from _bombs()
    yield from _packages()
    yield from _xml()
    yield from _outside()
    yield from _content()
    yield from _other_packages()


def _changed(data: bytes, parts: dict[str, bytes | None]) -> bytes:
    """A package with parts replaced; None takes one out."""
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        kept = {name: package.read(name) for name in package.namelist()}
    return zipped({name: part for name, part in {**kept, **parts}.items() if part is not None})


def _appended(data: bytes, name: str, part: bytes, flags: int = 0) -> bytes:
    """A package with one more part, whatever its name."""
    out = io.BytesIO(data)
    with warnings.catch_warnings(), zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as package:
        warnings.simplefilter("ignore")
        package.writestr(name, part)
        package.infolist()[-1].flag_bits |= flags
    return out.getvalue()


def _bombs() -> Iterator[Case]:
    yield refuses("text that swells", "a.docx", lambda: docx(paragraph("x " * 4_000_000)), _BOMB)
    beside = {"word/media/image.bmp": bytes(3_000_000)}
    yield refuses(
        "picture that swells",
        "a.docx",
        docx(SAID, parts=beside),
        "LIFT_MAX_EXPANDED_BYTES",
        max_expanded_bytes=2_000_000,
    )
    yield refuses(
        "part beside that swells", "a.docx", docx(SAID, parts={"word/x.xml": b" " * 4_000_000}), _BOMB
    )
    many = {f"word/media/{n}.png": b"" for n in range(11_000)}
    yield refuses(
        "eleven thousand parts", "a.docx", lambda: docx(SAID, parts=many), "package of 11,0.. parts"
    )
    inner = zipped({"0": bytes(50_000_000)})
    for level in range(1, 5):
        inner = zipped({f"{level}{n}": inner for n in range(10)})
    yield reads("bomb within a bomb", "a.docx", docx(SAID, parts={"word/embeddings/a.zip": inner}), TEXT)
    yield refuses("bomb alone", "a.docx", inner, "is a ZIP archive")
    # The size that the directory declares is a lie.
    lying = bytearray(docx(paragraph("x " * 4_000_000)))
    at = lying.rindex(_DOCUMENT.encode()) - 46
    lying[at + 24 : at + 28] = (100).to_bytes(4, "little")
    yield refuses("declared size that is a lie", "a.docx", bytes(lying), f"{_BOMB}|{_DAMAGED}")


def _packages() -> Iterator[Case]:
    whole = docx(SAID)
    for share in (10, 50, 90, 99):
        yield refuses(f"cut at {share} %", "a.docx", whole[: len(whole) * share // 100], _DAMAGED)
    yield refuses("header alone", "a.docx", b"PK\x03\x04", _DAMAGED)
    yield refuses("empty package", "a.docx", zipped({}), "is a ZIP archive")
    yield refuses("without its text", "a.docx", _changed(whole, {_DOCUMENT: None}), "is a ZIP archive")
    for part in ("[Content_Types].xml", "_rels/.rels", "word/_rels/document.xml.rels", "word/styles.xml"):
        data = _changed(whole, {part: None})
        yield either(f"without {part}", "a.docx", data, TEXT, _DAMAGED)
    corrupt = bytearray(whole)
    corrupt[whole.index(b"word/numbering.xml") + 40] ^= 255
    yield refuses("corrupt part", "a.docx", bytes(corrupt), _DAMAGED)
    for name in ("../../../tmp/lift-was-here", "/etc/passwd", "C:\\x.txt", "word/../../x", "a\x00b"):
        yield reads(f"part named {name!r}", "a.docx", _appended(whole, name, b"x"), TEXT)
    yield either("same part twice", "a.docx", _appended(whole, _DOCUMENT, b"<x/>"), TEXT, _DAMAGED)
    locked = bytearray(_appended(whole, "word/x.xml", b"x"))
    locked[locked.rindex(b"word/x.xml") - 38] |= 1
    yield refuses(
        "locked part", "a.docx", bytes(locked), f"protected by a password: save it without|{_DAMAGED}"
    )
    strange = bytearray(whole)
    strange[strange.rindex(_DOCUMENT.encode()) - 36] = 99
    yield refuses("unknown compression", "a.docx", bytes(strange), _DAMAGED)
    yield either("bytes before", "a.docx", b"PK\x03\x04junk" + whole, TEXT, _DAMAGED)
    yield reads("bytes after", "a.docx", whole + b"junk" * 1000, TEXT)
    yield reads("stored and named PDF", "a.pdf", whole, TEXT)
    yield reads("named text", "a.txt", whole, TEXT)
    macros = docx(SAID, parts={"word/vbaProject.bin": b"\xd0\xcf\x11\xe0" + bytes(5000)})
    yield reads("macros", "a.docm", macros, TEXT)


def _xml() -> Iterator[Case]:
    refused = "declares XML entities.*open it and save it anew"
    laughs = '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 20))
    for name, declared in {
        "billion laughs": laughs + '<!ENTITY x "&a19;">',
        "quadratic entity": f'<!ENTITY x "{"ha" * 100_000}">',
        "entity of itself": '<!ENTITY x "ha &x; ha">',
        "file as entity": '<!ENTITY x SYSTEM "file:///etc/hostname">',
        "address as entity": '<!ENTITY x SYSTEM "http://127.0.0.1:9/">',
        "parameter entity": '<!ENTITY % p SYSTEM "file:///etc/hostname"> %p; <!ENTITY x "y">',
    }.items():
        body = "<w:p><w:r><w:t>The keeper &x; wrote it.</w:t></w:r></w:p>"
        yield refuses(name, "a.docx", docx(body, before=f"<!DOCTYPE r [{declared}]>"), refused)
    evil = b'<!DOCTYPE r [<!ENTITY x "y">]><r>&x;</r>'
    yield refuses(
        "entity in the properties",
        "a.docx",
        _changed(docx(SAID), {"docProps/core.xml": evil}),
        f"XML entities|{_DAMAGED}",
    )
    yield refuses("entity in the styles", "a.docx", _changed(docx(SAID), {"word/styles.xml": evil}), refused)
    whole = docx(SAID)
    for name, part in {
        "no XML": b"keeper",
        "empty XML": b"",
        "XML cut short": b"<w:document><w:body>",
        "prefix without a name": b"<x:document><x:body/></x:document>",
        "binary XML": bytes(range(256)) * 10,
        "unknown encoding": b"<?xml version='1.0' encoding='klingon'?><a/>",
        "null bytes": b"<w:document>\x00</w:document>",
        "another root": b"<html><body>The keeper wrote it down.</body></html>",
    }.items():
        came = f"{_DAMAGED}|too little to learn from; "
        yield refuses(name, "a.docx", _changed(whole, {_DOCUMENT: part}), came)
    deep = "<w:tbl><w:tr><w:tc>" * 100_000
    yield refuses(
        "a hundred thousand nested tables", "a.docx", lambda: docx(deep), f"{_DAMAGED}|{_TOO_MUCH}|{_BOMB}"
    )
    nested = "<w:tbl><w:tr><w:tc>" * 5000 + SAID + "</w:tc></w:tr></w:tbl>" * 5000
    yield either("nested tables", "a.docx", lambda: docx(nested), "keeper", _TOO_MUCH)


def _outside() -> Iterator[Case]:
    rels = "word/_rels/document.xml.rels"
    picture = (
        '<w:p><w:r><w:drawing><a:blip xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
        f'xmlns:r="{_OFFICE}" r:link="o"/></w:drawing></w:r></w:p>'
    )
    for target in ("file:///etc/passwd", "http://127.0.0.1:9/x.png", "../../../../etc/passwd", "\\\\host\\x"):
        part = (
            f'<Relationships xmlns="{_RELS}"><Relationship Id="o" Type="{_OFFICE}/image" '
            f'Target="{target}" TargetMode="External"/></Relationships>'
        )
        data = _changed(docx(SAID + picture), {rels: part.encode()})
        yield either(f"picture at {target}", "a.docx", data, TEXT, _DAMAGED)
        within = _changed(docx(SAID), {"_rels/.rels": part.replace("/image", "/officeDocument").encode()})
        yield either(f"text at {target}", "a.docx", within, TEXT, _DAMAGED)
    field = '<w:p><w:fldSimple w:instr="INCLUDETEXT /etc/passwd"><w:r><w:t>x</w:t></w:r></w:fldSimple></w:p>'
    yield reads("field that includes a file", "a.docx", docx(SAID + field), TEXT)
    chunk = '<w:altChunk xmlns:r="' + _OFFICE + '" r:id="o"/>'
    yield reads("piece of another document", "a.docx", docx(SAID + chunk), TEXT)


def _content() -> Iterator[Case]:
    yield refuses("no text", "a.docx", docx(""), "too little to learn from; ")
    yield reads(
        "ten thousand paragraphs",
        "a.docx",
        lambda: docx("".join(paragraph(f"The keeper wrote {n * 7919} lines.") for n in range(10_000))),
        "wrote 7919 lines",
    )
    based = b'<w:styles xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">' + b"".join(
        b'<w:style w:type="paragraph" w:styleId="H%d"><w:name w:val="h"/><w:basedOn w:val="H%d"/></w:style>'
        % (n, 1 - n)
        for n in (0, 1)
    )
    data = _changed(
        docx(paragraph("The keeper wrote it down.", "H1")), {"word/styles.xml": based + b"</w:styles>"}
    )
    yield reads("styles in a circle", "a.docx", data, TEXT)
    yield reads(
        "characters of every kind", "a.docx", docx(paragraph("The keeper wrote it down. 🗼 مرحبا")), "🗼"
    )
    yield either(
        "marks that no XML may hold",
        "a.docx",
        docx(paragraph("The keeper wrote it down.&#x1;")),
        TEXT,
        _DAMAGED,
    )
    scripts = docx(paragraph("The keeper wrote it down. &lt;script&gt;alert(1)&lt;/script&gt;"))
    yield reads("script as words", "a.docx", scripts, "alert")
    yield reads("title of 1 MB", "a.docx", docx(SAID, title="keeper " * 100_000 + "x"), TEXT)
    yield reads(
        "embedded program", "a.docx", docx(SAID, parts={"word/embeddings/o.bin": b"MZ" + bytes(9000)}), TEXT
    )


def _other_packages() -> Iterator[Case]:
    for part, name in {
        "xl/workbook.xml": "a spreadsheet",
        "ppt/presentation.xml": "a presentation",
        "META-INF/container.xml": "an EPUB book",
        "content.xml": "an OpenDocument file",
        "holiday.txt": "a ZIP archive",
    }.items():
        refusal = f"is {name}.*save what it says as one of these"
        yield refuses(name, "a.docx", zipped({part: b"words"}), refusal)
