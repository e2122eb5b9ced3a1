"""Arrivals: objects in the inbox become documents, versions and queued jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice

from sqlalchemy import Connection, text

from lift_core.errors import AlreadyDoneError, NotFoundError, PermanentError
from lift_core.records import Arrival, JobRequest, Recipe
from lift_core.registry.aliases import repoint
from lift_core.registry.database import Database, event, one, rows
from lift_core.registry.new_documents import add_documents
from lift_core.registry.queueing import cancel_queued, last_generation, queue_job
from lift_core.registry.removals import release_archived

_COMPARED_AT_ONCE = 2000
_RECORDED_AT_ONCE = 500
_ASKED_AT_ONCE = 8

_Asked = tuple[JobRequest, str | None]
"""What an object asks for, and why it is refused, if it is."""


class Arrivals(Database):
    """Recording what lies in the inbox. Recording the same twice changes nothing."""

    def record_arrivals(
        self,
        arrivals: Iterable[Arrival],
        recipe: Recipe,
        request_for: Callable[[Arrival], JobRequest | None] | None = None,
    ) -> int:
        """Make documents, versions and queued jobs of what is new; returns how many are new.

        Jobs are queued in the order of arrival, some hundred in one transaction: killed in between, the
        rest is done the next time. What is recorded already is compared by the database, part by part, so
        ``arrivals`` may be a long listing that is still being read.

        ``request_for`` is asked for objects that were put since the last time (the same bytes may carry
        another tag), from several threads; where it answers None, ``recipe`` holds. Where it raises
        PermanentError the object is recorded with a job that failed for that reason, and the others are
        not held up; where it raises NotFoundError the object is gone again.
        """
        changed = [found for part in _parts(arrivals, _COMPARED_AT_ONCE) for found in self._changed(part)]
        changed.sort(key=lambda found: (found.arrived_at, found.key))

        def ask(found: Arrival) -> _Asked | None:
            try:
                return (request_for and request_for(found)) or JobRequest(recipe=recipe), None
            except PermanentError as error:
                return JobRequest(recipe=recipe), str(error)
            except NotFoundError:
                return None

        new = 0
        with ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="arrivals") as pool:
            for part in _parts(changed, _RECORDED_AT_ONCE):
                answers = zip(part, pool.map(ask, part) if request_for else map(ask, part), strict=True)
                there = [(found, asked) for found, asked in answers if asked is not None]
                if there:
                    new += self._record_part(there)
        return new

    def _changed(self, listed: Sequence[Arrival]) -> list[Arrival]:
        """Those that no current version has with this ETag, or that were put again since."""
        with self.transaction() as connection:
            found = rows(
                connection,
                """
                SELECT l.n FROM unnest(cast(:buckets AS text[]), cast(:keys AS text[]),
                                       cast(:etags AS text[]), cast(:moments AS timestamptz[]))
                    WITH ORDINALITY AS l (bucket, key, etag, at, n)
                LEFT JOIN documents d ON d.bucket = l.bucket AND d.key = l.key
                LEFT JOIN versions v ON v.document_id = d.id AND v.state = 'current'
                LEFT JOIN arrivals a ON a.document_id = d.id AND a.etag = v.etag
                WHERE a.etag IS DISTINCT FROM l.etag OR l.at > a.put_at
                """,
                {
                    "buckets": [each.bucket for each in listed],
                    "keys": [each.key for each in listed],
                    "etags": [each.etag for each in listed],
                    "moments": [each.arrived_at for each in listed],
                },
            )
        return [listed[row.n - 1] for row in found]

    def _record_part(self, there: Sequence[tuple[Arrival, _Asked]]) -> int:
        """Record some objects in one transaction, in their order; returns how many versions are new."""
        with self.transaction() as connection:
            # Dispatchers record one after another: they would wait for each other's documents crosswise.
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('lift-arrivals'))"))
            known = {
                (row.bucket, row.key)
                for row in rows(
                    connection,
                    "SELECT bucket, key FROM documents "
                    "WHERE bucket = ANY(cast(:buckets AS text[])) AND key = ANY(cast(:keys AS text[]))",
                    {
                        "buckets": list({found.bucket for found, _ in there}),
                        "keys": [found.key for found, _ in there],
                    },
                )
            }
            marked: list[tuple[str | None, Arrival, _Asked]] = []
            for found, asked in there:
                is_new = (found.bucket, found.key) not in known
                known.add((found.bucket, found.key))
                marked.append((found.bucket if is_new else None, found, asked))
            new = 0
            for bucket, run in groupby(marked, key=lambda each: each[0]):
                part = list(run)
                if bucket is not None:
                    add_documents(connection, [found for _, found, _ in part], [asked for *_, asked in part])
                    new += len(part)
                else:
                    new += sum(_record(connection, found, *asked) for _, found, asked in part)
            return new

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


def _record(connection: Connection, found: Arrival, request: JobRequest, refused: str | None) -> int:
    """Record an object of a document that is there; returns 1 if its bytes are a new version."""
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
            release_archived(connection, document_id)
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
            text("INSERT INTO arrivals (document_id, etag, version_id, put_at) VALUES (:d, :etag, :v, :at)"),
            {"d": document_id, "etag": found.etag, "v": version_id, "at": found.arrived_at},
        )
        _make_current(connection, document_id, version_id)
        event(connection, "version.arrived", slug, version=number, key=found.key, size=found.size)
    there = one(
        connection,
        # A job that was refused for its tag never began: the corrected tag may ask for the same recipe.
        "SELECT id FROM jobs WHERE version_id = :v AND recipe_digest = :r AND state <> 'cancelled' "
        "AND NOT (state = 'failed' AND admitted_at IS NULL) ORDER BY id DESC LIMIT 1",
        v=version_id,
        r=request.recipe.digest,
    )
    if there is not None:
        connection.execute(
            text("UPDATE jobs SET priority = :priority WHERE id = :job AND state = 'queued'"),
            {"priority": request.priority, "job": there.id},
        )
    else:
        generation = last_generation(connection, version_id, request.recipe) + 1
        queue_job(connection, version_id, slug, number, request, generation, refused=refused)
    return new


def _document(connection: Connection, found: Arrival) -> tuple[int, str]:
    """The document's row, locked."""
    row = one(
        connection,
        "SELECT id, slug FROM documents WHERE bucket = :bucket AND key = :key FOR UPDATE",
        bucket=found.bucket,
        key=found.key,
    )
    if row is None:
        raise RuntimeError(f"the document of '{found.key}' was there a moment ago")
    return row.id, row.slug


def _make_current(connection: Connection, document_id: int, version_id: int) -> None:
    others = rows(
        connection,
        "UPDATE versions SET state = 'superseded' WHERE document_id = :d AND state = 'current' AND id <> :v "
        "RETURNING id",
        {"d": document_id, "v": version_id},
    )
    for row in others:
        cancel_queued(connection, row.id, "a newer version arrived")
    connection.execute(text("UPDATE versions SET state = 'current' WHERE id = :v"), {"v": version_id})


def _parts(whole: Iterable[Arrival], size: int) -> Iterator[list[Arrival]]:
    """The same in lists of at most ``size``."""
    rest = iter(whole)
    while part := list(islice(rest, size)):
        yield part
