"""The REST API over the real registry: what a client reads, moves and is refused."""

from __future__ import annotations

from urllib.parse import urljoin

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from lift_core.api import create_app
from lift_core.errors import ServiceUnavailableError
from lift_core.registry import AdapterRegistry

API = "/lift/api/v1"
WRITE = {"X-Requested-With": "test"}


@pytest.fixture
def pooled(settings, registry):
    pooled = AdapterRegistry.from_settings(settings, pool_size=5)
    yield pooled
    pooled._engine.dispose()


@pytest.fixture
def client(pooled):
    """The application as it is mounted, with everybody let in."""
    outer = FastAPI()
    outer.mount("/lift", create_app(lambda: pooled, readers=[], writers=[]))
    with TestClient(outer) as client:
        yield client


def get(client, path, **parameters):
    answer = client.get(f"{API}/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def names(client, **parameters):
    return [adapter["name"] for adapter in get(client, "adapters", **parameters)["adapters"]]


# --- reading ------------------------------------------------------------------------------


def test_pages_follow_one_another_by_their_link_until_every_adapter_was_shown_once(client, work):
    made = [work.active(f"{number}.md").name for number in range(5)]
    url, seen, pages = f"{API}/adapters?limit=2&state=active", [], 0
    while url is not None:
        answer = client.get(url)
        seen += [adapter["name"] for adapter in answer.json()["adapters"]]
        pages += 1
        following = answer.links.get("next")
        assert (following is None) == (answer.json()["next_cursor"] is None)
        url = urljoin(str(answer.url), following["url"]) if following else None
    assert seen == made[::-1]
    assert pages == 3


def test_documents_and_aliases_have_pages_too(client, work):
    for number in range(3):
        work.active(f"{number}.md")
    for kind, of, expected in (
        ("documents", "key", ["2.md", "1.md", "0.md"]),
        ("aliases", "name", ["0", "0@champion", "1", "1@champion", "2", "2@champion"]),
    ):
        first = client.get(f"{API}/{kind}?limit=2")
        rest = client.get(urljoin(str(first.url), first.links["next"]["url"] + "&limit=100"))
        rest = get(client, kind, cursor=first.json()["next_cursor"])
        assert [each[of] for each in first.json()[kind] + rest[kind]] == expected
        assert rest["next_cursor"] is None


def test_every_filter_of_the_registry_can_be_asked(client, registry, work):
    first = work.active("engine.md")
    second = work.active("garden.md")
    registry.tag(first.name, {"owner": "ada", "place": "a=b:c"})
    assert names(client) == [second.name, first.name]
    assert names(client, document="engine.md") == [first.name]
    assert names(client, document="garden") == [second.name]
    assert names(client, base_model=first.base_model) == [second.name, first.name]
    assert names(client, base_model="another") == []
    assert names(client, recipe=first.recipe[:8]) == [second.name, first.name]
    assert names(client, tag=["owner=ada", "place:a=b:c"]) == [first.name]
    assert names(client, tag="owner:grace") == []
    assert names(client, score="gain>=1") == [second.name, first.name]
    assert names(client, score=["gain>=1", "gain>1"]) == []
    assert names(client, text=second.title) == [second.name]
    assert names(client, since=second.created_at.isoformat()) == [second.name]
    assert names(client, until=second.created_at.isoformat()) == [first.name]
    registry.quarantine(first.name, "wrong")
    assert names(client, state="quarantined") == [first.name]
    assert names(client, state=["active", "quarantined"]) == [second.name, first.name]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 422),
        ("limit=1001", 422),
        ("limit=" + "9" * 5000, 422),
        ("cursor=%00", 422),
        ("cursor=no-cursor", 400),
        ("state=asleep", 422),
        ("since=yesterday", 422),
        ("since=2026-01-01T00:00:00", 422),
        ("since=0001-01-01T00:00:00%2B14:00", 422),
        ("until=9999-12-31T23:59:59-23:59", 422),
        ("since=2026-01-01T00:00:00-23:59", 200),
        ("text=%00", 422),
        ("text=" + "a" * 501, 422),
        ("text=" + "%F0%9F%90%8B" * 500, 200),
        ("text=%22%27%28%29%7C%26%21%3A%2A", 200),
        ("tag=novalue", 400),
        ("score=gain", 400),
        ("score=gain>1e999", 200),
        ("recipe=%25", 400),
        ("unknown=1", 422),
    ],
)
def test_a_filter_that_makes_no_sense_is_a_problem_of_the_client(client, query, status):
    answer = client.get(f"{API}/adapters?{query}")
    assert answer.status_code == status, answer.text
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert answer.json()["detail"]


