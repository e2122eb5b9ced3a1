"""What a person decides about adapters: aliases, tags, quarantine, release, archive, removal.

Each is one transaction with its events. The document's row is locked first, as everywhere, so a decision
and an activation of the same document follow one another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, text

from lift_core.errors import LiftError, NotFoundError, StateError
from lift_core.records import AdapterRecord, AliasRecord
from lift_core.registry.aliases import (
    CHAMPION,
    drop,
    names_of,
    point,
    split_alias,
    supersede_unnamed,
    take_back,
)
from lift_core.registry.browsing import adapter_where, alias_record
from lift_core.registry.database import Database, event, one, rows

_PROVEN = ("active", "superseded")
_MAX_TAGS = 64

Check = Callable[[AliasRecord | None], None]
"""Looks at what an alias is within the transaction that moves it, and raises to refuse the move."""


class Moves(Database):
    """Decisions. Names are immutable adapter names; an alias must be resolved before."""

    def set_alias(self, alias: str, name: str, check: Check | None = None) -> AdapterRecord:
        """Let ``<slug>`` or ``<slug>@<label>`` point to an adapter of that document, at once.

        A superseded adapter is active again. ``<slug>`` and ``<slug>@champion`` move together.
        ``check`` is called with what the alias is now (None: there is none), which cannot change before
        the move; what it raises refuses the move.

        Raises:
            NotFoundError: there is no such adapter.
            StateError: the adapter is not proven, or was taken out of service.
            LiftError: the alias is not one of this adapter's document.
        """
        with self.transaction() as connection:
            found = _locked(connection, name)
            parts = split_alias(alias)
            if parts is None or parts[0] != found.slug:
                raise LiftError(
                    f"'{alias}' cannot point to {name}: an alias of its document is {found.slug}, "
                    f"{found.slug}@champion or {found.slug}@<label>"
                )
            if check is not None:
                check(alias_record(connection, alias))
            if found.state not in _PROVEN:
                raise StateError(
                    f"adapter '{name}' is {found.state}: an alias can only point to a proven one"
                )
            there = one(
                connection,
                "SELECT 1 FROM aliases WHERE name = :alias AND adapter_id = :a",
                alias=names_of(*parts)[-1],
                a=found.id,
            )
            if there is None:
                point(connection, found.document_id, found.slug, parts[1], found)
            return adapter_where(connection, "a.id = :a", a=found.id)

    def remove_alias(self, alias: str, check: Check | None = None) -> None:
        """Remove an alias; an adapter that loses its last one answers under its own name alone.

        ``check`` is called with what the alias is now, as by :meth:`set_alias`.

        Raises:
            NotFoundError: there is no such alias.
        """
        with self.transaction() as connection:
            # The document's row first; the alias is looked at again once it is held.
            document = one(
                connection,
                "SELECT d.id FROM documents d JOIN aliases l ON l.document_id = d.id "
                "WHERE l.name = :alias FOR UPDATE OF d",
                alias=alias,
            )
            there = alias_record(connection, alias)
            parts = split_alias(alias)
            if document is None or there is None or parts is None:
                raise NotFoundError(f"there is no alias '{alias}'; see `lift adapters ls`")
            if check is not None:
                check(there)
            drop(connection, *parts)
            supersede_unnamed(connection, document.id, by=None)

    def tag(self, name: str, tags: Mapping[str, str | None]) -> AdapterRecord:
        """Set tags of an adapter; a value of None removes that tag.

        Raises:
            NotFoundError: there is no such adapter.
            LiftError: a key or value is not allowed, or there would be too many.
        """
        with self.transaction() as connection:
            found = _locked(connection, name)
            changed: dict[str, str | None] = {}
            for key, value in tags.items():
                _check_tag(key, value)
                query = (
                    "DELETE FROM tags WHERE adapter_id = :a AND key = :key RETURNING key"
                    if value is None
                    else "INSERT INTO tags (adapter_id, key, value) VALUES (:a, :key, :value) "
                    "ON CONFLICT (adapter_id, key) DO UPDATE SET value = excluded.value "
                    "WHERE tags.value <> excluded.value RETURNING key"
                )
                values = {"a": found.id, "key": key} | ({} if value is None else {"value": value})
                if rows(connection, query, values):
                    changed[key] = value
            count = one(connection, "SELECT count(*) AS n FROM tags WHERE adapter_id = :a", a=found.id)
            if count is not None and count.n > _MAX_TAGS:
                raise LiftError(f"adapter '{name}' would have {count.n} tags; the limit is {_MAX_TAGS}")
            if changed:
                event(connection, "adapter.tagged", name, tags=changed)
            return adapter_where(connection, "a.id = :a", a=found.id)

    def quarantine(self, name: str, reason: str) -> str | None:
        """Take an adapter out of service; its aliases go back to the last good one, or are removed.

        Returns the name of the adapter that serves instead, or None. Nothing happens where it is
        quarantined already.

        Raises:
            NotFoundError: there is no such adapter.
            StateError: it is not in service (not proven, archived or removed).
        """
        return self._retire(name, "quarantined", reason, keep_aliases=False)

    def archive(self, name: str, reason: str | None = None) -> None:
        """Put an adapter away: it does not answer any more; its files stay.

        Raises:
            NotFoundError: there is no such adapter.
            StateError: an alias points to it, or it never was in service.
        """
        self._retire(name, "archived", reason, keep_aliases=True)

    def release(self, name: str, reason: str) -> AdapterRecord:
        """Let a quarantined or archived adapter answer again, under its own name.

        If nothing else serves for its document, its document's aliases point to it again.

        Raises:
            NotFoundError: there is no such adapter.
            StateError: it is neither quarantined nor archived.
        """
        with self.transaction() as connection:
            found = _locked(connection, name)
            if found.state not in ("quarantined", "archived"):
                raise StateError(
                    f"adapter '{name}' is {found.state}: only a quarantined or archived one is released"
                )
            connection.execute(
                text("UPDATE adapters SET state = 'superseded' WHERE id = :a"), {"a": found.id}
            )
            event(connection, "adapter.released", name, reason=reason)
            serving = one(connection, "SELECT 1 FROM aliases WHERE name = :slug", slug=found.slug)
            if serving is None:
                point(connection, found.document_id, found.slug, CHAMPION, found)
            return adapter_where(connection, "a.id = :a", a=found.id)

    def remove(self, name: str) -> AdapterRecord:
        """Mark an adapter as removed, for good: its files may be deleted now, its line and lineage stay.

        Nothing happens where it is removed already.

        Raises:
            NotFoundError: there is no such adapter.
            StateError: it is active.
        """
        with self.transaction() as connection:
            found = _locked(connection, name)
            if found.state == "active":
                raise StateError(
                    f"adapter '{name}' is active ({_held(connection, found.id)} points to it): move or "
                    "remove the alias, or quarantine it, before it is removed"
                )
            if found.state != "removed":
                connection.execute(
                    text("UPDATE adapters SET state = 'removed' WHERE id = :a"), {"a": found.id}
                )
                connection.execute(text("DELETE FROM search_entries WHERE adapter_id = :a"), {"a": found.id})
                event(connection, "adapter.removed", name)
            return adapter_where(connection, "a.id = :a", a=found.id)

    def _retire(self, name: str, state: str, reason: str | None, *, keep_aliases: bool) -> str | None:
        with self.transaction() as connection:
            found = _locked(connection, name)
            if found.state == state:
                return None
            if found.state not in (*_PROVEN, "quarantined"):
                raise StateError(f"adapter '{name}' is {found.state}: it is not in service")
            if keep_aliases and (held := _held(connection, found.id)):
                raise StateError(
                    f"{held} points to '{name}': move or remove the alias (lift adapters alias) before "
                    "it is archived"
                )
            connection.execute(
                text("UPDATE adapters SET state = :state WHERE id = :a"), {"state": state, "a": found.id}
            )
            instead = take_back(connection, found.document_id, found.slug, found.id)
            event(connection, f"adapter.{state}", name, reason=reason, instead=instead)
        return instead


def _locked(connection: Connection, name: str) -> Row[Any]:
    """An adapter with its document's slug; the document's row is held first, then the adapter's."""
    one(
        connection,
        "SELECT d.id FROM documents d JOIN adapters a ON a.document_id = d.id WHERE a.name = :name "
        "FOR UPDATE OF d",
        name=name,
    )
    found = one(
        connection,
        "SELECT a.id, a.name, a.state, a.document_id, d.slug FROM adapters a "
        "JOIN documents d ON d.id = a.document_id WHERE a.name = :name FOR UPDATE OF a",
        name=name,
    )
    if found is None:
        raise NotFoundError(f"there is no adapter '{name}'; see `lift adapters ls`")
    return found


def _held(connection: Connection, adapter_id: int) -> str:
    held = rows(connection, "SELECT name FROM aliases WHERE adapter_id = :a ORDER BY name", {"a": adapter_id})
    return ", ".join(row.name for row in held)


def _check_tag(key: str, value: str | None) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}", key):
        raise LiftError(
            f"'{key}' is no tag: letters, digits and . _ / -, at most 63, beginning with a letter or digit"
        )
    if value is not None and (len(value) > 1000 or re.search("[\x00\ud800-\udfff]", value)):
        raise LiftError(f"the value of tag '{key}' has over 1,000 characters, or one that cannot be stored")
