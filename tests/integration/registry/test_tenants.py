"""Priority, tenants and bursts: who starts first, and that nobody waits for ever behind another's burst."""

import pytest

from lift_core.errors import TagError
from lift_core.recipes import load_recipe
from lift_core.records import JobRequest, Tenant

TEXT = b"# Lighthouse\n\nThe keeper of the lighthouse was named Ada Harrow.\n"
BURST = 10_000


def keys(registry, jobs):
    return [registry.claim(job.run_id).key for job in jobs]


# --- priority -------------------------------------------------------------------------------


def test_the_highest_priority_starts_first_and_equal_ones_as_they_arrived(registry, work):
    urgency = {"late.md": 0, "urgent.md": 50, "whenever.md": -7, "later.md": 0}
    arrivals = [work.arrival(key, key, seconds=n) for n, key in enumerate(urgency)]
    registry.record_arrivals(
        arrivals, work.recipe, lambda found: JobRequest(recipe=work.recipe, priority=urgency[found.key])
    )
    started = [key for _ in urgency for key in keys(registry, registry.admit_jobs("inbox", 4))]
    assert started == ["urgent.md", "late.md", "later.md", "whenever.md"]


def test_a_tag_gives_the_priority_and_a_bad_one_fails_its_document_only(steps, settings):
    steps.settings = steps.settings.model_copy(update={"max_active_jobs": 1})
    for key, priority in (("a.md", None), ("b.md", "7"), ("c.md", "soon"), ("d.md", "101")):
        tags = {"lift-priority": priority} if priority else None
        steps.store.put_bytes(settings.documents_bucket, key, TEXT, tags=tags)
    [first] = steps.dispatch()
    assert first.run_id.startswith("b-v1-")
    states = {d.key: d.state for d in steps.registry.documents()}
    assert states == {"a.md": "queued", "b.md": "queued", "c.md": "failed", "d.md": "failed"}
    assert "lift-priority must be an integer from -100 to 100, not 'soon'" in (
        steps.registry.document("c.md").reason
    )


def test_a_document_put_again_with_another_priority_changes_its_place(registry, work):
    for n, key in enumerate(("first.md", "second.md")):
        registry.record_arrivals([work.arrival(key, key, seconds=n)], work.recipe)
    registry.record_arrivals(
        [work.arrival("second.md", "second.md", seconds=9)],
        work.recipe,
        lambda _: JobRequest(recipe=work.recipe, priority=1),
    )
    assert keys(registry, registry.admit_jobs("inbox", 1)) == ["second.md"]


# --- tenants --------------------------------------------------------------------------------


@pytest.fixture
def arrive(registry, work):
    """Record so many documents under each prefix, the first prefix first."""

    def record(**counts):
        arrivals = [
            work.arrival(f"{prefix}/{n:03}.md", "e", seconds=n + 1000 * place)
            for place, (prefix, count) in enumerate(counts.items())
            for n in range(count)
        ]
        registry.record_arrivals(arrivals, work.recipe)

    return record


def test_a_tenants_burst_starves_no_other(registry, arrive):
    arrive(legal=50, sales=2, nobody=2)
    tenants = [Tenant(prefix="legal/"), Tenant(prefix="sales/")]
    assert keys(registry, registry.admit_jobs("inbox", 6, tenants)) == [
        "legal/000.md",
        "sales/000.md",
        "nobody/000.md",
        "legal/001.md",
        "sales/001.md",
        "nobody/001.md",
    ]


def test_a_freed_slot_goes_to_the_tenant_with_the_fewest_under_way(registry, arrive, sql):
    arrive(legal=9)
    tenants = [Tenant(prefix="legal/"), Tenant(prefix="sales/")]
    held = registry.admit_jobs("inbox", 3, tenants)
    arrive(sales=1)
    assert registry.admit_jobs("inbox", 3, tenants) == []
    registry.fail_job(held[0].job_id, "it was unreadable", permanent=True)
    assert keys(registry, registry.admit_jobs("inbox", 3, tenants)) == ["sales/000.md"]


