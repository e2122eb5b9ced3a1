"""What lies in the bucket becomes documents, versions and jobs: each once, whatever is repeated."""

import pytest

from lift_core.errors import AlreadyDoneError, NotFoundError, ObjectChangedError, RecipeError
from lift_core.recipes import load_recipe
from lift_core.records import Recipe

TEXT = b"# Lighthouse\n\nThe keeper of the lighthouse was named Ada Harrow.\n"


def put_in_parts(boto3_client, bucket, key, data):
    """Put an object as a large one is: its ETag is not the one of a plain put."""
    upload = boto3_client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    where = {"Bucket": bucket, "Key": key, "UploadId": upload}
    part = boto3_client.upload_part(**where, PartNumber=1, Body=data)
    boto3_client.complete_multipart_upload(
        **where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )


# --- the same again -----------------------------------------------------------------------


def test_the_same_arrivals_twice_change_nothing(registry, work, contents):
    arrivals = [work.arrival(f"{name}.md", f"e-{name}") for name in ("one", "two", "three")]
    assert registry.record_arrivals(arrivals, work.recipe) == 3
    before = contents()
    assert len(before["jobs"]) == 3
    assert registry.record_arrivals(arrivals, work.recipe) == 0
    assert contents() == before


def test_the_same_arrival_after_its_adapter_is_active_changes_nothing(registry, work, contents):
    work.active()
    before = contents()
    assert registry.record_arrivals([work.arrival("report.md", "e1")], work.recipe) == 0
    assert contents() == before


def test_another_default_recipe_does_not_rebuild_what_was_there(registry, work, contents):
    work.active()
    before = contents()
    registry.record_arrivals([work.arrival("report.md", "e1")], Recipe(base_model="another"))
    assert contents() == before


def test_two_keys_with_equal_bytes_are_two_documents(registry, work):
    first = work.active("a/report.md", "same", text="same")
    second = work.active("b/report.md", "same", text="same")
    assert {first.document, second.document} == {"a/report.md", "b/report.md"}
    assert registry.resolve("a/report.md").name == first.name == "report-v1"
    assert registry.resolve("b/report.md").name == second.name == "report-2-v1"


def test_the_same_key_in_two_buckets_is_two_documents(registry, work):
    here = work.arrival("report.md", "e1")
    registry.record_arrivals([here, here.model_copy(update={"bucket": "elsewhere"})], work.recipe)
    assert {(d.bucket, d.slug) for d in registry.documents()} == {
        ("inbox", "report"),
        ("elsewhere", "report-2"),
    }


# --- new bytes, old bytes -------------------------------------------------------------------


def test_new_bytes_are_a_new_version_with_its_own_job_and_the_queued_one_is_cancelled(registry, work, sql):
    first = work.arrive(etag="e1")
    assert registry.record_arrivals([work.arrival("report.md", "e2")], work.recipe) == 1
    second = registry.newest_job("inbox", "report.md", work.recipe.digest)
    assert second.run_id.startswith("report-v2-")
    assert sql("SELECT state FROM versions ORDER BY number") == [("superseded",), ("current",)]
    assert sql("SELECT state, reason FROM jobs WHERE id = %s", first.job_id) == [
        ("cancelled", "a newer version arrived")
    ]
    assert registry.admit_jobs("inbox", 10) == [second]
    with pytest.raises(AlreadyDoneError, match="a newer version arrived"):
        registry.claim(first.run_id)
    document = registry.document("report.md")
    assert (document.version, document.state) == (2, "queued")


def test_new_bytes_stop_a_run_that_was_admitted_but_not_claimed(registry, work, sql):
    first = work.arrive(etag="e1")
    registry.admit_jobs("inbox", 10)
    work.arrive(etag="e2")
    with pytest.raises(AlreadyDoneError, match="a newer version arrived"):
        registry.claim(first.run_id)
    assert sql("SELECT state FROM jobs WHERE id = %s", first.job_id) == [("cancelled",)]


