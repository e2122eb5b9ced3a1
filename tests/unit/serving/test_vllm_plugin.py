"""vLLM gets an adapter by name only if it may serve and is what was registered; else it hears why not."""

import asyncio
import hashlib
import importlib
import json
import socket
import subprocess
import sys
import tomllib
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient
from safetensors.torch import save
from vllm.entrypoints.serve.middleware.authenticate import AuthenticationMiddleware
from vllm.exceptions import GracefulHTTPError
from vllm.lora.resolver import LoRAResolverRegistry

from lift_core.errors import LiftError, NotFoundError, ServiceUnavailableError
from lift_core.records import AdapterRecord, AdapterState
from lift_core.serving.cache import AdapterCache
from lift_core.serving.vllm_plugin import SERVABLE, LiftResolver, Server, ServingEndpoints, register
from lift_core.settings import get_settings

BASE = "/models/base"
RANK = 8
CONFIG = {
    "peft_type": "LORA",
    "base_model_name_or_path": "base",
    "r": RANK,
    "lora_alpha": 16,
    "target_modules": ["q_proj"],
}
MODULE = "base_model.model.model.layers.0.self_attn.q_proj"
BODIES = {
    "adapter_config.json": json.dumps(CONFIG).encode(),
    "adapter_model.safetensors": save(
        {f"{MODULE}.lora_A.weight": torch.zeros(RANK, 4), f"{MODULE}.lora_B.weight": torch.zeros(4, RANK)}
    ),
}


class FakeStore:
    """Holds objects in memory."""

    def __init__(self):
        self.objects = {}
        self.asked = []
        self.error = None

    def get_file(self, bucket, key, path):
        self.asked.append(key)
        if self.error:
            raise self.error
        path.write_bytes(self.objects[key])


class FakeRegistry:
    """Holds adapters and aliases in memory."""

    def __init__(self):
        self.named = {}
        self.asked = []
        self.events = []
        self.error = None

    def adapter(self, name):
        self.asked.append(name)
        if self.error:
            raise self.error
        if name not in self.named:
            raise NotFoundError(f"there is no adapter '{name}'")
        return self.named[name]

    def record_event(self, kind, subject, **detail):
        self.events.append((kind, subject, detail))


class FakeModels:
    """vLLM's list of what it serves."""

    def __init__(self):
        self.lora_requests = {}
        self.lora_resolver_lock = {}

    def model_name(self):
        return "base"


class Setting:
    """A resolver over fakes."""

    def __init__(self, folder, max_bytes=10**6):
        self.registry, self.store, self.models = FakeRegistry(), FakeStore(), FakeModels()
        self.resolver = LiftResolver(
            AdapterCache(folder, "adapters", max_bytes, grace_seconds=0), lambda: (self.registry, self.store)
        )

    def add(self, name="report-v1", state="active", **changes):
        adapter = AdapterRecord(
            name=name,
            aliases=(),
            bucket="inbox",
            document="report.md",
            slug="report",
            version=1,
            title="Report",
            base_model="base",
            base_revision="1",
            recipe="0" * 64,
            state=state,
            prefix=f"jobs/{name}/",
            files={file: hashlib.sha256(body).hexdigest() for file, body in BODIES.items()},
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            activated_at=None,
            scores={},
            tags={},
        ).model_copy(update=changes)
        self.registry.named[name] = adapter
        self.store.objects |= {f"{adapter.prefix}{file}": body for file, body in BODIES.items()}
        return adapter

    def start_server(self, max_lora_rank=16):
        self.resolver.server = Server(self.models, max_loras=4, max_lora_rank=max_lora_rank)

    def resolve(self, name="report-v1", base=BASE):
        return asyncio.run(self.resolver.resolve_lora(base, name))


@pytest.fixture
def setting(tmp_path):
    return Setting(tmp_path / "cache")


# --- what is served ---------------------------------------------------------------------------


def test_an_adapter_comes_with_its_verified_files(setting):
    setting.add()
    found = setting.resolve()
    assert found.lora_name == "report-v1"
    assert {path.name: path.read_bytes() for path in Path(found.lora_path).iterdir()} == BODIES
    assert setting.registry.events == []


@pytest.mark.parametrize("state", get_args(AdapterState))
def test_only_some_states_are_served(setting, state):
    setting.add(state=state)
    served = setting.resolve() is not None
    assert served == (state in {"candidate", "active", "superseded"}) == (state in SERVABLE)
    assert served or setting.store.asked == []


