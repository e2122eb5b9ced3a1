"""Which server answers, what counts as its health, and what has to leave it."""

import asyncio
import json

import httpx
import pytest

from lift_core.errors import LiftError
from lift_core.serving.gateway.naming import Names, Target
from lift_core.serving.gateway.replicas import Replicas
from lift_core.serving.gateway.watching import Watcher

URLS = [f"http://vllm-{number}:8000/v1" for number in range(4)]
BASE = {"base": "/models/base"}


@pytest.fixture
def replicas():
    made = Replicas(URLS)
    for each in made.all:
        each.up(BASE, [])
    return made


@pytest.fixture
def target(registry):
    def make(name):
        return Target(name, registry.by_name.get(name) or registry.add(name))

    return make


# --- choice -----------------------------------------------------------------------------------


def test_of_the_servers_that_hold_an_adapter_the_least_busy_answers(replicas, target):
    first, second, third, _ = replicas.all
    for each in (second, third):
        each.listed.add("report-v1")
    with first.request(target("report-v2")), second.request(target("report-v2")):
        assert replicas.choose(target("report-v1")) is third
        with third.request(target("report-v1")), third.request(target("report-v1")):
            assert replicas.choose(target("report-v1")) is second


def test_an_adapter_that_none_holds_falls_to_one_server_whoever_is_asked(replicas, target):
    names = [f"doc{number}-v1" for number in range(40)]
    chosen = {name: replicas.choose(target(name)).number for name in names}
    assert set(chosen.values()) == {0, 1, 2, 3}
    other = Replicas(URLS)
    for each in other.all:
        each.up(BASE, [])
    assert {name: other.choose(target(name)).number for name in names} == chosen
    # A lost server moves its own names alone, and gets them back.
    lost = other.all[0]
    lost.down("gone")
    moved = {name for name in names if other.choose(target(name)).number != chosen[name]}
    assert moved == {name for name in names if chosen[name] == 0}


def test_an_adapter_that_is_being_loaded_counts_as_held(replicas, target):
    wanted = target("report-v1")
    natural = replicas.choose(wanted)
    other = next(each for each in replicas.all if each is not natural)
    with other.request(wanted):
        assert replicas.choose(wanted) is other
        # A look that comes while it is being loaded does not list it.
        other.up(BASE, [])
        assert replicas.choose(wanted) is other
    assert replicas.choose(wanted) is natural


def test_a_base_model_goes_to_the_least_busy_server(replicas):
    base = Target("base")
    with replicas.all[0].request(base), replicas.all[1].request(base), replicas.all[3].request(base):
        assert replicas.choose(base) is replicas.all[2]


def test_servers_of_another_base_model_or_that_are_down_or_tried_are_left_out(replicas, target):
    replicas.all[0].up({"another": "another"}, ["report-v1"])
    replicas.all[1].down("gone")
    chosen = replicas.choose(target("report-v1"), tried=[replicas.all[2]])
    assert chosen is replicas.all[3]
    assert replicas.choose(target("report-v1"), tried=replicas.all[2:]) is None
    # What is down now still serves its base model in principle: that is no conflict.
    replicas.check(Target("base"))


def test_an_address_is_shown_without_its_secrets():
    [replica] = Replicas(["https://user:pass@host:1/v1?key=secret"]).all
    assert replica.address == "https://host:1/v1"


@pytest.mark.parametrize("url", ["host:8000/v1", "ftp://host/v1", "http://:8000/v1"])
def test_what_is_no_address_is_refused_without_repeating_it(url):
    with pytest.raises(LiftError, match="address 0 in LIFT_SERVING_URL") as raised:
        Replicas([url])
    assert url not in str(raised.value)


# --- watching -----------------------------------------------------------------------------------


class Servers:
    """Stand-ins for vLLM servers behind an httpx transport."""

    def __init__(self):
        self.listed = {url: [] for url in URLS}
        self.unloaded = []
        self.trouble = None
        """An error to raise or a response to give instead of the list of models."""
        self.unload_status = 200

    def __call__(self, request):
        url = str(request.url).rpartition("/")[0]
        if request.url.path.endswith("/unload_lora_adapter"):
            name = json.loads(request.content)["lora_name"]
            self.unloaded.append((URLS.index(url), name))
            return httpx.Response(self.unload_status, text="said")
        if isinstance(self.trouble, Exception):
            raise self.trouble
        cards = [{"id": "base", "root": "/models/base", "parent": None, "max_model_len": 1}]
        cards += [{"id": name, "root": "/x", "parent": "base"} for name in self.listed[url]]
        return self.trouble or httpx.Response(200, json={"object": "list", "data": cards})


