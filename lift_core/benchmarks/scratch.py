"""Steps over a registry of their own: for benchmarks whose documents nobody wants to find afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from lift_core.benchmarks.registry_data import scratch_database
from lift_core.errors import ServiceUnavailableError
from lift_core.records import Claim, Recipe
from lift_core.registry import AdapterRegistry
from lift_core.settings import Settings
from lift_core.steps import Steps
from lift_core.store import ObjectStore


class Scratch:
    """Documents of one benchmark, over a scratch registry and the work bucket."""

    def __init__(self, steps: Steps, first_job: int) -> None:
        self.steps = steps
        self._place = f"bench/{first_job}/"
        self._jobs: list[int] = []

    def begin(self, name: str, data: bytes, recipe: Recipe) -> tuple[Claim, int]:
        """Put a document, claim its job and split it; returns the claim and the number of segments.

        Raises:
            DocumentError: the bytes are no document that can be read.
        """
        steps, bucket, key = self.steps, self.steps.settings.work_bucket, f"{self._place}{name}"
        steps.store.put_bytes(bucket, key, data)
        steps.registry.record_arrivals([steps.store.stat(bucket, key)], recipe)
        job = steps.registry.newest_job(bucket, key, recipe.digest)
        self._jobs.append(job.job_id)
        steps.registry.admit_job(job.job_id)
        claim = steps.claim(job.run_id)
        return claim, steps.split(claim)

    def remove_objects(self) -> None:
        """Remove what the documents and their jobs left in the work bucket."""
        store, bucket = self.steps.store, self.steps.settings.work_bucket
        for prefix in (self._place, *(f"jobs/{job}/" for job in self._jobs)):
            for key in [found.key for found in store.list(bucket, prefix)]:
                store.remove(bucket, key)


@contextmanager
def scratch(settings: Settings) -> Iterator[Scratch]:
    """A registry in a database of its own on the registry's server, beside the settings' object store.

    At the end the database is dropped and the objects are removed. Jobs are numbered from microseconds since
    1970, which no registry reaches, so their keys are nobody else's; what the jobs of a killed process leave
    in the bucket has a job that the registry does not know, and ``lift registry gc`` finds it.

    Raises:
        ServiceUnavailableError: no registry or no object store is named, or one does not answer.
        LiftError: the role of ``LIFT_DATABASE_URL`` may not create databases.
    """
    url = settings.database_url.get_secret_value()
    if not url:
        raise ServiceUnavailableError("no registry is named: run `lift up`, or set LIFT_DATABASE_URL")
    store = ObjectStore.from_settings(settings)
    first_job = time.time_ns() // 1000
    with scratch_database(url) as engine:
        registry = AdapterRegistry(engine)
        registry.upgrade()
        with registry.transaction() as connection:
            connection.execute(
                text("SELECT setval(pg_get_serial_sequence('jobs', 'id'), :first)"), {"first": first_job}
            )
        made = Scratch(Steps(registry, store, settings), first_job)
        try:
            yield made
        finally:
            made.remove_objects()
