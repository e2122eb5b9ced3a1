"""Verdicts of the guard: recorded once for each adapter and run, read as they were given."""

import json
import math
from datetime import timedelta

import numpy as np
import psycopg2
import pytest

from lift_core.errors import LiftError, NotFoundError
from lift_core.records import AdapterFilter, ScoreCondition


def test_a_verdict_is_read_as_it_was_recorded_infinite_ends_and_all(
    registry, work, verdict_on, accuracy, likelihood
):
    name = work.active().name
    given = verdict_on(
        name,
        measurements=(likelihood, accuracy, accuracy.model_copy(update={"task": "gsm8k"})),
        decided_by=(("gsm8k", "accuracy"), ("mmlu", "log-likelihood")),
    )
    assert registry.record_verdict(given) == given
    assert registry.verdicts(name) == registry.verdicts_of_run("run-1") == (given,)
    assert registry.verdict(name, "run-1") == given


def test_what_an_adapter_was_not_asked_is_no_score_and_read_as_nothing(
    registry, work, verdict_on, accuracy, likelihood
):
    name = work.active().name
    unasked = {"adapter": None, "difference": None, "low": None, "high": None, "mcnemar_p_value": None}
    measured = accuracy.model_copy(update=unasked | {"verdict": "uninformative"})
    given = verdict_on(name, measurements=(measured, likelihood), decided_by=(("mmlu", "log-likelihood"),))
    assert registry.record_verdict(given) == given
    assert {score for score in registry.adapter(name).scores if score.startswith("mmlu")} == {
        "mmlu.log_likelihood"
    }


def test_numbers_of_numpy_are_recorded_as_the_numbers_that_they_are(registry, work, verdict_on, likelihood):
    name = work.active().name
    measured = likelihood.model_copy(update={"base": np.float64(-0.1), "low": np.float64(-np.inf)})
    given = verdict_on(
        name,
        measurements=(measured,),
        decided_by=(),
        p_value=np.float64(0.1),
        signs={"own_f1": np.float64(0.3)},
        policy={"rate": np.float64(0.05)},
    )
    found = registry.record_verdict(given)
    assert found == given
    assert registry.adapter(name).scores["own_f1"] == 0.3


def test_a_verdict_is_recorded_once_for_each_adapter_and_run(registry, work, sql, together, verdict_on):
    name = work.active().name
    given = [verdict_on(name, sentence=f"Attempt {number}.") for number in range(4)]
    found = together(4, lambda number: registry.record_verdict(given[number]))
    assert found[0] in given and found == [found[0]] * 4
    again = verdict_on(name, verdict="pass", action="none", signs={"own_f1": 0.1})
    assert registry.record_verdict(again) == found[0]
    assert registry.verdicts(name) == (found[0],)
    assert registry.adapter(name).scores["own_f1"] == 0.75
    assert sql("SELECT count(*) FROM events WHERE kind = 'adapter.judged'") == [(1,)]
    assert registry.record_verdict(verdict_on(name, "run-2")).run == "run-2"
    assert len(registry.verdicts(name)) == 2


def test_a_verdict_leaves_scores_to_filter_by_and_an_event(registry, work, verdict_on, accuracy, likelihood):
    name = work.active("one.md").name
    registry.record_verdict(
        verdict_on(work.active("other.md").name, measurements=(likelihood,), decided_by=())
    )
    given = verdict_on(name)
    registry.record_verdict(given)
    scores = registry.adapter(name).scores
    assert scores["mmlu.accuracy"] == 0.5 and scores["mmlu.log_likelihood"] == -0.3
    assert scores["own_f1"] == 0.75 and scores["gain"] == 1.0
    bound = ScoreCondition(score="mmlu.accuracy", comparison="<", value=0.6)
    assert [each.name for each in registry.adapters(AdapterFilter(scores=(bound,))).adapters] == [name]
    newest = registry.events(name)[0]
    assert (newest.kind, newest.detail) == (
        "adapter.judged",
        {"verdict": "regressed", "sentence": given.sentence, "action": "quarantine", "run": "run-1"},
    )


