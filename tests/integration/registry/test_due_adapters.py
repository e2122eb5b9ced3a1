"""Which adapters the guard is to measure next: nobody waits for ever."""

from datetime import timedelta

import pytest

from lift_core.errors import LiftError, NotFoundError


@pytest.fixture
def due(registry, now):
    """Names and reasons of the adapters that are due, in their order."""

    def due(**asked):
        asked = {"measured_before": now, "fingerprint": "f1", "limit": 100} | asked
        return [(each.name, each.reason) for each in registry.due_adapters(**asked)]

    return due


def test_an_adapter_is_due_until_it_was_measured_lately_under_these_conditions(
    registry, work, due, verdict_on, now
):
    names = {key: work.active(f"{key}.md").name for key in ("never", "long", "other", "fresh", "plain")}
    registry.record_verdict(verdict_on(names["long"], created_at=now - timedelta(seconds=1)))
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
    (first,) = registry.due_adapters(measured_before=now, fingerprint="f1", limit=1)
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


def test_who_waits_longest_comes_first_and_who_cannot_be_measured_starves_nobody(
    registry, work, due, verdict_on, now
):
    names = [work.active(f"{number}.md").name for number in range(4)]
    assert due(limit=3) == [(name, "never measured") for name in names[:3]]
    registry.record_unmeasured(names[0], "run-1", "its files are damaged")
    assert [name for name, _ in due()] == [*names[1:], names[0]]
    old = {"created_at": now - timedelta(2)}
    for number, name in enumerate((names[2], names[1], names[3])):
        registry.record_verdict(verdict_on(name, **old | {"created_at": now - timedelta(9 - number)}))
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


def test_all_active_adapters_of_a_time_can_be_asked_for_due_or_not(registry, work, due, verdict_on):
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


def test_names_that_are_asked_for_must_be_there(registry, work, due, rejected, verdict_on):
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
