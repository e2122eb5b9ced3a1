"""The dispatcher, also beside others: a recipe by its tag, one job a version, a slug of its own for each."""

import pytest

from lift_core.errors import NotFoundError, ObjectChangedError, RecipeError
from lift_core.recipes import load_recipe

TEXT = b"# Lighthouse\n\nThe keeper of the lighthouse was named Ada Harrow.\n"


# --- the dispatcher -------------------------------------------------------------------------


def test_a_tag_chooses_the_recipe_of_one_document(steps, settings, tmp_path):
    path = tmp_path / "report.md"
    path.write_bytes(TEXT)
    steps.store.put_file(settings.documents_bucket, "tagged.md", path, tags={"lift-recipe": "embedded"})
    steps.store.put_file(settings.documents_bucket, "plain.md", path)
    found = {
        claim.key: claim.recipe.base_model for claim in (steps.claim(j.run_id) for j in steps.dispatch())
    }
    assert found == {"tagged.md": "SmolLM2-135M-Instruct", "plain.md": "tiny-random"}


def test_a_tag_with_an_unknown_recipe_fails_its_document_and_holds_up_no_other(steps, settings, tmp_path):
    path = tmp_path / "report.md"
    path.write_bytes(TEXT)
    steps.store.put_file(settings.documents_bucket, "a.md", path, tags={"lift-recipe": "misspelt"})
    steps.store.put_file(settings.documents_bucket, "b.md", path)
    assert [job.run_id.split("-v1-")[0] for job in steps.dispatch()] == ["b"]
    bad = steps.registry.document("a.md")
    assert bad.state == "failed"
    assert "misspelt" in bad.reason
    assert steps.dispatch() == []


def test_folders_in_the_bucket_are_no_documents(steps, settings, boto3_client):
    boto3_client.put_object(Bucket=settings.documents_bucket, Key="folder/", Body=b"")
    steps.store.put_bytes(settings.documents_bucket, "folder/report.md", TEXT)
    steps.dispatch()
    assert [d.key for d in steps.registry.documents()] == ["folder/report.md"]


def test_a_run_whose_object_was_replaced_before_it_was_read_is_not_given_the_wrong_bytes(steps, settings):
    steps.store.put_bytes(settings.documents_bucket, "report.md", TEXT)
    [job] = steps.dispatch()
    steps.store.put_bytes(settings.documents_bucket, "report.md", TEXT + b"More.\n")
    with pytest.raises(ObjectChangedError, match=r"report\.md"):
        steps.claim(job.run_id)
    [newer] = steps.dispatch()
    assert steps.claim(newer.run_id).version == 2


def test_dispatchers_at_once_record_new_objects_once(registry, work, together, sql):
    arrivals = [work.arrival(f"doc-{number}.md", f"e{number}") for number in range(10)]
    together(4, lambda _: registry.record_arrivals(arrivals, work.recipe))
    assert sql("SELECT count(*), count(DISTINCT key) FROM documents") == [(10, 10)]
    assert sql("SELECT document_id FROM versions GROUP BY 1 HAVING count(*) <> 1") == []
    assert sql("SELECT version_id FROM jobs GROUP BY 1 HAVING count(*) <> 1") == []
    assert len(registry.documents()) == 10


def test_dispatchers_at_once_record_changed_objects_once(registry, work, together, sql):
    registry.record_arrivals([work.arrival(f"doc-{n}.md", f"e{n}") for n in range(10)], work.recipe)
    changed = [work.arrival(f"doc-{n}.md", f"f{n}") for n in range(10)]
    new = together(4, lambda _: registry.record_arrivals(changed, work.recipe))
    assert sum(new) == 10
    assert sql("SELECT document_id FROM versions GROUP BY 1 HAVING count(*) <> 2") == []
    assert sql("SELECT state, count(*) FROM jobs GROUP BY 1 ORDER BY 1") == [
        ("cancelled", 10),
        ("queued", 10),
    ]
    assert {d.version for d in registry.documents()} == {2}


