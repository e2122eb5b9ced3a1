"""Admission: which queued jobs may start now. By priority, then by arrival; no tenant starves another."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, text

from lift_core.records import AdmittedJob, Tenant
from lift_core.registry.database import Database, event, one, rows

_REOFFER_SECONDS = 60
"""An admitted job whose run has not claimed it by then is offered again, under the same run id."""

_OF_BUCKET = """
    FROM jobs j JOIN versions v ON v.id = j.version_id
    JOIN documents d ON d.id = v.document_id AND d.bucket = :bucket
"""
# A job's place is how many of its tenant would be under way with it. Free slots go to the lowest places,
# so a tenant with one document waits for none of those of a tenant with ten thousand.
_CHOOSE = f"""
    WITH tenants AS MATERIALIZED (
        SELECT * FROM unnest(cast(:prefixes AS text[]), cast(:quotas AS integer[])) AS t (prefix, quota)
    ), open AS MATERIALIZED (
        SELECT j.id, j.state = 'queued' AS waits, j.priority, j.created_at, t.prefix, t.quota
        {_OF_BUCKET} LEFT JOIN LATERAL (
            SELECT prefix, quota FROM tenants WHERE starts_with(d.key, prefix)
            ORDER BY length(prefix) DESC LIMIT 1) t ON true
        WHERE j.state IN ('queued', 'admitted', 'running')
    ), busy AS (
        SELECT prefix, count(*) AS jobs FROM open WHERE NOT waits GROUP BY prefix
    ), places AS (
        SELECT o.id, o.priority, o.created_at, o.quota, coalesce(b.jobs, 0) + row_number() OVER (
            PARTITION BY o.prefix ORDER BY o.priority DESC, o.created_at, o.id) AS place
        FROM open o LEFT JOIN busy b ON b.prefix IS NOT DISTINCT FROM o.prefix WHERE o.waits
    )
    SELECT j.id, j.run_id FROM jobs j JOIN places p ON p.id = j.id
    WHERE j.state = 'queued' AND p.place <= coalesce(p.quota, p.place)
    ORDER BY p.place, p.priority DESC, p.created_at, p.id LIMIT :free FOR UPDATE OF j SKIP LOCKED
"""  # noqa: S608 - constants of this module


class Admission(Database):
    """What may start. Documents in other buckets are not the dispatcher's: `lift run` admits its own."""

    def admit_jobs(self, bucket: str, limit: int, tenants: Collection[Tenant] = ()) -> list[AdmittedJob]:
        """Admit queued jobs of a bucket, so that at most ``limit`` of it are under way; in their order.

        A tenant's jobs are those under its prefix (the longest one that fits), and at most its quota of
        them are under way; what is under no prefix is one tenant more, without a quota. The tenant with the
        fewest under way comes first; within it the highest priority, then the first to arrive. Jobs that
        were admitted but never claimed are offered again: their run may have been lost.
        """
        with self.transaction() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('lift-admission'))"))
            offered = rows(
                connection,
                """
                UPDATE jobs j SET admitted_at = clock_timestamp()
                FROM versions v JOIN documents d ON d.id = v.document_id
                WHERE v.id = j.version_id AND d.bucket = :bucket AND j.state = 'admitted'
                  AND j.admitted_at < clock_timestamp() - make_interval(secs => :wait)
                RETURNING j.id, j.run_id
                """,
                {"bucket": bucket, "wait": _REOFFER_SECONDS},
            )
            busy = one(
                connection,
                f"SELECT count(*) AS n {_OF_BUCKET} WHERE j.state IN ('admitted', 'running')",
                bucket=bucket,
            )
            free = limit - (busy.n if busy else 0)
            admitted = []
            if free > 0:
                values = {
                    "bucket": bucket,
                    "free": free,
                    "prefixes": [tenant.prefix for tenant in tenants],
                    "quotas": [tenant.quota for tenant in tenants],
                }
                admitted = rows(connection, _CHOOSE, values)
            for row in admitted:
                _admit(connection, row.id)
                event(connection, "job.admitted", row.run_id)
        again = sorted(offered, key=lambda row: row.id)
        return [AdmittedJob(job_id=row.id, run_id=row.run_id) for row in [*again, *admitted]]

    def admit_job(self, job_id: int) -> None:
        """Admit one job, whatever else is under way; nothing happens where it is admitted already."""
        with self.transaction() as connection:
            _admit(connection, job_id)

    def waiting(self, bucket: str, limit: int) -> str | None:
        """A mark of the queue as it is now, if a job of the bucket waits and a slot is free; else None.

        It changes with whatever is queued, admitted or ended: who has acted on one mark need not act on it
        again. Quotas are not looked at.
        """
        with self.transaction() as connection:
            found = one(
                connection,
                f"""
                SELECT busy.n, busy.last, (SELECT j.id {_OF_BUCKET} WHERE j.state = 'queued'
                                           ORDER BY j.id DESC LIMIT 1) AS newest
                FROM (SELECT count(*) AS n, max(j.admitted_at) AS last {_OF_BUCKET}
                      WHERE j.state IN ('admitted', 'running')) busy
                """,  # noqa: S608 - constants of this module
                bucket=bucket,
            )
        if found is None or found.newest is None or found.n >= limit:
            return None
        return f"{found.n} {found.last} {found.newest}"


def _admit(connection: Connection, job_id: int) -> None:
    connection.execute(
        text(
            "UPDATE jobs SET state = 'admitted', admitted_at = clock_timestamp() "
            "WHERE id = :job AND state = 'queued'"
        ),
        {"job": job_id},
    )
