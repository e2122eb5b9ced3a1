"""A MinIO-like stream of notifications, with every fault that such a stream has: nothing is lost or doubled.

The server's notifications are a stand-in's (``conftest.py``); the trigger, the dispatcher, the registry
and the bucket are the real ones.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import time
from pathlib import Path

import pytest

from lift_core.steps import Steps
from lift_core.store import ObjectStore, notifications

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 120
FAULTS = ("told", "told", "missed", "twice", "late", "cut", "silent")


@pytest.fixture(scope="module", autouse=True)
def plugins_on_path(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(ROOT / "plugins"))
    patch.setenv("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    yield
    patch.undo()
    for name in [name for name in sys.modules if name.startswith("lift_airflow")]:
        del sys.modules[name]


@pytest.fixture
def listening_steps(registry, store, settings, minio):
    """Steps whose object store is the stand-in; all that may start is admitted."""
    told = settings.model_copy(
        update={"s3_endpoint": minio.endpoint, "recipe": "smoke", "max_active_jobs": 1000}
    )
    return Steps(registry, ObjectStore.from_settings(told), told)


class Memory(dict):
    """Stands for Airflow's asset state store."""

    async def aget(self, key, default=None):
        return self.get(key, default)

    async def aset(self, key, value):
        self[key] = value


class Dispatcher:
    """The real trigger, and a dispatch at each of its events, as Airflow would start it."""

    def __init__(self, steps, monkeypatch, relist_seconds) -> None:
        from lift_airflow import bucket_trigger

        monkeypatch.setattr(bucket_trigger, "get_settings", lambda: steps.settings)
        self.steps = steps
        self.trigger = bucket_trigger.BucketTrigger(poll_seconds=0.05, relist_seconds=relist_seconds)
        self.trigger.asset_state_store = Memory()
        self.woken = 0
        self.admitted = []

    async def run(self, until):
        """Dispatch at each event until a condition holds."""
        working = asyncio.create_task(self._work())
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await asyncio.to_thread(until):
                    if working.done():
                        await working
                    await asyncio.sleep(0.05)
        finally:
            working.cancel()

    async def _work(self):
        async for _ in self.trigger.run():
            self.woken += 1
            self.admitted += await asyncio.to_thread(self.steps.dispatch)


def recorded(steps):
    """Whether the registry says of each document what the bucket says."""
    bucket = steps.settings.documents_bucket
    there = {found.key: found.etag for found in steps.store.list(bucket)}
    documents = steps.registry.documents()
    current = {each.key: each.etag for each in documents if each.state != "removed"}
    return current == there


def wait_for(condition):
    """Return once a condition holds; TimeoutError says that it never did."""
    patience = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > patience:
            raise TimeoutError("what was waited for did not come")
        time.sleep(0.02)


def text(key, edition=0):
    return f"# {key}\n\nThe keeper of {key} was named Ada Harrow the {edition}th.\n".encode()


def test_a_put_is_told_of_at_once_and_without_listing_now_and_then(listening_steps, minio, monkeypatch):
    steps, bucket = listening_steps, listening_steps.settings.documents_bucket
    dispatcher = Dispatcher(steps, monkeypatch, relist_seconds=10_000)

    async def scenario():
        await dispatcher.run(lambda: minio.streams == 1 and dispatcher.trigger._connected)
        running = asyncio.create_task(dispatcher.run(lambda: len(dispatcher.admitted) == 2))
        await asyncio.to_thread(steps.store.put_bytes, bucket, "a.md", text("a.md"))
        await asyncio.to_thread(steps.store.put_bytes, bucket, "b.md", text("b.md"))
        await running

    asyncio.run(scenario())
    assert {job.run_id.split("-")[0] for job in dispatcher.admitted} == {"a", "b"}


