"""Bytes to title and text. What cannot be read is refused in words."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import PurePosixPath

from lift_core.documents.converting import converted
from lift_core.documents.kinds import READABLE, Kind, kind_of
from lift_core.errors import DocumentError, RecipeError
from lift_core.records import Record
from lift_core.settings import Settings

CONVERTERS = ("text/1",)
"""The sets of converters that a recipe can name; what belongs to each is in docs/adr/0013."""
MIN_WORDS = 3
_MAX_TITLE = 120
_MAX_CONTROL_SHARE = 0.02
_LOOKED_AT = 65_536
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
"""What terminals take for colours and movements (ECMA-48, control sequences); some logs are full of it."""
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEADING = re.compile(r"#{1,6}\s+(?=\S)")
_LINE = re.compile(r"[^\n]+")
_MAX_MARKS = 30
"""Combining marks on one character; no language writes more (Unicode Standard Annex 15, Stream-Safe Text)."""
_NO_TITLE = re.compile(r"(untitled|unbenannt|document\s*\d*|.*\.(docx?|pdf|html?|tex|indd))$", re.I)
"""What programs write where the author gave no title."""


class Document(Record):
    """What was read. ``language`` is the tag that the file gives itself (``en-GB``); None without one."""

    title: str
    text: str
    kind: Kind
    language: str | None = None
    pages: int | None = None


def read_document(data: bytes, key: str, *, converter: str, settings: Settings) -> Document:
    """Title and text of a document of any kind; structure is kept as Markdown.

    HTML, PDF and DOCX are converted in a process of their own, under the limits of the settings.

    Raises:
        DocumentError: it is of a kind that is not read, damaged, locked, larger than a limit, or has too
            little text; the message names the remedy.
        RecipeError: the recipe names a converter that this version does not have.
    """
    if converter not in CONVERTERS:
        raise RecipeError(f"converter '{converter}' is unknown; this version has {', '.join(CONVERTERS)}")
    kind = kind_of(data, key) if data.strip() else "text"
    if kind == "text":
        title, text = read_text(data, key)
        return Document(title=title, text=text, kind="text")
    found = converted(data, key, kind, settings)
    text = _normalized(found.text).strip() + "\n"
    _enough(text, key)
    return Document(
        title=_title_of_converted(found.title, text, key),
        text=text,
        kind=kind,
        language=found.language,
        pages=found.pages,
    )


def read_text(data: bytes, key: str) -> tuple[str, str]:
    """Title and text of a document that is plain text or Markdown.

    The title is the first Markdown heading, else a short first line, else the file's name.

    Raises:
        DocumentError: it is empty, binary, in an unknown encoding, or has too little text.
    """
    if not data.strip():
        raise DocumentError(f"'{key}' is empty: there is nothing to learn from; put it in again")
    text = _normalized(_decode(data, key)).replace("\r\n", "\n").replace("\r", "\n")
    _enough(text, key)
    return _title(text, key), text


@cache
def _too_many_marks() -> re.Pattern[str]:
    marks = "".join(re.escape(chr(code)) for code in range(0x1F000) if unicodedata.combining(chr(code)))
    return re.compile(f"([{marks}]{{{_MAX_MARKS}}})[{marks}]+")


def _normalized(text: str) -> str:
    """Text in the composed form of Unicode.

    Marks beyond those that any language heaps on a character are left out: to order them takes time in
    proportion to their square.
    """
    return unicodedata.normalize("NFC", text if text.isascii() else _too_many_marks().sub(r"\1", text))


def _enough(text: str, key: str) -> None:
    words = sum(1 for _ in islice(re.finditer(r"\w+", text), MIN_WORDS))
    if words < MIN_WORDS:
        raise DocumentError(
            f"'{key}' has {words} word{'s' * (words != 1)}: too little to learn from; "
            "if it shows more when it is opened, save that as text"
        )


def _decode(data: bytes, key: str) -> str:
    marked = next((name for bom, name in _BOMS if data.startswith(bom)), None)
    encoding = marked or "utf-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        # Bytes that are control characters in Latin-1 are letters in other encodings.
        if not marked and _looks_binary(data[:_LOOKED_AT].decode("ascii", "ignore"), len(data)):
            raise _binary(key) from error
        raise DocumentError(
            f"'{key}' is in an unknown encoding (byte {error.start} is not {encoding}): save it as UTF-8"
        ) from error
    if _looks_binary(text[:_LOOKED_AT], len(text)):
        text = _ESCAPE.sub("", text)
        if _looks_binary(text[:_LOOKED_AT], len(text)):
            raise _binary(key)
    return text


def _binary(key: str) -> DocumentError:
    return DocumentError(f"'{key}' is binary, not text; {READABLE}: save what it says as one of these")


def _looks_binary(beginning: str, length: int) -> bool:
    control = sum(unicodedata.category(c) == "Cc" and c not in "\t\n\r\f" for c in beginning)
    return control > _MAX_CONTROL_SHARE * min(length, _LOOKED_AT)


def _title_of_converted(stated: str | None, text: str, key: str) -> str:
    """What the file states, unless a program wrote it; the first heading where that says it shorter."""
    title = " ".join((stated or "").split())
    title = re.sub(r"^Microsoft (Word|PowerPoint) - ", "", title)
    if not title or _NO_TITLE.fullmatch(title):
        return _title(text, key)
    heading = next(_headings(text), "")
    # A web page's title often is its heading and the name of the site.
    return (heading if heading and heading in title else title)[:_MAX_TITLE]


def _headings(text: str) -> Iterator[str]:
    """What Markdown's headings say, in order."""
    for line in _lines(text):
        if mark := _HEADING.match(line):
            yield line[mark.end() :].rstrip("#").rstrip() or line


def _lines(text: str) -> Iterator[str]:
    """Lines that are not blank, one at a time: all of them at once may take many times the text's memory."""
    return (line for found in _LINE.finditer(text) if (line := found.group().strip()))


def _title(text: str, key: str) -> str:
    if heading := next(_headings(text), ""):
        return heading[:_MAX_TITLE]
    first, *more = islice(_lines(text), 2)
    # A title carries no full stop at its end; a first sentence does.
    if len(first) <= _MAX_TITLE and more and not first.endswith((".", "!", "?", ":", ";", ",")):
        return first
    return PurePosixPath(key).stem.replace("_", " ").replace("-", " ").strip() or key.strip() or "untitled"
