"""Questions about adapters: by name, by filter, page by page, and where one comes from."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection

from lift_core.errors import LiftError, NotFoundError, NotServableError
from lift_core.records import (
    AdapterFilter,
    AdapterPage,
    AdapterRecord,
    AliasRecord,
    Lineage,
    Recipe,
    ScoreCondition,
)
from lift_core.registry.aliases import split_alias
from lift_core.registry.database import Database, one, rows

PAGE = 50
MAX_PAGE = 1000
_FEW = 5000
_IMMUTABLE = re.compile(r"-v[0-9]+$")

_COLUMNS = """
    a.name, a.base_model, a.base_revision, a.recipe_digest AS recipe, a.state, a.prefix, a.files,
    a.created_at, a.activated_at, a.title, d.bucket, d.key AS document, d.slug, v.number AS version,
    array(SELECT name FROM aliases WHERE adapter_id = a.id ORDER BY name) AS aliases,
    (SELECT coalesce(jsonb_object_agg(name, value), '{}') FROM scores WHERE adapter_id = a.id) AS scores,
    (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM tags WHERE adapter_id = a.id) AS tags
"""
_FROM = """
    FROM adapters a JOIN documents d ON d.id = a.document_id JOIN versions v ON v.id = a.version_id
"""
# An immutable name before an alias before a document's key, which goes by its document's alias. Each part
# has an index of its own; an OR over the three would read the whole table.
_ID_OF_NAME = """
    (SELECT id FROM (
        SELECT id, 1 AS rank FROM adapters WHERE name = :name
        UNION ALL SELECT adapter_id, 2 FROM aliases WHERE name = :name
        UNION ALL SELECT l.adapter_id, 3 FROM documents d JOIN aliases l ON l.name = d.slug
            WHERE d.key = :name) named
     ORDER BY rank, id DESC LIMIT 1)
"""
_ALIAS = """
    SELECT l.name, a.name AS adapter, l.moved_at FROM aliases l JOIN adapters a ON a.id = l.adapter_id
"""
_LINEAGE = """
    SELECT a.name AS adapter, a.state, a.base_model, a.base_revision, a.provenance, a.title,
           d.bucket, d.key, d.slug, v.number AS version, v.sha256, v.size, v.arrived_at,
           r.digest, r.body, j.run_id, j.generation, e.pair_count, e.shard_count, e.checksum,
           (SELECT coalesce(jsonb_agg(jsonb_build_object('stage', stage, 'started_at', started_at,
                'ended_at', ended_at, 'detail', detail) ORDER BY started_at), '[]')
            FROM stages WHERE job_id = j.id) AS stages
    FROM adapters a JOIN documents d ON d.id = a.document_id JOIN versions v ON v.id = a.version_id
    JOIN recipes r ON r.digest = a.recipe_digest JOIN jobs j ON j.id = a.job_id
    LEFT JOIN stream_ends e ON e.job_id = j.id
