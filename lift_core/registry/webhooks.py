"""Webhooks and their deliveries: who wants to hear of events, and who has heard of which.

The rows of ``deliveries`` are written by a trigger, in the transaction of the event: what was committed is
delivered, nothing else is. A deliverer takes a delivery for a short while (its lease), posts it outside of
any transaction and says what came of it; one that dies in between leaves it to be taken again.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import SecretStr
from sqlalchemy import Connection, Row, text

from lift_core.errors import LiftError, NotFoundError, StateError
from lift_core.records import Event, Record
from lift_core.registry.database import Database, one, rows
from lift_core.registry.webhook_rules import (
    MAX_AGE_HOURS,
    MAX_ATTEMPTS,
    check_kinds,
    check_url,
    new_secret,
    retry_seconds,
    secret_key,
)

LEASE_SECONDS = 30
"""So long a delivery belongs to the deliverer that took it; three times what a POST may take."""
HOLDS_UP = 8
"""A delivery keeps later ones of its webhook waiting until it has failed so often, some ten minutes."""

_LAST_EVENT = 2**63 - 1
_PENDING = "delivered_at IS NULL AND given_up_at IS NULL"
_WEBHOOK = f"""
    SELECT w.id, w.url, w.kinds, w.active, w.created_at,
        (SELECT count(*) FROM deliveries d WHERE d.webhook_id = w.id AND {_PENDING}) AS waiting,
        (SELECT count(*) FROM deliveries d WHERE d.webhook_id = w.id AND given_up_at IS NOT NULL) AS given_up
    FROM webhooks w
"""  # noqa: S608 - built from constants
_DELIVERY = """
    SELECT d.event_id AS event, e.kind, e.subject, e.at, d.attempts, d.delivered_at, d.given_up_at,
        CASE WHEN d.delivered_at IS NOT NULL THEN 'delivered' WHEN d.given_up_at IS NOT NULL THEN 'given up'
            ELSE 'waiting' END AS state,
        CASE WHEN d.delivered_at IS NULL AND d.given_up_at IS NULL THEN d.next_at END AS next_at,
        d.last_error
    FROM deliveries d JOIN events e ON e.id = d.event_id
"""
# One delivery a webhook: the oldest that is due, none beyond the first that still holds up what comes after
# it. So at most one of those is under way; others that are taken have given way.
_TAKE = f"""
    WITH due AS (
        SELECT next.webhook_id, next.event_id FROM webhooks w CROSS JOIN LATERAL (
            SELECT d.webhook_id, d.event_id, d.next_at FROM deliveries d
            WHERE d.webhook_id = w.id AND {_PENDING} AND d.next_at <= now()
                AND d.event_id <= coalesce((SELECT min(first.event_id) FROM deliveries first
                    WHERE first.webhook_id = w.id AND {_PENDING} AND first.attempts < :holds_up),
                    {_LAST_EVENT})
            ORDER BY d.event_id LIMIT 1 FOR UPDATE SKIP LOCKED
        ) next WHERE w.active ORDER BY next.next_at LIMIT :limit
    )
    UPDATE deliveries d SET attempts = d.attempts + 1, next_at = now() + make_interval(secs => :lease)
    FROM due JOIN webhooks w ON w.id = due.webhook_id JOIN events e ON e.id = due.event_id
    WHERE d.webhook_id = due.webhook_id AND d.event_id = due.event_id
    RETURNING d.attempts, w.id AS webhook, w.url, w.secret, e.id, e.at, e.kind, e.subject, e.detail
"""  # noqa: S608 - built from constants
_FAILED = f"""
    UPDATE deliveries d SET last_error = :reason,
        next_at = clock_timestamp() + make_interval(secs => :wait),
        given_up_at = CASE WHEN :gone OR d.attempts >= :most
            OR e.at < now() - make_interval(hours => :hours) THEN clock_timestamp() END
    FROM events e
    WHERE e.id = d.event_id AND d.webhook_id = :w AND d.event_id = :e AND d.attempts = :attempt AND {_PENDING}
"""  # noqa: S608 - built from constants
# What is due within a lease from now may be under way, or soon is: it is left alone.
_DUE_AGAIN = f"""
    UPDATE deliveries SET next_at = now() WHERE webhook_id = :w AND {_PENDING} AND attempts >= :holds_up
        AND next_at > now() + make_interval(secs => :lease)
