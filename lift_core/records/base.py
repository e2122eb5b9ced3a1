"""What all records have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Immutable, and strict about unknown fields: a misspelt one is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
