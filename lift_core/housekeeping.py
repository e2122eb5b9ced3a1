"""Store against registry: are the files those that were registered, and what does nothing refer to?"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Literal

from lift_core.errors import NotFoundError
from lift_core.records import Arrival, Record
from lift_core.registry import AdapterRegistry
from lift_core.registry.references import AdapterFiles
from lift_core.settings import Settings
from lift_core.store import ObjectStore

_BATCH = 500
_ADAPTER_KEY = re.compile(r"(?P<prefix>jobs/(?P<job>[0-9]{1,18})/adapter/[0-9]{6,}/)[^/]+")
_SHARD_KEY = re.compile(r"jobs/(?P<job>[0-9]{1,18})/pairs/[0-9]{6,}/[0-9]{6,}\.jsonl")
_PAIR_REPORT_KEY = re.compile(r"jobs/(?P<job>[0-9]{1,18})/pairs/[0-9]{6,}/report\.json")
_CHECKPOINT_KEY = re.compile(
    r"jobs/(?P<job>[0-9]{1,18})/checkpoints/(?P<token>[0-9]{6,9})/[0-9]{9,}\.safetensors"
)
_JOB_KEY = re.compile(r"jobs/(?P<job>[0-9]{1,18})/[^/]+")
_RESULTS_KEY = re.compile(r"evaluations/[^/]+/[^/]+/.+", re.DOTALL)
# A run's own page lies beside those of its adapters, under no adapter's name.
_REPORT_KEY = re.compile(r"(?P<prefix>reports/[^/]+/[a-z0-9]+(?:-[a-z0-9]+)*-v[0-9]+/)[^/]+")
_UNDER_WAY = ("queued", "admitted", "running", "failed")
"""A failed job can be taken up again: what its attempts wrote stays until it is done or cancelled."""


class Verified(Record):
    """What re-hashing an adapter's files found; ``problems`` is empty where all is well."""

    adapter: str
    files: int
    problems: tuple[str, ...]


class Orphan(Record):
    """Something that one side has and the other does not."""

    side: Literal["store", "registry"]
    bucket: str
    key: str
    size: int
    why: str
    deleted: bool = False


