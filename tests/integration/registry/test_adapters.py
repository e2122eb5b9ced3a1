"""Adapters are registered once, serve only when active, and their aliases move all at once."""

import threading
from contextlib import suppress

import psycopg2
import pytest

from lift_core.errors import FencedError, LiftError, NotFoundError, NotServableError, ProofError

FILES = {"adapter_model.safetensors": "a" * 64, "adapter_config.json": "b" * 64}


def kinds(registry, subject):
    """What happened to a subject, oldest first."""
    return [event.kind for event in reversed(registry.events(subject))]


# --- registration ---------------------------------------------------------------------------


def test_a_trained_adapter_is_a_candidate_that_nobody_gets(registry, work):
    claim = work.claim("folder/report.md")
    lease = registry.acquire(claim.job_id, "train", "test")
    made = registry.register_candidate(lease, "jobs/1/adapter/", FILES, {"train_loss": 0.5})
    assert (made.name, made.state, made.aliases) == ("report-v1", "candidate", ())
    assert (made.document, made.version, made.recipe) == ("folder/report.md", 1, work.recipe.digest)
    assert (made.base_model, made.base_revision) == (work.recipe.base_model, work.recipe.base_revision)
    assert (made.prefix, made.files, made.scores) == ("jobs/1/adapter/", FILES, {"train_loss": 0.5})
    assert registry.adapter("report-v1") == made
    assert registry.adapters().adapters == (made,)
    registry.record_proof(work.prover(claim), "report-v1", {"gain": 2.0})
    proven = registry.adapter("report-v1")
    assert (proven.state, proven.scores) == ("candidate", {"train_loss": 0.5, "gain": 2.0})


def test_a_job_registers_one_adapter_however_many_try_at_once(registry, work, together, sql):
    claim = work.claim()
    lease = registry.acquire(claim.job_id, "train", "test")
    made = together(8, lambda n: registry.register_candidate(lease, f"try-{n}/", FILES, {}))
    assert made == [made[0]] * 8
    assert [adapter.name for adapter in registry.adapters().adapters] == ["report-v1"]
    assert kinds(registry, "report-v1") == ["adapter.candidate"]
    # No number was lost on the seven that were too many.
    assert work.candidate(work.claim(etag="e2")).name == "report-v2"


def test_attempts_with_tokens_of_their_own_register_one_adapter(registry, work, together):
    claim = work.claim()

    def attempt(number):
        lease = registry.acquire(claim.job_id, "train", f"host-{number}")
        try:
            return registry.register_candidate(lease, f"try-{lease.token}/", FILES, {}).prefix
        except FencedError:
            return None

    prefixes = {prefix for prefix in together(8, attempt) if prefix}
    assert prefixes == {adapter.prefix for adapter in registry.adapters().adapters}
    assert len(prefixes) == 1


def test_adapters_of_many_documents_are_registered_at_once(registry, work, together):
    claims = [work.claim(f"doc-{n}.md", f"e{n}") for n in range(8)]
    names = together(8, lambda n: work.candidate(claims[n]).name)
    assert names == [f"doc-{n}-v1" for n in range(8)]


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
def test_a_job_that_has_ended_registers_no_adapter(registry, work, sql, ending):
    claim = work.claim()
    lease = registry.acquire(claim.job_id, "train", "test")
    sql("UPDATE jobs SET state = %s, reason = 'test'", ending)
    with pytest.raises(FencedError, match="not running any more"):
        registry.register_candidate(lease, "late/", FILES, {})
    assert registry.adapters().adapters == ()


# --- activation -----------------------------------------------------------------------------


def test_activation_gives_the_aliases_and_ends_the_job(registry, work):
    claim = work.claim()
    active = registry.activate(work.proven(claim).name)
    assert (active.state, active.aliases) == ("active", ("report", "report@champion"))
    document = registry.document("report.md")
    assert (document.state, document.adapter) == ("ready", active.name)
    assert document.ready_at is not None
    assert kinds(registry, active.name) == ["adapter.candidate", "adapter.proven", "adapter.active"]
    assert kinds(registry, claim.run_id)[-1] == "job.done"
    assert kinds(registry, "report@champion") == ["alias.moved"]


def test_the_old_adapter_serves_until_the_new_one_is_activated(registry, work):
    first = work.active(etag="e1")
    second = work.proven(work.claim(etag="e2"))
    assert registry.resolve("report").name == first.name
    assert registry.adapter(first.name).state == "active"
    registry.activate(second.name)
    assert registry.adapter(second.name).aliases == ("report", "report@champion")
    superseded = registry.adapter(first.name)
    assert (superseded.state, superseded.aliases) == ("superseded", ())
    assert registry.resolve("report.md").name == second.name


