"""What the stack keeps on disk besides data: its state, its passwords, its settings file.

``stack.json``
    written by the supervisor alone: each service's state, pid, address and log;
``secrets.json`` (mode 0600)
    passwords made once by this machine;
``stack.env`` (mode 0600)
    the ``LIFT_*`` settings by which the rest of LIFT finds the services.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TextIO

from pydantic import Field, SecretStr

from lift_core.records import Record

ServiceState = Literal["waiting", "starting", "ready", "restarting", "failed", "stopped"]
StackPhase = Literal["starting", "ready", "failed", "stopping", "stopped"]


class ServiceStatus(Record):
    """One service as the supervisor last saw it; ``reason`` says why it is not ready."""

    name: str
    state: ServiceState
    pid: int | None = None
    url: str | None = None
    log: str
    reason: str | None = None
    restarts: int = 0
    task: bool = False
    """A task ends by itself and is ``ready`` once it has ended well."""

    @property
    def ok(self) -> bool:
        """Whether it answers."""
        return self.state == "ready"


class Secrets(Record):
    """The embedded stack's own passwords. They print as asterisks."""

    postgres_password: SecretStr
    lift_db_password: SecretStr
    airflow_db_password: SecretStr
    s3_access_key: SecretStr
    s3_secret_key: SecretStr
    vllm_api_key: SecretStr
    # Empty where the passwords were made before there was a gateway, until the next start.
    gateway_api_key: SecretStr = SecretStr("")
    airflow_password: SecretStr
    jwt_secret: SecretStr
    secret_key: SecretStr
    fernet_key: SecretStr


class StackStatus(Record):
    """The whole stack: what ``lift status`` prints."""

    home: Path
    phase: StackPhase
    services: tuple[ServiceStatus, ...] = ()
    ports: dict[str, int] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    supervisor_pid: int | None = None
    secrets: Secrets | None = None

    def service(self, name: str) -> ServiceStatus | None:
        """The service of that name, if it is part of this stack."""
        return next((service for service in self.services if service.name == name), None)

    @property
    def airflow_url(self) -> str | None:
        """Address of the Airflow UI, if the stack runs Airflow."""
        service = self.service("airflow-api")
        return service.url if service else None

    @property
    def airflow_password(self) -> str | None:
        """Generated password of Airflow's user ``admin``."""
        return self.secrets.airflow_password.get_secret_value() if self.secrets else None

    @property
    def failures(self) -> tuple[ServiceStatus, ...]:
        """Services that do not come up."""
        return tuple(service for service in self.services if service.state == "failed")


def load_secrets(home: Path) -> Secrets | None:
    """The passwords, or None if none were made yet."""
    path = home / "secrets.json"
    return Secrets.model_validate_json(path.read_text()) if path.is_file() else None


def ensure_secrets(home: Path) -> Secrets:
    """The passwords of this home; those that are missing are made."""
    known = load_secrets(home)
    values = {
        name: (getattr(known, name).get_secret_value() if known else "") or _new_secret(name)
        for name in Secrets.model_fields
    }
    if known is None or Secrets.model_validate(values) != known:
        write_private(home / "secrets.json", json.dumps(values, indent=1))
    return Secrets.model_validate(values)


def _new_secret(name: str) -> str:
    if name == "fernet_key":
        return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_urlsafe(
        {"jwt_secret": 64, "s3_access_key": 15, "airflow_password": 12}.get(name, 32)
    )


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file at once (readers see the old or the new one) that others cannot read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as handle:
        handle.write(text)
    new.replace(path)


def write_stack_env(home: Path, values: Mapping[str, str]) -> None:
    """Write ``stack.env``; values are single-quoted, so no shell or parser expands them."""
    lines = ["# Written by `lift up`; the embedded stack's settings. Environment variables win over it."]
    for name, value in values.items():
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"{name}='{escaped}'")
    write_private(home / "stack.env", "\n".join(lines) + "\n")


def write_status(status: StackStatus) -> None:
    """Write ``stack.json``; secrets stay out of it."""
    text = status.model_dump_json(exclude={"secrets"}, indent=1)
    write_private(status.home / "stack.json", text, mode=0o644)


def read_status(home: Path) -> StackStatus | None:
    """What the supervisor wrote last, whether or not it still runs."""
    path = home / "stack.json"
    if not path.is_file():
        return None
    body: dict[str, Any] = json.loads(path.read_text())
    return StackStatus.model_validate(body)


def take_lock(home: Path) -> TextIO | None:
    """The right to be this home's one supervisor, for as long as the file stays open; or None."""
    home.mkdir(parents=True, exist_ok=True)
    handle = (home / "stack.lock").open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    return handle


def is_supervised(home: Path) -> bool:
    """Whether a supervisor runs for this home."""
    if not (home / "stack.lock").exists():
        return False
    handle = take_lock(home)
    if handle is None:
        return True
    handle.close()
    return False
