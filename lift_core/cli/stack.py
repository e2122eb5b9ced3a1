"""``lift up``, ``down``, ``status``, ``doctor``: the embedded stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lift_core import stack
from lift_core.cli.output import json_option, print_json, print_table
from lift_core.settings import Settings, get_settings, lift_home


def start_stack(home: Path, *, with_airflow: bool = True, with_vllm: bool = True) -> stack.StackStatus:
    """Start what is not running, with one line a step; returns the stack's status."""
    status = stack.up(
        home,
        on_progress=lambda line: click.echo(line, err=True),
        with_airflow=with_airflow,
        with_vllm=with_vllm,
    )
    get_settings.cache_clear()
    return status


@click.command()
@click.option("--without-airflow", is_flag=True, help="Only PostgreSQL, S3 and vLLM, for `lift run`.")
@click.option("--without-vllm", is_flag=True, help="No model servers.")
def up(without_airflow: bool, without_vllm: bool) -> None:
    """Start the embedded stack and wait until it is ready.

    Services that LIFT_* settings name (your own vLLM, S3 or PostgreSQL) are used, not started.

    \b
    Example:
      lift up
    """
    status = start_stack(lift_home(), with_airflow=not without_airflow, with_vllm=not without_vllm)
    show_status(status)


@click.command()
def down() -> None:
    """Stop the embedded stack; no process stays, the data does.

    \b
    Example:
      lift down
    """
    stack.down(lift_home(), on_progress=lambda line: click.echo(line, err=True))


@click.command()
@click.option("--show-secrets", is_flag=True, help="Add the embedded stack's own passwords and keys.")
@json_option
def status(show_secrets: bool, as_json: bool) -> None:
    """Show the services, their state and their addresses.

    \b
    Example:
      lift status --json --show-secrets
    """
    seen = stack.status(lift_home())
    if as_json:
        print_json(status_body(seen, get_settings(), show_secrets))
        return
    show_status(seen)
    if show_secrets:
        for service, values in secret_values(seen, get_settings()).items():
            for name, value in values.items():
                click.echo(f"{service}.{name}: {value}")


def show_status(seen: stack.StackStatus) -> None:
    """The table of services."""
    print_table(
        ("service", "state", "address", "log"),
        [(each.name, each.state, each.url, each.log) for each in seen.services],
        title=f"stack: {seen.phase}",
    )


def status_body(seen: stack.StackStatus, settings: Settings, show_secrets: bool) -> dict[str, Any]:
    """The stable JSON form of the stack's status."""
    from sqlalchemy.engine import make_url

    database = settings.database_url.get_secret_value()
    url = make_url(database) if database else None
    airflow = next((each.url for each in seen.services if each.name == "airflow-api"), None)
    body: dict[str, Any] = {
        "services": [{"name": each.name, "state": each.state, "url": each.url} for each in seen.services],
        "airflow": {"url": airflow},
        "s3": {"endpoint": settings.s3_endpoint or None, "bucket": settings.documents_bucket},
        "postgres": {
            "host": url.host if url else None,
            "port": url.port if url else None,
            "database": url.database if url else None,
        },
        "gateway": {"url": settings.gateway_url or None},
        "vllm": {"url": settings.serving_url or None},
    }
    if show_secrets:
        for service, values in secret_values(seen, settings).items():
            body[service].update(values)
    return body


def secret_values(seen: stack.StackStatus, settings: Settings) -> dict[str, dict[str, str | None]]:
    """Passwords and keys of the stack, for who may read its 0600 files anyway."""
    from sqlalchemy.engine import make_url

    database = settings.database_url.get_secret_value()
    url = make_url(database) if database else None
    made = seen.secrets
    return {
        "airflow": {"user": "admin", "password": made.airflow_password.get_secret_value() if made else None},
        "s3": {
            "access_key": settings.s3_access_key.get_secret_value(),
            "secret_key": settings.s3_secret_key.get_secret_value(),
        },
        "postgres": {"user": url.username if url else None, "password": url.password if url else None},
        "gateway": {"api_key": settings.gateway_api_key.get_secret_value()},
    }


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Name what is missing or broken, and the remedy.

    \b
    Example:
      lift doctor
    """
    from lift_core.stack.doctor import checks

    found = checks(lift_home())
    if as_json:
        print_json([check.model_dump(mode="json") for check in found])
    else:
        for check in found:
            click.echo(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}")
            if check.remedy:
                click.echo(f"     remedy: {check.remedy}")
    if not all(check.ok for check in found):
        raise SystemExit(1)