def test_activation_twice_changes_nothing(registry, work, contents):
    active = work.active()
    before = contents()
    assert registry.activate(active.name) == active
    assert contents() == before


def test_an_older_versions_adapter_that_comes_late_is_kept_as_superseded(registry, work):
    slow = work.proven(work.claim(etag="e1"))
    quick = work.active(etag="e2")
    late = registry.activate(slow.name)
    assert (late.state, late.aliases) == ("superseded", ())
    for name in ("report", "report@champion", "report.md"):
        assert registry.resolve(name).name == quick.name
    assert registry.adapter(quick.name).state == "active"
    assert registry.document("report.md").adapter == quick.name


def test_an_older_versions_adapter_serves_while_there_is_no_newer_one(registry, work):
    slow = work.proven(work.claim(etag="e1"))
    work.claim(etag="e2")
    registry.activate(slow.name)
    assert registry.resolve("report").name == slow.name


def test_activations_at_once_leave_one_active_adapter_with_both_aliases(registry, work, together):
    names = [work.proven(work.claim(etag=f"e{n}")).name for n in range(5)]
    together(5, lambda n: registry.activate(names[n]))
    assert {adapter.name: adapter.state for adapter in registry.adapters().adapters} == {
        name: "active" if name == names[-1] else "superseded" for name in names
    }
    assert registry.adapter(names[-1]).aliases == ("report", "report@champion")


def test_an_unknown_adapter_cannot_be_activated(registry):
    with pytest.raises(NotFoundError, match="ghost-v1"):
        registry.activate("ghost-v1")


def test_a_reader_in_the_middle_of_an_activation_sees_the_old_state_whole(
    registry, work, connect, background, wait_for_blocked
):
    first = work.active(etag="e1")
    second = work.proven(work.claim(etag="e2"))
    # The first event of the move waits for this lock, after the first alias was moved.
    holder = connect()
    holder.cursor().execute("LOCK TABLE events IN SHARE MODE")
    activating = background(registry.activate, second.name)
    wait_for_blocked(1)
    for alias in ("report", "report@champion", "report.md"):
        assert registry.resolve(alias).name == first.name
    assert registry.adapter(first.name).aliases == ("report", "report@champion")
    assert registry.adapter(second.name).state == "candidate"
    assert registry.document("report.md").state != "ready"
    holder.rollback()
    activating.result(30)
    assert registry.resolve("report@champion").name == second.name


def test_a_reader_beside_activations_always_finds_each_alias_once(registry, work, sql):
    names = [work.active(etag="e0").name]
    seen, wrong = [], []
    stop = threading.Event()

    def read():
        while not stop.is_set():
            found = sql(
                "SELECT a.name, a.state FROM aliases l JOIN adapters a ON a.id = l.adapter_id ORDER BY l.name"
            )
            active = [name for (name,) in sql("SELECT name FROM adapters WHERE state = 'active'")]
            seen.append(found[0][0] if found else None)
            if len(found) != 2 or found[0] != found[1] or found[0][1] != "active" or len(active) != 1:
                wrong.append((found, active))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(1, 13):
            names.append(work.active(etag=f"e{number}").name)
    finally:
        stop.set()
        reader.join()
    assert wrong == []
    assert len(set(seen)) > 1, "the reader saw no move: the test shows nothing"
    assert set(seen) <= set(names)


def test_an_activation_that_cannot_end_changes_nothing(registry, work, sql, contents):
    work.active(etag="e1")
    second = work.proven(work.claim(etag="e2"))
    before = contents()
    # Something else in the same transaction is refused at its very end.
    sql("ALTER TABLE jobs ADD CONSTRAINT no_end CHECK (state <> 'done') NOT VALID")
    with pytest.raises(Exception, match="no_end"):
        registry.activate(second.name)
    assert contents() == before
    sql("ALTER TABLE jobs DROP CONSTRAINT no_end")
    assert registry.activate(second.name).state == "active"


# --- proof ----------------------------------------------------------------------------------


