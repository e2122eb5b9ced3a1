"""The verdict: against a margin, never a pass at the floor, and a sentence that says what decided."""

import json
import math

import numpy as np
import pytest
from scipy.stats import binomtest

from lift_core.evaluation.statistics.looks import plan_looks
from lift_core.evaluation.statistics.paired import PairedCounts, tango_interval
from lift_core.evaluation.statistics.verdicts import (
    can_fall,
    floor_accuracy,
    judge_accuracy,
    judge_adapter,
    judge_log_likelihood,
    verdicts_of,
)
from lift_core.evaluation_records import Measurement

ONCE = plan_looks((1000,))
TWICE = plan_looks((1000, 4000))


def accuracy(lost, gained, *, right=600, task="mmlu", chance=0.25, plan=ONCE, look=0, margin=0.02):
    items = plan.looks[look].items
    counts = PairedCounts(n11=right - lost, n10=lost, n01=gained, n00=items - right - gained)
    return judge_accuracy(task, counts, chance=chance, margin=margin, plan=plan, look=look)


def likelihood(shift, task="mmlu"):
    generator = np.random.default_rng(0)
    base = generator.normal(-1.4, 0.5, 1000)
    adapter = base + shift + generator.normal(0, 0.1, 1000)
    return judge_log_likelihood(task, base, adapter, margin=0.05, plan=ONCE, look=0, seed=0)


def test_the_interval_against_the_margin_is_the_verdict():
    low = [-0.01, -0.09, -0.05, -0.02]
    high = [0.03, -0.03, 0.01, -0.02]
    assert verdicts_of(low, high, 0.02).tolist() == ["pass", "regressed", "undecided", "undecided"]


@pytest.mark.parametrize(
    ("lost", "gained", "verdict"), [(5, 5, "pass"), (120, 20, "regressed"), (60, 40, "undecided")]
)
def test_accuracy_is_judged_by_tangos_interval(lost, gained, verdict):
    found = accuracy(lost, gained)
    assert found.verdict == verdict
    ends = tango_interval(PairedCounts(n11=600 - lost, n10=lost, n01=gained, n00=400 - gained), 0.025)
    assert (found.low, found.high) == ends
    assert (found.base, found.adapter) == pytest.approx((0.6, 0.6 + (gained - lost) / 1000))
    assert (found.p_value <= 0.025) == (verdict == "regressed")


def test_a_first_look_asks_for_more_than_an_only_look():
    assert accuracy(65, 25).verdict == "regressed"
    early = accuracy(65, 25, plan=TWICE)
    assert early.verdict == "undecided"
    assert early.confidence > accuracy(65, 25).confidence
    assert early.p_value > 0.025


def test_a_base_at_chance_never_passes_however_alike_the_adapter_is():
    found = accuracy(0, 0, right=250)
    assert found.verdict == "uninformative"
    assert found.low > -0.02


def test_a_base_that_is_above_chance_by_less_than_the_margin_has_nothing_to_lose():
    plan = plan_looks((100_000,))
    found = accuracy(0, 0, right=26_000, plan=plan)
    assert binomtest(26_000, 100_000, 0.25, alternative="greater").pvalue < 1e-9
    assert found.verdict == "uninformative"
    assert accuracy(0, 0, right=28_000, plan=plan).verdict == "pass"


def test_open_answers_that_are_hardly_ever_right_are_uninformative():
    assert accuracy(10, 0, right=15, task="gsm8k", chance=0.0).verdict == "uninformative"
    assert accuracy(80, 0, right=200, task="gsm8k", chance=0.0).verdict == "regressed"


@pytest.mark.parametrize("right", range(290, 320))
def test_the_floor_is_scipys_exact_binomial_test(right):
    theirs = binomtest(right, 1000, 0.27, alternative="greater").pvalue
    assert bool(can_fall(right, 1000, 0.27, 0.025)) == (theirs <= 0.025)


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "pass"), (-0.2, "regressed"), (-0.05, "undecided")])
def test_log_likelihood_is_judged_by_its_bootstrap(shift, verdict):
    found = likelihood(shift)
    assert found.verdict == verdict
    assert found.low < found.difference < found.high
    assert found.difference == pytest.approx(shift, abs=0.02)
    assert found.mcnemar_p_value is None


def test_an_unbounded_interval_is_undecided_and_survives_json():
    damaged = [-30.0] + [0.0] * 999
    plan = plan_looks((1000,), one_sided_level=0.025)
    found = judge_log_likelihood("mmlu", [0.0] * 1000, damaged, margin=0.05, plan=plan, look=0, seed=0)
    assert (found.verdict, found.low) == ("undecided", -math.inf)
    stored = json.dumps(found.model_dump(mode="json"), allow_nan=False)
    assert Measurement.model_validate(json.loads(stored)) == found


