"""What is put in the bucket again, changed or removed is worked on once, and the right version serves."""

import pytest

from lift_core.errors import AlreadyDoneError
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
