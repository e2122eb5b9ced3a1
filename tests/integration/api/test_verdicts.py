"""The guard's verdicts and reports over HTTP."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from lift_core.api import create_app
from lift_core.errors import ServiceUnavailableError
from lift_core.evaluation_records import AdapterVerdict
from lift_core.registry import AdapterRegistry
from lift_core.store import layout

API = "/lift/api/v1"
RUN = "scheduled__2026-01-01T00:00:00+00:00"
PAGE = "<!doctype html><title>Bericht über report-v1</title>".encode()


@pytest.fixture
def pooled(settings, registry):
    pooled = AdapterRegistry.from_settings(settings, pool_size=5)
    yield pooled
    pooled._engine.dispose()


@pytest.fixture
def serve(pooled):
    """A client of the application as it is mounted, with everybody let in."""

    def serve(read_report=None):
        outer = FastAPI()
        outer.mount("/lift", create_app(lambda: pooled, [], [], read_report))
        return TestClient(outer)

    return serve


@pytest.fixture
def client(serve, store, settings):
    return serve(lambda key: store.get_bytes(settings.work_bucket, key))


@pytest.fixture
def judge(registry):
    """Record a verdict on an adapter."""

    def judge(name, run=RUN, report=True, days=0):
        likelihood = {
            "task": "mmlu",
            "measure": "log-likelihood",
            "n": 9,
            "base": -0.1,
            "adapter": -0.2,
            "difference": -0.1,
            "low": -math.inf,
            "high": 0.25,
            "confidence": 0.95,
            "margin": 0.05,
            "p_value": 0.5,
            "verdict": "undecided",
        }
        verdict = AdapterVerdict.model_validate(
            {
                "adapter": name,
                "run": run,
                "base_model": registry.adapter(name).base_model,
                "verdict": "undecided",
                "sentence": "Undecided: mmlu by log-likelihood.",
                "decided_by": [("mmlu", "log-likelihood")],
                "p_value": 0.5,
                "adjusted_p_value": 0.5,
                "alerted": False,
                "family": 1,
                "measurements": [likelihood],
                "subjects": {},
                "signs": {},
                "policy": {},
                "action": "none",
                "report": layout.report_prefix(run, name) if report else None,
                "created_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days),
            }
        )
        return registry.record_verdict(verdict)

    return judge


@pytest.fixture
def reported(work, judge, store, settings):
    """A verdict whose report is in the store."""
    verdict = judge(work.active().name)
    store.put_bytes(settings.work_bucket, f"{verdict.report}report.html", PAGE)
    return verdict


def test_verdicts_are_read_newest_first_by_name_alias_and_document(client, work, judge):
    name = work.active("folder/my report.md").name
    given = [judge(name, f"run-{number}", days=number) for number in range(3)]
    for asked in (name, "my-report", "folder/my report.md"):
        answer = client.get(f"{API}/adapters/{asked}/verdicts")
        assert answer.status_code == 200, answer.text
        found = [AdapterVerdict.model_validate(each) for each in answer.json()["verdicts"]]
        assert found == given[::-1]
    assert found[0].measurements[0].low == -math.inf
    newest = client.get(f"{API}/adapters/{name}/verdicts?limit=1").json()["verdicts"]
    assert [each["run"] for each in newest] == ["run-2"]


def test_an_adapter_that_was_never_judged_has_no_verdicts_and_one_that_is_not_there_is_404(client, work):
    name = work.active().name
    assert client.get(f"{API}/adapters/{name}/verdicts").json() == {"verdicts": []}
    answer = client.get(f"{API}/adapters/ghost-v1/verdicts")
    assert answer.status_code == 404 and "ghost-v1" in answer.json()["detail"]
    assert client.get(f"{API}/adapters/{name}/verdicts?limit=0").status_code == 422


def test_an_etag_spares_the_verdicts_until_there_is_another_one(client, work, judge):
    name = work.active().name
    judge(name)
    url = f"{API}/adapters/{name}/verdicts"
    known = {"If-None-Match": client.get(url).headers["etag"]}
    assert client.get(url, headers=known).status_code == 304
    judge(name, "run-2")
    assert client.get(url, headers=known).status_code == 200


def test_a_report_is_shown_as_it_lies_in_the_store_and_its_page_can_run_nothing(client, reported):
    url = f"{API}/adapters/{reported.adapter}/verdicts/{reported.run}/report"
    answer = client.get(url)
    assert (answer.status_code, answer.content) == (200, PAGE)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = dict(
        each.strip().partition(" ")[::2] for each in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["style-src"] == "'unsafe-inline'" and policy["img-src"] == "data:"
    assert policy["sandbox"] == "" and "script-src" not in policy
    again = client.get(url, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == answer.headers["content-security-policy"]


def test_a_report_that_is_not_there_is_a_problem_that_says_why(client, serve, judge, work, reported):
    url = f"{API}/adapters/{reported.adapter}/verdicts"
    judge(reported.adapter, "unwritten", report=False)
    gone = judge(work.active("gone.md").name)
    for whom, path, why in (
        (client, f"{url}/other-run/report", "run 'other-run' has no verdict on adapter 'report-v1'"),
        (client, f"{url}/unwritten/report", "was not written"),
        (
            client,
            f"{API}/adapters/{gone.adapter}/verdicts/{gone.run}/report",
            "not in the object store any more",
        ),
        (client, f"{API}/adapters/ghost-v1/verdicts/{RUN}/report", "ghost-v1"),
        (serve(), f"{url}/{RUN}/report", "was given no object store"),
    ):
        answer = whom.get(path)
        assert answer.status_code == 404, path
        assert answer.headers["content-type"] == "application/problem+json"
        assert why in answer.json()["detail"]


def test_a_store_that_is_away_is_503_with_a_time_to_wait(serve, reported):
    def away(key):
        raise ServiceUnavailableError("the object store does not answer")

    answer = serve(away).get(f"{API}/adapters/{reported.adapter}/verdicts/{reported.run}/report")
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
