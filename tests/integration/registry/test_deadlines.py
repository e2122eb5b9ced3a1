"""A job that is late is noticed once, whoever looks at the same moment or dies while looking."""

import pytest

from lift_core.registry import deadlines


@pytest.fixture
def aged(work, sql):
    """A job that was queued so many minutes ago."""

    def make(key, minutes):
        job = work.arrive(key)
        aging = "UPDATE jobs SET created_at = created_at - make_interval(mins => %s) WHERE id = %s"
        sql(aging, minutes, job.job_id)
        return job

    return make


def lates(registry, run):
    return [event for event in registry.events(run) if event.kind == "job.late"]


def test_what_is_open_past_its_deadline_is_noticed_once_and_nothing_else_is(registry, work, aged, sql):
    late, _, ended = aged("late.md", 31), aged("young.md", 29), aged("ended.md", 90)
    registry.fail_job(ended.job_id, "no document", permanent=True)
    assert [each.run for each in registry.notice_late(30)] == [late.run_id]
    assert registry.notice_late(30) == []
    [event] = lates(registry, late.run_id)
    assert event.detail == {"minutes": 30, "document": "late", "state": "queued", "waits_for": None}
    assert registry.story("late").jobs[0].late
    assert "job.late" in [event.kind for event in registry.story("late").history]


def test_many_who_look_at_once_record_one_alert_a_job(registry, aged, together):
    runs = [aged(f"{number}.md", 60).run_id for number in range(5)]
    found = together(8, lambda _: registry.notice_late(30))
    assert sorted(each.run for one in found for each in one) == sorted(runs)
    assert [len(lates(registry, run)) for run in runs] == [1] * 5


def test_who_is_killed_while_noticing_leaves_it_to_the_next_one(registry, aged, monkeypatch):
    runs = [aged(f"{number}.md", 60).run_id for number in range(3)]
    real, told = deadlines.event, []

    def killed(connection, kind, subject, **detail):
        real(connection, kind, subject, **detail)
        told.append(subject)
        if len(told) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(deadlines, "event", killed)
    with pytest.raises(KeyboardInterrupt):
        registry.notice_late(30)
    assert [lates(registry, run) for run in runs] == [[], [], []] and registry.late_untold() == []
    monkeypatch.setattr(deadlines, "event", real)
    assert [each.run for each in registry.notice_late(30)] == runs
    assert [len(lates(registry, run)) for run in runs] == [1] * 3


def test_what_was_noticed_is_to_be_told_until_somebody_notes_that_it_was(registry, aged):
    first, second = aged("first.md", 60), aged("second.md", 60)
    registry.notice_late(30)
    assert [each.job_id for each in registry.late_untold()] == [first.job_id, second.job_id]
    registry.late_told(first.job_id)
    assert [each.run for each in registry.late_untold()] == [second.run_id]
    assert registry.job_alert(second.run_id).seconds > 59 * 60