"""  # noqa: S608 - built from constants


class WebhookRecord(Record):
    """A line of ``lift webhooks ls``. No ``kinds`` are all kinds; one that is not active gets nothing."""

    id: int
    url: str
    kinds: tuple[str, ...]
    active: bool
    created_at: datetime
    waiting: int
    """Deliveries that are still to be made."""
    given_up: int


class WebhookTarget(Record):
    """Where a webhook's events are posted to, and what signs them."""

    id: int
    url: str
    secret: SecretStr


class DueDelivery(Record):
    """An event that whoever holds this posts now; ``attempt`` counts from 1."""

    target: WebhookTarget
    event: Event
    attempt: int


class DeliveryRecord(Record):
    """What became of one event for one webhook."""

    event: int
    kind: str
    subject: str
    at: datetime
    state: Literal["waiting", "delivered", "given up"]
    attempts: int
    next_at: datetime | None
    delivered_at: datetime | None
    given_up_at: datetime | None
    last_error: str | None


class Webhooks(Database):
    """Webhooks are added and removed; deliveries are taken, and end as delivered or given up."""

    def add_webhook(
        self,
        url: str,
        kinds: Collection[str] = (),
        secret: SecretStr | None = None,
        *,
        insecure: bool = False,
    ) -> tuple[WebhookRecord, SecretStr]:
        """Post the events of these kinds (none given: all) to a URL from now on.

        Returns the webhook and its signing secret, which nothing shows again. ``insecure`` allows plain
        http beyond this machine.

        Raises:
            LiftError: the URL, a kind or the secret is not allowed, or the URL has a webhook already.
        """
        check_url(url, insecure=insecure)
        wanted = check_kinds(kinds)
        secret = secret or new_secret()
        secret_key(secret)
        with self.transaction() as connection:
            made = one(
                connection,
                "INSERT INTO webhooks (url, secret, kinds) VALUES (:url, :secret, :kinds) "
                "ON CONFLICT (url) DO NOTHING RETURNING id",
                url=url,
                secret=secret.get_secret_value(),
                kinds=list(wanted),
            )
            if made is None:
                raise LiftError(
                    "there is a webhook with this URL already; see `lift webhooks ls`, and remove it first "
                    "to change its kinds or its secret"
                )
            return _webhook(connection, made.id), secret

    def webhooks(self) -> list[WebhookRecord]:
        """All webhooks, oldest first."""
        with self.transaction() as connection:
            found = rows(connection, f"{_WEBHOOK} ORDER BY w.id")
        return [WebhookRecord.model_validate(dict(row._mapping)) for row in found]

    def webhook(self, webhook: int) -> WebhookRecord:
        """One webhook.

        Raises:
            NotFoundError: there is none of that number.
        """
        with self.transaction() as connection:
            return _webhook(connection, webhook)

    def webhook_target(self, webhook: int) -> WebhookTarget:
        """Where to post, with the signing secret.

        Raises:
            NotFoundError: there is no such webhook.
        """
        with self.transaction() as connection:
            found = one(connection, "SELECT id, url, secret FROM webhooks WHERE id = :w", w=webhook)
        if found is None:
            raise _no_webhook(webhook)
        return WebhookTarget.model_validate(dict(found._mapping))

    def remove_webhook(self, webhook: int) -> None:
        """Forget a webhook and its deliveries; what waits is not delivered any more.

        Raises:
            NotFoundError: there is no such webhook.
        """
        with self.transaction() as connection:
            if one(connection, "DELETE FROM webhooks WHERE id = :w RETURNING id", w=webhook) is None:
                raise _no_webhook(webhook)

    def deliveries(self, webhook: int, limit: int = 100) -> list[DeliveryRecord]:
        """What became of a webhook's events, newest event first.

        Raises:
            NotFoundError: there is no such webhook.
        """
        with self.transaction() as connection:
            _webhook(connection, webhook)
            found = rows(
                connection,
                f"{_DELIVERY} WHERE d.webhook_id = :w ORDER BY d.event_id DESC LIMIT :n",
                {"w": webhook, "n": limit},
            )
        return [DeliveryRecord.model_validate(dict(row._mapping)) for row in found]

    def redeliver(self, webhook: int, event: int) -> DeliveryRecord:
        """Deliver an event once more, or one from before the webhook was there, with all its attempts.

        Raises:
            NotFoundError: there is no such webhook or event.
            StateError: the webhook is disabled.
        """
        with self.transaction() as connection:
            if not _webhook(connection, webhook).active:
                raise StateError(
                    f"webhook {webhook} is disabled, its receiver said 410 Gone: remove it and add it again"
                )
            if one(connection, "SELECT 1 FROM events WHERE id = :e", e=event) is None:
                raise NotFoundError(f"there is no event {event}; see `lift webhooks show {webhook}`")
            connection.execute(
                text(
                    "INSERT INTO deliveries (webhook_id, event_id) VALUES (:w, :e) "
                    "ON CONFLICT (webhook_id, event_id) DO UPDATE SET attempts = 0, last_error = NULL, "
                    "next_at = clock_timestamp(), delivered_at = NULL, given_up_at = NULL"
                ),
                {"w": webhook, "e": event},
            )
            return _delivery(connection, webhook, event)

    # --- for deliverers -----------------------------------------------------------------

    def take_deliveries(self, limit: int) -> list[DueDelivery]:
        """Take up to ``limit`` deliveries that are due, one a webhook; they are the caller's for the lease.

        Whoever takes them says within ``LEASE_SECONDS`` what came of each; otherwise another takes it.
        """
        with self.transaction() as connection:
            found = rows(connection, _TAKE, {"holds_up": HOLDS_UP, "lease": LEASE_SECONDS, "limit": limit})
        return [_due(row) for row in found]

    def record_delivered(self, delivery: DueDelivery) -> None:
        """The receiver took it.

        If it had failed before, the receiver was away and is back: what gave way meanwhile is due now.
        """
        with self.transaction() as connection:
            connection.execute(
                text(
                    "UPDATE deliveries SET delivered_at = clock_timestamp(), given_up_at = NULL, "
                    "last_error = NULL WHERE webhook_id = :w AND event_id = :e"
                ),
                _keys(delivery),
            )
            if delivery.attempt > 1:
                connection.execute(
                    text(_DUE_AGAIN),
                    {"w": delivery.target.id, "holds_up": HOLDS_UP, "lease": LEASE_SECONDS},
                )

    def record_failed(
        self, delivery: DueDelivery, reason: str, *, gone: bool = False
    ) -> DeliveryRecord | None:
        """The receiver did not take it: it is due again later, or is given up.

        Given up is what was tried ``MAX_ATTEMPTS`` times or is older than ``MAX_AGE_HOURS``. ``gone``: the
        receiver wants no more; the webhook is disabled. Returns how it stands; None if it was removed.
        Nothing is changed where another deliverer has taken it meanwhile.
        """
        wait = retry_seconds(delivery.attempt, random.SystemRandom().random())
        with self.transaction() as connection:
            ended = connection.execute(
                text(_FAILED),
                _keys(delivery)
                | {"reason": reason, "wait": wait, "gone": gone, "attempt": delivery.attempt}
                | {"most": MAX_ATTEMPTS, "hours": MAX_AGE_HOURS},
            )
            if gone and ended.rowcount:
                connection.execute(
                    text("UPDATE webhooks SET active = false WHERE id = :w"), {"w": delivery.target.id}
                )
            found = rows(
                connection, f"{_DELIVERY} WHERE d.webhook_id = :w AND d.event_id = :e", _keys(delivery)
            )
        return DeliveryRecord.model_validate(dict(found[0]._mapping)) if found else None

    def forget_deliveries(self, older_than: timedelta) -> int:
        """Drop deliveries that arrived or were given up so long ago; how many. Their events stay."""
        with self.transaction() as connection:
            gone = connection.execute(
                text(
                    "DELETE FROM deliveries WHERE coalesce(delivered_at, given_up_at) "
                    "< clock_timestamp() - make_interval(secs => :seconds)"
                ),
                {"seconds": older_than.total_seconds()},
            )
        return gone.rowcount


def _webhook(connection: Connection, webhook: int) -> WebhookRecord:
    found = one(connection, f"{_WEBHOOK} WHERE w.id = :w", w=webhook)
    if found is None:
        raise _no_webhook(webhook)
    return WebhookRecord.model_validate(dict(found._mapping))


def _delivery(connection: Connection, webhook: int, event: int) -> DeliveryRecord:
    [found] = rows(
        connection, f"{_DELIVERY} WHERE d.webhook_id = :w AND d.event_id = :e", {"w": webhook, "e": event}
    )
    return DeliveryRecord.model_validate(dict(found._mapping))


def _due(row: Row[Any]) -> DueDelivery:
    return DueDelivery(
        target=WebhookTarget(id=row.webhook, url=row.url, secret=row.secret),
        event=Event(id=row.id, at=row.at, kind=row.kind, subject=row.subject, detail=row.detail),
        attempt=row.attempts,
    )


def _keys(delivery: DueDelivery) -> dict[str, Any]:
    return {"w": delivery.target.id, "e": delivery.event.id}


def _no_webhook(webhook: int) -> NotFoundError:
    return NotFoundError(f"there is no webhook {webhook}; see `lift webhooks ls`")
