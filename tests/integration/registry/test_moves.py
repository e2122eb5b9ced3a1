"""Aliases and tags are set and removed by hand, each with its events."""

import pytest

from lift_core.errors import LiftError, NotFoundError, StateError


def kinds(registry, subject):
    """What happened to a subject, oldest first."""
    return [event.kind for event in reversed(registry.events(subject))]


def last(registry, subject):
    return registry.events(subject)[0]


# --- aliases --------------------------------------------------------------------------------


def test_a_label_stays_where_it_was_put_while_newer_versions_are_activated(registry, work):
    first = work.active(etag="e1")
    labelled = registry.set_alias("report@stable", first.name)
    assert labelled.aliases == ("report", "report@champion", "report@stable")
    second = work.active(etag="e2")
    assert registry.resolve("report@stable").name == first.name
    assert registry.adapter(first.name).state == "active"
    assert registry.adapter(second.name).aliases == ("report", "report@champion")


@pytest.mark.parametrize("alias", ["report", "report@champion"])
def test_the_slug_and_its_champion_are_moved_together(registry, work, alias):
    first = work.active(etag="e1")
    second = work.active(etag="e2")
    back = registry.set_alias(alias, first.name)
    assert (back.state, back.aliases) == ("active", ("report", "report@champion"))
    assert registry.adapter(second.name).state == "superseded"
    for name in ("report", "report@champion", "report.md"):
        assert registry.resolve(name).name == first.name
    for name in ("report", "report@champion"):
        assert last(registry, name).detail == {"adapter": first.name}
    assert last(registry, second.name).detail == {"by": first.name}


def test_every_change_of_state_has_its_event(registry, work):
    first = work.active(etag="e1").name
    second = work.active(etag="e2").name
    registry.set_alias("report", first)
    assert kinds(registry, first)[-2:] == ["adapter.superseded", "adapter.active"]
    registry.quarantine(first, "it lies")
    assert kinds(registry, second)[-2:] == ["adapter.superseded", "adapter.active"]
    registry.quarantine(second, "it lies too")
    registry.release(first, "it does not")
    assert kinds(registry, first)[-3:] == ["adapter.quarantined", "adapter.released", "adapter.active"]


def test_setting_an_alias_where_it_is_changes_nothing(registry, work, contents):
    active = work.active()
    registry.set_alias("report@stable", active.name)
    before = contents()
    for alias in ("report", "report@champion", "report@stable"):
        registry.set_alias(alias, active.name)
    assert contents() == before


def test_a_moved_label_supersedes_the_adapter_that_lost_its_last_one(registry, work):
    first, second, third = (work.active(etag=f"e{n}").name for n in range(3))
    registry.set_alias("report@stable", first)
    registry.set_alias("report@stable", second)
    states = {name: registry.adapter(name).state for name in (first, second, third)}
    assert states == {first: "superseded", second: "active", third: "active"}


@pytest.mark.parametrize(
    "alias",
    [
        *("other", "other@champion", "report-2", "report-2@stable", "repor", "report-v1", "REPORT", "", "%"),
        *("report@", "@champion", "report@@x", "report@Stable", "report@a b", "report@a_b", "report@a\n"),
    ],
)
def test_an_alias_must_bear_its_documents_slug(registry, work, contents, alias):
    work.active("report.md", "e1")
    work.active("other.md", "e2")
    work.active("b/report.md", "e3")
    before = contents()
    with pytest.raises(LiftError, match="cannot point to report-v1"):
        registry.set_alias(alias, "report-v1")
    assert contents() == before


def test_documents_whose_slugs_begin_alike_keep_their_own_aliases(registry, work):
    one = work.active("report.md", "e1")
    two = work.active("b/report.md", "e2")
    assert (one.slug, two.slug) == ("report", "report-2")
    registry.set_alias("report@stable", one.name)
    registry.set_alias("report-2@stable", two.name)
    registry.remove_alias("report")
    assert registry.adapter(two.name).aliases == ("report-2", "report-2@champion", "report-2@stable")
    assert registry.adapter(one.name).aliases == ("report@stable",)
    registry.quarantine(one.name, "it lies")
    assert registry.resolve("report-2@stable").name == two.name


def test_an_alias_only_points_to_a_proven_adapter(registry, work, rejected):
    with pytest.raises(StateError, match="'bad-v1' is rejected"):
        registry.set_alias("bad", rejected)
    candidate = work.candidate(work.claim("new.md", "new"))
    with pytest.raises(StateError, match="'new-v1' is candidate"):
        registry.set_alias("new@stable", candidate.name)
    quarantined = work.active().name
    registry.quarantine(quarantined, "it lies")
    with pytest.raises(StateError, match="'report-v1' is quarantined"):
        registry.set_alias("report", quarantined)
    with pytest.raises(NotFoundError, match="ghost-v1"):
        registry.set_alias("ghost", "ghost-v1")
    assert registry.aliases() == []


