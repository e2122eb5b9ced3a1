"""The plan of kills: each victim so often, every window met, the same for the same seed."""

from collections import Counter

from lift_core.benchmarks.chaos import broken
from lift_core.benchmarks.chaos_plan import SERVICES, TRAINER, WINDOWS, WORKER, document, plan
from lift_core.benchmarks.report import Report

VICTIMS = [*SERVICES, WORKER, TRAINER]


def test_each_victim_is_killed_so_often_and_every_window_has_its_turn():
    planned = plan(10, 1, VICTIMS)
    assert Counter(kill.victim for kill in planned) == dict.fromkeys(VICTIMS, 10)
    assert {kill.window for kill in planned} == {None, *WINDOWS}


def test_a_seed_chooses_the_moments_and_the_order():
    assert plan(3, 5, VICTIMS) == plan(3, 5, VICTIMS)
    assert plan(3, 5, VICTIMS) != plan(3, 6, VICTIMS)


def test_no_two_documents_are_alike():
    assert len({document(number) for number in range(200)}) == 200


def test_what_is_not_as_it_must_be_is_named():
    rows = [
        {"name": "seconds", "ours": 9.0, "peer": 3.0},
        {"name": "active adapters", "ours": 5, "peer": 6},
        {"name": "kills of s3", "ours": 2, "peer": 1},
        {"name": "kills of vllm", "ours": 0, "peer": 1},
        {"name": "kills after a shard", "ours": 0, "peer": None},
    ]
    assert broken(Report(name="chaos", settings={}, rows=rows)) == [
        "active adapters: 5, not 6",
        "kills of vllm: 0, not 1",
    ]
