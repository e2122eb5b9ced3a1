"""Jobs are admitted in the order of arrival and up to the limit, however many admit at once."""

import threading

import pytest

from lift_core.errors import NotFoundError


@pytest.fixture
def queue(registry, work):
    """Queue jobs of so many documents; their run ids in the order of arrival."""

    def fill(count):
        # Names against the order of arrival: that order alone must count.
        arrivals = [work.arrival(f"doc-{count - n:02}.md", f"e{n}", seconds=n) for n in range(count)]
        registry.record_arrivals(arrivals, work.recipe)
        return [registry.newest_job("inbox", found.key, work.recipe.digest).run_id for found in arrivals]

    return fill


def run_ids(jobs):
    return [job.run_id for job in jobs]


def test_jobs_are_admitted_in_the_order_of_arrival_up_to_the_limit(registry, queue):
    runs = queue(6)
    assert run_ids(registry.admit_jobs("inbox", 3)) == runs[:3]
    assert registry.admit_jobs("inbox", 3) == []
    registry.claim(runs[0])
    assert registry.admit_jobs("inbox", 3) == []
    registry.fail_job(registry.job_of_run(runs[0]), "it was unreadable", permanent=True)
    assert run_ids(registry.admit_jobs("inbox", 3)) == runs[3:4]
    assert run_ids(registry.admit_jobs("inbox", 10)) == runs[4:]
    assert registry.admit_jobs("inbox", 0) == []


def test_what_arrived_first_is_admitted_first_whatever_the_order_of_the_listing(registry, work):
    # A listing is in the order of the keys.
    registry.record_arrivals(
        [work.arrival("a.md", "e1", seconds=60), work.arrival("z.md", "e2", seconds=0)], work.recipe
    )
    [first] = registry.admit_jobs("inbox", 1)
    assert first.run_id.startswith("z-v1-")


def test_admitters_at_once_keep_the_limit_and_the_order(registry, queue, together):
    runs = queue(20)
    admitted = [job for jobs in together(8, lambda _: registry.admit_jobs("inbox", 5)) for job in jobs]
    assert sorted(run_ids(admitted)) == sorted(runs[:5])


def test_the_limit_and_the_order_hold_while_runs_begin_and_end(registry, queue, together, sql):
    runs = queue(24)
    under_way_at_most = []
    watching = threading.Event()

    def watch():
        while not watching.is_set():
            under_way_at_most.append(
                sql("SELECT count(*) FROM jobs WHERE state IN ('admitted', 'running')")[0][0]
            )

    def work_off(_):
        done = []
        for _ in range(500):
            for job in registry.admit_jobs("inbox", 3):
                registry.claim(job.run_id)
                registry.fail_job(job.job_id, "enough", permanent=True)
                done.append(job.run_id)
            if not sql("SELECT 1 FROM jobs WHERE state = 'queued' LIMIT 1"):
                break
        return done

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        worked = [run for done in together(4, work_off) for run in done]
    finally:
        watching.set()
        watcher.join()
    assert sorted(worked) == sorted(runs)
    assert max(under_way_at_most) <= 3
    # Those of one transaction were admitted at once.
    admissions = sql(
        "SELECT array_agg(subject) FROM events WHERE kind = 'job.admitted' "
        "GROUP BY xmin::text ORDER BY min(id)"
    )
    assert [run for (batch,) in admissions for run in sorted(batch, key=runs.index)] == runs


def test_documents_of_another_bucket_are_neither_admitted_nor_counted(registry, work, queue):
    elsewhere = work.arrival("local.md", "e1").model_copy(update={"bucket": "elsewhere"})
    registry.record_arrivals([elsewhere], work.recipe)
    own = registry.newest_job("elsewhere", "local.md", work.recipe.digest)
    runs = queue(2)
    assert run_ids(registry.admit_jobs("inbox", 2)) == runs
    registry.admit_job(own.job_id)
    registry.fail_job(registry.job_of_run(runs[0]), "it was unreadable", permanent=True)
    later = work.arrive("later.md", "e9")
    assert registry.admit_jobs("inbox", 2) == [later]
    assert registry.claim(own.run_id).bucket == "elsewhere"


def test_an_admitted_job_that_no_run_claimed_is_offered_again_under_the_same_run(registry, queue, sql):
    runs = queue(3)
    assert run_ids(registry.admit_jobs("inbox", 2)) == runs[:2]
    assert registry.admit_jobs("inbox", 2) == []
    registry.claim(runs[0])
    sql("UPDATE jobs SET admitted_at = admitted_at - interval '61 seconds' WHERE admitted_at IS NOT NULL")
    assert run_ids(registry.admit_jobs("inbox", 2)) == runs[1:2]
    assert registry.admit_jobs("inbox", 2) == []


def test_a_job_offered_again_to_admitters_at_once_is_offered_once(registry, queue, sql, together):
    runs = queue(3)
    registry.admit_jobs("inbox", 3)
    sql("UPDATE jobs SET admitted_at = admitted_at - interval '61 seconds'")
    offered = [job for jobs in together(6, lambda _: registry.admit_jobs("inbox", 3)) for job in jobs]
    assert sorted(run_ids(offered)) == sorted(runs)


def test_reprocessing_makes_a_new_generation_and_leaves_the_old_one_alone(registry, work):
    adapter = work.active()
    run = registry.reprocess("inbox", "report.md")
    assert run.endswith("-g2")
    assert run_ids(registry.admit_jobs("inbox", 10)) == [run]
    assert registry.resolve("report").name == adapter.name
    second = work.finish(registry.claim(run))
    assert second.name == "report-v2"
    assert registry.resolve("report").name == second.name
    with pytest.raises(NotFoundError, match=r"nobody\.md"):
        registry.reprocess("inbox", "nobody.md")
    registry.mark_missing("inbox", set())
    with pytest.raises(NotFoundError, match=r"report\.md"):
        registry.reprocess("inbox", "report.md")


def test_reprocessing_after_a_revert_is_of_the_version_that_is_current(registry, work):
    work.active(etag="e1")
    work.active(etag="e2")
    work.arrive(etag="e1")
    run = registry.reprocess("inbox", "report.md")
    registry.admit_jobs("inbox", 10)
    assert registry.claim(run).version == 1
