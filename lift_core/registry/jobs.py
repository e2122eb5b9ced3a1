"""Jobs: claims, the stream's manifest, the end."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, text

from lift_core.errors import AlreadyDoneError, FencedError, NotFoundError
from lift_core.records import Claim, Lease, Recipe, Shard, Stage, StreamEnd
from lift_core.registry.database import Database, event, one, rows
from lift_core.registry.leases import check_fence, check_not_replaced

_STARTABLE = ("admitted", "failed", "running")
_CLAIM = """
    SELECT j.id, j.run_id, j.state, j.reason, r.body, d.slug, d.title, d.bucket, d.key,
           v.number, v.etag, v.size, v.state AS version_state
    FROM jobs j JOIN recipes r ON r.digest = j.recipe_digest
    JOIN versions v ON v.id = j.version_id JOIN documents d ON d.id = v.document_id
"""


class Jobs(Database):
    """The work's state. Every write of an attempt is made under its token."""

    def job_of_run(self, run_id: str) -> int:
        """The job that a run is for."""
        with self.transaction() as connection:
            found = one(connection, "SELECT id FROM jobs WHERE run_id = :run", run=run_id)
        if found is None:
            raise NotFoundError(f"there is no run '{run_id}' in the registry")
        return int(found.id)

    def claim(self, run_id: str) -> Claim:
        """Start the run's job, or go on with it; a failed one is taken up again.

        Raises:
            NotFoundError: no job has this run id.
            AlreadyDoneError: the job is done or cancelled.
        """
        with self.transaction() as connection:
            found = one(
                connection,
                f"{_CLAIM} WHERE j.run_id = :run FOR UPDATE OF j",
                run=run_id,
            )
            if found is None:
                raise NotFoundError(f"there is no job for run '{run_id}'")
            if found.state not in _STARTABLE:
                raise AlreadyDoneError(f"run {run_id}: the job is {found.state}" + _because(found.reason))
            if found.version_state != "current":
                why = (
                    "a newer version arrived" if found.version_state == "superseded" else "the object is gone"
                )
                _finish(connection, found.id, "cancelled", why)
                event(connection, "job.cancelled", run_id, reason=why)
            elif found.state != "running":
                connection.execute(
                    text(
                        "UPDATE jobs SET state = 'running', reason = NULL, permanent = false, "
                        "finished_at = NULL WHERE id = :job"
                    ),
                    {"job": found.id},
                )
                # A stream that ended as failed is written anew: its shards stay, its end goes.
                connection.execute(
                    text("DELETE FROM stream_ends WHERE job_id = :job AND state = 'failed'"),
                    {"job": found.id},
                )
                event(connection, "job.running", run_id)
        if found.version_state != "current":
            raise AlreadyDoneError(f"run {run_id}: {why}")
        return _claim_of(found)

    def waiting_for_training(self, bucket: str, pairs: int) -> list[Claim]:
        """Jobs of a bucket whose pairs are all there, at most so many of them, and whose training nobody
        has begun; oldest first."""
        with self.transaction() as connection:
            found = rows(
                connection,
                f"""
                {_CLAIM} JOIN stream_ends e ON e.job_id = j.id
                WHERE j.state = 'running' AND v.state = 'current' AND d.bucket = :bucket
                  AND e.state = 'complete' AND e.pair_count <= :pairs
                  AND NOT EXISTS (SELECT 1 FROM adapters a WHERE a.job_id = j.id)
                  AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.job_id = j.id AND l.role = 'train')
                ORDER BY j.id
                """,  # noqa: S608 - a constant of this module
                {"bucket": bucket, "pairs": pairs},
            )
        return [_claim_of(row) for row in found]

    def fail_job(
        self, job_id: int, reason: str, permanent: bool, by: tuple[Stage, str] | None = None
    ) -> None:
        """End a job with a reason; one that has ended already stays as it is.

        ``by`` names the attempt that gave up: its role and its holder.

        Raises:
            FencedError: a later attempt has that role's work; the job goes on.
        """
        with self.transaction() as connection:
            if by is not None:
                check_not_replaced(connection, job_id, *by)
            ended = one(
                connection,
                """
                UPDATE jobs SET state = 'failed', reason = :why, permanent = :permanent,
                                finished_at = clock_timestamp()
                WHERE id = :job AND state IN ('queued', 'admitted', 'running') RETURNING run_id
                """,
                job=job_id,
                why=reason,
                permanent=permanent,
            )
            if ended is not None:
                event(connection, "job.failed", ended.run_id, reason=reason, permanent=permanent)

    # --- the stream's manifest ----------------------------------------------------------

    def streams_begun(self, job_ids: Collection[int]) -> dict[int, bool]:
        """Those of these jobs that a trainer need not wait for any more, in one query for all.

        True: the job's manifest has its first row, a shard or the stream's end. False: it has none, and none
        will come, because the job has ended or is gone. Jobs that are still to be waited for are left out.
        """
        with self.transaction() as connection:
            found = rows(
                connection,
                """
                SELECT * FROM (
                    SELECT w.id, j.state, EXISTS (SELECT 1 FROM shards s WHERE s.job_id = w.id)
                        OR EXISTS (SELECT 1 FROM stream_ends e WHERE e.job_id = w.id) AS begun
                    FROM unnest(cast(:ids AS bigint[])) AS w (id) LEFT JOIN jobs j ON j.id = w.id
                ) AS waiting WHERE begun OR state IS DISTINCT FROM 'running'
                """,
                {"ids": [*job_ids]},
            )
        return {row.id: row.begun for row in found}

    def append_shard(self, lease: Lease, shard: Shard) -> None:
        """Add the next shard of a job's stream.

        Raises:
            FencedError: the lease is no longer the newest, the stream has ended, or the shard is
                not the next one; nothing was written.
        """
        with self.transaction() as connection:
            check_fence(connection, lease)
            last = one(
                connection,
                "SELECT number, last_segment FROM shards WHERE job_id = :job ORDER BY number DESC LIMIT 1",
                job=lease.job_id,
            )
            number, segment = (last.number + 1, last.last_segment + 1) if last else (0, 0)
            if (shard.number, shard.first_segment) != (number, segment):
                raise FencedError(
                    f"job {lease.job_id}: shard {shard.number} from segment {shard.first_segment} is not "
                    f"the next one (shard {number} from segment {segment})"
                )
            if one(connection, "SELECT 1 FROM stream_ends WHERE job_id = :job", job=lease.job_id):
                raise FencedError(f"job {lease.job_id}: its stream has ended")
            connection.execute(
                text(
                    "INSERT INTO shards (job_id, number, key, sha256, first_segment, last_segment, "
                    "pair_count, token) VALUES (:job_id, :number, :key, :sha256, :first_segment, "
                    ":last_segment, :pair_count, :token)"
                ),
                {**shard.model_dump(), "job_id": lease.job_id, "token": lease.token},
            )

    def shards(self, job_id: int, after: int = -1) -> list[Shard]:
        """Committed shards with a number above ``after``, in order."""
        with self.transaction() as connection:
            found = rows(
                connection,
                "SELECT number, key, sha256, first_segment, last_segment, pair_count FROM shards "
                "WHERE job_id = :job AND number > :after ORDER BY number",
                {"job": job_id, "after": after},
            )
        return [Shard.model_validate(dict(row._mapping)) for row in found]

    def end_stream(self, lease: Lease, end: StreamEnd) -> None:
        """Say that no shard will follow; FencedError under an old token."""
        with self.transaction() as connection:
            check_fence(connection, lease)
            connection.execute(
                text(
                    "INSERT INTO stream_ends "
                    "(job_id, state, shard_count, pair_count, checksum, reason, report) "
                    "VALUES (:job_id, :state, :shard_count, :pair_count, :checksum, :reason, :report) "
                    "ON CONFLICT (job_id) DO NOTHING"
                ),
                {**end.model_dump(), "job_id": lease.job_id},
            )

    def stream_end(self, job_id: int) -> StreamEnd | None:
        """How a job's stream ended, or None while it has not."""
        with self.transaction() as connection:
            found = one(
                connection,
                "SELECT state, shard_count, pair_count, checksum, reason, report FROM stream_ends "
                "WHERE job_id = :job",
                job=job_id,
            )
        return StreamEnd.model_validate(dict(found._mapping)) if found else None


def _claim_of(row: Any) -> Claim:
    return Claim(
        job_id=row.id,
        run_id=row.run_id,
        slug=row.slug,
        title=row.title or row.slug,
        bucket=row.bucket,
        key=row.key,
        etag=row.etag,
        size=row.size,
        version=row.number,
        recipe=Recipe.model_validate(row.body),
    )


def _finish(connection: Connection, job_id: int, state: str, reason: str | None) -> None:
    connection.execute(
        text(
            "UPDATE jobs SET state = :state, reason = :why, finished_at = clock_timestamp() WHERE id = :job"
        ),
        {"state": state, "why": reason, "job": job_id},
    )


def _because(reason: str | None) -> str:
    return f" ({reason})" if reason else ""
