"""Results of the guard, piece by piece: nothing is lost, nothing counts twice."""

import psycopg2
import pytest

from lift_core.errors import NotFoundError, ServiceUnavailableError, StateError


def test_an_evaluation_is_there_once_for_each_model_and_conditions(registry, work, conditions):
    one, other = work.active("one.md").name, work.active("other.md").name
    later = conditions.model_copy(update={"data_digest": "3" * 64})
    asked = [(conditions, None), (conditions, one), (conditions, other), (later, None), (later, one)]
    made = [registry.open_evaluation(*each) for each in asked]
    assert len({each.id for each in made}) == 5
    assert [(each.conditions, each.adapter, each.shards, each.done) for each in made] == [
        (*each, (), 0) for each in asked
    ]
    assert [registry.open_evaluation(*each) for each in asked] == made
    assert registry.evaluations_of(None) == (made[0], made[3])
    assert registry.evaluations_of(one) == (made[1], made[4])
    assert registry.evaluations_of(other) == (made[2],)


def test_an_unknown_adapter_has_no_evaluations(registry, conditions):
    with pytest.raises(NotFoundError, match="ghost-v1"):
        registry.open_evaluation(conditions, "ghost-v1")
    with pytest.raises(NotFoundError, match="ghost-v1"):
        registry.evaluations_of("ghost-v1")


def test_pieces_follow_one_another_and_are_read_in_the_order_of_their_items(registry, conditions, piece):
    evaluation = registry.open_evaluation(conditions, None)
    pieces = (piece(0, 10), piece(10, 5), piece(15, 1))
    assert [registry.commit_results(evaluation.id, each) for each in pieces] == [True] * 3
    found = registry.open_evaluation(conditions, None)
    assert (found.id, found.shards, found.done) == (evaluation.id, pieces, 16)


def test_a_piece_that_another_attempt_committed_first_does_not_count(registry, conditions, piece):
    evaluation = registry.open_evaluation(conditions, None).id
    assert registry.commit_results(evaluation, piece(0, 10, "a"))
    assert not registry.commit_results(evaluation, piece(0, 10, "b"))
    assert not registry.commit_results(evaluation, piece(0, 4, "b"))
    assert not registry.commit_results(evaluation, piece(4, 6, "c"))
    assert registry.open_evaluation(conditions, None).shards == (piece(0, 10, "a"),)


def test_an_attempt_that_did_not_hear_of_its_commit_is_told_that_its_piece_counts(
    registry, conditions, piece
):
    evaluation = registry.open_evaluation(conditions, None).id
    assert registry.commit_results(evaluation, piece(0, 10))
    assert registry.commit_results(evaluation, piece(10, 10))
    assert registry.commit_results(evaluation, piece(0, 10))
    assert registry.open_evaluation(conditions, None).done == 20


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"first": 11, "count": 5}, "has 10 items, and items 11 to 15 do not follow them.*item 10"),
        ({"first": 5, "count": 6}, "items 5 to 10 do not follow"),
        ({"first": 0, "count": 11, "attempt": "b"}, "items 0 to 10 do not follow"),
        ({"first": 10, "count": 5, "key": "evaluations/x/a/0"}, "is the key of a piece"),
        ({"first": 0, "count": 10, "sha256": "b" * 64}, "is the key of a piece"),
    ],
    ids=["gap", "half known", "longer", "key of another", "other content"],
)
def test_a_piece_that_leaves_a_gap_or_overlaps_is_refused_and_changes_nothing(
    registry, contents, wrong, message, conditions, piece
):
    evaluation = registry.open_evaluation(conditions, None).id
    registry.commit_results(evaluation, piece(0, 10))
    before = contents()
    with pytest.raises(StateError, match=message):
        registry.commit_results(evaluation, piece(**wrong))
    assert contents() == before


def test_results_of_an_evaluation_that_is_not_there_are_refused(registry, piece):
    with pytest.raises(NotFoundError, match="evaluation 7"):
        registry.commit_results(7, piece(0, 1))


def test_threads_that_measure_the_same_at_once_lose_nothing_and_double_nothing(
    registry, together, sql, work, conditions, piece
):
    name = work.active().name

    def attempt(number):
        counted = []
        for first in range(0, 50, 5):
            evaluation = registry.open_evaluation(conditions, name)
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


def test_attempts_whose_connections_are_killed_lose_nothing_and_double_nothing(
    registry, together, killer, conditions, piece
):
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
            evaluation = surely(registry.open_evaluation, conditions, None)
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
def test_the_database_itself_refuses_pieces_that_are_no_chain(
    registry, sql, first, count, error, conditions, piece
):
    evaluation = registry.open_evaluation(conditions, None).id
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
