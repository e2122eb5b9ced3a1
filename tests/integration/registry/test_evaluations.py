"""The guard's memory: results piece by piece, verdicts once, and nobody waits for ever."""

import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg2
import pytest

from lift_core.errors import LiftError, NotFoundError, ServiceUnavailableError, StateError
from lift_core.evaluation_records import AdapterVerdict, Conditions, Measurement, ResultShard
from lift_core.records import AdapterFilter, ScoreCondition

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CONDITIONS = Conditions(
    task="mmlu",
    task_digest="1" * 64,
    data_digest="2" * 64,
    harness="lm_eval 0.4.9",
    base_model="SmolLM2-135M-Instruct",
    base_revision="1",
    engine="transformers, float32",
)
ACCURACY = Measurement(
    task="mmlu",
    measure="accuracy",
    n=100,
    base=0.6,
    adapter=0.5,
    difference=-0.1,
    low=-0.2,
    high=-0.03,
    confidence=0.99,
    margin=0.02,
    p_value=1e-7,
    mcnemar_p_value=0.01,
    verdict="regressed",
)
LIKELIHOOD = Measurement(
    task="mmlu",
    measure="log-likelihood",
    n=100,
    base=-0.1,
    adapter=-0.3,
    difference=-0.2,
    low=-math.inf,
    high=math.inf,
    confidence=0.99,
    margin=0.05,
    p_value=0.5,
    verdict="undecided",
)


def piece(first, count, attempt="a"):
    return ResultShard(first=first, count=count, key=f"evaluations/x/{attempt}/{first}", sha256="a" * 64)


def verdict_on(name, run="run-1", **changes):
    fields = {
        "adapter": name,
        "run": run,
        "base_model": "SmolLM2-135M-Instruct",
        "verdict": "regressed",
        "sentence": "Regressed: mmlu by accuracy, -10.0 points.",
        "decided_by": (("mmlu", "accuracy"),),
        "p_value": 1e-7,
        "adjusted_p_value": 3e-7,
        "alerted": True,
        "family": 3,
        "measurements": (ACCURACY, LIKELIHOOD),
        "subjects": {"mmlu": {"law": (40, 0.5, 0.4), "physics": (60, 2 / 3, 0.1 + 0.2)}},
        "signs": {"own_f1": 0.75, "verbatim_copying": 0.0},
        "policy": {"fingerprint": "f1", "margins": {"accuracy": 0.02}},
        "action": "quarantine",
        "report": f"reports/{run}/{name}/",
        "created_at": NOW,
    }
    return AdapterVerdict.model_validate(fields | changes)


@pytest.fixture
def due(registry):
    """Names and reasons of the adapters that are due, in their order."""

    def due(**asked):
        asked = {"measured_before": NOW, "fingerprint": "f1", "limit": 100} | asked
        return [(each.name, each.reason) for each in registry.due_adapters(**asked)]

    return due


# --- results ------------------------------------------------------------------------------


def test_an_evaluation_is_there_once_for_each_model_and_conditions(registry, work):
    one, other = work.active("one.md").name, work.active("other.md").name
    later = CONDITIONS.model_copy(update={"data_digest": "3" * 64})
    asked = [(CONDITIONS, None), (CONDITIONS, one), (CONDITIONS, other), (later, None), (later, one)]
    made = [registry.open_evaluation(*each) for each in asked]
    assert len({each.id for each in made}) == 5
    assert [(each.conditions, each.adapter, each.shards, each.done) for each in made] == [
        (*each, (), 0) for each in asked
    ]
    assert [registry.open_evaluation(*each) for each in asked] == made
    assert registry.evaluations_of(None) == (made[0], made[3])
    assert registry.evaluations_of(one) == (made[1], made[4])
    assert registry.evaluations_of(other) == (made[2],)


def test_an_unknown_adapter_has_no_evaluations(registry):
    with pytest.raises(NotFoundError, match="ghost-v1"):
        registry.open_evaluation(CONDITIONS, "ghost-v1")
    with pytest.raises(NotFoundError, match="ghost-v1"):
        registry.evaluations_of("ghost-v1")


