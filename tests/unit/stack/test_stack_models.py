"""Models are made whole or not at all, and once."""

import json

import pytest

from lift_core.stack import models


@pytest.fixture
def sources(tmp_path, monkeypatch):
    gguf = tmp_path / "packaged.gguf"
    gguf.write_bytes(b"weights")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (adapter / name).write_text("{}")
    calls = []

    def convert(folder):
        calls.append("base")
        (folder / "model.safetensors").write_bytes(b"base")

    def merge(base, source, folder):
        calls.append("generator")
        (folder / "model.safetensors").write_bytes(b"merged")

    monkeypatch.setattr(models, "_packaged_gguf", lambda: gguf)
    monkeypatch.setattr(models, "_convert_gguf", convert)
    monkeypatch.setattr(models, "_merge", merge)
    return gguf, adapter, calls


def test_models_are_made_once(tmp_path, sources):
    _, adapter, calls = sources
    home = tmp_path / "home"
    base, generator = models.prepare_models(home, lambda _: None, adapter)
    assert models.prepare_models(home, lambda _: None, adapter) == (base, generator)
    assert calls == ["base", "generator"]
    assert models.models_ready(home) == {models.BASE_NAME: True, models.GENERATOR_NAME: True}
    assert json.loads((base / models.MARKER).read_text())["source_sha256"]


def test_a_new_adapter_remakes_only_the_generator(tmp_path, sources):
    _, adapter, calls = sources
    home = tmp_path / "home"
    models.prepare_models(home, lambda _: None, adapter)
    (adapter / "adapter_model.safetensors").write_text("better")
    models.prepare_models(home, lambda _: None, adapter)
    assert calls == ["base", "generator", "generator"]


def test_an_interrupted_conversion_leaves_no_model(tmp_path, sources, monkeypatch):
    _, adapter, _ = sources
    home = tmp_path / "home"

    def break_off(folder):
        (folder / "half").write_bytes(b"h")
        raise RuntimeError("killed")

    whole = models._convert_gguf
    monkeypatch.setattr(models, "_convert_gguf", break_off)
    with pytest.raises(RuntimeError):
        models.prepare_models(home, lambda _: None, adapter)
    assert not any(models.models_ready(home).values())
    monkeypatch.setattr(models, "_convert_gguf", whole)
    models.prepare_models(home, lambda _: None, adapter)
    assert not list((home / "models").glob(".making-*"))