def test_a_quota_is_the_most_of_a_tenant_under_way(registry, arrive):
    arrive(legal=5, nobody=1)
    tenants = [Tenant(prefix="legal/", quota=2)]
    first = registry.admit_jobs("inbox", 8, tenants)
    assert keys(registry, first) == ["legal/000.md", "nobody/000.md", "legal/001.md"]
    assert registry.admit_jobs("inbox", 8, tenants) == []
    registry.fail_job(first[0].job_id, "it was unreadable", permanent=True)
    assert keys(registry, registry.admit_jobs("inbox", 8, tenants)) == ["legal/002.md"]


def test_of_two_prefixes_that_fit_the_longer_one_holds(registry, work):
    arrivals = [work.arrival(f"legal/{name}", "e", n) for n, name in enumerate(("a", "eu/b", "eu/c"))]
    registry.record_arrivals(arrivals, work.recipe)
    tenants = [Tenant(prefix="legal/", quota=1), Tenant(prefix="legal/eu/", quota=1)]
    assert keys(registry, registry.admit_jobs("inbox", 8, tenants)) == ["legal/a", "legal/eu/b"]


def test_a_prefix_has_a_recipe_of_its_own_and_a_tag_still_chooses(steps, settings):
    tenants = {"legal": Tenant(prefix="legal/", recipe="embedded")}
    steps.settings = steps.settings.model_copy(update={"tenants": tenants})
    bucket = settings.documents_bucket
    steps.store.put_bytes(bucket, "legal/contract.md", TEXT)
    steps.store.put_bytes(bucket, "legal/tagged.md", TEXT, tags={"lift-recipe": "smoke"})
    steps.store.put_bytes(bucket, "report.md", TEXT)
    found = {c.key: c.recipe.digest for c in (steps.claim(job.run_id) for job in steps.dispatch())}
    smoke, embedded = load_recipe("smoke").digest, load_recipe("embedded").digest
    assert found == {"legal/contract.md": embedded, "legal/tagged.md": smoke, "report.md": smoke}


# --- bursts ---------------------------------------------------------------------------------


def test_a_burst_is_recorded_once_and_admitted_in_order_with_a_bounded_number_of_runs(registry, work, sql):
    arrivals = [work.arrival(f"burst/{BURST - n:05}/report.md", f"e{n}", seconds=n) for n in range(BURST)]
    assert registry.record_arrivals(reversed(arrivals), work.recipe) == BURST
    assert registry.record_arrivals(arrivals, work.recipe) == 0
    assert sql("SELECT count(*), count(DISTINCT slug), count(DISTINCT bucket) FROM documents") == [
        (BURST, BURST, 1)
    ]
    assert sql("SELECT count(*) FROM jobs j JOIN versions v ON v.id = j.version_id") == [(BURST,)]
    for expected in (arrivals[:8], arrivals[8:16]):
        admitted = registry.admit_jobs("inbox", 8)
        assert keys(registry, admitted) == [found.key for found in expected]
        assert registry.admit_jobs("inbox", 8) == []
        for job in admitted:
            registry.fail_job(job.job_id, "it was unreadable", permanent=True)


def test_a_burst_that_is_interrupted_is_recorded_to_the_end_the_next_time(registry, work, sql):
    arrivals = [work.arrival(f"{n:04}.md", f"e{n}", seconds=n) for n in range(1200)]

    def killed_in_the_middle(found):
        if found.key == "0700.md":
            raise KeyboardInterrupt
        return

    with pytest.raises(KeyboardInterrupt):
        registry.record_arrivals(arrivals, work.recipe, killed_in_the_middle)
    assert sql("SELECT count(*) FROM documents") == [(500,)]
    assert registry.record_arrivals(arrivals, work.recipe) == 700
    assert sql("SELECT count(*), count(DISTINCT version_id) FROM jobs") == [(1200, 1200)]


def test_new_and_known_documents_of_one_burst_keep_their_order(registry, work):
    registry.record_arrivals([work.arrival("known.md", "e1")], work.recipe)
    mixed = [work.arrival("new-1.md", "e", 10), work.arrival("known.md", "e2", 20)]
    mixed.append(work.arrival("new-2.md", "e", 30))
    registry.record_arrivals(mixed, work.recipe)
    assert keys(registry, registry.admit_jobs("inbox", 8)) == ["new-1.md", "known.md", "new-2.md"]