@pytest.mark.parametrize(
    "name", ["report", "report@champion", "folder/report.md", "../report-v1", "base", "report-v1/x", ""]
)
def test_a_name_that_is_not_immutable_is_not_even_looked_up(setting, name):
    setting.add(name)
    assert setting.resolve(name) is None
    assert setting.registry.asked == []


def test_an_unknown_adapter_is_none(setting):
    assert setting.resolve() is None
    assert setting.registry.events == []


def test_a_document_that_is_called_like_an_adapter_is_none(setting):
    setting.registry.named["notes-v2"] = setting.add("notes-v2-doc-v1")
    assert setting.resolve("notes-v2") is None
    assert setting.store.asked == []


# --- what is refused --------------------------------------------------------------------------


def test_tampered_files_are_refused_and_the_registry_hears_of_it_once(setting):
    adapter = setting.add()
    setting.store.objects[f"{adapter.prefix}adapter_config.json"] = b"{}"
    assert setting.resolve() is None
    assert setting.resolve() is None
    assert setting.resolver.refused == 2
    ((kind, subject, detail),) = setting.registry.events
    assert (kind, subject) == ("adapter.refused", "report-v1")
    assert "adapter_config.json of adapter report-v1 is not the file that was" in detail["reason"]
    assert detail["by"] == socket.gethostname()


def test_an_adapter_of_another_base_model_is_refused_before_anything_is_fetched(setting):
    setting.add(base_model="other")
    assert setting.resolve() is None
    assert "of base model 'other', and this server has 'base'" in setting.registry.events[0][2]["reason"]
    assert setting.store.asked == []


def test_a_rank_that_the_server_does_not_take_is_refused(setting):
    setting.add()
    setting.start_server(max_lora_rank=4)
    assert setting.resolve() is None
    assert "rank 8, and this server takes at most 4" in setting.registry.events[0][2]["reason"]
    setting.start_server(max_lora_rank=8)
    assert setting.resolve() is not None


# --- services that are away -------------------------------------------------------------------


@pytest.mark.parametrize("service", ["registry", "store"])
@pytest.mark.parametrize(
    ("error", "status"),
    [(ServiceUnavailableError("it does not answer"), 503), (LiftError("it refuses: AccessDenied"), 500)],
)
def test_a_service_that_fails_is_never_taken_for_an_adapter_that_is_not_there(
    setting, service, error, status
):
    setting.add()
    getattr(setting, service).error = error
    with pytest.raises(GracefulHTTPError, match=str(error)) as caught:
        setting.resolve()
    assert caught.value.http_status == status
    getattr(setting, service).error = None
    assert setting.resolve() is not None


def test_services_that_could_not_be_reached_at_first_are_tried_again(setting, tmp_path):
    setting.add()
    found = iter([ServiceUnavailableError("no object store is named")])

    def connect():
        if error := next(found, None):
            raise error
        return setting.registry, setting.store

    setting.resolver = LiftResolver(AdapterCache(tmp_path / "other", "adapters", 10**6), connect)
    with pytest.raises(GracefulHTTPError, match="no object store is named"):
        setting.resolve()
    assert setting.resolve() is not None


# --- local copies -----------------------------------------------------------------------------


def cached(setting):
    return [copy.name for copy in setting.resolver.cache.entries()]


def test_copies_that_the_server_lists_or_loads_stay(tmp_path):
    setting = Setting(tmp_path / "cache", max_bytes=0)
    setting.start_server()
    for name in ("listed-v1", "loading-v1", "old-v1", "new-v1"):
        setting.add(name)

    async def use():
        loading = asyncio.Lock()
        setting.models.lora_resolver_lock |= {"loading-v1": loading, "old-v1": asyncio.Lock()}
        await loading.acquire()
        setting.models.lora_requests["listed-v1"] = await setting.resolver.resolve_lora(BASE, "listed-v1")
        for name in ("loading-v1", "old-v1"):
            await setting.resolver.resolve_lora(BASE, name)
        async with setting.models.lora_resolver_lock.setdefault("new-v1", asyncio.Lock()):
            return await setting.resolver.resolve_lora(BASE, "new-v1")

    found = asyncio.run(use())
    assert cached(setting) == ["listed-v1", "loading-v1", "new-v1"]
    assert Path(found.lora_path, "adapter_model.safetensors").is_file()


def test_without_the_servers_list_nothing_that_was_asked_for_is_deleted(tmp_path):
    setting = Setting(tmp_path / "cache", max_bytes=0)
    for name in ("a-v1", "b-v1"):
        setting.add(name)
        setting.resolve(name)
    assert cached(setting) == ["a-v1", "b-v1"]


