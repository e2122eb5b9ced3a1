"""Which services this machine needs, given what the user runs already.

A service that the environment names is the user's own and is not started:

=======================  ==========================================
variable                 what it stands for
=======================  ==========================================
LIFT_DATABASE_URL        the registry's PostgreSQL
LIFT_AIRFLOW_DATABASE_URL  Airflow's metadata; not set: an embedded PostgreSQL
LIFT_S3_ENDPOINT         the object store
LIFT_GENERATOR_URL       the model that writes pairs
LIFT_SERVING_URL         the vLLM servers of the adapters
LIFT_GATEWAY_URL         the gateway that clients ask
=======================  ==========================================
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from lift_core.recipes import load_recipe
from lift_core.settings import Settings
from lift_core.stack import airflow, postgres, seaweedfs, vllm
from lift_core.stack.models import GENERATOR_NAME
from lift_core.stack.ports import HOST, PortClaims, choose_ports, is_free
from lift_core.stack.service import HOME_MARK, Service, get_json
from lift_core.stack.state import Secrets, ensure_secrets, read_status, write_stack_env

Plan = tuple[list[Service], dict[str, int], list[str]]
_MIGRATE_SECONDS = 300.0
_VLLM_SECONDS = 600.0
"""Two servers that start side by side on two busy cores take minutes."""
_AIRFLOW_SECONDS = 600.0
"""On a machine with much other work a scheduler took more than three minutes; ended, it begins anew."""
EMBEDDED_RECIPE = "embedded"
_EMBEDDED_GUARD = {
    # A model of 135M parameters gives way more than a large one, and two cores ask few items: the figures are
    # in docs/forgetting-guard.md. The environment wins over these.
    "LIFT_EVALUATION_MARGINS": '{"mmlu.log-likelihood": 0.5, "gsm8k.log-likelihood": 0.5}',
    "LIFT_EVALUATION_ITEMS": "128",
    "LIFT_EVALUATION_MAX_ITEMS": "256",
}


def make_plan(
    home: Path, with_airflow: bool = True, with_vllm: bool = True, claims: PortClaims | None = None
) -> Plan:
    """Services in start order, their ports, and what the user should be told about them.

    ``claims`` hold the ports for as long as the services run. Writes ``secrets.json`` and ``stack.env``. Only
    for the supervisor that holds the lock.
    """
    known = read_status(home)
    own = Settings(home=home)  # from the environment alone: what the user names is not started
    ports, notes = choose_ports(known.ports if known else {}, own.port_offset, claims)
    made = ensure_secrets(home)
    airflow_url = os.environ.get("LIFT_AIRFLOW_DATABASE_URL", "")
    services: list[Service] = []
    needed: list[str] = []
    if not own.database_url.get_secret_value() or (with_airflow and not airflow_url):
        services.append(_postgres(home, ports["postgres"], made))
        needed.append("postgres")
    if not own.s3_endpoint:
        services.append(_s3(home, ports, made))
        needed.append("s3")
    services.append(_setup(tuple(needed)))
    if with_vllm:
        services += _vllm(home, ports, made, own)
        if not own.gateway_url:
            services.append(_gateway(ports["gateway"]))
    if with_airflow or with_vllm:
        services.append(_webhooks())
    if with_airflow:
        url = airflow_url or postgres.url(
            "airflow", made.airflow_db_password.get_secret_value(), ports["postgres"], "airflow"
        )
        services += _airflow(home, ports["airflow"], url, made)
    values = stack_env(own, ports, made)
    if with_airflow:
        values["LIFT_AIRFLOW_URL"] = own.airflow_url or f"http://{HOST}:{ports['airflow']}"
    write_stack_env(home, values)
    used = {name: port for name, port in ports.items() if _uses(services, name)}
    marked = [replace(each, environment=_inherited(home) | dict(each.environment)) for each in services]
    return marked, used, [note for note in notes if any(f" {name} " in note for name in used)]


def stack_env(own: Settings, ports: dict[str, int], made: Secrets) -> dict[str, str]:
    """The ``LIFT_*`` settings of this stack: the user's own services where named, else the embedded."""
    values: dict[str, str] = {}
    database = own.database_url.get_secret_value()
    values["LIFT_DATABASE_URL"] = database or postgres.url(
        "lift", made.lift_db_password.get_secret_value(), ports["postgres"], "lift"
    )
    own_s3 = bool(own.s3_endpoint)
    access, secret = (
        (own.s3_access_key, own.s3_secret_key) if own_s3 else (made.s3_access_key, made.s3_secret_key)
    )
    values["LIFT_S3_ENDPOINT"] = own.s3_endpoint or f"{HOST}:{ports['s3']}"
    values["LIFT_S3_ACCESS_KEY"] = access.get_secret_value()
    values["LIFT_S3_SECRET_KEY"] = secret.get_secret_value()
    values["LIFT_S3_SECURE"] = str(own.s3_secure).lower() if own_s3 else "false"
    values["LIFT_S3_REGION"] = own.s3_region
    for role, url, key in (
        ("generator", own.generator_url, own.generator_api_key),
        ("serving", own.serving_url, own.serving_api_key),
    ):
        name = role.upper()
        values[f"LIFT_{name}_URL"] = url or f"http://{HOST}:{ports[f'vllm-{role}']}/v1"
        values[f"LIFT_{name}_API_KEY"] = (key if url else made.vllm_api_key).get_secret_value()
    gateway_key = own.gateway_api_key if own.gateway_url else made.gateway_api_key
    values["LIFT_GATEWAY_URL"] = own.gateway_url or f"http://{HOST}:{ports['gateway']}/v1"
    values["LIFT_GATEWAY_API_KEY"] = gateway_key.get_secret_value()
    if own.recipe == EMBEDDED_RECIPE:
        values |= _EMBEDDED_GUARD
        if vllm.precision() == "float32":
            # What is slow for the servers is slow for the guard's own engine.
            values["LIFT_EVALUATION_PRECISION"] = "fp32"
    return values