def test_a_revert_makes_the_old_version_current_and_its_adapter_serve_again(registry, work, sql):
    first = work.active(etag="e1")
    second = work.active(etag="e2")
    assert registry.resolve("report").name == second.name
    jobs = sql("SELECT id, state FROM jobs ORDER BY id")
    assert registry.record_arrivals([work.arrival("report.md", "e1")], work.recipe) == 0
    assert sql("SELECT id, state FROM jobs ORDER BY id") == jobs
    for name in ("report", "report@champion", "report.md"):
        assert registry.resolve(name).name == first.name
    assert registry.adapter(first.name).state == "active"
    assert registry.adapter(second.name).state == "superseded"
    document = registry.document("report.md")
    assert (document.version, document.state, document.adapter) == (1, "ready", first.name)


def test_a_revert_to_a_version_whose_job_was_cancelled_queues_it_again(registry, work):
    first = work.arrive(etag="e1")
    work.arrive(etag="e2")
    again = work.arrive(etag="e1")
    assert again.job_id != first.job_id
    assert again.run_id == first.run_id.removesuffix("-g1") + "-g2"
    assert registry.admit_jobs("inbox", 10) == [again]
    assert registry.claim(again.run_id).version == 1


def test_after_a_revert_a_late_adapter_of_the_newer_version_does_not_take_the_aliases(registry, work):
    first = work.active(etag="e1")
    late = work.proven(work.claim(etag="e2"))
    registry.record_arrivals([work.arrival("report.md", "e1")], work.recipe)
    registry.activate(late.name)
    assert registry.document("report.md").version == 1
    assert registry.resolve("report").name == first.name
    assert registry.adapter(late.name).state == "superseded"


def test_the_same_bytes_put_in_parts_make_no_new_work_in_the_end(
    steps, work, settings, boto3_client, contents
):
    bucket = settings.documents_bucket
    etag = steps.store.put_bytes(bucket, "report.md", TEXT)
    [job] = steps.dispatch()
    adapter = work.finish(steps.claim(job.run_id))

    put_in_parts(boto3_client, bucket, "report.md", TEXT)
    assert steps.store.stat(bucket, "report.md").etag != etag
    [again] = steps.dispatch()
    with pytest.raises(AlreadyDoneError, match="the same bytes as version 1"):
        steps.claim(again.run_id)
    document = steps.registry.document("report.md")
    assert (document.version, document.state, document.adapter) == (1, "ready", adapter.name)
    assert steps.registry.resolve("report").name == adapter.name

    assert steps.dispatch() == []
    settled = contents()
    assert steps.dispatch() == []
    assert contents() == settled
    steps.store.put_bytes(bucket, "report.md", TEXT)
    assert steps.dispatch() == []
    assert steps.registry.document("report.md").state == "ready"


def test_bytes_of_an_older_version_put_in_parts_make_that_one_serve_again(
    steps, work, settings, boto3_client
):
    bucket = settings.documents_bucket
    made = []
    for data in (TEXT, TEXT + b"It was built in 1871.\n"):
        steps.store.put_bytes(bucket, "report.md", data)
        [job] = steps.dispatch()
        made.append(work.finish(steps.claim(job.run_id)))
    put_in_parts(boto3_client, bucket, "report.md", TEXT)
    [job] = steps.dispatch()
    with pytest.raises(AlreadyDoneError, match="the same bytes as version 1"):
        steps.claim(job.run_id)
    assert steps.registry.resolve("report").name == made[0].name
    assert steps.registry.adapter(made[1].name).state == "superseded"
    assert steps.dispatch() == []
    assert steps.registry.document("report.md").version == 1


def test_bytes_that_turn_out_to_be_old_do_not_hide_a_version_that_arrived_meanwhile(registry, work):
    work.active(etag="e1", text="first")
    job = work.arrive(etag="e1-in-parts")
    registry.admit_job(job.job_id)
    claim = registry.claim(job.run_id)
    third = work.arrive(etag="e3")
    with pytest.raises(AlreadyDoneError):
        registry.settle(claim.job_id, work.sha256("first"), None)
    assert registry.document("report.md").version == 3
    assert registry.admit_jobs("inbox", 10) == [third]


