"""Many new documents at once: a burst of thousands is a few statements for each few hundred."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, text

from lift_core.records import Arrival, JobRequest
from lift_core.registry.database import rows
from lift_core.registry.names import run_id_of, slug_of
from lift_core.registry.queueing import keep_recipes


def add_documents(
    connection: Connection, found: Sequence[Arrival], asked: Sequence[tuple[JobRequest, str | None]]
) -> None:
    """Make documents, first versions and jobs, in this order, of objects of one bucket that are all new.

    ``asked`` has each one's request, and why it was refused, if it was. The caller holds the lock of the
    arrivals, so that nobody else records the same objects.
    """
    keys = [each.key for each in found]
    slugs = free_slugs(connection, keys)
    documents = _insert(
        connection,
        "documents (bucket, key, slug)",
        {"text": [[each.bucket for each in found], keys, slugs]},
        "a, b, c",
    )
    sizes, moments = [each.size for each in found], [each.arrived_at for each in found]
    etags = [each.etag for each in found]
    versions = _insert(
        connection,
        "versions (document_id, etag, size, arrived_at, number, state)",
        {"bigint": [documents, sizes], "text": [etags], "timestamptz": [moments]},
        "a, c, b, d, 1, 'current'",
    )
    connection.execute(
        text(
            "INSERT INTO arrivals (document_id, version_id, etag, put_at) SELECT * FROM unnest("
            "cast(:d AS bigint[]), cast(:v AS bigint[]), cast(:e AS text[]), cast(:at AS timestamptz[]))"
        ),
        {"d": documents, "v": versions, "e": etags, "at": moments},
    )
    keep_recipes(connection, [request.recipe for request, _ in asked])
    digests = [request.recipe.digest for request, _ in asked]
    runs = [run_id_of(slug, 1, digest, 1) for slug, digest in zip(slugs, digests, strict=True)]
    refused = [why for _, why in asked]
    _insert(
        connection,
        "jobs (version_id, priority, recipe_digest, run_id, reason, state, permanent)",
        {"bigint": [versions, [request.priority for request, _ in asked]], "text": [digests, runs, refused]},
        "a, b, c, d, e, CASE WHEN e IS NULL THEN 'queued' ELSE 'failed' END, e IS NOT NULL",
    )
    _add_events(connection, list(_events(found, slugs, runs, refused)))


def free_slugs(connection: Connection, keys: Sequence[str]) -> list[str]:
    """Slugs for new documents: of the file's name, with the lowest number that is free.

    Holds the one lock of all slugs: `b/report.md` and `report-2.md` may both want `report-2`.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('lift-slugs'))"))
    bases = [slug_of(key) for key in keys]
    taken = {
        row.slug
        for row in rows(
            connection,
            # What begins with `report-` lies between `report-` and `report.` in the order of bytes.
            """
            SELECT d.slug FROM unnest(cast(:bases AS text[])) base JOIN documents d ON d.slug = base
            UNION SELECT d.slug FROM unnest(cast(:bases AS text[])) base
                JOIN documents d ON d.slug ~>=~ (base || '-') AND d.slug ~<~ (base || '.')
            """,
            {"bases": list(dict.fromkeys(bases))},
        )
        if re.search("-[0-9]+$", row.slug) or row.slug in bases
    }
    next_number: dict[str, int] = {}
    slugs = []
    for base in bases:
        slug, number = base, next_number.get(base, 2)
        while slug in taken:
            slug, number = f"{base}-{number}", number + 1
        next_number[base] = number
        taken.add(slug)
        slugs.append(slug)
    return slugs


def _events(
    found: Sequence[Arrival], slugs: Sequence[str], runs: Sequence[str], refused: Sequence[str | None]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for each, slug, run, why in zip(found, slugs, runs, refused, strict=True):
        yield "version.arrived", slug, {"version": 1, "key": each.key, "size": each.size}
        if why is None:
            yield "job.queued", slug, {"run": run}
        else:
            yield "job.failed", run, {"reason": why, "permanent": True}


def _add_events(connection: Connection, events: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
    connection.execute(
        text(
            "INSERT INTO events (kind, subject, detail) SELECT kind, subject, cast(detail AS jsonb) "
            "FROM unnest(cast(:kinds AS text[]), cast(:subjects AS text[]), cast(:details AS text[])) "
            "WITH ORDINALITY AS e (kind, subject, detail, n) ORDER BY n"
        ),
        {
            "kinds": [kind for kind, _, _ in events],
            "subjects": [subject for _, subject, _ in events],
            "details": [json.dumps(detail, ensure_ascii=False) for _, _, detail in events],
        },
    )


def _insert(connection: Connection, into: str, columns: dict[str, list[list[Any]]], select: str) -> list[int]:
    """Insert rows in their order and return their ids in that order.

    ``columns`` are named a, b, c… in the order given, by their SQL type; ``select`` says what goes where.
    """
    arrays: list[str] = []
    values: dict[str, list[Any]] = {}
    names = "abcdefgh"
    for kind, lists in columns.items():
        for each in lists:
            name = names[len(arrays)]
            arrays.append(f"cast(:{name} AS {kind}[])")
            values[name] = each
    listed = f"unnest({', '.join(arrays)}) WITH ORDINALITY AS l ({', '.join(names[: len(arrays)])}, n)"
    query = f"INSERT INTO {into} SELECT {select} FROM {listed} ORDER BY n RETURNING id"  # noqa: S608 - constants of this module
    made = rows(connection, query, values)
    # Ids come from a sequence, one after the other, in the order of the rows.
    return sorted(row.id for row in made)