def test_accuracy_decides_where_it_can():
    judged = judge_adapter([accuracy(5, 5), likelihood(0.0)])
    assert judged.verdict == "pass"
    assert [each.measure for each in judged.decided_by] == ["accuracy"]
    assert judged.sentence.startswith("Passed: mmlu by accuracy, +0.0 points [")
    assert judged.sentence.endswith("on 1000 items, margin 2 points.")


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "pass"), (-0.2, "regressed")])
def test_at_the_floor_the_log_likelihood_decides_and_the_sentence_says_so(shift, verdict):
    judged = judge_adapter([accuracy(0, 0, right=250), likelihood(shift)])
    assert judged.verdict == verdict
    assert [each.measure for each in judged.decided_by] == ["log-likelihood"]
    assert "mmlu by log-likelihood (the base's accuracy, 25.0%, is not above the floor)" in judged.sentence


def test_an_adapter_regressed_where_one_task_did():
    judged = judge_adapter([accuracy(5, 5), accuracy(150, 10, task="gsm8k", chance=0.0)])
    assert judged.verdict == "regressed"
    assert [each.task for each in judged.decided_by] == ["gsm8k"]
    assert "mmlu" not in judged.sentence


def test_an_adapter_passes_only_with_every_task_and_the_sentence_names_what_is_open():
    judged = judge_adapter([accuracy(5, 5), accuracy(60, 40, task="gsm8k", chance=0.0)])
    assert judged.verdict == "undecided"
    assert [each.task for each in judged.decided_by] == ["gsm8k"]
    silent = judge_adapter([accuracy(5, 5), accuracy(0, 0, right=3, task="gsm8k", chance=0.0)])
    assert silent.verdict == "undecided"
    assert "gsm8k" in silent.sentence


def test_floor_everywhere_and_no_likelihood_tells_nothing_and_alarms_nobody():
    judged = judge_adapter([accuracy(200, 0, right=250)])
    assert (judged.verdict, judged.p_value) == ("uninformative", 1.0)


def test_a_fall_in_the_measure_that_does_not_decide_is_mentioned():
    judged = judge_adapter([accuracy(5, 5), likelihood(-0.2)])
    assert judged.verdict == "pass"
    assert "Beyond its margin, but not what decides: log-likelihood of mmlu." in judged.sentence


def test_the_adapters_p_value_pays_for_its_tasks():
    one, other = accuracy(120, 20), accuracy(5, 5, task="gsm8k", chance=0.0)
    assert judge_adapter([one, other]).p_value == pytest.approx(2 * one.p_value)


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(ValueError, match="1000 items at a look that has 4000"):
        judge_accuracy(
            "mmlu", PairedCounts(n11=1000, n10=0, n01=0, n00=0), chance=0.25, margin=0.02, plan=TWICE, look=1
        )
    with pytest.raises(ValueError, match="none of number 2"):
        judge_log_likelihood("mmlu", [0.0] * 50, [0.0] * 50, margin=0.05, plan=TWICE, look=2, seed=0)
    with pytest.raises(ValueError, match=r"chance 0\.25 and margin 0"):
        accuracy(0, 0, margin=0)
    with pytest.raises(ValueError, match="two measurements of accuracy"):
        judge_adapter([accuracy(5, 5), accuracy(5, 5)])
    with pytest.raises(ValueError, match="no task"):
        judge_adapter([])


def test_the_base_alone_shows_that_accuracy_tells_nothing_and_the_adapter_need_not_be_asked():
    nothing = floor_accuracy("mmlu", 255, 1000, chance=0.25, margin=0.02, plan=ONCE, look=0)
    assert nothing is not None
    assert (nothing.verdict, nothing.base, nothing.adapter, nothing.p_value) == (
        "uninformative",
        0.255,
        None,
        1.0,
    )
    assert floor_accuracy("mmlu", 600, 1000, chance=0.25, margin=0.02, plan=ONCE, look=0) is None
    judged = judge_adapter([nothing, likelihood(-0.01)])
    assert judged.verdict == "pass"
    assert "25.5%" in judged.sentence
    alone = judge_adapter([nothing])
    assert alone.verdict == "uninformative"
    assert "25.5% is not above the floor" in alone.sentence
    assert Measurement.model_validate_json(nothing.model_dump_json()) == nothing