# --- how vLLM finds it ------------------------------------------------------------------------


@pytest.fixture
def resolvers(monkeypatch):
    """vLLM's resolvers, none at first."""
    monkeypatch.setattr(LoRAResolverRegistry, "resolvers", {})
    return LoRAResolverRegistry.resolvers


@pytest.fixture
def named(monkeypatch, tmp_path):
    """A process whose settings name services that are not there."""
    monkeypatch.setenv("LIFT_HOME", str(tmp_path))
    monkeypatch.setenv("LIFT_DATABASE_URL", "postgresql+psycopg2://nobody@127.0.0.1:9/none")
    monkeypatch.setenv("LIFT_S3_ENDPOINT", "127.0.0.1:9")
    monkeypatch.setenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "1")
    get_settings.cache_clear()
    yield monkeypatch
    get_settings.cache_clear()


def test_registering_twice_leaves_one_resolver_and_connects_to_nothing(resolvers, named):
    register()
    first = resolvers["lift"]
    register()
    assert resolvers == {"lift": first}


@pytest.mark.parametrize(
    "missing", ["LIFT_DATABASE_URL", "LIFT_S3_ENDPOINT", "VLLM_ALLOW_RUNTIME_LORA_UPDATING"]
)
def test_a_vllm_that_is_not_lifts_stays_as_it_was(resolvers, named, missing):
    named.delenv(missing)
    register()
    assert resolvers == {}


def test_services_that_are_away_are_met_at_the_first_request_only(resolvers, named):
    register()
    with pytest.raises(GracefulHTTPError, match=r"127\.0\.0\.1:9/none does not answer") as caught:
        asyncio.run(resolvers["lift"].resolve_lora(BASE, "report-v1"))
    assert caught.value.http_status == 503


def test_loading_the_plugin_imports_neither_torch_nor_vllm():
    code = (
        "import sys, lift_core.serving.vllm_plugin; print({'torch', 'vllm', 'transformers'} & {*sys.modules})"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_the_entry_points_lead_to_the_plugins():
    body = tomllib.loads(Path("pyproject.toml").read_text())["project"]["entry-points"]
    for group, name, wanted in (
        ("vllm.general_plugins", "lift", register),
        ("vllm.endpoint_plugins", "lift_serving", ServingEndpoints),
    ):
        module, _, attribute = body[group][name].partition(":")
        assert getattr(importlib.import_module(module), attribute) is wanted


# --- the endpoint -----------------------------------------------------------------------------


def server(setting, resolvers):
    """An API server with the plugin, started as vLLM starts one."""
    resolvers["lift"] = setting.resolver
    app, plugin = FastAPI(), ServingEndpoints()
    plugin.attach_router(app)
    app.add_middleware(AuthenticationMiddleware, tokens=["key"])
    state = SimpleNamespace(openai_serving_models=setting.models)
    asyncio.run(plugin.init_state(object(), state, Namespace(max_loras=4, max_lora_rank=16)))
    return TestClient(app)


def test_the_endpoint_tells_what_is_resident_and_cached(setting, resolvers):
    client = server(setting, resolvers)
    setting.add()
    setting.models.lora_requests["report-v1"] = setting.resolve()
    setting.resolve()
    setting.add("other-v1", base_model="other")
    setting.resolve("other-v1")
    body = client.get("/v1/lift/adapters", headers={"Authorization": "Bearer key"}).raise_for_status().json()
    (copy,) = body.pop("cached")
    assert datetime.fromisoformat(copy.pop("used_at")).tzinfo is not None
    assert copy == {"name": "report-v1", "bytes": sum(len(body) for body in BODIES.values())}
    assert body == {
        "resident": ["report-v1"],
        "limit_bytes": 10**6,
        "hits": 1,
        "downloads": 1,
        "refused": 1,
        "max_loras": 4,
        "max_lora_rank": 16,
        "base_model": "base",
    }


def test_the_endpoint_tells_nothing_without_the_servers_key(setting, resolvers):
    client = server(setting, resolvers)
    assert client.get("/v1/lift/adapters").status_code == 401
    assert client.get("/v1/lift/adapters", headers={"Authorization": "Bearer no"}).status_code == 401


def test_a_server_without_a_resolver_has_no_endpoint(resolvers):
    app, plugin = FastAPI(), ServingEndpoints()
    plugin.attach_router(app)
    asyncio.run(plugin.init_state(object(), SimpleNamespace(), Namespace()))
    assert TestClient(app).get("/v1/lift/adapters").status_code == 404
