"""What can be asked, page by page, and what the servers hold."""

import pytest


def test_models_are_base_models_adapters_and_aliases_page_by_page(gateway, registry):
    registry.set_state("report-v2", "superseded")
    registry.add("rejected-v1", state="rejected")
    registry.add("foreign-v1", base_model="another")
    registry.add("alpha-v1")
    first = gateway.http.get("models", params={"limit": 2}).json()
    assert [each["id"] for each in first["data"]] == ["base", "alpha-v1"]
    assert first["has_more"]
    second = gateway.http.get("models", params={"after": first["next"]}).json()
    assert [each["id"] for each in second["data"]] == ["report-v1", "report", "report@champion", "report-v2"]
    assert (second["has_more"], second["next"]) == (False, None)
    assert second["data"][1]["root"] == "report-v1"


@pytest.mark.parametrize("limit", ["x", "-1", "9" * 5000])
def test_a_page_of_no_size_is_refused(gateway, limit, refusal):
    assert refusal(gateway.http.get("models", params={"limit": limit})) == (400, "invalid_request")


def test_one_model_is_shown_or_refused_as_if_it_were_asked(gateway, registry, refusal):
    assert gateway.http.get("models/report@champion").json()["root"] == "report-v1"
    assert gateway.http.get("models/base").json()["parent"] is None
    registry.set_state("report-v1", "quarantined")
    assert refusal(gateway.http.get("models/report")) == (403, "adapter_quarantined")
    assert refusal(gateway.http.get("models/nothing")) == (404, "model_not_found")


def test_the_status_counts_and_repeats_what_the_server_tells(gateway, vllm):
    assert gateway.status()[0]["adapters"] is None
    vllm.plugin = {"resident": [], "cached": [{"name": "report-v1", "bytes": 1}], "limit_bytes": 9}
    for _ in range(2):
        gateway.chat()
    gateway.chat("base")
    [replica] = gateway.status()
    assert replica["adapters"] == vllm.plugin
    assert (replica["requests"], replica["cold"], replica["hits"], replica["in_flight"]) == (3, 1, 1, 0)
    assert (replica["resident"], replica["base_models"], replica["healthy"]) == (
        ["report-v1"],
        ["base"],
        True,
    )