def test_pieces_follow_one_another_and_are_read_in_the_order_of_their_items(registry):
    evaluation = registry.open_evaluation(CONDITIONS, None)
    pieces = (piece(0, 10), piece(10, 5), piece(15, 1))
    assert [registry.commit_results(evaluation.id, each) for each in pieces] == [True] * 3
    found = registry.open_evaluation(CONDITIONS, None)
    assert (found.id, found.shards, found.done) == (evaluation.id, pieces, 16)


def test_a_piece_that_another_attempt_committed_first_does_not_count(registry):
    evaluation = registry.open_evaluation(CONDITIONS, None).id
    assert registry.commit_results(evaluation, piece(0, 10, "a"))
    assert not registry.commit_results(evaluation, piece(0, 10, "b"))
    assert not registry.commit_results(evaluation, piece(0, 4, "b"))
    assert not registry.commit_results(evaluation, piece(4, 6, "c"))
    assert registry.open_evaluation(CONDITIONS, None).shards == (piece(0, 10, "a"),)


def test_an_attempt_that_did_not_hear_of_its_commit_is_told_that_its_piece_counts(registry):
    evaluation = registry.open_evaluation(CONDITIONS, None).id
    assert registry.commit_results(evaluation, piece(0, 10))
    assert registry.commit_results(evaluation, piece(10, 10))
    assert registry.commit_results(evaluation, piece(0, 10))
    assert registry.open_evaluation(CONDITIONS, None).done == 20


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (piece(11, 5), "has 10 items, and items 11 to 15 do not follow them.*item 10"),
        (piece(5, 6), "items 5 to 10 do not follow"),
        (piece(0, 11, "b"), "items 0 to 10 do not follow"),
        (ResultShard(first=10, count=5, key=piece(0, 10).key, sha256="a" * 64), "is the key of a piece"),
        (ResultShard(first=0, count=10, key=piece(0, 10).key, sha256="b" * 64), "is the key of a piece"),
    ],
    ids=["gap", "half known", "longer", "key of another", "other content"],
)
def test_a_piece_that_leaves_a_gap_or_overlaps_is_refused_and_changes_nothing(
    registry, contents, wrong, message
):
    evaluation = registry.open_evaluation(CONDITIONS, None).id
    registry.commit_results(evaluation, piece(0, 10))
    before = contents()
    with pytest.raises(StateError, match=message):
        registry.commit_results(evaluation, wrong)
    assert contents() == before


def test_results_of_an_evaluation_that_is_not_there_are_refused(registry):
    with pytest.raises(NotFoundError, match="evaluation 7"):
        registry.commit_results(7, piece(0, 1))


def test_threads_that_measure_the_same_at_once_lose_nothing_and_double_nothing(registry, together, sql, work):
    name = work.active().name

    def attempt(number):
        counted = []
        for first in range(0, 50, 5):
            evaluation = registry.open_evaluation(CONDITIONS, name)
            mine = piece(first, 5, f"attempt-{number}")
            if registry.commit_results(evaluation.id, mine):
                counted.append(mine)
        return evaluation.id, counted

    ended = together(6, attempt)
    assert len({number for number, _ in ended}) == 1
    (found,) = registry.evaluations_of(name)
    counted = sorted((each for _, some in ended for each in some), key=lambda each: each.first)
    assert found.shards == tuple(counted)
    assert [each.first for each in found.shards] == [*range(0, 50, 5)]
    assert sql("SELECT count(*) FROM evaluations") == [(1,)]


