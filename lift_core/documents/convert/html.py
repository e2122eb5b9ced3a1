"""HTML to Markdown: headings, lists, tables, code stay; scripts, menus, addresses of links, pictures go."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bs4 import BeautifulSoup
from bs4.dammit import EncodingDetector
from markdownify import MarkdownConverter

from lift_core.documents.converting import Converted
from lift_core.errors import DocumentError

if TYPE_CHECKING:
    from lift_core.documents.converting import ConversionJob

_NO_TEXT = (
    *("script", "style", "noscript", "template", "svg", "math", "canvas", "iframe", "object", "embed"),
    *("img", "picture", "video", "audio", "nav", "form", "button", "select", "dialog", "head"),
)
_ONLY_LOOKS = ("a", "b", "strong", "i", "em", "u", "s", "del", "sub", "sup", "small", "mark", "span")
"""Their words stay, their marks go: "**1712**" is no answer that anyone gives."""


def convert(data: bytes, job: ConversionJob) -> Converted:
    """Markdown of a page.

    Raises:
        DocumentError: its bytes are not in the encoding that it declares.
    """
    soup = BeautifulSoup(_decoded(data, job.key), "html.parser")
    root = soup.find("html")
    language = root.get("lang") if root else None
    title = soup.title.get_text() if soup.title else None
    return Converted(
        text=markdown_of(soup), title=title, language=language if isinstance(language, str) else None
    )


def markdown_of(soup: BeautifulSoup) -> str:
    """Markdown of what a page says."""
    for element in soup(_NO_TEXT):
        element.decompose()
    # A line break in the source is no more than a space, except in what is set letter by letter.
    for string in soup.find_all(string=re.compile(r"\s\s|[\n\t]")):
        if not string.find_parent("pre"):
            string.replace_with(re.sub(r"\s+", " ", string))
    main = soup.find("main") or soup.find("body") or soup
    text: str = MarkdownConverter(
        heading_style="atx",
        bullets="-",
        strip=list(_ONLY_LOOKS),
        escape_asterisks=False,
        escape_underscores=False,
        escape_misc=False,
        table_infer_header=True,
    ).convert_soup(main)
    # Looked for only where white space begins: otherwise a long gap takes time in proportion to its square.
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"(?<![ \t])[ \t]+\n", "\n", text))


def _decoded(data: bytes, key: str) -> str:
    # A byte order mark outranks what is declared; without either it is UTF-8.
    stripped, marked = EncodingDetector.strip_byte_order_mark(data)
    declared = EncodingDetector.find_declared_encoding(stripped, is_html=True)
    # A page begins with "<"; with a null byte beside it, it is UTF-16 whatever it says.
    unmarked = {b"<\x00": "utf-16-le", b"\x00<": "utf-16-be"}.get(stripped[:2])
    encoding = marked or unmarked or declared or "utf-8"
    try:
        return stripped.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise DocumentError(
            f"'{key}' is HTML whose bytes are not {encoding}"
            f"{', as it declares' if encoding == declared else ''}: save it as UTF-8"
        ) from error
