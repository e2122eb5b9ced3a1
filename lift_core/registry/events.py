"""The append-only record of what happened."""

from __future__ import annotations

from typing import Any

from lift_core.records import Event
from lift_core.registry.database import Database, event, rows


class Events(Database):
    """Events can be added and read; the database refuses to change one."""

    def record_event(self, kind: str, subject: str, **detail: Any) -> None:
        """Append an event that stands for itself; those of a move are written with the move."""
        with self.transaction() as connection:
            event(connection, kind, subject, **detail)

    def events(self, subject: str, limit: int = 100) -> list[Event]:
        """What happened to a document, run, adapter or alias, newest first."""
        with self.transaction() as connection:
            found = rows(
                connection,
                "SELECT id, at, kind, subject, detail FROM events WHERE subject = :s "
                "ORDER BY id DESC LIMIT :n",
                {"s": subject, "n": limit},
            )
        return [Event.model_validate(dict(row._mapping)) for row in found]
