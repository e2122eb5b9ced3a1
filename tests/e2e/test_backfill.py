"""Airflow's own backfill, from its UI in a real browser, the command line and its API: exactly the days'."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lift_core.stack.processes import wait_until

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 120_000
FIRST = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEXT = "# Pier {n}\n\nThe pier of Olm-{n} was built by Odo Krell. Its keeper is called Ilse Vanter.\n"


@pytest.fixture(scope="module")
def registry_url(lift):
    """The registry's address, as the stack's own programs find it."""
    from lift_core.settings import Settings

    return Settings(home=lift.home, _env_file=lift.home / "stack.env").database_url.get_secret_value()


@pytest.fixture(scope="module")
def documents(lift, tiny_model, registry_url, tmp_path_factory):
    """One document for each of four days, ready under `smoke`."""
    from sqlalchemy import create_engine, text

    folder = tmp_path_factory.mktemp("piers")
    paths = [folder / f"pier-{n}.md" for n in range(4)]
    for n, path in enumerate(paths):
        path.write_text(TEXT.format(n=n))
    lift.run("docs", "put", *map(str, paths), "--prefix", "backfill/", "--recipe", "smoke", "--wait")
    keys = [f"backfill/{path.name}" for path in paths]
    # They were all put now: let them have arrived on four days.
    engine = create_engine(registry_url)
    with engine.begin() as connection:
        for n, key in enumerate(keys):
            connection.execute(
                text(
                    "UPDATE versions v SET arrived_at = :at FROM documents d "
                    "WHERE d.id = v.document_id AND d.key = :key"
                ),
                {"at": FIRST + timedelta(days=n), "key": key},
            )
    engine.dispose()
    return keys


@pytest.fixture
def page(services):
    if not CHROMIUM.is_file():
        pytest.skip(f"there is no {CHROMIUM}: Debian's package chromium has it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1600})
        page.set_default_timeout(PATIENCE_MS)
        airflow = services["airflow"]
        page.goto(f"{airflow['url']}/auth/login/?next={airflow['url']}/dags/lift_reprocess")
        page.fill("input[name=username]", airflow["user"])
        page.fill("input[name=password]", airflow["password"])
        page.click("button[type=submit]")
        page.wait_for_url(re.compile("lift_reprocess"))
        yield page
        browser.close()


def touched(lift, first, last):
    """What a dry run says of the range's documents under the recipe."""
    since, until = (f"2026-03-{day:02}" for day in (first, last))
    words = ("docs", "reprocess", "--from", since, "--to", until, "--recipe", "orchestration", "--dry-run")
    return {row["key"]: row["action"] for row in lift.json(*words)}


def wait_until_done(lift, airflow, expected):
    """Until these are done under the recipe, and the backfill has ended: a DAG has one at a time."""

    def done():
        return [key for key, action in touched(lift, 1, 5).items() if action == "done"] == expected

    def over():
        answer = airflow.get("/api/v2/backfills", params={"dag_id": "lift_reprocess"}).raise_for_status()
        return all(each["completed_at"] for each in answer.json()["backfills"])

    assert wait_until(done, PATIENCE_MS / 1000 * 3), touched(lift, 1, 5)
    assert wait_until(over, PATIENCE_MS / 1000), "the backfill has not ended"


def test_from_the_browser_exactly_the_documents_of_the_days(lift, documents, airflow, page):
    assert touched(lift, 2, 3) == {documents[1]: "queue"}
    page.get_by_role("button", name=re.compile("Trigger")).first.click()
    page.get_by_text("Backfill", exact=True).first.click()
    for _ in range(2):
        # A date that was chosen takes the place of the words: the first that is left is the next one.
        page.get_by_text("Select date and time").first.click()
        page.get_by_placeholder("YYYY/MM/DD").fill("2026/03/02")
        page.get_by_placeholder("HH:mm").fill("00:00")
        page.get_by_placeholder("HH:mm").press("Enter")
        page.get_by_text("Date Range").click()
        page.get_by_placeholder("HH:mm").wait_for(state="hidden")
    page.get_by_text("All Runs", exact=True).click()
    page.get_by_text("Override parameters on existing runs").click()
    page.locator("[name=element_recipe]").fill("orchestration")
    page.get_by_role("button", name="Run Backfill").click()
    wait_until_done(lift, airflow, documents[1:2])


def test_from_the_command_line_exactly_the_documents_of_the_days_and_again_none(lift, documents, airflow):
    before = touched(lift, 1, 5)
    environment = lift.environment | {"AIRFLOW_HOME": str(lift.home / "airflow"), "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-m", "airflow", "backfill", "create", "--dag-id", "lift_reprocess"]
    command += ["--from-date", "2026-03-03", "--to-date", "2026-03-04", "--reprocess-behavior", "completed"]
    command += ["--dag-run-conf", json.dumps({"recipe": "orchestration", "prefix": "backfill/"})]
    subprocess.run(command, env=os.environ | environment, check=True, capture_output=True, timeout=300)
    others = [key for key in documents[:2] if before[key] == "done"]
    wait_until_done(lift, airflow, [*others, *documents[2:]])
    assert touched(lift, 1, 2) == {documents[0]: "queue"}
    rows = {row["key"]: row["adapter"] for row in lift.json("docs", "ls") if row["key"] in documents}
    assert rows[documents[0]].endswith("-v1")
    assert rows[documents[2]].endswith("-v2") and rows[documents[3]].endswith("-v2")


def test_from_the_api_exactly_the_documents_of_the_day(lift, documents, airflow):
    before = touched(lift, 1, 5)
    body = {
        "dag_id": "lift_reprocess",
        "from_date": "2026-03-01T00:00:00Z",
        "to_date": "2026-03-01T00:00:00Z",
        "reprocess_behavior": "completed",
        "dag_run_conf": {"recipe": "orchestration", "prefix": "backfill/"},
    }
    airflow.post("/api/v2/backfills", json=body).raise_for_status()
    others = [key for key in documents if before[key] == "done"]
    wait_until_done(lift, airflow, sorted({*others, documents[0]}))