def test_settling_a_version_beside_the_arrival_of_the_next_one_ends_well(
    registry, work, connect, background, wait_for_blocked
):
    job = work.arrive(etag="e1")
    registry.admit_job(job.job_id)
    claim = registry.claim(job.run_id)
    # Both stand in line for the document's row, the dispatcher first.
    holder = connect()
    holder.cursor().execute("SELECT 1 FROM documents FOR UPDATE")
    arriving = background(registry.record_arrivals, [work.arrival("report.md", "e2")], work.recipe)
    wait_for_blocked(1)
    settling = background(registry.settle, claim.job_id, work.sha256("first"), "First")
    wait_for_blocked(2)
    holder.rollback()
    assert arriving.result(30) == 1
    settling.result(30)
    assert registry.document("report.md").version == 2


# --- removed objects ------------------------------------------------------------------------


def test_a_removed_object_is_shown_as_removed_and_its_queued_job_is_cancelled(steps, settings, sql):
    bucket = settings.documents_bucket
    for key in ("report.md", "other.md"):
        steps.store.put_bytes(bucket, key, TEXT)
    steps.registry.record_arrivals(list(steps.store.list(bucket)), load_recipe("smoke"))
    steps.store.remove(bucket, "report.md")
    admitted = steps.dispatch()
    assert [job.run_id.split("-v1-")[0] for job in admitted] == ["other"]
    assert steps.registry.document("report.md").state == "removed"
    assert steps.registry.document("other.md").state == "queued"
    assert sql(
        "SELECT j.state, j.reason FROM jobs j JOIN versions v ON v.id = j.version_id "
        "WHERE v.state = 'removed'"
    ) == [("cancelled", "the object was removed from the bucket")]


def test_a_run_whose_object_was_removed_ends_without_work(steps, settings):
    steps.store.put_bytes(settings.documents_bucket, "report.md", TEXT)
    [job] = steps.dispatch()
    steps.store.remove(settings.documents_bucket, "report.md")
    steps.dispatch()
    with pytest.raises(AlreadyDoneError, match="the object is gone"):
        steps.claim(job.run_id)
    assert steps.registry.document("report.md").state == "removed"


def test_a_removed_object_that_comes_back_is_worked_on_again(steps, work, settings):
    steps.store.put_bytes(settings.documents_bucket, "report.md", TEXT)
    [job] = steps.dispatch()
    steps.store.remove(settings.documents_bucket, "report.md")
    steps.dispatch()
    with pytest.raises(AlreadyDoneError):
        steps.claim(job.run_id)
    steps.store.put_bytes(settings.documents_bucket, "report.md", TEXT)
    [again] = steps.dispatch()
    adapter = work.finish(steps.claim(again.run_id))
    document = steps.registry.document("report.md")
    assert (document.version, document.state, document.adapter) == (1, "ready", adapter.name)


def test_a_removed_object_that_comes_back_after_it_was_learned_needs_no_work(steps, work, settings):
    steps.store.put_bytes(settings.documents_bucket, "report.md", TEXT)
    [job] = steps.dispatch()
    adapter = work.finish(steps.claim(job.run_id))
    steps.store.remove(settings.documents_bucket, "report.md")
    assert steps.dispatch() == []
    assert steps.registry.document("report.md").state == "removed"
    steps.store.put_bytes(settings.documents_bucket, "report.md", TEXT)
    assert steps.dispatch() == []
    assert steps.registry.document("report.md").state == "ready"
    assert steps.registry.resolve("report").name == adapter.name


def test_an_emptied_bucket_removes_its_documents_and_no_others(registry, work):
    here = work.arrival("report.md", "e1")
    registry.record_arrivals([here, here.model_copy(update={"bucket": "elsewhere"})], work.recipe)
    assert registry.mark_missing("inbox", set()) == 1
    assert {(d.bucket, d.state) for d in registry.documents()} == {
        ("inbox", "removed"),
        ("elsewhere", "queued"),
    }
    assert registry.mark_missing("inbox", set()) == 0


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