def test_an_adapter_that_was_not_proven_cannot_be_activated(registry, work, sql):
    first = work.active(etag="e1")
    second = work.candidate(work.claim(etag="e2"))
    with pytest.raises(ProofError, match=second.name):
        registry.activate(second.name)
    with pytest.raises(psycopg2.errors.CheckViolation):
        sql("UPDATE adapters SET state = 'active' WHERE name = %s", second.name)
    assert registry.adapter(second.name).state == "candidate"
    assert registry.resolve("report").name == first.name
    assert registry.document("report.md").state != "ready"


def test_an_attempt_that_was_replaced_can_neither_prove_nor_reject(registry, work):
    claim = work.claim()
    candidate = work.candidate(claim)
    old = work.prover(claim)
    new = work.prover(claim)
    with pytest.raises(FencedError):
        registry.record_proof(old, candidate.name, {"gain": 9.0})
    with pytest.raises(FencedError):
        registry.reject(old, candidate.name, "it knows nothing")
    assert registry.adapter(candidate.name) == candidate
    assert kinds(registry, candidate.name) == ["adapter.candidate"]
    registry.record_proof(new, candidate.name, {"gain": 1.0})
    assert registry.activate(candidate.name).state == "active"


def test_a_rejected_adapter_never_serves(registry, work):
    first = work.active(etag="e1")
    claim = work.claim(etag="e2")
    second = work.candidate(claim)
    registry.reject(work.prover(claim), second.name, "it knows nothing")
    assert kinds(registry, second.name) == ["adapter.candidate", "adapter.rejected"]
    assert registry.adapter(second.name).state == "rejected"
    with pytest.raises(NotServableError, match="rejected"):
        registry.resolve(second.name)
    assert registry.resolve("report").name == first.name


@pytest.mark.parametrize("proven_before", [False, True], ids=["at once", "by a second proof"])
def test_activating_a_rejected_adapter_does_not_make_its_document_ready(registry, work, proven_before):
    claim = work.claim()
    candidate = work.proven(claim) if proven_before else work.candidate(claim)
    registry.reject(work.prover(claim), candidate.name, "it knows nothing")
    with suppress(LiftError):
        registry.activate(candidate.name)
    assert registry.adapter(candidate.name).state == "rejected"
    assert registry.document("report.md").state != "ready"
    with pytest.raises(NotFoundError):
        registry.resolve("report")


def test_an_active_adapter_cannot_be_rejected(registry, work):
    claim = work.claim()
    active = work.finish(claim)
    registry.reject(work.prover(claim), active.name, "too late")
    assert registry.resolve("report") == active
    assert "adapter.rejected" not in kinds(registry, active.name)


# --- names ----------------------------------------------------------------------------------


def test_an_adapter_is_found_by_its_name_its_aliases_and_its_documents_key(registry, work):
    active = work.active("folder/Report.md")
    for name in ("report-v1", "report", "report@champion", "folder/Report.md"):
        assert registry.resolve(name) == active


def test_an_unknown_name_is_refused_with_a_remedy(registry, work):
    work.active()
    for name in ("nobody", "nobody-v1", "report-v2", "report@challenger", "", "%", "Report"):
        with pytest.raises(NotFoundError, match="lift adapters ls"):
            registry.resolve(name)


def test_a_candidate_is_refused_under_every_name(registry, work):
    work.candidate(work.claim())
    with pytest.raises(NotServableError, match="candidate"):
        registry.resolve("report-v1")
    for name in ("report", "report@champion", "report.md"):
        with pytest.raises(NotFoundError):
            registry.resolve(name)


def test_a_superseded_adapter_is_still_found_by_its_own_name_only(registry, work):
    first = work.active(etag="e1")
    second = work.active(etag="e2")
    assert registry.resolve(first.name).name == first.name
    assert registry.resolve("report.md").name == second.name


def test_a_key_that_equals_another_documents_alias_does_not_take_it(registry, work):
    first = work.active("report.md", "e1")
    # Its slug is `report-2`, its key is the first one's alias.
    work.active("report", "e2")
    assert registry.resolve("report").name == first.name


def test_a_key_that_equals_another_adapters_name_does_not_take_it(registry, work):
    first = work.active("report.md", "e1")
    work.active("report.md", "e2")
    work.active("report-v1", "e3")
    assert registry.resolve("report-v1").name == first.name


def test_a_document_with_two_active_adapters_is_served_by_the_one_its_alias_names(registry, work):
    first = work.active(etag="e1")
    registry.set_alias("report@stable", first.name)
    second = work.active(etag="e2")
    assert registry.resolve("report@stable").name == first.name
    assert registry.resolve("report").name == second.name
    assert registry.resolve("report.md").name == second.name
