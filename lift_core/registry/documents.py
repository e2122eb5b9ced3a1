"""Documents as people see them: one state in words, of the newest version and its newest job.

The view ``document_status`` says what the state is, so that SQL, Python and the CLI cannot disagree.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from lift_core.errors import LiftError, NotFoundError
from lift_core.records import DocumentPage, DocumentRecord
from lift_core.registry.browsing import MAX_PAGE, PAGE, cursor_of, read_cursor
from lift_core.registry.database import Database, rows

_SELECT = """
    SELECT bucket, key, slug, title, version, etag, state, reason, run_id, adapter, arrived_at, ready_at
    FROM document_status
"""


class Documents(Database):
    """Questions about documents."""

    def documents(self) -> list[DocumentRecord]:
        """All documents, newest first."""
        with self.transaction() as connection:
            found = rows(connection, f"{_SELECT} ORDER BY id DESC")
        return [DocumentRecord.model_validate(dict(row._mapping)) for row in found]

    def document_page(self, limit: int = PAGE, cursor: str | None = None) -> DocumentPage:
        """One page of the documents, newest first.

        Raises:
            LiftError: the cursor is not one that a page gave, or the limit is out of range.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise LiftError(f"a page has 1 to {MAX_PAGE} documents, not {limit}")
        values: dict[str, Any] = {"limit": limit + 1}
        if cursor is not None:
            values["after"] = read_cursor(cursor)
        with self.transaction() as connection:
            found = rows(
                connection,
                f"{_SELECT.replace('SELECT bucket', 'SELECT id, bucket', 1)} "
                f"{'WHERE id < :after' if cursor is not None else ''} ORDER BY id DESC LIMIT :limit",
                values,
            )
        bodies = [dict(row._mapping) for row in found[:limit]]
        ids = [body.pop("id") for body in bodies]
        return DocumentPage(
            documents=tuple(DocumentRecord.model_validate(body) for body in bodies),
            next_cursor=cursor_of(ids[-1]) if len(found) > limit else None,
        )

    def document(self, name: str, bucket: str | None = None) -> DocumentRecord:
        """One document by its key or slug.

        Raises:
            NotFoundError: there is none.
        """
        with self.transaction() as connection:
            found = document_where(connection, name, bucket)
        if found is None:
            raise NotFoundError(f"there is no document '{name}'; see `lift docs ls`")
        return found


def document_where(connection: Connection, name: str, bucket: str | None) -> DocumentRecord | None:
    """A document by its key or slug, within a transaction; None where there is none."""
    found = rows(
        connection,
        f"{_SELECT} WHERE (key = :name OR slug = :name) "
        "AND (cast(:bucket AS text) IS NULL OR bucket = :bucket) ORDER BY id DESC LIMIT 1",
        {"name": name, "bucket": bucket},
    )
    return DocumentRecord.model_validate(dict(found[0]._mapping)) if found else None