@pytest.mark.parametrize("seed", [1, 2])
def test_disconnects_duplicates_reordering_and_missed_events_lose_and_double_no_document(
    listening_steps, minio, monkeypatch, sql, seed
):
    steps, bucket = listening_steps, listening_steps.settings.documents_bucket
    dice = random.Random(seed)
    # Each fault comes; then they come as they fall.
    faults = itertools.chain(FAULTS, iter(lambda: dice.choice(FAULTS), None))
    minio.fault = lambda: next(faults)
    monkeypatch.setattr(notifications, "SILENCE_SECONDS", 1.0)
    once = [f"once-{number}.md" for number in range(15)]
    edited, removed = [f"edited-{n}.md" for n in range(5)], [f"removed-{n}.md" for n in range(5)]
    deeds = [("put", key, 0) for key in once]
    deeds += [("put", key, edition) for key in edited for edition in range(2)]
    deeds += [deed for key in removed for deed in (("put", key, 0), ("remove", key, 0))]
    order = sorted(range(len(deeds)), key=lambda _: dice.random())
    # The deeds on one key stay in their order.
    by_key = {}
    for deed in deeds:
        by_key.setdefault(deed[1], []).append(deed)
    mixed = [by_key[deeds[place][1]].pop(0) for place in order]

    def do():
        for number, (what, key, edition) in enumerate(mixed):
            # Faults must befall a trigger that listens, and again one that listened anew, however fast
            # the machine puts documents.
            if number in (0, len(mixed) // 2):
                wait_for(lambda least=1 + bool(number): minio.streams >= least)
            if what == "put":
                steps.store.put_bytes(bucket, key, text(key, edition))
            else:
                steps.store.remove(bucket, key)

    dispatcher = Dispatcher(steps, monkeypatch, relist_seconds=1.0)

    async def scenario():
        doing = asyncio.create_task(asyncio.to_thread(do))
        # Three streams: it listened again after faults of both halves.
        await dispatcher.run(lambda: doing.done() and minio.streams > 2 and recorded(steps))
        await doing

    asyncio.run(scenario())
    assert {row[0] for row in sql("SELECT key FROM documents")} >= {*once, *edited}
    assert sql("SELECT key FROM documents GROUP BY key HAVING count(*) > 1") == []
    assert sql("SELECT version_id FROM jobs WHERE state <> 'cancelled' GROUP BY 1 HAVING count(*) > 1") == []
    runs = [job.run_id for job in dispatcher.admitted]
    assert len(runs) == len(set(runs)), "a run was started twice"
    for key in once:
        assert sql(
            "SELECT count(*), min(j.state) FROM jobs j JOIN versions v ON v.id = j.version_id "
            "JOIN documents d ON d.id = v.document_id WHERE d.key = %s",
            key,
        ) == [(1, "admitted")]


def test_a_server_that_is_gone_without_a_word_is_noticed(listening_steps, minio, monkeypatch):
    steps, bucket = listening_steps, listening_steps.settings.documents_bucket
    monkeypatch.setattr(notifications, "SILENCE_SECONDS", 0.5)
    minio.fault = lambda: "silent"
    dispatcher = Dispatcher(steps, monkeypatch, relist_seconds=10_000)

    async def scenario():
        await dispatcher.run(lambda: dispatcher.trigger._connected)
        await asyncio.to_thread(steps.store.put_bytes, bucket, "a.md", text("a.md"))
        await dispatcher.run(lambda: bool(dispatcher.admitted))

    asyncio.run(scenario())
    assert minio.streams >= 2


def test_a_wrong_key_is_refused_and_the_bucket_is_listed_for_what_it_can(listening_steps, minio, settings):
    from pydantic import SecretStr

    from lift_core.errors import LiftError

    wrong = listening_steps.settings.model_copy(update={"s3_secret_key": SecretStr("wrong" * 8)})
    with pytest.raises(LiftError, match="AccessDenied"):
        next(iter(ObjectStore.from_settings(wrong).listen(wrong.documents_bucket)))
    assert minio.streams == 0
