"""Documents again by the day they arrived: exactly those of the range, once, whatever dies in between."""

from datetime import UTC, datetime, timedelta

import pytest

from lift_core.records import Recipe
from lift_core.registry import reprocessing

DAY = datetime(2026, 1, 1, tzinfo=UTC)
OTHER = Recipe(base_model="another")


@pytest.fixture
def days(registry, work):
    """Documents that arrived at midnight and at noon of each of three days."""
    arrivals = [work.arrival(f"day-{n // 2}-{n % 2}.md", f"e{n}", seconds=n * 43200) for n in range(6)]
    registry.record_arrivals(arrivals, work.recipe)
    return [found.key for found in arrivals]


@pytest.fixture
def again(registry):
    """Reprocess from one day to another one's beginning; the keys and what became of them."""

    def call(first, last, recipe=OTHER, **options):
        since, until = DAY + timedelta(days=first), DAY + timedelta(days=last)
        done = registry.reprocess_arrived("inbox", since, until, recipe, **options)
        return {each.key: each.action for each in done}

    return call


def test_exactly_the_documents_of_the_range_are_queued_and_a_second_time_none(again, days, sql):
    assert again(1, 2, dry_run=True) == dict.fromkeys(days[2:4], "queue")
    assert sql("SELECT count(*) FROM jobs") == [(6,)]
    assert again(1, 2) == dict.fromkeys(days[2:4], "queue")
    assert again(1, 2) == dict.fromkeys(days[2:4], "under way")
    assert sql(
        "SELECT d.key, j.priority FROM jobs j JOIN versions v ON v.id = j.version_id "
        "JOIN documents d ON d.id = v.document_id WHERE recipe_digest = %s ORDER BY j.id",
        OTHER.digest,
    ) == [(key, -10) for key in days[2:4]]


def test_what_is_there_under_the_recipe_stays_and_other_recipes_are_not_touched(again, registry, work, sql):
    adapter = work.active("done.md", "e1")
    work.arrive("bad.md", "e2")
    bad = registry.newest_job("inbox", "bad.md", work.recipe.digest)
    registry.fail_job(bad.job_id, "it was unreadable", permanent=True)
    work.arrive("away.md", "e3")
    away = registry.newest_job("inbox", "away.md", work.recipe.digest)
    registry.fail_job(away.job_id, "vLLM was away", permanent=False)
    assert again(0, 1, work.recipe) == {"done.md": "done", "bad.md": "failed", "away.md": "queue"}
    assert registry.newest_job("inbox", "away.md", work.recipe.digest).run_id.endswith("-g2")
    assert set(again(0, 1).values()) == {"queue"}
    assert registry.resolve("done").name == adapter.name


def test_force_asks_for_one_new_generation_however_often_the_same_asker_asks(again, registry, work):
    work.active("done.md", "e1")
    assert again(0, 1, work.recipe, force_as="run 1") == {"done.md": "queue"}
    job = registry.newest_job("inbox", "done.md", work.recipe.digest)
    assert job.run_id.endswith("-g2")
    assert again(0, 1, work.recipe, force_as="run 2") == {"done.md": "under way"}
    registry.admit_job(job.job_id)
    work.finish(registry.claim(job.run_id))
    assert again(0, 1, work.recipe, force_as="run 1") == {"done.md": "done"}
    assert again(0, 1, work.recipe, force_as="run 2") == {"done.md": "queue"}


def test_a_prefix_narrows_the_range_and_removed_documents_are_left_out(again, registry, days):
    registry.mark_missing("inbox", set(days) - {"day-1-0.md"})
    assert again(0, 3, prefix="day-1") == {"day-1-1.md": "queue"}


def test_killed_in_the_middle_it_loses_and_doubles_nothing(again, days, monkeypatch, sql):
    monkeypatch.setattr(reprocessing, "_AT_ONCE", 2)
    queue, calls = reprocessing.queue_job, []

    def dies(*arguments, **named):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return queue(*arguments, **named)

    monkeypatch.setattr(reprocessing, "queue_job", dies)
    with pytest.raises(KeyboardInterrupt):
        again(0, 3)
    assert sql("SELECT count(*) FROM jobs WHERE recipe_digest = %s", OTHER.digest) == [(2,)]
    again(0, 3)
    assert sql(
        "SELECT count(*), count(DISTINCT version_id) FROM jobs WHERE recipe_digest = %s", OTHER.digest
    ) == [(6, 6)]


def test_two_that_reprocess_at_once_queue_each_document_once(again, days, together, sql):
    together(4, lambda _: again(0, 3))
    assert sql("SELECT count(*) FROM jobs WHERE recipe_digest = %s", OTHER.digest) == [(6,)]
