"""Queueing: a version's jobs under a recipe, generation by generation."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, text

from lift_core.errors import NotFoundError
from lift_core.records import AdmittedJob, JobRequest, Recipe
from lift_core.registry.database import Database, event, one, rows
from lift_core.registry.names import run_id_of


class Queueing(Database):
    """Jobs that somebody asks for, of documents that are there."""

    def reprocess(self, bucket: str, key: str, recipe: Recipe | None = None) -> str:
        """Queue the current version again, under ``recipe`` or the one it had; returns the new run's id.

        Raises:
            NotFoundError: there is no such document, or its object is no longer in the bucket.
        """
        with self.transaction() as connection:
            # Two that ask at once must not both count the generations.
            one(
                connection,
                "SELECT id FROM documents WHERE bucket = :bucket AND key = :key FOR UPDATE",
                bucket=bucket,
                key=key,
            )
            found = one(
                connection,
                """
                SELECT v.id AS version_id, v.number, d.slug, r.body, j.priority
                FROM documents d JOIN versions v ON v.document_id = d.id
                JOIN jobs j ON j.version_id = v.id JOIN recipes r ON r.digest = j.recipe_digest
                WHERE d.bucket = :bucket AND d.key = :key AND v.state = 'current'
                ORDER BY j.id DESC LIMIT 1
                """,
                bucket=bucket,
                key=key,
            )
            if found is None:
                raise NotFoundError(f"'{key}' is not in {bucket}: put it there again")
            recipe = recipe or Recipe.model_validate(found.body)
            generation = last_generation(connection, found.version_id, recipe) + 1
            request = JobRequest(recipe=recipe, priority=found.priority)
            return queue_job(connection, found.version_id, found.slug, found.number, request, generation)

    def newest_job(self, bucket: str, key: str, recipe_digest: str) -> AdmittedJob:
        """The newest job of an object's current version under a recipe."""
        with self.transaction() as connection:
            found = one(
                connection,
                """
                SELECT j.id, j.run_id FROM jobs j JOIN versions v ON v.id = j.version_id
                JOIN documents d ON d.id = v.document_id
                WHERE d.bucket = :bucket AND d.key = :key AND v.state = 'current'
                  AND j.recipe_digest = :recipe
                ORDER BY j.generation DESC LIMIT 1
                """,
                bucket=bucket,
                key=key,
                recipe=recipe_digest,
            )
        if found is None:
            raise NotFoundError(f"there is no job for '{key}' in {bucket} under this recipe")
        return AdmittedJob(job_id=found.id, run_id=found.run_id)

    def queue_again(self, adapter: str, recipe: Recipe) -> str | None:
        """Queue a job of the adapter's document under another recipe; returns its run's id.

        None where such a job is there already, or a newer version of the document is.

        Raises:
            NotFoundError: there is no such adapter.
        """
        with self.transaction() as connection:
            found = one(
                connection,
                "SELECT v.id, v.number, v.state, d.slug FROM adapters a "
                "JOIN versions v ON v.id = a.version_id JOIN documents d ON d.id = a.document_id "
                "WHERE a.name = :name FOR UPDATE OF d",
                name=adapter,
            )
            if found is None:
                raise NotFoundError(f"there is no adapter '{adapter}'; see `lift adapters ls`")
            generation = last_generation(connection, found.id, recipe)
            if generation or found.state != "current":
                return None
            return queue_job(
                connection, found.id, found.slug, found.number, JobRequest(recipe=recipe), generation + 1
            )


def last_generation(connection: Connection, version_id: int, recipe: Recipe) -> int:
    """The highest generation of a version's jobs under a recipe; 0 where it has none."""
    last = one(
        connection,
        "SELECT coalesce(max(generation), 0) AS last FROM jobs WHERE version_id = :v AND recipe_digest = :r",
        v=version_id,
        r=recipe.digest,
    )
    return int(last.last) if last else 0


def queue_job(
    connection: Connection,
    version_id: int,
    slug: str,
    number: int,
    request: JobRequest,
    generation: int,
    *,
    refused: str | None = None,
    asked_by: str | None = None,
) -> str:
    """Queue a job and return its run's id; one that is ``refused`` has failed before it could start.

    ``asked_by`` names who asked for it, where that must be told apart from who asks another time.
    """
    run_id = run_id_of(slug, number, request.recipe.digest, generation)
    keep_recipes(connection, [request.recipe])
    connection.execute(
        text(
            "INSERT INTO jobs (version_id, recipe_digest, generation, run_id, priority, state, reason, "
            "permanent, asked_by) VALUES (:v, :r, :g, :run, :priority, :state, :why, :permanent, :by)"
        ),
        {
            "v": version_id,
            "r": request.recipe.digest,
            "g": generation,
            "run": run_id,
            "priority": request.priority,
            "state": "failed" if refused else "queued",
            "why": refused,
            "permanent": refused is not None,
            "by": asked_by,
        },
    )
    if refused:
        event(connection, "job.failed", run_id, reason=refused, permanent=True)
    else:
        event(connection, "job.queued", slug, run=run_id)
    return run_id


def keep_recipes(connection: Connection, recipes: Iterable[Recipe]) -> None:
    """Store the bodies of recipes that are not stored yet."""
    for digest, body in {recipe.digest: recipe.model_dump_json() for recipe in recipes}.items():
        connection.execute(
            text("INSERT INTO recipes (digest, body) VALUES (:digest, :body) ON CONFLICT DO NOTHING"),
            {"digest": digest, "body": body},
        )


def cancel_queued(connection: Connection, version_id: int, reason: str) -> None:
    """Cancel a version's jobs that have not been admitted yet."""
    cancelled = rows(
        connection,
        "UPDATE jobs SET state = 'cancelled', reason = :why, finished_at = clock_timestamp() "
        "WHERE version_id = :v AND state = 'queued' RETURNING run_id",
        {"why": reason, "v": version_id},
    )
    for row in cancelled:
        event(connection, "job.cancelled", row.run_id, reason=reason)
