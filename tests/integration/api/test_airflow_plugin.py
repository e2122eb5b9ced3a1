"""The plugin in Airflow's real API server: who gets in, by token and by the UI's cookie."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from lift_core.stack.processes import wait_until

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 180
USERS = {"watcher": "viewer", "editor": "user"}
PASSWORD = "only-for-this-test"
METRICS_KEY = "what-prometheus-sends"


@pytest.fixture(scope="module")
def airflow(tmp_path_factory, environment):
    """The address of an API server with this checkout's plugins and a user who may only look."""
    home = tmp_path_factory.mktemp("airflow")
    (home / "passwords.json").write_text(json.dumps(dict.fromkeys(USERS, PASSWORD)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {name: value for name, value in environment.items() if not name.startswith("AIRFLOW")} | {
        "AIRFLOW_HOME": str(home),
        "LIFT_METRICS_KEY": METRICS_KEY,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(":".join(user) for user in USERS.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": "only-for-this-test" * 4,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-W", "ignore", "-m", "airflow"]
    subprocess.run([*command, "db", "migrate"], env=own, cwd=home, check=True, capture_output=True)
    with (home / "log").open("w") as log:
        server = subprocess.Popen([*command, "api-server"], env=own, cwd=home, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        assert wait_until(lambda: _answers(address), PATIENCE_SECONDS), (home / "log").read_text()[-3000:]
        yield address
    finally:
        server.terminate()
        server.wait(PATIENCE_SECONDS)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/api/v2/version", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def anonymous(airflow):
    with httpx.Client(base_url=airflow, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture
def token(anonymous):
    def of(user):
        answer = anonymous.post("/auth/token", json={"username": user, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    return of


def test_anonymous_and_whoever_has_no_valid_token_get_401_on_every_route(anonymous, token):
    schema = anonymous.get("/lift/api/v1/openapi.json", headers=token("watcher")).json()
    assert schema["servers"] == [{"url": "/lift"}]
    routes = [(method, "/lift" + path) for path, methods in schema["paths"].items() for method in methods]
    assert len(routes) >= 16 and ("get", "/lift/api/v1/adapters/{name}/verdicts/{run}/report") in routes
    for method, path in [*routes, ("get", "/lift/page"), ("get", "/lift/api/v1/openapi.json")]:
        url = re.sub(r"\{\w+\}", "x", path)
        for sent in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "_token=wrong"}):
            answer = anonymous.request(method, url, headers=sent | {"X-Requested-With": "test"})
            assert answer.status_code == 401, (method, url, sent, answer.text)
            assert answer.json()["title"] == "Unauthorized"


def test_who_may_only_look_reads_and_who_may_edit_the_dag_writes(anonymous, token, registry, work):
    adapter = work.active("report.md")
    url = f"/lift/api/v1/adapters/{adapter.name}"
    watcher, editor = token("watcher"), token("editor")
    read = anonymous.get(url, headers=watcher)
    assert read.json()["name"] == adapter.name
    again = anonymous.get(url, headers=watcher | {"If-None-Match": read.headers["etag"]})
    assert again.status_code == 304
    refused = anonymous.patch(f"{url}/tags", json={"owner": "ada"}, headers=watcher)
    assert refused.status_code == 403 and "lift_document" in refused.json()["detail"]
    assert anonymous.patch(f"{url}/tags", json={"owner": "ada"}, headers=editor).status_code == 200
    assert registry.adapter("report").tags == {"owner": "ada"}


def test_the_metrics_key_opens_the_metrics_and_nothing_else(anonymous, token, registry):
    scraper = {"Authorization": f"Bearer {METRICS_KEY}"}
    shown = anonymous.get("/lift/metrics", headers=scraper)
    assert shown.status_code == 200 and shown.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'lift_jobs{state="queued"} 0.0' in shown.text
    assert anonymous.get("/lift/metrics", headers=token("watcher")).status_code == 200
    for path in ("/lift/api/v1/documents", "/lift/page"):
        assert anonymous.get(path, headers=scraper).status_code == 401
    assert anonymous.get("/lift/metrics").status_code == 401


def test_a_session_reads_but_writes_only_with_the_header_that_no_other_site_can_send(
    anonymous, token, registry, work
):
    adapter = work.active("report.md")
    cookie = {"Cookie": f"_token={token('editor')['Authorization'].removeprefix('Bearer ')}"}
    url = f"/lift/api/v1/adapters/{adapter.name}"
    assert anonymous.get(url, headers=cookie).status_code == 200
    assert anonymous.patch(f"{url}/tags", json={"a": "1"}, headers=cookie).status_code == 403
    own = cookie | {"X-Requested-With": "test"}
    assert anonymous.post(f"{url}/quarantine", data={"reason": "x"}, headers=own).status_code == 415
    assert registry.adapter("report").tags == {}
    assert anonymous.patch(f"{url}/tags", json={"a": "1"}, headers=own).status_code == 200


def test_airflow_shows_the_page_and_the_page_may_run_nothing_but_its_own_script(anonymous, token):
    watcher = token("watcher")
    views = [
        view
        for plugin in anonymous.get("/api/v2/plugins", headers=watcher).json()["plugins"]
        for view in plugin["external_views"]
    ]
    assert [(view["name"], view["href"]) for view in views] == [("LIFT adapters", "lift/page")]
    page = anonymous.get("/lift/page", headers=watcher)
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "script-src 'sha256-" in policy
    assert anonymous.get("/api/v2/plugins/importErrors", headers=watcher).json()["import_errors"] == []
