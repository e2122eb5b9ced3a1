"""Several servers behind one gateway: one that goes is passed over, one that comes back is used."""

import httpx

from lift_core.stack.processes import wait_until

PATIENCE_SECONDS = 30
NEVER_SECONDS = 3600


def test_one_adapter_stays_on_the_server_that_has_it(open_gateway, fake_vllm):
    servers = [fake_vllm(), fake_vllm(), fake_vllm()]
    gateway = open_gateway(*servers)
    replicas = {gateway.chat().headers["x-lift-replica"] for _ in range(6)}
    assert len(replicas) == 1
    status = gateway.status()
    assert sum(each["cold"] for each in status) == 1
    assert sum(each["hits"] for each in status) == 5


def test_a_server_that_is_gone_is_passed_over(open_gateway, served, fake_vllm, registry, words, refusal):
    servers = [fake_vllm(), fake_vllm()]
    running = [served(each.app) for each in servers]
    gateway = open_gateway(*(each.url for each in running), poll_seconds=NEVER_SECONDS)
    first = int(gateway.chat().headers["x-lift-replica"])
    running[first].stop()
    reply = gateway.chat()
    assert words(reply) == "I am report-v1"
    assert int(reply.headers["x-lift-replica"]) == 1 - first
    assert [each["healthy"] for each in gateway.status()] == [first == 1, first == 0]
    running[1 - first].stop()
    reply = gateway.chat()
    assert refusal(reply) == (503, "no_replica")
    assert "retry-after" in reply.headers


def test_a_server_that_comes_back_is_used_again(open_gateway, served, vllm, words, refusal):
    running = served(vllm.app)
    gateway = open_gateway(running.url, poll_seconds=0.05)
    assert words(gateway.chat()) == "I am report-v1"
    port = httpx.URL(running.url).port
    running.stop()
    assert wait_until(lambda: not gateway.status()[0]["healthy"], PATIENCE_SECONDS)
    assert refusal(gateway.chat("base")) == (503, "no_replica")
    again = served(vllm.app, port=port)
    assert again.url == running.url
    assert wait_until(lambda: gateway.status()[0]["healthy"], PATIENCE_SECONDS)
    assert words(gateway.chat()) == "I am report-v1"


def test_a_name_may_belong_to_a_server_that_has_not_answered_yet(open_gateway, vllm, words, refusal):
    gateway = open_gateway(vllm, "http://127.0.0.1:9/v1")
    assert words(gateway.chat()) == "I am report-v1"
    assert refusal(gateway.chat("another-base")) == (503, "no_replica")


def test_a_quarantined_adapter_is_unloaded_from_every_server(open_gateway, fake_vllm, registry):
    servers = [fake_vllm(), fake_vllm()]
    for each in servers:
        each.listed = {"report-v1", "report-v2"}
    open_gateway(*servers, poll_seconds=0.05)
    registry.set_state("report-v1", "quarantined")
    for each in servers:
        assert wait_until(lambda each=each: "report-v1" in each.unloaded, PATIENCE_SECONDS)
        assert each.listed == {"report-v2"}
