"""What the database itself refuses of adapters and aliases, whoever writes past the Python code."""

import psycopg2
import pytest


def test_an_alias_to_an_adapter_that_is_not_active_is_refused(registry, work, sql):
    candidate = work.candidate(work.claim())
    columns = "name, adapter_id, document_id, slug"
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        sql(f"INSERT INTO aliases ({columns}) SELECT 'report', id, document_id, 'report' FROM adapters")
    with pytest.raises(psycopg2.errors.CheckViolation):
        sql(
            f"INSERT INTO aliases ({columns}, adapter_state) "
            "SELECT 'report', id, document_id, 'report', state FROM adapters"
        )
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        sql(f"INSERT INTO aliases ({columns}) SELECT 'report', 999999, id, slug FROM documents")
    assert registry.adapter(candidate.name).aliases == ()


def test_an_alias_bears_its_documents_slug_and_points_to_that_documents_adapter(registry, work, sql):
    work.active("report.md", "e1")
    work.active("other.md", "e2")
    insert = "INSERT INTO aliases (name, adapter_id, document_id, slug) "
    with pytest.raises(psycopg2.errors.CheckViolation, match="aliases_bear_the_slug"):
        sql(insert + "SELECT 'mine', adapter_id, document_id, slug FROM aliases WHERE name = 'report'")
    with pytest.raises(psycopg2.errors.CheckViolation, match="aliases_bear_the_slug"):
        sql(insert + "SELECT 'report-2@a', adapter_id, document_id, slug FROM aliases WHERE name = 'report'")
    with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="aliases_of_document"):
        sql(insert + "SELECT 'other@a', adapter_id, document_id, 'other' FROM aliases WHERE name = 'report'")
    with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="aliases_stay_with_document"):
        sql(
            "UPDATE aliases SET adapter_id = (SELECT id FROM adapters WHERE name = 'other-v1') "
            "WHERE name = 'report'"
        )
    assert registry.resolve("report").name == "report-v1"


def test_an_adapter_stays_active_while_an_alias_points_to_it(registry, work, connect):
    active = work.active()
    for state in ("superseded", "quarantined", "archived"):
        # The statement itself is allowed: a move of aliases may follow in the same transaction.
        connection = connect()
        connection.cursor().execute("UPDATE adapters SET state = %s", (state,))
        with pytest.raises(psycopg2.errors.ForeignKeyViolation):
            connection.commit()
    assert registry.resolve("report") == active


LEGAL_MOVES = {
    "candidate": {"active", "rejected", "superseded", "removed"},
    "active": {"superseded", "quarantined", "archived"},
    "superseded": {"active", "quarantined", "archived", "removed"},
    "quarantined": {"active", "superseded", "archived", "removed"},
    "archived": {"superseded", "removed"},
    "rejected": {"removed"},
    "removed": set(),
}
WAY_TO = {
    "candidate": (),
    "active": ("active",),
    "superseded": ("superseded",),
    "quarantined": ("superseded", "quarantined"),
    "archived": ("superseded", "archived"),
    "rejected": ("rejected",),
    "removed": ("removed",),
}


@pytest.mark.parametrize("before", LEGAL_MOVES)
def test_the_database_refuses_every_move_of_an_adapter_but_the_legal_ones(registry, work, connect, before):
    work.proven(work.claim())
    connection = connect()
    allowed = set()
    for after in set(LEGAL_MOVES) - {before}:
        with connection.cursor() as cursor:
            for state in WAY_TO[before]:
                cursor.execute("UPDATE adapters SET state = %s", (state,))
            try:
                cursor.execute("UPDATE adapters SET state = %s", (after,))
                allowed.add(after)
            except psycopg2.errors.RaiseException as error:
                assert f"cannot move from {before} to {after}" in str(error)
        connection.rollback()
    assert allowed == LEGAL_MOVES[before]
    assert registry.adapter("report-v1").state == "candidate"


def test_an_alias_cannot_be_moved_to_an_adapter_that_is_not_active(registry, work, sql):
    first = work.active(etag="e1")
    second = work.candidate(work.claim(etag="e2"))
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        sql("UPDATE aliases SET adapter_id = (SELECT id FROM adapters WHERE name = %s)", second.name)
    assert registry.resolve("report").name == first.name


def test_an_adapter_with_aliases_cannot_be_deleted(registry, work, sql):
    active = work.active()
    with pytest.raises(psycopg2.IntegrityError):
        sql("DELETE FROM adapters")
    assert registry.resolve("report") == active
