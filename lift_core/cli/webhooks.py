"""``lift webhooks``: who hears of events, and the process that tells them."""

from __future__ import annotations

import asyncio
import signal
from typing import Any, TextIO

import click
from pydantic import SecretStr

from lift_core.cli.output import json_option, local_time, print_json, print_table
from lift_core.delivery import Answer, Deliverer, Message, Sender, trial_message
from lift_core.errors import LiftError
from lift_core.log import configure
from lift_core.registry.webhooks import DeliveryRecord, WebhookRecord, Webhooks, WebhookTarget
from lift_core.settings import get_settings

_CONNECTIONS = 4


def _registry(pool_size: int = 0) -> Webhooks:
    return Webhooks.from_settings(get_settings(), pool_size)


@click.group()
def webhooks() -> None:
    """Tell other programs of events: add, list, test and deliver webhooks.

    \b
    Example:
      lift webhooks add https://example.com/lift --kind adapter.active
      lift webhooks ls
    """


@webhooks.command()
@click.argument("url")
@click.option(
    "--kind", "kinds", multiple=True, help="Only this kind of event (adapter.*: all that begin so)."
)
@click.option(
    "--secret-file",
    type=click.File("r"),
    help="Sign with the secret in this file (-: stdin) instead of a new one: whsec_ and base64.",
)
@click.option("--insecure", is_flag=True, help="Allow plain http beyond this machine.")
@json_option
def add(url: str, kinds: tuple[str, ...], secret_file: TextIO | None, insecure: bool, as_json: bool) -> None:
    """Post events to URL from now on, and show the secret that signs them, once.

    \b
    Example:
      lift webhooks add https://example.com/lift --kind adapter.active --kind 'alias.*'
    """
    secret = SecretStr(secret_file.read().strip()) if secret_file else None
    made, secret = _registry().add_webhook(url, kinds, secret, insecure=insecure)
    if as_json:
        print_json({**made.model_dump(mode="json"), "secret": secret.get_secret_value()})
        return
    click.echo(f"webhook {made.id} hears of {_kinds(made)}. Try it: lift webhooks test {made.id}")
    click.echo(f"Its secret, which is not shown again: {secret.get_secret_value()}")


@webhooks.command()
@json_option
def ls(as_json: bool) -> None:
    """List the webhooks, and how many events each has yet to hear of.

    \b
    Example:
      lift webhooks ls --json
    """
    found = _registry().webhooks()
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
        return
    print_table(
        ("webhook", "url", "kinds", "state", "waiting", "given up", "created"),
        [(w.id, w.url, _kinds(w), _state(w), w.waiting, w.given_up, local_time(w.created_at)) for w in found],
    )


@webhooks.command()
@click.argument("webhook", type=int)
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="So many deliveries."
)
@json_option
def show(webhook: int, limit: int, as_json: bool) -> None:
    """Show one WEBHOOK by its number: its newest deliveries, and why one failed.

    \b
    Example:
      lift webhooks show 1
    """
    registry = _registry()
    found = registry.webhook(webhook)
    deliveries = registry.deliveries(webhook, limit)
    if as_json:
        listed = [each.model_dump(mode="json") for each in deliveries]
        print_json({**found.model_dump(mode="json"), "deliveries": listed})
        return
    click.echo(
        f"webhook {found.id}, {_state(found)}: {found.url} hears of {_kinds(found)}; "
        f"{found.waiting} waiting, {found.given_up} given up"
    )
    print_table(
        ("event", "kind", "subject", "at", "state", "attempts", "next try", "last error"),
        [_delivery_row(each) for each in deliveries],
    )


@webhooks.command()
@click.argument("webhook", type=int)
def rm(webhook: int) -> None:
    """Remove a WEBHOOK; what it has not heard of yet is not delivered any more.

    \b
    Example:
      lift webhooks rm 1
    """
    _registry().remove_webhook(webhook)
    click.echo(f"webhook {webhook} is removed")


@webhooks.command()
@click.argument("webhook", type=int)
@json_option
def test(webhook: int, as_json: bool) -> None:
    """Post a signed test event (webhook.test) to WEBHOOK now, and say what came back.

    \b
    Example:
      lift webhooks test 1
    """
    target = _registry().webhook_target(webhook)
    message = trial_message(webhook)
    answer = asyncio.run(_send(target, message))
    if as_json:
        print_json({"webhook": webhook, "id": message.id, "status": answer.status, "error": answer.reason})
    if not answer.taken:
        raise LiftError(f"webhook {webhook} did not take the test event: {answer.reason}")
    if not as_json:
        click.echo(f"webhook {webhook} took the test event {message.id}: HTTP {answer.status}")


@webhooks.command()
@click.argument("webhook", type=int)
@click.argument("event", type=int)
@json_option
def redeliver(webhook: int, event: int, as_json: bool) -> None:
    """Deliver an EVENT to WEBHOOK once more, or one from before the webhook was there.

    \b
    Example:
      lift webhooks redeliver 1 17
    """
    found = _registry().redeliver(webhook, event)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    click.echo(f"event {event} ({found.kind} of {found.subject}) is due for webhook {webhook}")


@webhooks.command()
@click.option("--once", is_flag=True, help="Deliver what is due now, then end.")
def deliver(once: bool) -> None:
    """Deliver events to the webhooks until TERM or INT; several of these may run.

    \b
    Example:
      lift webhooks deliver
    """
    configure(get_settings().log_format)
    asyncio.run(_deliver(once))


async def _deliver(once: bool) -> None:
    async with Sender() as sender:
        deliverer = Deliverer(_registry(_CONNECTIONS), sender)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, deliverer.stop)
        await deliverer.run(once=once)


async def _send(target: WebhookTarget, message: Message) -> Answer:
    async with Sender() as sender:
        return await sender.send(target, message)


def _kinds(webhook: WebhookRecord) -> str:
    return ", ".join(webhook.kinds) or "all events"


def _state(webhook: WebhookRecord) -> str:
    return "active" if webhook.active else "disabled"


def _delivery_row(found: DeliveryRecord) -> tuple[Any, ...]:
    return (
        found.event,
        found.kind,
        found.subject,
        local_time(found.at),
        found.state,
        found.attempts,
        local_time(found.next_at),
        found.last_error,
    )
