"""Quarantine, release, archive and removal: what leaves service, what serves instead, and the events."""

import pytest

from lift_core.errors import NotFoundError, NotServableError, ProofError, StateError


def kinds(registry, subject):
    """What happened to a subject, oldest first."""
    return [event.kind for event in reversed(registry.events(subject))]


def last(registry, subject):
    return registry.events(subject)[0]


# --- quarantine and release -------------------------------------------------------------------


def test_quarantine_gives_the_aliases_to_the_one_that_served_last(registry, work):
    first, second, third = (work.active(etag=f"e{n}").name for n in range(3))
    registry.set_alias("report", first)  # it served after the second one did
    registry.set_alias("report@stable", third)
    registry.set_alias("report", third)
    assert registry.quarantine(third, "it lies") == first
    assert registry.adapter(first).aliases == ("report", "report@champion", "report@stable")
    assert registry.adapter(second).state == "superseded"
    assert last(registry, third).kind == "adapter.quarantined"
    assert last(registry, third).detail == {"reason": "it lies", "instead": first}
    for alias in ("report", "report@champion", "report@stable"):
        assert last(registry, alias).detail == {"adapter": first}
    with pytest.raises(NotServableError, match="quarantined") as refused:
        registry.resolve(third)
    assert refused.value.state == "quarantined"


def test_quarantine_of_the_only_adapter_removes_its_aliases(registry, work):
    only = work.active().name
    registry.set_alias("report@stable", only)
    assert registry.quarantine(only, "it lies") is None
    assert registry.adapter(only).aliases == ()
    for alias in ("report", "report@champion", "report@stable"):
        assert last(registry, alias).kind == "alias.removed"
        with pytest.raises(NotFoundError, match="no a"):
            registry.resolve(alias)


def test_quarantine_never_falls_back_to_what_is_not_good(registry, work):
    first, second, third = (work.active(etag=f"e{n}").name for n in range(3))
    registry.quarantine(first, "it lies")
    registry.archive(second)
    work.candidate(work.claim(etag="e9"))
    assert registry.quarantine(third, "it lies") is None
    assert registry.aliases() == []


def test_quarantine_of_an_adapter_without_aliases_moves_none(registry, work):
    first, second = (work.active(etag=f"e{n}").name for n in range(2))
    assert registry.quarantine(first, "it lies") is None
    assert registry.resolve("report").name == second
    with pytest.raises(NotServableError):
        registry.resolve(first)


def test_quarantine_twice_changes_nothing(registry, work, contents):
    name = work.active().name
    registry.quarantine(name, "it lies")
    before = contents()
    assert registry.quarantine(name, "it still lies") is None
    assert contents() == before


def test_only_what_is_in_service_is_quarantined(registry, work, rejected, contents):
    archived = work.active(etag="e1").name
    work.active(etag="e2")
    registry.archive(archived)
    candidate = work.candidate(work.claim("new.md", "new")).name
    before = contents()
    for name in (rejected, archived, candidate):
        with pytest.raises(StateError, match=f"'{name}' is"):
            registry.quarantine(name, "why")
    with pytest.raises(NotFoundError, match="ghost-v1"):
        registry.quarantine("ghost-v1", "why")
    assert contents() == before


def test_a_quarantined_adapter_does_not_come_back_by_a_revert(registry, work):
    first = work.active(etag="e1").name
    work.active(etag="e2")
    registry.quarantine(first, "it lies")
    registry.record_arrivals([work.arrival("report.md", "e1", 60)], work.recipe)
    assert registry.adapter(first).state == "quarantined"
    assert registry.resolve("report").name == "report-v2"


def test_a_newer_version_takes_the_aliases_after_a_quarantine(registry, work):
    registry.quarantine(work.active(etag="e1").name, "it lies")
    second = work.active(etag="e2")
    assert registry.resolve("report").name == second.name


def test_release_of_the_only_adapter_lets_it_serve_again(registry, work):
    active = work.active()
    registry.quarantine(active.name, "it lies")
    released = registry.release(active.name, "it does not")
    assert (released.state, released.aliases) == ("active", ("report", "report@champion"))
    assert "adapter.released" in kinds(registry, active.name)
    released_event = next(e for e in registry.events(active.name) if e.kind == "adapter.released")
    assert released_event.detail == {"reason": "it does not"}


def test_release_leaves_the_aliases_with_what_serves(registry, work):
    first, second = (work.active(etag=f"e{n}").name for n in range(2))
    registry.quarantine(second, "it lies")
    assert registry.resolve("report").name == first
    released = registry.release(second, "it does not")
    assert (released.state, released.aliases) == ("superseded", ())
    assert registry.resolve("report").name == first
    assert registry.resolve(second).name == second


def test_an_archived_adapter_can_be_released(registry, work):
    first, second = (work.active(etag=f"e{n}").name for n in range(2))
    registry.archive(first)
    assert registry.release(first, "needed after all").state == "superseded"
    assert registry.resolve("report").name == second