"""


class Browsing(Database):
    """Reading what the registry knows of adapters."""

    def adapters(
        self, filter: AdapterFilter | None = None, limit: int = PAGE, cursor: str | None = None
    ) -> AdapterPage:
        """One page of the adapters that a filter lets through, newest first.

        Raises:
            LiftError: the cursor is not one that a page gave, or the limit is out of range.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise LiftError(f"a page has 1 to {MAX_PAGE} adapters, not {limit}")
        filter = filter or AdapterFilter()
        conditions, values = _conditions(filter)
        # Bounds on the time are read off the index of times, which only helps in its own order. Otherwise a
        # range that ended long ago would be reached by reading every younger adapter.
        bounded = filter.since is not None or filter.until is not None
        order, place = ("a.created_at DESC, a.id DESC", "created_at, id") if bounded else ("a.id DESC", "id")
        if cursor is not None:
            conditions.append(f"({place}) < (SELECT {place} FROM adapters WHERE id = :after)")  # noqa: S608
            values["after"] = read_cursor(cursor)
        with self.transaction() as connection:
            conditions += [_condition(connection, *each, values) for each in _lookups(filter)]
            found = rows(
                connection,
                f"WITH page AS (SELECT a.id FROM adapters a WHERE {' AND '.join(conditions)} "  # noqa: S608
                f"ORDER BY {order} LIMIT :limit) SELECT a.id, {_COLUMNS} {_FROM} "
                f"WHERE a.id IN (SELECT id FROM page) ORDER BY {order}",
                values | {"limit": limit + 1},
            )
        more = len(found) > limit
        bodies = [dict(row._mapping) for row in found[:limit]]
        ids = [body.pop("id") for body in bodies]
        return AdapterPage(
            adapters=tuple(AdapterRecord.model_validate(body) for body in bodies),
            next_cursor=cursor_of(ids[-1]) if more else None,
        )

    def adapter(self, name: str) -> AdapterRecord:
        """One adapter by its name, or by an alias or document that points to it.

        Raises:
            NotFoundError: there is none; the message says what there is instead.
        """
        with self.transaction() as connection:
            found = _adapter(connection, f"a.id = {_ID_OF_NAME}", name=name)
            if found is None:
                raise NotFoundError(_explain_missing(connection, name))
        return found

    def resolve(self, name: str) -> AdapterRecord:
        """The adapter that may answer under a name, an alias or a document's key.

        Raises:
            NotFoundError: there is none.
            NotServableError: its state does not let it answer.
        """
        found = self.adapter(name)
        if found.state != "active" and not (found.state == "superseded" and _IMMUTABLE.search(name)):
            raise NotServableError(
                f"adapter '{found.name}' is {found.state}: it may not serve; see "
                f"`lift adapters show {found.name}`",
                found.state,
            )
        return found

    def states_of(self, names: Collection[str]) -> dict[str, str]:
        """The state of each adapter of those names; names that are no adapter's are left out."""
        with self.transaction() as connection:
            found = rows(
                connection, "SELECT name, state FROM adapters WHERE name = ANY(:names)", {"names": [*names]}
            )
        return {row.name: row.state for row in found}

    def adapter_of_job(self, job_id: int) -> AdapterRecord | None:
        """What a job's training left, or None."""
        with self.transaction() as connection:
            return _adapter(connection, "a.job_id = :job", job=job_id)

    def aliases(
        self, document: str | None = None, limit: int = MAX_PAGE, after: str | None = None
    ) -> list[AliasRecord]:
        """Aliases by name, of one document (by its slug) or of all; those that follow ``after``."""
        with self.transaction() as connection:
            found = rows(
                connection,
                f"{_ALIAS} WHERE (cast(:slug AS text) IS NULL OR l.slug = :slug) "
                "AND l.name > :after ORDER BY l.name LIMIT :limit",
                {"slug": document, "limit": limit, "after": after or ""},
            )
        return [AliasRecord.model_validate(dict(row._mapping)) for row in found]

    def alias(self, name: str) -> AliasRecord:
        """One alias.

        Raises:
            NotFoundError: there is none of that name.
        """
        with self.transaction() as connection:
            found = alias_record(connection, name)
        if found is None:
            raise NotFoundError(f"there is no alias '{name}'; see `lift adapters ls`")
        return found

    def recipe(self, digest: str) -> Recipe:
        """The recipe of that digest.

        Raises:
            NotFoundError: there is none.
        """
        with self.transaction() as connection:
            found = one(connection, "SELECT body FROM recipes WHERE digest = :digest", digest=digest)
        if found is None:
            raise NotFoundError(f"there is no recipe {digest}")
        return Recipe.model_validate(found.body)

    def lineage(self, name: str) -> Lineage:
        """Where an adapter comes from; ``name`` may also be an alias or a document.

        Raises:
            NotFoundError: there is none of that name.
        """
        adapter = self.adapter(name)
        with self.transaction() as connection:
            found = one(connection, f"{_LINEAGE} WHERE a.name = :name", name=adapter.name)
        if found is None:
            raise NotFoundError(f"there is no adapter '{adapter.name}'")
        body = Recipe.model_validate(found.body)
        generated = next((stage for stage in found.stages if stage["stage"] == "generate"), None)
        return Lineage(
            adapter=found.adapter,
            state=found.state,
            document={
                name: getattr(found, name)
                for name in ("bucket", "key", "slug", "title", "version", "sha256", "size", "arrived_at")
            },
            recipe={"digest": found.digest, "body": body.model_dump(mode="json")},
            pairs={
                "kept": found.pair_count,
                "rejected": generated["detail"].get("rejected") if generated else None,
                "shards": found.shard_count,
                "sha256": found.checksum,
            },
            generator=body.generator.model_dump(mode="json"),
            base={"model": found.base_model, "revision": found.base_revision},
            run={
                "dag": "lift_document",
                "run_id": found.run_id,
                "generation": found.generation,
                "stages": found.stages,
            },
            provenance=found.provenance,
        )


def alias_record(connection: Connection, name: str) -> AliasRecord | None:
    """What an alias points to now, within a transaction."""
    found = one(connection, f"{_ALIAS} WHERE l.name = :name", name=name)
    return AliasRecord.model_validate(dict(found._mapping)) if found is not None else None


def adapter_where(connection: Connection, condition: str, **values: Any) -> AdapterRecord:
    """The adapter that must be there, within a transaction that has just seen or made it."""
    found = _adapter(connection, condition, **values)
    if found is None:
        raise RuntimeError("a row that was just written cannot be read")
    return found


def parse_score_condition(words: str) -> ScoreCondition:
    """A condition from its text, ``gain>=1.5``.

    Raises:
        LiftError: it does not read as one.
    """
    found = re.fullmatch(r"\s*([a-z][A-Za-z0-9._-]*)\s*(>=|<=|>|<|=)\s*(-?[0-9.]+(?:e-?[0-9]+)?)\s*", words)
    try:
        if found is not None:
            return ScoreCondition.model_validate(
                {"score": found[1], "comparison": found[2], "value": float(found[3])}
            )
    except ValueError:
        pass
    raise LiftError(f"'{words}' is no condition on a score; write it like gain>=1.5")