def test_an_adapter_is_found_by_name_alias_and_document_and_tells_its_immutable_name(client, work):
    adapter = work.active("folder/my report.md")
    for name in (adapter.name, adapter.slug, f"{adapter.slug}@champion", "folder/my report.md"):
        answer = client.get(f"{API}/adapters/{name}")
        assert answer.json()["name"] == adapter.name
        assert answer.headers["content-location"] == f"{API}/adapters/{adapter.name}"
        assert get(client, f"adapters/{name}/lineage")["adapter"] == adapter.name
        events = get(client, f"adapters/{name}/events")["events"]
        assert events and {event["subject"] for event in events} == {adapter.name}
    assert get(client, "documents/folder/my report.md")["adapter"] == adapter.name
    assert client.get(f"{API}/documents/folder/my report.md?bucket=other").status_code == 404


def test_lineage_names_document_recipe_and_run(client, work):
    adapter = work.active("report.md")
    lineage = get(client, f"adapters/{adapter.name}/lineage")
    assert lineage["document"]["key"] == "report.md"
    assert lineage["recipe"]["digest"] == adapter.recipe
    assert lineage["run"]["run_id"].startswith("report-v1-")


def test_what_is_not_there_is_404_with_the_remedy(client):
    for path in ("adapters/none", "adapters/none/lineage", "adapters/", "aliases/none", "documents/none"):
        answer = client.get(f"{API}/{path}")
        assert answer.status_code == 404, path
        assert answer.json()["title"] == "Not Found"
    assert "lift adapters ls" in client.get(f"{API}/adapters/none").json()["detail"]
    assert client.get(f"{API}/adapters/%00").status_code == 422


