"""Rates of the last minute, and what they let expect."""

import pytest

from lift_core.records import GenerationCost
from lift_core.synthesis.progress import ProgressMeter


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_nothing_is_claimed_before_anything_was_seen(clock):
    progress = ProgressMeter(10, clock=clock).update(segments=0, pairs=0, cost=GenerationCost())
    assert (progress.segments, progress.of) == (0, 10)
    assert progress.pairs_per_second is progress.cache_hit_rate is progress.seconds_left is None
    assert str(progress) == "0 of 10 segments, 0 pairs"


def test_rates_and_the_time_left(clock):
    meter = ProgressMeter(100, clock=clock)
    clock.now += 10
    cost = GenerationCost(requests=40, prompt_tokens=1000, cached_tokens=700, completion_tokens=3000)
    progress = meter.update(segments=20, pairs=50, cost=cost)
    assert (progress.pairs_per_second, progress.tokens_per_second, progress.cache_hit_rate) == (5, 300, 0.7)
    assert progress.seconds_left == 40
    assert str(progress) == (
        "20 of 100 segments, 50 pairs, 5.0 pairs/s, 300 tokens/s, 70% of prompts cached, 0:40 left"
    )


def test_segments_that_were_done_before_are_no_speed(clock):
    meter = ProgressMeter(100, done=80, clock=clock)
    clock.now += 10
    assert meter.update(segments=90, pairs=10, cost=GenerationCost()).seconds_left == 10


def test_the_time_left_follows_the_last_minute_not_the_first(clock):
    meter = ProgressMeter(10_000, clock=clock)
    done = 0
    for second in range(600):
        clock.now += 1
        done += 10 if second < 300 else 1
        progress = meter.update(segments=done, pairs=done, cost=GenerationCost())
    assert progress.pairs_per_second == pytest.approx(1)
    assert progress.seconds_left == pytest.approx(10_000 - done)


def test_what_it_remembers_is_bounded(clock):
    meter = ProgressMeter(10**6, clock=clock)
    for number in range(5000):
        clock.now += 0.05
        meter.update(segments=number, pairs=number, cost=GenerationCost())
    assert len(meter._points) < 70