def _postgres(home: Path, port: int, made: Secrets) -> Service:
    import psycopg2  # type: ignore[import-untyped]

    data = home / "postgres"

    def ready(_: float) -> bool:
        try:
            postgres.create_databases(port, made)
        except psycopg2.OperationalError:
            return False
        return True

    return Service(
        name="postgres",
        command=tuple(postgres.command(data, port)),
        environment={},
        prepare=lambda: postgres.prepare(data, made.postgres_password.get_secret_value()),
        ready=ready,
        url=f"postgresql://{HOST}:{port}",
        stop_signal=postgres.STOP_SIGNAL,
        user=postgres.run_as,
        folder=data,
        start_seconds=60,
    )


def _s3(home: Path, ports: dict[str, int], made: Secrets) -> Service:
    data = home / "s3"
    access, secret = made.s3_access_key.get_secret_value(), made.s3_secret_key.get_secret_value()
    return Service(
        name="s3",
        command=tuple(seaweedfs.weed_command(data, ports)),
        environment=seaweedfs.weed_environment(access, secret),
        prepare=lambda: data.mkdir(parents=True, exist_ok=True),
        # It listens; whether it also takes writes is the `setup` task's to find out, as that can
        # take long after a kill and the supervisor must not wait.
        ready=lambda _: not is_free(ports["s3"]),
        url=f"http://{HOST}:{ports['s3']}",
        folder=data,
        start_seconds=60,
    )


def _setup(after: tuple[str, ...]) -> Service:
    return Service(
        name="setup",
        command=(sys.executable, "-m", "lift_core.stack.setup_task"),
        environment={},
        after=after,
        task=True,
    )


def _vllm(home: Path, ports: dict[str, int], made: Secrets, own: Settings) -> list[Service]:
    recipe = load_recipe(own.recipe)
    servers = [
        ("generator", own.generator_url, home / "models" / GENERATOR_NAME, None),
        ("serving", own.serving_url, own.models / recipe.base_model, recipe.lora.rank),
    ]
    services = []
    for role, url, model, rank in servers:
        if url:
            continue
        port = ports[f"vllm-{role}"]
        compiled = home / "compiled" / role
        key = made.vllm_api_key.get_secret_value()
        services.append(
            Service(
                name=f"vllm-{role}",
                command=vllm.command(model, port, rank, gpu_share=own.vllm_gpu_share),
                environment=vllm.environment(key, compiled, adapters=rank is not None),
                prepare=partial(vllm.drop_compiled, compiled),
                ready=partial(vllm.ready, port),
                url=f"http://{HOST}:{port}/v1",
                start_seconds=_VLLM_SECONDS,
            )
        )
    return services


def _gateway(port: int) -> Service:
    return Service(
        name="gateway",
        command=(sys.executable, "-m", "lift_core.cli", "serve", "gateway", "--port", str(port)),
        environment={},
        ready=lambda _: get_json(f"http://{HOST}:{port}/health") is not None,
        # It looks every name up in the registry.
        after=("setup",),
        url=f"http://{HOST}:{port}/v1",
    )


def _webhooks() -> Service:
    return Service(
        name="webhooks",
        command=(sys.executable, "-m", "lift_core.cli", "webhooks", "deliver"),
        environment={},
        after=("setup",),
    )


def _airflow(home: Path, port: int, database_url: str, made: Secrets) -> list[Service]:
    environment = airflow.environment(home)
    metadata = () if "LIFT_AIRFLOW_DATABASE_URL" in os.environ else ("postgres",)
    migrate = Service(
        name="airflow-migrate",
        command=airflow.command("db", "migrate"),
        environment=environment,
        prepare=lambda: airflow.render(home, port, database_url, made),
        after=metadata,
        task=True,
        start_seconds=_MIGRATE_SECONDS,
    )
    pools = Service(
        name="airflow-pools",
        command=airflow.command("pools", "import", str(airflow.POOLS)),
        environment=environment,
        after=("airflow-migrate",),
        task=True,
        start_seconds=_MIGRATE_SECONDS,
    )
    api = Service(
        name="airflow-api",
        command=airflow.command("api-server"),
        environment=environment,
        ready=lambda _: airflow.api_ready(port),
        after=("airflow-migrate",),
        url=f"http://{HOST}:{port}",
        start_seconds=_AIRFLOW_SECONDS,
    )
    parts = [
        Service(
            name=name,
            command=airflow.command(*words),
            environment=environment,
            ready=partial(airflow.part_ready, port, name),
            # DAGs look into the buckets and the registry as soon as they run.
            after=("airflow-migrate", "airflow-pools", "setup"),
            start_seconds=_AIRFLOW_SECONDS,
        )
        for name, (words, _, _) in airflow.PARTS.items()
    ]
    return [migrate, pools, api, *parts]


def _inherited(home: Path) -> dict[str, str]:
    return dict(os.environ) | {"LIFT_HOME": str(home), HOME_MARK: str(home)}


def _uses(services: list[Service], port_name: str) -> bool:
    kind = "s3" if port_name.startswith("s3") else port_name
    return any(each.name == kind or each.name.startswith(f"{kind}-") for each in services)
