"""Aliases within a transaction: a document's own pair, its other labels, and the way back.

``<slug>`` and ``<slug>@champion`` are one thing under two names and always move together. Every other
label, ``<slug>@<label>``, is moved by hand alone. Whoever calls these holds the document's row.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, Row, text

from lift_core.registry.database import event, one, rows

CHAMPION = "champion"
_ALIAS = re.compile(r"(?P<slug>[a-z0-9]+(?:-[a-z0-9]+)*)(?:@(?P<label>[a-z0-9]+(?:-[a-z0-9]+)*))?")


def split_alias(alias: str) -> tuple[str, str] | None:
    """Slug and label of an alias (``report`` is ``report@champion``); None where it is not one."""
    found = _ALIAS.fullmatch(alias)
    return (found["slug"], found["label"] or CHAMPION) if found else None


def names_of(slug: str, label: str) -> tuple[str, ...]:
    """The names under which a label is known."""
    return (slug, f"{slug}@{CHAMPION}") if label == CHAMPION else (f"{slug}@{label}",)


def point(connection: Connection, document_id: int, slug: str, label: str, adapter: Row[Any]) -> None:
    """Let a label point to a proven adapter (``id``, ``name``), which is active from now on.

    Adapters of the document that are active without any alias are superseded.
    """
    activated = one(
        connection,
        "UPDATE adapters SET state = 'active', activated_at = clock_timestamp() "
        "WHERE id = :a AND state <> 'active' RETURNING name",
        a=adapter.id,
    )
    if activated is not None:
        event(connection, "adapter.active", adapter.name)
    for alias in names_of(slug, label):
        connection.execute(
            text(
                "INSERT INTO aliases (name, adapter_id, document_id, slug) VALUES (:alias, :a, :d, :slug) "
                "ON CONFLICT (name) DO UPDATE SET adapter_id = excluded.adapter_id, "
                "moved_at = clock_timestamp()"
            ),
            {"alias": alias, "a": adapter.id, "d": document_id, "slug": slug},
        )
        event(connection, "alias.moved", alias, adapter=adapter.name)
    supersede_unnamed(connection, document_id, by=adapter.name)


def supersede_unnamed(connection: Connection, document_id: int, by: str | None) -> None:
    """Active adapters that no alias points to any more answer under their own names alone."""
    older = rows(
        connection,
        "UPDATE adapters SET state = 'superseded' WHERE document_id = :d AND state = 'active' "
        "AND NOT EXISTS (SELECT 1 FROM aliases WHERE adapter_id = adapters.id) RETURNING name",
        {"d": document_id},
    )
    for row in older:
        event(connection, "adapter.superseded", row.name, by=by)


def repoint(connection: Connection, document_id: int, slug: str, version_id: int) -> None:
    """Let the newest adapter of a version that is current again serve, if it has a proven one."""
    adapter = one(
        connection,
        "SELECT id, name FROM adapters WHERE version_id = :v AND state IN ('active', 'superseded') "
        "ORDER BY id DESC LIMIT 1",
        v=version_id,
    )
    if adapter is not None:
        point(connection, document_id, slug, CHAMPION, adapter)


def take_back(connection: Connection, document_id: int, slug: str, adapter_id: int) -> str | None:
    """Take an adapter's aliases from it: they go to the last good one, or are removed.

    The last good one is the proven adapter of the document that served most recently. Returns its name,
    or None where there is none. The adapter itself must have left the state ``active``: the database
    refuses the transaction otherwise.
    """
    held = rows(connection, "SELECT name FROM aliases WHERE adapter_id = :a ORDER BY name", {"a": adapter_id})
    good = one(
        connection,
        "SELECT id, name FROM adapters WHERE document_id = :d AND id <> :a "
        "AND state IN ('active', 'superseded') ORDER BY activated_at DESC NULLS LAST, id DESC LIMIT 1",
        d=document_id,
        a=adapter_id,
    )
    labels = dict.fromkeys(found[1] for row in held if (found := split_alias(row.name)) is not None)
    for label in labels:
        if good is not None:
            point(connection, document_id, slug, label, good)
        else:
            drop(connection, slug, label)
    return good.name if good is not None and labels else None


def drop(connection: Connection, slug: str, label: str) -> None:
    """Remove a label."""
    for alias in names_of(slug, label):
        gone = one(connection, "DELETE FROM aliases WHERE name = :alias RETURNING name", alias=alias)
        if gone is not None:
            event(connection, "alias.removed", alias)
