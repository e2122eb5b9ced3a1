"""``lift serve``: the gateway, and what the serving engines behind it hold."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import click

from lift_core.cli.output import json_option, print_json, print_table
from lift_core.serving import GatewayClient
from lift_core.serving.gateway.status import ReplicaStatus
from lift_core.settings import get_settings

_STOP_SECONDS = 10
_SHOWN_NAMES = 5


@click.group()
def serve() -> None:
    """Run the gateway, and see what the serving engines behind it hold.

    \b
    Example:
      lift serve gateway
      lift serve status
    """


@serve.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8800, show_default=True)
@click.option("--allow-remote", is_flag=True, help="Let --host be reached from other machines.")
@click.option(
    "--max-resident",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Adapters that a serving engine may hold; the least recently used are unloaded.",
)
@click.option(
    "--allow-prompt-logprobs",
    is_flag=True,
    help="Let log-probabilities of the prompt through: vLLM's CPU engine ends over them.",
)
def gateway(host: str, port: int, allow_remote: bool, max_resident: int, allow_prompt_logprobs: bool) -> None:
    """Answer OpenAI's API for adapters, by name or alias, until TERM or INT.

    Clients send a key of LIFT_GATEWAY_API_KEY; the serving engines are those of LIFT_SERVING_URL. It speaks
    plain HTTP: before other machines may reach it, put a server in front that speaks TLS.

    \b
    Example:
      lift serve gateway --port 8800
    """
    import uvicorn

    from lift_core.log import configure
    from lift_core.serving.gateway.app import app_from_settings

    if not allow_remote and not _is_loopback(host):
        raise click.UsageError(
            f"{host} can be reached from other machines, and keys would cross the network in plain text: "
            "say --allow-remote if that is meant"
        )
    settings = get_settings()
    configure(settings.log_format)
    app = app_from_settings(
        settings, refuse_prompt_logprobs=not allow_prompt_logprobs, max_resident=max_resident
    )
    # The gateway logs each answer itself, with the adapter that gave it.
    uvicorn.run(
        app,
        host=host,
        port=port,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )


@serve.command()
@json_option
def status(as_json: bool) -> None:
    """Show what each serving engine holds, what lies in its cache, and how often that helped.

    \b
    Example:
      lift serve status --json
    """
    found = GatewayClient(get_settings()).status()
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    print_table(
        ("replica", "healthy", "base", "resident", "cached", "in flight", "hits/cold", "errors"),
        [_row(replica) for replica in found.replicas],
        title=f"gateway {found.version}: at most {found.max_resident} adapters a replica",
    )
    for replica in found.replicas:
        if replica.problem:
            click.echo(f"{replica.url}: {replica.problem}")


def _row(replica: ReplicaStatus) -> tuple[object, ...]:
    return (
        urlsplit(replica.url).netloc,
        "yes" if replica.healthy else "no",
        ", ".join(replica.base_models) or None,
        _names(replica.resident),
        _cached(replica),
        replica.in_flight,
        f"{replica.hits}/{replica.cold}",
        replica.errors,
    )


def _names(names: tuple[str, ...]) -> str | None:
    more = [f"and {len(names) - _SHOWN_NAMES} more"] if len(names) > _SHOWN_NAMES else []
    return "\n".join([*names[:_SHOWN_NAMES], *more]) or None


def _cached(replica: ReplicaStatus) -> str | None:
    """Number and size of the copies on the replica's disk; None where it does not tell."""
    if replica.adapters is None:
        return None
    copies = replica.adapters["cached"]
    return f"{len(copies)} ({sum(copy['bytes'] for copy in copies) / 2**20:.0f} MiB)"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
