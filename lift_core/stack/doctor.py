"""``lift doctor``: what is missing or broken, and the remedy. It changes nothing."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from lift_core.errors import LiftError
from lift_core.processor import usable_cores
from lift_core.records import Record
from lift_core.stack import StackStatus, log_tail, status
from lift_core.stack.airflow import CHECKOUT
from lift_core.stack.models import models_ready
from lift_core.stack.ports import DEFAULT_PORTS, is_free
from lift_core.stack.vllm import is_cpu_build

MIN_DISK_GIB = 5.0
"""Models, adapters and data of a small collection; the environment itself is there already."""
MIN_MEMORY_GIB = 12.0
"""Two vLLM servers take 3.5 GiB each with the embedded model, Airflow 1, training 2."""
MIN_CORES = 2
_GIB = 2**30
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)([^\\]*)")


class Check(Record):
    """One thing looked at; ``remedy`` is empty where nothing is wrong."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def checks(home: Path) -> list[Check]:
    """Look at everything: installation, machine, models, services, database. Takes about a second."""
    seen = status(home)
    found = [_python(), _packages(), _disk(home), _memory(), _cores(), _models(home), _ports(seen)]
    found.extend(_services(seen))
    if seen.phase != "stopped":
        found.extend(_answering())
    return found


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return _check(
        "python",
        sys.version_info >= (3, 11),
        version,
        "install Python 3.11 or newer, then PYTHON=… make setup",
    )


def _packages() -> Check:
    lock = CHECKOUT / "requirements" / ("cpu.lock" if is_cpu_build() else "cuda.lock")
    if not lock.is_file():
        return _check("packages", True, "not a checkout: nothing to compare with", "")
    wrong = [problem for line in lock.read_text().splitlines() if (problem := _wrong(line))]
    detail = (
        f"{len(wrong)} differ from {lock.name}: {', '.join(wrong[:5])}" if wrong else f"as in {lock.name}"
    )
    return _check(
        "packages", not wrong, detail, "make setup; if that says nothing: rm -r .venv && make setup"
    )


def _wrong(line: str) -> str | None:
    """What is wrong with the package of a lock line; lines with a marker may not apply here."""
    pin = _PIN.match(line)
    if not pin or ";" in pin.group(3):
        return None
    try:
        installed = importlib.metadata.version(pin.group(1))
    except importlib.metadata.PackageNotFoundError:
        return f"{pin.group(1)} is missing"
    return None if installed == pin.group(2) else f"{pin.group(1)} is {installed}, not {pin.group(2)}"


def _disk(home: Path) -> Check:
    folder = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(folder).free / _GIB
    return _check(
        "disk",
        free >= MIN_DISK_GIB,
        f"{free:.0f} GiB free at {folder}",
        f"free {MIN_DISK_GIB:.0f} GiB, or set LIFT_HOME to a larger disk",
    )


def _memory() -> Check:
    total = psutil.virtual_memory().total / _GIB
    remedy = (
        f"the embedded stack wants {MIN_MEMORY_GIB:.0f} GiB; name a vLLM elsewhere by "
        "LIFT_GENERATOR_URL and LIFT_SERVING_URL"
    )
    return _check("memory", total >= MIN_MEMORY_GIB, f"{total:.0f} GiB", remedy)


def _cores() -> Check:
    count = len(usable_cores())
    return _check(
        "cores", count >= MIN_CORES, f"{count} usable", "give it 2 cores or more; it will be slow on one"
    )


def _models(home: Path) -> Check:
    missing = [name for name, ready in models_ready(home).items() if not ready]
    detail = f"not prepared: {', '.join(missing)}" if missing else "prepared"
    return _check("models", not missing, detail, "lift up prepares them")


def _ports(seen: StackStatus) -> Check:
    taken = [] if seen.phase != "stopped" else [n for n, port in DEFAULT_PORTS.items() if not is_free(port)]
    # Not an error: the stack chooses others. But it explains unexpected addresses.
    detail = f"taken by others, so others will be chosen: {', '.join(taken)}" if taken else "free or our own"
    return _check("ports", True, detail, "")


def _services(seen: StackStatus) -> Iterator[Check]:
    if seen.phase == "stopped":
        yield _check("services", False, "the stack is not running", "lift up")
        return
    for each in seen.services:
        tail = log_tail(Path(each.log))
        detail = each.state if each.ok else f"{each.state}: {each.reason or 'not answering yet'}\n{tail}"
        yield _check(each.name, each.ok, detail, f"see {each.log}; then lift down, lift up")


def _answering() -> Iterator[Check]:
    from lift_core.registry import AdapterRegistry
    from lift_core.settings import get_settings
    from lift_core.store import ObjectStore

    settings = get_settings()

    def migrated() -> str:
        if not AdapterRegistry.from_settings(settings).is_current():
            raise LiftError("its tables are older than this version of LIFT")
        return "tables are current"

    def listable() -> str:
        bucket = settings.documents_bucket
        found = next(iter(ObjectStore.from_settings(settings).list(bucket)), None)
        return f"{bucket} answers" + ("" if found else " and is empty")

    yield _try("registry", migrated, "lift registry upgrade")
    yield _try("object store", listable, "check LIFT_S3_ENDPOINT and its keys; lift down, lift up")


def _try(name: str, look: Callable[[], str], remedy: str) -> Check:
    try:
        return _check(name, True, look(), "")
    except LiftError as error:
        return _check(name, False, str(error), remedy)


def _check(name: str, ok: bool, detail: str, remedy: str) -> Check:
    return Check(name=name, ok=ok, detail=detail, remedy="" if ok else remedy)