def test_attempts_whose_connections_are_killed_lose_nothing_and_double_nothing(registry, together, killer):
    start, stop, killed = killer

    def surely(call, *values):
        while True:
            try:
                return call(*values)
            except ServiceUnavailableError:
                continue

    def attempt(number):
        counted = []
        first = 0
        while first < 500:
            evaluation = surely(registry.open_evaluation, CONDITIONS, None)
            first = evaluation.done
            mine = piece(first, 5, f"attempt-{number}")
            # What was committed by another one is known only now and then: both ask for the same piece.
            if first < 500 and surely(registry.commit_results, evaluation.id, mine):
                counted.append(mine)
        return counted

    start()
    ended = together(4, attempt)
    stop()
    assert killed
    (found,) = registry.evaluations_of(None)
    assert found.done == 500
    assert found.shards == tuple(sorted((each for some in ended for each in some), key=lambda e: e.first))


@pytest.mark.parametrize(
    ("first", "count", "error"),
    [
        (11, 5, psycopg2.errors.ForeignKeyViolation),
        (5, 6, psycopg2.errors.ForeignKeyViolation),
        (5, 5, psycopg2.errors.UniqueViolation),
        (0, 20, psycopg2.errors.UniqueViolation),
        (4, 6, psycopg2.errors.UniqueViolation),
        (10, 0, psycopg2.errors.CheckViolation),
        (-1, 1, psycopg2.errors.CheckViolation),
    ],
)
def test_the_database_itself_refuses_pieces_that_are_no_chain(registry, sql, first, count, error):
    evaluation = registry.open_evaluation(CONDITIONS, None).id
    for each in (piece(0, 4), piece(4, 6)):
        registry.commit_results(evaluation, each)
    with pytest.raises(error):
        sql(
            "INSERT INTO evaluation_shards (evaluation_id, first, count, key, sha256) "
            "VALUES (%s, %s, %s, 'new', repeat('a', 64))",
            evaluation,
            first,
            count,
        )


# --- verdicts -----------------------------------------------------------------------------


def test_a_verdict_is_read_as_it_was_recorded_infinite_ends_and_all(registry, work):
    name = work.active().name
    given = verdict_on(
        name,
        measurements=(LIKELIHOOD, ACCURACY, ACCURACY.model_copy(update={"task": "gsm8k"})),
        decided_by=(("gsm8k", "accuracy"), ("mmlu", "log-likelihood")),
    )
    assert registry.record_verdict(given) == given
    assert registry.verdicts(name) == registry.verdicts_of_run("run-1") == (given,)
    assert registry.verdict(name, "run-1") == given


def test_what_an_adapter_was_not_asked_is_no_score_and_read_as_nothing(registry, work):
    name = work.active().name
    unasked = {"adapter": None, "difference": None, "low": None, "high": None, "mcnemar_p_value": None}
    measured = ACCURACY.model_copy(update=unasked | {"verdict": "uninformative"})
    given = verdict_on(name, measurements=(measured, LIKELIHOOD), decided_by=(("mmlu", "log-likelihood"),))
    assert registry.record_verdict(given) == given
    assert {score for score in registry.adapter(name).scores if score.startswith("mmlu")} == {
        "mmlu.log_likelihood"
    }


def test_numbers_of_numpy_are_recorded_as_the_numbers_that_they_are(registry, work):
    name = work.active().name
    measured = LIKELIHOOD.model_copy(update={"base": np.float64(-0.1), "low": np.float64(-np.inf)})
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


def test_a_verdict_is_recorded_once_for_each_adapter_and_run(registry, work, sql, together):
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