def test_an_object_refused_in_a_burst_holds_up_no_other(registry, work):
    def refuse(found):
        if found.key == "bad.md":
            raise TagError("the tag lift-priority must be an integer")
        return

    arrivals = [work.arrival(key, key) for key in ("a.md", "bad.md", "c.md")]
    assert registry.record_arrivals(arrivals, work.recipe, refuse) == 3
    assert {d.key: d.state for d in registry.documents()} == {
        "a.md": "queued",
        "bad.md": "failed",
        "c.md": "queued",
    }


# --- what waits -----------------------------------------------------------------------------


def test_the_mark_of_the_queue_is_there_while_a_job_may_start_and_changes_with_it(registry, work):
    assert registry.waiting("inbox", 2) is None
    for key in ("a.md", "b.md", "c.md"):
        work.arrive(key, key)
    marks = [registry.waiting("inbox", 2), registry.waiting("inbox", 2)]
    assert marks[0] is not None and marks[0] == marks[1]
    assert registry.waiting("elsewhere", 2) is None
    [job, _] = registry.admit_jobs("inbox", 2)
    assert registry.waiting("inbox", 2) is None
    registry.fail_job(job.job_id, "it was unreadable", permanent=True)
    assert registry.waiting("inbox", 2) not in (None, marks[0])


# --- removed objects ------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["keep", "archive"])
def test_adapters_of_a_removed_object_serve_on_or_are_archived_until_it_is_back(
    steps, work, settings, policy
):
    steps.settings = steps.settings.model_copy(update={"removed_documents": policy})
    bucket = settings.documents_bucket
    steps.store.put_bytes(bucket, "report.md", TEXT)
    steps.store.put_bytes(bucket, "other.md", TEXT)
    made = {job.run_id[:5]: work.finish(steps.claim(job.run_id)).name for job in steps.dispatch()}
    steps.store.remove(bucket, "report.md")
    steps.dispatch()
    assert steps.registry.document("report.md").state == "removed"
    state = {"keep": "active", "archive": "archived"}[policy]
    assert steps.registry.adapter("report-v1").state == state
    assert steps.registry.adapter(made["other"]).state == "active"

    steps.store.put_bytes(bucket, "report.md", TEXT)
    assert steps.dispatch() == []
    assert steps.registry.document("report.md").state == "ready"
    assert steps.registry.resolve("report").name == "report-v1"
    assert steps.registry.adapter("report-v1").state == "active"


def test_what_a_person_archived_stays_archived_when_the_object_is_back(steps, work, settings):
    steps.settings = steps.settings.model_copy(update={"removed_documents": "archive"})
    bucket = settings.documents_bucket
    for data in (TEXT, TEXT + b"It was built in 1871.\n"):
        steps.store.put_bytes(bucket, "report.md", data)
        [job] = steps.dispatch()
        work.finish(steps.claim(job.run_id))
    steps.registry.archive("report-v1", "outdated")
    steps.store.remove(bucket, "report.md")
    steps.dispatch()
    steps.store.put_bytes(bucket, "report.md", TEXT + b"It was built in 1871.\n")
    steps.dispatch()
    states = [steps.registry.adapter(name).state for name in ("report-v1", "report-v2")]
    assert states == ["archived", "active"]


def test_an_adapter_that_became_ready_after_its_object_was_removed_is_archived_too(steps, work, settings):
    steps.settings = steps.settings.model_copy(update={"removed_documents": "archive"})
    steps.store.put_bytes(settings.documents_bucket, "report.md", TEXT)
    [job] = steps.dispatch()
    claim = steps.claim(job.run_id)
    steps.store.remove(settings.documents_bucket, "report.md")
    steps.dispatch()
    late = work.finish(claim)
    steps.dispatch()
    assert steps.registry.adapter(late.name).state == "archived"


def test_each_cancelled_job_has_its_event(registry, work):
    first = work.arrive(etag="e1")
    work.arrive(etag="e2")
    [event] = [each for each in registry.events(first.run_id) if each.kind == "job.cancelled"]
    assert event.detail == {"reason": "a newer version arrived"}
