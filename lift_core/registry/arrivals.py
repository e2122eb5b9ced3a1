"""Arrivals: objects in the inbox become documents, versions and queued jobs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, text

from lift_core.errors import AlreadyDoneError, NotFoundError, RecipeError
from lift_core.records import AdmittedJob, Arrival, Recipe
from lift_core.registry.aliases import repoint
from lift_core.registry.database import Database, event, one, rows
from lift_core.registry.names import run_id_of, slug_of


class Arrivals(Database):
    """Recording what lies in the inbox. Recording the same twice changes nothing."""

    def record_arrivals(
        self,
        arrivals: Sequence[Arrival],
        recipe: Recipe,
        recipe_for: Callable[[Arrival], Recipe | None] | None = None,
    ) -> int:
        """Make documents, versions and queued jobs of what is new; returns how many are new.

        Jobs are queued in the order of arrival. ``recipe_for`` is asked for objects that were put since
        the last time (the same bytes may carry another tag); where it answers None, ``recipe`` holds.
        Where it raises RecipeError the object is recorded with a job that failed for that reason, and
        the others are not held up; where it raises NotFoundError the object is gone again.
        """
        known = self._current({found.bucket for found in arrivals})
        new = 0
        for found in sorted(arrivals, key=lambda found: (found.arrived_at, found.key)):
            etag, put_at = known.get((found.bucket, found.key), (None, found.arrived_at))
            if etag == found.etag and found.arrived_at <= put_at:
                continue
            refused = None
            try:
                chosen = (recipe_for(found) if recipe_for else None) or recipe
            except RecipeError as error:
                chosen, refused = recipe, str(error)
            except NotFoundError:
                continue
            with self.transaction() as connection:
                new += self._record(connection, found, chosen, refused)
        return new

    def mark_missing(self, bucket: str, present: Collection[str]) -> int:
        """Mark current versions as removed whose key is no longer there; returns how many."""
        with self.transaction() as connection:
            gone = rows(
                connection,
                """
                UPDATE versions v SET state = 'removed' FROM documents d
                WHERE d.id = v.document_id AND d.bucket = :bucket AND v.state = 'current'
                  AND NOT d.key = ANY(:present)
                RETURNING v.id, d.slug, v.number
                """,
                {"bucket": bucket, "present": list(present)},
            )
            for row in gone:
                event(connection, "version.removed", row.slug, version=row.number)
                _cancel_queued(connection, row.id, "the object was removed from the bucket")
            return len(gone)

    def settle(self, job_id: int, sha256: str, title: str | None) -> None:
        """Say what the claimed version's bytes are, once they have been read.

        Raises:
            AlreadyDoneError: they are those of an earlier version, which is current again; this
                job is cancelled.
        """
        with self.transaction() as connection:
            # The document's row first, as everywhere: whoever holds it may change its versions.
            document = one(
                connection,
                "SELECT d.id, d.slug FROM documents d JOIN versions v ON v.document_id = d.id "
                "JOIN jobs j ON j.version_id = v.id WHERE j.id = :job FOR UPDATE OF d",
                job=job_id,
            )
            found = one(
                connection,
                "SELECT v.id, v.document_id, v.etag, v.state FROM jobs j "
                "JOIN versions v ON v.id = j.version_id WHERE j.id = :job",
                job=job_id,
            )
            if found is None or document is None:
                raise NotFoundError(f"there is no job {job_id}")
            twin = one(
                connection,
                "SELECT id, number FROM versions WHERE document_id = :d AND sha256 = :sha AND id <> :v",
                d=found.document_id,
                sha=sha256,
                v=found.id,
            )
            if twin is None:
                connection.execute(
                    text("UPDATE versions SET sha256 = :sha, title = coalesce(:title, title) WHERE id = :v"),
                    {"sha": sha256, "title": title, "v": found.id},
                )
                connection.execute(
                    text("UPDATE documents SET title = coalesce(:title, title) WHERE id = :d"),
                    {"title": title, "d": found.document_id},
                )
                return
            reason = f"the same bytes as version {twin.number}"
            connection.execute(
                text(
                    "UPDATE jobs SET state = 'cancelled', reason = :why, finished_at = clock_timestamp() "
                    "WHERE id = :job"
                ),
                {"why": reason, "job": job_id},
            )
            connection.execute(text("UPDATE versions SET state = 'removed' WHERE id = :v"), {"v": found.id})
            connection.execute(
                text("UPDATE arrivals SET version_id = :twin WHERE document_id = :d AND etag = :etag"),
                {"twin": twin.id, "d": found.document_id, "etag": found.etag},
            )
            # A third version may have arrived while this one was being read: then that one stays current.
            if found.state == "current":
                connection.execute(
                    text("UPDATE versions SET etag = :etag WHERE id = :twin"),
                    {"etag": found.etag, "twin": twin.id},
                )
                _make_current(connection, found.document_id, twin.id)
                repoint(connection, found.document_id, document.slug, twin.id)
            event(connection, "job.cancelled", document.slug, job=job_id, reason=reason)
        raise AlreadyDoneError(reason)

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
                SELECT v.id AS version_id, v.number, d.slug, r.body
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
            generation = _last_generation(connection, found.version_id, recipe) + 1
            return _queue(connection, found.version_id, found.slug, found.number, recipe, generation)

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

    def _current(self, buckets: Collection[str]) -> dict[tuple[str, str], tuple[str, datetime]]:
        """ETag and time of the last put of every current version, by bucket and key."""
        with self.transaction() as connection:
            found = rows(
                connection,
                """
                SELECT d.bucket, d.key, a.etag, a.put_at FROM documents d
                JOIN versions v ON v.document_id = d.id AND v.state = 'current'
                JOIN arrivals a ON a.version_id = v.id AND a.etag = v.etag
                WHERE d.bucket = ANY(:buckets)
                """,
                {"buckets": list(buckets)},
            )
        return {(row.bucket, row.key): (row.etag, row.put_at) for row in found}

    def _record(self, connection: Connection, found: Arrival, recipe: Recipe, refused: str | None) -> int:
        document_id, slug = _document(connection, found)
        version = one(
            connection,
            """
            SELECT v.id, v.number, v.state FROM arrivals a JOIN versions v ON v.id = a.version_id
            WHERE a.document_id = :d AND a.etag = :etag
            """,
            d=document_id,
            etag=found.etag,
        )
        if version is not None:
            # A revert: these bytes were here before. What was made of them serves again.
            connection.execute(
                text("UPDATE versions SET etag = :etag WHERE id = :v"), {"etag": found.etag, "v": version.id}
            )
            if version.state != "current":
                _make_current(connection, document_id, version.id)
                repoint(connection, document_id, slug, version.id)
                event(connection, "version.current", slug, version=version.number)
            connection.execute(
                text("UPDATE arrivals SET put_at = :at WHERE document_id = :d AND etag = :etag"),
                {"at": found.arrived_at, "d": document_id, "etag": found.etag},
            )
            version_id, number, new = version.id, version.number, 0
        else:
            made = one(
                connection,
                """
                INSERT INTO versions (document_id, number, etag, size, state, arrived_at)
                SELECT :d, coalesce(max(number), 0) + 1, :etag, :size, 'superseded', :at
                FROM versions WHERE document_id = :d RETURNING id, number
                """,
                d=document_id,
                etag=found.etag,
                size=found.size,
                at=found.arrived_at,
            )
            if made is None:
                raise RuntimeError("INSERT … RETURNING gave no row")
            version_id, number, new = made.id, made.number, 1
            connection.execute(
                text(
                    "INSERT INTO arrivals (document_id, etag, version_id, put_at) VALUES (:d, :etag, :v, :at)"
                ),
                {"d": document_id, "etag": found.etag, "v": version_id, "at": found.arrived_at},
            )
            _make_current(connection, document_id, version_id)
            event(connection, "version.arrived", slug, version=number, key=found.key, size=found.size)
        there = one(
            connection,
            # A job that was refused for its tag never began: the corrected tag may ask for the same recipe.
            "SELECT id FROM jobs WHERE version_id = :v AND recipe_digest = :r AND state <> 'cancelled' "
            "AND NOT (state = 'failed' AND admitted_at IS NULL)",
            v=version_id,
            r=recipe.digest,
        )
        if there is None:
            generation = _last_generation(connection, version_id, recipe) + 1
            _queue(connection, version_id, slug, number, recipe, generation, refused)
        return new

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
            generation = _last_generation(connection, found.id, recipe)
            if generation or found.state != "current":
                return None
            return _queue(connection, found.id, found.slug, found.number, recipe, generation + 1)


def _document(connection: Connection, found: Arrival) -> tuple[int, str]:
    """The document's row, locked, made if it is new."""
    query = "SELECT id, slug FROM documents WHERE bucket = :bucket AND key = :key FOR UPDATE"
    row = one(connection, query, bucket=found.bucket, key=found.key)
    if row is None:
        # One lock for all slugs: `b/report.md` and `report-2.md` may both want `report-2`. Whoever
        # waited for it looks again: another dispatcher may have made the document meanwhile.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('lift-slugs'))"))
        row = one(connection, query, bucket=found.bucket, key=found.key)
    if row is None:
        base = slug_of(found.key)
        taken = {
            r.slug
            for r in rows(
                connection, "SELECT slug FROM documents WHERE slug LIKE :like", {"like": f"{base}%"}
            )
        }
        slug, count = base, 1
        while slug in taken:
            count += 1
            slug = f"{base}-{count}"
        row = one(
            connection,
            "INSERT INTO documents (bucket, key, slug) VALUES (:bucket, :key, :slug) RETURNING id, slug",
            bucket=found.bucket,
            key=found.key,
            slug=slug,
        )
    if row is None:
        raise RuntimeError("INSERT … RETURNING gave no row")
    return row.id, row.slug


