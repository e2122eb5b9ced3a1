"""Adapters and aliases: candidate, active, rejected, superseded; immutable names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, text

from lift_core.errors import FencedError, NotFoundError, ProofError
from lift_core.records import AdapterRecord, Lease, Recipe
from lift_core.registry.arrivals import move_aliases
from lift_core.registry.database import Database, event, one, rows
from lift_core.registry.jobs import check_fence

_SELECT = """
    SELECT a.name, a.base_model, a.base_revision, a.recipe_digest AS recipe, a.state, a.prefix, a.files,
           a.scores, a.created_at, d.key AS document, v.number AS version,
           coalesce(v.title, d.title, d.slug) AS title,
           array(SELECT name FROM aliases WHERE adapter_id = a.id ORDER BY name) AS aliases
    FROM adapters a JOIN documents d ON d.id = a.document_id JOIN versions v ON v.id = a.version_id
"""
# An immutable name before an alias before a document's key, which goes by its document's alias.
_OF_THAT_NAME = """WHERE a.name = :name
    OR a.id = (SELECT adapter_id FROM aliases WHERE name = :name)
    OR (d.key = :name AND a.id = (SELECT adapter_id FROM aliases WHERE name = d.slug))
    ORDER BY a.name = :name DESC, d.key <> :name DESC, a.id DESC LIMIT 1"""

_NAME = re.compile(r"-v[0-9]+$")


class Adapters(Database):
    """What was trained, and what may serve."""

    def register_candidate(
        self, lease: Lease, prefix: str, files: Mapping[str, str], scores: Mapping[str, float]
    ) -> AdapterRecord:
        """Register a trained adapter under the document's next name; once for each job.

        Raises:
            FencedError: a newer attempt trains this job.
        """
        with self.transaction() as connection:
            check_fence(connection, lease)
            there = one(connection, "SELECT name FROM adapters WHERE job_id = :job", job=lease.job_id)
            if there is None:
                job = one(
                    connection,
                    """
                    UPDATE documents d SET adapter_count = adapter_count + 1
                    FROM jobs j, versions v, recipes r
                    WHERE j.id = :job AND v.id = j.version_id AND d.id = v.document_id
                      AND r.digest = j.recipe_digest AND j.state = 'running'
                    RETURNING d.id AS document_id, d.slug, d.adapter_count, v.id AS version_id,
                              r.digest, r.body
                    """,
                    job=lease.job_id,
                )
                if job is None:
                    raise FencedError(f"job {lease.job_id} is not running any more")
                recipe = Recipe.model_validate(job.body)
                name = f"{job.slug}-v{job.adapter_count}"
                connection.execute(
                    text(
                        "INSERT INTO adapters (name, document_id, version_id, job_id, recipe_digest, "
                        "base_model, base_revision, prefix, files, scores) VALUES (:name, :d, :v, :job, "
                        ":recipe, :base, :revision, :prefix, :files, :scores)"
                    ),
                    {
                        "name": name,
                        "d": job.document_id,
                        "v": job.version_id,
                        "job": lease.job_id,
                        "recipe": job.digest,
                        "base": recipe.base_model,
                        "revision": recipe.base_revision,
                        "prefix": prefix,
                        "files": json.dumps(dict(files)),
                        "scores": json.dumps(dict(scores)),
                    },
                )
                event(connection, "adapter.candidate", name, job=lease.job_id)
            found = one(connection, f"{_SELECT} WHERE a.job_id = :job", job=lease.job_id)
        return _record(found)

    def record_proof(self, lease: Lease, name: str, scores: Mapping[str, float]) -> None:
        """Say that a candidate passed its proof, and with which scores: it may be activated now.

        Raises:
            FencedError: a newer attempt proves this job's adapter.
        """
        with self.transaction() as connection:
            check_fence(connection, lease)
            connection.execute(
                text(
                    "UPDATE adapters SET scores = scores || cast(:scores AS jsonb), "
                    "proven_at = clock_timestamp() WHERE name = :name"
                ),
                {"name": name, "scores": json.dumps(dict(scores))},
            )
            event(connection, "adapter.proven", name, **scores)

    def activate(self, name: str) -> AdapterRecord:
        """Let a candidate serve: its document's aliases move to it and its job is done, at once.

        Nothing happens where it is active. If a newer version's adapter serves by now, this one is kept
        as superseded and the aliases stay where they are.

        Raises:
            NotFoundError: there is no such adapter.
            ProofError: it has not passed its proof.
        """
        with self.transaction() as connection:
            found = one(
                connection,
                """
                SELECT a.id, a.state, a.proven_at, a.job_id, d.id AS document_id, d.slug,
                       v.id AS version_id, v.state AS version_state
                FROM adapters a JOIN documents d ON d.id = a.document_id
                JOIN versions v ON v.id = a.version_id WHERE a.name = :name FOR UPDATE OF d, a
                """,
                name=name,
            )
            if found is None:
                raise NotFoundError(f"there is no adapter '{name}'")
            if found.proven_at is None or found.state == "rejected":
                raise ProofError(f"adapter '{name}' has not passed its proof: it cannot be activated")
            if found.state == "candidate":
                newer = one(
                    connection,
                    """
                    SELECT 1 FROM adapters a JOIN versions v ON v.id = a.version_id
                    WHERE a.document_id = :d AND a.state = 'active' AND (v.state = 'current' OR v.id > :v)
                    """,
                    d=found.document_id,
                    v=found.version_id,
                )
                if newer and found.version_state != "current":
                    connection.execute(
                        text("UPDATE adapters SET state = 'superseded' WHERE id = :a"), {"a": found.id}
                    )
                    event(connection, "adapter.superseded", name, by="a newer version's adapter")
                else:
                    move_aliases(connection, found.document_id, found.slug, found.id, name)
                    event(connection, "adapter.active", name)
            done = one(
                connection,
                "UPDATE jobs SET state = 'done', finished_at = clock_timestamp() "
                "WHERE id = :job AND state = 'running' RETURNING run_id",
                job=found.job_id,
            )
            if done is not None:
                event(connection, "job.done", done.run_id, adapter=name)
            record = one(connection, f"{_SELECT} WHERE a.name = :name", name=name)
        return _record(record)

    def reject(self, lease: Lease, name: str, reason: str) -> None:
        """Keep a candidate from ever serving; one that is no candidate any more stays as it is.

        Raises:
            FencedError: a newer attempt proves this job's adapter.
        """
        with self.transaction() as connection:
            check_fence(connection, lease)
            rejected = one(
                connection,
                "UPDATE adapters SET state = 'rejected' WHERE name = :name AND state = 'candidate' "
                "RETURNING name",
                name=name,
            )
            if rejected is not None:
                event(connection, "adapter.rejected", name, reason=reason)

    def adapter_of_job(self, job_id: int) -> AdapterRecord | None:
        """What a job's training left, or None."""
        with self.transaction() as connection:
            found = one(connection, f"{_SELECT} WHERE a.job_id = :job", job=job_id)
        return _record(found) if found else None

    def adapters(self) -> list[AdapterRecord]:
        """All adapters, newest first."""
        with self.transaction() as connection:
            return [_record(row) for row in rows(connection, f"{_SELECT} ORDER BY a.id DESC")]

    def adapter(self, name: str) -> AdapterRecord:
        """One adapter by its name, or by an alias or document that points to it.

        Raises:
            NotFoundError: there is none.
        """
        with self.transaction() as connection:
            found = one(connection, f"{_SELECT} {_OF_THAT_NAME}", name=name)
        if found is None:
            raise NotFoundError(f"there is no adapter, alias or document '{name}'; see `lift adapters ls`")
        return _record(found)

    def resolve(self, name: str) -> AdapterRecord:
        """The adapter that may answer under a name, an alias or a document's key.

        Raises:
            NotFoundError: there is none, or it may not serve.
        """
        found = self.adapter(name)
        if found.state != "active" and not (found.state == "superseded" and _NAME.search(name)):
            raise NotFoundError(f"adapter '{found.name}' is {found.state}: it may not serve")
        return found

    def recipe(self, digest: str) -> Recipe:
        """The recipe of that digest."""
        with self.transaction() as connection:
            found = one(connection, "SELECT body FROM recipes WHERE digest = :digest", digest=digest)
        if found is None:
            raise NotFoundError(f"there is no recipe {digest}")
        return Recipe.model_validate(found.body)

    def events(self, subject: str, limit: int = 100) -> list[dict[str, Any]]:
        """What happened to a document, run, adapter or alias, newest first."""
        with self.transaction() as connection:
            found = rows(
                connection,
                "SELECT at, kind, subject, detail FROM events WHERE subject = :s ORDER BY id DESC LIMIT :n",
                {"s": subject, "n": limit},
            )
        return [dict(row._mapping) for row in found]


def _record(row: Row[Any] | None) -> AdapterRecord:
    if row is None:
        raise RuntimeError("a row that was just written cannot be read")
    return AdapterRecord.model_validate(dict(row._mapping))
