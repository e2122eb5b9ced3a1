"""What the processor of this machine does well."""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


@cache
def multiplies_bf16() -> bool:
    """Whether matrices are multiplied at least as fast in bf16 as in float32.

    Of x86 processors those with matrix units (``amx_bf16``) do, and AMD's with vector instructions for bf16;
    another maker's with the vector instructions alone took twice as long over bf16 (docs/log.md). Of other
    architectures nothing was measured: bf16 it is, as PyTorch and vLLM have it.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    described = _described()
    flags = described.get("flags", "").split()
    if "amx_bf16" in flags:
        return True
    return described.get("vendor_id") == "AuthenticAMD" and "avx512_bf16" in flags


def name() -> str:
    """The processor's model as the kernel names it, or its architecture."""
    return _described().get("model name") or platform.processor() or platform.machine()


def usable_cores() -> list[int]:
    """Numbers of the cores that this process may use."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _described() -> dict[str, str]:
    """The first processor in the kernel's words; empty where the kernel does not say."""
    if not _CPUINFO.is_file():
        return {}
    first = _CPUINFO.read_text("utf-8", "replace").split("\n\n", 1)[0]
    lines = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}
