"""Airflow's side of the steps: errors become the right ends, the trigger wakes at every change."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

pytestmark = pytest.mark.usefixtures("plugins_on_path")


class Recorder:
    """Stands for ``Steps``: it raises what it is told to and remembers which failures were recorded."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.failed: list[tuple[str, str, bool]] = []
        self.replaced: Exception | None = None

    def split(self, claim, holder):
        if self.error:
            raise self.error
        return 7

    def patiently(self, step, call, claim, holder):
        return call()

    def fail(self, run_id, reason, permanent, by):
        if self.replaced:
            raise self.replaced
        self.failed.append((run_id, reason, permanent))
        self.by = by


@pytest.fixture
def airflow_steps(monkeypatch):
    from lift_airflow import steps

    monkeypatch.setattr(steps, "ended_with_parent", lambda: None)
    return steps


@pytest.fixture
def claimed():
    from lift_core.records import Claim, Recipe

    return Claim(
        job_id=1,
        run_id="a-v1-12345678-g1",
        slug="a",
        title="A",
        bucket="b",
        key="a.md",
        etag="e",
        size=3,
        version=1,
        recipe=Recipe(),
    ).model_dump(mode="json")


def call(monkeypatch, airflow_steps, recorder, claimed):
    monkeypatch.setattr("lift_core.steps.Steps.connect", lambda: recorder)
    return airflow_steps.run_step("split", claimed, {"ti": instance("split")})


def instance(task, number=1):
    values = {"run_id": "a-v1-12345678-g1", "task_id": task, "try_number": number}
    return type("Instance", (), values)()


def test_a_step_returns_what_the_library_returns(monkeypatch, airflow_steps, claimed):
    assert call(monkeypatch, airflow_steps, Recorder(), claimed) == 7


def test_a_permanent_error_ends_the_run_at_once_with_its_reason_on_the_job(
    monkeypatch, airflow_steps, claimed
):
    from airflow.sdk.exceptions import AirflowFailException

    from lift_core.errors import DocumentError

    recorder = Recorder(DocumentError("'a.md' is empty"))
    with pytest.raises(AirflowFailException, match="is empty"):
        call(monkeypatch, airflow_steps, recorder, claimed)
    assert recorder.failed == [("a-v1-12345678-g1", "'a.md' is empty", True)]
    assert recorder.by[0] == "split" and recorder.by[1].endswith(":a-v1-12345678-g1:split:1")


def test_a_permanent_error_of_an_attempt_that_was_replaced_does_not_fail_the_job(
    monkeypatch, airflow_steps, claimed
):
    from airflow.sdk.exceptions import AirflowFailException

    from lift_core.errors import DocumentError, FencedError

    recorder = Recorder(DocumentError("'a.md' is empty"))
    recorder.replaced = FencedError("split is done by attempt 2 now")
    with pytest.raises(AirflowFailException, match="attempt 2") as raised:
        call(monkeypatch, airflow_steps, recorder, claimed)
    airflow_steps.record_failure({"exception": raised.value, "ti": instance("split")})
    assert recorder.failed == []


def test_a_transient_error_is_left_to_airflows_retries(monkeypatch, airflow_steps, claimed):
    from lift_core.errors import TransientError

    recorder = Recorder(TransientError("a shard is damaged"))
    with pytest.raises(TransientError):
        call(monkeypatch, airflow_steps, recorder, claimed)
    assert recorder.failed == []


def test_work_that_is_done_skips_the_rest_of_the_run(monkeypatch, airflow_steps, claimed):
    from airflow.sdk.exceptions import AirflowSkipException

    from lift_core.errors import AlreadyDoneError

    recorder = Recorder(AlreadyDoneError("the job is done"))
    with pytest.raises(AirflowSkipException):
        call(monkeypatch, airflow_steps, recorder, claimed)
    assert recorder.failed == []


def test_an_attempt_that_was_replaced_ends_without_failing_the_job(monkeypatch, airflow_steps, claimed):
    from airflow.sdk.exceptions import AirflowFailException

    from lift_core.errors import FencedError

    recorder = Recorder(FencedError("attempt 1 was replaced by attempt 2"))
    with pytest.raises(AirflowFailException) as raised:
        call(monkeypatch, airflow_steps, recorder, claimed)
    airflow_steps.record_failure({"exception": raised.value, "ti": instance("train")})
    assert recorder.failed == []


def test_a_task_that_airflow_gives_up_leaves_its_last_error_on_the_job(monkeypatch, airflow_steps):
    from lift_core.errors import ServiceUnavailableError

    recorder = Recorder()
    monkeypatch.setattr("lift_core.steps.Steps.connect", lambda: recorder)
    airflow_steps.record_failure({"exception": RuntimeError("no space left"), "ti": instance("train", 6)})
    airflow_steps.record_failure({"ti": instance("train", 6)})
    assert recorder.failed == [
        ("a-v1-12345678-g1", "train: no space left", False),
        ("a-v1-12345678-g1", "train was ended from outside", False),
    ]
    recorder.replaced = ServiceUnavailableError("the registry does not answer")
    airflow_steps.record_failure({"ti": instance("train", 6)})  # housekeeping finds it


