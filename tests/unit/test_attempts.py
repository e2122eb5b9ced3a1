"""Attempts wait for services that are away, show that they live, and end where they must."""

import threading
import time

import pytest

from lift_core.attempts import alive, patiently
from lift_core.errors import (
    ConflictError,
    DocumentError,
    FencedError,
    ServiceUnavailableError,
    StepTimeoutError,
)
from lift_core.records import Beat, Lease
from lift_core.settings import Settings

LEASE = Lease(job_id=1, role="train", token=3)


class Clock:
    """Time that only passes where something sleeps."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class Service:
    """A call to a service that is away for so many seconds."""

    def __init__(self, clock, away):
        self.clock, self.away, self.calls = clock, away, 0

    def __call__(self):
        self.calls += 1
        if self.clock.now < self.away:
            raise ServiceUnavailableError("the object store does not answer")
        return "done"


def wait(call, clock, seconds=3600, **more):
    return patiently(call, what="train", seconds=seconds, clock=clock, sleep=clock.sleep, **more)


def test_a_service_that_comes_back_is_waited_for_with_growing_pauses():
    clock, told = Clock(), []
    service = Service(clock, away=600)
    assert wait(service, clock, on_wait=told.append) == "done"
    assert 600 <= clock.now <= 630
    assert 20 < service.calls < 60
    assert set(told) == {"the object store does not answer"}


def test_a_service_that_stays_away_ends_the_waiting_with_its_name():
    clock = Clock()
    with pytest.raises(ServiceUnavailableError, match="object store"):
        wait(Service(clock, away=10**9), clock)
    assert clock.now == pytest.approx(3600, abs=1)


def test_a_second_outage_much_later_has_its_whole_time():
    clock = Clock()
    tries = iter([0, 0, 500, 0, 0])

    def call():
        try:
            clock.sleep(next(tries))
        except StopIteration:
            return "done"
        clock.sleep(29)  # so long takes each failure
        raise ServiceUnavailableError("vLLM is away")

    assert wait(call, clock, seconds=150) == "done"


def test_a_deadlock_is_tried_again_at_once_but_not_for_ever():
    clock, calls = Clock(), []

    def call():
        calls.append(1)
        raise ConflictError("deadlock detected")

    with pytest.raises(ConflictError):
        wait(call, clock)
    assert len(calls) == 10


def test_what_stays_wrong_is_not_tried_again():
    clock, calls = Clock(), []

    def call():
        calls.append(1)
        raise DocumentError("it is empty")

    with pytest.raises(DocumentError):
        wait(call, clock)
    assert (calls, clock.now) == ([1], 0.0)


class Registry:
    """Answers beats with what it is given, one after the other, the last one for ever."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.beats = threading.Semaphore(0)
        self.ended = []

    def beat(self, lease):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.beats.release()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end_attempt(self, lease):
        self.ended.append(lease)


SETTINGS = Settings(heartbeat_seconds=0.01, step_seconds=100, step_idle_seconds=50)


def test_an_attempt_beats_through_an_outage_and_tells_its_end():
    registry = Registry(Beat(), ServiceUnavailableError("away"), Beat())
    with alive(registry, LEASE, SETTINGS):
        for _ in range(4):
            assert registry.beats.acquire(timeout=10)
        assert registry.ended == []
    assert registry.ended == [LEASE]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (FencedError("replaced by attempt 4"), FencedError, "attempt 4"),
        (Beat(seconds=101, idle_seconds=1), StepTimeoutError, "LIFT_STEP_SECONDS"),
        (Beat(seconds=60, idle_seconds=51), StepTimeoutError, "LIFT_STEP_IDLE_SECONDS"),
    ],
    ids=["replaced", "too long", "idle"],
)
def test_an_attempt_that_is_replaced_or_over_its_limit_is_woken_from_its_work(answer, error, words):
    registry = Registry(Beat(), answer)
    with pytest.raises(error, match=words), alive(registry, LEASE, SETTINGS):
        time.sleep(30)
    assert registry.ended == [LEASE]


def test_without_limits_an_attempt_may_take_any_time():
    registry = Registry(Beat(seconds=10**6, idle_seconds=10**6))
    endless = SETTINGS.model_copy(update={"step_seconds": 0, "step_idle_seconds": 0})
    with alive(registry, LEASE, endless):
        for _ in range(3):
            assert registry.beats.acquire(timeout=10)
    assert registry.ended == [LEASE]


def test_in_another_thread_nothing_is_interrupted(background_thread):
    registry = Registry(FencedError("replaced"))

    def work():
        with alive(registry, LEASE, SETTINGS):
            assert registry.beats.acquire(timeout=10)
            return "finished"

    assert background_thread(work) == "finished"


@pytest.fixture
def background_thread():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        yield lambda call: pool.submit(call).result(30)
