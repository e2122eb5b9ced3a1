"""DOCX to Markdown, by way of HTML."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import mammoth  # type: ignore[import-untyped]
from bs4 import BeautifulSoup
from defusedxml import ElementTree  # type: ignore[import-untyped]

from lift_core.documents.convert.html import markdown_of
from lift_core.documents.converting import Converted
from lift_core.documents.kinds import READABLE
from lift_core.errors import DocumentError

if TYPE_CHECKING:
    from lift_core.documents.converting import ConversionJob

_MAX_PARTS = 10_000
_MAX_RATIO = 200
"""A part that unpacks to more than so many times its size is made, not written; XML seldom passes 30."""
_RATIO_FROM = 2**20
"""Bytes below which a part's ratio says nothing."""
_CHUNK = 2**20
_STYLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => h2:fresh"
_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
_OTHERS = {
    "xl/workbook.xml": "a spreadsheet (XLSX)",
    "ppt/presentation.xml": "a presentation (PPTX)",
    "META-INF/container.xml": "an EPUB book",
    "content.xml": "an OpenDocument file",
}


def convert(data: bytes, job: ConversionJob) -> Converted:
    """Markdown of a Word document.

    Raises:
        DocumentError: it is another kind of ZIP file, locked, or unpacks to more than the limit.
        Exception: whatever the libraries raise about a damaged file.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        names = set(package.namelist())
        if "word/document.xml" not in names:
            what = next((kind for part, kind in _OTHERS.items() if part in names), "a ZIP archive")
            raise DocumentError(f"'{job.key}' is {what}; {READABLE}: save what it says as one of these")
        _check_size(package, job)
        title, language = _stated(package, names)
    html = mammoth.convert_to_html(
        io.BytesIO(data),
        style_map=_STYLES,
        include_embedded_style_map=False,
        convert_image=mammoth.images.img_element(lambda _: {}),
    ).value
    return Converted(text=markdown_of(BeautifulSoup(html, "html.parser")), title=title, language=language)


def _check_size(package: zipfile.ZipFile, job: ConversionJob) -> None:
    """Count what comes out before anything is kept: the sizes that a ZIP file declares may be lies."""
    parts = package.infolist()
    if len(parts) > _MAX_PARTS:
        raise DocumentError(
            f"'{job.key}' is a package of {len(parts):,} parts; the limit is {_MAX_PARTS:,}: "
            "save it without its pictures, or split it"
        )
    if any(part.flag_bits & 1 for part in parts):
        raise DocumentError(f"'{job.key}' is protected by a password: save it without one")
    expanded = 0
    for part in parts:
        size, is_xml = 0, part.filename.endswith((".xml", ".rels"))
        with package.open(part) as opened:
            while chunk := opened.read(_CHUNK):
                size += len(chunk)
                expanded += len(chunk)
                if expanded > job.max_bytes:
                    raise DocumentError(
                        f"'{job.key}' unpacks to more than {job.max_bytes:,} bytes: split it, "
                        "or allow more (LIFT_MAX_EXPANDED_BYTES)"
                    )
                # Pictures without much in them do shrink to almost nothing.
                if is_xml and size > max(_RATIO_FROM, _MAX_RATIO * part.compress_size):
                    raise DocumentError(
                        f"'{job.key}' unpacks to more than {_MAX_RATIO} times its size ({part.filename}), "
                        "as no document does; if it is one, open it and save it anew"
                    )


def _stated(package: zipfile.ZipFile, names: set[str]) -> tuple[str | None, str | None]:
    """Title and language, where the document's properties name them."""
    if "docProps/core.xml" not in names:
        return None, None
    root = ElementTree.fromstring(package.read("docProps/core.xml"), forbid_dtd=True)
    return root.findtext(f"{_DUBLIN_CORE}title"), root.findtext(f"{_DUBLIN_CORE}language") or None