class Bucket:
    """Stands for the object store: a listing that can change, and notifications if it offers them."""

    def __init__(self, offers_notifications: bool) -> None:
        self.keys = ["a.md"]
        self.at = datetime(2026, 1, 1, tzinfo=UTC)
        self.offers = offers_notifications
        self.listened = 0
        self.listings = 0

    def list(self, bucket):
        from lift_core.records import Arrival

        self.listings += 1
        if self.listings == 2:
            from lift_core.errors import ServiceUnavailableError

            raise ServiceUnavailableError("the object store is away for a moment")
        for key in self.keys:
            yield Arrival(bucket=bucket, key=key, etag="e", size=1, arrived_at=self.at)

    def listen(self, bucket):
        from lift_core.store import NotOfferedError

        self.listened += 1
        if not self.offers:
            raise NotOfferedError("listening is not offered")
        yield True


class Memory(dict):
    """Stands for Airflow's asset state store."""

    async def aget(self, key, default=None):
        return self.get(key, default)

    async def aset(self, key, value):
        self[key] = value


@pytest.mark.parametrize("offers", [True, False], ids=["listening", "listing"])
def test_the_trigger_wakes_once_a_change_and_survives_a_store_that_is_away(monkeypatch, offers):
    from lift_airflow import bucket_trigger

    bucket = Bucket(offers)
    monkeypatch.setattr(
        bucket_trigger.ObjectStore, "from_settings", classmethod(lambda cls, settings: bucket)
    )
    trigger = bucket_trigger.BucketTrigger(poll_seconds=0.01)
    trigger.asset_state_store = Memory()

    async def watch():
        events = trigger.run()
        first = await asyncio.wait_for(anext(events), 10)
        following = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.2)
        quiet = not following.done()
        bucket.keys.append("b.md")
        second = await asyncio.wait_for(following, 10)
        await events.aclose()
        return first, quiet, second

    first, quiet, second = asyncio.run(watch())
    assert quiet, "an unchanged bucket woke the dispatcher again"
    assert "bucket" in first.payload and "bucket" in second.payload
    assert bucket.listened >= 1 and (offers or bucket.listened == 1)


def test_a_trigger_that_starts_again_does_not_wake_for_what_it_told_before(monkeypatch):
    from lift_airflow import bucket_trigger

    bucket = Bucket(False)
    monkeypatch.setattr(
        bucket_trigger.ObjectStore, "from_settings", classmethod(lambda cls, settings: bucket)
    )
    memory = Memory()

    async def first_event(seconds):
        trigger = bucket_trigger.BucketTrigger(poll_seconds=0.01)
        trigger.asset_state_store = memory
        return await asyncio.wait_for(anext(trigger.run()), seconds)

    asyncio.run(first_event(10))
    with pytest.raises(TimeoutError):
        asyncio.run(first_event(0.3))


def test_no_secret_is_stored_with_the_trigger():
    from lift_airflow.bucket_trigger import BucketTrigger

    path, arguments = BucketTrigger().serialize()
    assert path.endswith("BucketTrigger")
    assert arguments == {"poll_seconds": 0.5, "relist_seconds": 60.0}


def test_the_queue_wakes_once_for_each_change_and_survives_a_registry_that_is_away(monkeypatch):
    from lift_airflow import queue_trigger

    from lift_core.errors import ServiceUnavailableError

    class Registry:
        """Stands for the registry: what it says of its queue, one answer after another, the last for ever."""

        def __init__(self):
            self.answers = ["1", "1", None, ServiceUnavailableError("away"), "2"]

        def waiting(self, bucket, limit):
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

    monkeypatch.setattr(
        "lift_core.registry.AdapterRegistry.from_settings",
        classmethod(lambda cls, settings, pool_size: Registry()),
    )

    async def watch():
        events = queue_trigger.QueueTrigger(poll_seconds=0.01).run()
        for _ in range(2):
            await asyncio.wait_for(anext(events), 10)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(events), 0.3)

    asyncio.run(watch())


@pytest.fixture
def run_of_reprocessing(monkeypatch):
    """Run the task of `lift_reprocess` in a context; what it asked of the library, or None."""
    from types import SimpleNamespace

    from lift_airflow import reprocessing

    def run(run_type, **params):
        asked = []

        def reprocess(since, until, recipe, **options):
            asked.append((since, until, recipe, options))
            return []

        monkeypatch.setattr("lift_core.steps.Steps.connect", lambda: SimpleNamespace(reprocess=reprocess))
        dag_run = SimpleNamespace(run_type=run_type, dag_id="lift_reprocess", run_id="r", clear_number=1)
        context = {"dag_run": dag_run, "params": params, "data_interval_start": 1, "data_interval_end": 2}
        reprocessing.reprocess(context)
        return asked[0]

    return run


def test_a_scheduled_run_of_reprocessing_skips_itself_and_a_backfill_does_not(run_of_reprocessing):
    from airflow.sdk.exceptions import AirflowSkipException

    with pytest.raises(AirflowSkipException):
        run_of_reprocessing("scheduled", recipe=None)
    asked = run_of_reprocessing("backfill", recipe="smoke", prefix="legal/", force=True)
    assert asked == (1, 2, "smoke", {"prefix": "legal/", "force_as": "lift_reprocess r 1"})
    assert run_of_reprocessing("backfill", recipe=None) == (1, 2, None, {"prefix": "", "force_as": None})