def test_a_verdict_leaves_scores_to_filter_by_and_an_event(registry, work):
    name = work.active("one.md").name
    registry.record_verdict(
        verdict_on(work.active("other.md").name, measurements=(LIKELIHOOD,), decided_by=())
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


def test_a_later_verdict_replaces_the_scores_and_not_the_verdict(registry, work):
    name = work.active().name
    first = registry.record_verdict(verdict_on(name))
    better = ACCURACY.model_copy(update={"adapter": 0.59, "verdict": "pass"})
    second = verdict_on(name, "run-2", verdict="pass", measurements=(better,), created_at=NOW + timedelta(1))
    registry.record_verdict(second)
    assert registry.verdicts(name) == (second, first)
    assert registry.verdicts(name, limit=1) == (second,)
    assert registry.adapter(name).scores["mmlu.accuracy"] == 0.59


def test_a_tasks_own_name_never_keeps_a_verdict_from_being_recorded(registry, work):
    name = work.active().name
    odd = "my tasks/Größe <1>"
    given = verdict_on(
        name,
        measurements=(ACCURACY.model_copy(update={"task": odd}),),
        decided_by=((odd, "accuracy"),),
        subjects={odd: {"'; DROP TABLE verdicts; --": (1, 0.0, 1.0)}},
    )
    assert registry.record_verdict(given) == given
    assert registry.adapter(name).scores["my_tasks_Gr__e__1_.accuracy"] == 0.5


def test_verdicts_of_a_run_come_by_the_adapters_name(registry, work):
    names = [work.active(key).name for key in ("b.md", "c.md", "a.md")]
    for name in names:
        registry.record_verdict(verdict_on(name))
        registry.record_verdict(verdict_on(name, "run-2"))
    assert [each.adapter for each in registry.verdicts_of_run("run-1")] == ["a-v1", "b-v1", "c-v1"]
    assert registry.verdicts_of_run("run-3") == ()


def test_what_is_asked_about_an_unknown_adapter_or_run_is_refused_by_its_name(registry, work):
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
    registry, work, contents, changes, message
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
    registry, work, sql, table, changes, error
):
    registry.record_verdict(verdict_on(work.active().name, measurements=(ACCURACY,)))
    registry.open_evaluation(CONDITIONS, None)
    # A copy of the row that is there, which alone would be allowed, with one thing wrong.
    allowed = {"id": 9, "number": 9, "task": "other", "deciding": None, "run": "other"}
    with pytest.raises(psycopg2.IntegrityError, match=error):
        sql(
            f"INSERT INTO {table} SELECT (jsonb_populate_record(t, %s)).* FROM {table} t",
            json.dumps(allowed | changes),
        )


@pytest.mark.parametrize("table", ["evaluations", "evaluation_shards", "verdicts", "measurements"])
def test_the_database_refuses_to_change_what_was_recorded(registry, work, sql, table):
    name = work.active().name
    registry.record_verdict(verdict_on(name))
    registry.commit_results(registry.open_evaluation(CONDITIONS, name).id, piece(0, 1))
    column = {"evaluations": "digest", "evaluation_shards": "key"}.get(table, "verdict")
    with pytest.raises(psycopg2.errors.RaiseException, match=f"{table} is append-only"):
        sql(f"UPDATE {table} SET {column} = {column}")


def test_a_judged_adapter_can_be_removed_and_its_verdicts_stay(registry, work):
    name = work.active().name
    evaluation = registry.open_evaluation(CONDITIONS, name)
    registry.commit_results(evaluation.id, piece(0, 3))
    given = registry.record_verdict(verdict_on(name))
    registry.quarantine(name, given.sentence)
    assert registry.remove(name).state == "removed"
    assert registry.verdicts(name) == (given,)
    assert registry.evaluations_of(name)[0].done == 3


def test_people_read_the_newest_verdict_and_the_trend_in_sql(registry, work, sql):
    judged, other = work.active("one.md").name, work.active("two.md").name
    work.active("never-judged.md")
    better = (ACCURACY.model_copy(update={"adapter": 0.59, "verdict": "pass"}), LIKELIHOOD)
    later = {"created_at": NOW + timedelta(1), "verdict": "pass", "action": "none"}
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


# --- who is due ---------------------------------------------------------------------------


