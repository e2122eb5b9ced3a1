"""Which objects in the store the registry refers to; what nothing refers to may be cleaned up."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lift_core.records import Record
from lift_core.registry.database import Database, rows

_BATCH = 1000


class AdapterFiles(Record):
    """Where an adapter's files lie, and whether they must be there."""

    name: str
    prefix: str
    files: dict[str, str]
    removed: bool


class References(Database):
    """Reading what is referred to, in batches that fit into memory whatever the registry's size."""

    def adapter_files(self, names: Collection[str] | None = None) -> Iterator[AdapterFiles]:
        """The files of the adapters of those names, or of all, oldest first."""
        last = 0
        while True:
            with self.transaction() as connection:
                found = rows(
                    connection,
                    "SELECT id, name, prefix, files, state = 'removed' AS removed FROM adapters "
                    "WHERE id > :last AND (cast(:names AS text[]) IS NULL OR name = ANY(:names)) "
                    "ORDER BY id LIMIT :limit",
                    {"last": last, "names": None if names is None else [*names], "limit": _BATCH},
                )
            for row in found:
                yield AdapterFiles(name=row.name, prefix=row.prefix, files=row.files, removed=row.removed)
            if len(found) < _BATCH:
                return
            last = found[-1].id

    def known_prefixes(self, prefixes: Collection[str]) -> set[str]:
        """Those of the prefixes under which a registered adapter's files must stay."""
        with self.transaction() as connection:
            found = rows(
                connection,
                "SELECT prefix FROM adapters WHERE prefix = ANY(:prefixes) AND state <> 'removed'",
                {"prefixes": [*prefixes]},
            )
        return {row.prefix for row in found}

    def known_shards(self, keys: Collection[str]) -> set[str]:
        """Those of the keys that the manifest holds."""
        with self.transaction() as connection:
            found = rows(connection, "SELECT key FROM shards WHERE key = ANY(:keys)", {"keys": [*keys]})
        return {row.key for row in found}

    def known_pair_reports(self, keys: Collection[str]) -> set[str]:
        """Those of the keys that the end of a stream names as its report."""
        with self.transaction() as connection:
            found = rows(
                connection, "SELECT report FROM stream_ends WHERE report = ANY(:keys)", {"keys": [*keys]}
            )
        return {row.report for row in found}

    def known_checkpoints(self, keys: Collection[str]) -> set[str]:
        """Those of the keys that are a job's checkpoint."""
        with self.transaction() as connection:
            found = rows(connection, "SELECT key FROM checkpoints WHERE key = ANY(:keys)", {"keys": [*keys]})
        return {row.key for row in found}

    def known_results(self, keys: Collection[str]) -> set[str]:
        """Those of the keys that are pieces of an evaluation."""
        with self.transaction() as connection:
            found = rows(
                connection, "SELECT key FROM evaluation_shards WHERE key = ANY(:keys)", {"keys": [*keys]}
            )
        return {row.key for row in found}

    def known_reports(self, prefixes: Collection[str]) -> set[str]:
        """Those of the prefixes that a verdict names as its report's."""
        with self.transaction() as connection:
            found = rows(
                connection,
                "SELECT DISTINCT report FROM verdicts WHERE report = ANY(:prefixes)",
                {"prefixes": [*prefixes]},
            )
        return {row.report for row in found}

    def job_states(self, job_ids: Collection[int]) -> dict[int, str]:
        """The state of each job; numbers that are no job's are left out."""
        with self.transaction() as connection:
            found = rows(connection, "SELECT id, state FROM jobs WHERE id = ANY(:ids)", {"ids": [*job_ids]})
        return {row.id: row.state for row in found}
