"""Removed objects: their documents are marked, and serve on or are archived, as the operator says."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, text

from lift_core.registry.aliases import drop, split_alias
from lift_core.registry.database import Database, event, one, rows
from lift_core.registry.queueing import cancel_queued

_REASON = "the object was removed from the bucket"


class Removals(Database):
    """What becomes of documents whose object is gone."""

    def current_count(self, bucket: str) -> int:
        """How many documents of a bucket have a current version."""
        with self.transaction() as connection:
            found = one(
                connection,
                "SELECT count(*) AS n FROM documents d JOIN versions v ON v.document_id = d.id "
                "WHERE d.bucket = :bucket AND v.state = 'current'",
                bucket=bucket,
            )
        return found.n if found else 0

    def mark_missing(self, bucket: str, present: Collection[str]) -> int:
        """Mark current versions as removed whose key is no longer there; returns how many."""
        with self.transaction() as connection:
            gone = rows(
                connection,
                """
                UPDATE versions v SET state = 'removed' FROM documents d
                WHERE d.id = v.document_id AND d.bucket = :bucket AND v.state = 'current'
                  AND NOT d.key = ANY(cast(:present AS text[]))
                RETURNING v.id, d.slug, v.number
                """,
                {"bucket": bucket, "present": list(present)},
            )
            for row in gone:
                event(connection, "version.removed", row.slug, version=row.number)
                cancel_queued(connection, row.id, _REASON)
            return len(gone)

    def archive_removed(self, bucket: str) -> list[str]:
        """Archive what still serves for documents whose object is gone; returns the adapters' names.

        Their aliases go. Should the object come back with the same bytes, they are released again.
        """
        with self.transaction() as connection:
            found = rows(
                connection,
                """
                SELECT a.id, a.name, d.slug FROM documents d JOIN adapters a ON a.document_id = d.id
                WHERE d.bucket = :bucket AND a.state IN ('active', 'superseded')
                  AND d.id IN (SELECT document_id FROM versions WHERE state = 'removed')
                  AND NOT EXISTS (SELECT 1 FROM versions v WHERE v.document_id = d.id AND v.state = 'current')
                ORDER BY d.id, a.id FOR UPDATE OF d, a
                """,
                {"bucket": bucket},
            )
            for adapter in found:
                _archive(connection, adapter.id, adapter.name, adapter.slug)
        return [adapter.name for adapter in found]


def release_archived(connection: Connection, document_id: int) -> None:
    """Take back what the removal of a document's object archived; what a person archived stays so."""
    released = rows(
        connection,
        """
        UPDATE adapters a SET state = 'superseded' WHERE document_id = :d AND state = 'archived' AND :why = (
            SELECT e.detail ->> 'reason' FROM events e
            WHERE e.subject = a.name AND e.kind = 'adapter.archived' ORDER BY e.id DESC LIMIT 1)
        RETURNING a.name
        """,
        {"d": document_id, "why": _REASON},
    )
    for row in released:
        event(connection, "adapter.released", row.name, reason="the object is back in the bucket")


def _archive(connection: Connection, adapter_id: int, name: str, slug: str) -> None:
    connection.execute(text("UPDATE adapters SET state = 'archived' WHERE id = :a"), {"a": adapter_id})
    held = rows(connection, "SELECT name FROM aliases WHERE adapter_id = :a ORDER BY name", {"a": adapter_id})
    for label in dict.fromkeys(found[1] for row in held if (found := split_alias(row.name)) is not None):
        drop(connection, slug, label)
    event(connection, "adapter.archived", name, reason=_REASON, instead=None)
