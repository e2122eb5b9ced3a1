"""Checkpoints: where a training that was killed goes on. One row a job, for the newest one."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import text

from lift_core.errors import StateError
from lift_core.records import Checkpoint, Lease
from lift_core.registry.database import Database, one, rows
from lift_core.registry.leases import check_fence

# Jobs that may still train, and so need their checkpoint, and the newest attempt to do so (0: none yet).
_OPEN = """
    SELECT j.id, coalesce(l.token, 0) AS token
    FROM jobs j LEFT JOIN leases l ON l.job_id = j.id AND l.role = 'train'
    LEFT JOIN checkpoints c ON c.job_id = j.id
    WHERE (j.state IN ('queued', 'admitted', 'running') OR (j.state = 'failed' AND NOT j.permanent))
      AND NOT EXISTS (SELECT 1 FROM adapters a WHERE a.job_id = j.id)
"""


class Checkpoints(Database):
    """The rows that say which checkpoints exist. An object without a row is none."""

    def save_checkpoint(self, lease: Lease, checkpoint: Checkpoint) -> None:
        """Let this be the job's checkpoint, whose object is in the store; the one before is none any more.

        Raises:
            FencedError: the lease is no longer the newest; nothing was written.
            ValueError: this attempt has saved a later step already; nothing was written.
        """
        with self.transaction() as connection:
            check_fence(connection, lease)
            there = one(
                connection, "SELECT token, step FROM checkpoints WHERE job_id = :job", job=lease.job_id
            )
            if there is not None and there.token == lease.token and checkpoint.step < there.step:
                raise ValueError(
                    f"job {lease.job_id}: step {checkpoint.step} is before step {there.step}, "
                    "which this attempt has saved already"
                )
            connection.execute(
                text(
                    "INSERT INTO checkpoints (job_id, token, step, key, sha256, size) "
                    "VALUES (:job_id, :token, :step, :key, :sha256, :size) "
                    "ON CONFLICT (job_id) DO UPDATE SET token = excluded.token, step = excluded.step, "
                    "key = excluded.key, sha256 = excluded.sha256, size = excluded.size, "
                    "saved_at = excluded.saved_at"
                ),
                {**checkpoint.model_dump(), "job_id": lease.job_id, "token": lease.token},
            )

    def checkpoint(self, job_id: int) -> Checkpoint | None:
        """The job's checkpoint, or None where it has none."""
        with self.transaction() as connection:
            found = one(
                connection,
                "SELECT token, step, key, sha256, size FROM checkpoints WHERE job_id = :job",
                job=job_id,
            )
        return Checkpoint.model_validate(dict(found._mapping)) if found else None

    def clear_checkpoint(self, job_id: int) -> str | None:
        """Drop the checkpoint of a job that has its adapter; the key of its object, None where it had none.

        It takes no token: once there is an adapter, no attempt needs a checkpoint.

        Raises:
            StateError: the job has no adapter yet; its checkpoint stays.
        """
        with self.transaction() as connection:
            if one(connection, "SELECT 1 FROM adapters WHERE job_id = :job", job=job_id) is None:
                raise StateError(
                    f"job {job_id} has no adapter yet: its checkpoint is where its training goes on"
                )
            found = one(connection, "DELETE FROM checkpoints WHERE job_id = :job RETURNING key", job=job_id)
        return str(found.key) if found else None

    def training_tokens(self, job_ids: Collection[int]) -> dict[int, int]:
        """The newest attempt (0: none yet) to train of each job that may still train; others are left out."""
        with self.transaction() as connection:
            found = rows(connection, f"{_OPEN} AND j.id = ANY(:ids)", {"ids": [*job_ids]})
        return {row.id: row.token for row in found}

    def forget_checkpoints(self, keys: Collection[str]) -> set[str]:
        """Drop those of these checkpoints whose training is over; returns their keys."""
        with self.transaction() as connection:
            needed = rows(connection, f"{_OPEN} AND c.key = ANY(:keys)", {"keys": [*keys]})
            found = rows(
                connection,
                "DELETE FROM checkpoints WHERE key = ANY(:keys) AND job_id <> ALL(:needed) RETURNING key",
                {"keys": [*keys], "needed": [row.id for row in needed]},
            )
        return {row.key for row in found}
