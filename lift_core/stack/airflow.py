"""Airflow as four processes of its own, configured by the rendered ``airflow.cfg``."""

from __future__ import annotations

import json
import os
import shutil
import sys
from datetime import datetime
from pathlib import Path
from string import Template

from lift_core.errors import LiftError
from lift_core.stack.ports import HOST
from lift_core.stack.service import SHARED_CORES, get_json
from lift_core.stack.state import Secrets, write_private

CHECKOUT = Path(__file__).resolve().parents[2]
"""Where ``dags``, ``plugins`` and ``airflow.cfg.template`` lie."""
PARTS = {
    # service name: (words of the command, key in the health report, key of its heartbeat)
    # No log servers: they would listen on every interface, and the API server reads the same files.
    "airflow-scheduler": (
        ("scheduler", "--skip-serve-logs"),
        "scheduler",
        "latest_scheduler_heartbeat",
    ),
    "airflow-dag-processor": (("dag-processor",), "dag_processor", "latest_dag_processor_heartbeat"),
    "airflow-triggerer": (
        ("triggerer", "--skip-serve-logs"),
        "triggerer",
        "latest_triggerer_heartbeat",
    ),
}
POOLS = Path(__file__).with_name("pools.json")
"""How many documents may generate, and how many may train or prove, at once."""
_LOCAL_SETTINGS = Path(__file__).with_name("airflow_local_settings.py")


def render(home: Path, port: int, database_url: str, made: Secrets) -> None:
    """Write ``$LIFT_HOME/airflow``: airflow.cfg and the password file (both 0600), local settings.

    Raises:
        FileNotFoundError: there is no ``airflow.cfg.template``: this is not a checkout.
        LiftError: the template asks for a value that is not known here, or has a malformed ``${``.
    """
    folder = home / "airflow"
    (folder / "config").mkdir(parents=True, exist_ok=True)
    passwords = folder / "passwords.json"
    template = (CHECKOUT / "airflow.cfg.template").read_text("utf-8")
    values = {
        "DAGS_FOLDER": str(CHECKOUT / "dags"),
        "PLUGINS_FOLDER": str(CHECKOUT / "plugins"),
        "LOGS_FOLDER": str(home / "logs" / "airflow"),
        "DATABASE_URL": database_url,
        "API_PORT": str(port),
        "API_URL": f"http://{HOST}:{port}",
        "JWT_SECRET": made.jwt_secret.get_secret_value(),
        "SECRET_KEY": made.secret_key.get_secret_value(),
        "FERNET_KEY": made.fernet_key.get_secret_value(),
        "PASSWORDS_FILE": str(passwords),
    }
    # Airflow's parser reads % as the start of an interpolation.
    escaped = {name: value.replace("%", "%%") for name, value in values.items()}
    write_private(folder / "airflow.cfg", _fill_in(template, escaped))
    write_private(passwords, json.dumps({"admin": made.airflow_password.get_secret_value()}))
    shutil.copyfile(_LOCAL_SETTINGS, folder / "config" / "airflow_local_settings.py")


def _fill_in(template: str, values: dict[str, str]) -> str:
    """Replace ``${NAME}`` in every line but comments, which may speak of placeholders."""
    lines = template.splitlines(keepends=True)
    try:
        return "".join(line if line.startswith("#") else Template(line).substitute(values) for line in lines)
    except (KeyError, ValueError) as error:
        raise LiftError(f"airflow.cfg.template cannot be filled in: {error}") from error


def environment(home: Path) -> dict[str, str]:
    """Variables of every Airflow process; secrets are in the files of ``render``."""
    return {
        "AIRFLOW_HOME": str(home / "airflow"),
        "LIFT_HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        # Tasks talk to the API server on loopback; a proxy of the machine must not see that.
        "NO_PROXY": f"{HOST},localhost",
        "no_proxy": f"{HOST},localhost",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # A bar drawn into a task's log is noise, and Airflow files what goes to stderr as an error.
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TQDM_DISABLE": "1",
        **SHARED_CORES,
        "PYTHONUNBUFFERED": "1",
    }


def command(*words: str) -> tuple[str, ...]:
    """An ``airflow`` command run by this Python, whatever ``PATH`` says."""
    return (sys.executable, "-m", "airflow", *words)


def api_ready(port: int) -> bool:
    """Whether the API server answers."""
    return get_json(_health(port)) is not None


def part_ready(port: int, name: str, since: float) -> bool:
    """Whether the part has sent a heartbeat after ``since`` (seconds since the epoch).

    Its state alone is not enough: after a quick restart the last life's heartbeat still counts.
    """
    _, part, heartbeat = PARTS[name]
    report = (get_json(_health(port)) or {}).get(part) or {}
    beat: str | None = report.get(heartbeat)
    return beat is not None and datetime.fromisoformat(beat).timestamp() >= since


def _health(port: int) -> str:
    return f"http://{HOST}:{port}/api/v2/monitor/health"