def test_an_alias_is_not_an_adapters_name_where_a_name_is_asked_for(registry, work):
    work.active()
    for call in (
        lambda: registry.set_alias("report@stable", "report"),
        lambda: registry.quarantine("report", "why"),
        lambda: registry.archive("report@champion"),
        lambda: registry.remove("report.md"),
        lambda: registry.tag("report", {"a": "b"}),
    ):
        with pytest.raises(NotFoundError):
            call()


@pytest.mark.parametrize("alias", ["report", "report@champion"])
def test_removing_an_alias_leaves_its_adapter_under_its_own_name(registry, work, alias):
    active = work.active()
    registry.remove_alias(alias)
    found = registry.resolve(active.name)
    assert (found.state, found.aliases) == ("superseded", ())
    for name in ("report", "report@champion", "report.md"):
        with pytest.raises(NotFoundError):
            registry.resolve(name)
    assert [last(registry, name).kind for name in ("report", "report@champion")] == ["alias.removed"] * 2
    assert last(registry, active.name).kind == "adapter.superseded"


def test_removing_a_label_leaves_the_other_aliases(registry, work):
    active = work.active()
    registry.set_alias("report@stable", active.name)
    registry.remove_alias("report@stable")
    assert registry.adapter(active.name) == active
    with pytest.raises(NotFoundError, match="report@stable"):
        registry.remove_alias("report@stable")


@pytest.mark.parametrize("alias", ["report@stable", "nobody", "report-v1", "report.md", ""])
def test_removing_an_alias_that_is_not_there_is_refused(registry, work, contents, alias):
    work.active()
    before = contents()
    with pytest.raises(NotFoundError, match="there is no alias"):
        registry.remove_alias(alias)
    assert contents() == before


# --- tags -------------------------------------------------------------------------------------


def test_tags_are_set_replaced_and_removed(registry, work):
    name = work.active().name
    assert registry.tag(name, {"team": "a", "k8s.io/x_y": ""}).tags == {"team": "a", "k8s.io/x_y": ""}
    changed = registry.tag(name, {"team": "b", "k8s.io/x_y": None, "absent": None, "text": 'ü "q" \' % :x'})
    assert changed.tags == {"team": "b", "text": 'ü "q" \' % :x'}
    assert registry.adapter("report").tags == changed.tags
    assert last(registry, name).detail == {
        "tags": {"team": "b", "k8s.io/x_y": None, "text": 'ü "q" \' % :x'},
    }


def test_tags_that_change_nothing_leave_no_event(registry, work):
    name = work.active().name
    registry.tag(name, {"team": "a"})
    before = registry.events(name)
    registry.tag(name, {"team": "a", "absent": None})
    registry.tag(name, {})
    assert registry.events(name) == before


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"": "x"}, "'' is no tag"),
        ({" team": "x"}, "is no tag"),
        ({"-team": "x"}, "is no tag"),
        ({"a\n": "x"}, "is no tag"),
        ({"ä": "x"}, "is no tag"),
        ({"a" * 64: "x"}, "is no tag"),
        ({"a": "x" * 1001}, "over 1,000"),
        ({"a": "\x00"}, "cannot be stored"),
        ({"a": "\ud800"}, "cannot be stored"),
    ],
)
def test_a_tag_that_is_not_allowed_is_refused_with_all_others(registry, work, tags, said):
    name = work.active().name
    with pytest.raises(LiftError, match=said):
        registry.tag(name, {"fine": "yes"} | tags)
    assert registry.adapter(name).tags == {}


def test_the_longest_tags_are_kept(registry, work):
    name = work.active().name
    tags = {"a" * 63: "ü" * 1000}
    assert registry.tag(name, tags).tags == tags


def test_an_adapter_has_at_most_64_tags(registry, work):
    name = work.active().name
    full = {f"tag-{n}": "x" for n in range(64)}
    registry.tag(name, full)
    with pytest.raises(LiftError, match="would have 65 tags; the limit is 64"):
        registry.tag(name, {"one-more": "x"})
    assert registry.adapter(name).tags == full
    assert registry.tag(name, {"one-more": "x", "tag-0": None}).tags.keys() == {
        "one-more",
        *(f"tag-{n}" for n in range(1, 64)),
    }


def test_tags_of_an_unknown_adapter_are_refused(registry):
    with pytest.raises(NotFoundError, match="ghost-v1"):
        registry.tag("ghost-v1", {"a": "b"})


def test_tags_of_many_at_once_are_all_kept(registry, work, together):
    name = work.active().name
    together(8, lambda n: registry.tag(name, {f"of-{n}": str(n)}))
    assert registry.adapter(name).tags == {f"of-{n}": str(n) for n in range(8)}
