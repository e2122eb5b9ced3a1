"""Adapters and aliases: candidate, active, rejected, superseded; immutable names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, text

from lift_core.errors import FencedError, NotFoundError, ProofError
from lift_core.records import AdapterRecord, Lease, Recipe
from lift_core.registry.aliases import CHAMPION, point
from lift_core.registry.browsing import adapter_where
from lift_core.registry.database import Database, event, one
from lift_core.registry.leases import check_fence


class Adapters(Database):
    """What was trained, and what may serve."""

    def register_candidate(
        self,
        lease: Lease,
        prefix: str,
        files: Mapping[str, str],
        scores: Mapping[str, float],
        provenance: Mapping[str, Any] | None = None,
    ) -> AdapterRecord:
        """Register a trained adapter under the document's next name; once for each job.

        ``provenance`` says what it was trained with: code and library versions, hardware, time.

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
                              coalesce(v.title, d.title, d.slug) AS title, r.digest, r.body
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
                        "base_model, base_revision, prefix, files, title, provenance) VALUES (:name, :d, :v, "
                        ":job, :recipe, :base, :revision, :prefix, :files, :title, :provenance)"
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
                        "title": job.title,
                        "provenance": json.dumps(dict(provenance or {})),
                    },
                )
                store_scores(connection, name, scores)
                event(connection, "adapter.candidate", name, job=lease.job_id)
            return adapter_where(connection, "a.job_id = :job", job=lease.job_id)

    def record_proof(self, lease: Lease, name: str, scores: Mapping[str, float]) -> None:
        """Say that a candidate passed its proof, and with which scores: it may be activated now.

        Raises:
            FencedError: a newer attempt proves this job's adapter.
        """
        with self.transaction() as connection:
            check_fence(connection, lease)
            connection.execute(
                text("UPDATE adapters SET proven_at = clock_timestamp() WHERE name = :name"), {"name": name}
            )
            store_scores(connection, name, scores)
            event(connection, "adapter.proven", name, **scores)

    def activate(self, name: str, lease: Lease | None = None) -> AdapterRecord:
        """Let a candidate serve: its document's aliases move to it and its job is done, at once.

        ``lease`` is that of the run's attempt to activate; None: a person decides, whom nothing replaces.

        Nothing happens where it is active. If a newer version's adapter serves by now, this one is kept
        as superseded and the aliases stay where they are.

        Raises:
            NotFoundError: there is no such adapter.
            ProofError: it has not passed its proof.
            FencedError: a newer attempt activates this job's adapter.
        """
        with self.transaction() as connection:
            if lease is not None:
                check_fence(connection, lease)
            found = one(
                connection,
                """
                SELECT a.id, a.name, a.state, a.proven_at, a.job_id, d.id AS document_id, d.slug,
                       v.id AS version_id, v.state AS version_state
                FROM adapters a JOIN documents d ON d.id = a.document_id
                JOIN versions v ON v.id = a.version_id WHERE a.name = :name FOR UPDATE OF d, a
                """,
                name=name,
            )
            if found is None:
                raise NotFoundError(f"there is no adapter '{name}'")
            if found.proven_at is None or found.state in ("rejected", "removed"):
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
                    point(connection, found.document_id, found.slug, CHAMPION, found)
            done = one(
                connection,
                "UPDATE jobs SET state = 'done', finished_at = clock_timestamp() "
                "WHERE id = :job AND state = 'running' RETURNING run_id",
                job=found.job_id,
            )
            if done is not None:
                event(connection, "job.done", done.run_id, adapter=name)
            return adapter_where(connection, "a.name = :name", name=name)

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

    def record_scores(self, name: str, scores: Mapping[str, float]) -> None:
        """Add scores to an adapter, or replace those of the same names.

        Raises:
            NotFoundError: there is no such adapter.
        """
        with self.transaction() as connection:
            if one(connection, "SELECT 1 FROM adapters WHERE name = :name", name=name) is None:
                raise NotFoundError(f"there is no adapter '{name}'")
            store_scores(connection, name, scores)
            event(connection, "adapter.scored", name, **scores)


def store_scores(connection: Connection, name: str, scores: Mapping[str, float]) -> None:
    """Add scores to an adapter within a transaction, or replace those of the same names."""
    for score, value in scores.items():
        connection.execute(
            text(
                "INSERT INTO scores (adapter_id, name, value) "
                "SELECT id, :score, :value FROM adapters WHERE name = :name "
                "ON CONFLICT (adapter_id, name) DO UPDATE SET value = excluded.value, "
                "measured_at = clock_timestamp()"
            ),
            {"name": name, "score": score, "value": value},
        )
