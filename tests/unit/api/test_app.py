"""The application over a fake registry: who gets in, and what HTTP makes of answers."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from fastapi import Depends, HTTPException
from starlette.testclient import TestClient

from lift_core.api import create_app
from lift_core.errors import (
    LiftError,
    NotFoundError,
    NotServableError,
    ObjectChangedError,
    ServiceUnavailableError,
    StateError,
)
from lift_core.records import AdapterPage, AdapterRecord, AliasRecord, DocumentPage

API = "/api/v1"
WRITE = {"X-Requested-With": "test"}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADAPTER = AdapterRecord(
    name="report-v1",
    aliases=("report", "report@champion"),
    bucket="inbox",
    document="report.md",
    slug="report",
    version=1,
    title="Report",
    base_model="tiny",
    base_revision="1",
    recipe="0" * 64,
    state="active",
    prefix="jobs/1/adapter/",
    files={"adapter_model.safetensors": "0" * 64},
    created_at=NOW,
    activated_at=NOW,
    scores={"gain": 1.0},
    tags={},
)


class FakeRegistry:
    """Stands for ``AdapterRegistry``: knows one adapter, keeps what it was asked, raises what it should."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked: list[tuple] = []
        self.now = AliasRecord(name="report", adapter="report-v1", moved_at=NOW)

    def _note(self, *call) -> None:
        self.asked.append(call)
        if self.error:
            raise self.error

    def adapters(self, filter, limit, cursor):
        self._note("adapters", filter, limit, cursor)
        return AdapterPage(adapters=(ADAPTER,), next_cursor=None if cursor else "a/b=&?")

    def adapter(self, name):
        self._note("adapter", name)
        return ADAPTER

    def alias(self, name):
        self._note("alias", name)
        return self.now

    def aliases(self, document, limit, after):
        self._note("aliases", document, limit, after)
        return [self.now] * limit

    def document_page(self, limit, cursor):
        self._note("documents", limit, cursor)
        return DocumentPage(documents=(), next_cursor=None)

    def set_alias(self, alias, name, check):
        self._note("set_alias", alias, name)
        check(self.now)

    def remove_alias(self, alias, check):
        self._note("remove_alias", alias)
        check(self.now)

    def quarantine(self, name, reason):
        self._note("quarantine", name, reason)


@pytest.fixture
def registry():
    return FakeRegistry()


@pytest.fixture
def client(registry):
    return TestClient(create_app(lambda: registry, readers=[], writers=[]))


def refuse(status):
    def nobody():
        raise HTTPException(status, "not you")

    return Depends(nobody)


def every_route(app):
    """Method and path of each route, with something in place of its parameters."""
    return [
        (method, re.sub(r"\{[^}]+\}", "x", route.path)) for route in app.routes for method in route.methods
    ]


# --- who gets in --------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"{", b'{"reason": "x"}'], ids=["nothing", "broken", "body"])
def test_whoever_the_readers_refuse_gets_nothing_but_401_from_any_route(registry, content):
    app = create_app(lambda: registry, readers=[refuse(401)], writers=[])

    @app.get("/page")
    def added_later():
        return "secret"

    client = TestClient(app)
    routes = every_route(app)
    assert ("GET", f"{API}/openapi.json") in routes and ("GET", "/page") in routes and len(routes) >= 18
    for method, path in routes:
        answer = client.request(
            method, path + "?limit=wrong", content=content, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json() == {"title": "Unauthorized", "detail": "not you", "status": 401}
    assert registry.asked == []
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert client.get(path).status_code == 404


def test_whoever_the_writers_refuse_can_read_but_change_nothing(registry):
    app = create_app(lambda: registry, readers=[], writers=[refuse(403)])
    client = TestClient(app)
    writes = [(method, path) for method, path in every_route(app) if method != "GET"]
    assert len(writes) == 6
    for method, path in writes:
        headers = WRITE | {"If-Match": "*"}
        answer = client.request(method, path, json={"reason": "x", "adapter": "x"}, headers=headers)
        assert answer.status_code == 403, (method, path)
    assert registry.asked == []
    assert client.get(f"{API}/adapters/x").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Authorization": "Basic dTpw"}, 403),
        ({"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Authorization": "Bearer token"}, 200),
        ({"X-Requested-With": "page"}, 200),
    ],
)
def test_a_write_that_another_sites_page_could_send_is_refused(client, registry, headers, status):
    answer = client.post(f"{API}/adapters/report-v1/quarantine", json={"reason": "x"}, headers=headers)
    assert answer.status_code == status
    assert (("quarantine", "report-v1", "x") in registry.asked) == (status == 200)


def test_a_form_cannot_write_whatever_its_headers(client, registry):
    for path in ("quarantine", "release", "archive"):
        answer = client.post(f"{API}/adapters/report-v1/{path}", data={"reason": "x"}, headers=WRITE)
        assert answer.status_code == 415
    assert registry.asked == []


# --- the schema ---------------------------------------------------------------------------


