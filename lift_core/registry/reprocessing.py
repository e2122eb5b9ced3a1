"""Reprocessing: jobs under another recipe, or a new generation, for what arrived within a range of time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, text

from lift_core.records import JobRequest, Recipe, Reprocessed
from lift_core.registry.database import Database, rows
from lift_core.registry.queueing import last_generation, queue_job

REPROCESS_PRIORITY = -10
"""What arrives meanwhile goes first, unless its tag says otherwise."""
_AT_ONCE = 500
Action = Literal["queue", "under way", "done", "failed"]
_SELECT = """
    SELECT d.bucket, d.key, d.slug, coalesce(v.title, d.title, d.slug) AS title, v.id AS version_id, v.number,
           v.arrived_at, j.state, j.permanent, j.run_id, j.asked_by
    FROM versions v JOIN documents d ON d.id = v.document_id
    LEFT JOIN LATERAL (
        SELECT * FROM jobs WHERE version_id = v.id AND recipe_digest = :recipe AND state <> 'cancelled'
        ORDER BY id DESC LIMIT 1) j ON true
    WHERE v.state = 'current'
"""


class Reprocessing(Database):
    """Asking again for documents that are there."""

    def reprocess_arrived(
        self,
        bucket: str,
        since: datetime,
        until: datetime,
        recipe: Recipe,
        *,
        prefix: str = "",
        force_as: str | None = None,
        dry_run: bool = False,
    ) -> list[Reprocessed]:
        """Queue a job under ``recipe`` for each document whose current version arrived in [since, until).

        What is under way, done or failed for good under that recipe stays as it is. ``force_as`` names who
        asks for a new generation all the same; the same asker gets it once, however often it asks. Some
        hundred documents are one transaction: killed in between, asking again does the rest. A dry run
        writes nothing.
        """
        values = {"bucket": bucket, "since": since, "until": until, "recipe": recipe.digest, "prefix": prefix}
        with self.transaction() as connection:
            found = rows(
                connection,
                f"{_SELECT} AND v.arrived_at >= :since AND v.arrived_at < :until AND d.bucket = :bucket "
                "AND starts_with(d.key, :prefix) ORDER BY v.arrived_at, d.key",
                values,
            )
        if dry_run:
            return [_said(row, _action(row, force_as), row.run_id) for row in found]
        done = []
        for first in range(0, len(found), _AT_ONCE):
            versions = [row.version_id for row in found[first : first + _AT_ONCE]]
            with self.transaction() as connection:
                done += _queue(connection, versions, recipe, force_as)
        return done


def _queue(
    connection: Connection, versions: Sequence[int], recipe: Recipe, force_as: str | None
) -> list[Reprocessed]:
    # Beside a dispatcher, which locks documents in an order of its own.
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('lift-arrivals'))"))
    locked = rows(
        connection,
        f"{_SELECT} AND v.id = ANY(cast(:versions AS bigint[])) ORDER BY v.arrived_at, d.key FOR UPDATE OF d",
        {"versions": list(versions), "recipe": recipe.digest},
    )
    done = []
    for row in locked:
        action, run_id = _action(row, force_as), row.run_id
        if action == "queue":
            request = JobRequest(recipe=recipe, priority=REPROCESS_PRIORITY)
            generation = last_generation(connection, row.version_id, recipe) + 1
            run_id = queue_job(
                connection, row.version_id, row.slug, row.number, request, generation, asked_by=force_as
            )
        done.append(_said(row, action, run_id))
    return done


def _action(row: Row[Any], force_as: str | None) -> Action:
    """What is to be done, from the newest job under the recipe."""
    if row.state in ("queued", "admitted", "running"):
        return "under way"
    ended: Literal["done", "failed"] = "done" if row.state == "done" else "failed"
    if row.state is None or (force_as is not None and row.asked_by != force_as):
        return "queue"
    # What failed for a passing reason has left nothing under this recipe.
    return "queue" if ended == "failed" and not row.permanent else ended


def _said(row: Row[Any], action: Action, run_id: str | None) -> Reprocessed:
    return Reprocessed(
        bucket=row.bucket,
        key=row.key,
        title=row.title,
        version=row.number,
        arrived_at=row.arrived_at,
        action=action,
        run_id=None if action == "queue" and run_id == row.run_id else run_id,
    )
