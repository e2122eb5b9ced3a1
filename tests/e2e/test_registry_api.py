"""The registry over HTTP, as the demo leaves it: nothing for who is not signed in, all for who is."""

from __future__ import annotations

import re

import httpx
import pytest

API = "/lift/api/v1"


@pytest.fixture(scope="module")
def anonymous(services):
    with httpx.Client(base_url=services["airflow"]["url"], trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def signed_in(anonymous, services):
    airflow = services["airflow"]
    answer = anonymous.post(
        "/auth/token", json={"username": airflow["user"], "password": airflow["password"]}
    )
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def test_anonymous_gets_401_on_every_route_and_on_the_page(anonymous, signed_in):
    schema = anonymous.get(f"{API}/openapi.json", headers=signed_in).json()
    routes = [(method, "/lift" + path) for path, methods in schema["paths"].items() for method in methods]
    assert len(routes) >= 14
    for method, path in [*routes, ("get", f"{API}/openapi.json"), ("get", "/lift/page")]:
        url = re.sub(r"\{\w+\}", "vellmar-tide-organ", path)
        assert anonymous.request(method, url).status_code == 401, (method, url)
        wrong = anonymous.request(method, url, headers={"Authorization": "Bearer wrong"})
        assert wrong.status_code == 401, (method, url)
    for path in ("/lift/docs", "/lift/redoc", "/lift/openapi.json"):
        assert anonymous.get(path).status_code in (401, 404)


def test_the_demos_adapter_is_listed_shown_and_traced_to_its_run(anonymous, signed_in, lift):
    listed = anonymous.get(
        f"{API}/adapters", params={"document": "vellmar-tide-organ", "state": "active"}, headers=signed_in
    ).json()["adapters"]
    (adapter,) = listed
    shown = anonymous.get(f"{API}/adapters/vellmar-tide-organ", headers=signed_in)
    assert shown.json() == adapter
    assert shown.headers["content-location"] == f"{API}/adapters/{adapter['name']}"
    assert adapter["name"] in {row["name"] for row in lift.json("adapters", "ls")}
    lineage = anonymous.get(f"{API}/adapters/{adapter['name']}/lineage", headers=signed_in).json()
    run = anonymous.get(
        f"/api/v2/dags/{lineage['run']['dag']}/dagRuns/{lineage['run']['run_id']}", headers=signed_in
    )
    assert run.json()["state"] == "success"


def test_an_etag_spares_the_body_and_a_tag_changes_it(anonymous, signed_in, lift):
    url = f"{API}/adapters/vellmar-tide-organ"
    first = anonymous.get(url, headers=signed_in)
    known = signed_in | {"If-None-Match": first.headers["etag"]}
    assert anonymous.get(url, headers=known).status_code == 304
    tags = f"{API}/adapters/{first.json()['name']}/tags"
    assert anonymous.patch(tags, json={"seen": "e2e"}, headers=signed_in).status_code == 200
    changed = anonymous.get(url, headers=known)
    assert (changed.status_code, changed.json()["tags"]["seen"]) == (200, "e2e")
    assert anonymous.patch(tags, json={"seen": None}, headers=signed_in).json() == first.json()


def test_the_navigation_shows_the_page(anonymous, signed_in):
    plugins = anonymous.get("/api/v2/plugins", headers=signed_in).json()["plugins"]
    assert "lift/page" in [view["href"] for plugin in plugins for view in plugin["external_views"]]
    assert "LIFT adapters" in anonymous.get("/lift/page", headers=signed_in).text
