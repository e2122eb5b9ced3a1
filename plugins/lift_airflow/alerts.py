"""Alerts through Airflow's own notifiers, any provider's: runs that failed, documents that are late.

``[lift] notifiers`` in Airflow's configuration names them, as JSON::

    [{"notifier": "airflow.providers.slack.notifications.slack.SlackNotifier",
      "kwargs": {"slack_conn_id": "slack", "text": "{{ lift.document }}: {{ lift.reason }}"}}]

Credentials belong into an Airflow connection that the arguments name. Arguments that the notifier templates
see Airflow's context, and in it ``lift``: alert, document, run, version, state, reason, waits_for, url.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import structlog
from airflow.configuration import conf
from airflow.sdk import BaseNotifier

from lift_core.settings import get_settings

if TYPE_CHECKING:
    from lift_core.records import JobAlert
    from lift_core.registry import AdapterRegistry

_OVER = ("done", "cancelled")
_log: Any = structlog.get_logger("lift")


def notify_failure(context: Any) -> None:
    """Tell people that a run of ``lift_document`` failed, and why; once a run, not once a task.

    A run that failed in Airflow while another attempt did its job, or whose job was cancelled, is no news.
    """
    made = notifiers()
    if not made:
        return
    alert = _registry().job_alert(context["run_id"])
    if alert.state not in _OVER:
        _tell(made, "failed", alert, context)


def watch_deadlines(context: Any) -> list[str]:
    """Record the documents that are late (LIFT_DEADLINE_MINUTES), each once, and tell people of them.

    Killed after it told and before it noted so, it tells again: rather twice than never. Returns their runs.
    """
    registry = _registry()
    for alert in registry.notice_late(get_settings().deadline_minutes):
        _log.warning("late", document=alert.document, version=alert.version, run=alert.run, state=alert.state)
    made = notifiers()
    untold = registry.late_untold()
    for alert in untold:
        _tell(made, "late", alert, context)
        registry.late_told(alert.job_id)
    return [alert.run for alert in untold]


def notifiers() -> list[Callable[[], BaseNotifier]]:
    """What makes each notifier that the configuration names; none by default.

    Raises:
        ValueError: the configuration does not read as one; the message does not repeat its arguments.
    """
    try:
        named = json.loads(conf.get("lift", "notifiers", fallback="[]"))
        return [_maker(each["notifier"], each.get("kwargs", {})) for each in named]
    except (KeyError, TypeError, AttributeError, ValueError, ImportError) as error:
        raise ValueError(
            "[lift] notifiers in Airflow's configuration must be a JSON list of "
            f'{{"notifier": "path.of.a.Notifier", "kwargs": {{…}}}}: {error}'
        ) from error


def _maker(path: str, arguments: dict[str, Any]) -> Callable[[], BaseNotifier]:
    found = pkgutil.resolve_name(path)
    if not (isinstance(found, type) and issubclass(found, BaseNotifier)):
        raise TypeError(f"{path} is no notifier")
    return lambda: found(**arguments)


def _tell(made: list[Callable[[], BaseNotifier]], what: str, alert: JobAlert, context: Any) -> None:
    """Call every notifier; one that fails does not keep the others from telling."""
    errors: list[Exception] = []
    for make in made:
        # Rendering changes a notifier, and the context gets its fields: each has its own.
        try:
            make()({**context, "lift": _body(what, alert)})
        except Exception as error:  # noqa: BLE001 - a provider's; all of them are raised below
            errors.append(error)
    if errors:
        raise ExceptionGroup(f"{len(errors)} of {len(made)} notifiers failed for run {alert.run}", errors)


def _body(what: str, alert: JobAlert) -> dict[str, Any]:
    if what == "late":
        took = f"not ready {alert.seconds / 60:.0f} minutes after it was queued"
        reason = f"{took}; {alert.waits_for or 'it is ' + alert.state}"
    else:
        reason = alert.reason or "the run failed; its tasks' logs say why"
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    url = f"{base}/lift/page#document={quote(alert.document, safe='')}"
    return {**alert.model_dump(mode="json"), "alert": what, "reason": reason, "url": url}


def _registry() -> AdapterRegistry:
    """The registry, imported when there is something to tell."""
    from lift_core.registry import AdapterRegistry

    return AdapterRegistry.from_settings(get_settings())
