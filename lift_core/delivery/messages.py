"""What is posted, in the Standard Webhooks convention: an id, a time, a body, and a signature over them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from lift_core import __version__
from lift_core.records import Event
from lift_core.registry.webhook_rules import secret_key

TRIAL_KIND = "webhook.test"


@dataclass(frozen=True)
class Message:
    """A body and the id by which the receiver tells doubles; both are the same at every attempt."""

    id: str
    body: bytes


def message_of(event: Event) -> Message:
    """The message of an event.

    Its id also holds the event's time (milliseconds): a registry that was set up anew counts its events
    from 1 again, and they must not pass for doubles of older ones.
    """
    return _message(
        f"evt_{event.id}_{int(event.at.timestamp() * 1000)}",
        event.kind,
        event.at,
        {**event.detail, "subject": event.subject},
    )


def trial_message(webhook: int) -> Message:
    """A message that tells the receiver nothing but that it is reached."""
    subject = f"webhook-{webhook}"
    return _message(f"test_{secrets.token_hex(12)}", TRIAL_KIND, datetime.now(UTC), {"subject": subject})


def headers(message: Message, secret: SecretStr, sent_at: datetime) -> dict[str, str]:
    """The headers of one attempt at ``sent_at``, with the signature.

    Raises:
        LiftError: the secret is not one.
    """
    timestamp = int(sent_at.timestamp())
    return {
        "content-type": "application/json",
        "user-agent": f"lift/{__version__}",
        "webhook-id": message.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, message, timestamp),
    }


def signature(secret: SecretStr, message: Message, timestamp: int) -> str:
    """``v1,`` and the base64 of the HMAC-SHA256 of ``id.timestamp.body``; ``timestamp`` in whole seconds.

    Raises:
        LiftError: the secret is not one.
    """
    signed = f"{message.id}.{timestamp}.".encode() + message.body
    digest = hmac.new(secret_key(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _message(message_id: str, kind: str, at: datetime, data: dict[str, Any]) -> Message:
    body = {"type": kind, "timestamp": at.astimezone(UTC).isoformat(), "data": data}
    # Sorted, so that every attempt sends the same bytes whatever the order that the database returns.
    text = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return Message(message_id, text.encode())
