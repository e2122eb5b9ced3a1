"""The registry's figures for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response

from lift_core.api.parameters import Registry
from lift_core.metrics import MEDIA_TYPE, exposition

reading = APIRouter(tags=["metrics"])


@reading.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def show_metrics(registry: Registry) -> Response:
    """Show all figures of this moment in Prometheus's text format."""
    return Response(exposition(registry), headers={"Cache-Control": "no-store"}, media_type=MEDIA_TYPE)
