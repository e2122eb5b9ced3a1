"""The overlap benchmark: what bounds it, in which order the arms run, what its rows say of given times."""

import os
from collections import Counter

import pytest

from lift_core import stack
from lift_core.benchmarks import overlap
from lift_core.benchmarks.overlap import (
    Arm,
    Times,
    bound,
    check_apart,
    generators_cores,
    order_of,
    rows_of,
)
from lift_core.errors import LiftError
from lift_core.recipes import load_recipe
from lift_core.settings import Settings
from lift_core.stack.state import ServiceStatus, StackStatus


@pytest.mark.parametrize(
    ("generation", "epoch", "epochs", "expected"),
    [
        (30, 10, 1, 30),  # the epoch hides behind the generation
        (10, 30, 1, 30),  # the generation hides behind the epoch
        (30, 10, 6, 80),  # the later epochs hide behind nothing
        (10, 30, 2, 60),
    ],
)
def test_the_bound_is_the_longer_of_both_and_the_later_epochs(generation, epoch, epochs, expected):
    assert bound(generation, epoch, epochs) == expected


def test_every_arm_runs_in_every_round_and_neither_way_always_goes_first():
    order = order_of(4, (1, 6))
    assert Counter(order) == {Arm(epochs, way): 4 for epochs in (1, 6) for way in (True, False)}
    pairs = list(zip(order[::2], order[1::2], strict=True))
    assert all(one.epochs == other.epochs and one.overlapped != other.overlapped for one, other in pairs)
    assert Counter(one.overlapped for one, _ in pairs) == {True: 4, False: 4}


def test_rows_compare_medians_with_each_other_and_with_the_bound():
    found = {
        # Generation 40 s, training 20 s: one after the other 60 s, at best 40 s.
        Arm(1, False): [Times(40, 60, 200), Times(10, 500, 190), Times(41, 58, 202)],
        Arm(1, True): [Times(43, 45, 201), Times(42, 44, 210), Times(90, 99, 150)],
        # Epochs of 10 s: one after the other 100 s, at best 40 + 5 x 10 = 90 s.
        Arm(6, False): [Times(40, 100, 200)],
        Arm(6, True): [Times(45, 99, 203)],
    }
    rows = {row["name"]: row for row in rows_of(found)}
    one = rows["generate || train, 1 epoch; peer: generate, then train"]
    assert (one["ours"], one["min"], one["max"], one["n"]) == (45, 44, 99, 3)
    assert (one["peer"], one["peer min"], one["peer max"]) == (60, 58, 500)
    assert (one["bound"], one["ours/peer"], one["bound/peer"]) == (40, 0.75, 0.667)
    assert one["above bound, %"] == 12.5
    assert (one["pairs"], one["peer pairs"]) == (201, 200)
    six = rows["generate || train, 6 epochs; peer: generate, then train"]
    assert (six["bound"], six["above bound, %"], six["ours/peer"]) == (90, 10, 0.99)
    assert rows["one epoch of 6, alone"]["ours"] == 10
    beside = rows["generation, 1 epoch: beside the training; peer: alone"]
    assert (beside["ours"], beside["peer"]) == (43, 40)


def test_a_ratio_is_named_for_what_it_is_and_not_by_the_reports_word_for_its_inverse():
    rows = rows_of({Arm(1, False): [Times(4, 6, 9)], Arm(1, True): [Times(4, 5, 9)]})
    assert all("ratio" not in row for row in rows)
    assert rows[0]["ours/peer"] == pytest.approx(5 / 6, abs=0.001)


def test_generator_and_trainer_are_apart_where_they_share_no_core():
    check_apart([2, 3], [0, 1])
    with pytest.raises(LiftError, match=r"share cores \(1 2\).*taskset -c 1 lift bench overlap --apart"):
        check_apart([1, 2, 3], [0, 1, 2])
    with pytest.raises(LiftError, match="not the embedded stack's"):
        check_apart([1], None)


@pytest.fixture
def running(monkeypatch, tmp_path):
    """Settings of a stack whose generator is this very process."""
    service = ServiceStatus(
        name="vllm-generator", state="ready", pid=os.getpid(), url="http://127.0.0.1:9/v1", log="x"
    )
    monkeypatch.setattr(
        stack, "status", lambda home: StackStatus(home=home, phase="ready", services=(service,))
    )
    return Settings(home=tmp_path, generator_url=service.url, _env_file=None)


def test_the_generators_cores_are_those_of_its_process(running):
    assert generators_cores(running) == sorted(os.sched_getaffinity(0))


def test_the_cores_of_a_generator_elsewhere_are_not_known(running, tmp_path):
    assert generators_cores(running.model_copy(update={"generator_url": "http://other:9/v1"})) is None


def test_nothing_is_measured_where_the_cores_are_not_apart(running, tmp_path):
    with pytest.raises(LiftError, match="share cores"):
        overlap.run(
            running,
            tmp_path / "no.md",
            load_recipe("embedded"),
            quick=True,
            apart=True,
            on_progress=lambda *_: None,
        )