def _adapter(connection: Connection, condition: str, **values: Any) -> AdapterRecord | None:
    found = one(connection, f"SELECT {_COLUMNS} {_FROM} WHERE {condition}", **values)
    return AdapterRecord.model_validate(dict(found._mapping)) if found is not None else None


def _conditions(filter: AdapterFilter) -> tuple[list[str], dict[str, Any]]:
    """The filter as SQL over ``adapters a``, with its values apart from it."""
    values: dict[str, Any] = {}
    found: list[str] = []

    def add(condition: str, **named: Any) -> None:
        found.append(condition)
        values.update(named)

    if filter.document is not None:
        add(
            "a.document_id = ANY(array(SELECT id FROM documents WHERE slug = :document "
            "UNION SELECT id FROM documents WHERE key = :document))",
            document=filter.document,
        )
    if filter.base_model is not None:
        add("a.base_model = :base_model", base_model=filter.base_model)
    if filter.recipe is not None:
        add("a.recipe_digest LIKE :recipe", recipe=_prefix(filter.recipe))
    if filter.states:
        add("a.state = ANY(:states)", states=list(filter.states))
    else:
        add("a.state <> 'removed'")
    if filter.since is not None:
        add("a.created_at >= :since", since=filter.since)
    if filter.until is not None:
        add("a.created_at < :until", until=filter.until)
    if filter.text is not None:
        add("to_tsvector('simple', a.title) @@ websearch_to_tsquery('simple', :words)", words=filter.text)
    return found, values


def _lookups(filter: AdapterFilter) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """What must be found of an adapter in tables of their own: table, condition and values of each."""
    for number, (key, value) in enumerate(filter.tags.items()):
        met = f"t.key = :key{number} AND t.value = :value{number}"
        yield "tags", met, {f"key{number}": key, f"value{number}": value}
    for number, bound in enumerate(filter.scores):
        met = f"t.name = :score{number} AND t.value {bound.comparison} :bound{number}"
        yield "scores", met, {f"score{number}": bound.score, f"bound{number}": bound.value}


def _condition(
    connection: Connection, table: str, met: str, named: dict[str, Any], values: dict[str, Any]
) -> str:
    """A lookup as SQL over ``adapters a``; its values are added to ``values``.

    Few adapters that meet it are looked up one by one; among many, adapters are walked from the newest until
    a page is full. PostgreSQL cannot tell which it is: it knows how all values are spread, not those of one
    score or tag.
    """
    values |= named
    count = one(
        connection,
        f"SELECT count(*) AS n FROM (SELECT FROM {table} t WHERE {met} LIMIT {_FEW + 1}) few",  # noqa: S608
        **named,
    )
    if count is not None and count.n <= _FEW:
        return f"a.id = ANY(array(SELECT t.adapter_id FROM {table} t WHERE {met}))"  # noqa: S608
    return f"EXISTS (SELECT FROM {table} t WHERE t.adapter_id = a.id AND {met})"


def _prefix(digest: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{1,64}", digest):
        raise LiftError(f"'{digest}' is not the beginning of a recipe's digest (hexadecimal digits)")
    return f"{digest}%"


def cursor_of(last_id: int) -> str:
    """The cursor of the page after the one that ends with this row."""
    return base64.urlsafe_b64encode(str(last_id).encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> int:
    """The row that a cursor stands for.

    Raises:
        LiftError: it is not one that :func:`cursor_of` wrote.
    """
    try:
        number = int(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error) as error:
        raise LiftError(f"'{cursor}' is not the cursor of a page") from error
    if not 0 < number < 2**63:
        raise LiftError(f"'{cursor}' is not the cursor of a page")
    return number


def _explain_missing(connection: Connection, name: str) -> str:
    """Why nothing answers to a name: no such document, no adapter yet, or none that may serve."""
    alias = split_alias(name)
    candidates: Sequence[Any] = rows(
        connection,
        "SELECT s.slug, s.state, (SELECT name || ' is ' || state FROM adapters a "
        "WHERE a.document_id = s.id ORDER BY a.id DESC LIMIT 1) AS newest "
        "FROM document_status s WHERE s.slug = :slug OR s.key = :name LIMIT 1",
        {"name": name, "slug": alias[0] if alias else name},
    )
    if not candidates:
        return f"there is no adapter, alias or document '{name}'; see `lift adapters ls`"
    found = candidates[0]
    labels = rows(
        connection, "SELECT name FROM aliases WHERE slug = :slug ORDER BY name LIMIT 5", {"slug": found.slug}
    )
    if labels:
        missing = name if alias is not None else found.slug
        known = ", ".join(row.name for row in labels)
        return (
            f"document '{found.slug}' has no alias '{missing}', only {known}; "
            f"see `lift adapters ls --document {found.slug}`"
        )
    why = f"its newest one, {found.newest}" if found.newest else f"the document is {found.state}"
    return f"document '{found.slug}' has no active adapter ({why}); see `lift docs show {found.slug}`"
