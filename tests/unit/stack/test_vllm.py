"""The command that starts an embedded vLLM server."""

import platform

import pytest

from lift_core.stack import vllm


def precision(tmp_path):
    words = vllm.command(tmp_path / "model", 8000)
    return words[words.index("--dtype") + 1]


@pytest.mark.parametrize(
    ("cpu_build", "machine", "flags", "expected"),
    [
        (True, "x86_64", ["avx2", "amx_bf16", "amx_tile"], "bfloat16"),
        (True, "x86_64", ["avx2"], "float32"),
        # Vector instructions are no matrix units.
        (True, "x86_64", ["avx2", "avx512_bf16"], "float32"),
        (True, "x86_64", [], "float32"),
        (True, "aarch64", [], "bfloat16"),
        (False, "x86_64", ["avx2"], "bfloat16"),
    ],
)
def test_the_model_is_computed_in_the_faster_precision(
    monkeypatch, tmp_path, cpu_build, machine, flags, expected
):
    monkeypatch.setattr(vllm, "is_cpu_build", lambda: cpu_build)
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(vllm, "_processor_flags", lambda: flags)
    assert precision(tmp_path) == expected


@pytest.mark.skipif(platform.machine() != "x86_64", reason="another processor names its flags otherwise")
def test_the_processor_is_asked():
    # Every x86 processor that runs this has floating point.
    assert "fpu" in vllm._processor_flags()
