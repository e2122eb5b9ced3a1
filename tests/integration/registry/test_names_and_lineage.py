"""One adapter by any of its names, where it comes from, and what is said where there is none."""

import pytest

from lift_core.errors import LiftError, NotFoundError, NotServableError
from lift_core.records import AdapterFilter, StreamEnd

NOBODY = "lift adapters ls"


# --- one by name ----------------------------------------------------------------------------


def test_a_line_tells_all_of_an_adapter(registry, make, work):
    name = make("folder/one.md", "e1", "A title", None, {"team": "a"}, {"n": 7})
    registry.set_alias("one@stable", name)
    found = registry.adapter(name)
    assert found == registry.adapter("one@stable") == registry.adapter("folder/one.md")
    assert (found.aliases, found.tags) == (("one", "one@champion", "one@stable"), {"team": "a"})
    assert found.scores == {"train_loss": 0.5, "gain": 1.0, "n": 7.0}
    assert (found.bucket, found.document, found.slug, found.version) == ("inbox", "folder/one.md", "one", 1)
    assert (found.title, found.recipe) == ("A title", work.recipe.digest)
    assert found.created_at < found.activated_at


def test_what_is_not_there_says_what_there_is(registry, work):
    with pytest.raises(NotFoundError, match=f"no adapter, alias or document 'report'.*{NOBODY}"):
        registry.adapter("report")
    work.arrive()
    with pytest.raises(NotFoundError, match=r"'report' has no active adapter \(the document is queued\)"):
        registry.adapter("report")
    work.candidate(work.claim(etag="e2"))
    for name in ("report", "report.md"):
        with pytest.raises(NotFoundError, match=r"newest one, report-v1 is candidate.*lift docs show report"):
            registry.adapter(name)
    work.active(etag="e3")
    with pytest.raises(NotFoundError, match=r"no alias 'report@canary'.*lift adapters ls --document report"):
        registry.adapter("report@canary")
    registry.quarantine("report-v2", "it lies")
    with pytest.raises(NotFoundError, match="newest one, report-v2 is quarantined"):
        registry.adapter("report")
    with pytest.raises(NotFoundError, match=f"'report-v9'; see `{NOBODY}`"):
        registry.adapter("report-v9")


def test_a_document_whose_adapter_only_has_a_label_is_not_said_to_have_none(registry, work):
    name = work.active().name
    registry.set_alias("report@stable", name)
    registry.remove_alias("report")
    with pytest.raises(NotFoundError) as refused:
        registry.adapter("report")
    assert "no active adapter" not in str(refused.value)
    assert "report@stable" in str(refused.value)


@pytest.mark.parametrize("words", ["a\x00b", "\ud800"])
def test_words_that_cannot_be_stored_are_refused(registry, work, words):
    work.active()
    for call in (
        lambda: registry.adapter(words),
        lambda: registry.lineage(words),
        lambda: registry.document(words),
        lambda: registry.aliases(words),
        lambda: registry.states_of([words]),
        lambda: registry.adapters(AdapterFilter(document=words)),
        lambda: registry.adapters(AdapterFilter(base_model=words)),
        lambda: registry.adapters(AdapterFilter(text=words)),
        lambda: registry.adapters(AdapterFilter(tags={"a": words})),
        lambda: registry.set_alias("report@a", words),
        lambda: registry.remove_alias(words),
        lambda: registry.events(words),
    ):
        with pytest.raises(LiftError):
            call()


def test_a_name_as_long_as_a_book_is_the_name_of_nothing(registry, work, listed):
    work.active()
    name = "x" * 100_000
    with pytest.raises(NotFoundError):
        registry.adapter(name)
    assert listed(document=name) == listed(text=name) == listed(tags={"a": name}) == []


def test_states_of_many_names_are_told_at_once(registry, work):
    first, second = (work.active(etag=f"e{n}").name for n in range(2))
    assert registry.states_of([first, second, "ghost-v1", "report"]) == {
        first: "superseded",
        second: "active",
    }
    assert registry.states_of([]) == {}


