"""Documents as people see them: one state in words, of the newest version and its newest job."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from lift_core.errors import NotFoundError
from lift_core.records import DocumentRecord, DocumentState
from lift_core.registry.database import Database, rows

_SELECT = """
    SELECT DISTINCT ON (d.id) d.bucket, d.key, d.slug, coalesce(v.title, d.title, d.slug) AS title,
           v.number AS version, v.etag, v.state AS version_state, v.arrived_at,
           j.state AS job_state, j.reason, j.run_id,
           (SELECT a.name FROM adapters a WHERE a.job_id = j.id AND a.state IN ('active', 'superseded'))
               AS adapter,
           CASE WHEN j.state = 'done' THEN j.finished_at END AS ready_at,
           array(SELECT stage FROM stages s WHERE s.job_id = j.id ORDER BY started_at) AS started,
           array(SELECT stage FROM stages s WHERE s.job_id = j.id AND ended_at IS NOT NULL) AS ended
    FROM documents d JOIN versions v ON v.document_id = d.id LEFT JOIN jobs j ON j.version_id = v.id
    WHERE (:name = '' OR d.key = :name OR d.slug = :name) AND (:bucket = '' OR d.bucket = :bucket)
    ORDER BY d.id DESC, v.state = 'current' DESC, v.number DESC, j.id DESC
"""


class Documents(Database):
    """Questions about documents."""

    def documents(self) -> list[DocumentRecord]:
        """All documents, newest first."""
        with self.transaction() as connection:
            return [_record(row) for row in rows(connection, _SELECT, {"name": "", "bucket": ""})]

    def document(self, name: str, bucket: str | None = None) -> DocumentRecord:
        """One document by its key or slug.

        Raises:
            NotFoundError: there is none.
        """
        with self.transaction() as connection:
            found = rows(connection, _SELECT, {"name": name, "bucket": bucket or ""})
        if not found:
            raise NotFoundError(f"there is no document '{name}'; see `lift docs ls`")
        return _record(found[0])


def _record(row: Row[Any]) -> DocumentRecord:
    return DocumentRecord(
        bucket=row.bucket,
        key=row.key,
        slug=row.slug,
        title=row.title,
        version=row.version,
        etag=row.etag,
        state=_state(row),
        reason=row.reason,
        run_id=row.run_id,
        adapter=row.adapter,
        arrived_at=row.arrived_at,
        ready_at=row.ready_at,
    )


def _state(row: Row[Any]) -> DocumentState:
    if row.version_state == "removed":
        return "removed"
    if row.version_state == "superseded":
        return "superseded"
    if row.job_state == "done":
        return "ready"
    if row.job_state == "failed":
        return "failed"
    if row.job_state != "running":
        return "queued"
    if "prove" in row.started:
        return "proving"
    if "generate" in row.ended:
        return "training"
    if "generate" in row.started or "train" in row.started:
        return "generating"
    return "splitting"