def test_a_later_verdict_replaces_the_scores_and_not_the_verdict(registry, work, verdict_on, accuracy, now):
    name = work.active().name
    first = registry.record_verdict(verdict_on(name))
    better = accuracy.model_copy(update={"adapter": 0.59, "verdict": "pass"})
    second = verdict_on(name, "run-2", verdict="pass", measurements=(better,), created_at=now + timedelta(1))
    registry.record_verdict(second)
    assert registry.verdicts(name) == (second, first)
    assert registry.verdicts(name, limit=1) == (second,)
    assert registry.adapter(name).scores["mmlu.accuracy"] == 0.59


def test_a_tasks_own_name_never_keeps_a_verdict_from_being_recorded(registry, work, verdict_on, accuracy):
    name = work.active().name
    odd = "my tasks/Größe <1>"
    given = verdict_on(
        name,
        measurements=(accuracy.model_copy(update={"task": odd}),),
        decided_by=((odd, "accuracy"),),
        subjects={odd: {"'; DROP TABLE verdicts; --": (1, 0.0, 1.0)}},
    )
    assert registry.record_verdict(given) == given
    assert registry.adapter(name).scores["my_tasks_Gr__e__1_.accuracy"] == 0.5


def test_verdicts_of_a_run_come_by_the_adapters_name(registry, work, verdict_on):
    names = [work.active(key).name for key in ("b.md", "c.md", "a.md")]
    for name in names:
        registry.record_verdict(verdict_on(name))
        registry.record_verdict(verdict_on(name, "run-2"))
    assert [each.adapter for each in registry.verdicts_of_run("run-1")] == ["a-v1", "b-v1", "c-v1"]
    assert registry.verdicts_of_run("run-3") == ()


def test_what_is_asked_about_an_unknown_adapter_or_run_is_refused_by_its_name(registry, work, verdict_on):
    name = work.active().name
    for call in (
        lambda: registry.verdicts("ghost-v1"),
        lambda: registry.verdict("ghost-v1", "run-1"),
        lambda: registry.record_verdict(verdict_on("ghost-v1")),
        lambda: registry.record_unmeasured("ghost-v1", "run-1", "why"),
    ):
        with pytest.raises(NotFoundError, match="ghost-v1"):
            call()
    with pytest.raises(NotFoundError, match=f"run-1.*{name}"):
        registry.verdict(name, "run-1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_model": "another"}, "measured against another; its base model is SmolLM2"),
        ({"decided_by": (("gsm8k", "accuracy"),)}, "hangs on accuracy of gsm8k"),
    ],
)
def test_a_verdict_that_contradicts_itself_is_refused_and_nothing_is_kept(
    registry, work, contents, changes, message, verdict_on
):
    name = work.active().name
    before = contents()
    with pytest.raises(LiftError, match=message):
        registry.record_verdict(verdict_on(name, **changes))
    assert contents() == before


