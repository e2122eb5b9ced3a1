"""What a run leaves to be read: every line of a step names its document, and no secret is anywhere."""

import json
import subprocess
import sys

import pytest
from pydantic import SecretStr

pytestmark = pytest.mark.usefixtures("tiny_model")

TEXT = "# The lighthouse\n\nThe lighthouse burns oil of seals. Odo Krell built it in the spring of 1702.\n"
TOO_SHORT_TO_LOOK_FOR = 8


@pytest.fixture
def secrets(settings, stack_home):
    """Every secret that this stack has: as settings, within addresses, and in its file."""
    known = {value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)}
    known |= set(json.loads((stack_home / "secrets.json").read_text()).values())
    found = {secret for secret in known if len(secret) >= TOO_SHORT_TO_LOOK_FOR}
    assert len(found) > 5
    return found


def test_lines_name_the_document_and_neither_logs_nor_events_have_a_secret(
    registry, store, environment, secrets, stack_home, sql, tmp_path
):
    file = tmp_path / "lighthouse.md"
    file.write_text(TEXT)
    done = subprocess.run(
        [sys.executable, "-m", "lift_core.cli", "run", str(file), "--recipe", "smoke", "--json"],
        env=environment | {"LIFT_LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    events = {line["event"] for line in lines}
    assert {"claimed", "split", "pairs written", "trained", "proven", "active"} <= events
    run = registry.document("lighthouse").run_id
    assert {(line.get("document"), line.get("version"), line.get("run")) for line in lines} == {
        ("lighthouse", 1, run)
    }
    adapter = json.loads(done.stdout)["adapter"]
    assert [line["adapter"] for line in lines if line["event"] in ("trained", "proven", "active")] == [
        adapter
    ] * 3
    left = [done.stdout, done.stderr]
    left += [
        path.read_text("utf-8", "replace") for path in (stack_home / "logs").rglob("*") if path.is_file()
    ]
    left += [(stack_home / "stack.json").read_text()]
    for table in ("events", "stages", "jobs", "leases", "adapters"):
        left += [row for (row,) in sql(f"SELECT t::text FROM {table} t")]
    for secret in secrets:
        assert not any(secret in text for text in left), "a secret stands where it can be read"