class Housekeeping:
    """Checks and cleaning over one registry and one object store."""

    def __init__(self, registry: AdapterRegistry, store: ObjectStore, settings: Settings) -> None:
        self._registry = registry
        self._store = store
        self._settings = settings

    def verify(self, names: Collection[str] | None = None) -> Iterator[Verified]:
        """Download and re-hash the files of adapters (all but removed ones, or those of these names).

        A problem is recorded as an event of the adapter.
        """
        for files in self._registry.adapter_files(names):
            if files.removed:
                continue
            problems = tuple(self._problems(files))
            if problems:
                self._registry.record_event("adapter.damaged", files.name, problems=list(problems))
            yield Verified(adapter=files.name, files=len(files.files), problems=problems)

    def remove_adapter(self, name: str) -> int:
        """Mark an adapter as removed, then delete its files; returns how many objects went.

        Killed in between, the next :meth:`orphans` with ``delete`` finishes it.

        Raises:
            NotFoundError: there is no such adapter.
            StateError: it is active.
        """
        adapter = self._registry.remove(name)
        bucket = self._settings.adapters_bucket
        found = [each.key for each in self._store.list(bucket, adapter.prefix)]
        for key in found:
            self._store.remove(bucket, key)
        return len(found)

    def orphans(self, *, older_than: timedelta, delete: bool = False) -> Iterator[Orphan]:
        """What one side has and the other does not; ``delete`` removes the store's orphans.

        Nothing that the registry refers to is ever removed, nothing younger than ``older_than`` (an
        attempt may be about to register it), and nothing of a job that is or may come under way, but for
        checkpoints: there only the newest one counts, and what a replaced attempt left never will.
        With ``delete`` the registry forgets the checkpoint of a training that is over.
        A registered file that the store lacks is reported and left: only a person can say what is right.
        """
        before = datetime.now(UTC) - older_than
        adapters, work = self._settings.adapters_bucket, self._settings.work_bucket
        for objects in _batches(self._store.list(adapters, "jobs/")):
            yield from self._end(self._of_adapters(objects, before), adapters, delete)
        for objects in _batches(self._store.list(work, "jobs/")):
            yield from self._end(self._of_jobs(objects, before), work, delete)
            yield from self._end(self._of_checkpoints(objects, before, delete), work, delete)
        for objects in _batches(self._store.list(work, "evaluations/")):
            yield from self._end(self._of_evaluations(objects, before), work, delete)
        for objects in _batches(self._store.list(work, "reports/")):
            yield from self._end(self._of_reports(objects, before), work, delete)
        for files in self._registry.adapter_files():
            if not files.removed:
                yield from self._missing(files)

    def _problems(self, files: AdapterFiles) -> Iterator[str]:
        with tempfile.TemporaryDirectory(prefix="lift-verify-") as scratch:
            for name, sha256 in files.files.items():
                copy = Path(scratch) / "file"
                try:
                    self._store.get_file(self._settings.adapters_bucket, f"{files.prefix}{name}", copy)
                except NotFoundError:
                    yield f"{name} is missing"
                    continue
                with copy.open("rb") as handle:
                    found = hashlib.file_digest(handle, "sha256").hexdigest()
                if found != sha256:
                    yield f"{name} has sha256 {found[:12]}…, registered is {sha256[:12]}…"
                copy.unlink()

    def _of_adapters(self, objects: Collection[Arrival], before: datetime) -> Iterator[tuple[Arrival, str]]:
        parts = {found.key: _ADAPTER_KEY.fullmatch(found.key) for found in objects}
        known = self._registry.known_prefixes({part["prefix"] for part in parts.values() if part})
        states = self._registry.job_states({int(part["job"]) for part in parts.values() if part})
        for found in objects:
            part = parts[found.key]
            if part is None or part["prefix"] in known or found.arrived_at >= before:
                continue
            state = states.get(int(part["job"]))
            if state is None:
                yield found, "its job is not in the registry"
            elif state not in _UNDER_WAY:
                yield found, f"no adapter that is in use is registered with it, and its job is {state}"

    def _of_jobs(self, objects: Collection[Arrival], before: datetime) -> Iterator[tuple[Arrival, str]]:
        jobs = {
            found.key: int(part["job"])
            for found in objects
            if (
                part := _SHARD_KEY.fullmatch(found.key)
                or _PAIR_REPORT_KEY.fullmatch(found.key)
                or _JOB_KEY.fullmatch(found.key)
            )
        }
        states = self._registry.job_states(set(jobs.values()))
        shards = {key for key in jobs if _SHARD_KEY.fullmatch(key)}
        reports = {key for key in jobs if _PAIR_REPORT_KEY.fullmatch(key)}
        unknown_shards = shards - self._registry.known_shards(shards)
        unknown_reports = reports - self._registry.known_pair_reports(reports)
        for found in objects:
            if found.key not in jobs or found.arrived_at >= before:
                continue
            state = states.get(jobs[found.key])
            if state is None:
                yield found, "its job is not in the registry"
            elif state in _UNDER_WAY:
                continue
            elif found.key in unknown_shards:
                yield found, f"the manifest does not hold this shard, and its job is {state}"
            elif found.key in unknown_reports:
                yield found, f"the stream's end does not name this report, and its job is {state}"

    def _of_checkpoints(
        self, objects: Collection[Arrival], before: datetime, delete: bool
    ) -> Iterator[tuple[Arrival, str]]:
        parts = {
            found.key: (int(part["job"]), int(part["token"]))
            for found in objects
            if found.arrived_at < before and (part := _CHECKPOINT_KEY.fullmatch(found.key))
        }
        jobs = {job for job, _ in parts.values()}
        newest = self._registry.training_tokens(jobs)
        # An attempt commits under its own token alone: what a replaced one put is named by now, or never.
        left = {key for key, (job, token) in parts.items() if job not in newest or token < newest[job]}
        known = self._registry.known_checkpoints(left)
        useless = {key for key in known if parts[key][0] not in newest}
        if delete:
            useless = self._registry.forget_checkpoints(useless)
        states = self._registry.job_states(jobs)
        for found in objects:
            if found.key not in left or found.key in known - useless:
                continue
            job, _ = parts[found.key]
            if job not in states:
                yield found, "its job is not in the registry"
            elif job not in newest:
                yield found, "its training is over"
            else:
                yield found, "a newer attempt trains, and the registry does not hold this checkpoint"

    def _of_evaluations(
        self, objects: Collection[Arrival], before: datetime
    ) -> Iterator[tuple[Arrival, str]]:
        keys = {found.key for found in objects if _RESULTS_KEY.fullmatch(found.key)}
        orphaned = keys - self._registry.known_results(keys)
        for found in objects:
            if found.key in orphaned and found.arrived_at < before:
                yield found, "no evaluation holds these results"

    def _of_reports(self, objects: Collection[Arrival], before: datetime) -> Iterator[tuple[Arrival, str]]:
        parts = {found.key: part["prefix"] for found in objects if (part := _REPORT_KEY.fullmatch(found.key))}
        known = self._registry.known_reports(set(parts.values()))
        for found in objects:
            if found.key in parts and parts[found.key] not in known and found.arrived_at < before:
                yield found, "no verdict names this report"

    def _end(self, found: Iterator[tuple[Arrival, str]], bucket: str, delete: bool) -> Iterator[Orphan]:
        for each, why in found:
            if delete:
                self._store.remove(bucket, each.key)
            yield Orphan(side="store", bucket=bucket, key=each.key, size=each.size, why=why, deleted=delete)

    def _missing(self, files: AdapterFiles) -> Iterator[Orphan]:
        bucket = self._settings.adapters_bucket
        there = {found.key for found in self._store.list(bucket, files.prefix)}
        for name in files.files:
            if (key := f"{files.prefix}{name}") not in there:
                why = f"adapter {files.name} is registered with it, and the store lacks it"
                yield Orphan(side="registry", bucket=bucket, key=key, size=0, why=why)


def _batches(objects: Iterator[Arrival]) -> Iterator[list[Arrival]]:
    while batch := list(islice(objects, _BATCH)):
        yield batch