@pytest.mark.parametrize(
    ("table", "changes", "error"),
    [
        ("measurements", {"base": "NaN"}, "base_check"),
        ("measurements", {"measure": "log-likelihood", "adapter": "-Infinity"}, "adapter_check"),
        ("measurements", {"base": 1.5}, "measurements_check"),
        ("measurements", {"low": 0.5}, "measurements_check"),
        ("measurements", {"high": "NaN"}, "high_check"),
        ("measurements", {"adapter": None}, "measurements_check"),
        (
            "measurements",
            {"adapter": None, "difference": None, "low": None, "high": None},
            "measurements_check",
        ),
        ("measurements", {"n": 0}, "n_check"),
        ("measurements", {"p_value": 1.5}, "p_value_check"),
        ("measurements", {"measure": "luck", "mcnemar_p_value": None}, "measure_check"),
        ("measurements", {"task": "mmlu"}, "task_measure_key"),
        ("measurements", {"deciding": 0}, "deciding_key"),
        ("verdicts", {"verdict": "fine"}, "verdict_check"),
        ("verdicts", {"action": "scold"}, "action_check"),
        ("verdicts", {"adjusted_p_value": "NaN"}, "adjusted_p_value_check"),
        ("verdicts", {"family": 0}, "family_check"),
        ("verdicts", {"run": "run-1"}, "adapter_id_run_key"),
        ("evaluations", {"digest": "short"}, "digest_check"),
        ("evaluations", {}, "digest_adapter_id_key"),
    ],
)
def test_the_database_refuses_what_no_verdict_or_evaluation_can_be(
    registry, work, sql, table, changes, error, conditions, verdict_on, accuracy
):
    registry.record_verdict(verdict_on(work.active().name, measurements=(accuracy,)))
    registry.open_evaluation(conditions, None)
    # A copy of the row that is there, which alone would be allowed, with one thing wrong.
    allowed = {"id": 9, "number": 9, "task": "other", "deciding": None, "run": "other"}
    with pytest.raises(psycopg2.IntegrityError, match=error):
        sql(
            f"INSERT INTO {table} SELECT (jsonb_populate_record(t, %s)).* FROM {table} t",
            json.dumps(allowed | changes),
        )


@pytest.mark.parametrize("table", ["evaluations", "evaluation_shards", "verdicts", "measurements"])
def test_the_database_refuses_to_change_what_was_recorded(
    registry, work, sql, table, conditions, piece, verdict_on
):
    name = work.active().name
    registry.record_verdict(verdict_on(name))
    registry.commit_results(registry.open_evaluation(conditions, name).id, piece(0, 1))
    column = {"evaluations": "digest", "evaluation_shards": "key"}.get(table, "verdict")
    with pytest.raises(psycopg2.errors.RaiseException, match=f"{table} is append-only"):
        sql(f"UPDATE {table} SET {column} = {column}")


def test_a_judged_adapter_can_be_removed_and_its_verdicts_stay(registry, work, conditions, piece, verdict_on):
    name = work.active().name
    evaluation = registry.open_evaluation(conditions, name)
    registry.commit_results(evaluation.id, piece(0, 3))
    given = registry.record_verdict(verdict_on(name))
    registry.quarantine(name, given.sentence)
    assert registry.remove(name).state == "removed"
    assert registry.verdicts(name) == (given,)
    assert registry.evaluations_of(name)[0].done == 3


def test_people_read_the_newest_verdict_and_the_trend_in_sql(
    registry, work, sql, verdict_on, accuracy, likelihood, now
):
    judged, other = work.active("one.md").name, work.active("two.md").name
    work.active("never-judged.md")
    better = (accuracy.model_copy(update={"adapter": 0.59, "verdict": "pass"}), likelihood)
    later = {"created_at": now + timedelta(1), "verdict": "pass", "action": "none"}
    # Recorded late, and still the older one.
    registry.record_verdict(verdict_on(judged, "run-2", measurements=better, **later))
    registry.record_verdict(verdict_on(judged))
    registry.record_verdict(verdict_on(other))
    assert sql("SELECT adapter, document, verdict, action, run FROM adapter_verdicts ORDER BY adapter") == [
        (judged, "one", "pass", "none", "run-2"),
        (other, "two", "regressed", "quarantine", "run-1"),
    ]
    assert sql(
        "SELECT run, measure, n, base_value, adapter_value, low, high, verdict, decided, adapter_verdict "
        "FROM verdict_trend WHERE adapter = %s ORDER BY judged_at, measure",
        judged,
    ) == [
        ("run-1", "accuracy", 100, 0.6, 0.5, -0.2, -0.03, "regressed", True, "regressed"),
        ("run-1", "log-likelihood", 100, -0.1, -0.3, -math.inf, math.inf, "undecided", False, "regressed"),
        ("run-2", "accuracy", 100, 0.6, 0.59, -0.2, -0.03, "pass", True, "pass"),
        ("run-2", "log-likelihood", 100, -0.1, -0.3, -math.inf, math.inf, "undecided", False, "pass"),
    ]
