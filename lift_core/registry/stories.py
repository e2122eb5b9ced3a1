"""All there is to tell of a document. `lift docs show`, the REST API and the page in Airflow show this."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection

from lift_core.errors import NotFoundError
from lift_core.records import DocumentStory, Event, JobRecord, StageTime
from lift_core.registry.database import Database, one, rows
from lift_core.registry.documents import document_where

DAG = "lift_document"
_EVENTS = 200
_JOBS = 100
_OF_JOB = """
    SELECT j.id, j.state, j.priority, j.created_at, d.bucket FROM jobs j
    JOIN versions v ON v.id = j.version_id JOIN documents d ON d.id = v.document_id WHERE j.run_id = :run
"""
_STAGES = """
    SELECT s.stage, s.started_at, s.ended_at, s.attempts, l.waiting_for AS waits_for, s.detail FROM stages s
    LEFT JOIN leases l ON l.job_id = s.job_id AND l.role = s.stage AND l.ended_at IS NULL
    WHERE s.job_id = :job ORDER BY s.started_at
"""
# By priority and arrival, as they are admitted where no tenants share the queue; with tenants it is about so.
_QUEUE = """
    SELECT count(*) FILTER (WHERE j.state = 'queued'
               AND (-j.priority, j.created_at, j.id) < (-:priority, :created, :job)) AS ahead,
           count(*) FILTER (WHERE j.state IN ('admitted', 'running')) AS under_way
    FROM jobs j JOIN versions v ON v.id = j.version_id JOIN documents d ON d.id = v.document_id
    WHERE j.state IN ('queued', 'admitted', 'running') AND d.bucket = :bucket
"""
_HISTORY = """
    SELECT id, at, kind, subject, detail FROM events WHERE subject = ANY(array(
        SELECT :slug UNION SELECT j.run_id FROM jobs j JOIN versions v ON v.id = j.version_id
            JOIN documents d ON d.id = v.document_id WHERE d.slug = :slug
        UNION SELECT a.name FROM adapters a JOIN documents d ON d.id = a.document_id WHERE d.slug = :slug
        UNION SELECT name FROM aliases WHERE slug = :slug))
    ORDER BY id DESC LIMIT :limit
"""
_ALL_JOBS = """
    SELECT j.run_id AS run, v.number AS version, j.recipe_digest AS recipe, j.generation, j.state, j.reason,
           j.permanent, l.job_id IS NOT NULL AS late, a.name AS adapter, a.state AS adapter_state,
           j.created_at, j.finished_at
    FROM documents d JOIN versions v ON v.document_id = d.id JOIN jobs j ON j.version_id = v.id
    LEFT JOIN adapters a ON a.job_id = j.id LEFT JOIN late_jobs l ON l.job_id = j.id
    WHERE d.slug = :slug ORDER BY j.id DESC LIMIT :limit
"""


class Stories(Database):
    """One answer to where a document is, how it got there, and what it waits for."""

    def story(self, name: str, bucket: str | None = None, airflow_url: str = "") -> DocumentStory:
        """One document by its key or slug, all of the same moment.

        ``airflow_url`` is the base address of Airflow's UI; without it there are no links.

        Raises:
            NotFoundError: there is no such document.
        """
        with self.transaction() as connection:
            # What is read one after the other must fit together.
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            found = document_where(connection, name, bucket)
            if found is None:
                raise NotFoundError(f"there is no document '{name}'; see `lift docs ls`")
            job = one(connection, _OF_JOB, run=found.run_id) if found.run_id else None
            stages = [
                StageTime.model_validate(
                    dict(row._mapping) | {"log": _log(airflow_url, found.run_id, row.stage)}
                )
                for row in (rows(connection, _STAGES, {"job": job.id}) if job else [])
            ]
            ahead, waits_for = _waiting(connection, job, stages) if job else (None, None)
            history = rows(connection, _HISTORY, {"slug": found.slug, "limit": _EVENTS})
            jobs = rows(connection, _ALL_JOBS, {"slug": found.slug, "limit": _JOBS})
        return DocumentStory(
            **found.model_dump(),
            run=found.run_id,
            airflow_run=run_url(airflow_url, found.run_id),
            waits_for=waits_for if found.state not in ("superseded", "removed") else None,
            queued_ahead=ahead,
            stages=tuple(stages),
            history=tuple(Event.model_validate(dict(row._mapping)) for row in reversed(history)),
            jobs=tuple(
                JobRecord(**dict(row._mapping), airflow_run=run_url(airflow_url, row.run)) for row in jobs
            ),
        )


def run_url(airflow_url: str, run_id: str | None) -> str | None:
    """The page of a run of ``lift_document`` in Airflow's UI; None where its address is not known."""
    if not airflow_url or run_id is None:
        return None
    return f"{airflow_url.rstrip('/')}/dags/{DAG}/runs/{quote(run_id, safe='')}"


def _log(airflow_url: str, run_id: str | None, stage: str) -> str | None:
    run = run_url(airflow_url, run_id)
    return run and f"{run}/tasks/{stage}"


def _waiting(connection: Connection, job: Any, stages: list[StageTime]) -> tuple[int | None, str | None]:
    """How many jobs start before this one, and in words what it waits for."""
    if job.state == "queued":
        values = {"priority": job.priority, "created": job.created_at, "job": job.id, "bucket": job.bucket}
        [queue] = rows(connection, _QUEUE, values)
        before = f"{queue.ahead} before it" if queue.ahead else "it is next"
        return queue.ahead, f"its turn: {before}, {queue.under_way} under way"
    if job.state == "admitted":
        return None, "Airflow to start its run"
    if job.state != "running":
        return None, None
    stuck = [stage for stage in stages if stage.ended_at is None and stage.waits_for]
    if stuck:
        return None, "; ".join(f"{stage.stage}: {stage.waits_for}" for stage in stuck)
    if all(stage.ended_at is not None for stage in stages):
        return None, "Airflow to start its next task: a slot in its pool, a worker, or its next try"
    return None, None
