"""The registry in Airflow's API server: its REST API under ``/lift``, and a page in the navigation.

Every process of Airflow imports its plugins, the DAG processor and the workers too. Only the API server
answers requests, so the application and all that it imports are made at the first one.
"""

# Without `from __future__ import annotations`: FastAPI reads the annotations of the functions below, whose
# types are imported with them.

import base64
import hashlib
import hmac
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

    from lift_core.registry import AdapterRegistry
    from lift_core.store import ObjectStore

PREFIX = "/lift"
_PAGE = Path(__file__).with_name("registry_page.html")
_DAG = "lift_document"
_RUN = re.compile(r"([a-z0-9-]+)-v[0-9]+-[0-9a-f]{8}-g[0-9]+")
"""A run's id, which begins with its document's slug."""
_CONNECTIONS = 5


class OnDemand:
    """An ASGI application that is made when it is first asked."""

    def __init__(self) -> None:
        self._app: FastAPI | None = None

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        if self._app is None:
            self._app = protected_app()
        await self._app(scope, receive, send)


def protected_app() -> "FastAPI":
    """The registry's API and page behind Airflow's own authentication.

    Airflow asks nothing of the requests to a plugin's application: whoever reaches the server would read
    everything.
    """
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
    from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagDetails
    from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
    from airflow.models.dag import DagModel
    from fastapi import Depends, HTTPException, Request
    from fastapi.responses import HTMLResponse
    from fastapi.security import HTTPAuthorizationCredentials

    from lift_core.api import create_app
    from lift_core.api.metrics import show_metrics

    async def signed_in(
        request: Request, token: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)]
    ) -> BaseUser:
        """Airflow's user of this request, by token or by the UI's cookie."""
        try:
            return await get_user(request, None, token)
        except HTTPException as error:
            # Airflow answers 403 to what is no token of its own; but that is nobody, not a user who may not.
            raise HTTPException(401, error.detail) from error

    User = Annotated[BaseUser, Depends(signed_in)]

    async def user_or_scraper(
        request: Request, token: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)]
    ) -> BaseUser | None:
        """Airflow's user of this request; None for who reads the metrics with their own key.

        Airflow's tokens expire, and nobody signs Prometheus in again.
        """
        if request.scope["endpoint"] is show_metrics and token and _is_metrics_key(token.credentials):
            return None
        return await signed_in(request, token)

    def may_read(user: Annotated[BaseUser | None, Depends(user_or_scraper)]) -> None:
        """Whoever may see the pages of plugins may read the registry."""
        if user is None:
            return
        if not get_auth_manager().is_authorized_view(access_view=AccessView.PLUGINS, user=user):
            raise HTTPException(403, "reading the registry takes Airflow's permission to see plugins")

    def may_write(user: User) -> None:
        """Whoever may edit the DAG that makes adapters, and so decides what serves, may move them too.

        Every auth manager knows that right. With the simple one USER, OP and ADMIN have it and VIEWER has
        not; others can grant it for this DAG alone.
        """
        dag = DagDetails(id=_DAG, team_name=DagModel.get_team_name(_DAG))
        if not get_auth_manager().is_authorized_dag(method="PUT", details=dag, user=user):
            raise HTTPException(403, f"changing the registry takes Airflow's permission to edit {_DAG}")

    app = create_app(
        _registry,
        readers=[Depends(may_read)],
        writers=[Depends(may_write)],
        read_report=_read_report,
        airflow_url=_airflow_url(),
    )

    @app.get("/page", include_in_schema=False)
    def page() -> HTMLResponse:
        """The page that Airflow's navigation shows."""
        content, policy = _page()
        return HTMLResponse(content, headers={"Content-Security-Policy": policy, "Cache-Control": "no-cache"})

    return app


@lru_cache(maxsize=1)
def _registry() -> "AdapterRegistry":
    """One registry with its pool for the whole process; made after the server has forked."""
    from lift_core.registry import AdapterRegistry
    from lift_core.settings import get_settings

    return AdapterRegistry.from_settings(get_settings(), pool_size=_CONNECTIONS)


@lru_cache(maxsize=1)
def _store() -> "ObjectStore":
    """One object store with its pool of connections for the whole process, as for the registry."""
    from lift_core.settings import get_settings
    from lift_core.store import ObjectStore

    return ObjectStore.from_settings(get_settings())


def _read_report(key: str) -> bytes:
    from lift_core.settings import get_settings

    return _store().get_bytes(get_settings().work_bucket, key)


@lru_cache(maxsize=1)
def _page() -> tuple[str, str]:
    """The page, and the policy that lets a browser run its own script and style and nothing else."""
    content = _PAGE.read_text(encoding="utf-8")
    hashes = {name: _hash_of(content, name) for name in ("script", "style")}
    policy = (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
    return content, policy


def _hash_of(content: str, element: str) -> str:
    found = re.search(rf"<{element}>(.*?)</{element}>", content, re.DOTALL)
    if found is None:
        raise ValueError(f"{_PAGE.name} has no <{element}>")
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}'"


def _is_metrics_key(sent: str) -> bool:
    from lift_core.settings import get_settings

    key = get_settings().metrics_key.get_secret_value()
    return bool(key) and hmac.compare_digest(sent.encode(), key.encode())


def _airflow_url() -> str:
    """Where browsers find Airflow: what Airflow itself was told, so that its links and ours agree."""
    from airflow.configuration import conf

    return str(conf.get("api", "base_url", fallback="")).rstrip("/")


class DocumentLink(BaseOperatorLink):
    """A button at every task of a run of ``lift_document``: the document's own page."""

    name = "Document"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The page's address; empty, so that there is no button, at other tasks.

        Airflow asks for it when the task is looked at, so that it is there while the task still runs.
        """
        found = _RUN.fullmatch(ti_key.run_id) if ti_key.dag_id == _DAG else None
        return f"{_airflow_url()}{PREFIX}/page#document={quote(found[1], safe='')}" if found else ""


class RegistryPlugin(AirflowPlugin):
    """What Airflow mounts and shows."""

    name = "lift"
    fastapi_apps: list[Any] = [{"app": OnDemand(), "url_prefix": PREFIX, "name": "LIFT registry"}]  # noqa: RUF012
    global_operator_extra_links: list[Any] = [DocumentLink()]  # noqa: RUF012
    external_views: list[Any] = [  # noqa: RUF012
        # Relative to the UI's base address, which need not be the root.
        {
            "name": "LIFT adapters",
            "href": f"{PREFIX.lstrip('/')}/page",
            "destination": "nav",
            "url_route": "lift-adapters",
            "nav_top_level": True,
        }
    ]