def test_an_etag_spares_the_body_until_something_changes(client, registry, work):
    adapter = work.active("report.md")
    for path in (
        "adapters",
        f"adapters/{adapter.name}",
        f"adapters/{adapter.name}/lineage",
        f"adapters/{adapter.name}/events",
        "aliases",
        "aliases/report",
        "documents",
        "documents/report.md",
    ):
        etag = client.get(f"{API}/{path}").headers["etag"]
        again = client.get(f"{API}/{path}", headers={"If-None-Match": f'"other", W/{etag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    before = client.get(f"{API}/adapters/report").headers["etag"]
    registry.tag(adapter.name, {"owner": "ada"})
    after = client.get(f"{API}/adapters/report", headers={"If-None-Match": before})
    assert after.status_code == 200 and after.headers["etag"] != before


# --- aliases ------------------------------------------------------------------------------


@pytest.fixture
def two(work):
    """Two proven adapters of one document; the second serves."""
    return work.active("report.md", "e1"), work.active("report.md", "e2")


def put(client, alias, name, **headers):
    known = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.put(f"{API}/aliases/{alias}", json={"adapter": name}, headers=WRITE | known)


def test_an_alias_is_made_moved_and_removed(client, two):
    first, second = two
    made = put(client, "report@stable", first.name, if_none_match="*")
    assert made.status_code == 201
    assert made.json()["adapter"] == first.name
    moved = put(client, "report@stable", second.name, if_match=made.headers["etag"])
    assert (moved.status_code, moved.json()["adapter"]) == (200, second.name)
    assert moved.headers["etag"] == client.get(f"{API}/aliases/report@stable").headers["etag"]
    removed = client.delete(
        f"{API}/aliases/report@stable", headers=WRITE | {"If-Match": moved.headers["etag"]}
    )
    assert (removed.status_code, removed.content) == (204, b"")
    assert client.get(f"{API}/aliases/report@stable").status_code == 404


def test_a_move_without_a_condition_or_with_a_stale_one_changes_nothing(client, two):
    first, second = two
    read = client.get(f"{API}/aliases/report")
    assert put(client, "report", first.name).status_code == 428
    assert client.delete(f"{API}/aliases/report", headers=WRITE).status_code == 428
    assert put(client, "report", first.name, if_none_match="*").status_code == 412
    weak = put(client, "report", first.name, if_match="W/" + read.headers["etag"])
    assert weak.status_code == 412
    stale = client.delete(f"{API}/aliases/report", headers=WRITE | {"If-Match": '"stale"'})
    assert stale.status_code == 412 and second.name in stale.json()["detail"]
    assert put(client, "report@new", first.name, if_match='"stale"').status_code == 412
    assert client.get(f"{API}/aliases/report").json() == read.json()
    assert client.get(f"{API}/aliases/report@new").status_code == 404


def test_of_those_who_read_the_same_alias_only_one_can_move_it(client, two, together):
    first, _ = two
    etag = client.get(f"{API}/aliases/report").headers["etag"]
    statuses = together(8, lambda _: put(client, "report", first.name, if_match=etag).status_code)
    assert sorted(statuses) == [200] + [412] * 7


def test_an_alias_cannot_point_where_the_registry_forbids(client, registry, work, two):
    first, _ = two
    other = work.active("garden.md")
    assert put(client, "report@x", "none", if_none_match="*").status_code == 404
    assert put(client, "report@x", other.name, if_none_match="*").status_code == 400
    registry.quarantine(first.name, "wrong")
    refused = put(client, "report@x", first.name, if_none_match="*")
    assert refused.status_code == 409 and "quarantined" in refused.json()["detail"]


# --- other moves --------------------------------------------------------------------------


def test_an_adapter_is_quarantined_released_and_archived(client, two):
    first, second = two

    def post(name, move, **body):
        return client.post(f"{API}/adapters/{name}/{move}", json=body, headers=WRITE)

    taken = post(second.name, "quarantine", reason="it lies")
    assert taken.status_code == 200
    assert taken.json()["adapter"]["state"] == "quarantined"
    assert taken.json()["instead"] == first.name
    assert get(client, "aliases/report")["adapter"] == first.name
    assert post(second.name, "release", reason="it did not").json()["state"] == "superseded"
    assert post(second.name, "release", reason="again").status_code == 409
    assert post(first.name, "archive").status_code == 409
    assert post(second.name, "archive").json()["state"] == "archived"
    events = get(client, f"adapters/{second.name}/events")["events"]
    assert [event["detail"]["reason"] for event in events if event["kind"] == "adapter.quarantined"] == [
        "it lies"
    ]
    assert post("report", "quarantine", reason="an alias is no name").status_code == 404


def test_tags_are_set_and_removed_by_key(client, two):
    url = f"{API}/adapters/{two[0].name}/tags"
    assert client.patch(url, json={"a": "1", "b": "2"}, headers=WRITE).json()["tags"] == {"a": "1", "b": "2"}
    changed = client.patch(url, json={"a": None, "b": "3"}, headers=WRITE)
    assert changed.json()["tags"] == {"b": "3"}
    assert client.patch(url, json={"no key": "1"}, headers=WRITE).status_code == 400
    assert client.patch(url, json={"b": "\x00"}, headers=WRITE).status_code == 400


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"{}", "application/json", 422),
        (b'{"reason": ""}', "application/json", 422),
        (b'{"reason": "\\u0000"}', "application/json", 422),
        (b'{"reason": "\\ud800"}', "application/json", 422),
        (b'{"reason": "x", "unknown": 1}', "application/json", 422),
        (b"\xff\xfe", "application/json", 422),
        (b'{"reason": "x"}', "application/json; charset=utf-8", 200),
        (b'{"reason": "x"}', "text/plain", 415),
        (b"reason=x", "application/x-www-form-urlencoded", 415),
    ],
)
def test_a_body_that_is_not_what_the_schema_says_changes_nothing(client, two, body, content_type, status):
    url = f"{API}/adapters/{two[1].name}"
    answer = client.post(f"{url}/quarantine", content=body, headers=WRITE | {"Content-Type": content_type})
    assert answer.status_code == status, answer.text
    assert client.get(url).json()["state"] == ("quarantined" if status == 200 else "active")


def test_a_database_that_is_away_is_503_with_a_time_to_wait(settings):
    away = settings.model_copy(
        update={"database_url": type(settings.database_url)("postgresql+psycopg2://x:y@127.0.0.1:9/z")}
    )
    client = TestClient(create_app(lambda: AdapterRegistry.from_settings(away), readers=[], writers=[]))
    answer = client.get("/api/v1/adapters")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "127.0.0.1:9" in answer.json()["detail"] and "y@" not in answer.text

    def none_named():
        raise ServiceUnavailableError("no registry is named")

    assert TestClient(create_app(none_named, [], [])).get("/api/v1/aliases").status_code == 503
