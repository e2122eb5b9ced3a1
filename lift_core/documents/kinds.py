"""What a document is, told by its bytes: a name may lie."""

from __future__ import annotations

import codecs
import re
from pathlib import PurePosixPath
from typing import Literal

from lift_core.errors import DocumentError

Kind = Literal["text", "html", "pdf", "docx"]
READABLE = "LIFT reads plain text, Markdown, HTML, PDF and DOCX"

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# Longer than need be where a text could begin so.
_PICTURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\x00", b"MM\x00*")
_ARCHIVES = (
    *(b"\x1f\x8b", b"\xfd7zXZ\x00", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x28\xb5\x2f\xfd"),
    *(b"BZh%d1AY&SY" % level for level in range(1, 10)),
)
_HTML_NAMES = {".html", ".htm", ".xhtml"}
_BINARY_NAMES = {
    *(".pdf", ".doc", ".docx", ".odt", ".rtf", ".epub"),
    *(".ppt", ".pptx", ".xls", ".xlsx", ".png", ".jpg", ".jpeg", ".zip"),
}
# What was matched is not tried another way ("*+"): comments can be parted in too many ways.
_HTML_START = re.compile(
    r"\s*+(<\?xml[^>]*+>\s*+)?+(<!--(?:[^-]|-(?!->))*+-->\s*+)*+<(!doctype\s++html|html)[\s>]", re.I
)
_TAG = re.compile(rb"<[a-zA-Z!/]|<\x00[a-zA-Z!/]\x00")
_PDF_HEADER_WITHIN = 1024
"""Readers accept a PDF whose header is preceded by so many bytes; a text may speak of the header."""


def kind_of(data: bytes, key: str) -> Kind:
    """What the bytes hold. A ZIP file counts as DOCX; whether it is one is seen when it is opened.

    Raises:
        DocumentError: it is of a kind that is not read, or its name promises one that the bytes are not.
    """
    suffix = PurePosixPath(key).suffix.lower()
    if data.lstrip().startswith(b"%PDF-") or (suffix == ".pdf" and b"%PDF-" in data[:_PDF_HEADER_WITHIN]):
        return "pdf"
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "docx"
    _refuse_what_is_not_read(data, key)
    if suffix in _BINARY_NAMES:
        raise DocumentError(
            f"'{key}' is named {suffix} and holds something else: it is damaged or has a wrong name; "
            "save it anew, or rename it if it is text"
        )
    if _HTML_START.match(_head(data)) or (suffix in _HTML_NAMES and _TAG.search(data)):
        return "html"
    return "text"


def _refuse_what_is_not_read(data: bytes, key: str) -> None:
    if data.startswith(_OLE):
        if "EncryptedPackage".encode("utf-16-le") in data:
            raise DocumentError(f"'{key}' is protected by a password: save it without one")
        raise DocumentError(f"'{key}' is in Microsoft Office's old format: save it as DOCX or PDF")
    if data.startswith(b"{\\rtf"):
        raise DocumentError(f"'{key}' is RTF; {READABLE}: save it as DOCX or PDF")
    if data.startswith(_PICTURES) or (data.startswith(b"RIFF") and data[8:12] == b"WEBP"):
        raise DocumentError(f"'{key}' is a picture; {READABLE}: run text recognition (OCR) over it first")
    if data.startswith(_ARCHIVES):
        raise DocumentError(f"'{key}' is an archive; {READABLE}: unpack it and put in what it holds")


def _head(data: bytes) -> str:
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data[:4096].decode("utf-16" if utf_16 else "utf-8", errors="replace").lstrip("\ufeff")
