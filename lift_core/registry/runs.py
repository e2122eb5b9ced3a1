"""Jobs whose run may be dead: which they are, and another start for them."""

from __future__ import annotations

from lift_core.records import OpenJob
from lift_core.registry.database import Database, event, one, rows

_FIRST_WAIT_SECONDS = 300
"""A job that failed for a cause that may pass is run again after so long, then after three times as long."""


class Runs(Database):
    """Questions and moves of who compares jobs with their runs."""

    def open_jobs(self, bucket: str, quiet_seconds: float, reruns: int) -> list[OpenJob]:
        """The admitted and running jobs of a bucket that gave no sign of life for so long, and those that
        failed for a cause that may pass and are due to be run again; oldest first.

        Jobs that failed for good are not among them: only a person starts those again.
        """
        with self.transaction() as connection:
            found = rows(
                connection,
                """
                SELECT * FROM (
                    SELECT j.id AS job_id, j.run_id, j.state, j.reruns,
                           extract(epoch FROM clock_timestamp() - greatest(j.created_at, j.admitted_at,
                               j.finished_at, j.rerun_at,
                               (SELECT max(l.beat_at) FROM leases l WHERE l.job_id = j.id))) AS quiet_seconds
                    FROM jobs j JOIN versions v ON v.id = j.version_id
                    JOIN documents d ON d.id = v.document_id
                    WHERE d.bucket = :bucket AND (j.state IN ('admitted', 'running')
                        OR (j.state = 'failed' AND NOT j.permanent AND j.reruns < :reruns
                            AND v.state = 'current'))
                ) o WHERE quiet_seconds > CASE WHEN state = 'failed'
                    THEN :wait * power(3, reruns) ELSE :quiet END
                ORDER BY job_id
                """,
                {"bucket": bucket, "quiet": quiet_seconds, "reruns": reruns, "wait": _FIRST_WAIT_SECONDS},
            )
        return [OpenJob.model_validate(dict(row._mapping)) for row in found]

    def count_rerun(self, job: OpenJob, why: str) -> bool:
        """Say that a job's run is started again; False where the job has moved on meanwhile."""
        with self.transaction() as connection:
            counted = one(
                connection,
                "UPDATE jobs SET reruns = reruns + 1, rerun_at = clock_timestamp() "
                "WHERE id = :job AND state = :state AND reruns = :reruns RETURNING run_id",
                job=job.job_id,
                state=job.state,
                reruns=job.reruns,
            )
            if counted is not None:
                event(connection, "job.rerun", counted.run_id, why=why, number=job.reruns + 1)
        return counted is not None
