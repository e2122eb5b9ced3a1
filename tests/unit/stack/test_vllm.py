"""The command that starts an embedded vLLM server."""

import pytest

from lift_core.stack import vllm


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
