"""`train` waits without a slot for the first shard, wherever it waits, and for nothing else."""

from __future__ import annotations

import asyncio

import pytest

from lift_core.errors import ServiceUnavailableError

pytestmark = pytest.mark.usefixtures("plugins_on_path")


class Registry:
    """Stands for the registry: each question gets the next of its answers, the last one for ever."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.asked: list[set[int]] = []

    def streams_begun(self, job_ids):
        self.asked.append(set(job_ids))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return {job: begun for job, begun in answer.items() if job in job_ids}


@pytest.fixture
def registry(monkeypatch):
    def use(*answers):
        there = Registry(*answers)
        monkeypatch.setattr(
            "lift_core.registry.AdapterRegistry.from_settings", classmethod(lambda cls, settings: there)
        )
        return there

    return use


AWAY = ServiceUnavailableError("the registry does not answer")


# --- the operator ---------------------------------------------------------------------------


@pytest.fixture
def train(monkeypatch):
    from lift_airflow import training

    monkeypatch.setattr(training, "_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(training.steps, "run_step", lambda name, claimed, context: (name, claimed, context))
    return training.TrainOperator(task_id="train", claimed={"job_id": 7})


def test_a_stream_that_has_begun_is_trained_at_once(registry, train):
    registry({7: True})
    assert train.execute("context") == ("train", {"job_id": 7}, "context")


def test_a_stream_that_begins_in_a_moment_is_waited_for_in_place(registry, train, monkeypatch):
    from lift_airflow import training

    monkeypatch.setattr(training, "_PATIENCE_SECONDS", 600)
    monkeypatch.setattr(training, "_LOOK_SECONDS", 0)
    registry({}, {}, {7: True})
    assert train.execute("context")[0] == "train"


@pytest.mark.parametrize("answer", [{}, AWAY], ids=["no stream yet", "registry away"])
def test_else_the_slot_is_given_back(registry, train, answer):
    from airflow.sdk.exceptions import TaskDeferred

    registry(answer)
    with pytest.raises(TaskDeferred) as deferred:
        train.execute("context")
    path, arguments = deferred.value.trigger.serialize()
    assert path == "lift_airflow.first_shard_trigger.FirstShardTrigger"
    assert arguments == {"job_id": 7, "poll_seconds": 0.5}
    assert getattr(train, deferred.value.method_name)("context", event={"begun": True})[0] == "train"


def test_a_job_that_ended_without_a_stream_is_not_tried_again(registry, train):
    from airflow.sdk.exceptions import AirflowFailException

    registry({7: False})
    with pytest.raises(AirflowFailException, match="clear the run"):
        train.execute("context")


# --- the trigger ----------------------------------------------------------------------------


def fire(*job_ids):
    """The payloads of triggers that wait side by side."""
    from lift_airflow.first_shard_trigger import FirstShardTrigger

    async def one(job_id):
        events = FirstShardTrigger(job_id, poll_seconds=0.01).run()
        event = await asyncio.wait_for(anext(events), 60)
        await events.aclose()
        return event.payload

    async def all_of_them():
        return await asyncio.gather(*(one(job_id) for job_id in job_ids), return_exceptions=True)

    return asyncio.run(all_of_them())


def test_triggers_ask_together_and_each_hears_of_its_own_job(registry):
    there = registry({}, {1: True}, {2: False}, {3: True})
    assert fire(1, 2, 3) == [
        {"job_id": 1, "begun": True},
        {"job_id": 2, "begun": False},
        {"job_id": 3, "begun": True},
    ]
    assert there.asked[0] == {1, 2, 3} and there.asked[-1] == {3}
    assert len(there.asked) == 4


def test_a_registry_that_is_away_is_waited_for(registry):
    there = registry(AWAY, AWAY, {1: True})
    assert fire(1) == [{"job_id": 1, "begun": True}]
    assert len(there.asked) == 3


def test_what_nobody_foresaw_ends_the_triggers_instead_of_leaving_them_waiting(registry):
    registry(RuntimeError("broken"))
    assert [str(each) for each in fire(1, 2)] == ["broken", "broken"]


def test_a_trigger_that_is_taken_away_is_no_longer_asked_for(registry):
    from lift_airflow.first_shard_trigger import FirstShardTrigger

    there = registry({})

    async def cancelled_and_other():
        gone = asyncio.create_task(anext(FirstShardTrigger(1, poll_seconds=0.01).run()))
        stays = asyncio.create_task(anext(FirstShardTrigger(2, poll_seconds=0.01).run()))
        while {1, 2} not in there.asked:
            await asyncio.sleep(0.01)
        gone.cancel()
        while there.asked[-1] != {2}:
            await asyncio.sleep(0.01)
        there.answers = [{2: True}]
        return (await stays).payload

    assert asyncio.run(asyncio.wait_for(cancelled_and_other(), 60)) == {"job_id": 2, "begun": True}


def test_a_triggerer_that_takes_over_knows_all_it_needs():
    from lift_airflow.first_shard_trigger import FirstShardTrigger

    _, arguments = FirstShardTrigger(7).serialize()
    assert FirstShardTrigger(**arguments).serialize() == FirstShardTrigger(7).serialize()
