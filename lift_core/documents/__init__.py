"""Bytes to text to segments."""

from lift_core.documents.reading import read_text
from lift_core.documents.segments import split

__all__ = ["read_text", "split"]