@pytest.mark.parametrize("state", ["quarantined", "archived", "removed"])
def test_what_may_not_serve_is_refused_under_its_own_name_with_its_state(registry, work, state):
    name = work.active().name
    registry.remove_alias("report")
    if state == "quarantined":
        registry.quarantine(name, "it lies")
    elif state == "archived":
        registry.archive(name)
    else:
        registry.remove(name)
    with pytest.raises(NotServableError, match=f"{state}.*lift adapters show {name}") as refused:
        registry.resolve(name)
    assert refused.value.state == state
    assert registry.adapter(name).state == state


# --- aliases --------------------------------------------------------------------------------


def test_aliases_are_listed_by_name_with_what_they_point_to(registry, work):
    one = work.active("report.md", "e1").name
    two = work.active("b/report.md", "e2").name
    registry.set_alias("report@stable", one)
    assert [(each.name, each.adapter) for each in registry.aliases()] == [
        *(("report", one), ("report-2", two), ("report-2@champion", two)),
        *(("report@champion", one), ("report@stable", one)),
    ]
    assert [each.name for each in registry.aliases("report")] == [
        "report",
        "report@champion",
        "report@stable",
    ]
    assert [each.name for each in registry.aliases("report-2", limit=1)] == ["report-2"]
    assert registry.aliases("repor") == []
    before = registry.aliases("report")[0].moved_at
    work.active("report.md", "e3")
    assert registry.aliases("report")[0].moved_at > before


# --- lineage --------------------------------------------------------------------------------


def test_lineage_tells_where_an_adapter_comes_from(registry, work):
    claim = work.claim("folder/report.md")
    lease = registry.acquire(claim.job_id, "generate", "test")
    registry.stage_started(lease)
    registry.stage_ended(lease, {"rejected": 3})
    registry.end_stream(
        registry.acquire(claim.job_id, "generate", "test"),
        StreamEnd(state="complete", shard_count=2, pair_count=9, checksum="c" * 64),
    )
    lease = registry.acquire(claim.job_id, "train", "test")
    made = registry.register_candidate(lease, "p/", {}, {}, {"code": "abc", "hardware": {"gpu": None}})
    found = registry.lineage(made.name)
    assert (found.adapter, found.state) == ("report-v1", "candidate")
    assert found.document | {"arrived_at": None} == {
        **{"bucket": "inbox", "key": "folder/report.md", "slug": "report", "title": "report", "version": 1},
        **{"sha256": work.sha256("e1"), "size": 100, "arrived_at": None},
    }
    assert found.recipe == {"digest": work.recipe.digest, "body": work.recipe.model_dump(mode="json")}
    assert found.pairs == {"kept": 9, "rejected": 3, "shards": 2, "sha256": "c" * 64}
    assert found.generator == work.recipe.generator.model_dump(mode="json")
    assert found.base == {"model": work.recipe.base_model, "revision": "1"}
    assert (found.run["run_id"], found.run["generation"]) == (claim.run_id, 1)
    assert [each["stage"] for each in found.run["stages"]] == ["generate"]
    assert found.provenance == {"code": "abc", "hardware": {"gpu": None}}


def test_lineage_is_found_by_every_name_and_of_what_never_streamed(registry, work):
    work.active()
    found = [registry.lineage(name) for name in ("report-v1", "report", "report@champion", "report.md")]
    assert found == [found[0]] * 4
    assert found[0].pairs == {"kept": None, "rejected": None, "shards": None, "sha256": None}
    with pytest.raises(NotFoundError, match=NOBODY):
        registry.lineage("ghost-v1")


def test_a_recipe_is_read_by_its_digest(registry, work):
    work.arrive()
    assert registry.recipe(work.recipe.digest) == work.recipe
    with pytest.raises(NotFoundError, match="no recipe"):
        registry.recipe("0" * 64)
