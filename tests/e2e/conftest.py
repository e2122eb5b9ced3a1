"""One embedded stack for all end-to-end tests, in a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from lift_core.registry import AdapterRegistry
from lift_core.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DEMO_SECONDS = 2400
PATIENCE_SECONDS = 900
ENDED = ("ready", "failed", "superseded", "removed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.fspath).is_relative_to(ROOT / "tests" / "e2e"):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(DEMO_SECONDS))


class Lift:
    """The ``lift`` command in one home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("LIFT_")}
        self.environment["LIFT_HOME"] = str(home)
        self.items = home.parent / "items"
        self.items.mkdir()
        self.environment["LIFT_EVALUATION_DATA"] = str(self.items)
        # What the model of random weights can lose at most is little.
        margins = {"mmlu.log-likelihood": 0.02, "gsm8k.log-likelihood": 0.02}
        self.environment["LIFT_EVALUATION_MARGINS"] = json.dumps(margins)

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "lift_core.cli", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEMO_SECONDS,
        )
        if check and done.returncode != 0:
            pytest.fail(f"lift {' '.join(words)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json").stdout)

    def wait(self, keys: set[str], version: int | None = None) -> dict[str, Any]:
        """The rows of ``lift docs ls`` for keys, once all of them have ended."""
        # In this process: a command a second would take a core from the stack.
        registry = AdapterRegistry.from_settings(Settings(_env_file=self.home / "stack.env"))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            found = [row for row in registry.documents() if row.key in keys and row.state in ENDED]
            if len([row for row in found if version in (None, row.version)]) == len(keys):
                return {row["key"]: row for row in self.json("docs", "ls") if row["key"] in keys}
            if time.monotonic() > deadline:
                pytest.fail(f"still waiting after {PATIENCE_SECONDS} s: {found}")
            time.sleep(0.5)

    def processes(self) -> list[psutil.Process]:
        """Every process that was started with this home in its environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("LIFT_HOME") == str(self.home) and process.pid != os.getpid():
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found


@pytest.fixture(scope="session")
def lift(tmp_path_factory: pytest.TempPathFactory):
    """The stack as `make demo` leaves it: started by the demo itself."""
    lift = Lift(tmp_path_factory.mktemp("e2e") / "home")
    lift.demo = lift.run("demo", check=False)
    yield lift
    lift.run("down")
    left = [process for process in lift.processes() if process.status() != psutil.STATUS_ZOMBIE]
    assert not left, f"`lift down` left processes: {left}"


@pytest.fixture(scope="session")
def services(lift):
    """Addresses and keys, as a user reads them from ``lift status``."""
    return json.loads(lift.run("status", "--json", "--show-secrets").stdout)


@pytest.fixture(scope="session")
def minio_client(services):
    from minio import Minio

    s3 = services["s3"]
    return Minio(s3["endpoint"], s3["access_key"], s3["secret_key"], secure=False, region="us-east-1")


@pytest.fixture(scope="session")
def boto3_client(services):
    import boto3

    s3 = services["s3"]
    return boto3.client(
        "s3",
        endpoint_url=f"http://{s3['endpoint']}",
        aws_access_key_id=s3["access_key"],
        aws_secret_access_key=s3["secret_key"],
        region_name="us-east-1",
    )


@pytest.fixture(scope="session")
def airflow(services):
    """A client of Airflow's API that is logged in."""
    import httpx

    with httpx.Client(base_url=services["airflow"]["url"], trust_env=False, timeout=60) as client:
        known = {"username": services["airflow"]["user"], "password": services["airflow"]["password"]}
        token = client.post("/auth/token", json=known).raise_for_status().json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


@pytest.fixture(scope="session")
def tiny_model(lift):
    """The random-weights model that the `smoke` recipe trains."""
    from lift_core.training.tiny_model import make_tiny_model

    folder = lift.home / "models" / "tiny-random"
    make_tiny_model(folder)
    return folder
