"""The command that starts an embedded vLLM server."""

import pytest

from lift_core.settings import Settings
from lift_core.stack import vllm
from lift_core.stack.plan import stack_env
from lift_core.stack.ports import DEFAULT_PORTS
from lift_core.stack.state import ensure_secrets


def precision(tmp_path):
    words = vllm.command(tmp_path / "model", 8000)
    return words[words.index("--dtype") + 1]


@pytest.mark.parametrize(
    ("cpu_build", "fast_bf16", "expected"),
    [(True, True, "bfloat16"), (True, False, "float32"), (False, False, "bfloat16")],
)
def test_the_model_is_computed_in_the_faster_precision(monkeypatch, tmp_path, cpu_build, fast_bf16, expected):
    monkeypatch.setattr(vllm, "is_cpu_build", lambda: cpu_build)
    monkeypatch.setattr(vllm, "multiplies_bf16", lambda: fast_bf16)
    assert precision(tmp_path) == expected


@pytest.mark.parametrize(("fast_bf16", "expected"), [(True, None), (False, "fp32")])
def test_the_embedded_guard_asks_in_the_faster_precision_too(monkeypatch, tmp_path, fast_bf16, expected):
    monkeypatch.setattr(vllm, "is_cpu_build", lambda: True)
    monkeypatch.setattr(vllm, "multiplies_bf16", lambda: fast_bf16)
    values = stack_env(Settings(home=tmp_path, _env_file=None), DEFAULT_PORTS, ensure_secrets(tmp_path))
    assert values.get("LIFT_EVALUATION_PRECISION") == expected


@pytest.mark.parametrize("adapters", [True, False])
def test_what_a_kill_left_half_compiled_is_gone_before_the_next_start(monkeypatch, tmp_path, adapters):
    monkeypatch.setattr(vllm, "is_cpu_build", lambda: True)
    compiled = tmp_path / "compiled"
    assert vllm.environment("key", compiled, adapters=adapters)["TORCHINDUCTOR_CACHE_DIR"] == str(compiled)
    vllm.drop_compiled(compiled)
    (compiled / "oh").mkdir(parents=True)
    (compiled / "oh" / "kernel.main.so").write_bytes(b"")
    vllm.drop_compiled(compiled)
    assert not compiled.exists()
