"""Waiting for a document: what was put, not what was there before."""

from datetime import UTC, datetime

import pytest

from lift_core.cli import watch
from lift_core.errors import NotFoundError
from lift_core.records import DocumentRecord


def record(etag: str, state: str) -> DocumentRecord:
    return DocumentRecord(
        bucket="inbox",
        key="a.md",
        title="A",
        slug="a",
        version=1 if etag == "old" else 2,
        etag=etag,
        state=state,
        reason=None,
        run_id=None,
        adapter="a-v1" if state == "ready" else None,
        arrived_at=datetime.now(UTC),
        ready_at=None,
    )


class Story:
    """Stands for the registry: each look at the document shows the next page."""

    def __init__(self, *pages: DocumentRecord | None) -> None:
        self.pages = list(pages)

    def document(self, name, bucket=None):
        page = self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]
        if page is None:
            raise NotFoundError("not yet")
        return page

    def stage_times_of(self, bucket, key):
        return []


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.001)


def test_an_older_version_that_is_ready_is_not_what_is_waited_for():
    story = Story(record("old", "ready"), record("new", "queued"), record("new", "ready"))
    [found] = watch.wait_for_documents(story, "inbox", {"a.md": "new"}, quiet=True)
    assert (found.etag, found.version) == ("new", 2)


def test_a_failure_ends_the_wait_and_is_told(capsys):
    failed = record("new", "failed").model_copy(update={"reason": "'a.md' is empty"})
    [found] = watch.wait_for_documents(Story(None, failed), "inbox", {"a.md": "new"})
    assert found.state == "failed"
    assert "'a.md' is empty" in capsys.readouterr().err


def test_nobody_lists_the_bucket_is_said_with_the_remedy(monkeypatch, capsys):
    monkeypatch.setattr(watch, "UNSEEN_SECONDS", -1)
    watch.wait_for_documents(Story(None, None, record("new", "ready")), "inbox", {"a.md": "new"})
    assert "lift status" in capsys.readouterr().err
