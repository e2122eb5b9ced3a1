"""``lift serve``: who it listens to, and what it shows."""

import json

import pytest
from click.testing import CliRunner

from lift_core.cli.serve import serve
from lift_core.serving import GatewayClient
from lift_core.serving.gateway.status import GatewayStatus, ReplicaStatus
from lift_core.settings import get_settings


@pytest.fixture(autouse=True)
def own_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("LIFT_HOME", str(tmp_path))
    for name in ("LIFT_GATEWAY_API_KEY", "LIFT_SERVING_URL", "LIFT_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LIFT_GATEWAY_URL", "http://gateway/v1")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def replica(number, **changes):
    made = ReplicaStatus(
        number=number,
        url=f"http://vllm-{number}/v1",
        healthy=True,
        problem=None,
        base_models=("base",),
        resident=("report-v1",),
        in_flight=0,
        requests=7,
        hits=5,
        cold=2,
        errors=0,
        adapters={"cached": [{"name": "report-v1", "bytes": 3 * 2**20, "used_at": "2026-01-01"}]},
    )
    return made.model_copy(update=changes)


@pytest.fixture
def status(monkeypatch):
    many = replica(0, resident=tuple(f"doc{number}-v1" for number in range(7)))
    away = replica(1, healthy=False, problem="it does not answer", resident=(), adapters=None)
    made = GatewayStatus(version="1", max_resident=64, replicas=(many, away))
    monkeypatch.setattr(GatewayClient, "status", lambda self: made)
    return made


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "gateway.example"])
def test_the_gateway_is_not_opened_to_other_machines_by_accident(host):
    result = CliRunner().invoke(serve, ["gateway", "--host", host])
    assert result.exit_code == 2
    assert "--allow-remote" in result.output


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_the_gateway_does_not_start_without_a_registry_or_a_key(monkeypatch, host):
    result = CliRunner().invoke(serve, ["gateway", "--host", host])
    assert "LIFT_DATABASE_URL" in str(result.exception)
    monkeypatch.setenv("LIFT_DATABASE_URL", "postgresql+psycopg2://nobody@127.0.0.1:9/none")
    get_settings.cache_clear()
    result = CliRunner().invoke(serve, ["gateway", "--host", host])
    assert "LIFT_GATEWAY_API_KEY" in str(result.exception)


def test_the_status_is_one_json_document(status):
    result = CliRunner().invoke(serve, ["status", "--json"])
    assert json.loads(result.stdout) == status.model_dump(mode="json")


def test_the_status_is_a_table_with_the_reasons_below(status, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    output = CliRunner().invoke(serve, ["status"]).output
    for shown in ("vllm-0", "doc4-v1", "and 2 more", "1 (3 MiB)", "5/2"):
        assert shown in output
    assert "http://vllm-1/v1: it does not answer" in output