def _last_generation(connection: Connection, version_id: int, recipe: Recipe) -> int:
    """The highest generation of a version's jobs under a recipe; 0 where it has none."""
    last = one(
        connection,
        "SELECT coalesce(max(generation), 0) AS last FROM jobs WHERE version_id = :v AND recipe_digest = :r",
        v=version_id,
        r=recipe.digest,
    )
    return int(last.last) if last else 0


def _make_current(connection: Connection, document_id: int, version_id: int) -> None:
    others = rows(
        connection,
        "UPDATE versions SET state = 'superseded' WHERE document_id = :d AND state = 'current' AND id <> :v "
        "RETURNING id",
        {"d": document_id, "v": version_id},
    )
    for row in others:
        _cancel_queued(connection, row.id, "a newer version arrived")
    connection.execute(text("UPDATE versions SET state = 'current' WHERE id = :v"), {"v": version_id})


def _cancel_queued(connection: Connection, version_id: int, reason: str) -> None:
    connection.execute(
        text(
            "UPDATE jobs SET state = 'cancelled', reason = :why, finished_at = clock_timestamp() "
            "WHERE version_id = :v AND state = 'queued'"
        ),
        {"why": reason, "v": version_id},
    )


def _queue(
    connection: Connection,
    version_id: int,
    slug: str,
    number: int,
    recipe: Recipe,
    generation: int,
    refused: str | None = None,
) -> str:
    """Queue a job; one that is ``refused`` has failed for that reason before it could start."""
    run_id = run_id_of(slug, number, recipe.digest, generation)
    connection.execute(
        text("INSERT INTO recipes (digest, body) VALUES (:digest, :body) ON CONFLICT DO NOTHING"),
        {"digest": recipe.digest, "body": recipe.model_dump_json()},
    )
    connection.execute(
        text(
            "INSERT INTO jobs (version_id, recipe_digest, generation, run_id, state, reason, permanent) "
            "VALUES (:v, :r, :g, :run, :state, :why, :permanent)"
        ),
        {
            "v": version_id,
            "r": recipe.digest,
            "g": generation,
            "run": run_id,
            "state": "failed" if refused else "queued",
            "why": refused,
            "permanent": refused is not None,
        },
    )
    if refused:
        event(connection, "job.failed", run_id, reason=refused, permanent=True)
    else:
        event(connection, "job.queued", slug, run=run_id)
    return run_id
