"""Bytes to text: plain text and Markdown for now. What cannot be read is refused in words."""

from __future__ import annotations

import codecs
import re
import unicodedata
from pathlib import PurePosixPath

from lift_core.errors import DocumentError

MIN_WORDS = 3
_MAX_TITLE = 120
_MAX_CONTROL_SHARE = 0.02
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$")


def read_text(data: bytes, key: str) -> tuple[str, str]:
    """Title and text of a document.

    The title is the first Markdown heading, else a short first line, else the file's name.

    Raises:
        DocumentError: it is empty, binary, in an unknown encoding, or has too little text.
    """
    if not data.strip():
        raise DocumentError(f"'{key}' is empty: there is nothing to learn from")
    text = unicodedata.normalize("NFC", _decode(data, key)).replace("\r\n", "\n").replace("\r", "\n")
    words = len(re.findall(r"\w+", text))
    if words < MIN_WORDS:
        raise DocumentError(f"'{key}' has {words} word{'s' * (words != 1)}: too little to learn from")
    return _title(text, key), text


def _decode(data: bytes, key: str) -> str:
    encoding = next((name for bom, name in _BOMS if data.startswith(bom)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if _looks_binary(data.decode("latin-1")):
            raise DocumentError(f"'{key}' is binary, not text") from error
        raise DocumentError(
            f"'{key}' is in an unknown encoding (byte {error.start} is not {encoding}): save it as UTF-8"
        ) from error
    if _looks_binary(text):
        raise DocumentError(f"'{key}' is binary, not text")
    return text


def _looks_binary(text: str) -> bool:
    control = sum(unicodedata.category(c) == "Cc" and c not in "\t\n\r\f" for c in text[:65_536])
    return control > _MAX_CONTROL_SHARE * min(len(text), 65_536)


def _title(text: str, key: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in lines:
        if found := _HEADING.match(line):
            return found.group(1)[:_MAX_TITLE]
    first = lines[0]
    # A title carries no full stop at its end; a first sentence does.
    if len(first) <= _MAX_TITLE and len(lines) > 1 and not first.endswith((".", "!", "?", ":", ";", ",")):
        return first
    return PurePosixPath(key).stem.replace("_", " ").replace("-", " ").strip() or key