@pytest.fixture
def servers():
    return Servers()


@pytest.fixture
def watch(servers, registry):
    """Look at all servers so many times; ``prepare`` is called with the replicas between looks."""

    def run(looks=1, prepare=lambda replicas: None, **options):
        replicas = Replicas(URLS)
        names = Names(registry)

        async def all_looks():
            async with httpx.AsyncClient(transport=httpx.MockTransport(servers)) as http:
                watcher = Watcher(replicas, names, http, **options)
                for _ in range(looks):
                    prepare(replicas)
                    await watcher.look_at_all()

        asyncio.run(all_looks())
        names.close()
        return replicas

    return run


@pytest.mark.parametrize("state", ["quarantined", "archived", "rejected", "removed"])
def test_what_may_not_serve_is_unloaded_everywhere(watch, servers, registry, state):
    registry.set_state("report-v1", state)
    for url in URLS[:2]:
        servers.listed[url] = ["report-v1", "report-v2"]
    replicas = watch()
    assert sorted(servers.unloaded) == [(0, "report-v1"), (1, "report-v1")]
    assert replicas.all[0].listed == {"report-v2"}


def test_candidates_and_strangers_stay(watch, servers, registry):
    registry.set_state("report-v1", "candidate")
    registry.set_state("report-v2", "superseded")
    servers.listed[URLS[0]] = ["report-v1", "report-v2", "not-of-the-registry"]
    watch(max_resident=3)
    assert servers.unloaded == []


def test_an_unloading_that_failed_is_tried_again(watch, servers, registry):
    registry.set_state("report-v1", "quarantined")
    servers.listed[URLS[0]] = ["report-v1"]
    servers.unload_status = 500
    watch(looks=2)
    assert servers.unloaded == [(0, "report-v1")] * 2


def test_nothing_is_unloaded_while_the_registry_is_away(watch, servers, registry):
    registry.set_state("report-v1", "quarantined")
    registry.away = True
    servers.listed[URLS[0]] = ["report-v1", "report-v2"]
    replicas = watch(max_resident=1)
    assert servers.unloaded == []
    assert replicas.all[0].healthy


def test_too_many_adapters_make_the_least_recently_used_idle_ones_leave(watch, servers, registry, target):
    registry.add("new-v1", state="candidate")
    servers.listed[URLS[0]] = ["a-v1", "b-v1", "c-v1", "d-v1", "new-v1"]
    for name in servers.listed[URLS[0]]:
        target(name)
    under_way = []

    def use(replicas):
        for name in ("b-v1", "a-v1", "d-v1", "c-v1"):
            request = replicas.all[0].request(target(name))
            request.__enter__()
            if name == "b-v1":
                under_way.append(request)
            else:
                request.__exit__(None, None, None)

    replicas = watch(prepare=use, max_resident=3)
    # b was used first, but a request is under way; the candidate was never asked for.
    assert servers.unloaded == [(0, "a-v1"), (0, "d-v1")]
    assert replicas.all[0].listed == {"b-v1", "c-v1", "new-v1"}


def test_a_server_that_refuses_connections_is_away_at_once(watch, servers):
    servers.trouble = httpx.ConnectError("refused")
    [first, *_] = watch().all
    assert not first.healthy
    assert "ConnectError" in first.problem


@pytest.mark.parametrize(
    ("slow_looks", "healthy"), [({2}, True), ({2, 3, 5, 6}, True), ({2, 3, 4}, False), ({1, 2, 3}, False)]
)
def test_a_server_is_away_when_it_is_slow_three_times_in_a_row(watch, servers, slow_looks, healthy):
    looks = []

    def be_slow_at_times(_):
        looks.append(servers)
        servers.trouble = httpx.ReadTimeout("slow") if len(looks) in slow_looks else None

    replicas = watch(looks=max(slow_looks), prepare=be_slow_at_times)
    assert [each.healthy for each in replicas.all] == [healthy] * len(URLS)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (httpx.Response(401), "LIFT_SERVING_API_KEY"),
        (httpx.Response(500), "500"),
        (httpx.Response(200, text="hello"), "not a list of models"),
        (httpx.Response(200, json={"data": [1]}), "not a list of models"),
    ],
)
def test_a_server_that_does_not_tell_its_models_is_away_and_the_reason_is_kept(
    watch, servers, reply, problem
):
    servers.trouble = reply
    assert problem in watch().all[0].problem


def test_base_models_are_known_by_where_they_were_loaded_from(watch, target, registry):
    [first, *_] = watch().all
    assert first.serves(target("report-v1"))
    registry.add("memo-v1", base_model="other")
    assert not first.serves(target("memo-v1"))