def test_only_a_quarantined_or_archived_adapter_is_released(registry, work, rejected, contents):
    active = work.active().name
    candidate = work.candidate(work.claim("new.md", "new")).name
    before = contents()
    for name in (active, rejected, candidate):
        with pytest.raises(StateError, match="only a quarantined or archived one"):
            registry.release(name, "why")
    with pytest.raises(NotFoundError):
        registry.release("ghost-v1", "why")
    assert contents() == before


# --- archive and removal ----------------------------------------------------------------------


def test_an_adapter_is_not_archived_while_an_alias_points_to_it(registry, work, contents):
    first, second = (work.active(etag=f"e{n}").name for n in range(2))
    registry.set_alias("report@stable", first)
    before = contents()
    with pytest.raises(StateError, match="report@stable points to 'report-v1'"):
        registry.archive(first)
    with pytest.raises(StateError, match="report, report@champion points to 'report-v2'"):
        registry.archive(second)
    assert contents() == before
    registry.remove_alias("report@stable")
    registry.archive(first, "too old")
    assert registry.adapter(first).state == "archived"
    assert last(registry, first).detail["reason"] == "too old"
    with pytest.raises(NotServableError, match="archived"):
        registry.resolve(first)


def test_archiving_twice_changes_nothing(registry, work, contents):
    first, _ = (work.active(etag=f"e{n}").name for n in range(2))
    registry.archive(first)
    before = contents()
    registry.archive(first)
    assert contents() == before


def test_a_quarantined_adapter_can_be_archived_and_one_that_never_served_cannot(registry, work, rejected):
    name = work.active().name
    registry.quarantine(name, "it lies")
    registry.archive(name)
    assert registry.adapter(name).state == "archived"
    candidate = work.candidate(work.claim("new.md", "new")).name
    for other in (rejected, candidate):
        with pytest.raises(StateError, match="not in service"):
            registry.archive(other)


def test_an_active_adapter_is_not_removed(registry, work, contents):
    name = work.active().name
    before = contents()
    with pytest.raises(StateError, match="report, report@champion points to it"):
        registry.remove(name)
    assert contents() == before


@pytest.mark.parametrize("state", ["candidate", "rejected", "superseded", "quarantined", "archived"])
def test_a_removed_adapter_keeps_its_line_and_never_comes_back(registry, work, state):
    claim = work.claim()
    name = work.proven(claim).name
    if state == "rejected":
        registry.reject(work.prover(claim), name, "it knows nothing")
    elif state != "candidate":
        registry.activate(name)
        registry.remove_alias("report")
        if state == "quarantined":
            registry.quarantine(name, "it lies")
        if state == "archived":
            registry.archive(name)
    assert registry.adapter(name).state == state
    assert registry.remove(name).state == "removed"
    assert registry.lineage(name).adapter == name
    assert last(registry, name).kind == "adapter.removed"
    events = len(registry.events(name))
    assert registry.remove(name).state == "removed"
    assert len(registry.events(name)) == events
    for call in (
        lambda: registry.set_alias("report", name),
        lambda: registry.quarantine(name, "why"),
        lambda: registry.archive(name),
        lambda: registry.release(name, "why"),
    ):
        with pytest.raises(StateError, match="is removed"):
            call()
    with pytest.raises(ProofError, match=name):
        registry.activate(name)
    assert registry.adapter(name).state == "removed"
    with pytest.raises(NotServableError, match="removed"):
        registry.resolve(name)


def test_a_removed_adapters_number_is_not_given_again(registry, work):
    registry.remove(work.candidate(work.claim(etag="e1")).name)
    assert work.active(etag="e2").name == "report-v2"


def test_removing_what_is_not_there_is_refused(registry):
    with pytest.raises(NotFoundError, match="lift adapters ls"):
        registry.remove("ghost-v1")


# --- decisions at once ------------------------------------------------------------------------


def test_quarantines_of_all_adapters_at_once_leave_no_alias(registry, work, together, sql):
    names = [work.active(etag=f"e{n}").name for n in range(6)]
    together(6, lambda n: registry.quarantine(names[n], "all of them lie"))
    assert {registry.adapter(name).state for name in names} == {"quarantined"}
    assert registry.aliases() == []


def test_an_activation_and_a_quarantine_at_once_leave_an_alias_on_a_good_one(registry, work, together):
    for number in range(5):
        serving = work.active(etag=f"a{number}").name
        following = work.proven(work.claim(etag=f"b{number}")).name
        calls = [
            lambda s=serving: registry.quarantine(s, "it lies"),
            lambda f=following: registry.activate(f),
        ]
        together(2, lambda n, calls=calls: calls[n]())
        assert registry.resolve("report").name == following
        assert registry.adapter(serving).state == "quarantined"