def test_dispatchers_at_once_admit_no_job_twice(steps, settings, together):
    for number in range(12):
        steps.store.put_bytes(settings.documents_bucket, f"doc-{number}.md", TEXT)
    steps.registry.record_arrivals(list(steps.store.list(settings.documents_bucket)), load_recipe("smoke"))
    admitted = [job for jobs in together(4, lambda _: steps.dispatch()) for job in jobs]
    assert len(admitted) == len({job.job_id for job in admitted}) == steps.settings.max_active_jobs


# --- slugs ----------------------------------------------------------------------------------


def test_keys_of_the_same_name_get_slugs_of_their_own_from_many_threads(registry, work, together):
    def record(number):
        for folder in range(5):
            registry.record_arrivals([work.arrival(f"{number}/{folder}/Report.md", "e")], work.recipe)

    together(8, record)
    slugs = {document.slug for document in registry.documents()}
    assert slugs == {"report", *(f"report-{number}" for number in range(2, 41))}


def test_a_name_that_looks_like_a_numbered_slug_gets_one_of_its_own_beside_another_dispatcher(
    registry, work, connect, background, wait_for_blocked
):
    def record(key):
        return background(registry.record_arrivals, [work.arrival(key, "e")], work.recipe)

    record("a/report.md").result(30)
    # One dispatcher is in the middle of `report-2.md`, and the second `report` would like its slug.
    holder = connect()
    holder.cursor().execute("LOCK TABLE versions IN SHARE MODE")
    first = record("report-2.md")
    wait_for_blocked(1)
    second = record("b/report.md")
    wait_for_blocked(2)
    holder.rollback()
    assert (first.result(30), second.result(30)) == (1, 1)
    assert {d.key: d.slug for d in registry.documents()} == {
        "a/report.md": "report",
        "report-2.md": "report-2",
        "b/report.md": "report-3",
    }


def test_a_key_that_looks_like_an_adapters_name_does_not_get_it(registry, work):
    adapter = work.active("report.md", "e1")
    other = work.active("report-v1.md", "e2")
    assert adapter.name == "report-v1"
    assert registry.document("report-v1.md").slug == "report-v1-doc"
    assert other.name == "report-v1-doc-v1"


def test_an_unknown_document_is_said_to_be_unknown(registry, work):
    with pytest.raises(NotFoundError, match="nobody"):
        registry.document("nobody.md")
    with pytest.raises(NotFoundError, match="nobody"):
        registry.newest_job("inbox", "nobody.md", work.recipe.digest)


# --- the recipe that a tag names ----------------------------------------------------------


def test_a_refused_recipe_fails_its_own_document_only_and_a_corrected_tag_starts_it(registry, work):
    def wrong(found):
        if found.key == "wrong.md":
            raise RecipeError("there is no recipe 'nonsense'")

    arrivals = [work.arrival("wrong.md", "e1"), work.arrival("right.md", "e2")]
    registry.record_arrivals(arrivals, work.recipe, wrong)
    states = {d.key: (d.state, d.reason) for d in registry.documents()}
    assert states["wrong.md"] == ("failed", "there is no recipe 'nonsense'")
    assert states["right.md"] == ("queued", None)

    # The same bytes, put again: nothing happens while the tag is as it was.
    registry.record_arrivals([work.arrival("wrong.md", "e1")], work.recipe, wrong)
    assert registry.document("wrong.md").state == "failed"
    again = work.arrival("wrong.md", "e1", seconds=60)
    registry.record_arrivals([again], work.recipe, lambda found: None)
    assert registry.document("wrong.md").state == "queued"
    before = len(registry.admit_jobs(work.bucket, 10))
    registry.record_arrivals([again], work.recipe, lambda found: None)
    assert before == 2 and registry.admit_jobs(work.bucket, 10) == []


def test_an_object_that_is_gone_when_its_tag_is_read_is_left_out(registry, work):
    def gone(found):
        raise NotFoundError("it was removed")

    assert registry.record_arrivals([work.arrival("gone.md", "e1")], work.recipe, gone) == 0
    assert registry.documents() == []
