"""Bytes to text to segments."""

from lift_core.documents.reading import Document, read_document, read_text
from lift_core.documents.segments import split

__all__ = ["Document", "read_document", "read_text", "split"]
