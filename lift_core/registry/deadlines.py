"""Deadlines: jobs that are not done in time, each noticed once, whoever dies in between."""

from __future__ import annotations

from sqlalchemy import text

from lift_core.errors import NotFoundError
from lift_core.records import JobAlert
from lift_core.registry.database import Database, event, one, rows

_OPEN = "('queued', 'admitted', 'running')"
_ALERT = """
    SELECT j.id AS job_id, j.run_id AS run, d.bucket, d.key, d.slug AS document, v.number AS version, j.state,
           j.reason, j.created_at AS queued_at,
           extract(epoch FROM coalesce(j.finished_at, clock_timestamp()) - j.created_at) AS seconds,
           (SELECT string_agg(role || ': ' || waiting_for, '; ' ORDER BY acquired_at) FROM leases
            WHERE job_id = j.id AND ended_at IS NULL) AS waits_for
    FROM jobs j JOIN versions v ON v.id = j.version_id JOIN documents d ON d.id = v.document_id
"""


class Deadlines(Database):
    """Noticing is one transaction with the event; telling people comes after it, and is noted when done."""

    def notice_late(self, minutes: int) -> list[JobAlert]:
        """Record the jobs that were queued more than ``minutes`` ago, have not ended, and were not noticed.

        Each gets one event ``job.late``, however many look at once or are killed while they do.
        """
        with self.transaction() as connection:
            late = rows(
                connection,
                f"""
                INSERT INTO late_jobs (job_id) SELECT j.id FROM jobs j WHERE j.state IN {_OPEN}
                    AND j.created_at < clock_timestamp() - make_interval(mins => :minutes)
                    AND NOT EXISTS (SELECT FROM late_jobs WHERE job_id = j.id)
                ORDER BY j.id ON CONFLICT DO NOTHING RETURNING job_id
                """,  # noqa: S608 - built from constants
                {"minutes": minutes},
            )
            found = rows(
                connection,
                f"{_ALERT} WHERE j.id = ANY(:ids) ORDER BY j.id",
                {"ids": [r.job_id for r in late]},
            )
            alerts = [JobAlert.model_validate(dict(row._mapping)) for row in found]
            for each in alerts:
                detail = {"document": each.document, "state": each.state, "waits_for": each.waits_for}
                event(connection, "job.late", each.run, minutes=minutes, **detail)
        return alerts

    def late_untold(self) -> list[JobAlert]:
        """Late jobs that nobody was told of yet, those first that were noticed first."""
        with self.transaction() as connection:
            found = rows(
                connection,
                f"{_ALERT} JOIN late_jobs l ON l.job_id = j.id WHERE l.notified_at IS NULL "
                "ORDER BY l.noticed_at, j.id",
            )
        return [JobAlert.model_validate(dict(row._mapping)) for row in found]

    def late_told(self, job_id: int) -> None:
        """Note that people were told of a late job."""
        with self.transaction() as connection:
            connection.execute(
                text("UPDATE late_jobs SET notified_at = clock_timestamp() WHERE job_id = :job"),
                {"job": job_id},
            )

    def job_alert(self, run_id: str) -> JobAlert:
        """What there is to tell of a run's job.

        Raises:
            NotFoundError: no job has this run id.
        """
        with self.transaction() as connection:
            found = one(connection, f"{_ALERT} WHERE j.run_id = :run", run=run_id)
        if found is None:
            raise NotFoundError(f"there is no run '{run_id}' in the registry")
        return JobAlert.model_validate(dict(found._mapping))