def test_an_adapter_is_due_until_it_was_measured_lately_under_these_conditions(registry, work, due):
    names = {key: work.active(f"{key}.md").name for key in ("never", "long", "other", "fresh", "plain")}
    registry.record_verdict(verdict_on(names["long"], created_at=NOW - timedelta(seconds=1)))
    registry.record_verdict(verdict_on(names["other"], policy={"fingerprint": "f0"}))
    registry.record_verdict(verdict_on(names["fresh"]))
    registry.record_verdict(verdict_on(names["plain"], policy={}))
    assert set(due()) == {
        (names["never"], "never measured"),
        (names["long"], "measured long ago"),
        (names["other"], "other conditions"),
        (names["plain"], "other conditions"),
    }
    registry.record_verdict(verdict_on(names["long"], "run-2"))
    assert names["long"] not in dict(due())
    (first,) = registry.due_adapters(measured_before=NOW, fingerprint="f1", limit=1)
    assert (first.name, first.base_model, first.base_revision) == (
        names["never"],
        "SmolLM2-135M-Instruct",
        "1",
    )


def test_only_active_adapters_are_due(registry, work, due, rejected):
    old = work.active(etag="e1", text="one").name
    new = work.active(etag="e2", text="two").name
    gone = work.active("gone.md").name
    registry.quarantine(gone, "it lies")
    assert due() == [(new, "never measured")]
    for name in (old, gone, rejected):
        assert due(names=[name]) == [(name, "asked for")]


def test_who_waits_longest_comes_first_and_who_cannot_be_measured_starves_nobody(registry, work, due):
    names = [work.active(f"{number}.md").name for number in range(4)]
    assert due(limit=3) == [(name, "never measured") for name in names[:3]]
    registry.record_unmeasured(names[0], "run-1", "its files are damaged")
    assert [name for name, _ in due()] == [*names[1:], names[0]]
    old = {"created_at": NOW - timedelta(2)}
    for number, name in enumerate((names[2], names[1], names[3])):
        registry.record_verdict(verdict_on(name, **old | {"created_at": NOW - timedelta(9 - number)}))
    assert [name for name, _ in due()] == [names[2], names[1], names[3], names[0]]
    registry.record_unmeasured(names[2], "run-2", "it cannot be loaded")
    registry.record_verdict(verdict_on(names[1], "run-2", **old))
    assert [name for name, _ in due()] == [names[3], names[1], names[0], names[2]]
    assert due(limit=2) == [(names[3], "measured long ago"), (names[1], "measured long ago")]


def test_that_an_adapter_could_not_be_measured_is_said_once_for_each_run(registry, work, together):
    name = work.active().name
    together(4, lambda number: registry.record_unmeasured(name, "run-1", f"attempt {number}"))
    said = [each.detail for each in registry.events(name) if each.kind == "adapter.unmeasured"]
    assert len(said) == 1 and said[0]["run"] == "run-1" and said[0]["reason"].startswith("attempt")
    registry.record_unmeasured(name, "run-2", "still")
    said = [each.detail for each in registry.events(name) if each.kind == "adapter.unmeasured"]
    assert said[0] == {"run": "run-2", "reason": "still"} and len(said) == 2
    assert registry.verdicts(name) == ()


def test_all_active_adapters_of_a_time_can_be_asked_for_due_or_not(registry, work, due):
    made = [work.active(f"{number}.md") for number in range(4)]
    names = [each.name for each in made]
    for each in made:
        registry.record_verdict(verdict_on(each.name))
    registry.quarantine(names[2], "it lies")
    assert due() == []
    within = {"created_since": made[1].created_at, "created_until": made[3].created_at}
    assert due(**within) == [(names[1], "asked for")]
    assert [name for name, _ in due(created_since=made[1].created_at)] == [names[1], names[3]]
    assert [name for name, _ in due(created_until=made[1].created_at)] == [names[0]]


def test_names_that_are_asked_for_must_be_there(registry, work, due, rejected):
    name = work.active().name
    registry.record_verdict(verdict_on(name))
    assert due(names=[name, rejected]) == [(rejected, "asked for"), (name, "asked for")]
    assert due(names=[]) == []
    with pytest.raises(NotFoundError, match="ghost-v1"):
        due(names=[name, "ghost-v1"])
    registry.remove(rejected)
    with pytest.raises(NotFoundError, match=f"{rejected}.*removed"):
        due(names=[rejected])
    with pytest.raises(LiftError, match="at least 1"):
        due(limit=0)