def test_the_schema_describes_every_route_its_errors_and_where_it_is_mounted(registry):
    app = create_app(lambda: registry, readers=[], writers=[])
    schema = TestClient(app, root_path="/lift").get(f"{API}/openapi.json").json()
    assert schema["servers"] == [{"url": "/lift"}]
    assert "Problem" in schema["components"]["schemas"]
    operations = [
        (method, operation) for path in schema["paths"].values() for method, operation in path.items()
    ]
    assert len(operations) == len(every_route(app)) - 1
    for method, operation in operations:
        assert operation["description"], operation["operationId"]
        assert {"401", "403", "422", "503"} <= operation["responses"].keys()
        # Figures of this moment are never those of before.
        assert ("304" in operation["responses"]) == (method == "get" and operation["tags"] != ["metrics"])
        assert "content" in operation["responses"].get("200", {"content": None})
        assert ("requestBody" in operation) == (method in ("put", "post", "patch"))


# --- answers ------------------------------------------------------------------------------


def test_a_page_links_to_the_next_one_with_all_that_was_asked(registry):
    client = TestClient(create_app(lambda: registry, [], []), root_path="/lift")
    answer = client.get(f"{API}/adapters?tag=a%3D1&tag=b%3D2&limit=1&text=caf%C3%A9+%26")
    link = answer.links["next"]
    assert link["url"].startswith(f"/lift{API}/adapters?") and link["url"].isascii()
    following = client.get(link["url"].removeprefix("/lift"))
    assert "link" not in following.headers
    (_, first, limit, none), (_, second, same_limit, cursor) = registry.asked
    assert first == second and first.tags == {"a": "1", "b": "2"} and first.text == "café &"
    assert (limit, none, same_limit, cursor) == (1, None, 1, "a/b=&?")


def test_aliases_are_paged_by_the_last_name_shown(client, registry):
    page = client.get(f"{API}/aliases?limit=2&document=report").json()
    assert len(page["aliases"]) == 2 and page["next_cursor"] == "report"
    assert registry.asked == [("aliases", "report", 3, None)]


@pytest.mark.parametrize("known", ["{etag}", 'W/{etag}, "x"', '"x" , {etag}', "*"])
def test_a_client_that_has_the_answer_gets_304(client, known):
    first = client.get(f"{API}/adapters/report")
    etag = first.headers["etag"]
    assert etag.startswith('"')
    again = client.get(f"{API}/adapters/report", headers={"If-None-Match": known.format(etag=etag)})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag
    assert again.headers["cache-control"] == first.headers["cache-control"] == "private, no-cache"


def test_a_client_that_has_another_answer_gets_this_one(client):
    etag = client.get(f"{API}/adapters/report").headers["etag"]
    for known in ('"other"', etag.strip('"'), "", etag[:-2] + '"'):
        answer = client.get(f"{API}/adapters/report", headers={"If-None-Match": known})
        assert answer.status_code == 200
        assert answer.json() == ADAPTER.model_dump(mode="json")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 428),
        ({"If-Match": '"stale"'}, 412),
        ({"If-Match": "W/{etag}"}, 412),
        ({"If-None-Match": "*"}, 412),
        ({"If-Match": "{etag}", "If-None-Match": "*"}, 412),
        ({"If-Match": '"stale", {etag}'}, 200),
        ({"If-Match": "*"}, 200),
    ],
)
def test_an_alias_moves_only_if_it_still_is_what_the_client_read(client, registry, headers, status):
    etag = client.get(f"{API}/aliases/report").headers["etag"]
    sent = WRITE | {name: value.format(etag=etag) for name, value in headers.items()}
    url = f"{API}/aliases/report"
    assert client.put(url, json={"adapter": "report-v2"}, headers=sent).status_code == status
    assert client.delete(url, headers=sent).status_code == {200: 204}.get(status, status)
    if status == 428:
        assert not {call[0] for call in registry.asked} & {"set_alias", "remove_alias"}


def test_a_new_alias_is_created_only_if_there_is_none(client, registry):
    registry.now = None
    sent = WRITE | {"If-Match": '"read before"'}
    refused = client.put(f"{API}/aliases/report", json={"adapter": "report-v1"}, headers=sent)
    assert refused.status_code == 412 and "there is no alias 'report'" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFoundError("there is no adapter 'x'"), 404),
        (NotServableError("adapter 'x' is archived", "archived"), 409),
        (StateError("adapter 'x' is active"), 409),
        (LiftError("'x' is no cursor"), 400),
        (ServiceUnavailableError("the registry does not answer"), 503),
        (ObjectChangedError("it was replaced"), 503),
    ],
)
def test_an_error_of_the_registry_is_a_problem_with_its_words(client, registry, error, status):
    registry.error = error
    answer = client.get(f"{API}/adapters/x")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == str(error)
    assert ("retry-after" in answer.headers) == (status == 503)


def test_what_does_not_fit_the_schema_is_named_but_not_repeated(client, registry):
    answer = client.get(f"{API}/adapters?limit=0&state=asleep&unheard=of")
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert "query.limit" in detail and "query.state" in detail and "query.unheard" in detail
    assert "asleep" not in detail
    assert registry.asked == []


def test_a_moment_reaches_the_registry_in_utc(client, registry):
    client.get(f"{API}/adapters", params={"since": "2026-01-01T00:00:00-23:59"})
    assert registry.asked[0][1].since.isoformat() == "2026-01-01T23:59:00+00:00"
